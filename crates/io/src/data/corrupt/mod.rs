//! The seven corruptions of the robustness tables, five severities each.
//!
//! Source: Hendrycks & Dietterich 2019, arXiv:1903.12261, and the constants of its released generators for CIFAR-10-C
//! (32 x 32) and ImageNet-C (224 x 224). All constants of both tables are the published ones. Ours: lengths in pixels (blur
//! radii, spatter blobs) are multiplied by the side of the image over that of the table, so that a 28 x 28 image is
//! corrupted as strongly as the image the constants were chosen for.

mod blur;
mod contrast;
mod jpeg;
mod noise;
mod pixelate;
mod spatter;

use super::{ImageSet, ImageShape};
use refit_core::{ConfigError, Seed};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the seven corruptions.
///
/// ```
/// use refit_core::Seed;
/// use refit_io::data::{Constants, Corruption, ImageShape, Severity};
/// let gray = vec![100; 784];
/// let severity = Severity::new(3).unwrap();
/// let noisy = Corruption::GaussianNoise.apply(
///     &gray, ImageShape::GLYPH, severity, Constants::Cifar, Seed::new(0));
/// let again = Corruption::GaussianNoise.apply(
///     &gray, ImageShape::GLYPH, severity, Constants::Cifar, Seed::new(0));
/// assert_eq!(noisy, again);
/// assert_ne!(noisy, gray);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corruption {
    /// Blur along a line.
    MotionBlur,
    /// Single pixels set to black or white.
    ImpulseNoise,
    /// Normal noise on every pixel.
    GaussianNoise,
    /// Smaller and back by box sampling.
    Pixelate,
    /// Drops of water, or of mud from severity 4 on.
    Spatter,
    /// Pixels drawn towards their mean.
    Contrast,
    /// Lossy compression.
    Jpeg,
}

/// How strong a [`Corruption`] is: 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Severity(u8);

/// Which published table of constants is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Constants {
    /// CIFAR-10-C: made for 32 x 32 images, mild. The default.
    #[default]
    Cifar,
    /// ImageNet-C: made for 224 x 224 images, strong.
    ImageNet,
}

impl Corruption {
    /// All corruptions, in the order of the robustness tables.
    pub const ALL: [Self; 7] = [
        Self::MotionBlur,
        Self::ImpulseNoise,
        Self::GaussianNoise,
        Self::Pixelate,
        Self::Spatter,
        Self::Contrast,
        Self::Jpeg,
    ];

    /// The name recipes and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MotionBlur => "motion-blur",
            Self::ImpulseNoise => "impulse-noise",
            Self::GaussianNoise => "gaussian-noise",
            Self::Pixelate => "pixelate",
            Self::Spatter => "spatter",
            Self::Contrast => "contrast",
            Self::Jpeg => "jpeg",
        }
    }

    /// The corruption called `name`.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`], with the nearest name.
    pub fn from_name(name: &str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or_else(|| ConfigError::unknown("corruption", name, Self::ALL.map(Self::name)))
    }

    /// Corrupts one image; the result depends on the arguments alone.
    ///
    /// # Panics
    /// When `image` is not one image of `shape`.
    pub fn apply(
        self,
        image: &[u8],
        shape: ImageShape,
        severity: Severity,
        constants: Constants,
        seed: Seed,
    ) -> Vec<u8> {
        assert_eq!(
            image.len(),
            shape.len(),
            "the buffer is not one image of {shape}"
        );
        let mut picture = Picture::from_bytes(image, shape);
        let mut rng = seed.rng();
        let at = Level {
            index: usize::from(severity.0) - 1,
            constants,
            shape,
        };
        match self {
            Self::MotionBlur => blur::motion(&mut picture, at, &mut rng),
            Self::ImpulseNoise => noise::impulse(&mut picture, at, &mut rng),
            Self::GaussianNoise => noise::gaussian(&mut picture, at, &mut rng),
            Self::Pixelate => pixelate::pixelate(&mut picture, at),
            Self::Spatter => spatter::spatter(&mut picture, at, &mut rng),
            Self::Contrast => contrast::contrast(&mut picture, at),
            Self::Jpeg => return jpeg::jpeg(image, at),
        }
        picture.to_bytes()
    }

    /// Corrupts every image of a set, in parallel, each with a stream of its own.
    #[must_use]
    pub fn apply_set(
        self,
        set: &ImageSet,
        severity: Severity,
        constants: Constants,
        seed: Seed,
    ) -> ImageSet {
        let seed = seed.fork(self.name());
        let shape = set.shape();
        set.map_images(shape, |i, image| {
            self.apply(image, shape, severity, constants, seed.fork(i))
        })
        .renamed(format!("{}/{self}-{severity}", set.name()))
    }
}

impl Severity {
    /// All severities.
    pub const ALL: [Self; 5] = [Self(1), Self(2), Self(3), Self(4), Self(5)];

    /// The severity with this number.
    ///
    /// # Errors
    /// When it is not 1 to 5.
    pub fn new(severity: u8) -> Result<Self, ConfigError> {
        if !(1..=5).contains(&severity) {
            return Err(ConfigError::range(
                "severity",
                severity,
                "a number from 1 to 5",
            ));
        }
        Ok(Self(severity))
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Severity {
    type Error = ConfigError;
    fn try_from(severity: u8) -> Result<Self, ConfigError> {
        Self::new(severity)
    }
}

impl From<Severity> for u8 {
    fn from(severity: Severity) -> Self {
        severity.0
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which row of which table applies, and to what.
#[derive(Clone, Copy)]
struct Level {
    index: usize,
    constants: Constants,
    shape: ImageShape,
}

impl Level {
    /// The constant of this level.
    fn of<T: Copy>(self, cifar: [T; 5], imagenet: [T; 5]) -> T {
        match self.constants {
            Constants::Cifar => cifar[self.index],
            Constants::ImageNet => imagenet[self.index],
        }
    }

    /// Pixels of this image per pixel of the table.
    fn pixel(self) -> f32 {
        let side = self.shape.height.max(self.shape.width) as f32;
        match self.constants {
            Constants::Cifar => side / 32.0,
            Constants::ImageNet => side / 224.0,
        }
    }
}

/// An image as floats in `[0, 1]`, plane by plane.
struct Picture {
    values: Vec<f32>,
    shape: ImageShape,
}

impl Picture {
    fn from_bytes(bytes: &[u8], shape: ImageShape) -> Self {
        Self {
            values: bytes.iter().map(|&b| f32::from(b) / 255.0).collect(),
            shape,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // A cast saturates, so values outside [0, 1] are clipped.
        self.values
            .iter()
            .map(|v| (v * 255.0 + 0.5) as u8)
            .collect()
    }

    fn planes(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.values.chunks_exact_mut(self.shape.plane())
    }
}
