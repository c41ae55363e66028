//! Noise pixel by pixel.

use super::{Level, Picture};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

/// Adds normal noise of one standard deviation to every value.
pub(super) fn gaussian(picture: &mut Picture, at: Level, rng: &mut ChaCha8Rng) {
    let deviation = at.of(
        [0.04, 0.06, 0.08, 0.09, 0.10],
        [0.08, 0.12, 0.18, 0.26, 0.38],
    );
    picture
        .values
        .iter_mut()
        .for_each(|v| *v += deviation * rng.normal());
}

/// Sets a share of the values to 0 or 1, evenly; channels are hit on their own, as in the reference.
pub(super) fn impulse(picture: &mut Picture, at: Level, rng: &mut ChaCha8Rng) {
    let share = at.of(
        [0.01, 0.02, 0.03, 0.05, 0.07],
        [0.03, 0.06, 0.09, 0.17, 0.27],
    );
    for v in &mut picture.values {
        if rng.chance(share) {
            *v = if rng.chance(0.5) { 1.0 } else { 0.0 };
        }
    }
}
