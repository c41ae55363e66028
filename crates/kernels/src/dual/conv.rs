//! Convolution.

use super::{Dual, dense::optional_parts, sum};

/// [`conv2d`](crate::conv2d): `y' = x' * w + x * w' + b'`.
#[must_use]
pub fn conv2d(
    x: Dual<4>,
    weight: Dual<4>,
    bias: Option<Dual<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Dual<4> {
    let ((x, dx), (w, dw)) = (x.into_parts(), weight.into_parts());
    let (b, db) = optional_parts(bias);
    if dx.is_none() && dw.is_none() && db.is_none() {
        return Dual::constant(crate::conv2d(x, w, b, stride, padding));
    }
    let by_input = dx.map(|dx| crate::conv2d(dx, w.clone(), None, stride, padding));
    let by_weight = match dw {
        Some(dw) => Some(crate::conv2d(x.clone(), dw, db, stride, padding)),
        None => db.map(|db| {
            let channels = db.dims()[0];
            db.reshape([1, channels, 1, 1])
        }),
    };
    let y = crate::conv2d(x, w, b, stride, padding);
    let tangent = sum([by_input, by_weight], y.dims());
    Dual::new(y, tangent)
}
