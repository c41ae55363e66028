//! Conjugate gradients in a ball, kept as a path so that a smaller ball costs nothing.
//! Source: Steihaug 1983; Toint 1981.

use super::{
    lanczos::Operator,
    model::{Growth, Step},
    small::roots,
};
use crate::{
    error::MathError,
    vector::{add_scaled, dot, norm},
};

/// One straight piece of the path.
#[derive(Clone, Debug)]
struct Piece {
    from: Vec<f64>,
    direction: Vec<f64>,
    /// Model where the piece begins, its slope along the direction there, and its curvature along it.
    value: f64,
    slope: f64,
    curvature: f64,
}

impl Piece {
    fn at(&self, along: f64) -> f64 {
        self.value + along * (self.slope + 0.5 * along * self.curvature)
    }

    /// Where it leaves the ball.
    fn leave(&self, radius: f64) -> Step {
        let (from, direction) = (&self.from, &self.direction);
        let out = roots(
            dot(direction, direction),
            2.0 * dot(from, direction),
            dot(from, from) - radius * radius,
        );
        let along = out.into_iter().fold(0.0, f64::max);
        let mut step = from.clone();
        add_scaled(&mut step, along, direction);
        Step {
            step,
            value: self.at(along).min(0.0),
            multiplier: 0.0,
            residual: f64::NAN,
            bounded: true,
            hard: false,
        }
    }
}

/// The path of conjugate gradients from 0 for `g^T s + s^T H s / 2`, along which steps grow.
///
/// It decreases the model at least as much as the best step along `-g` does. It never looks where the gradient does not
/// lead: for `g = 0` it stays at 0 whatever the curvature, and in the hard case it misses the minimiser. Use
/// [`Model`](super::Model) where that matters.
#[derive(Clone, Debug)]
pub struct Path {
    pieces: Vec<Piece>,
    gradient: f64,
    /// `g + H s` where the last piece would end, and the direction from there.
    residual: Vec<f64>,
    ended: bool,
}

impl Path {
    /// The path for this gradient.
    ///
    /// # Errors
    /// [`MathError::NotFiniteProduct`].
    pub fn new(gradient: &[f64]) -> Result<Self, MathError> {
        let length = norm(gradient);
        if !length.is_finite() {
            return Err(MathError::product(gradient));
        }
        Ok(Self {
            pieces: Vec::new(),
            gradient: length,
            residual: gradient.to_vec(),
            ended: length == 0.0,
        })
    }

    /// Products made so far.
    pub fn products(&self) -> usize {
        self.pieces.len()
    }

    /// The end of the path in the ball of `radius`: at the edge, or where the gradient of the model is short enough.
    ///
    /// # Errors
    /// [`MathError::NotFiniteProduct`].
    ///
    /// # Cost
    /// A product and `O(n)` for each new piece; a smaller ball needs none.
    pub fn minimise(
        &mut self,
        radius: f64,
        growth: Growth,
        operator: &mut Operator<'_>,
    ) -> Result<Step, MathError> {
        let mut at = 0;
        loop {
            if let Some(piece) = self.pieces.get(at) {
                let turn = -piece.slope / piece.curvature;
                let inside = piece.curvature > 0.0 && {
                    let mut end = piece.from.clone();
                    add_scaled(&mut end, turn, &piece.direction);
                    norm(&end) < radius
                };
                if !inside {
                    return Ok(piece.leave(radius));
                }
                at += 1;
                if at < self.pieces.len() {
                    continue;
                }
            }
            let short = norm(&self.residual) <= growth.tolerance;
            if self.ended || self.pieces.len() >= growth.most || (short && at > 0) {
                return Ok(self.end());
            }
            self.extend(operator)?;
        }
    }

    /// The end of the last piece.
    fn end(&self) -> Step {
        let dim = self.residual.len();
        let (step, value) = self.pieces.last().map_or((vec![0.0; dim], 0.0), |piece| {
            let along = -piece.slope / piece.curvature;
            let mut step = piece.from.clone();
            add_scaled(&mut step, along, &piece.direction);
            (step, piece.at(along))
        });
        Step {
            step,
            value: value.min(0.0),
            multiplier: 0.0,
            residual: norm(&self.residual),
            bounded: false,
            hard: false,
        }
    }

    /// One more product, along the next conjugate direction.
    fn extend(&mut self, operator: &mut Operator<'_>) -> Result<(), MathError> {
        let square = dot(&self.residual, &self.residual);
        let end = self.end();
        let mut direction: Vec<f64> = self.residual.iter().map(|r| -r).collect();
        if let Some(last) = self.pieces.last() {
            // The slope of the last piece was minus the square of the residual where it began.
            add_scaled(&mut direction, square / -last.slope, &last.direction);
        }
        let mut image = vec![0.0; direction.len()];
        operator(&direction, &mut image);
        if image.iter().any(|v| !v.is_finite()) {
            return Err(MathError::product(&image));
        }
        let curvature = dot(&direction, &image);
        if curvature > 0.0 {
            add_scaled(&mut self.residual, square / curvature, &image);
        }
        let rounding = f64::EPSILON * self.gradient;
        self.ended = curvature <= 0.0 || norm(&self.residual) <= rounding;
        self.pieces.push(Piece {
            from: end.step,
            direction,
            value: end.value,
            slope: -square,
            curvature,
        });
        Ok(())
    }
}
