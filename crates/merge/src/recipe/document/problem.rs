//! What can be wrong with a recipe before any model is looked at.

use super::place::Place;
use refit_core::{ConfigError, Hint, nearest};
use std::borrow::Cow;

/// A recipe that cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeProblem {
    /// A value of another kind than its key asks for.
    #[error("`{place}` is {found}, expected {expected}")]
    Kind {
        /// Where.
        place: Place,
        /// What stands there.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A key that means nothing at its place.
    #[error("unknown key `{place}`")]
    UnknownKey {
        /// Where, with the key.
        place: Place,
        /// What to write instead, as a hint.
        hint: Option<String>,
    },
    /// A key that is not there.
    #[error("`{place}` is missing")]
    Missing {
        /// Where, with the key.
        place: Place,
        /// What it would say.
        expected: &'static str,
    },
    /// None of several keys, or more than one.
    #[error("`{place}` has {found}, expected exactly one of {expected}")]
    OneOf {
        /// Where the keys are looked for.
        place: Place,
        /// Those that are there.
        found: String,
        /// The keys.
        expected: &'static str,
    },
    /// A list that is empty or longer than any recipe of people.
    #[error("`{place}` has {found} entries, expected 1 to {most}")]
    Count {
        /// Where.
        place: Place,
        /// Length of the list.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// A model that cannot be told from this text.
    #[error("`{place}` is `{found}`, expected `path[@revision][+adapter[@revision]]`")]
    Model {
        /// Where.
        place: Place,
        /// The text.
        found: String,
    },
    /// A name that a whole family of values does not have.
    #[error("`{place}`: {source}")]
    Name {
        /// Where.
        place: Place,
        /// The name and its nearest neighbour.
        source: ConfigError,
    },
    /// A setting of the whole tensor, given for one model.
    #[error("`{place}` is a setting of the merge and not of one model")]
    NotPerModel {
        /// Where, with the key.
        place: Place,
    },
    /// A range whose start lies behind its end.
    #[error("`{place}` is [{start}, {end}], expected a start that is not behind its end")]
    Range {
        /// Where.
        place: Place,
        /// First layer.
        start: usize,
        /// The layer after the last.
        end: usize,
    },
    /// Two recipes of one file with the same name, or two without one.
    #[error("recipe {document} is called `{name}` like one before it")]
    SameName {
        /// Which document, counted from 1.
        document: usize,
        /// The name; empty where there is none.
        name: String,
    },
    /// Recipes that wait for each other.
    #[error("recipes need each other's results: {}", names.join(" needs "))]
    Cycle {
        /// The way round; its first name is also its last.
        names: Vec<String>,
    },
}

impl RecipeProblem {
    /// A key that is none of `valid`.
    pub(super) fn unknown_key(parent: &Place, key: &str, valid: &[&'static str]) -> Self {
        let hint = match nearest(key, valid.iter().copied()) {
            Some(name) => Some(format!("did you mean `{name}`?")),
            None if key == "layer_range" => {
                Some("`layer_range` belongs to the `sources` of `slices`".into())
            }
            None if valid.is_empty() => None,
            None => Some(format!("known here: {}", valid.join(", "))),
        };
        Self::UnknownKey {
            place: parent.key(key),
            hint,
        }
    }

    /// A value of another kind.
    pub(super) fn kind(place: &Place, found: &serde_json::Value, expected: &'static str) -> Self {
        Self::Kind {
            place: place.clone(),
            found: describe(found),
            expected,
        }
    }
}

/// A value in a message: short ones as they are, long ones by their kind.
fn describe(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "empty".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() <= 60 => format!("`{text}`"),
        Value::String(_) => "a long text".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a mapping".into(),
    }
}

impl Hint for RecipeProblem {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::UnknownKey { hint, .. } => return hint.clone().map(Into::into),
            Self::Missing { expected, .. } => format!("add {expected}").into(),
            Self::Name { source, .. } => return source.hint(),
            Self::NotPerModel { .. } => {
                "move it to the `parameters` of the recipe, of a module or of a slice".into()
            }
            Self::Model { .. } => {
                "write a path that holds `@` or `+` as `{model: {path: ...}, lora: {path: ...}}`"
                    .into()
            }
            Self::SameName { name, .. } if name.is_empty() => {
                "at most one recipe of a file goes without `name`".into()
            }
            Self::SameName { .. } => "give each recipe a `name` of its own".into(),
            Self::Cycle { .. } => "a recipe names others by `name`; break the circle".into(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_described_shortly() {
        assert_eq!(describe(&json!("x".repeat(61))), "a long text");
        assert_eq!(describe(&json!([1, 2])), "a list of 2");
        assert_eq!(describe(&json!(0.5)), "0.5");
    }

    #[test]
    fn problems_are_small() {
        assert!(size_of::<RecipeProblem>() < 128);
    }
}
