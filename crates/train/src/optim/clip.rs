//! Gradient clipping.

use crate::Gradient;

/// Scales `gradient` down to Euclidean norm `limit` if it is longer, and returns the norm it had.
///
/// A norm that is not finite is returned as it is and nothing is scaled: the caller decides.
pub fn clip_norm(gradient: &mut Gradient, limit: f64) -> f64 {
    let norm = gradient.norm();
    if norm.is_finite() && norm > limit {
        gradient.scale((limit / norm) as f32);
    }
    norm
}
