//! Families of models by `model_type`: what they are shown, and which verbs read them.

use refit_core::ConfigError;
use refit_nn::{ImageConfig, zoo::TextConfig};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What a model is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Texts.
    Texts,
    /// Pictures.
    Pictures,
    /// Pictures, and texts that say what they show.
    Both,
}

/// The key that names a family.
const MODEL_TYPE: &str = "model_type";
/// The one family that is shown both.
pub(crate) const CLIP: &str = "clip";

impl Shown {
    /// What a family is shown, by its name; `None` for one that is not known.
    ///
    /// ```
    /// use refit::family::Shown;
    /// assert_eq!(Shown::to("vit"), Some(Shown::Pictures));
    /// assert_eq!(Shown::to("opt"), Some(Shown::Texts));
    /// assert_eq!(Shown::to("vti"), None);
    /// ```
    pub fn to(family: &str) -> Option<Self> {
        if TextConfig::MODEL_TYPES.contains(&family) {
            Some(Self::Texts)
        } else if ImageConfig::MODEL_TYPES.contains(&family) {
            Some(Self::Pictures)
        } else {
            (family == CLIP).then_some(Self::Both)
        }
    }

    /// What such a model does, as the rest of a sentence.
    pub const fn does(self) -> &'static str {
        match self {
            Self::Texts => "reads texts",
            Self::Pictures => "sees pictures",
            Self::Both => "sees pictures and reads what is said about them",
        }
    }

    /// The verbs that read such a model, as a sentence.
    pub const fn verbs(self) -> &'static str {
        match self {
            Self::Texts => {
                "`refit embed`, `refit classify`, `refit generate`, `refit eval` and `refit tune` read it"
            }
            Self::Pictures | Self::Both => {
                "`refit classify`, `refit eval` and `refit embed` read it"
            }
        }
    }
}

/// What the family is shown that a `config.json` names.
///
/// # Errors
/// One that is not known, with the nearest one.
pub fn shown(keys: &Map<String, Value>) -> Result<Shown, ConfigError> {
    let name = family(keys);
    if name.is_empty() {
        let expected = "the name of the family of the model, such as `bert`";
        return Err(match keys.get(MODEL_TYPE) {
            None | Some(Value::Null) => ConfigError::range(MODEL_TYPE, "missing", expected),
            Some(found) => ConfigError::range(MODEL_TYPE, found, expected),
        });
    }
    Shown::to(name).ok_or_else(|| {
        let all = TextConfig::MODEL_TYPES.into_iter();
        let all = all.chain(ImageConfig::MODEL_TYPES).chain([CLIP]);
        ConfigError::unknown(MODEL_TYPE, name, all)
    })
}

/// The family that a `config.json` names; nothing where it names none.
pub fn family(keys: &Map<String, Value>) -> &str {
    let name = keys.get(MODEL_TYPE).and_then(Value::as_str);
    name.unwrap_or_default()
}

/// Names of the classes of a head, by `id2label`; `None` where there are none.
///
/// # Errors
/// Names that are not one for each class.
pub(crate) fn class_names(
    keys: &Map<String, Value>,
    classes: usize,
) -> Result<Option<Vec<String>>, ConfigError> {
    const KEY: &str = "id2label";
    let Some(named) = keys.get(KEY).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let name = |class: usize| Some(named.get(class.to_string())?.as_str()?.to_owned());
    let names: Option<Vec<String>> = (0..classes).map(name).collect();
    names.map(|names| Some(told_apart(names))).ok_or_else(|| {
        let expected = format!("a name for each of the classes 0 to {}", classes.max(1) - 1);
        ConfigError::range(KEY, named, expected)
    })
}

/// Names that several classes have, with the number of the class behind all but the first: ImageNet knows two cranes.
fn told_apart(mut names: Vec<String>) -> Vec<String> {
    let mut seen: HashSet<String> = HashSet::with_capacity(names.len());
    for (class, name) in names.iter_mut().enumerate() {
        while !seen.insert(name.clone()) {
            *name = format!("{name} ({class})");
        }
    }
    names
}

/// What a class is called that has no name, as Hugging Face calls it.
pub(crate) fn unnamed(class: usize) -> String {
    format!("LABEL_{class}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_family_that_is_not_named_is_said_to_be_missing() {
        for (keys, said) in [
            (json!({}), "`model_type` is missing, expected"),
            (json!({ "model_type": 5 }), "`model_type` is 5, expected"),
            (json!({ "model_type": "vti" }), "`vti`"),
        ] {
            let error = shown(keys.as_object().unwrap()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn classes_of_one_name_are_told_apart() {
        let keys =
            json!({ "id2label": { "0": "crane", "1": "crane", "2": "crane (1)", "3": "cat" } });
        let found = class_names(keys.as_object().unwrap(), 4).unwrap().unwrap();
        assert_eq!(found, ["crane", "crane (1)", "crane (1) (2)", "cat"]);
    }
}
