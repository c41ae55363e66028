//! Positions as rotations of queries and keys.

use super::attention::by_head;
use burn::tensor::{Tensor, TensorData};
use refit_kernels::dual::Dual;

/// The angles by which pairs of entries turn per position.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// One for each pair of entries of a head, fastest first.
    rates: Vec<f64>,
    /// Factor on cosines and sines (YaRN's; otherwise 1).
    gain: f64,
}

impl Rotary {
    /// The usual rates: `base^(-2 i / width)` for pair `i` of a head of `width`.
    ///
    /// # Source
    /// arXiv:2104.09864.
    pub fn new(width: usize, base: f64) -> Self {
        let rate = |i: usize| base.powf(-((2 * i) as f64) / width as f64);
        Self {
            rates: (0..width / 2).map(rate).collect(),
            gain: 1.0,
        }
    }

    /// Every rate changed by `by`, which is given the rate.
    #[must_use]
    pub fn map_rates(self, by: impl FnMut(f64) -> f64) -> Self {
        let rates = self.rates.into_iter().map(by).collect();
        Self { rates, ..self }
    }

    /// Cosines and sines multiplied by `gain`.
    #[must_use]
    pub fn with_gain(self, gain: f64) -> Self {
        Self { gain, ..self }
    }

    /// The rotation of tokens at `positions`, row after row of a batch, on the device and of the type of `like`.
    ///
    /// # Shapes
    /// `positions` holds `rows * tokens` places.
    ///
    /// # Panics
    /// If it does not.
    pub fn at<const D: usize>(&self, positions: &[u32], rows: usize, like: &Dual<D>) -> Rotation {
        let half = self.rates.len();
        let table = |of: fn(f64) -> f64| {
            let mut values = Vec::with_capacity(positions.len() * 2 * half);
            for &position in positions {
                // Both entries of a pair, which stand half a head apart, turn by the same angle.
                // Angles are rounded as the models were trained with them: far positions feel it.
                let angles = self.rates.iter();
                let angles = angles.map(|&rate| f64::from(position as f32 * rate as f32));
                let start = values.len();
                values.extend(angles.map(|angle| (of(angle) * self.gain) as f32));
                values.extend_from_within(start..);
            }
            let shape = [rows, positions.len() / rows.max(1), 1, 2 * half];
            let options = (&like.device(), like.value().dtype());
            Tensor::from_data(TensorData::new(values, shape), options)
        };
        Rotation {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }
}

/// Cosines and sines for the tokens of a batch, `[rows, tokens, 1, width]`.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotation {
    /// Turns every head: `x [n, tokens, heads * width]` -> the same shape. Entry `i` is paired with `i + width / 2`.
    pub fn turn(&self, x: Dual<3>) -> Dual<3> {
        let width = self.cos.dims()[3];
        by_head(x, width, |x| {
            let left = x.clone().narrow(3, 0, width / 2);
            let right = x.clone().narrow(3, width / 2, width / 2);
            let turned = Dual::cat(vec![-right, left], 3);
            x * self.cos.clone().into() + turned * self.sin.clone().into()
        })
    }
}
