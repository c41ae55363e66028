//! Parameters of two layers, and small dense loops over the second one.

use crate::objective::rows::add_scaled;

/// The parameters, apart.
pub(super) struct Split<'x> {
    pub(super) w1: &'x [f64],
    pub(super) b1: &'x [f64],
    pub(super) w2: &'x [f64],
    pub(super) b2: &'x [f64],
}

impl<'x> Split<'x> {
    /// Of `x`, for `columns` features and `units` hidden units.
    pub(super) fn new(x: &'x [f64], columns: usize, units: usize) -> Self {
        let (w1, rest) = x.split_at(columns * units);
        let (b1, rest) = rest.split_at(units);
        let (w2, b2) = rest.split_at(rest.len() / (units + 1) * units);
        Self { w1, b1, w2, b2 }
    }
}

/// What is summed for the parameters, apart.
pub(super) struct SplitMut<'x> {
    pub(super) w1: &'x mut [f64],
    pub(super) b1: &'x mut [f64],
    pub(super) w2: &'x mut [f64],
    pub(super) b2: &'x mut [f64],
}

impl<'x> SplitMut<'x> {
    /// Of `x`, for `columns` features and `units` hidden units.
    pub(super) fn new(x: &'x mut [f64], columns: usize, units: usize) -> Self {
        let (w1, rest) = x.split_at_mut(columns * units);
        let (b1, rest) = rest.split_at_mut(units);
        let (w2, b2) = rest.split_at_mut(rest.len() / (units + 1) * units);
        Self { w1, b1, w2, b2 }
    }
}

/// Partial sums of [`dot`].
const LANES: usize = 8;

/// `a^T b`, in a fixed order.
#[inline(always)]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>();
    for width in [4, 2, 1] {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0] + rest
}

/// `out += w hidden`, `w [out, hidden]`.
#[inline(always)]
pub(super) fn apply_layer(hidden: &[f64], w: &[f64], out: &mut [f64]) {
    for (out, w) in out.iter_mut().zip(w.chunks_exact(hidden.len())) {
        *out += dot(hidden, w);
    }
}

/// `out += share slopes hidden^T`, `out [slopes, hidden]`.
#[inline(always)]
pub(super) fn add_layer(share: f64, hidden: &[f64], slopes: &[f64], out: &mut [f64]) {
    for (slope, out) in slopes.iter().zip(out.chunks_exact_mut(hidden.len())) {
        add_scaled(out, share * slope, hidden);
    }
}

/// `back += w^T slopes`, `w [slopes, hidden]`.
#[inline(always)]
pub(super) fn back_layer(w: &[f64], slopes: &[f64], back: &mut [f64]) {
    for (&slope, w) in slopes.iter().zip(w.chunks_exact(back.len())) {
        add_scaled(back, slope, w);
    }
}
