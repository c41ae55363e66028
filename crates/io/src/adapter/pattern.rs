//! Settings that hold for some modules, chosen by the end of their names.

use regex_lite::Regex;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// Most entries of one pattern; models have fewer modules.
const MAX_ENTRIES: usize = 1 << 16;

/// Values by module, as `rank_pattern` holds them: the first key that describes the end of the name counts.
///
/// A key is a regular expression; it has to reach the end of the name and to begin at its start or behind a dot.
///
/// ```
/// use refit_io::adapter::Patterns;
/// let ranks: Patterns<u32> = serde_json::from_str(r#"{"q_proj": 4, "layers\\.[01]\\..*": 2}"#)?;
/// assert_eq!(ranks.find("model.layers.1.q_proj"), Some(4));
/// assert_eq!(ranks.find("model.layers.1.v_proj"), Some(2));
/// assert_eq!(ranks.find("model.layers.7.xq_proj"), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Patterns<T>(Vec<(Key, T)>);

#[derive(Clone, Debug)]
struct Key {
    text: String,
    /// Absent for a plain name, whose dots still stand for any character.
    regex: Option<Regex>,
}

impl Key {
    fn new(text: String) -> Result<Self, regex_lite::Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let regex = if text.chars().all(plain) {
            None
        } else {
            Some(Regex::new(&format!(r"^(?:.*\.)?(?:{text})$"))?)
        };
        Ok(Self { text, regex })
    }

    fn describes(&self, module: &str) -> bool {
        if let Some(regex) = &self.regex {
            return regex.is_match(module);
        }
        let mut rest = module.chars().rev();
        let mut wanted = self.text.chars().rev();
        wanted.all(|c| rest.next().is_some_and(|found| c == '.' || c == found))
            && matches!(rest.next(), None | Some('.'))
    }
}

impl<T> Patterns<T> {
    /// The value for the module of that name.
    pub fn find(&self, module: &str) -> Option<T>
    where
        T: Copy,
    {
        let found = self.0.iter().find(|(key, _)| key.describes(module));
        found.map(|&(_, value)| value)
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.text.as_str(), value))
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> PartialEq for Patterns<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Patterns<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((text, value)) = map.next_entry()? {
                    if entries.len() == MAX_ENTRIES {
                        return Err(A::Error::custom("a pattern has too many entries"));
                    }
                    entries.push((Key::new(text).map_err(A::Error::custom)?, value));
                }
                Ok(Patterns(entries))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, module: &str) -> Option<u32> {
        let patterns: Patterns<u32> = serde_json::from_str(json).unwrap();
        patterns.find(module)
    }

    #[test]
    fn the_first_key_that_reaches_the_end_of_the_name_counts() {
        let both = r#"{"z_proj": 1, "layers.0.z_proj": 2}"#;
        assert_eq!(found(both, "model.layers.0.z_proj"), Some(1));
        assert_eq!(found(both, "z_proj"), Some(1));
        assert_eq!(found(both, "z_proj.x"), None);
        assert_eq!(found(both, "fuzz_proj"), None);
    }

    #[test]
    fn plain_keys_mean_what_they_mean_as_expressions() {
        for (key, module) in [
            ("a.b", "x.a.b"),
            ("a.b", "x.a_b"),
            ("a.b", "xa.b"),
            ("a.b", "b"),
            ("a", "a"),
            ("", "x."),
            ("", ""),
            ("", "x"),
        ] {
            let key = Key::new(key.to_owned()).unwrap();
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{})$", key.text)).unwrap();
            assert_eq!(
                key.describes(module),
                regex.is_match(module),
                "{key:?} {module}"
            );
        }
    }

    #[test]
    fn anchors_and_alternatives_work_and_nonsense_is_an_error() {
        assert_eq!(found(r#"{"^a\\.q": 3}"#, "a.q"), Some(3));
        assert_eq!(found(r#"{"^a\\.q": 3}"#, "b.a.q"), None);
        assert_eq!(found(r#"{"q|v": 3}"#, "a.v"), Some(3));
        assert!(serde_json::from_str::<Patterns<u32>>(r#"{"(": 3}"#).is_err());
        assert!(serde_json::from_str::<Patterns<u32>>(r#"{"q": -3}"#).is_err());
    }
}
