//! The nearest matrix of a rank, as two factors of equal weight.
//! Sources: Eckart and Young 1936, doi:10.1007/BF02288367; Halko, Martinsson and Tropp 2011, arXiv:0909.4061.

use crate::{adapter::product::add_product, layout::UNIT, simd};
use refit_core::{DType, LowRank, Seed};
use refit_math::{MathError, Matrix, Sketch, Svd, svd, truncated_svd};

/// A matrix cut to its largest singular components.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// `(U sqrt S) (sqrt S V^T)`, at scale 1.
    pub factors: LowRank,
    /// `|tau|^2`, the sum of squares of the matrix.
    pub square: f64,
    /// `|tau - B A|^2`, with the factors as they are stored.
    pub lost: f64,
}

impl Cut {
    /// The same components as they are stored in `dtype`, and what is lost of `matrix` then; `None` where a value is
    /// beyond what it can hold.
    pub(super) fn stored_as(self, dtype: DType, matrix: &[f32]) -> Option<Self> {
        if dtype == DType::F32 {
            return Some(self);
        }
        let old = &self.factors;
        let (left, right) = (rounded(old.left(), dtype)?, rounded(old.right(), dtype)?);
        let shape = [old.rows(), old.cols()];
        let factors = LowRank::new(shape, old.rank(), left, right, old.scale());
        let factors = factors.expect("invariant: as many values as before");
        Some(Self {
            lost: distance(matrix, &factors),
            factors,
            ..self
        })
    }
}

/// Cuts `matrix` to at most `most` singular components, or to the fewest that hold `energy` of its sum of squares.
///
/// # Shapes
/// `matrix [rows, cols]`, row-major -> factors `[rows, r]` and `[r, cols]`, `1 <= r <= min(most, rows, cols)`; a matrix of
/// zeros has `r = 1`.
///
/// # Errors
/// [`MathError::Length`] unless the values fill the shape, [`MathError::NotFinite`], [`MathError::NotConverged`].
///
/// # Cost
/// In double precision, on one thread. Where `most` is far below the smaller extent, a random subspace drawn from `seed`
/// is decomposed instead of the matrix (`O(rows cols most)`); its components are those of the matrix to within a few
/// parts of the first one left out.
///
/// # Example
/// ```
/// use refit_core::Seed;
/// use refit_merge::adapter::cut;
/// // Singular values 3 and 1: the larger one holds 9/10 of the squares.
/// let found = cut(&[0.0, 3.0, 1.0, 0.0], [2, 2], 2, Some(0.9), Seed::new(0))?;
/// assert_eq!(found.factors.rank(), 1);
/// assert!((found.lost - 1.0).abs() < 1e-6 && (found.square - 10.0).abs() < 1e-12);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn cut(
    matrix: &[f32],
    [rows, cols]: [usize; 2],
    most: usize,
    energy: Option<f64>,
    seed: Seed,
) -> Result<Cut, MathError> {
    let square = sum_of_squares(matrix);
    let parts = {
        let matrix = Matrix::from_slice(rows, cols, matrix)?;
        if is_exact([rows, cols], most) {
            svd(&matrix)?
        } else {
            truncated_svd(&matrix, most, Sketch::new(seed))?
        }
    };
    let mut rank = parts.rank().min(most);
    if let Some(energy) = energy {
        rank = rank.min(components(&parts.values, energy * square));
    }
    let factors = balanced(parts, rank.max(1));
    let lost = distance(matrix, &factors);
    Ok(Cut {
        factors,
        square,
        lost,
    })
}

/// Whether a matrix of this shape is decomposed as a whole; a subspace is no gain for so many components.
pub(super) fn is_exact([rows, cols]: [usize; 2], most: usize) -> bool {
    const SMALL: usize = 128;
    let small = rows.min(cols);
    let sketched = most.saturating_add(Sketch::new(Seed::new(0)).oversample);
    small <= SMALL || sketched.saturating_mul(5) >= small
}

/// How many values it takes until their squares sum to `enough`; all, if they never do.
fn components(values: &[f64], enough: f64) -> usize {
    let mut sum = 0.0;
    let place = values.iter().position(|value| {
        sum += value * value;
        sum >= enough
    });
    place.map_or(values.len(), |last| last + 1)
}

/// The first `rank` components as factors of equal weight; fewer components are filled up with zeros.
pub(in crate::adapter) fn balanced(parts: Svd, rank: usize) -> LowRank {
    let Svd {
        mut left,
        values,
        mut right,
    } = parts.head(rank);
    let (rows, cols) = (left.cols(), right.cols());
    let roots: Vec<f64> = values.iter().map(|value| value.sqrt()).collect();
    left.scale_rows(&roots);
    right.scale_rows(&roots);
    let narrow = |matrix: &Matrix| matrix.values().iter().map(|&v| v as f32).collect();
    let (mut up, mut down): (Vec<f32>, Vec<f32>) = (narrow(&left.transposed()), narrow(&right));
    if roots.is_empty() {
        (up, down) = (vec![0.0; rows], vec![0.0; cols]);
    }
    let rank = roots.len().max(1);
    let factors = LowRank::new([rows, cols], rank, up, down, 1.0);
    factors.expect("invariant: a decomposition has one vector of each side per value")
}

/// `|matrix - product|^2`.
fn distance(matrix: &[f32], factors: &LowRank) -> f64 {
    let (shape, rank) = ([factors.rows(), factors.cols()], factors.rank());
    let (left, right) = (factors.left().to_vec(), factors.right().to_vec());
    let negative = LowRank::new(shape, rank, left, right, -factors.scale());
    let negative = negative.expect("invariant: the same factors");
    let step = (UNIT / shape[1].max(1)).max(1) * shape[1].max(1);
    let (mut sums, mut rest) = ([0.0; simd::LANES], Vec::new());
    for (number, values) in matrix.chunks(step).enumerate() {
        rest.clear();
        rest.extend_from_slice(values);
        let start = number * step;
        add_product(&negative, start..start + values.len(), &mut rest);
        simd::dot(&mut sums, &rest, &rest);
    }
    simd::total(sums)
}

/// What is read back of `values` that are stored in `dtype`; `None` where one is beyond what it can hold.
pub(super) fn rounded(values: &[f32], dtype: DType) -> Option<Vec<f32>> {
    let round = |v: &f32| match dtype {
        DType::F16 => half::f16::from_f32(*v).to_f32(),
        DType::BF16 => half::bf16::from_f32(*v).to_f32(),
        _ => *v,
    };
    let values: Vec<f32> = values.iter().map(round).collect();
    simd::first_not_finite(&values).is_none().then_some(values)
}

/// The sum of squares, in double precision.
pub(super) fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0; simd::LANES];
    simd::dot(&mut sums, values, values);
    simd::total(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use refit_testkit::normal_vec;

    fn normal(seed: u64, len: usize) -> Vec<f32> {
        normal_vec(seed, len)
            .into_iter()
            .map(|v| v as f32)
            .collect()
    }

    fn seed() -> Seed {
        Seed::new(5)
    }

    #[test]
    fn a_matrix_worked_by_hand() {
        // diag(4, 1): one component is 4 e e^T, of which both factors take the root.
        let found = cut(&[4.0, 0.0, 0.0, 1.0], [2, 2], 1, None, seed()).unwrap();
        let magnitudes: Vec<f32> = found.factors.left().iter().map(|v| v.abs()).collect();
        assert_eq!(magnitudes, [2.0, 0.0]);
        assert_eq!(found.factors.to_dense(), [4.0, 0.0, 0.0, 0.0]);
        assert_eq!(
            (found.square.to_bits(), found.lost.to_bits()),
            (17f64.to_bits(), 1f64.to_bits())
        );
    }

    #[test]
    fn energy_takes_as_few_components_as_hold_it() {
        // squares of singular values: 16, 4, 1
        let diagonal = [4.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0];
        for (energy, most, rank) in [(0.7, 3, 1), (0.9, 3, 2), (0.99, 3, 3), (1.0, 2, 2)] {
            let found = cut(&diagonal, [3, 3], most, Some(energy), seed()).unwrap();
            assert_eq!(found.factors.rank(), rank, "{energy}");
        }
    }

    #[test]
    fn what_is_lost_counts_the_rounding_of_factors() {
        // 9.5 = 2^3 + 1.5 has a root that no short type holds; one component is the whole matrix.
        let matrix = [9.5, 0.0, 0.0, 0.0];
        let found = |dtype| {
            let cut = cut(&matrix, [2, 2], 1, None, seed()).unwrap();
            cut.stored_as(dtype, &matrix).unwrap()
        };
        for (dtype, bits) in [(DType::BF16, 8), (DType::F16, 11)] {
            let found = found(dtype);
            let root = found.factors.left()[0].abs();
            assert_eq!(root.to_bits() << (bits + 8) & 0x7fff_ffff, 0, "{dtype}");
            let lost = f64::from(9.5 - root * root).powi(2);
            assert!(lost > 0.0 && (found.lost - lost).abs() < 1e-12 + 1e-5 * lost);
        }
        assert!(found(DType::F32).lost < 1e-12);
        let large = [1e12, 0.0, 0.0, 1.0];
        let cut = cut(&large, [2, 2], 1, None, seed()).unwrap();
        assert!(cut.clone().stored_as(DType::F16, &large).is_none());
        assert!(cut.stored_as(DType::BF16, &large).is_some());
    }

    #[test]
    fn zeros_have_one_component_of_zeros() {
        let found = cut(&[0.0; 6], [2, 3], 2, Some(0.5), seed()).unwrap();
        assert_eq!(
            (found.factors.rank(), found.factors.to_dense()),
            (1, vec![0.0; 6])
        );
    }

    #[test]
    fn values_that_do_not_fill_the_shape_or_are_not_finite_are_refused() {
        assert!(cut(&[0.0; 5], [2, 3], 2, None, seed()).is_err());
        assert!(cut(&[f32::NAN, 0.0], [1, 2], 1, None, seed()).is_err());
    }

    #[test]
    fn a_subspace_finds_what_the_whole_decomposition_finds() {
        // Values fall by 0.8 from one component to the next, and noise lies under them.
        let (rows, cols, most) = (300, 200, 12);
        assert!(!is_exact([rows, cols], most));
        let (left, right) = (normal(1, rows * 24), normal(2, 24 * cols));
        let scaled = |(i, v): (usize, f32)| v * 0.8f32.powf((i % 24) as f32);
        let left = left.into_iter().enumerate().map(scaled).collect();
        let matrix = LowRank::new([rows, cols], 24, left, right, 1.0)
            .unwrap()
            .to_dense();
        let sketched = cut(&matrix, [rows, cols], most, None, seed()).unwrap();
        let whole = svd(&Matrix::from_slice::<f32>(rows, cols, &matrix).unwrap()).unwrap();
        let rest: f64 = whole.values[most..].iter().map(|v: &f64| v * v).sum();
        assert!(sketched.lost >= rest * (1.0 - 1e-6));
        assert!(sketched.lost <= rest * 1.01, "{} {rest}", sketched.lost);
        let again = cut(&matrix, [rows, cols], most, None, seed()).unwrap();
        assert_eq!(again, sketched);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_has_the_rank_is_found_again(
            (rows, cols, rank) in (1usize..40, 1usize..40, 1usize..5), number in any::<u64>(),
        ) {
            let (left, right) = (normal(number, rows * rank), normal(!number, rank * cols));
            let matrix = LowRank::new([rows, cols], rank, left, right, 0.5).unwrap().to_dense();
            let found = cut(&matrix, [rows, cols], rank, None, seed()).unwrap();
            prop_assert!(found.factors.rank() <= rank.min(rows).min(cols));
            // Both factors and the matrix itself are rounded to single precision.
            prop_assert!(found.lost.sqrt() <= 3e-7 * found.square.sqrt());
        }

        #[test]
        fn what_is_lost_is_what_the_values_left_out_hold(
            (rows, cols, most) in (1usize..30, 1usize..30, 1usize..9), number in any::<u64>(),
        ) {
            let matrix = normal(number, rows * cols);
            let found = cut(&matrix, [rows, cols], most, None, seed()).unwrap();
            let whole = svd(&Matrix::from_slice::<f32>(rows, cols, &matrix).unwrap()).unwrap();
            let rest: f64 = whole.values.iter().skip(most).map(|v: &f64| v * v).sum();
            prop_assert!((found.lost - rest).abs() <= 1e-6 * found.square);
        }
    }
}
