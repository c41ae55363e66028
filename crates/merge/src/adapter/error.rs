//! Why an adapter does not go with a model.

use crate::error::Shape;
use refit_core::{Hint, ParamPath};
use std::borrow::Cow;

/// Why an adapter does not go with a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// Tensors that the adapter changes and the model does not have.
    #[error("the adapter `{adapter}` changes `{target}`, which the model has not{}", and_more(*more))]
    NoTarget {
        /// The adapter.
        adapter: String,
        /// The first such tensor.
        target: ParamPath,
        /// How many more there are.
        more: usize,
        /// The closest name of the model, if one is close.
        nearest: Option<String>,
    },
    /// A change of another shape than the tensor.
    #[error(
        "the adapter changes `{target}` by a matrix of shape {found}, the model has {expected}"
    )]
    Shape {
        /// The tensor.
        target: ParamPath,
        /// Shape of the change.
        found: Shape,
        /// Shape in the model.
        expected: Shape,
    },
    /// Lengths that are not one per output.
    #[error("the adapter gives `{target}` {found} magnitudes, expected {expected}")]
    Magnitudes {
        /// The tensor.
        target: ParamPath,
        /// How many there are.
        found: usize,
        /// Outputs of the layer.
        expected: usize,
    },
    /// A tensor that is no weight.
    #[error("the adapter changes `{target}`, which holds no weights")]
    NotWeights {
        /// The tensor.
        target: ParamPath,
    },
    /// A kind of change that is not known here.
    #[error("the adapter changes `{target}` in a way that cannot be folded in")]
    Unknown {
        /// The tensor.
        target: ParamPath,
    },
    /// A stretch that does not fit the tensor or the memory given for it.
    #[error("`{target}` was asked for {found} values of {start}..{end}, it has {len}")]
    Range {
        /// The tensor.
        target: ParamPath,
        /// Room for values.
        found: usize,
        /// First value.
        start: usize,
        /// Behind the last value.
        end: usize,
        /// Values of the tensor.
        len: usize,
    },
    /// Bytes of values that are stored nowhere.
    #[error("`{target}` is computed and not stored, so it has no bytes")]
    Computed {
        /// The tensor.
        target: ParamPath,
    },
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(", nor {more} more"),
    }
}

impl Hint for FoldError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoTarget {
                nearest: Some(name),
                ..
            } => Some(format!("did you mean `{name}`?").into()),
            Self::NoTarget { .. } => Some(
                "give the adapter to the model it was trained on; a tied output head has no tensor of its own".into(),
            ),
            Self::Shape { .. } | Self::Magnitudes { .. } => {
                Some("give the adapter to the model it was trained on".into())
            }
            _ => None,
        }
    }
}
