//! Changes of neighbourhoods: thicker, thinner or softer strokes, and holes.

use crate::data::{ImageShape, draw::Draw};
use rand_chacha::ChaCha8Rng;

/// Over every 2 x 2 neighbourhood takes the brightest (0) or darkest (1) pixel, or softens by 1-2-1 weights (2).
pub(super) fn vary(image: &mut [f32], shape: ImageShape, kind: usize) {
    let (h, w) = (shape.height, shape.width);
    for plane in image.chunks_exact_mut(shape.plane()) {
        let source = plane.to_vec();
        let at = |y: usize, x: usize| source[y.min(h - 1) * w + x.min(w - 1)];
        for (i, v) in plane.iter_mut().enumerate() {
            let (y, x) = (i / w, i % w);
            let corner = [at(y, x), at(y, x + 1), at(y + 1, x), at(y + 1, x + 1)];
            *v = match kind {
                0 => corner.into_iter().fold(0.0, f32::max),
                1 => corner.into_iter().fold(1.0, f32::min),
                _ => soft(|dy, dx| at((y + dy).saturating_sub(1), (x + dx).saturating_sub(1))),
            };
        }
    }
}

/// Weights 1-2-1 in both directions; `at(1, 1)` is the middle.
fn soft(at: impl Fn(usize, usize) -> f32) -> f32 {
    let row = |dy: usize| at(dy, 0) + 2.0 * at(dy, 1) + at(dy, 2);
    (row(0) + 2.0 * row(1) + row(2)) / 16.0
}

/// Sets a square of 2 to `most` pixels anywhere to the mean of the image.
pub(super) fn cut_out(image: &mut [f32], shape: ImageShape, most: usize, rng: &mut ChaCha8Rng) {
    let mean = image.iter().sum::<f32>() / image.len() as f32;
    let side = 2 + rng.below(most.saturating_sub(1).max(1));
    let (top, left) = (rng.below(shape.height), rng.below(shape.width));
    for plane in image.chunks_exact_mut(shape.plane()) {
        for row in plane.chunks_exact_mut(shape.width).skip(top).take(side) {
            row.iter_mut().skip(left).take(side).for_each(|v| *v = mean);
        }
    }
}
