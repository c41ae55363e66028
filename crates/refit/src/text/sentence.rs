//! What sentence encoders say beside the model, in the files of sentence-transformers.

use super::{
    TextModelError,
    folder::{optional, setting},
};
use refit_core::ConfigError;
use refit_nn::zoo::Pool;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};

/// The parts of a sentence encoder and the folders of their settings.
pub(crate) const MODULES: &str = "modules.json";
/// The prompts of a sentence encoder.
const PROMPTS: &str = "config_sentence_transformers.json";
/// What happens to texts before the model reads them; older files are called by the model.
const SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// All files beside those of the parts.
pub(crate) const SENTENCE_FILES: [&str; 8] = {
    let [a, b, c, d, e, f, g] = SETTINGS;
    [PROMPTS, a, b, c, d, e, f, g]
};

/// The folders of parts that `modules.json` names, which are folders beside it.
pub(crate) fn module_places(modules: &[u8]) -> Vec<String> {
    let modules: Vec<Value> = serde_json::from_slice(modules).unwrap_or_default();
    let places = modules
        .iter()
        .filter_map(|module| module.get("path")?.as_str());
    places
        .filter(|place| is_plain(place))
        .map(str::to_owned)
        .collect()
}

/// What a text is to a model that makes vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRole {
    /// Any text.
    Text,
    /// A question whose answer is looked for.
    Query,
    /// A text among which is looked.
    Document,
}

/// The name of the prompt for queries.
const QUERY: &str = "query";
/// The names that those for documents have; the first that is there is meant.
const DOCUMENT: [&str; 3] = ["document", "passage", "corpus"];

/// What goes in front of texts before they become vectors, as `config_sentence_transformers.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextPrompts {
    by_name: BTreeMap<String, String>,
    default: Option<String>,
    left_out: bool,
}

impl TextPrompts {
    /// The prompt of a text; nothing where there is none. A query or a document has that of its role alone.
    pub fn of(&self, role: TextRole) -> &str {
        let find = |name: &str| self.by_name.get(name);
        let found = match role {
            TextRole::Text => self.default.as_deref().and_then(find),
            TextRole::Query => find(QUERY),
            TextRole::Document => DOCUMENT.into_iter().find_map(find),
        };
        found.map_or("", String::as_str)
    }

    /// Whether the vector of a text is made without the tokens of its prompt, which are read all the same.
    pub const fn left_out(&self) -> bool {
        self.left_out
    }

    fn read(folder: &Path) -> Result<Self, TextModelError> {
        let file = folder.join(PROMPTS);
        let keys = keys(&file)?;
        let failed = setting(&file);
        let mut found = Self::default();
        if let Some(prompts) = keys.get("prompts").filter(|value| !value.is_null()) {
            let text = |(name, text): (&String, &Value)| {
                let text = if text.is_null() { "" } else { text.as_str()? };
                Some((name.clone(), text.to_owned()))
            };
            let all = prompts.as_object().map(|prompts| prompts.iter().map(text));
            found.by_name = all.and_then(Iterator::collect).ok_or_else(|| {
                failed(ConfigError::range(
                    "prompts",
                    prompts,
                    "a text for each name",
                ))
            })?;
        }
        let default = keys
            .get("default_prompt_name")
            .filter(|value| !value.is_null());
        found.default = default
            .map(|name| {
                // Queries and documents have a prompt of nothing where none is named.
                let known = |name: &&str| {
                    found.by_name.contains_key(*name) || [QUERY, DOCUMENT[0]].contains(name)
                };
                let known = name.as_str().filter(known);
                let wrong = || ConfigError::range("default_prompt_name", name, "one of `prompts`");
                known.map(str::to_owned).ok_or_else(wrong)
            })
            .transpose()
            .map_err(failed)?;
        Ok(found)
    }
}

/// What sentence encoders say beside the model.
#[derive(Debug, Default)]
pub(super) struct Sentence {
    /// Whether the folder holds one.
    pub(super) is_one: bool,
    pub(super) longest: Option<usize>,
    pub(super) pool: Option<Pool>,
    pub(super) unit: bool,
    /// Whether capitals are made small before all else.
    pub(super) lower: bool,
    pub(super) prompts: TextPrompts,
}

impl Sentence {
    pub(super) fn read(folder: &Path) -> Result<Self, TextModelError> {
        let file = folder.join(MODULES);
        let Some(modules) = optional(&file)? else {
            return Ok(Self::default());
        };
        let Some(modules) = modules.as_array() else {
            return Err(setting(&file)(ConfigError::range(
                "modules",
                "another value",
                "a list",
            )));
        };
        let mut found = Self {
            is_one: true,
            prompts: TextPrompts::read(folder)?,
            ..Self::default()
        };
        for module in modules {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
            let place = text("path");
            let kind = text("type").rsplit('.').next().unwrap_or_default();
            match kind {
                "Transformer" if place.is_empty() => {}
                "Normalize" => found.unit = true,
                "Pooling" if is_plain(place) => {
                    let file = folder.join(place).join("config.json");
                    let keys = super::object(&file)?;
                    found.pool = Some(pool(&keys).map_err(setting(&file))?);
                    let include = keys.get("include_prompt").and_then(Value::as_bool);
                    found.prompts.left_out = include == Some(false);
                }
                "Transformer" | "Pooling" => {
                    let expected = match kind {
                        "Transformer" => "nothing: the model lies beside modules.json",
                        _ => "a folder beside modules.json",
                    };
                    return Err(setting(&file)(ConfigError::range(
                        "path",
                        format_args!("`{place}`"),
                        expected,
                    )));
                }
                _ => {
                    let known = ["Transformer", "Pooling", "Normalize"];
                    let error = ConfigError::unknown("module", kind, known);
                    return Err(setting(&file)(error));
                }
            }
        }
        let mut files = SETTINGS.iter().map(|name| folder.join(name));
        let file = files.find(|file| file.is_file());
        let file = file.unwrap_or_else(|| folder.join(SETTINGS[0]));
        let keys = keys(&file)?;
        found.lower = keys.get("do_lower_case") == Some(&Value::Bool(true));
        if let Some(longest) = keys.get("max_seq_length").filter(|value| !value.is_null()) {
            let number = longest.as_u64().filter(|&longest| longest >= 3);
            let number = number.ok_or_else(|| {
                let expected = "a number of at least 3";
                setting(&file)(ConfigError::range("max_seq_length", longest, expected))
            })?;
            found.longest = Some(number as usize);
        }
        Ok(found)
    }
}

/// The keys of a file that may be there.
fn keys(file: &Path) -> Result<Map<String, Value>, TextModelError> {
    match optional(file)? {
        None => Ok(Map::new()),
        Some(Value::Object(keys)) => Ok(keys),
        Some(_) => Err(TextModelError::NotJson {
            path: file.into(),
            problem: "another value stands there".to_owned(),
        }),
    }
}

/// Whether a name stays inside its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.')
}

/// Ways of pooling, by the name and by the switch that files have for them.
const WAYS: [(&str, &str, Pool); 5] = [
    ("cls", "pooling_mode_cls_token", Pool::First),
    ("lasttoken", "pooling_mode_lasttoken", Pool::Last),
    ("mean", "pooling_mode_mean_tokens", Pool::Mean),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Pool::MeanSqrtLen,
    ),
    ("max", "pooling_mode_max_tokens", Pool::Max),
];

/// The one way of pooling: named, or, in older files, the one that is switched on.
fn pool(keys: &Map<String, Value>) -> Result<Pool, ConfigError> {
    if let Some(found) = keys.get("pooling_mode").filter(|value| !value.is_null()) {
        let name = match found.as_array().map(Vec::as_slice) {
            Some([one]) => one.as_str(),
            _ => found.as_str(),
        };
        let way = WAYS.into_iter().find(|&(way, ..)| Some(way) == name);
        return way.map(|(.., pool)| pool).ok_or_else(|| {
            let names = WAYS.map(|(name, ..)| format!("`{name}`")).join(", ");
            ConfigError::range("pooling_mode", found, format!("one of {names}"))
        });
    }
    let on = |key: &str| keys.get(key).and_then(Value::as_bool) == Some(true);
    let chosen = WAYS.iter().filter(|(_, switch, _)| on(switch));
    let chosen: Vec<Pool> = chosen.map(|&(.., way)| way).collect();
    match chosen[..] {
        [] if !WAYS.iter().any(|(_, switch, _)| keys.contains_key(*switch))
            && !keys.contains_key("pooling_mode_weightedmean_tokens") =>
        {
            Ok(Pool::Mean)
        }
        [way] if !on("pooling_mode_weightedmean_tokens") => Ok(way),
        _ => {
            let names = WAYS.map(|(_, switch, _)| format!("`{switch}`"));
            let problem = format!("asks for another way than one of {}", names.join(", "));
            Err(ConfigError::conflict("pooling", problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ways_of_pooling_are_named_or_switched_on() {
        let found = |keys: Value| pool(keys.as_object().unwrap()).map_err(|e| e.to_string());
        for (name, switch, way) in WAYS {
            for keys in [
                json!({ "pooling_mode": name, "embedding_dimension": 8 }),
                json!({ "pooling_mode": [name] }),
                json!({ switch: true, "pooling_mode_weightedmean_tokens": false }),
            ] {
                assert_eq!(found(keys), Ok(way));
            }
        }
        assert_eq!(
            found(json!({ "word_embedding_dimension": 8 })),
            Ok(Pool::Mean)
        );
        let none = json!({ "pooling_mode_mean_tokens": false });
        assert!(found(none).is_err());
        for keys in [
            json!({ "pooling_mode": "weightedmean" }),
            json!({ "pooling_mode": ["mean", "max"] }),
        ] {
            let error = found(keys).unwrap_err();
            assert!(
                error.contains("expected one of `cls`, `lasttoken`"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_role_has_its_own_prompt_or_none() {
        let prompts = TextPrompts {
            by_name: [("passage", "p: "), ("all", "a: ")]
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
            default: Some("all".into()),
            left_out: false,
        };
        let roles = [TextRole::Text, TextRole::Query, TextRole::Document];
        assert_eq!(roles.map(|role| prompts.of(role)), ["a: ", "", "p: "]);
        assert_eq!(TextPrompts::default().of(TextRole::Query), "");
    }
}
