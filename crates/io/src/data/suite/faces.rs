//! Faces of eight expressions.

use super::{
    Generator,
    canvas::{Canvas, Point},
    glyph::{Pose, PoseRange, arc},
    nuisance::Nuisance,
};
use crate::data::draw::Draw;
use rand_chacha::ChaCha8Rng;

pub(super) const GENERATOR: Generator = Generator {
    name: "faces",
    classes: &[
        "calm",
        "happy",
        "sad",
        "surprised",
        "angry",
        "winking",
        "sleeping",
        "laughing",
    ],
    draw,
};

const POSES: PoseRange = PoseRange {
    scale: [9.5, 12.0],
    stretch: 0.1,
    turn: 16.0,
    shear: 0.08,
    shift: 2.0,
};
const NUISANCE: Nuisance = Nuisance {
    ink: [0.0, 0.25],
    ground: 0.3,
    invert: 0.25,
    clutter: 2,
    noise: 0.08,
};

fn draw(rng: &mut ChaCha8Rng, label: usize) -> Canvas {
    let pose = POSES.draw(rng);
    let radius = rng.range(0.45, 0.8);
    let mut features = Features {
        mask: Canvas::filled(0.0),
        pose,
        radius,
    };
    let (eye_x, eye_y) = (rng.range(0.32, 0.45), rng.range(-0.35, -0.2));
    let mouth_y = rng.range(0.4, 0.5);
    features.eyes(rng, label, eye_x, eye_y);
    features.mouth(rng, label, mouth_y);

    let mut picture = NUISANCE.ground(rng);
    let mut head = Canvas::filled(0.0);
    head.fill(&pose.map_all(&arc([0.0, 0.0], [1.0, 1.05], 0.0, 345.0)));
    picture.paint(&head, rng.range(0.6, 1.0));
    picture.paint(&features.mask, rng.range(NUISANCE.ink[0], NUISANCE.ink[1]));
    NUISANCE.finish(rng, picture)
}

/// Eyes, brows and mouth, drawn into one mask.
struct Features {
    mask: Canvas,
    pose: Pose,
    radius: f32,
}

impl Features {
    fn line(&mut self, points: &[Point]) {
        self.mask.stroke(&self.pose.map_all(points), self.radius);
    }

    fn eyes(&mut self, rng: &mut ChaCha8Rng, label: usize, x: f32, y: f32) {
        let open = rng.range(0.9, 1.4);
        let winks = if rng.chance(0.5) { -1.0 } else { 1.0 };
        for side in [-1.0, 1.0] {
            let at = [side * x, y];
            let shut = label == 6 || (label == 5 && side * winks > 0.0);
            if shut {
                self.line(&arc([at[0], at[1] - 0.08], [0.2, 0.14], 20.0, 160.0));
            } else {
                self.mask.disc(self.pose.map(at), open);
            }
            self.brow(label, side, at);
        }
    }

    /// Brows: lowered inside when angry, raised inside when sad, high when surprised; otherwise none.
    fn brow(&mut self, label: usize, side: f32, [x, y]: Point) {
        let (inner, outer) = match label {
            2 => (-0.42, -0.2),
            3 => (-0.46, -0.4),
            4 => (-0.14, -0.42),
            _ => return,
        };
        self.line(&[[x - side * 0.2, y + inner], [x + side * 0.2, y + outer]]);
    }

    fn mouth(&mut self, rng: &mut ChaCha8Rng, label: usize, y: f32) {
        let width = rng.range(0.3, 0.45);
        let depth = rng.range(0.16, 0.28);
        match label {
            0 => self.line(&[[-width, y], [width, y]]),
            1 | 5 => self.line(&arc([0.0, y - 0.15], [width, depth + 0.12], 10.0, 170.0)),
            2 => self.line(&arc([0.0, y + 0.22], [width, depth + 0.1], 195.0, 345.0)),
            3 => self
                .mask
                .fill(&self.pose.map_all(&arc([0.0, y], [0.2, depth], 0.0, 330.0))),
            4 => self.line(&[[-width, y + 0.08], [width, y - 0.02]]),
            6 => self.line(&arc([0.0, y], [0.12, 0.1], 0.0, 360.0)),
            _ => {
                let open = arc([0.0, y - 0.18], [width + 0.1, depth + 0.25], 0.0, 180.0);
                self.mask.fill(&self.pose.map_all(&open));
            }
        }
    }
}
