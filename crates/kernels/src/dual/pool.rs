//! Pooling over windows of an image.

use super::Dual;
use burn::tensor::{Int, Tensor, module, ops};

/// The largest entry of each window; the tangent is that of the entry chosen. Padding is never chosen.
///
/// # Shapes
/// `x [b, c, h, w]` -> `[b, c, h', w']`.
#[must_use]
pub fn max_pool2d(
    x: Dual<4>,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Dual<4> {
    let mut options = ops::MaxPoolOptions::new(kernel);
    options.stride = stride;
    options.padding = padding.map(|p| (p, p));
    let (x, dx) = x.into_parts();
    let Some(dx) = dx else {
        return Dual::constant(module::max_pool2d(x, options));
    };
    let (value, chosen) = module::max_pool2d_with_indices(x, options);
    Dual::with_tangent(value, pick(dx, chosen))
}

/// Entries of each image of `x [b, c, h, w]` at flat positions `at [b, c, h', w']`.
fn pick(x: Tensor<4>, at: Tensor<4, Int>) -> Tensor<4> {
    let ([b, c, h, w], out) = (x.dims(), at.dims());
    let flat = x.reshape([b, c, h * w]);
    flat.gather(2, at.reshape([b, c, out[2] * out[3]]))
        .reshape(out)
}

/// The mean of each window; padding counts as zeros.
///
/// # Shapes
/// `x [b, c, h, w]` -> `[b, c, h', w']`.
#[must_use]
pub fn avg_pool2d(
    x: Dual<4>,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Dual<4> {
    let mut options = ops::AvgPoolOptions::new(kernel);
    options.stride = stride;
    options.padding = padding.map(|p| (p, p));
    x.map(|x| module::avg_pool2d(x, options.clone()))
}
