//! Adapters: what a model learned, as a few small factors beside the weights it was trained on.

use crate::{ParamPath, TensorRead};
use std::{fmt, sync::Arc};

/// A matrix of low rank as two factors: `scale * left * right`.
///
/// # Shapes
/// `left [rows, rank]`, `right [rank, cols]`, row-major; the product has the orientation of the stored weight.
///
/// # Example
/// ```
/// use refit_core::LowRank;
/// let outer = LowRank::new([2, 2], 1, vec![1.0, 2.0], vec![3.0, 4.0], 0.5)?;
/// assert_eq!(outer.to_dense(), [1.5, 2.0, 3.0, 4.0]);
/// assert_eq!(outer.transposed().to_dense(), [1.5, 3.0, 2.0, 4.0]);
/// assert!(LowRank::new([2, 2], 1, vec![1.0], vec![3.0, 4.0], 0.5).is_err());
/// # Ok::<(), refit_core::FactorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    rows: usize,
    cols: usize,
    rank: usize,
    left: Vec<f32>,
    right: Vec<f32>,
    scale: f64,
}

/// A factor that does not fill its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {side} factor holds {found} values, a shape of {rows} x {cols} needs {}", rows.saturating_mul(*cols))]
pub struct FactorError {
    /// `left` or `right`.
    pub side: &'static str,
    /// Its number of values.
    pub found: usize,
    /// Rows it should have.
    pub rows: usize,
    /// Columns it should have.
    pub cols: usize,
}

impl LowRank {
    /// The product of `left [rows, rank]` and `right [rank, cols]`, times `scale`.
    ///
    /// # Errors
    /// [`FactorError`] when a factor does not fill its shape.
    pub fn new(
        [rows, cols]: [usize; 2],
        rank: usize,
        left: Vec<f32>,
        right: Vec<f32>,
        scale: f64,
    ) -> Result<Self, FactorError> {
        let check = |side, found, rows: usize, cols: usize| match rows.checked_mul(cols) {
            Some(expected) if expected == found => Ok(()),
            _ => Err(FactorError {
                side,
                found,
                rows,
                cols,
            }),
        };
        check("left", left.len(), rows, rank)?;
        check("right", right.len(), rank, cols)?;
        Ok(Self {
            rows,
            cols,
            rank,
            left,
            right,
            scale,
        })
    }

    /// Rows of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Columns of the left factor; the product's rank is at most this.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The left factor, `[rows, rank]`.
    pub fn left(&self) -> &[f32] {
        &self.left
    }

    /// The right factor, `[rank, cols]`.
    pub fn right(&self) -> &[f32] {
        &self.right
    }

    /// What the product is multiplied with.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The transposed product: `scale * right^T * left^T`.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            rank: self.rank,
            left: transpose(&self.right, self.cols),
            right: transpose(&self.left, self.rank),
            scale: self.scale,
        }
    }

    /// The product, summed in double precision and rounded once. For small matrices and tests: work that streams
    /// computes the rows it needs.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.rows * self.cols];
        for (i, value) in dense.iter_mut().enumerate() {
            let (row, col) = (i / self.cols, i % self.cols);
            let term = |k: usize| {
                f64::from(self.left[row * self.rank + k])
                    * f64::from(self.right[k * self.cols + col])
            };
            *value = (self.scale * (0..self.rank).map(term).sum::<f64>()) as f32;
        }
        dense
    }
}

/// A row-major matrix with `cols` columns, turned over.
fn transpose(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len().checked_div(cols).unwrap_or(0);
    let entry = |i: usize| values[(i % rows) * cols + i / rows];
    (0..values.len()).map(entry).collect()
}

/// How a layer stores the weight that an adapter changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// `[out, in]`, and what is behind `in` for a convolution.
    Linear,
    /// `[in, out]`, as GPT-2 does.
    Transposed,
    /// `[tokens, features]`.
    Embedding,
}

/// What an adapter does to one stored tensor.
#[derive(Clone)]
#[non_exhaustive]
pub enum Change {
    /// A matrix of low rank is added (LoRA); with magnitudes, every output is then brought to its length (DoRA).
    LowRank {
        /// What is added, in the orientation of the stored weight.
        factors: LowRank,
        /// The orientation of the stored weight.
        placement: Placement,
        /// Lengths of the outputs: of rows where the weight is [`Placement::Linear`], else of columns.
        magnitude: Option<Vec<f32>>,
    },
    /// Values are added: a bias.
    Shift(Vec<f32>),
    /// Another tensor takes its place.
    Replace(Arc<dyn TensorRead>),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowRank {
                factors,
                placement,
                magnitude,
            } => f
                .debug_struct("LowRank")
                .field("shape", &[factors.rows, factors.cols])
                .field("rank", &factors.rank)
                .field("scale", &factors.scale)
                .field("placement", placement)
                .field("magnitude", &magnitude.is_some())
                .finish(),
            Self::Shift(values) => f.debug_tuple("Shift").field(&values.len()).finish(),
            Self::Replace(tensor) => f.debug_tuple("Replace").field(tensor.meta()).finish(),
        }
    }
}

/// A [`Change`] and the tensor of the model that it changes.
#[derive(Clone, Debug)]
pub struct AdapterTensor {
    /// Name of the tensor in the model, such as `model.layers.0.mlp.up_proj.weight`.
    pub target: ParamPath,
    /// What happens to it.
    pub change: Change,
}

/// An adapter: changes of some tensors of a model, each named once.
#[derive(Clone, Debug, Default)]
pub struct Adapter {
    /// What it is called in messages.
    pub name: String,
    /// The changes.
    pub tensors: Vec<AdapterTensor>,
}

impl Adapter {
    /// Bytes of values that are in memory; what takes a tensor's place is read when it is needed.
    pub fn held_bytes(&self) -> u64 {
        let values = |change: &Change| match change {
            Change::LowRank {
                factors, magnitude, ..
            } => {
                let lengths = magnitude.as_ref().map_or(0, Vec::len);
                factors.left.len() + factors.right.len() + lengths
            }
            Change::Shift(values) => values.len(),
            Change::Replace(_) => 0,
        };
        let values = self.tensors.iter().map(|tensor| values(&tensor.change));
        (values.sum::<usize>() * size_of::<f32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_holds_its_factors_lengths_and_shifts() {
        let factors = LowRank::new([2, 3], 1, vec![0.0; 2], vec![0.0; 3], 1.0).unwrap();
        let low_rank = Change::LowRank {
            factors,
            placement: Placement::Linear,
            magnitude: Some(vec![1.0; 2]),
        };
        let tensor = |change| AdapterTensor {
            target: "w".into(),
            change,
        };
        let adapter = Adapter {
            name: "a".into(),
            tensors: vec![tensor(low_rank), tensor(Change::Shift(vec![0.0; 4]))],
        };
        assert_eq!(adapter.held_bytes(), 4 * (2 + 3 + 2 + 4));
    }

    #[test]
    fn a_factor_that_does_not_fill_its_shape_is_named() {
        let error = LowRank::new([2, 3], 2, vec![0.0; 4], vec![0.0; 5], 1.0).unwrap_err();
        let text = "the right factor holds 5 values, a shape of 2 x 3 needs 6";
        assert_eq!(error.to_string(), text);
        let overflow = LowRank::new([usize::MAX, 3], 2, vec![], vec![0.0; 6], 1.0);
        assert!(overflow.is_err());
    }

    #[test]
    fn a_product_without_rows_columns_or_rank_is_empty_or_zero() {
        let product = |shape: [usize; 2], rank: usize| {
            let (left, right) = (vec![1.0; shape[0] * rank], vec![1.0; rank * shape[1]]);
            LowRank::new(shape, rank, left, right, 2.0).unwrap()
        };
        assert_eq!(product([2, 2], 0).to_dense(), [0.0; 4]);
        for shape in [[0, 3], [3, 0]] {
            assert!(product(shape, 2).to_dense().is_empty());
            assert_eq!(
                product(shape, 2).transposed().transposed(),
                product(shape, 2)
            );
        }
    }
}
