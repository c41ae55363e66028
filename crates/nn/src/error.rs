//! What can go wrong between a configuration and a checkpoint.

use refit_core::{ConfigError, DType, Hint, ParamPath};
use std::borrow::Cow;

/// A model could not be built from its configuration and weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// The configuration names a tensor that the checkpoint lacks.
    #[error("tensor `{path}` is missing, expected shape {expected:?}")]
    Missing {
        /// Its name.
        path: ParamPath,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("tensor `{path}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        path: ParamPath,
        /// What the checkpoint holds.
        found: Vec<usize>,
        /// What the configuration asks for.
        expected: Vec<usize>,
    },
    /// The checkpoint holds tensors that the configuration does not know.
    #[error("{count} tensors belong to no part of the model, the first is `{first}`")]
    Unused {
        /// How many.
        count: usize,
        /// The first of them.
        first: ParamPath,
    },
    /// Two tensors have one name.
    #[error("tensor `{path}` is listed twice")]
    Duplicate {
        /// The name.
        path: ParamPath,
    },
    /// A tensor is of a type that weights cannot have.
    #[error("tensor `{path}` has dtype {found}, expected one of F16, BF16, F32, F64")]
    DType {
        /// Its name.
        path: ParamPath,
        /// Its type.
        found: DType,
    },
    /// A value is not a number.
    #[error("tensor `{path}` holds a value that is not finite")]
    NotFinite {
        /// Its name.
        path: ParamPath,
    },
    /// The bytes of a tensor could not be read.
    #[error("cannot read tensor `{path}`")]
    Read {
        /// Its name.
        path: ParamPath,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting of the model is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Hint for NnError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Missing { .. } | Self::Shape { .. } | Self::Unused { .. } => Some(
                "compare `config.json` with the tensors that `refit info` lists for the checkpoint"
                    .into(),
            ),
            Self::NotFinite { .. } => {
                Some("run `refit info` to see which tensors are affected".into())
            }
            Self::Config(error) => error.hint(),
            _ => None,
        }
    }
}
