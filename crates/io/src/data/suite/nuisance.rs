//! What varies in a picture without changing its class.

use super::canvas::{Canvas, Point, SIDE};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

/// Strength of the nuisances of a task.
#[derive(Clone, Copy)]
pub(super) struct Nuisance {
    /// Darkest and brightest ink.
    pub(super) ink: [f32; 2],
    /// Brightest ground.
    pub(super) ground: f32,
    /// Probability that bright and dark are exchanged.
    pub(super) invert: f32,
    /// Most strokes of clutter.
    pub(super) clutter: usize,
    /// Largest standard deviation of the noise.
    pub(super) noise: f32,
}

impl Nuisance {
    /// Paints the `mask` with a random ink on a random ground.
    pub(super) fn picture(self, rng: &mut ChaCha8Rng, mask: &Canvas) -> Canvas {
        let ink = rng.range(self.ink[0], self.ink[1]);
        let mut picture = self.ground(rng);
        picture.paint(mask, ink);
        self.finish(rng, picture)
    }

    /// An even slope of brightness, with clutter on it.
    pub(super) fn ground(self, rng: &mut ChaCha8Rng) -> Canvas {
        let level = rng.range(0.0, self.ground);
        let slope = [rng.around(self.ground), rng.around(self.ground)];
        let mut picture = Canvas::from_fn(|p| {
            let [x, y] = p.map(|v| v / SIDE as f32 - 0.5);
            (level + slope[0] * x + slope[1] * y).max(0.0)
        });
        for _ in 0..rng.below(self.clutter + 1) {
            let mut mask = Canvas::filled(0.0);
            mask.stroke(&scratch(rng), rng.range(0.3, 0.7));
            picture.paint(&mask, rng.range(0.1, 0.75) * self.ink[1]);
        }
        picture
    }

    /// Softens, exchanges bright and dark, adds noise.
    pub(super) fn finish(self, rng: &mut ChaCha8Rng, mut picture: Canvas) -> Canvas {
        picture.soften(rng.unit() * 0.8);
        if rng.chance(self.invert) {
            picture.0.iter_mut().for_each(|v| *v = 1.0 - *v);
        }
        let noise = rng.range(0.0, self.noise);
        picture
            .0
            .iter_mut()
            .for_each(|v| *v += noise * rng.rough_normal());
        picture
    }
}

/// A short straight scratch anywhere.
fn scratch(rng: &mut ChaCha8Rng) -> [Point; 2] {
    let side = SIDE as f32;
    let from = [rng.range(0.0, side), rng.range(0.0, side)];
    [from, [from[0] + rng.around(7.0), from[1] + rng.around(7.0)]]
}
