//! Maps with a weight matrix.

use super::{Dual, sum};
use burn::tensor::{Int, Tensor};

/// [`linear`](crate::linear): `y' = x' W' + x W'' + b'`, where `W''` stands for the transposed tangent of `W`.
#[must_use]
pub fn linear<const D: usize>(x: Dual<D>, weight: Dual<2>, bias: Option<Dual<1>>) -> Dual<D> {
    let ((x, dx), (w, dw)) = (x.into_parts(), weight.into_parts());
    let (b, db) = optional_parts(bias);
    if dx.is_none() && dw.is_none() && db.is_none() {
        return Dual::constant(crate::linear(x, w, b));
    }
    let by_input = dx.map(|dx| crate::linear(dx, w.clone(), None));
    let by_bias = match dw {
        Some(dw) => Some(crate::linear(x.clone(), dw, db)),
        None => db.map(Tensor::unsqueeze),
    };
    let y = crate::linear(x, w, b);
    let tangent = sum([by_input, by_bias], y.dims());
    Dual::new(y, tangent)
}

/// [`embedding`](crate::embedding): the tangent is looked up where the value is.
#[must_use]
pub fn embedding(table: Dual<2>, ids: Tensor<2, Int>) -> Dual<3> {
    let (table, dtable) = table.into_parts();
    let tangent = dtable.map(|dtable| crate::embedding(dtable, ids.clone()));
    Dual::new(crate::embedding(table, ids), tangent)
}

/// Value and tangent of an argument that may be left out.
pub(super) fn optional_parts<const D: usize>(
    x: Option<Dual<D>>,
) -> (Option<Tensor<D>>, Option<Tensor<D>>) {
    x.map_or((None, None), |x| {
        let (value, tangent) = x.into_parts();
        (Some(value), tangent)
    })
}
