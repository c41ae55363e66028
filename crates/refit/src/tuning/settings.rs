//! Settings of a tuning.

use crate::fitting::FitSettings;
use refit_core::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TuneMethod {
    /// A linear head on the vectors of the texts.
    Head,
    /// A linear head, and matrices of low rank that are added to weights of the encoder.
    Lora(LoraConfig),
}

/// Which weights get an addition of low rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoraConfig {
    /// Rank of every addition (PEFT: 8).
    pub rank: usize,
    /// The product of the factors is multiplied by this over the rank (PEFT: 8).
    pub alpha: f64,
    /// Last parts of the names of the maps (PEFT, for BERT: query and value).
    pub targets: Vec<String>,
    /// Only maps of this many layers, counted from the last (PEFT: all).
    pub layers: Option<usize>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            targets: vec!["query".into(), "value".into()],
            layers: None,
        }
    }
}

impl LoraConfig {
    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.rank == 0 {
            return Err(ConfigError::range("rank", 0, "a number of at least 1"));
        }
        if !(self.alpha.is_normal() && self.alpha > 0.0) {
            let expected = "a finite number above 0";
            return Err(ConfigError::range("alpha", self.alpha, expected));
        }
        if self.layers == Some(0) {
            return Err(ConfigError::range("layers", 0, "a number of at least 1"));
        }
        Ok(())
    }
}

/// Everything that a tuning is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TuneSettings {
    /// Folder of the encoder.
    pub model: PathBuf,
    /// What is fitted.
    pub method: TuneMethod,
    /// Tokens to which texts are cut; `None`: as many as the model reads.
    pub max_length: Option<usize>,
    /// Data, solvers and their start.
    pub fit: FitSettings,
}
