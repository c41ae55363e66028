//! Patterns that fill the picture, at any phase and nearly any angle.

use super::{
    Generator,
    canvas::{Canvas, Point, SIDE},
    glyph::Wobble,
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "textures",
    classes: &[
        "stripes", "checks", "dots", "bricks", "zigzag", "rings", "blotches", "grid",
    ],
    draw,
};

const NUISANCE: Nuisance = Nuisance {
    ink: [0.6, 1.0],
    ground: 0.3,
    invert: 0.3,
    clutter: 0,
    noise: 0.1,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let field = Field::draw(rng);
    let mask = match label {
        5 => {
            let middle = [rng.range(4.0, 24.0), rng.range(4.0, 24.0)];
            field.paint(|p| edge(wave(distance(p, middle) / field.period)))
        }
        6 => blotches(rng),
        _ => field.paint(|p| pattern(label, field.unit(p))),
    };
    NUISANCE.picture(rng, &mask)
}

/// A turned, scaled and slightly bent coordinate system.
struct Field {
    cos: f32,
    sin: f32,
    /// Pixels per repetition.
    period: f32,
    phase: Point,
    bend: Wobble,
}

impl Field {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let (sin, cos) = libm::sincosf(rng.range(0.0, std::f32::consts::PI));
        let period = rng.range(5.5, 8.5);
        let phase = [rng.unit(), rng.unit()];
        Self {
            cos,
            sin,
            period,
            phase,
            bend: Wobble::draw(rng, 0.08),
        }
    }

    /// A mask from a coverage per pixel, given bent pixel coordinates.
    fn paint(&self, coverage: impl Fn(Point) -> f32) -> Canvas {
        let half = SIDE as f32 / 2.0;
        Canvas::from_fn(|p| {
            let bent = self.bend.bend(p.map(|v| v / half - 1.0));
            coverage(bent.map(|v| (v + 1.0) * half))
        })
    }

    /// Pixels to repetitions.
    fn unit(&self, [x, y]: Point) -> Point {
        [
            (self.cos * x + self.sin * y) / self.period + self.phase[0],
            (self.cos * y - self.sin * x) / self.period + self.phase[1],
        ]
    }
}

/// Coverage of the repeating patterns, in repetitions.
fn pattern(label: usize, [u, v]: Point) -> f32 {
    match label {
        0 => edge(wave(u)),
        1 => edge(wave(0.65 * u) * wave(0.65 * v) * 3.5),
        2 => edge((0.3 - distance([fraction(u), fraction(v)], [0.5, 0.5])) * 5.0),
        3 => {
            let row = v.floor();
            let odd = row - 2.0 * (row / 2.0).floor();
            1.0 - joint(v + 0.5, 0.11).max(joint(0.5 * (u + odd), 0.055))
        }
        4 => edge(wave(v + 0.9 * (fraction(u * 0.7) - 0.5).abs())),
        _ => joint(u, 0.2).max(joint(v, 0.2)),
    }
}

/// Smoothed noise, thresholded: a coarse lattice of random values, interpolated.
fn blotches(rng: &mut ChaCha8Rng) -> Canvas {
    const CELLS: usize = 9;
    let lattice: [f32; CELLS * CELLS] = std::array::from_fn(|_| rng.around(1.0));
    let (step, offset) = (rng.range(3.8, 5.5), [rng.unit(), rng.unit()]);
    Canvas::from_fn(|[x, y]| {
        let (u, v) = (x / step + offset[0], y / step + offset[1]);
        let (i, j) = (u as usize, v as usize);
        let (s, t) = (smooth(u - i as f32), smooth(v - j as f32));
        let at = |i: usize, j: usize| lattice[j.min(CELLS - 1) * CELLS + i.min(CELLS - 1)];
        let top = at(i, j) + s * (at(i + 1, j) - at(i, j));
        let bottom = at(i, j + 1) + s * (at(i + 1, j + 1) - at(i, j + 1));
        edge(2.5 * (top + t * (bottom - top)))
    })
}

/// A triangle wave with period 1 between -1 and 1.
fn wave(u: f32) -> f32 {
    4.0 * (fraction(u) - 0.5).abs() - 1.0
}

fn fraction(u: f32) -> f32 {
    u - u.floor()
}

/// From signed distance to coverage, with a soft edge.
fn edge(v: f32) -> f32 {
    (0.5 + 1.2 * v).clamp(0.0, 1.0)
}

/// A line of half this width to either side, once per repetition.
fn joint(u: f32, width: f32) -> f32 {
    let away = (fraction(u) - 0.5).abs();
    ((width - away) * 6.0 + 0.5).clamp(0.0, 1.0)
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

fn distance(a: Point, b: Point) -> f32 {
    let (dx, dy) = (a[0] - b[0], a[1] - b[1]);
    (dx * dx + dy * dy).sqrt()
}
