//! Random changes of training images that keep their class.

mod strokes;
mod warp;

use super::{ImageShape, draw::Draw};
use refit_core::{ConfigError, Seed};
use serde::{Deserialize, Serialize};
use warp::Warp;

/// Settings of [`Augment`]; all are off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AugmentConfig {
    /// Probability of a horizontal flip, in `[0, 1]`.
    pub flip: f32,
    /// Black pixels added on every side before a crop of the old size is taken; at most the shorter side.
    pub crop_padding: usize,
    /// Largest rotation to either side, in degrees, at most 180.
    pub rotate_degrees: f32,
    /// Largest relative change of size, in `[0, 1)`; width and height change on their own by a third of it.
    pub scale: f32,
    /// Largest shear to either side, in columns per row, at most 2.
    pub shear: f32,
    /// Largest shift along each axis, in pixels, finite; edges repeat.
    pub shift_px: f32,
    /// Probability that strokes are thickened, thinned or blurred, a third each, in `[0, 1]`.
    pub stroke: f32,
    /// Largest relative change of contrast, in `[0, 1)`.
    pub contrast: f32,
    /// Probability that bright and dark are exchanged, in `[0, 1]`.
    pub invert: f32,
    /// Largest standard deviation of normal noise, in units of full brightness, in `[0, 1]`.
    pub noise: f32,
    /// Probability that a square is set to the mean of the image, in `[0, 1]`.
    pub cutout: f32,
    /// Largest side of that square, in pixels.
    pub cutout_px: usize,
}

impl AugmentConfig {
    /// Pad by 4, crop, flip: the customary augmentation of CIFAR.
    pub const fn cifar() -> Self {
        Self {
            flip: 0.5,
            crop_padding: 4,
            ..Self::OFF
        }
    }

    /// Mild changes that keep digits and letters readable (ours).
    pub const fn glyphs() -> Self {
        Self {
            rotate_degrees: 12.0,
            scale: 0.12,
            shear: 0.15,
            shift_px: 2.0,
            stroke: 0.3,
            contrast: 0.2,
            noise: 0.05,
            ..Self::OFF
        }
    }

    /// Strong changes for the pre-training of a base that should serve many tasks (ours).
    pub const fn broad() -> Self {
        Self {
            rotate_degrees: 20.0,
            scale: 0.25,
            shear: 0.25,
            shift_px: 3.0,
            stroke: 0.5,
            contrast: 0.4,
            invert: 0.2,
            noise: 0.12,
            cutout: 0.3,
            cutout_px: 10,
            ..Self::OFF
        }
    }

    const OFF: Self = Self {
        flip: 0.0,
        crop_padding: 0,
        rotate_degrees: 0.0,
        scale: 0.0,
        shear: 0.0,
        shift_px: 0.0,
        stroke: 0.0,
        contrast: 0.0,
        invert: 0.0,
        noise: 0.0,
        cutout: 0.0,
        cutout_px: 0,
    };
}

/// A checked [`AugmentConfig`].
///
/// ```
/// use refit_core::Seed;
/// use refit_io::data::{Augment, AugmentConfig, ImageShape};
/// let augment = Augment::try_from(AugmentConfig::glyphs()).unwrap();
/// let (mut a, mut b) = (vec![0.5; 784], vec![0.5; 784]);
/// augment.apply(&mut a, ImageShape::GLYPH, Seed::new(3));
/// augment.apply(&mut b, ImageShape::GLYPH, Seed::new(3));
/// assert_eq!(a, b);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment(AugmentConfig);

impl TryFrom<AugmentConfig> for Augment {
    type Error = ConfigError;

    fn try_from(c: AugmentConfig) -> Result<Self, ConfigError> {
        let at_most = |key: &'static str, value: f32, most: f32, expected: &'static str| {
            if (0.0..=most).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::range(key, value, expected))
        };
        for (key, value) in [
            ("flip", c.flip),
            ("stroke", c.stroke),
            ("invert", c.invert),
            ("noise", c.noise),
            ("cutout", c.cutout),
        ] {
            at_most(key, value, 1.0, "a number in [0, 1]")?;
        }
        at_most("scale", c.scale, 0.99, "a number in [0, 1)")?;
        at_most("contrast", c.contrast, 0.99, "a number in [0, 1)")?;
        at_most(
            "rotate-degrees",
            c.rotate_degrees,
            180.0,
            "degrees in [0, 180]",
        )?;
        at_most("shear", c.shear, 2.0, "a number in [0, 2]")?;
        at_most("shift-px", c.shift_px, f32::MAX, "a number of pixels")?;
        Ok(Self(c))
    }
}

impl Augment {
    /// The settings.
    pub const fn config(&self) -> &AugmentConfig {
        &self.0
    }

    /// Changes one image of values in `[0, 1]` in place; the result depends on the arguments alone and stays in `[0, 1]`.
    ///
    /// # Panics
    /// When `image` is not one image of `shape`.
    pub fn apply(&self, image: &mut [f32], shape: ImageShape, seed: Seed) {
        assert_eq!(
            image.len(),
            shape.len(),
            "the buffer is not one image of {shape}"
        );
        let c = &self.0;
        let mut rng = seed.rng();
        if let Some(warp) = Warp::draw(c, &mut rng) {
            warp.apply(image, shape);
        }
        if c.crop_padding > 0 {
            let reach = c.crop_padding.min(shape.height).min(shape.width);
            let shift =
                [(); 2].map(|()| rng.below(2 * reach + 1).cast_signed() - reach.cast_signed());
            warp::crop(image, shape, shift);
        }
        if rng.chance(c.stroke) {
            strokes::vary(image, shape, rng.below(3));
        }
        let gain = 1.0 + rng.around(c.contrast);
        let inverted = rng.chance(c.invert);
        let mean = image.iter().sum::<f32>() / image.len() as f32;
        let noise = rng.unit() * c.noise;
        for v in image.iter_mut() {
            let value = mean + gain * (*v - mean);
            *v = if inverted { 1.0 - value } else { value };
        }
        if noise > 0.0 {
            for v in image.iter_mut() {
                *v += noise * rng.rough_normal();
            }
        }
        if c.cutout_px > 0 && rng.chance(c.cutout) {
            strokes::cut_out(image, shape, c.cutout_px, &mut rng);
        }
        for v in image {
            *v = v.clamp(0.0, 1.0);
        }
    }
}
