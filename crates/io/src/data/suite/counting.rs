//! One to eight blobs of nearly one size, which varies from picture to picture.

use super::{
    Generator,
    canvas::{Canvas, Point, SIDE},
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "counting",
    classes: &[
        "one", "two", "three", "four", "five", "six", "seven", "eight",
    ],
    draw,
};

const NUISANCE: Nuisance = Nuisance {
    ink: [0.85, 1.0],
    ground: 0.1,
    invert: 0.0,
    clutter: 0,
    noise: 0.05,
};
/// Pixels between two blobs at least.
const GAP: f32 = 2.0;
const MOST_TRIES: usize = 60;

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let mut mask = Canvas::filled(0.0);
    for (centre, radius) in places(rng, label + 1) {
        blob(rng, &mut mask, centre, radius);
    }
    NUISANCE.picture(rng, &mask)
}

/// Centres and radii of `count` blobs that do not touch; starts over with smaller ones when they do not fit.
fn places(rng: &mut ChaCha8Rng, count: usize) -> Vec<(Point, f32)> {
    // The size varies between pictures, so that the total area alone does not give the number away.
    let mut largest = rng.range(2.1, 2.5);
    loop {
        let mut found: Vec<(Point, f32)> = Vec::with_capacity(count);
        for _ in 0..MOST_TRIES * count {
            let radius = rng.range(0.9, 1.0) * largest;
            let reach = [radius + 1.0, SIDE as f32 - radius - 1.0];
            let centre = [rng.range(reach[0], reach[1]), rng.range(reach[0], reach[1])];
            let free = found.iter().all(|&(c, r)| {
                let (dx, dy) = (c[0] - centre[0], c[1] - centre[1]);
                (dx * dx + dy * dy).sqrt() > r + radius + GAP
            });
            if free {
                found.push((centre, radius));
            }
            if found.len() == count {
                return found;
            }
        }
        largest *= 0.85;
    }
}

/// A disc, or a slightly bent one.
fn blob(rng: &mut ChaCha8Rng, mask: &mut Canvas, centre: Point, radius: f32) {
    let (s, c) = libm::sincosf(rng.range(0.0, std::f32::consts::PI));
    let length = rng.unit() * 0.25 * radius;
    let ends = [-length, length].map(|t| [centre[0] + t * c, centre[1] + t * s]);
    mask.stroke(&ends, radius - length);
}
