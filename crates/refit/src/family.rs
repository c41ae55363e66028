//! Families of models by `model_type`: what they are shown, and which verbs read them.

use refit_core::ConfigError;
use refit_nn::{ImageConfig, zoo::TextConfig};
use serde_json::{Map, Value};

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

/// The one family that is shown both.
const CLIP: &str = "clip";

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
            Self::Pictures | Self::Both => "`refit classify` and `refit eval` read it",
        }
    }
}

/// What the family is shown that a `config.json` names.
///
/// # Errors
/// One that is not known, with the nearest one.
pub fn shown(keys: &Map<String, Value>) -> Result<Shown, ConfigError> {
    let name = family(keys);
    Shown::to(name).ok_or_else(|| {
        let all = TextConfig::MODEL_TYPES.into_iter();
        let all = all.chain(ImageConfig::MODEL_TYPES).chain([CLIP]);
        ConfigError::unknown("model_type", name, all)
    })
}

/// The family that a `config.json` names; nothing where it names none.
pub fn family(keys: &Map<String, Value>) -> &str {
    let name = keys.get("model_type").and_then(Value::as_str);
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
    names.map(Some).ok_or_else(|| {
        let expected = format!("a name for each of the classes 0 to {}", classes.max(1) - 1);
        ConfigError::range(KEY, named, expected)
    })
}

/// What a class is called that has no name, as Hugging Face calls it.
pub(crate) fn unnamed(class: usize) -> String {
    format!("LABEL_{class}")
}
