//! Bytes to floats, per channel.

use super::{ImageSet, ImageShape};
use refit_core::ConfigError;
use serde::{Deserialize, Serialize};

/// `(pixel / 255 - mean) / std`, with one mean and one standard deviation per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Statistics")]
pub struct Normalise {
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// A [`Normalise`] as it is written, before its check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statistics {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl TryFrom<Statistics> for Normalise {
    type Error = ConfigError;
    fn try_from(s: Statistics) -> Result<Self, ConfigError> {
        Self::new(s.mean, s.std)
    }
}

impl Normalise {
    /// Normalisation by these statistics of `pixel / 255`.
    ///
    /// # Errors
    /// When the lists differ in length or are empty, a mean is not finite, or a deviation is not positive and finite.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self, ConfigError> {
        if mean.is_empty() || mean.len() != std.len() {
            let problem = format!("has {} channels, `std` has {}", mean.len(), std.len());
            return Err(ConfigError::conflict("mean", problem));
        }
        if let Some(m) = mean.iter().find(|m| !m.is_finite()) {
            return Err(ConfigError::range("mean", m, "a finite number"));
        }
        if let Some(s) = std.iter().find(|&&s| !(s > 0.0 && s.is_finite())) {
            return Err(ConfigError::range("std", s, "a positive number"));
        }
        Ok(Self { mean, std })
    }

    /// Pixels in `[0, 1]`: mean 0, deviation 1.
    pub fn unit(shape: ImageShape) -> Self {
        Self {
            mean: vec![0.0; shape.channels],
            std: vec![1.0; shape.channels],
        }
    }

    /// Mean 0.1307, deviation 0.3081: the customary statistics of MNIST's training part.
    pub fn mnist() -> Self {
        Self {
            mean: vec![0.1307],
            std: vec![0.3081],
        }
    }

    /// Mean (0.485, 0.456, 0.406), deviation (0.229, 0.224, 0.225): the customary statistics of ImageNet.
    pub fn imagenet() -> Self {
        Self {
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }
    }

    /// The statistics of the pictures that CLIP was trained on.
    pub fn clip() -> Self {
        Self {
            mean: vec![0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: vec![0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// The statistics of these sets together, each image counting once; a constant channel keeps deviation 1.
    ///
    /// # Panics
    /// When the sets differ in channels, or there is no set.
    pub fn measured<'a>(sets: impl IntoIterator<Item = &'a ImageSet>) -> Self {
        let mut moments: Vec<[u64; 3]> = Vec::new();
        for set in sets {
            let shape = set.shape();
            if moments.is_empty() {
                moments = vec![[0; 3]; shape.channels];
            }
            assert_eq!(
                moments.len(),
                shape.channels,
                "sets of one normalisation share channels"
            );
            for (i, plane) in set.images().chunks_exact(shape.plane()).enumerate() {
                add_moments(&mut moments[i % shape.channels], plane);
            }
        }
        assert!(!moments.is_empty(), "statistics need at least one set");
        let (mean, std) = moments.into_iter().map(mean_and_std).unzip();
        Self { mean, std }
    }

    /// Means, one per channel, in units of `pixel / 255`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Standard deviations, one per channel, in units of `pixel / 255`.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Normalises the bytes of one image into `out`.
    ///
    /// # Panics
    /// When a length does not match `shape`, or the channels differ from those of the statistics.
    pub fn bytes(&self, image: &[u8], shape: ImageShape, out: &mut [f32]) {
        self.check(shape, image.len());
        let planes = image
            .chunks_exact(shape.plane())
            .zip(out.chunks_exact_mut(shape.plane()));
        for (c, (plane, out)) in planes.enumerate() {
            let (scale, shift) = self.affine(c);
            for (o, &p) in out.iter_mut().zip(plane) {
                *o = f32::from(p) * (scale / 255.0) - shift;
            }
        }
    }

    /// Normalises one image of floats in `[0, 1]` in place.
    ///
    /// # Panics
    /// When the length does not match `shape`, or the channels differ from those of the statistics.
    pub fn unit_floats(&self, image: &mut [f32], shape: ImageShape) {
        self.check(shape, image.len());
        for (c, plane) in image.chunks_exact_mut(shape.plane()).enumerate() {
            let (scale, shift) = self.affine(c);
            for p in plane {
                *p = *p * scale - shift;
            }
        }
    }

    /// `(1 / std, mean / std)` of channel `c`.
    fn affine(&self, c: usize) -> (f32, f32) {
        (1.0 / self.std[c], self.mean[c] / self.std[c])
    }

    fn check(&self, shape: ImageShape, len: usize) {
        assert_eq!(
            self.mean.len(),
            shape.channels,
            "statistics and image differ in channels"
        );
        assert_eq!(len, shape.len(), "the buffer is not one image of {shape}");
    }
}

/// Adds count, sum and sum of squares of one plane; exact in integers.
fn add_moments(moments: &mut [u64; 3], plane: &[u8]) {
    moments[0] += plane.len() as u64;
    moments[1] += plane.iter().map(|&p| u64::from(p)).sum::<u64>();
    moments[2] += plane.iter().map(|&p| u64::from(p).pow(2)).sum::<u64>();
}

fn mean_and_std([count, sum, squares]: [u64; 3]) -> (f32, f32) {
    let n = count.max(1) as f64;
    let mean = sum as f64 / n;
    let variance = (squares as f64 / n - mean * mean).max(0.0);
    let std = if variance > 0.0 {
        variance.sqrt() / 255.0
    } else {
        1.0
    };
    ((mean / 255.0) as f32, std as f32)
}
