//! Blur.

use super::{Level, Picture};
use crate::data::{draw::Draw, resample::bilinear};
use rand_chacha::ChaCha8Rng;

/// Averages along a line that starts at the pixel, with weights that fall off like a normal density.
///
/// The direction is uniform within 45 degrees of the horizontal. The reference hands radius and deviation to `ImageMagick`;
/// here the line has `2 radius + 1` taps one pixel apart, read bilinearly, with edges repeated.
pub(super) fn motion(picture: &mut Picture, at: Level, rng: &mut ChaCha8Rng) {
    let (radius, deviation) = at.of(
        [(6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)],
        [
            (10.0, 3.0),
            (15.0, 5.0),
            (15.0, 8.0),
            (15.0, 12.0),
            (20.0, 15.0),
        ],
    );
    let (radius, deviation) = (radius * at.pixel(), deviation * at.pixel());
    let (sin, cos) = libm::sincosf(rng.around(45.0).to_radians());
    let taps: Vec<[f32; 3]> = (0..=(2.0 * radius) as usize)
        .map(|i| {
            let far = i as f32;
            let weight = libm::expf(-far * far / (2.0 * deviation * deviation));
            [far * cos, far * sin, weight]
        })
        .collect();
    let total: f32 = taps.iter().map(|t| t[2]).sum();
    let size = [picture.shape.height, picture.shape.width];
    for plane in picture.planes() {
        let source = plane.to_vec();
        for (i, v) in plane.iter_mut().enumerate() {
            let (x, y) = ((i % size[1]) as f32, (i / size[1]) as f32);
            let sum: f32 = taps
                .iter()
                .map(|[dx, dy, w]| w * bilinear(&source, size, x + dx, y + dy))
                .sum();
            *v = sum / total;
        }
    }
}

/// Blurs one plane by a normal density of this deviation in pixels, cut at four deviations; edges repeat.
pub(super) fn gaussian(plane: &mut [f32], size: [usize; 2], deviation: f32) {
    let reach = (4.0 * deviation + 0.5) as isize;
    let weights: Vec<f32> = (-reach..=reach)
        .map(|d| libm::expf(-((d * d) as f32) / (2.0 * deviation * deviation)))
        .collect();
    let total: f32 = weights.iter().sum();
    let [rows, columns] = size;
    for horizontal in [true, false] {
        let source = plane.to_vec();
        for (i, v) in plane.iter_mut().enumerate() {
            let (x, y) = (i % columns, i / columns);
            let tap = |d: isize| {
                let (dx, dy) = if horizontal { (d, 0) } else { (0, d) };
                let x = x.saturating_add_signed(dx).min(columns - 1);
                let y = y.saturating_add_signed(dy).min(rows - 1);
                source[y * columns + x]
            };
            let sum: f32 = (-reach..=reach)
                .zip(&weights)
                .map(|(d, w)| w * tap(d))
                .sum();
            *v = sum / total;
        }
    }
}
