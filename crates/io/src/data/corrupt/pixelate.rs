//! Smaller and back.

use super::{Level, Picture};
use crate::data::resample::{Filter, resample};

/// Shrinks both sides to a share by box sampling, and enlarges again by box sampling.
pub(super) fn pixelate(picture: &mut Picture, at: Level) {
    let share = at.of([0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]);
    let full = [picture.shape.height, picture.shape.width];
    let small = full.map(|side| ((side as f32 * share) as usize).max(1));
    for plane in picture.planes() {
        let shrunk = resample(plane, full, small, Filter::Box);
        plane.copy_from_slice(&resample(&shrunk, small, full, Filter::Box));
    }
}
