//! Foreign text inside messages, and JSON objects read strictly.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, marker::PhantomData};

/// Longest piece of foreign text that a message repeats, in characters.
const EXCERPT: usize = 120;

/// Text of unknown origin, fit for a terminal: no control characters, no megabytes.
pub(crate) fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars
        .by_ref()
        .take(EXCERPT)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if chars.next().is_some() {
        out.push_str("...");
    }
    out
}

/// A `T` that must be spelt as a JSON object: derived readers would also take an array of its fields.
pub(super) struct ObjectOnly<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ObjectOnly<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = ObjectOnly<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(ObjectOnly)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_cannot_steer_a_terminal() {
        assert_eq!(excerpt("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(excerpt(&"x".repeat(5000)).len(), EXCERPT + 3);
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Deserialize)]
        struct Pair {
            a: u8,
        }
        let good: ObjectOnly<Pair> = serde_json::from_str(r#"{"a":3}"#).unwrap();
        assert_eq!(good.0.a, 3);
        assert!(serde_json::from_str::<Pair>("[3]").is_ok());
        assert!(serde_json::from_str::<ObjectOnly<Pair>>("[3]").is_err());
    }
}
