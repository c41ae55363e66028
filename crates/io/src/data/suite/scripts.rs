//! Characters of eight made-up scripts. A script is a way of building characters, not a fixed list of them, so that nothing
//! but the way of building can be learnt.

use super::{
    Generator,
    canvas::{Canvas, Point},
    glyph::{Pose, PoseRange, Wobble, arc},
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "scripts",
    classes: &[
        "twigs", "hanging", "loops", "corners", "wedges", "waves", "rays", "bows",
    ],
    draw,
};

const POSES: PoseRange = PoseRange {
    scale: [7.5, 11.0],
    stretch: 0.15,
    turn: 12.0,
    shear: 0.15,
    shift: 2.5,
};
const NUISANCE: Nuisance = Nuisance {
    ink: [0.55, 1.0],
    ground: 0.2,
    invert: 0.15,
    clutter: 1,
    noise: 0.1,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let mut pen = Pen {
        mask: Canvas::filled(0.0),
        pose: POSES.draw(rng),
        wobble: Wobble::draw(rng, 0.09),
        radius: rng.range(0.55, 1.15),
    };
    match label {
        0 => twigs(rng, &mut pen),
        1 => hanging(rng, &mut pen),
        2 => loops(rng, &mut pen),
        3 => corners(rng, &mut pen),
        4 => wedges(rng, &mut pen),
        5 => waves(rng, &mut pen),
        6 => rays(rng, &mut pen),
        _ => bows(rng, &mut pen),
    }
    NUISANCE.picture(rng, &pen.mask)
}

/// Draws in the unit box with an unsteady hand.
struct Pen {
    mask: Canvas,
    pose: Pose,
    wobble: Wobble,
    radius: f32,
}

impl Pen {
    fn line(&mut self, points: &[Point]) {
        let points: Vec<Point> = points
            .iter()
            .map(|&p| self.pose.map(self.wobble.bend(p)))
            .collect();
        self.mask.stroke(&points, self.radius);
    }

    fn fill(&mut self, points: &[Point]) {
        self.mask.fill(&self.pose.map_all(points));
    }
}

/// A stem with one to three slanted twigs.
fn twigs(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    let x = rng.around(0.35);
    pen.line(&[[x, -1.0], [x, 0.0], [x, 1.0]]);
    for _ in 0..=rng.below(3) {
        let (y, side) = (rng.range(-0.9, 0.6), rng.pick(&[-1.0, 1.0]));
        let reach = rng.range(0.45, 0.75);
        pen.line(&[
            [x, y],
            [x + side * reach, y + rng.pick(&[-1.0, 1.0]) * reach * 0.8],
        ]);
    }
}

/// A bar on top from which two or three stems hang, some with a hook.
fn hanging(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    pen.line(&[[-1.0, -0.85], [0.0, -0.85], [1.0, -0.85]]);
    let stems = 2 + rng.below(2);
    for i in 0..stems {
        let x = -0.7 + 1.4 * i as f32 / (stems - 1) as f32 + rng.around(0.12);
        let end = rng.range(0.1, 0.95);
        pen.line(&[[x, -0.85], [x, end]]);
        if rng.chance(0.5) {
            pen.line(&arc([x - 0.2, end], [0.2, 0.22], 0.0, 180.0));
        }
    }
}

/// Two or three rings in a chain.
fn loops(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    let mut at = [rng.around(0.2) - 0.45, rng.around(0.4)];
    for _ in 0..2 + rng.below(2) {
        let radius = rng.range(0.28, 0.48);
        pen.line(&arc(at, [radius, radius], 0.0, 360.0));
        let (s, c) = libm::sincosf(rng.around(1.3));
        at = [at[0] + 1.5 * radius * c, at[1] + 1.5 * radius * s];
    }
}

/// A path of right angles on a grid of four by four.
fn corners(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    let knot = |v: usize| -0.9 + 0.6 * v as f32;
    let mut at = [rng.below(4), rng.below(4)];
    let mut path = vec![at.map(knot)];
    for turn in 0..5 + rng.below(3) {
        at[turn % 2] = (at[turn % 2] + 1 + rng.below(3)) % 4;
        path.push(at.map(knot));
    }
    pen.line(&path);
}

/// Four to six filled wedges.
fn wedges(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    for i in 0..4 + rng.below(3) {
        let at = [
            (i % 2) as f32 * 0.9 - 0.45 + rng.around(0.2),
            (i / 2) as f32 * 0.8 - 0.8 + rng.around(0.15),
        ];
        let (s, c) = libm::sincosf(rng.pick(&[0.0, 90.0, 45.0_f32]).to_radians());
        let turned = |[x, y]: Point| [at[0] + c * x - s * y, at[1] + s * x + c * y];
        pen.fill(&[[-0.32, -0.26], [0.5, 0.0], [-0.32, 0.26]].map(turned));
    }
}

/// Two or three waves above each other.
fn waves(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    let count = 2 + rng.below(2);
    let (beat, phase) = (rng.range(4.0, 6.5), rng.range(0.0, 6.3));
    for i in 0..count {
        let y = -0.65 + 1.3 * i as f32 / (count - 1) as f32;
        let width = rng.range(0.6, 1.0);
        let point = |k: usize| {
            let x = (k as f32 / 6.0 - 1.0) * width;
            [x, y + 0.22 * libm::sinf(beat * x + phase)]
        };
        let wave: Vec<Point> = (0..13).map(point).collect();
        pen.line(&wave);
    }
}

/// Three to six rays around an empty middle.
fn rays(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    let count = 3 + rng.below(4);
    let start = rng.range(0.0, 360.0);
    for i in 0..count {
        let turn = start + 360.0 / count as f32 * (i as f32 + rng.around(0.2));
        let (s, c) = libm::sincosf(turn.to_radians());
        let (near, far) = (rng.range(0.2, 0.35), rng.range(0.75, 1.05));
        pen.line(&[[near * c, near * s], [far * c, far * s]]);
    }
}

/// Three or four open bows.
fn bows(rng: &mut ChaCha8Rng, pen: &mut Pen) {
    for i in 0..3 + rng.below(2) {
        let at = [
            (i % 2) as f32 - 0.5 + rng.around(0.2),
            (i / 2) as f32 - 0.5 + rng.around(0.2),
        ];
        let start = 90.0 * rng.below(4) as f32 + rng.around(15.0);
        let radius = rng.range(0.38, 0.55);
        pen.line(&arc(at, [radius, radius], start, start + 170.0));
    }
}
