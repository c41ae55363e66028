//! What can stop a tuning before its fit.

use crate::{fitting::FitError, run::RunError, text::TextModelError};
use refit_core::{ConfigError, Hint};
use refit_io::{adapter::AdapterError, ckpt::CkptError, data::DataError};
use refit_nn::NnError;
use refit_train::objective::DualError;
use std::borrow::Cow;

/// A tuning could not begin, or its result not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The encoder.
    #[error(transparent)]
    Model(Box<TextModelError>),
    /// Texts that cannot be read.
    #[error(transparent)]
    Data(Box<DataError>),
    /// An encoder that is no function of adapters.
    #[error(transparent)]
    Dual(#[from] DualError),
    /// What is fitted.
    #[error(transparent)]
    Fit(Box<FitError>),
    /// A head that cannot be written or read back.
    #[error(transparent)]
    Weights(Box<CkptError>),
    /// An adapter that cannot be written.
    #[error(transparent)]
    Adapter(Box<AdapterError>),
    /// A document that cannot be written.
    #[error(transparent)]
    Run(#[from] RunError),
}

macro_rules! boxed {
    ($($variant:ident: $error:ty),*) => {
        $(impl From<$error> for TuneError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}
boxed!(Model: TextModelError, Data: DataError, Fit: FitError, Weights: CkptError, Adapter: AdapterError);

impl From<NnError> for TuneError {
    fn from(error: NnError) -> Self {
        Self::Dual(error.into())
    }
}

impl Hint for TuneError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Dual(error) => error.hint(),
            Self::Fit(error) => error.hint(),
            Self::Weights(error) => error.hint(),
            Self::Adapter(error) => error.hint(),
            Self::Run(error) => error.hint(),
        }
    }
}
