//! Tokens to vectors.

use super::attention::DEVIATION;
use crate::{Init, NnError, Scope};
use burn::tensor::{Int, Tensor, TensorData};
use refit_kernels::dual::{self, Dual};

/// A table of rows; tensor `weight [rows, d]`.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Dual<2>,
}

impl Embedding {
    /// Binds a table.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, rows: usize, d: usize) -> Result<Self, NnError> {
        let weight = scope.matrix("weight", [rows, d], Init::Normal(DEVIATION))?;
        Ok(Self { weight })
    }

    /// The table.
    pub fn weight(&self) -> Dual<2> {
        self.weight.clone()
    }

    /// `ids [n, tokens]`, each a row of the table -> `[n, tokens, d]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Dual<3> {
        dual::embedding(self.weight.clone(), ids)
    }
}

/// Rows of `table [n, d]` in the order of `rows`, which are as many as `shape` has places -> `[shape.., d]`.
pub(crate) fn look_up(
    table: Dual<2>,
    rows: impl IntoIterator<Item = usize>,
    shape: [usize; 2],
) -> Dual<3> {
    let rows = rows.into_iter().map(|row| row.cast_signed() as i64);
    let rows = TensorData::new(rows.collect::<Vec<_>>(), shape);
    let rows = Tensor::<2, Int>::from_data(rows, &table.device());
    dual::embedding(table, rows)
}
