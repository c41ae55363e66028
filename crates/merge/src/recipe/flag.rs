//! Switches as recipes write them.

use serde::{Deserialize, Deserializer, de::Error};

/// A switch: `true`, `false`, 1 or 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Bool(bool),
            Number(f64),
        }
        match Spelling::deserialize(from) {
            Ok(Spelling::Bool(value)) => Ok(Self(value)),
            Ok(Spelling::Number(1.0)) => Ok(Self(true)),
            Ok(Spelling::Number(0.0)) => Ok(Self(false)),
            _ => Err(D::Error::custom("expected true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_a_word_or_a_number() {
        let read = |text| serde_json::from_str::<Flag>(text).map_err(|e| e.to_string());
        assert_eq!(
            [read("true"), read("1"), read("1.0")],
            [Ok(Flag(true)), Ok(Flag(true)), Ok(Flag(true))]
        );
        assert_eq!(
            [read("false"), read("0")],
            [Ok(Flag(false)), Ok(Flag(false))]
        );
        assert!(read("0.5").unwrap_err().contains("expected true or false"));
        assert!(read("\"yes\"").is_err());
    }
}
