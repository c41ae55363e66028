//! Less contrast.

use super::{Level, Picture};

/// Moves every value towards the mean of its channel.
pub(super) fn contrast(picture: &mut Picture, at: Level) {
    let keep = at.of([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]);
    for plane in picture.planes() {
        let mean = plane.iter().sum::<f32>() / plane.len() as f32;
        for v in plane {
            *v = mean + keep * (*v - mean);
        }
    }
}
