//! Comparison of results with stated tolerances.

/// How two results differ.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The shapes differ.
    #[error("shape {found:?}, expected {expected:?}")]
    Shape {
        /// Shape of the result.
        found: Vec<usize>,
        /// Shape it should have.
        expected: Vec<usize>,
    },
    /// An entry is outside its tolerance: the one that misses it by most.
    #[error(
        "entry {index} is {found:e}, expected {expected:e} within {tolerance:e} ({outside} of {len} are outside)"
    )]
    Entry {
        /// Position, counted row by row.
        index: usize,
        /// Value of the result.
        found: f64,
        /// Value it should have.
        expected: f64,
        /// Largest difference allowed there.
        tolerance: f64,
        /// How many entries are outside their tolerance.
        outside: usize,
        /// How many entries there are.
        len: usize,
    },
    /// The difference is too long.
    #[error(
        "the difference has norm {difference:e}, allowed is {tolerance:e} (expected norm {expected:e})"
    )]
    Norm {
        /// Euclidean norm of the difference.
        difference: f64,
        /// Largest norm allowed.
        tolerance: f64,
        /// Euclidean norm of the expected result.
        expected: f64,
    },
}

/// Something with a shape and values: a tensor of any float type, or host values.
pub trait Values {
    /// Shape, and values row by row.
    fn values(self) -> (Vec<usize>, Vec<f64>);
}

impl Values for Vec<f64> {
    fn values(self) -> (Vec<usize>, Vec<f64>) {
        (vec![self.len()], self)
    }
}

impl Values for &[f64] {
    fn values(self) -> (Vec<usize>, Vec<f64>) {
        self.to_vec().values()
    }
}

impl Values for &Vec<f64> {
    fn values(self) -> (Vec<usize>, Vec<f64>) {
        self.clone().values()
    }
}

impl Values for f64 {
    fn values(self) -> (Vec<usize>, Vec<f64>) {
        (Vec::new(), vec![self])
    }
}

/// Compares entry by entry: `|found - expected| <= abs + rel |expected|`.
///
/// NaN agrees with NaN alone, and an infinity with itself alone.
///
/// # Errors
/// [`Mismatch`], which `?` turns into a failed case inside `proptest!` and `unwrap` into a panic elsewhere.
///
/// ```
/// use refit_testkit::{Mismatch, close};
/// assert_eq!(close(vec![1.0, 2.0], vec![1.0, 2.1], 0.1, 0.0), Ok(()));
/// let miss = close(vec![1.0, 2.0], vec![1.0, 2.1], 1e-3, 0.0).unwrap_err();
/// assert!(matches!(miss, Mismatch::Entry { index: 1, .. }));
/// ```
pub fn close(
    found: impl Values,
    expected: impl Values,
    rel: f64,
    abs: f64,
) -> Result<(), Mismatch> {
    let (found, expected) = same_shape(found, expected)?;
    let miss = |i: usize| excess(found[i], expected[i], abs + rel * expected[i].abs());
    let outside = (0..found.len()).filter(|&i| miss(i) > 0.0).count();
    let worst = (0..found.len()).max_by(|&i, &j| miss(i).total_cmp(&miss(j)));
    match worst {
        Some(index) if outside > 0 => Err(Mismatch::Entry {
            index,
            found: found[index],
            expected: expected[index],
            tolerance: abs + rel * expected[index].abs(),
            outside,
            len: found.len(),
        }),
        _ => Ok(()),
    }
}

/// Compares as vectors: `|found - expected| <= abs + rel |expected|` in the Euclidean norm.
///
/// The measure for gradients and other results whose small entries are differences of large ones. Anything that is
/// not finite is outside.
///
/// # Errors
/// [`Mismatch`].
pub fn close_in_norm(
    found: impl Values,
    expected: impl Values,
    rel: f64,
    abs: f64,
) -> Result<(), Mismatch> {
    let (found, expected) = same_shape(found, expected)?;
    let difference = norm(
        &found
            .iter()
            .zip(&expected)
            .map(|(a, b)| a - b)
            .collect::<Vec<_>>(),
    );
    let expected = norm(&expected);
    let tolerance = abs + rel * expected;
    let within = difference <= tolerance && tolerance.is_finite(); // false for NaN
    within.then_some(()).ok_or(Mismatch::Norm {
        difference,
        tolerance,
        expected,
    })
}

/// Euclidean norm.
pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn same_shape(found: impl Values, expected: impl Values) -> Result<(Vec<f64>, Vec<f64>), Mismatch> {
    let ((found_shape, found), (expected_shape, expected)) = (found.values(), expected.values());
    if found_shape == expected_shape {
        return Ok((found, expected));
    }
    Err(Mismatch::Shape {
        found: found_shape,
        expected: expected_shape,
    })
}

/// By how much an entry misses its tolerance; at most zero when it does not.
#[expect(clippy::float_cmp, reason = "an infinity agrees with itself alone")]
fn excess(found: f64, expected: f64, tolerance: f64) -> f64 {
    if found == expected || (found.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    let difference = (found - expected).abs();
    if difference.is_finite() {
        difference - tolerance
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_f64;

    #[test]
    fn what_is_not_finite_agrees_with_itself_alone() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert!(close(vec![nan, inf, -inf], vec![nan, inf, -inf], 0.0, 0.0).is_ok());
        for (a, b) in [
            (nan, 0.0),
            (0.0, nan),
            (inf, -inf),
            (inf, 1e300),
            (0.0, inf),
        ] {
            assert!(close(a, b, 1.0, 1e9).is_err(), "{a} {b}");
            assert!(close_in_norm(a, b, 1.0, 1e9).is_err(), "{a} {b}");
        }
    }

    #[test]
    fn the_entry_that_misses_by_most_is_named() {
        let miss = close(vec![1.0, 5.0, 2.0], vec![1.1, 3.0, 2.0], 0.0, 0.01).unwrap_err();
        assert!(
            matches!(
                miss,
                Mismatch::Entry {
                    index: 1,
                    outside: 2,
                    len: 3,
                    ..
                }
            ),
            "{miss}"
        );
    }

    #[test]
    fn shapes_count() {
        let miss = close(
            tensor_f64(vec![0.0; 6], [2, 3]),
            tensor_f64(vec![0.0; 6], [3, 2]),
            1.0,
            1.0,
        );
        assert_eq!(
            miss,
            Err(Mismatch::Shape {
                found: vec![2, 3],
                expected: vec![3, 2]
            })
        );
        assert!(
            close(
                tensor_f64(vec![], [0, 4]),
                tensor_f64(vec![], [0, 4]),
                0.0,
                0.0
            )
            .is_ok()
        );
    }

    #[test]
    fn a_small_entry_may_miss_in_norm_but_not_alone() {
        let (found, expected) = (vec![1e-9, 1.0], vec![2e-9, 1.0]);
        assert!(close_in_norm(&found, &expected, 1e-8, 0.0).is_ok());
        assert!(close(&found, &expected, 1e-8, 0.0).is_err());
    }
}
