//! Arrows to the eight points of the compass.

use super::{
    Generator,
    canvas::{Canvas, Point, SIDE},
    glyph::Pose,
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "arrows",
    classes: &["e", "se", "s", "sw", "w", "nw", "n", "ne"],
    draw,
};

const NUISANCE: Nuisance = Nuisance {
    ink: [0.5, 1.0],
    ground: 0.3,
    invert: 0.25,
    clutter: 3,
    noise: 0.1,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let length = rng.range(6.5, 10.5);
    let middle = SIDE as f32 / 2.0;
    let centre = [middle + rng.around(4.0), middle + rng.around(4.0)];
    let turn = 45.0 * label as f32 + rng.around(11.0);
    let pose = Pose::new(centre, [length, length], turn, 0.0);
    let mut mask = Canvas::filled(0.0);
    let width = rng.range(0.35, 0.6);
    let back = 1.0 - width * rng.range(0.9, 1.5);
    let radius = rng.range(0.6, 1.3);
    let at = |points: &[Point]| pose.map_all(points);
    match rng.below(4) {
        0 => {
            mask.stroke(&at(&[[-1.0, 0.0], [1.0, 0.0]]), radius);
            mask.stroke(&at(&[[back, -width], [1.0, 0.0], [back, width]]), radius);
        }
        1 => {
            mask.stroke(&at(&[[-1.0, 0.0], [back, 0.0]]), radius);
            mask.fill(&at(&[[back, -width], [1.0, 0.0], [back, width]]));
        }
        2 => mask.stroke(&at(&[[-0.1, -0.8], [0.7, 0.0], [-0.1, 0.8]]), radius + 0.3),
        _ => mask.fill(&at(&[
            [-0.7, -width],
            [0.9, 0.0],
            [-0.7, width],
            [-0.4, 0.0],
        ])),
    }
    NUISANCE.picture(rng, &mask)
}
