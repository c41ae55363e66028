//! Why adapters do not become one.

use crate::error::Shape;
use refit_core::{ConfigError, Hint, ParamPath};
use refit_math::MathError;
use std::borrow::Cow;

/// Why adapters do not become one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// Nothing to merge.
    #[error("no adapter to merge, expected at least one")]
    NoAdapters,
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Factors for a weight of another shape.
    #[error(
        "`{adapter}` changes `{target}` by a matrix of shape {found}, other adapters by {expected}"
    )]
    Shape {
        /// The adapter.
        adapter: String,
        /// The tensor.
        target: ParamPath,
        /// Shape of its change.
        found: Shape,
        /// Shape of the change of the adapters before it.
        expected: Shape,
    },
    /// A change of another kind, or for a layer that stores its weight in another orientation.
    #[error("`{adapter}` changes `{target}` in another way than other adapters")]
    Kind {
        /// The adapter.
        adapter: String,
        /// The tensor.
        target: ParamPath,
    },
    /// Factors that do not lie over each other.
    #[error(
        "`{adapter}` has rank {found} at `{target}`, `{method}` expects that of the other adapters, {expected}"
    )]
    Rank {
        /// The adapter.
        adapter: String,
        /// The tensor.
        target: ParamPath,
        /// The method.
        method: &'static str,
        /// Its rank.
        found: usize,
        /// The rank of the adapters before it.
        expected: usize,
    },
    /// What depends on the base.
    #[error("`{adapter}` {what} `{target}`, which cannot be merged without the base")]
    NeedsBase {
        /// The adapter.
        adapter: String,
        /// What it does, such as `replaces`.
        what: &'static str,
        /// The tensor.
        target: ParamPath,
    },
    /// A NaN or an infinity.
    #[error("`{adapter}` changes `{target}` by values that are not finite")]
    NotFinite {
        /// The adapter.
        adapter: String,
        /// The tensor.
        target: ParamPath,
    },
    /// A result that no value can hold.
    #[error("the merged change of `{target}` overflows")]
    Overflow {
        /// The tensor.
        target: ParamPath,
    },
    /// A decomposition that failed.
    #[error("cannot merge the changes of `{target}` as matrices")]
    Matrix {
        /// The tensor.
        target: ParamPath,
        /// Why.
        #[source]
        source: MathError,
    },
    /// The listener asked for a stop before the result was complete.
    #[error("interrupted")]
    Cancelled,
}

impl Hint for CombineError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoAdapters => Some("name at least one adapter".into()),
            Self::Config(error) => error.hint(),
            Self::Shape { .. } | Self::Kind { .. } => {
                Some("adapters must have been trained on one base".into())
            }
            Self::Rank { .. } => {
                Some("`cat`, `svd` and `knots` merge adapters of different ranks".into())
            }
            Self::NeedsBase { .. } => Some(
                "merge models instead, each written as `base+adapter`, by `task_arithmetic` or another `merge_method`"
                    .into(),
            ),
            Self::Overflow { .. } => {
                Some("lower the weights, or `lora_alpha` of the adapters".into())
            }
            Self::NotFinite { .. } => Some("repair or leave out that adapter".into()),
            Self::Matrix { source, .. } => source.hint(),
            Self::Cancelled => None,
        }
    }
}
