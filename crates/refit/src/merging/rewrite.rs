//! JSON documents with a few changes: what was not changed keeps its spelling.
//!
//! A number such as `1000000000000000019884624838656` or `1e-05` would come out in other words, and some readers take
//! `1e30` for another kind of number. So only values that differ are written anew.

use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// `document` as text, in the words of `original` where both have the same value.
pub(super) fn rewrite(original: &[u8], document: &Value) -> String {
    let original = str::from_utf8(original).unwrap_or_default();
    let mut text = value(original.trim(), document).into_owned();
    text.push('\n');
    text
}

/// `new` in the words of `original`, the text of a value.
fn value<'a>(original: &'a str, new: &Value) -> Cow<'a, str> {
    match (serde_json::from_str::<Value>(original), new) {
        (Ok(old), new) if old == *new => original.into(),
        (Ok(Value::Object(_)), Value::Object(new)) if !new.is_empty() => {
            let known = members(original);
            let members = new.iter().map(|(key, new)| {
                let text = value(known.get(key).copied().unwrap_or_default(), new);
                format!("  {}: {}", Value::from(key.as_str()), indented(text))
            });
            format!("{{\n{}\n}}", members.collect::<Vec<_>>().join(",\n")).into()
        }
        _ => serde_json::to_string_pretty(new).unwrap_or_default().into(),
    }
}

/// A value one level deeper; one that was copied is there already.
fn indented(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(_) => text,
        Cow::Owned(text) => text.replace('\n', "\n  ").into(), // line breaks in strings are escaped
    }
}

/// The members of an object with the text of each value. `object` is valid JSON; of two members of one name the last
/// counts, as everywhere.
fn members(object: &str) -> BTreeMap<String, &str> {
    let mut members = BTreeMap::new();
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let (mut start, mut key) = (0, None);
    for (at, byte) in object.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match byte {
            b'{' if depth == 1 => start = at + 1,
            b':' if depth == 1 => {
                key = serde_json::from_str(object[start..at].trim()).ok();
                start = at + 1;
            }
            b',' | b'}' if depth == usize::from(byte == b',') => {
                if let Some(key) = key.take() {
                    members.insert(key, object[start..at].trim());
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_written_anew() {
        let original = r#"{"size": 100000000000000000000, "eps": 1e-05, "a\"{": {"b": [1, {"c":2}], "n": 7}, "gone": 1}"#;
        let mut document: Value = serde_json::from_str(original).unwrap();
        let object = document.as_object_mut().unwrap();
        object.remove("gone");
        object.insert("new".into(), json!([1]));
        object["a\"{"]["n"] = 8.into();
        let expected = r#"{
  "a\"{": {
    "b": [1, {"c":2}],
    "n": 8
  },
  "eps": 1e-05,
  "new": [
    1
  ],
  "size": 100000000000000000000
}
"#;
        assert_eq!(rewrite(original.as_bytes(), &document), expected);
        // Nothing to go by, and nothing to change.
        assert_eq!(rewrite(b"", &json!({"a": 1})), "{\n  \"a\": 1\n}\n");
        assert_eq!(
            rewrite(b" {\"a\": 1e20}", &json!({"a": 1e20})),
            "{\"a\": 1e20}\n"
        );
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<Option<i64>>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\{,:]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_text_says_what_the_document_says(old in document(), new in document(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&old) } else { serde_json::to_string(&old) };
            let written = rewrite(text.unwrap().as_bytes(), &new);
            prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), new);
        }
    }
}
