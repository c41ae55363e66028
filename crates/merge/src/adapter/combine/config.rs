//! The methods and their settings, as recipes spell them.

use refit_core::ConfigError;
use serde::{Deserialize, Serialize};

/// A method and its settings, as recipes spell them: `{"adapter_method": "ties", "density": 0.2}`.
///
/// ```
/// use refit_merge::adapter::CombineConfig;
/// let config: CombineConfig = serde_json::from_str(r#"{"adapter_method": "svd", "rank": 8}"#)?;
/// assert_eq!(config.name(), "svd");
/// assert!(config.check().is_ok());
/// let slip = serde_json::from_str::<CombineConfig>(r#"{"adapter_method": "svd", "density": 0.5}"#);
/// assert!(slip.unwrap_err().to_string().contains("unknown field `density`"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "adapter_method", rename_all = "snake_case")]
pub enum CombineConfig {
    /// Weighted sum of factors: cross terms of the adapters come in, the rank stays.
    Linear(NoSettings),
    /// Factors side by side: the exact weighted sum of changes; ranks add up.
    Cat(NoSettings),
    /// The weighted sum of changes, cut to a rank.
    Svd(RankSettings),
    /// Factors trimmed by magnitude; signs are elected, what agrees is averaged.
    Ties(ElectSettings),
    /// Factors thinned out at random and rescaled, then summed.
    DareLinear(DensitySettings),
    /// Factors thinned out at random and rescaled; signs are elected, what agrees is averaged.
    DareTies(ElectSettings),
    /// Factors trimmed by magnitude, then summed.
    MagnitudePrune(DensitySettings),
    /// TIES on factors that were brought to one output space.
    Knots(KnotsSettings),
}

/// Where a method has nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Settings of methods that cut to a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankSettings {
    /// Most components of the result; at least 1 (default: the largest rank of the adapters, as in PEFT).
    pub rank: Option<usize>,
}

/// Settings of methods that thin factors out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DensitySettings {
    /// Share of the entries of each factor that stays; in `(0, 1]` (default 0.5: ours; PEFT has none).
    pub density: f64,
}

impl Default for DensitySettings {
    fn default() -> Self {
        Self { density: 0.5 }
    }
}

/// Settings of methods that elect signs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElectSettings {
    /// Share of the entries of each factor that stays; in `(0, 1]` (default 0.5: ours; PEFT has none).
    pub density: f64,
    /// What elects a sign (default: total, as in the paper and PEFT).
    pub majority_sign_method: Majority,
}

impl Default for ElectSettings {
    fn default() -> Self {
        Self {
            density: 0.5,
            majority_sign_method: Majority::Total,
        }
    }
}

/// Settings of `KnOTS`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnotsSettings {
    /// Share of the entries of each block that stays; in `(0, 1]` (default 0.5: ours).
    pub density: f64,
    /// What elects a sign (default: total, as in the paper of TIES).
    pub majority_sign_method: Majority,
    /// Most components of the result; at least 1 (default: all, at most the sum of the ranks of the adapters).
    pub rank: Option<usize>,
}

impl Default for KnotsSettings {
    fn default() -> Self {
        Self {
            density: 0.5,
            majority_sign_method: Majority::Total,
            rank: None,
        }
    }
}

/// What elects the sign of an entry; a draw elects plus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Majority {
    /// The sum of entries.
    #[default]
    Total,
    /// The number of entries of either sign.
    Frequency,
}

/// A checked [`CombineConfig`].
#[derive(Clone, Debug)]
pub struct Combine(pub(super) CombineConfig);

impl CombineConfig {
    /// Every method with its default settings, in the order of the documentation.
    pub fn all() -> [Self; 8] {
        [
            Self::Linear(NoSettings {}),
            Self::Cat(NoSettings {}),
            Self::Svd(RankSettings::default()),
            Self::Ties(ElectSettings::default()),
            Self::DareLinear(DensitySettings::default()),
            Self::DareTies(ElectSettings::default()),
            Self::MagnitudePrune(DensitySettings::default()),
            Self::Knots(KnotsSettings::default()),
        ]
    }

    /// The name that recipes use.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear",
            Self::Cat(_) => "cat",
            Self::Svd(_) => "svd",
            Self::Ties(_) => "ties",
            Self::DareLinear(_) => "dare_linear",
            Self::DareTies(_) => "dare_ties",
            Self::MagnitudePrune(_) => "magnitude_prune",
            Self::Knots(_) => "knots",
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used.
    pub fn check(self) -> Result<Combine, ConfigError> {
        let (density, rank) = match &self {
            Self::Linear(_) | Self::Cat(_) => (None, None),
            Self::Svd(settings) => (None, settings.rank),
            Self::Ties(settings) | Self::DareTies(settings) => (Some(settings.density), None),
            Self::DareLinear(settings) | Self::MagnitudePrune(settings) => {
                (Some(settings.density), None)
            }
            Self::Knots(settings) => (Some(settings.density), settings.rank),
        };
        match (density, rank) {
            (Some(density), _) if !(density > 0.0 && density <= 1.0) => {
                Err(ConfigError::range("density", density, "a share in (0, 1]"))
            }
            (_, Some(0)) => Err(ConfigError::range("rank", 0, "at least 1")),
            _ => Ok(Combine(self)),
        }
    }
}

impl Combine {
    /// The settings.
    pub const fn config(&self) -> &CombineConfig {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_back_what_it_writes_under_its_own_name() {
        for config in CombineConfig::all() {
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["adapter_method"], config.name());
            assert_eq!(
                serde_json::from_value::<CombineConfig>(json).unwrap(),
                config
            );
            let bare = serde_json::json!({ "adapter_method": config.name() });
            assert_eq!(
                serde_json::from_value::<CombineConfig>(bare).unwrap(),
                config
            );
            assert!(config.check().is_ok());
        }
    }

    #[test]
    fn settings_outside_their_range_are_refused() {
        let density = |density| CombineConfig::DareLinear(DensitySettings { density }).check();
        for value in [0.0, 1.5, f64::NAN] {
            let text = density(value).unwrap_err().to_string();
            assert!(text.ends_with("expected a share in (0, 1]"), "{text}");
        }
        assert!(
            CombineConfig::Svd(RankSettings { rank: Some(0) })
                .check()
                .is_err()
        );
    }
}
