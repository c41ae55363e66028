//! Penalties on weights, the same in every term of a sum.

use refit_core::ConfigError;
use serde::{Deserialize, Serialize};

/// `ridge / 2 |w|^2 + alpha sum_k beta w_k^2 / (1 + beta w_k^2)`; a bias is not penalised.
///
/// The second part is not convex: it pulls small weights to 0 and leaves large ones alone. Source: Kohler and Lucchi
/// 2017, arXiv:1705.05933.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Penalty {
    /// Factor of the squared norm; at least 0 (ours: 0).
    pub ridge: f64,
    /// Factor of the bounded part; at least 0 (ours: 0).
    pub alpha: f64,
    /// How soon the bounded part levels off; above 0 (source: 1).
    pub beta: f64,
}

impl Default for Penalty {
    fn default() -> Self {
        Self {
            ridge: 0.0,
            alpha: 0.0,
            beta: 1.0,
        }
    }
}

impl Penalty {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, value) in [("ridge", self.ridge), ("alpha", self.alpha)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ConfigError::range(
                    key,
                    value,
                    "a finite number of at least 0",
                ));
            }
        }
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(ConfigError::range(
                "beta",
                self.beta,
                "a finite number above 0",
            ));
        }
        Ok(())
    }

    /// Whether nothing is penalised.
    pub(super) fn is_none(&self) -> bool {
        self.ridge == 0.0 && self.alpha == 0.0
    }

    /// The penalty of `w`.
    pub(super) fn value(&self, w: &[f64]) -> f64 {
        if self.is_none() {
            return 0.0;
        }
        let of_one = |w: f64| {
            let square = self.beta * w * w;
            0.5 * self.ridge * w * w + self.alpha * square / (1.0 + square)
        };
        w.iter().map(|&w| of_one(w)).sum()
    }

    /// The derivative for one weight.
    fn slope(&self, w: f64) -> f64 {
        let q = 1.0 / (1.0 + self.beta * w * w);
        self.ridge * w + 2.0 * self.alpha * self.beta * w * q * q
    }

    /// `out += ` the gradient at `w`; returns the square of its norm and its product with what `out` was.
    pub(super) fn add_gradient(&self, w: &[f64], out: &mut [f64]) -> [f64; 2] {
        let mut sums = [0.0; 2];
        if self.is_none() {
            return sums;
        }
        for (out, &w) in out.iter_mut().zip(w) {
            let slope = self.slope(w);
            sums[0] += slope * slope;
            sums[1] += slope * *out;
            *out += slope;
        }
        sums
    }

    /// The second derivative for each weight; nothing when there is no penalty. With `convex` the one of the parabola
    /// that touches the penalty from above.
    pub(super) fn curvatures(&self, w: &[f64], convex: bool) -> Vec<f64> {
        if self.is_none() {
            return Vec::new();
        }
        let of_one = |&w: &f64| {
            let q = 1.0 / (1.0 + self.beta * w * w);
            let bend = if convex {
                q * q
            } else {
                (1.0 - 3.0 * self.beta * w * w) * q * q * q
            };
            self.ridge + 2.0 * self.alpha * self.beta * bend
        };
        w.iter().map(of_one).collect()
    }

    /// `out += curvatures v`, for those that [`curvatures`](Self::curvatures) gave.
    pub(super) fn add_product(curvatures: &[f64], v: &[f64], out: &mut [f64]) {
        for ((out, curvature), v) in out.iter_mut().zip(curvatures).zip(v) {
            *out += curvature * v;
        }
    }

    /// How fast second derivatives change: twice the third derivative of [`Loss::GemanMcclure`](super::Loss) at most.
    pub(super) fn lipschitz(&self) -> f64 {
        4.668_68 * self.alpha * self.beta * self.beta.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_testkit::{close, differences};

    #[test]
    fn derivatives_are_those_of_the_value() {
        let penalty = Penalty {
            ridge: 0.3,
            alpha: 0.7,
            beta: 2.0,
        };
        let w = [0.4, -1.3, 0.0, 5.0];
        let mut gradient = vec![1.0, 1.0, 1.0, 1.0];
        let [square, product] = penalty.add_gradient(&w, &mut gradient);
        let expected = differences::gradient(|w| penalty.value(w), &w);
        let slopes: Vec<f64> = gradient.iter().map(|g| g - 1.0).collect();
        close(&slopes, &expected, 1e-9, 1e-9).unwrap();
        close(
            square,
            slopes.iter().map(|s| s * s).sum::<f64>(),
            1e-12,
            0.0,
        )
        .unwrap();
        close(product, slopes.iter().sum::<f64>(), 1e-12, 0.0).unwrap();
        for (k, curvature) in penalty.curvatures(&w, false).into_iter().enumerate() {
            let expected = differences::gradient(|w| penalty.slope(w[0]), &w[k..=k]);
            close(curvature, expected[0], 1e-9, 1e-9).unwrap();
        }
        assert!(penalty.curvatures(&w, true).iter().all(|&c| c >= 0.3));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let with = |ridge, alpha, beta| Penalty { ridge, alpha, beta }.check().is_err();
        assert!(with(-1.0, 0.0, 1.0) && with(0.0, f64::NAN, 1.0) && with(0.0, 1.0, 0.0));
        assert!(!with(0.0, 0.0, 1.0));
    }
}
