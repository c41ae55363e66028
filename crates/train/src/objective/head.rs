//! Losses of several outputs against a class.

use serde::{Deserialize, Serialize};

/// A loss of outputs `z` and a class `y`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Head {
    /// Cross-entropy: `ln sum_j e^(z_j) - z_y`.
    #[default]
    Softmax,
    /// `|z - e_y|^2 / 2`, where `e_y` is 1 at the class and 0 elsewhere.
    Square,
}

impl Head {
    /// Replaces outputs by the derivatives of the loss, and returns its value.
    #[inline]
    pub(super) fn slopes(self, z: &mut [f64], class: usize) -> f64 {
        match self {
            Self::Softmax => softmax_slopes(z, class),
            Self::Square => {
                z[class] -= 1.0;
                0.5 * z.iter().map(|z| z * z).sum::<f64>()
            }
        }
    }

    /// Replaces a change of the outputs by the change of the derivatives: `t = Hess t`.
    #[inline]
    pub(super) fn curve(self, slopes: &[f64], class: usize, t: &mut [f64]) {
        if self == Self::Square {
            return;
        }
        // (diag p - p p^T) t with p = slopes + e_y.
        let along = |t: &[f64]| slopes.iter().zip(t).map(|(s, t)| s * t).sum::<f64>() + t[class];
        let mean = along(t);
        for (j, (t, slope)) in t.iter_mut().zip(slopes).enumerate() {
            let p = slope + f64::from(u8::from(j == class));
            *t = p * (*t - mean);
        }
    }

    /// A bound of the largest curvature, by rows of the matrix: `2 p (1 - p)` for the probability nearest to 1/2.
    pub(super) fn most_curvature(self, slopes: &[f64], class: usize) -> f64 {
        if self == Self::Square {
            return 1.0;
        }
        let of_one = |(j, slope): (usize, &f64)| {
            let p = slope + f64::from(u8::from(j == class));
            2.0 * p * (1.0 - p)
        };
        slopes.iter().enumerate().map(of_one).fold(0.0, f64::max)
    }

    /// Bounds of slope, curvature and third derivative as norms; `None` when slopes grow for ever.
    ///
    /// For a direction of norm 1 the derivatives of the softmax are moments of a variable whose values lie within
    /// `sqrt(2)` of each other: variance at most `2 / 4`, third central moment at most `2^(3/2) / (6 sqrt(3))`.
    pub(super) const fn bounds(self) -> Option<[f64; 3]> {
        match self {
            Self::Softmax => Some([std::f64::consts::SQRT_2, 0.5, 0.272_17]),
            Self::Square => None,
        }
    }
}

/// `softmax(z) - e_y` in place of `z`, and the cross-entropy, both without differences of close numbers.
#[inline]
fn softmax_slopes(z: &mut [f64], class: usize) -> f64 {
    let top = (0..z.len()).fold(0, |top, j| if z[j] > z[top] { j } else { top });
    let (highest, at_class) = (z[top], z[class]);
    let mut rest = 0.0;
    for (j, z) in z.iter_mut().enumerate() {
        *z = (*z - highest).exp();
        rest += if j == top { 0.0 } else { *z };
    }
    let total = 1.0 + rest;
    let mut others = 0.0;
    for (j, z) in z.iter_mut().enumerate() {
        *z /= total;
        others += if j == class { 0.0 } else { *z };
    }
    z[class] = -others;
    (highest - at_class) + rest.ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_testkit::{close, differences};

    #[test]
    fn derivatives_are_those_of_the_values() {
        for head in [Head::Softmax, Head::Square] {
            let (z, t) = ([0.3, -1.2, 2.0], [0.5, -0.25, 1.0]);
            for class in 0..3 {
                let slopes = |z: &[f64]| {
                    let mut slopes = z.to_vec();
                    head.slopes(&mut slopes, class);
                    slopes
                };
                let expected = differences::gradient(|z| head.slopes(&mut z.to_vec(), class), &z);
                close(slopes(&z), expected, 1e-9, 1e-9).unwrap();
                let mut curved = t;
                head.curve(&slopes(&z), class, &mut curved);
                let expected = differences::directional(slopes, &z, &t);
                close(curved.to_vec(), expected, 1e-9, 1e-9).unwrap();
                let most = head.most_curvature(&slopes(&z), class);
                let along: f64 = curved.iter().zip(t).map(|(c, t)| c * t).sum();
                assert!(along <= most * t.iter().map(|t| t * t).sum::<f64>());
            }
        }
    }

    #[test]
    fn two_outputs_are_the_logistic_loss() {
        for z in [-3.0, 0.0, 5.0, 800.0] {
            let mut outputs = [0.0, z];
            let value = Head::Softmax.slopes(&mut outputs, 1);
            let logistic = crate::objective::Loss::Logistic.at(z, 1.0);
            close(value, logistic.value, 1e-14, 0.0).unwrap();
            close(outputs[1], logistic.slope, 1e-14, 0.0).unwrap();
        }
    }

    #[test]
    fn not_a_number_stays_one() {
        assert!(Head::Softmax.slopes(&mut [f64::NAN, 0.0], 1).is_nan());
        assert!(Head::Softmax.slopes(&mut [0.0, f64::NAN], 0).is_nan());
    }
}
