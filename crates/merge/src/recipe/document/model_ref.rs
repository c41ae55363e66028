//! Which model is meant.

use super::{
    fields::{Fields, text},
    place::Place,
    problem::RecipeProblem,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt;

/// A folder or a repository, at a revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ModelPath {
    /// Folder, or `owner/name`.
    pub path: String,
    /// Branch, tag or commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// A model as recipes name it: `path[@revision][+adapter[@revision]]`.
///
/// ```
/// use refit_merge::recipe::ModelRef;
/// let model: ModelRef = "org/base@v2+org/adapter".parse()?;
/// assert_eq!(model.model.revision.as_deref(), Some("v2"));
/// assert_eq!(model.adapter.as_ref().unwrap().path, "org/adapter");
/// assert_eq!(model.to_string(), "org/base@v2+org/adapter");
/// # Ok::<(), refit_merge::recipe::RecipeProblem>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelRef {
    /// The checkpoint.
    pub model: ModelPath,
    /// An adapter that is folded into it.
    pub adapter: Option<ModelPath>,
    /// The class that the model is taken for, whatever its `config.json` says.
    pub architecture: Option<String>,
}

const KEYS: &[&str] = &["model", "lora", "override_architecture"];
const PATH_KEYS: &[&str] = &["path", "revision"];

impl ModelRef {
    /// Reads a text, or `{model: {path, revision}, lora: {path, revision}, override_architecture}`.
    pub(super) fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        if let Value::String(text) = value {
            return Self::from_text(text, &place);
        }
        if !value.is_object() {
            return Err(RecipeProblem::kind(&place, value, "a model"));
        }
        let fields = Fields::read(value, place, KEYS)?;
        let (model, at) = fields.need("model", "the path of the model")?;
        Ok(Self {
            model: ModelPath::read(model, at)?,
            adapter: fields.map("lora", ModelPath::read)?,
            architecture: fields.map("override_architecture", |value, at| text(value, &at))?,
        })
    }

    fn from_text(text: &str, place: &Place) -> Result<Self, RecipeProblem> {
        let mut parts = text.split('+').map(ModelPath::from_text);
        let model = parts.next().flatten();
        let adapter = parts.next();
        match (model, adapter, parts.next()) {
            (Some(model), None, None) => Ok(Self::plain(model, None)),
            (Some(model), Some(Some(adapter)), None) => Ok(Self::plain(model, Some(adapter))),
            _ => Err(RecipeProblem::Model {
                place: place.clone(),
                found: text.chars().take(200).collect(),
            }),
        }
    }

    fn plain(model: ModelPath, adapter: Option<ModelPath>) -> Self {
        Self {
            model,
            adapter,
            architecture: None,
        }
    }
}

impl ModelPath {
    fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        if let Value::String(text) = value {
            return Self::from_text(text).ok_or_else(|| RecipeProblem::Model {
                place,
                found: text.chars().take(200).collect(),
            });
        }
        let fields = Fields::read(value, place, PATH_KEYS)?;
        let (path, at) = fields.need("path", "the path of the model")?;
        Ok(Self {
            path: text(path, &at)?,
            revision: fields.map("revision", |value, at| text(value, &at))?,
        })
    }

    /// `path[@revision]`.
    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('@');
        let (path, revision) = (parts.next()?, parts.next());
        let whole = !path.trim().is_empty() && revision.is_none_or(|r| !r.trim().is_empty());
        (whole && parts.next().is_none()).then(|| Self {
            path: path.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }
}

impl std::str::FromStr for ModelRef {
    type Err = RecipeProblem;

    fn from_str(text: &str) -> Result<Self, RecipeProblem> {
        Self::from_text(text, &Place::top().key("model"))
    }
}

impl fmt::Display for ModelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        match &self.adapter {
            Some(adapter) => write!(f, "+{adapter}"),
            None => Ok(()),
        }
    }
}

impl Serialize for ModelRef {
    /// The text where it says everything, the mapping otherwise.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Parts<'a> {
            model: &'a ModelPath,
            #[serde(skip_serializing_if = "Option::is_none")]
            lora: &'a Option<ModelPath>,
            #[serde(skip_serializing_if = "Option::is_none")]
            override_architecture: &'a Option<String>,
        }
        let text = self.to_string();
        if text.parse().is_ok_and(|read: Self| read == *self) {
            return to.serialize_str(&text);
        }
        let parts = Parts {
            model: &self.model,
            lora: &self.adapter,
            override_architecture: &self.architecture,
        };
        parts.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn texts_and_mappings_name_the_same_model() {
        let text: ModelRef = "a/b@main+c@r1".parse().unwrap();
        let mapping = json!({"model": {"path": "a/b", "revision": "main"}, "lora": "c@r1"});
        assert_eq!(ModelRef::read(&mapping, Place::top()).unwrap(), text);
    }

    #[test]
    fn texts_with_too_many_or_empty_parts_are_refused() {
        for text in ["", " ", "a@b@c", "a+b+c", "+b", "a+", "a@", "@r", "a+b@"] {
            assert!(text.parse::<ModelRef>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            path in "[a-c@+ /]{1,6}", revision in prop::option::of("[a@+]{1,3}"), lora in prop::option::of("[a@+]{1,3}"),
        ) {
            prop_assume!(!path.trim().is_empty());
            let model = ModelRef {
                model: ModelPath { path, revision },
                adapter: lora.map(|path| ModelPath { path, revision: None }),
                architecture: None,
            };
            let written = serde_json::to_value(&model).unwrap();
            prop_assert_eq!(ModelRef::read(&written, Place::top()).unwrap(), model);
        }
    }
}
