//! Digits drawn by a pen.

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
    name: "digits",
    classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    draw,
};

/// The ways in which each digit is written.
const GLYPHS: [&[&[Stroke]]; 10] = [
    &[&[Arc([0.0, 0.0], [0.55, 0.95], -100.0, 262.0)]],
    &[
        &[Line(&[[0.0, -0.95], [0.0, 0.95]])],
        &[Line(&[[-0.35, -0.55], [0.05, -0.95], [0.05, 0.95]])],
        &[
            Line(&[[-0.35, -0.55], [0.05, -0.95], [0.05, 0.95]]),
            Line(&[[-0.4, 0.95], [0.45, 0.95]]),
        ],
    ],
    &[&[
        Arc([0.0, -0.45], [0.5, 0.5], -170.0, 35.0),
        Line(&[[0.41, -0.17], [-0.55, 0.95], [0.6, 0.95]]),
    ]],
    &[
        &[
            Arc([0.0, -0.47], [0.48, 0.47], -150.0, 90.0),
            Arc([0.0, 0.47], [0.55, 0.48], -90.0, 150.0),
        ],
        &[
            Line(&[[-0.5, -0.95], [0.5, -0.95], [0.0, -0.1]]),
            Arc([0.0, 0.42], [0.55, 0.52], -90.0, 150.0),
        ],
    ],
    &[
        &[Line(&[
            [0.25, 0.95],
            [0.25, -0.95],
            [-0.6, 0.35],
            [0.65, 0.35],
        ])],
        &[
            Line(&[[-0.4, -0.95], [-0.55, 0.15], [0.5, 0.15]]),
            Line(&[[0.35, -0.6], [0.3, 0.95]]),
        ],
    ],
    &[&[
        Line(&[[0.5, -0.95], [-0.4, -0.95], [-0.45, -0.1]]),
        Arc([-0.05, 0.35], [0.55, 0.6], -135.0, 140.0),
    ]],
    &[&[
        Arc([0.45, 0.35], [1.0, 1.3], -105.0, -180.0),
        Arc([0.0, 0.42], [0.54, 0.52], 0.0, 360.0),
    ]],
    &[
        &[Line(&[[-0.55, -0.9], [0.55, -0.9], [-0.1, 0.95]])],
        &[
            Line(&[[-0.55, -0.9], [0.55, -0.9], [-0.1, 0.95]]),
            Line(&[[-0.3, 0.05], [0.5, 0.05]]),
        ],
    ],
    &[&[
        Arc([0.0, -0.48], [0.43, 0.45], 0.0, 360.0),
        Arc([0.0, 0.46], [0.53, 0.49], 0.0, 360.0),
    ]],
    &[
        &[
            Arc([0.0, -0.42], [0.5, 0.5], 0.0, 360.0),
            Line(&[[0.5, -0.42], [0.3, 0.95]]),
        ],
        &[
            Arc([0.0, -0.42], [0.5, 0.5], 0.0, 360.0),
            Arc([-0.2, -0.3], [0.7, 1.25], 0.0, 100.0),
        ],
    ],
];

const POSES: PoseRange = PoseRange {
    scale: [6.5, 11.0],
    stretch: 0.15,
    turn: 22.0,
    shear: 0.3,
    shift: 4.0,
};
const NUISANCE: Nuisance = Nuisance {
    ink: [0.55, 1.0],
    ground: 0.2,
    invert: 0.0,
    clutter: 2,
    noise: 0.1,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let strokes = rng.pick(GLYPHS[label]);
    let pose = POSES.draw(rng);
    let wobble = Wobble::draw(rng, 0.14);
    let mut mask = Canvas::filled(0.0);
    draw_strokes(&mut mask, strokes, &pose, &wobble, rng.range(0.6, 1.6));
    NUISANCE.picture(rng, &mask)
}
