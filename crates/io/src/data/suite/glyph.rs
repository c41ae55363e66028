//! Strokes in a unit box, and the poses that bring them onto the canvas.

use super::canvas::{Canvas, Point, SIDE};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

/// One stroke of a glyph, in a box that reaches from -1 to 1, y down.
#[derive(Clone, Copy)]
pub(super) enum Stroke {
    /// Straight pieces through these points.
    Line(&'static [Point]),
    /// Part of an ellipse: centre, radii, from and to in degrees (0 to the right, 90 down).
    Arc(Point, Point, f32, f32),
}

impl Stroke {
    /// Points along the stroke, dense enough for a 28-pixel picture.
    pub(super) fn points(self) -> Vec<Point> {
        match self {
            Self::Line(points) => densify(points),
            Self::Arc(centre, radii, from, to) => arc(centre, radii, from, to),
        }
    }
}

/// Points on part of an ellipse; degrees, 0 to the right, 90 down.
pub(super) fn arc(centre: Point, radii: Point, from: f32, to: f32) -> Vec<Point> {
    let steps = ((to - from).abs() / 24.0).ceil().max(1.0);
    (0..=steps as usize)
        .map(|i| {
            let (s, c) = libm::sincosf((from + (to - from) * i as f32 / steps).to_radians());
            [centre[0] + radii[0] * c, centre[1] + radii[1] * s]
        })
        .collect()
}

/// The same line with a point at every half unit at least, so that a warp can bend it.
fn densify(points: &[Point]) -> Vec<Point> {
    let mut dense = vec![points[0]];
    for pair in points.windows(2) {
        let [a, b] = [pair[0], pair[1]];
        let longest = (b[0] - a[0]).abs().max((b[1] - a[1]).abs());
        let steps = (longest / 0.5).ceil().max(1.0);
        for i in 1..=steps as usize {
            let t = i as f32 / steps;
            dense.push([a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]);
        }
    }
    dense
}

/// An affine map from the unit box to pixels.
#[derive(Clone, Copy)]
pub(super) struct Pose {
    linear: [f32; 4],
    centre: Point,
}

/// Reach of a random [`Pose`].
pub(super) struct PoseRange {
    /// Pixels per unit, smallest and largest.
    pub(super) scale: [f32; 2],
    /// Largest relative difference of width and height to the scale.
    pub(super) stretch: f32,
    /// Largest rotation to either side, degrees.
    pub(super) turn: f32,
    /// Largest shear to either side.
    pub(super) shear: f32,
    /// Largest distance of the centre from the middle along each axis, pixels.
    pub(super) shift: f32,
}

impl PoseRange {
    /// A pose in this range.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Pose {
        let scale = rng.range(self.scale[0], self.scale[1]);
        let stretch = rng.around(self.stretch);
        let radii = [scale * (1.0 + stretch), scale * (1.0 - stretch)];
        let (turn, shear) = (rng.around(self.turn), rng.around(self.shear));
        let middle = SIDE as f32 / 2.0;
        let centre = [
            middle + rng.around(self.shift),
            middle + rng.around(self.shift),
        ];
        Pose::new(centre, radii, turn, shear)
    }
}

impl Pose {
    /// Shears, scales, rotates by `turn` degrees (clockwise, y being down) and moves to `centre`.
    pub(super) fn new(centre: Point, scale: Point, turn: f32, shear: f32) -> Self {
        let (s, c) = libm::sincosf(turn.to_radians());
        let [sx, sy] = scale;
        Self {
            linear: [
                c * sx,
                c * shear * sx - s * sy,
                s * sx,
                s * shear * sx + c * sy,
            ],
            centre,
        }
    }

    /// Where a point of the unit box lies on the canvas.
    pub(super) fn map(&self, [x, y]: Point) -> Point {
        let [a, b, c, d] = self.linear;
        [
            self.centre[0] + a * x + b * y,
            self.centre[1] + c * x + d * y,
        ]
    }

    /// The images of several points.
    pub(super) fn map_all(&self, points: &[Point]) -> Vec<Point> {
        points.iter().map(|&p| self.map(p)).collect()
    }
}

/// A smooth displacement of the unit box: what makes two strokes of one hand differ.
pub(super) struct Wobble([[f32; 4]; 2]);

impl Wobble {
    /// A displacement of at most about `reach` units.
    pub(super) fn draw(rng: &mut ChaCha8Rng, reach: f32) -> Self {
        let mut wave = || {
            [
                rng.around(reach),
                rng.around(2.5),
                rng.around(2.5),
                rng.range(0.0, 6.3),
            ]
        };
        Self([wave(), wave()])
    }

    /// The displaced point.
    pub(super) fn bend(&self, [x, y]: Point) -> Point {
        let shift = |[reach, fx, fy, phase]: [f32; 4]| reach * libm::sinf(fx * x + fy * y + phase);
        [x + shift(self.0[0]), y + shift(self.0[1])]
    }
}

/// Draws the strokes of a glyph into a mask.
pub(super) fn draw_strokes(
    mask: &mut Canvas,
    strokes: &[Stroke],
    pose: &Pose,
    wobble: &Wobble,
    radius: f32,
) {
    for stroke in strokes {
        let points: Vec<Point> = stroke
            .points()
            .into_iter()
            .map(|p| pose.map(wobble.bend(p)))
            .collect();
        mask.stroke(&points, radius);
    }
}
