//! The methods by name.

use crate::{
    average::{Average, AverageConfig},
    error::MergeError,
    learned::{AdaMerging, AdaMergingConfig},
    rule::{TensorRule, merge},
    task_vector::{
        TaskVectors,
        dare::{Dare, DareConfig},
        task_arithmetic::{TaskArithmetic, TaskArithmeticConfig},
        ties::{Ties, TiesConfig},
    },
    tensor_set::TensorSet,
};
use refit_core::{Card, ConfigError, Progress};
use serde::{Deserialize, Serialize};

/// A method and its settings, as recipes spell them: `{"method": "ties", "keep": 0.2}`.
///
/// ```
/// use refit_merge::MergeConfig;
/// let config: MergeConfig = serde_json::from_str(r#"{"method": "task-arithmetic", "scale": 0.4}"#).unwrap();
/// assert_eq!(config.card().name, "task-arithmetic");
/// assert!(config.check().is_ok());
/// let slip = serde_json::from_str::<MergeConfig>(r#"{"method": "ties", "kep": 0.2}"#).unwrap_err();
/// assert!(slip.to_string().contains("unknown field `kep`"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MergeConfig {
    /// Weighted mean of models.
    Average(AverageConfig),
    /// Scaled sum of task vectors.
    TaskArithmetic(TaskArithmeticConfig),
    /// Trimmed election of signs.
    Ties(TiesConfig),
    /// Random dropping.
    Dare(DareConfig),
    /// Coefficients learned by entropy.
    #[serde(rename = "adamerging")]
    AdaMerging(AdaMergingConfig),
}

/// A checked [`MergeConfig`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MergeMethod {
    /// Weighted mean of models.
    Average(Average),
    /// Scaled sum of task vectors.
    TaskArithmetic(TaskArithmetic),
    /// Trimmed election of signs.
    Ties(Ties),
    /// Random dropping.
    Dare(Dare),
    /// Coefficients learned by entropy; runs as a [`Session`](crate::Session).
    AdaMerging(AdaMerging),
}

impl MergeConfig {
    /// Every method with its default settings, in the order of the documentation.
    pub fn all() -> [Self; 5] {
        [
            Self::Average(AverageConfig::default()),
            Self::TaskArithmetic(TaskArithmeticConfig::default()),
            Self::Ties(TiesConfig::default()),
            Self::Dare(DareConfig::default()),
            Self::AdaMerging(AdaMergingConfig::default()),
        ]
    }

    /// What the method says about itself.
    pub fn card(&self) -> &'static Card {
        match self {
            Self::Average(_) => &Average::CARD,
            Self::TaskArithmetic(_) => &TaskArithmetic::CARD,
            Self::Ties(_) => &Ties::CARD,
            Self::Dare(_) => &Dare::CARD,
            Self::AdaMerging(_) => &AdaMerging::CARD,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used.
    pub fn check(self) -> Result<MergeMethod, ConfigError> {
        Ok(match self {
            Self::Average(config) => MergeMethod::Average(config.try_into()?),
            Self::TaskArithmetic(config) => MergeMethod::TaskArithmetic(config.try_into()?),
            Self::Ties(config) => MergeMethod::Ties(config.try_into()?),
            Self::Dare(config) => MergeMethod::Dare(config.try_into()?),
            Self::AdaMerging(config) => MergeMethod::AdaMerging(config.try_into()?),
        })
    }
}

impl MergeMethod {
    /// Merges without data.
    ///
    /// # Errors
    /// Those of [`merge`]; [`MergeError::NeedsModel`] for a method that learns.
    pub fn merge(
        &self,
        tasks: &TaskVectors<'_>,
        progress: &dyn Progress,
    ) -> Result<TensorSet, MergeError> {
        match self {
            Self::Average(rule) => merge(rule, tasks, progress),
            Self::TaskArithmetic(rule) => merge(rule, tasks, progress),
            Self::Ties(rule) => merge(rule, tasks, progress),
            Self::Dare(rule) => merge(rule, tasks, progress),
            Self::AdaMerging(_) => Err(MergeError::NeedsModel {
                method: AdaMerging::CARD.name,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_back_what_it_writes_under_its_own_name() {
        for config in MergeConfig::all() {
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["method"], config.card().name);
            assert_eq!(serde_json::from_value::<MergeConfig>(json).unwrap(), config);
            let bare = serde_json::json!({ "method": config.card().name });
            assert_eq!(serde_json::from_value::<MergeConfig>(bare).unwrap(), config);
            assert!(config.check().is_ok());
        }
    }

    #[test]
    fn settings_are_spelt_in_kebab_case() {
        let text = r#"{"method": "adamerging", "grouping": {"regex": ["a"]}, "plus": {}, "clamp": "projected",
            "learning-rate": 0.01, "batch-size": 8}"#;
        let MergeConfig::AdaMerging(config) = serde_json::from_str(text).unwrap() else {
            panic!()
        };
        assert_eq!(
            (config.batch_size, config.plus.map(|p| p.keep)),
            (8, Some(0.2))
        );
    }
}
