//! Settings out of files, laid over their defaults, with errors that name the key.

use refit_core::{ConfigError, wrong_value};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Puts the values of `given` over those of `default`, at any depth: what is left out stays. `also` are keys that may
/// stand beside them in the file; they are offered to whoever misspelt one.
pub(crate) fn lay_over<T: DeserializeOwned + Serialize>(
    default: &T,
    given: Map<String, Value>,
    also: &[&str],
) -> Result<T, ConfigError> {
    let mut over = Over {
        whole: serde_json::to_value(default).unwrap_or_default(),
        also,
        fits: |whole| serde_json::from_value::<T>(whole).map(drop),
    };
    over.set_all("", given)?;
    // Whoever set the values one by one knows that they go together.
    serde_json::from_value(over.whole)
        .map_err(|error| ConfigError::conflict("settings", format_args!("cannot be used: {error}")))
}

/// Settings while they are changed.
struct Over<'a> {
    whole: Value,
    also: &'a [&'a str],
    /// Whether a document is of the right type.
    fits: fn(Value) -> Result<(), serde_json::Error>,
}

impl Over<'_> {
    /// Sets every value below the JSON pointer `at`.
    fn set_all(&mut self, at: &str, given: Map<String, Value>) -> Result<(), ConfigError> {
        for (key, value) in given {
            let place = format!("{at}/{key}");
            match (self.whole.pointer(&place), value) {
                (None, _) => return Err(self.unknown(at, &place)),
                (Some(old), value) if other_kind(old, &value) => self.set(&place, &value)?,
                (Some(Value::Object(_)), Value::Object(inner)) => self.set_all(&place, inner)?,
                (Some(_), value) => self.set(&place, &value)?,
            }
        }
        Ok(())
    }

    /// Sets one value; each is tried alone, so that an error can name its key.
    fn set(&mut self, place: &str, value: &Value) -> Result<(), ConfigError> {
        let mut changed = self.whole.clone();
        if let Some(slot) = changed.pointer_mut(place) {
            slot.clone_from(value);
        }
        (self.fits)(changed.clone()).map_err(|error| wrong_value(dotted(place), value, &error))?;
        self.whole = changed;
        Ok(())
    }

    fn unknown(&self, at: &str, place: &str) -> ConfigError {
        let here = self.whole.pointer(at).and_then(Value::as_object);
        let keys = here.into_iter().flat_map(Map::keys);
        let known: Vec<String> = keys.map(|key| dotted(&format!("{at}/{key}"))).collect();
        let also = if at.is_empty() { self.also } else { &[] };
        let known = known.iter().map(String::as_str).chain(also.iter().copied());
        ConfigError::unknown("key", dotted(place), known)
    }
}

/// Whether a document describes another kind of model: its keys have nothing to do with the old ones.
fn other_kind(old: &Value, new: &Value) -> bool {
    let kind = |document: &Value| document.get("model_type").cloned();
    kind(new).is_some() && kind(new) != kind(old)
}

/// `base.steps` for `/base/steps`.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        steps: u64,
        inner: Inner,
        plus: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Inner {
        peak_rate: f64,
        count: u64,
    }

    fn over(given: Value) -> Result<Outer, ConfigError> {
        let default = Outer {
            steps: 1,
            inner: Inner {
                peak_rate: 0.5,
                count: 2,
            },
            plus: None,
        };
        let Value::Object(given) = given else {
            panic!("a mapping")
        };
        lay_over(&default, given, &["base"])
    }

    #[test]
    fn what_is_left_out_stays_at_any_depth() {
        let found = over(json!({"inner": {"count": 7}})).unwrap();
        assert_eq!((found.steps, found.inner.count), (1, 7));
        assert!((found.inner.peak_rate - 0.5).abs() < f64::EPSILON);
        let plus = over(json!({"plus": {"peak-rate": 1.0, "count": 3}}))
            .unwrap()
            .plus;
        assert_eq!(plus.map(|p| p.count), Some(3));
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_place() {
        let said = |given| {
            let error = over(given).unwrap_err();
            (
                error.to_string(),
                refit_core::Hint::hint(&error).map(String::from),
            )
        };
        let (words, hint) = said(json!({"inner": {"cuont": 1}}));
        assert_eq!(words, "unknown key `inner.cuont`");
        assert_eq!(hint.unwrap(), "did you mean `inner.count`?");
        assert_eq!(said(json!({"bse": 1})).1.unwrap(), "did you mean `base`?");
        let (words, _) = said(json!({"inner": {"count": "many"}}));
        assert_eq!(
            words,
            "`inner.count` is \"many\", expected a whole number, 0 or more"
        );
    }

    #[test]
    fn what_is_expected_is_told_in_words_of_files() {
        let said = |given| over(given).unwrap_err().to_string();
        let pairs = "expected `key: value` pairs";
        for (given, words) in [
            (json!({"inner": 5}), format!("`inner` is 5, {pairs}")),
            (
                json!({"plus": [1]}),
                format!("`plus` is [1], {pairs} in each place of the list"),
            ),
            (
                json!({"steps": -1}),
                "`steps` is -1, expected a whole number, 0 or more".into(),
            ),
            (
                json!({"steps": 1e20}),
                "`steps` is 1e+20, expected a whole number of at most 18 digits".into(),
            ),
            (
                json!({"inner": {"peak-rate": "x"}}),
                "`inner.peak-rate` is \"x\", expected a number".into(),
            ),
        ] {
            assert_eq!(said(given), words);
        }
    }
}
