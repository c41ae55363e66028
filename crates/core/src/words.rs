//! What a value that does not fit is called by whoever wrote it.

use crate::error::{ConfigError, nearest};
use serde_json::Value;
use std::borrow::Cow;

/// A value that its key does not take; a misspelt name gets the nearest valid one.
pub fn wrong_value(
    key: impl Into<Cow<'static, str>>,
    value: &Value,
    error: &serde_json::Error,
) -> ConfigError {
    let text = error.to_string();
    // Serde lists the valid names in backticks: "unknown variant `sun`, expected `mean` or `sum`".
    if let Some((_, expected)) = text.split_once(", expected ")
        && text.starts_with("unknown ")
    {
        let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let found = text.split('`').nth(1).unwrap_or_default();
        let near = nearest(found, names.iter().copied()).map(|n| format!("; did you mean `{n}`?"));
        let expected = format!("{expected}{}", near.unwrap_or_default());
        return ConfigError::range(key, format_args!("`{found}`"), expected);
    }
    // A message of ours names the setting inside.
    if text.starts_with('`') {
        return ConfigError::conflict(key, format!("holds what cannot be used: {text}"));
    }
    let expected = text
        .split_once(", expected ")
        .map_or("another value", |(_, expected)| expected);
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    let words = in_words(expected, value);
    let expected = match value {
        Value::Array(items) if words != LIST && !is_list_wrong(items, &text) => {
            format!("{words} in each place of the list")
        }
        _ => words,
    };
    ConfigError::range(key, value, expected)
}

const LIST: &str = "a list";

/// Whether Serde's `text` finds fault with the list itself, not with what stands in one of its places.
fn is_list_wrong(items: &[Value], text: &str) -> bool {
    text.starts_with("invalid type: sequence") && !items.iter().any(Value::is_array)
}

/// What a type is called by whoever writes the file, not by whoever reads it.
fn in_words(expected: &str, value: &Value) -> String {
    match expected {
        // The largest of them, give or take: what is meant is fewer.
        "u8" | "u16" | "u32" | "u64" | "usize" if value.as_f64().is_some_and(|v| v > 1e18) => {
            "a whole number of at most 18 digits".into()
        }
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "a borrowed string" => "text".into(),
        "path string" => "a path".into(),
        "a sequence" => LIST.into(),
        "a map" => "`key: value` pairs".into(),
        other if other.starts_with("struct ") => "`key: value` pairs".into(),
        // A name that may bring a value with it.
        other if other.starts_with("enum ") || other == "string or map" => {
            "a name, or `name: value`".into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Map, json};

    fn told<T: DeserializeOwned>(value: &Value) -> String {
        let error = serde_json::from_value::<T>(value.clone()).err();
        let error = error.expect("a value that does not fit");
        wrong_value("key", value, &error).to_string()
    }

    #[test]
    fn a_list_in_place_of_something_else_is_told_from_one_that_holds_something_else() {
        for (found, expected) in [
            (
                told::<Map<String, Value>>(&json!(["a", "b"])),
                r#"`key` is ["a","b"], expected `key: value` pairs"#,
            ),
            (
                told::<Vec<Map<String, Value>>>(&json!([1])),
                "`key` is [1], expected `key: value` pairs in each place of the list",
            ),
            (
                told::<Vec<f64>>(&json!([[1]])),
                "`key` is [[1]], expected a number in each place of the list",
            ),
            (told::<Vec<f64>>(&json!(1)), "`key` is 1, expected a list"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
