//! Classification by direction.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// Logits as scaled cosines: features of unit length against the rows of `weight [c, d]`.
///
/// This is how a CLIP model classifies: row `j` is the embedding of class `j` times the temperature, so the length
/// of the rows is the scale of the logits.
#[derive(Clone, Debug)]
pub struct CosineHead {
    weight: Dual<2>,
}

impl CosineHead {
    /// Binds a head over features of width `d` with `classes` rows.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, d: usize, classes: usize) -> Result<Self, NnError> {
        let init = Init::LinearUniform { fan_in: d };
        Ok(Self {
            weight: scope.tensor("weight", [classes, d], init)?,
        })
    }

    /// Wraps rows that are already at hand.
    pub fn new(weight: Dual<2>) -> Self {
        Self { weight }
    }

    /// `features [n, d]` -> logits `[n, c]`.
    pub fn forward(&self, features: Dual<2>) -> Dual<2> {
        let square = (features.clone() * features.clone()).sum_dim(1);
        let unit = features * square.add_scalar(1e-12).sqrt().recip();
        dual::linear(unit, self.weight.clone(), None)
    }
}
