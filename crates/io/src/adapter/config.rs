//! The settings of an adapter.

use super::{AdapterError, CONFIG_FILE, pattern::Patterns};
use crate::{
    ckpt::text::excerpt,
    file::{FileError, read_file},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Most bytes of an `adapter_config.json`.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Largest rank; no layer is wider.
const MAX_RANK: usize = 1 << 20;

/// Settings under which factors alone do not tell the weights.
const UNSUPPORTED: [&str; 10] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// Ways to begin training that change the base; only the changed base goes with such an adapter.
const BASE_CHANGING_STARTS: [&str; 5] = ["corda", "loftq", "lora_ga", "olora", "pissa"];

/// `adapter_config.json` of a LoRA adapter. Settings that do not steer what the weights become are kept in
/// [`other`](Self::other).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Kind of the adapter: `LORA`.
    pub peft_type: String,
    /// Rank of every module that [`rank_pattern`](Self::rank_pattern) does not name (PEFT's default: 8).
    #[serde(default = "eight")]
    pub r: usize,
    /// Numerator of the scale of every module that [`alpha_pattern`](Self::alpha_pattern) does not name (PEFT's
    /// default: 8).
    #[serde(default = "eight_wide")]
    pub lora_alpha: f64,
    /// Ranks of single modules.
    #[serde(default, deserialize_with = "or_default")]
    pub rank_pattern: Patterns<usize>,
    /// Numerators of single modules.
    #[serde(default, deserialize_with = "or_default")]
    pub alpha_pattern: Patterns<f64>,
    /// Whether scales are divided by the square root of the rank instead of the rank.
    #[serde(default, deserialize_with = "or_default")]
    pub use_rslora: bool,
    /// Whether outputs are brought to learned lengths.
    #[serde(default, deserialize_with = "or_default")]
    pub use_dora: bool,
    /// Whether layers store their weights `[in, out]`.
    #[serde(default, deserialize_with = "or_default")]
    pub fan_in_fan_out: bool,
    /// The model it was trained on.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn eight() -> usize {
    8
}

fn eight_wide() -> f64 {
    8.0
}

/// `null` means what a missing setting means.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl AdapterConfig {
    /// Reads and checks the settings of the adapter in `folder`.
    ///
    /// # Errors
    /// When there are none, another kind of adapter is meant, a value cannot be used, or a setting makes the adapter
    /// something else than a change of weights.
    pub fn open(folder: &Path) -> Result<Self, AdapterError> {
        let file = folder.join(CONFIG_FILE);
        let bytes = read_file(&file, MAX_CONFIG_BYTES).map_err(|error| match error {
            FileError::Io { .. } if error.is_not_found() => AdapterError::NoAdapter {
                folder: folder.into(),
                missing: CONFIG_FILE,
            },
            error => error.into(),
        })?;
        let failed = |problem: String| AdapterError::Config {
            file: file.clone(),
            problem: excerpt(&problem),
        };
        // Kinds differ in their settings, so the kind is looked at first.
        let kind: Kind = serde_json::from_slice(&bytes).map_err(|e| failed(e.to_string()))?;
        if kind.peft_type != "LORA" {
            return Err(AdapterError::Kind {
                file,
                found: excerpt(&kind.peft_type),
            });
        }
        let config: Self = serde_json::from_slice(&bytes)
            .map_err(|e| failed(culprit(&bytes).unwrap_or_else(|| e.to_string())))?;
        let ranks = config.rank_pattern.iter().map(|(_, &rank)| rank);
        if let Some(r) = ranks
            .chain([config.r])
            .find(|r| !(1..=MAX_RANK).contains(r))
        {
            return Err(failed(format!("a rank is {r}, expected 1 to {MAX_RANK}")));
        }
        match config.unsupported() {
            Some((key, value)) => Err(AdapterError::Unsupported {
                file,
                key: key.to_owned(),
                value: excerpt(&value.to_string()),
            }),
            None => Ok(config),
        }
    }

    /// The first setting that factors alone do not follow.
    fn unsupported(&self) -> Option<(&str, &Value)> {
        let set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        let start = |value: &Value| {
            let name = value.as_str().unwrap_or_default().to_ascii_lowercase();
            BASE_CHANGING_STARTS
                .iter()
                .any(|start| name.starts_with(start))
        };
        self.other.iter().find_map(|(key, value)| {
            let refused = match key.as_str() {
                "init_lora_weights" => start(value),
                key => UNSUPPORTED.contains(&key) && set(value),
            };
            refused.then_some((key.as_str(), value))
        })
    }

    /// Rank of the module called `module`.
    pub fn rank_of(&self, module: &str) -> usize {
        self.rank_pattern.find(module).unwrap_or(self.r)
    }

    /// Factor on the product of the module called `module`: `alpha / r`, or `alpha / sqrt(r)` with `use_rslora`.
    pub fn scale_of(&self, module: &str) -> f64 {
        let alpha = self.alpha_pattern.find(module).unwrap_or(self.lora_alpha);
        let rank = self.rank_of(module) as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// The setting that cannot be used, and why; a parser of the whole does not tell its key.
fn culprit(bytes: &[u8]) -> Option<String> {
    let settings: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    settings.into_iter().find_map(|(key, value)| {
        let alone = [("peft_type".into(), "LORA".into()), (key.clone(), value)];
        let parsed =
            serde_json::from_value::<AdapterConfig>(Value::Object(alone.into_iter().collect()));
        parsed.err().map(|error| format!("`{key}`: {error}"))
    })
}

#[derive(Deserialize)]
struct Kind {
    peft_type: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Overwrite, write_file};

    fn open(json: &str) -> Result<AdapterConfig, AdapterError> {
        let home = tempfile::tempdir().unwrap();
        write_file(
            home.path().join(CONFIG_FILE),
            json.as_bytes(),
            Overwrite::Refuse,
        )
        .unwrap();
        AdapterConfig::open(home.path())
    }

    #[test]
    fn scales_follow_the_patterns() {
        let config = open(
            r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 32, "rank_pattern": {"v_proj": 4},
                "alpha_pattern": {"^h\\.0\\.v_proj": 2.0}, "lora_dropout": 0.1, "use_dora": null}"#,
        )
        .unwrap();
        let scale = |module| config.scale_of(module);
        assert_eq!(scale("h.0.q_proj").to_bits(), 2f64.to_bits());
        assert_eq!(scale("h.0.v_proj").to_bits(), 0.5f64.to_bits());
        assert_eq!(scale("h.1.v_proj").to_bits(), 8f64.to_bits());
        assert_eq!(config.other["lora_dropout"], 0.1);
        let root = AdapterConfig {
            use_rslora: true,
            ..config
        };
        assert_eq!(root.scale_of("h.1.v_proj").to_bits(), 16f64.to_bits());
    }

    #[test]
    fn other_kinds_and_starts_are_refused_by_name() {
        let text = |json| open(json).unwrap_err().to_string();
        assert!(text(r#"{"peft_type": "IA3", "r": "?"}"#).contains("the peft_type `IA3`"));
        let pissa = text(r#"{"peft_type": "LORA", "init_lora_weights": "pissa_niter_16"}"#);
        assert!(
            pissa.contains("`init_lora_weights` to \"pissa_niter_16\""),
            "{pissa}"
        );
        let tokens = text(r#"{"peft_type": "LORA", "trainable_token_indices": [3]}"#);
        assert!(
            tokens.contains("`trainable_token_indices` to [3]"),
            "{tokens}"
        );
        assert!(open(r#"{"peft_type": "LORA", "layer_replication": null}"#).is_ok());
        assert!(open(r#"{"peft_type": "LORA", "init_lora_weights": "gaussian"}"#).is_ok());
    }

    #[test]
    fn nonsense_is_an_error() {
        for json in [
            "",
            "[]",
            "{}",
            r#"{"peft_type": 3}"#,
            r#"{"peft_type": "LORA", "r": 0}"#,
            r#"{"peft_type": "LORA", "r": 9999999999}"#,
            r#"{"peft_type": "LORA", "r": 8, "rank_pattern": {"q": 0}}"#,
            r#"{"peft_type": "LORA", "lora_alpha": "big"}"#,
            r#"{"peft_type": "LORA", "rank_pattern": {"(": 2}}"#,
        ] {
            assert!(open(json).is_err(), "{json}");
        }
    }
}
