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
        dual::linear(unit_rows(features), self.weight.clone(), None)
    }
}

/// Under the root of a length: a row of zeros has no direction, and a gradient that is finite.
const FLOOR: f64 = 1e-12;

/// Rows of length 1: `x / sqrt(x . x + 1e-12)`.
///
/// # Shapes
/// `rows [n, d]` -> `[n, d]`
#[must_use]
pub fn unit_rows(rows: Dual<2>) -> Dual<2> {
    let square = (rows.clone() * rows.clone()).sum_dim(1);
    rows * square.add_scalar(FLOOR).sqrt().recip()
}

/// One of the [`unit_rows`] on the host, in double precision.
///
/// ```
/// assert_eq!(refit_nn::blocks::unit_row(&[0.0, 0.0]), [0.0, 0.0]);
/// let unit = refit_nn::blocks::unit_row(&[3.0, 4.0]);
/// assert!((unit[0] - 0.6).abs() < 1e-12 && (unit[1] - 0.8).abs() < 1e-12);
/// ```
#[must_use]
pub fn unit_row(row: &[f64]) -> Vec<f64> {
    let length = (row.iter().map(|x| x * x).sum::<f64>() + FLOOR).sqrt();
    row.iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::to_host;
    use burn::tensor::{Device, Tensor};

    /// Short rows tell definitions apart: their squared length is of the size of what is added to it.
    #[test]
    fn rows_are_as_long_on_the_host_as_in_a_model() {
        for [x, y] in [[3.0, -4.0], [1e-6, 0.0], [2e-7, 1e-7], [0.0, 0.0]] {
            let row = Tensor::<2>::from_floats([[x as f32, y as f32]], &Device::flex());
            let found = to_host(unit_rows(row.into()).into_value());
            for (found, expected) in found.into_iter().zip(unit_row(&[x, y])) {
                assert!((f64::from(found) - expected).abs() < 1e-6, "{x} {y}");
            }
        }
    }
}
