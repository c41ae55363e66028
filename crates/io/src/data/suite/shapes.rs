//! Figures, filled or outlined.

use super::{
    Generator,
    canvas::{Canvas, Point},
    glyph::{PoseRange, arc},
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "shapes",
    classes: &[
        "disc",
        "square",
        "triangle",
        "star",
        "cross",
        "heart",
        "crescent",
        "drop",
        "bolt",
        "hourglass",
    ],
    draw,
};

const POSES: PoseRange = PoseRange {
    scale: [7.0, 11.0],
    stretch: 0.12,
    turn: 25.0,
    shear: 0.12,
    shift: 3.0,
};
const NUISANCE: Nuisance = Nuisance {
    ink: [0.5, 1.0],
    ground: 0.3,
    invert: 0.25,
    clutter: 2,
    noise: 0.1,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let outline = POSES.draw(rng).map_all(&outline(label));
    let mut mask = Canvas::filled(0.0);
    if rng.chance(0.6) {
        mask.fill(&outline);
    } else {
        let closed: Vec<Point> = outline.iter().chain(&outline[..1]).copied().collect();
        mask.stroke(&closed, rng.range(0.5, 1.2));
    }
    NUISANCE.picture(rng, &mask)
}

/// The closed outline of a figure, in a box that reaches from -1 to 1.
fn outline(label: usize) -> Vec<Point> {
    match label {
        0 => arc([0.0, 0.0], [0.9, 0.9], 0.0, 345.0),
        1 => vec![[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]],
        2 => vec![[0.0, -1.0], [0.95, 0.75], [-0.95, 0.75]],
        3 => star(),
        4 => cross(),
        5 => heart(),
        6 => crescent(),
        7 => drop(),
        8 => vec![
            [0.2, -1.0],
            [-0.6, 0.15],
            [-0.05, 0.15],
            [-0.25, 1.0],
            [0.6, -0.2],
            [0.05, -0.2],
        ],
        _ => vec![
            [-0.75, -0.95],
            [0.75, -0.95],
            [0.1, 0.0],
            [0.75, 0.95],
            [-0.75, 0.95],
            [-0.1, 0.0],
        ],
    }
}

/// Five points, inner radius 0.42.
fn star() -> Vec<Point> {
    (0..10)
        .map(|i| {
            let radius = if i % 2 == 0 { 1.05 } else { 0.42 };
            let (s, c) = libm::sincosf((36.0 * i as f32 - 90.0).to_radians());
            [radius * c, radius * s]
        })
        .collect()
}

/// An upright cross with arms of width 0.6.
fn cross() -> Vec<Point> {
    const ARM: [Point; 3] = [[-0.3, -0.95], [0.3, -0.95], [0.3, -0.3]];
    let turned = |quarter: usize| {
        ARM.map(|[x, y]| match quarter {
            0 => [x, y],
            1 => [-y, x],
            2 => [-x, -y],
            _ => [y, -x],
        })
    };
    (0..4).flat_map(turned).collect()
}

/// Two half discs above a tip.
fn heart() -> Vec<Point> {
    let mut points = arc([-0.46, -0.4], [0.48, 0.5], 150.0, 350.0);
    points.extend(arc([0.46, -0.4], [0.48, 0.5], 190.0, 390.0));
    points.push([0.0, 0.95]);
    points
}

/// A disc without a disc.
fn crescent() -> Vec<Point> {
    let mut points = arc([0.0, 0.0], [0.95, 0.95], 55.0, 305.0);
    points.extend(arc([0.35, 0.0], [0.72, 0.8], 285.0, 75.0));
    points
}

/// A disc that ends in a tip above.
fn drop() -> Vec<Point> {
    let mut points = arc([0.0, 0.35], [0.62, 0.62], -25.0, 205.0);
    points.push([0.0, -1.05]);
    points
}
