//! Losses of one number: what a linear model predicts, against a label.

use super::ObjectiveError;
use serde::{Deserialize, Serialize};

/// A loss `phi(z)` of a margin `z = a^T w` and a label `b` or a number `y`.
///
/// Robust losses bend where the residual `r = z - y` reaches `scale`, and are `r^2 / 2` near 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Loss {
    /// `ln(1 + e^z) - b z`, `b` in `{0, 1}`: convex.
    Logistic,
    /// `(b - 1 / (1 + e^-z))^2`, `b` in `{0, 1}`: not convex, bounded.
    SigmoidSquare,
    /// `r^2 / 2`.
    Square,
    /// `scale^2 (sqrt(1 + u^2) - 1)`, `u = r / scale`: convex, grows like `|r|`.
    SmoothHuber {
        /// Residual where the loss bends.
        scale: f64,
    },
    /// `scale^2 / 2 ln(1 + u^2)`, `u = r / scale`: not convex, grows like `ln |r|`.
    Cauchy {
        /// Residual where the loss bends.
        scale: f64,
    },
    /// `scale^2 / 2 u^2 / (1 + u^2)`, `u = r / scale`: not convex, bounded.
    GemanMcclure {
        /// Residual where the loss bends.
        scale: f64,
    },
}

/// A loss and its derivatives at one margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossAt {
    /// `phi(z)`.
    pub value: f64,
    /// `phi'(z)`.
    pub slope: f64,
    /// `phi''(z)`.
    pub curvature: f64,
    /// A curvature that is never negative: that of the square of what a sigmoid predicts linearised, and of the
    /// parabola that touches a robust loss from above; `phi''` for the others.
    pub gauss_newton: f64,
}

impl Loss {
    /// Whether labels are two classes, 0 and 1.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Logistic | Self::SigmoidSquare)
    }

    pub(super) fn check(self) -> Result<(), ObjectiveError> {
        match self {
            Self::SmoothHuber { scale } | Self::Cauchy { scale } | Self::GemanMcclure { scale }
                if !(scale.is_finite() && scale > 0.0) =>
            {
                Err(
                    refit_core::ConfigError::range("scale", scale, "a finite number above 0")
                        .into(),
                )
            }
            _ => Ok(()),
        }
    }

    /// The loss at margin `z` for label or number `y`.
    ///
    /// ```
    /// use refit_train::objective::Loss;
    /// let at = Loss::SigmoidSquare.at(0.0, 1.0);
    /// assert_eq!((at.value, at.slope), (0.25, -0.25));
    /// assert_eq!((at.curvature, at.gauss_newton), (0.125, 0.125));
    /// ```
    #[inline(always)]
    pub fn at(self, z: f64, y: f64) -> LossAt {
        match self {
            Self::Logistic => logistic(z, y),
            Self::SigmoidSquare => sigmoid_square(z, y),
            Self::Square => {
                let r = z - y;
                LossAt {
                    value: 0.5 * r * r,
                    slope: r,
                    curvature: 1.0,
                    gauss_newton: 1.0,
                }
            }
            Self::SmoothHuber { scale } => {
                let u = (z - y) / scale;
                let q = 1.0 / (1.0 + u * u).sqrt();
                LossAt {
                    // Without the difference of a root and 1: u^2 / (root + 1).
                    value: scale * scale * (u * u * q / (1.0 + q)),
                    slope: (z - y) * q,
                    curvature: q * q * q,
                    gauss_newton: q,
                }
            }
            Self::Cauchy { scale } => {
                let u = (z - y) / scale;
                let q = 1.0 / (1.0 + u * u);
                LossAt {
                    value: 0.5 * scale * scale * (u * u).ln_1p(),
                    slope: (z - y) * q,
                    curvature: (1.0 - u * u) * q * q,
                    gauss_newton: q,
                }
            }
            Self::GemanMcclure { scale } => {
                let u = (z - y) / scale;
                let q = 1.0 / (1.0 + u * u);
                LossAt {
                    value: 0.5 * scale * scale * (u * u * q),
                    slope: (z - y) * q * q,
                    curvature: (1.0 - 3.0 * u * u) * q * q * q,
                    gauss_newton: q * q,
                }
            }
        }
    }

    /// Bounds of `|phi'|`, `|phi''|` and `|phi'''|` over all margins; `None` when a slope grows for ever.
    ///
    /// Those of the sigmoid are `8/27` and, rounded up, maxima found on a grid; the others are closed forms.
    pub fn bounds(self) -> Option<[f64; 3]> {
        Some(match self {
            // s (1 - s) (1 - 2 s) is largest at s = 1/2 - 1/sqrt(12).
            Self::Logistic => [1.0, 0.25, 0.096_225_05],
            Self::SigmoidSquare => [8.0 / 27.0, 0.154_1, 0.202_03],
            Self::Square => return None,
            Self::SmoothHuber { scale } => [scale, 1.0, 0.858_651 / scale], // at u = 1/2
            Self::Cauchy { scale } => [0.5 * scale, 1.0, 1.457_107 / scale], // at u = tan(pi / 8)
            Self::GemanMcclure { scale } => [0.324_76 * scale, 1.0, 2.334_34 / scale], // u^2 = 1 - 2 / sqrt(5)
        })
    }
}

/// `1 / (1 + e^-z)` and its complement, both without cancellation.
#[inline(always)]
pub(super) fn sigmoid(z: f64) -> (f64, f64) {
    let e = (-z.abs()).exp();
    let (small, large) = (e / (1.0 + e), 1.0 / (1.0 + e));
    if z < 0.0 {
        (small, large)
    } else {
        (large, small)
    }
}

#[inline(always)]
fn logistic(z: f64, b: f64) -> LossAt {
    let e = (-z.abs()).exp();
    let (s, t) = sigmoid(z);
    LossAt {
        // ln(1 + e^z) - b z without the difference of two large numbers.
        value: e.ln_1p() + (1.0 - b) * z.max(0.0) + b * (-z).max(0.0),
        // s - b, where b = 1 leaves -(1 - s).
        slope: (1.0 - b) * s - b * t,
        curvature: s * t,
        gauss_newton: s * t,
    }
}

#[inline(always)]
fn sigmoid_square(z: f64, b: f64) -> LossAt {
    let (s, t) = sigmoid(z);
    let (miss, st) = ((1.0 - b) * s - b * t, s * t);
    LossAt {
        value: miss * miss,
        slope: 2.0 * miss * st,
        curvature: 2.0 * (miss * st * (t - s) + st * st),
        gauss_newton: 2.0 * st * st,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_testkit::{close, differences};

    const ALL: [Loss; 6] = [
        Loss::Logistic,
        Loss::SigmoidSquare,
        Loss::Square,
        Loss::SmoothHuber { scale: 0.7 },
        Loss::Cauchy { scale: 0.7 },
        Loss::GemanMcclure { scale: 0.7 },
    ];

    #[test]
    fn derivatives_are_those_of_the_values() {
        for loss in ALL {
            for (z, y) in [(0.3, 1.0), (-2.0, 0.0), (1.7, 0.0), (4.0, 1.0), (0.0, 0.0)] {
                let at = loss.at(z, y);
                let slope = differences::gradient(|z| loss.at(z[0], y).value, &[z]);
                let curvature = differences::gradient(|z| loss.at(z[0], y).slope, &[z]);
                // Richardson differences of functions of order one.
                close(at.slope, slope[0], 1e-9, 1e-10).unwrap();
                close(at.curvature, curvature[0], 1e-9, 1e-10).unwrap();
                assert!(
                    at.gauss_newton >= 0.0 && at.gauss_newton >= at.curvature - 1e-15
                        || loss.is_binary()
                );
            }
        }
    }

    #[test]
    fn bounds_hold_on_a_grid_and_are_reached() {
        for loss in ALL {
            let Some(bounds) = loss.bounds() else {
                continue;
            };
            let mut found = [0.0f64; 3];
            for i in -300_000..300_000 {
                for y in [0.0, 1.0] {
                    let (z, step) = (f64::from(i) * 4e-5, 1e-4);
                    let at = loss.at(z, y);
                    let third = loss.at(z + step, y).curvature - loss.at(z - step, y).curvature;
                    for (found, value) in
                        found
                            .iter_mut()
                            .zip([at.slope, at.curvature, 0.5 * third / step])
                    {
                        *found = found.max(value.abs());
                    }
                }
            }
            for (found, bound) in found.iter().zip(bounds) {
                // Differences miss the third derivative by about step^2; the slope of Huber's loss reaches its
                // bound at infinity, and 0.9983 of it at 12.
                assert!(
                    *found <= bound * (1.0 + 1e-7) && *found > 0.998 * bound,
                    "{loss:?} {found} {bound}"
                );
            }
        }
    }

    #[test]
    fn far_margins_are_finite_and_exact() {
        for z in [800.0, -800.0] {
            for b in [0.0, 1.0] {
                for loss in ALL {
                    let at = loss.at(z, b);
                    let all = [at.value, at.slope, at.curvature, at.gauss_newton];
                    assert!(all.iter().all(|v| v.is_finite()), "{loss:?} {z} {b} {at:?}");
                }
            }
        }
        assert_eq!(
            Loss::Logistic.at(800.0, 0.0).value.to_bits(),
            800f64.to_bits()
        );
        let right = Loss::Logistic.at(40.0, 1.0);
        close(right.value, (-40f64).exp(), 1e-12, 0.0).unwrap();
        close(right.slope, -(-40f64).exp(), 1e-12, 0.0).unwrap();
    }
}
