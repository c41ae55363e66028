//! Bold capital letters, some hollow, some dark on bright.

use super::{
    Generator,
    canvas::Canvas,
    glyph::{PoseRange, Stroke, Wobble, draw_strokes},
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use Stroke::{Arc, Line};
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "letters",
    classes: &["A", "B", "E", "G", "H", "K", "M", "R", "S", "X"],
    draw,
};

const GLYPHS: [&[Stroke]; 10] = [
    &[
        Line(&[[-0.75, 0.95], [0.0, -0.95], [0.75, 0.95]]),
        Line(&[[-0.45, 0.3], [0.45, 0.3]]),
    ],
    &[
        Line(&[[-0.1, -0.95], [-0.55, -0.95], [-0.55, 0.95], [-0.1, 0.95]]),
        Line(&[[-0.55, -0.05], [-0.1, -0.05]]),
        Arc([-0.1, -0.5], [0.55, 0.45], -90.0, 90.0),
        Arc([-0.1, 0.45], [0.65, 0.5], -90.0, 90.0),
    ],
    &[
        Line(&[[0.6, -0.95], [-0.55, -0.95], [-0.55, 0.95], [0.6, 0.95]]),
        Line(&[[-0.55, 0.0], [0.4, 0.0]]),
    ],
    &[
        Arc([0.0, 0.0], [0.72, 0.95], -45.0, -335.0),
        Line(&[[0.68, 0.6], [0.68, 0.1], [0.1, 0.1]]),
    ],
    &[
        Line(&[[-0.6, -0.95], [-0.6, 0.95]]),
        Line(&[[0.6, -0.95], [0.6, 0.95]]),
        Line(&[[-0.6, 0.0], [0.6, 0.0]]),
    ],
    &[
        Line(&[[-0.55, -0.95], [-0.55, 0.95]]),
        Line(&[[0.6, -0.95], [-0.5, 0.1]]),
        Line(&[[-0.2, -0.2], [0.65, 0.95]]),
    ],
    &[Line(&[
        [-0.75, 0.95],
        [-0.7, -0.95],
        [0.0, 0.35],
        [0.7, -0.95],
        [0.75, 0.95],
    ])],
    &[
        Line(&[[-0.55, 0.95], [-0.55, -0.95], [-0.05, -0.95]]),
        Arc([-0.05, -0.45], [0.6, 0.5], -90.0, 90.0),
        Line(&[[-0.55, 0.05], [-0.05, 0.05], [0.65, 0.95]]),
    ],
    &[
        Arc([0.0, -0.47], [0.58, 0.48], -30.0, -270.0),
        Arc([0.0, 0.48], [0.62, 0.48], -90.0, 150.0),
    ],
    &[
        Line(&[[-0.65, -0.95], [0.65, 0.95]]),
        Line(&[[0.65, -0.95], [-0.65, 0.95]]),
    ],
];

const POSES: PoseRange = PoseRange {
    scale: [7.0, 11.0],
    stretch: 0.18,
    turn: 18.0,
    shear: 0.25,
    shift: 3.0,
};
const NUISANCE: Nuisance = Nuisance {
    ink: [0.55, 1.0],
    ground: 0.3,
    invert: 0.3,
    clutter: 2,
    noise: 0.1,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let pose = POSES.draw(rng);
    let wobble = Wobble::draw(rng, 0.06);
    let radius = rng.range(1.2, 2.3);
    let mut mask = Canvas::filled(0.0);
    draw_strokes(&mut mask, GLYPHS[label], &pose, &wobble, radius);
    if rng.chance(0.3) {
        let mut core = Canvas::filled(0.0);
        draw_strokes(&mut core, GLYPHS[label], &pose, &wobble, radius - 0.9);
        mask.paint(&core, rng.range(0.1, 0.4));
    }
    NUISANCE.picture(rng, &mask)
}
