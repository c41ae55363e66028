//! What a model has to tell.

use refit_kernels::dual::Dual;
use refit_nn::{NnError, Weights};
use std::sync::Arc;

/// Outputs of a model on its own rows, as a function of its weights.
pub trait Outputs: Sync {
    /// Number of rows.
    fn terms(&self) -> usize;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// The class of a row.
    fn class(&self, term: usize) -> usize;

    /// Length of a row. Rows are read together with rows of the same length alone, so that no padding is needed, and
    /// none can change a bit.
    fn length(&self, term: usize) -> usize {
        let _ = term;
        1
    }

    /// The outputs of rows of one length: `[terms, classes]`. What is not a weight is put on the device of `at`.
    ///
    /// # Errors
    /// Weights that do not fit the model, or a row that it cannot read.
    fn outputs(&self, at: &Weights, terms: &[u32]) -> Result<Dual<2>, NnError>;
}

impl<M: Outputs + Send + ?Sized> Outputs for Arc<M> {
    fn terms(&self) -> usize {
        (**self).terms()
    }

    fn classes(&self) -> usize {
        (**self).classes()
    }

    fn class(&self, term: usize) -> usize {
        (**self).class(term)
    }

    fn length(&self, term: usize) -> usize {
        (**self).length(term)
    }

    fn outputs(&self, at: &Weights, terms: &[u32]) -> Result<Dual<2>, NnError> {
        (**self).outputs(at, terms)
    }
}

/// Rows of one length: their places in a sample, and the terms there.
pub(super) struct Batch {
    pub(super) places: Vec<usize>,
    pub(super) terms: Vec<u32>,
}
