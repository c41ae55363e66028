//! Geometry: where each pixel of the changed image comes from.

use super::AugmentConfig;
use crate::data::{ImageShape, draw::Draw, resample::bilinear};
use rand_chacha::ChaCha8Rng;

/// An affine map of centred coordinates, from the changed image to the old one.
pub(super) struct Warp {
    linear: [f32; 4],
    shift: [f32; 2],
}

impl Warp {
    /// A random map, or `None` when the settings leave the geometry alone.
    pub(super) fn draw(c: &AugmentConfig, rng: &mut ChaCha8Rng) -> Option<Self> {
        let moves = [c.flip, c.rotate_degrees, c.scale, c.shear, c.shift_px];
        if moves.iter().all(|&m| m <= 0.0) {
            return None;
        }
        let (sin, cos) = libm::sincosf(rng.around(c.rotate_degrees).to_radians());
        let zoom = 1.0 + rng.around(c.scale);
        let stretch = 1.0 + rng.around(c.scale / 3.0);
        let (wide, high) = (zoom * stretch, zoom / stretch);
        let shear = rng.around(c.shear);
        let mirror = if rng.chance(c.flip) { -1.0 } else { 1.0 };
        // The inverse map: unrotate, unshear, unscale, mirror.
        let row = |x: f32, y: f32| [cos * x + sin * y, cos * y - sin * x];
        let ([a, c0], [b, d]) = (row(1.0, 0.0), row(0.0, 1.0));
        let linear = [
            mirror * (a - shear * c0) / wide,
            mirror * (b - shear * d) / wide,
            c0 / high,
            d / high,
        ];
        Some(Self {
            linear,
            shift: [rng.around(c.shift_px), rng.around(c.shift_px)],
        })
    }

    /// Resamples every plane; outside, edges repeat.
    pub(super) fn apply(&self, image: &mut [f32], shape: ImageShape) {
        let middle = [
            (shape.width - 1) as f32 / 2.0,
            (shape.height - 1) as f32 / 2.0,
        ];
        let [a, b, c, d] = self.linear;
        for plane in image.chunks_exact_mut(shape.plane()) {
            let source = plane.to_vec();
            for (i, v) in plane.iter_mut().enumerate() {
                let x = (i % shape.width) as f32 - middle[0] - self.shift[0];
                let y = (i / shape.width) as f32 - middle[1] - self.shift[1];
                let (u, w) = (a * x + b * y + middle[0], c * x + d * y + middle[1]);
                *v = bilinear(&source, [shape.height, shape.width], u, w);
            }
        }
    }
}

/// Moves every plane by whole pixels `[right, down]`; what comes in is 0. The same as padding with zeros and cropping.
pub(super) fn crop(image: &mut [f32], shape: ImageShape, [right, down]: [isize; 2]) {
    for plane in image.chunks_exact_mut(shape.plane()) {
        let source = plane.to_vec();
        for (i, v) in plane.iter_mut().enumerate() {
            let x = (i % shape.width)
                .checked_add_signed(-right)
                .filter(|&x| x < shape.width);
            let y = (i / shape.width)
                .checked_add_signed(-down)
                .filter(|&y| y < shape.height);
            *v = x.zip(y).map_or(0.0, |(x, y)| source[y * shape.width + x]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::Seed;

    #[test]
    fn a_crop_moves_by_whole_pixels() {
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 3,
        };
        let mut image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        crop(&mut image, shape, [1, 0]);
        assert_eq!(image.map(|v: f32| v as u8), [0, 1, 2, 0, 4, 5]);
        crop(&mut image, shape, [0, -1]);
        assert_eq!(image.map(|v: f32| v as u8), [0, 4, 5, 0, 0, 0]);
    }

    #[test]
    fn a_sure_flip_mirrors_every_row() {
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 3,
        };
        let config = AugmentConfig {
            flip: 1.0,
            ..AugmentConfig::default()
        };
        let mut image = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        Warp::draw(&config, &mut Seed::new(0).rng())
            .unwrap()
            .apply(&mut image, shape);
        let expected = [0.3, 0.2, 0.1, 0.6, 0.5, 0.4];
        assert!(
            image
                .iter()
                .zip(expected)
                .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6)
        );
    }

    #[test]
    fn a_half_turn_is_found_among_the_rotations() {
        let shape = ImageShape {
            channels: 1,
            height: 3,
            width: 3,
        };
        let mut image = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        Warp {
            linear: [-1.0, 0.0, 0.0, -1.0],
            shift: [0.0; 2],
        }
        .apply(&mut image, shape);
        assert!((image[8] - 1.0).abs() < 1e-6 && image[0].abs() < 1e-6);
    }
}
