//! What can go wrong when units are brought into one order.

use refit_core::{Hint, ParamPath};
use refit_math::MathError;
use std::borrow::Cow;

/// Everything that can stop an alignment.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AlignError {
    /// A binding that speaks of no tensor, so that others of its permutation would move without it.
    #[error("no tensor is called `{pattern}`, expected at least one")]
    NoTensor {
        /// The name or pattern.
        pattern: String,
    },
    /// An axis that the tensor does not have.
    #[error("`{path}` has {rank} axes, the binding speaks of axis {axis}, counted from 0")]
    Axis {
        /// The tensor.
        path: ParamPath,
        /// How many axes it has.
        rank: usize,
        /// The axis.
        axis: usize,
    },
    /// An axis that cannot be cut into the items of a binding.
    #[error("axis {axis} of `{path}` has {found} entries, which cannot be cut as the binding says")]
    Extent {
        /// The tensor.
        path: ParamPath,
        /// The axis.
        axis: usize,
        /// Its length.
        found: usize,
    },
    /// Places of one permutation that differ in the number of items.
    #[error(
        "axis {axis} of `{path}` has {found} items of permutation `{name}`, others have {expected}"
    )]
    Items {
        /// The tensor.
        path: ParamPath,
        /// The axis.
        axis: usize,
        /// The permutation.
        name: String,
        /// Items there.
        found: usize,
        /// Items elsewhere.
        expected: usize,
    },
    /// Two bindings that claim the same entries.
    #[error("two bindings claim entries of axis {axis} of `{path}`, expected one")]
    Overlap {
        /// The tensor.
        path: ParamPath,
        /// The axis.
        axis: usize,
    },
    /// Models that differ in names or shapes.
    #[error("the models differ in names or shapes, beginning with `{path}`")]
    Layout {
        /// The first tensor that differs.
        path: ParamPath,
    },
    /// Similarities that are not finite.
    #[error("cannot match the units of `{name}`")]
    Match {
        /// The permutation.
        name: String,
        /// Why.
        #[source]
        source: MathError,
    },
}

impl Hint for AlignError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoTensor { .. } => {
                Some("correct the name, or mark the binding as optional".into())
            }
            Self::Layout { .. } => Some("both models must have one architecture".into()),
            Self::Match { source, .. } => source.hint(),
            _ => None,
        }
    }
}
