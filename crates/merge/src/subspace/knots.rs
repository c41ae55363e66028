//! `KnOTS`: one output space for the adapters of all tasks, in which any method may merge them.
//! Source: Stoica et al. 2024, arXiv:2410.19735.

use super::matrices::NO_TASKS;
use refit_math::{MathError, Matrix, qr, svd};

/// A change of low rank, `scale up down`, as adapters store it.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// `B [out, r]`.
    pub up: Matrix,
    /// `A [r, in]`.
    pub down: Matrix,
    /// The factor of the adapter, often `alpha / r`.
    pub scale: f64,
}

impl Factors {
    /// The change itself, `[out, in]`.
    ///
    /// # Errors
    /// [`MathError::Shape`] when the factors do not go together.
    pub fn product(&self) -> Result<Matrix, MathError> {
        let mut product = self.up.times(&self.down)?;
        product
            .values_mut()
            .iter_mut()
            .for_each(|v| *v *= self.scale);
        Ok(product)
    }
}

/// Changes of all tasks in one common output space: `tau_k = U S V_k^T`.
///
/// `U S [V_1^T .. V_K^T]` is the singular value decomposition of the changes side by side, `[tau_1 .. tau_K]`. Merge
/// the blocks `V_k^T` by any method, and [`factors`](Self::factors) turns the result into an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Knots {
    /// `[rank, out]`: row `i` is the direction of value `i`.
    pub directions: Matrix,
    /// Strength of each direction over all tasks, largest first.
    pub values: Vec<f64>,
    /// `K` blocks `V_k^T [rank, in]`.
    pub blocks: Vec<Matrix>,
}

impl Knots {
    /// Finds the common space. Its rank is at most the sum of the adapters' ranks.
    ///
    /// # Errors
    /// [`MathError::Empty`] without adapters; [`MathError::Shape`] when factors do not go together or adapters differ in
    /// `out` or `in`; [`MathError::NotFinite`], [`MathError::NotConverged`].
    ///
    /// # Cost
    /// With `R` the sum of ranks: `O((out + in) R^2 + R^3)`. The changes themselves, `out x in`, are never formed.
    ///
    /// # Example
    /// ```
    /// use refit_math::Matrix;
    /// use refit_merge::subspace::{Factors, Knots};
    /// let adapter = |up: [f64; 2], down: [f64; 3]| Factors {
    ///     up: Matrix::from_rows([[up[0]], [up[1]]]),
    ///     down: Matrix::from_rows([down]),
    ///     scale: 0.5,
    /// };
    /// let (a, b) = (adapter([2.0, 0.0], [1.0, 0.0, 0.0]), adapter([0.0, 4.0], [0.0, 1.0, 1.0]));
    /// let knots = Knots::new(&[a.clone(), b])?;
    /// // One task alone comes back as it was.
    /// let alone = knots.factors(knots.blocks[0].clone())?;
    /// assert!(alone.product()?.distance(&a.product()?) < 1e-14);
    /// # Ok::<(), refit_math::MathError>(())
    /// ```
    ///
    /// # Source
    /// arXiv:2410.19735
    pub fn new(adapters: &[Factors]) -> Result<Self, MathError> {
        let first = adapters.first().ok_or(NO_TASKS)?;
        let (outputs, inputs) = (first.up.rows(), first.down.cols());
        for adapter in adapters {
            let rank = adapter.up.cols();
            expect("an up factor", &adapter.up, (outputs, rank))?;
            expect("a down factor", &adapter.down, (rank, inputs))?;
        }
        // [tau_1 .. tau_K] = Q (T [s_1 L_1, .., s_K L_K]) diag(P_k^T): Q T = [B_1 .. B_K], L_k P_k^T = A_k. Only the
        // part in brackets is decomposed; Q and P_k are orthonormal.
        let ups = adapters.iter().map(|adapter| adapter.up.transposed());
        let outer = qr(&Matrix::stacked(ups)?.transposed())?;
        let (mut core, mut bases, mut start) = (vec![], vec![], 0);
        for adapter in adapters {
            let rank = adapter.up.cols();
            let inner = qr(&adapter.down.transposed())?;
            let upper = outer.upper.transposed();
            let part = Matrix::from_fn(rank, upper.cols(), |i, j| {
                adapter.scale * upper.row(start + i)[j]
            });
            core.push(inner.upper.times(&part)?); // (T_k s_k L_k)^T, with L_k^T = inner.upper
            bases.push(inner.basis);
            start += rank;
        }
        let parts = svd(&Matrix::stacked(core)?)?; // of the transpose: left is V, right is U
        let rank = parts.rank();
        let parts = parts.head(rank);
        let (mut blocks, mut start) = (Vec::with_capacity(bases.len()), 0);
        for basis in bases {
            let block = Matrix::from_fn(rank, basis.rows(), |i, j| parts.left.row(i)[start + j]);
            start += basis.rows();
            blocks.push(block.times(&basis)?);
        }
        Ok(Self {
            directions: parts.right.times(&outer.basis)?,
            values: parts.values,
            blocks,
        })
    }

    /// The adapter `U S merged` of a merged block `[rank, in]`: `up = U S`, `down = merged`, scale 1.
    ///
    /// # Errors
    /// [`MathError::Shape`] when `merged` has not one row per direction.
    pub fn factors(&self, merged: Matrix) -> Result<Factors, MathError> {
        expect(
            "the merged block",
            &merged,
            (self.values.len(), merged.cols()),
        )?;
        let mut strong = self.directions.clone();
        strong.scale_rows(&self.values);
        Ok(Factors {
            up: strong.transposed(),
            down: merged,
            scale: 1.0,
        })
    }
}

fn expect(what: &'static str, matrix: &Matrix, expected: (usize, usize)) -> Result<(), MathError> {
    let found = matrix.shape();
    if found == expected {
        return Ok(());
    }
    Err(MathError::Shape {
        what,
        found,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subspace::{
        matrices::total,
        testing::{scaled, sum, uniform},
    };
    use proptest::prelude::*;

    fn adapter(seed: u64, (outputs, rank, inputs): (usize, usize, usize), scale: f64) -> Factors {
        Factors {
            up: uniform(seed, outputs, rank),
            down: uniform(!seed, rank, inputs),
            scale,
        }
    }

    /// The definition: the decomposition of the changes side by side.
    fn side_by_side(adapters: &[Factors]) -> refit_math::Svd {
        let parts = adapters.iter().map(|a| a.product().unwrap().transposed());
        svd(&Matrix::stacked(parts).unwrap().transposed()).unwrap()
    }

    #[test]
    fn the_mean_of_blocks_is_the_mean_of_changes() {
        let adapters = [adapter(1, (7, 2, 5), 2.0), adapter(2, (7, 3, 5), 0.5)];
        let knots = Knots::new(&adapters).unwrap();
        let mean = scaled(sum(&knots.blocks[0], &knots.blocks[1]), 0.5);
        let merged = knots.factors(mean).unwrap().product().unwrap();
        let changes = adapters.iter().map(|a| a.product().unwrap());
        let expected = scaled(total(changes).unwrap().unwrap(), 0.5);
        assert!(merged.distance(&expected) < 1e-13);
    }

    #[test]
    fn adapters_that_do_not_fit_are_refused() {
        assert_eq!(Knots::new(&[]), Err(NO_TASKS));
        let (a, b) = (adapter(1, (7, 2, 5), 1.0), adapter(2, (7, 2, 6), 1.0));
        let text = Knots::new(&[a.clone(), b]).unwrap_err().to_string();
        assert_eq!(text, "a down factor is 2 x 6, expected 2 x 5");
        let knots = Knots::new(&[a]).unwrap();
        assert!(knots.factors(Matrix::zeros(9, 5)).is_err());
    }

    #[test]
    fn an_adapter_that_does_nothing_has_an_empty_block() {
        let (a, mut b) = (adapter(1, (4, 2, 3), 1.0), adapter(2, (4, 2, 3), 1.0));
        b.up = Matrix::zeros(4, 2); // as before training
        let knots = Knots::new(&[a, b.clone()]).unwrap();
        assert_eq!(knots.values.len(), 2);
        assert!(knots.blocks[1].norm() < 1e-14);
        assert_eq!(Knots::new(&[b]).unwrap().values.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_space_is_that_of_the_changes_side_by_side(
            seed in any::<u64>(), outputs in 1usize..9, inputs in 1usize..9,
            ranks in prop::collection::vec(1usize..4, 1..4),
        ) {
            let make = |(k, &rank): (usize, &usize)| {
                adapter(seed ^ k as u64, (outputs, rank, inputs), 0.5 + k as f64)
            };
            let adapters: Vec<Factors> = ranks.iter().enumerate().map(make).collect();
            let knots = Knots::new(&adapters).unwrap();
            let whole = side_by_side(&adapters);
            prop_assert_eq!(knots.values.len(), whole.rank());
            for (found, expected) in knots.values.iter().zip(&whole.values) {
                prop_assert!((found - expected).abs() < 1e-11);
            }
            for (k, adapter) in adapters.iter().enumerate() {
                let back = knots.factors(knots.blocks[k].clone()).unwrap().product().unwrap();
                prop_assert!(back.distance(&adapter.product().unwrap()) < 1e-11);
            }
        }
    }
}
