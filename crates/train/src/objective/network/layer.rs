//! Parameters of two layers, and small dense loops over the second one.

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

/// `a^T b`.
#[inline(always)]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `out += w^T hidden`, `w [hidden, out]`.
#[inline(always)]
pub(super) fn apply_layer(hidden: &[f64], w: &[f64], out: &mut [f64]) {
    for (h, w) in hidden.iter().zip(w.chunks_exact(out.len())) {
        out.iter_mut().zip(w).for_each(|(out, w)| *out += h * w);
    }
}

/// `out += share hidden slopes^T`, `out [hidden, slopes]`.
#[inline(always)]
pub(super) fn add_layer(share: f64, hidden: &[f64], slopes: &[f64], out: &mut [f64]) {
    for (h, out) in hidden.iter().zip(out.chunks_exact_mut(slopes.len())) {
        let factor = share * h;
        out.iter_mut()
            .zip(slopes)
            .for_each(|(out, s)| *out += factor * s);
    }
}

/// `w_j^T slopes`, `w [hidden, slopes]`.
#[inline(always)]
pub(super) fn back_layer(w: &[f64], j: usize, slopes: &[f64]) -> f64 {
    dot(&w[j * slopes.len()..][..slopes.len()], slopes)
}
