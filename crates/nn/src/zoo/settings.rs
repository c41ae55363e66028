//! Reading `config.json`, key by key.

use refit_core::{ConfigError, wrong_value};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The keys of a `config.json`. What a model does not ask for means nothing to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a>(pub(super) &'a Map<String, Value>);

impl Settings<'_> {
    /// The value of `key`; `None` where it is missing or null.
    pub(super) fn find<T: DeserializeOwned>(
        self,
        key: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|error| wrong_value(key, value, &error)),
        }
    }

    /// The value of `key`, or what it is without one.
    pub(super) fn get<T: DeserializeOwned>(
        self,
        key: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        Ok(self.find(key)?.unwrap_or(default))
    }

    /// All settings of a model of our own, which has no others; what tools of Hugging Face write into every file says
    /// nothing of the architecture.
    pub(super) fn own<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        const BOOKKEEPING: [&str; 7] = [
            "_name_or_path",
            "architectures",
            "dtype",
            "id2label",
            "label2id",
            "torch_dtype",
            "transformers_version",
        ];
        let said = self.0.iter().filter(|(key, _)| {
            let key = key.as_str();
            key != "model_type" && !BOOKKEEPING.contains(&key)
        });
        let keys: Map<String, Value> = said.map(|(k, v)| (k.clone(), v.clone())).collect();
        T::deserialize(Value::Object(keys)).map_err(|error| {
            let name = self.0.get("model_type").and_then(Value::as_str);
            let words = format!("of `{}`: {error}", name.unwrap_or_default());
            ConfigError::conflict("settings", words)
        })
    }

    /// A size that is neither zero nor so large that shapes could overflow.
    pub(super) fn size(self, key: &'static str, default: usize) -> Result<usize, ConfigError> {
        let value = self.get(key, default)?;
        super::size(key, value)?;
        Ok(value)
    }

    /// A number of tokens, of which no table has a row for each.
    pub(super) fn length(self, key: &'static str, default: usize) -> Result<usize, ConfigError> {
        let value = self.get(key, default)?;
        super::length(key, value)?;
        Ok(value)
    }

    /// The number of layers.
    pub(super) fn layers(self, key: &'static str, default: usize) -> Result<usize, ConfigError> {
        let value = self.get(key, default)?;
        super::layers(key, value)?;
        Ok(value)
    }

    /// The number of heads, which divides `width`.
    pub(super) fn heads(
        self,
        key: &'static str,
        default: usize,
        width: usize,
    ) -> Result<usize, ConfigError> {
        let value = self.size(key, default)?;
        super::divides(key, value, width)?;
        Ok(value)
    }

    /// What is added to variances.
    pub(super) fn eps(self, key: &'static str, default: f64) -> Result<f64, ConfigError> {
        let value = self.get(key, default)?;
        super::eps(key, value)?;
        Ok(value)
    }

    /// The number of classes: those that are named, or two, which is what a file means that names none.
    pub(super) fn classes(self) -> Result<usize, ConfigError> {
        let labels: Option<Map<String, Value>> = self.find("id2label")?;
        self.size("num_labels", labels.map_or(2, |labels| labels.len()))
    }

    /// The classes of a model of pictures, if the first of `architectures` classifies them, else 0.
    pub(super) fn image_classes(self) -> Result<usize, ConfigError> {
        let names: Vec<String> = self.get("architectures", Vec::new())?;
        let classifies = |name: &String| name.ends_with("ForImageClassification");
        if names.first().is_some_and(classifies) {
            return self.classes();
        }
        Ok(0)
    }

    /// The word that fills texts up, if there is one: some files say so by a number that no word has.
    pub(super) fn padding(self, default: Option<u32>) -> Result<Option<u32>, ConfigError> {
        if !self.0.contains_key("pad_token_id") {
            return Ok(default);
        }
        let found: Option<i64> = self.find("pad_token_id")?;
        Ok(found.and_then(|id| u32::try_from(id).ok()))
    }

    /// Refuses a key that asks for what no model here does.
    pub(super) fn only<T: DeserializeOwned + PartialEq + std::fmt::Display>(
        self,
        key: &'static str,
        only: &T,
    ) -> Result<(), ConfigError> {
        match self.find::<T>(key)? {
            Some(found) if found != *only => {
                Err(ConfigError::range(key, found, format!("`{only}`")))
            }
            _ => Ok(()),
        }
    }
}
