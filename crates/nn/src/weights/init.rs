//! How fresh weights are drawn.

use refit_core::Seed;

/// How a weight starts when a model is created from nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with this standard deviation, cut at two deviations.
    Normal(f64),
    /// Uniform in `±sqrt(6 / fan_in)`: keeps the variance through rectified layers (He et al. 2015).
    HeUniform {
        /// Inputs that one output sums over.
        fan_in: usize,
    },
    /// Uniform in `±1 / sqrt(fan_in)`, the usual start of linear layers and their biases.
    LinearUniform {
        /// Inputs that one output sums over.
        fan_in: usize,
    },
}

impl Init {
    pub(super) fn draw(self, len: usize, seed: Seed) -> Vec<f32> {
        use rand::Rng;
        let mut rng = seed.rng();
        let mut uniform = |bound: f64| {
            (0..len)
                .map(|_| (rng.random::<f64>().mul_add(2.0, -1.0) * bound) as f32)
                .collect()
        };
        match self {
            Self::Zeros => vec![0.0; len],
            Self::Ones => vec![1.0; len],
            Self::HeUniform { fan_in } => uniform((6.0 / fan_in.max(1) as f64).sqrt()),
            Self::LinearUniform { fan_in } => uniform((fan_in.max(1) as f64).sqrt().recip()),
            Self::Normal(deviation) => (0..len)
                .map(|_| (truncated_normal(&mut rng) * deviation) as f32)
                .collect(),
        }
    }
}

/// A standard normal variate with magnitude below two (Box and Muller, rejecting the tails).
fn truncated_normal(rng: &mut impl rand::Rng) -> f64 {
    loop {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let z = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        if z.abs() < 2.0 {
            return z;
        }
    }
}
