//! Layer, RMS and batch norm.

use super::{Dual, sum};
use burn::tensor::{Tensor, module};

/// [`layer_norm`](crate::layer_norm).
///
/// With `h = (x - mean) / s`, where `s^2` is variance plus `eps`, the tangent is
/// `w (x' - <x'> - h <h x'>) / s + w' h + b'`; `<.>` is the mean over the last axis.
#[must_use]
pub fn layer_norm<const D: usize>(x: Dual<D>, weight: Dual<1>, bias: Dual<1>, eps: f64) -> Dual<D> {
    let (x, dx) = x.into_parts();
    let ((w, dw), (b, db)) = (weight.into_parts(), bias.into_parts());
    if dx.is_none() && dw.is_none() && db.is_none() {
        return Dual::constant(crate::layer_norm(x, w, b, eps));
    }
    let y = crate::layer_norm(x.clone(), w.clone(), b, eps);
    let centred = x.clone() - x.mean_dim(D - 1);
    let tangent = scaled_tangent(centred, dx.map(centre), w, dw, eps);
    let tangent = sum([tangent, db.map(Tensor::unsqueeze)], y.dims());
    Dual::new(y, tangent)
}

/// [`rms_norm`](crate::rms_norm): the tangent of [`layer_norm`] without its centring and bias.
#[must_use]
pub fn rms_norm<const D: usize>(x: Dual<D>, weight: Dual<1>, eps: f64) -> Dual<D> {
    let ((x, dx), (w, dw)) = (x.into_parts(), weight.into_parts());
    if dx.is_none() && dw.is_none() {
        return Dual::constant(crate::rms_norm(x, w, eps));
    }
    let y = crate::rms_norm(x.clone(), w.clone(), eps);
    Dual::new(y, scaled_tangent(x, dx, w, dw, eps))
}

fn centre<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() - x.mean_dim(D - 1)
}

/// The tangent of `w x / sqrt(<x^2> + eps)`: `w (x' - h <h x'>) / s + w' h` with `s` the root and `h = x / s`.
fn scaled_tangent<const D: usize>(
    x: Tensor<D>,
    dx: Option<Tensor<D>>,
    w: Tensor<1>,
    dw: Option<Tensor<1>>,
    eps: f64,
) -> Option<Tensor<D>> {
    if dx.is_none() && dw.is_none() {
        return None;
    }
    let dims = x.dims();
    let rate = ((x.clone() * x.clone()).mean_dim(D - 1) + eps)
        .sqrt()
        .recip();
    let h = x * rate.clone();
    let by_input = dx.map(|dx| {
        let along = (h.clone() * dx.clone()).mean_dim(D - 1);
        (dx - h.clone() * along) * rate * w.unsqueeze()
    });
    let by_weight = dw.map(|dw| h * dw.unsqueeze());
    sum([by_input, by_weight], dims)
}

/// Batch norm with given statistics: `weight (x - mean) / sqrt(variance + eps) + bias`, channel by channel.
///
/// # Shapes
/// `x [b, c, ..]`; `weight`, `bias`, `mean`, `variance [c]` -> `[b, c, ..]`.
#[must_use]
pub fn batch_norm<const D: usize>(
    x: Dual<D>,
    weight: Dual<1>,
    bias: Dual<1>,
    mean: Dual<1>,
    variance: Dual<1>,
    eps: f64,
) -> Dual<D> {
    let channels = [&weight, &bias, &mean, &variance];
    let moves = x.tangent.is_some() || channels.iter().any(|c| c.tangent.is_some());
    let composed = moves.then(|| {
        let rate = variance.clone().add_scalar(eps).sqrt().recip() * weight.clone();
        (x.clone() - per_channel(mean.clone())) * per_channel(rate) + per_channel(bias.clone())
    });
    let value = module::batch_norm(
        x.value,
        weight.value,
        bias.value,
        mean.value,
        variance.value,
        eps,
    );
    Dual::new(value, composed.and_then(|y| y.tangent))
}

/// Output of [`batch_norm_train`] and the statistics of its batch.
#[derive(Clone, Debug)]
pub struct BatchNormTrain<const D: usize> {
    /// The normalised input, `[b, c, ..]`.
    pub output: Dual<D>,
    /// Mean of each channel, `[c]`; a constant, for running statistics.
    pub mean: Tensor<1>,
    /// Variance of each channel around its mean (divided by the count, without `eps`), `[c]`; a constant.
    pub variance: Tensor<1>,
}

/// Batch norm with the statistics of the batch, through which derivatives flow.
///
/// # Shapes
/// `x [b, c, ..]`; `weight`, `bias [c]` -> output `[b, c, ..]`, mean and variance `[c]`.
#[must_use]
pub fn batch_norm_train<const D: usize>(
    x: Dual<D>,
    weight: Dual<1>,
    bias: Dual<1>,
    eps: f64,
) -> BatchNormTrain<D> {
    let moves = x.tangent.is_some() || weight.tangent.is_some() || bias.tangent.is_some();
    let composed = moves.then(|| composed_train(x.clone(), weight.clone(), bias.clone(), eps));
    let result = module::batch_norm_train(x.value, weight.value, bias.value, eps);
    let tangent = composed.and_then(|y| y.tangent);
    BatchNormTrain {
        output: Dual::new(result.output, tangent),
        mean: result.mean,
        variance: result.variance,
    }
}

/// [`batch_norm_train`] from operators that carry tangents.
fn composed_train<const D: usize>(x: Dual<D>, weight: Dual<1>, bias: Dual<1>, eps: f64) -> Dual<D> {
    let centred = x.clone() - channel_mean(x);
    let variance = channel_mean(centred.clone() * centred.clone());
    let rate = variance.add_scalar(eps).sqrt().recip() * per_channel(weight);
    centred * rate + per_channel(bias)
}

/// The mean over all axes but the second, which keep extent one.
fn channel_mean<const D: usize>(x: Dual<D>) -> Dual<D> {
    (0..D).filter(|&axis| axis != 1).fold(x, Dual::mean_dim)
}

/// `[c]` -> `[1, c, 1, ..]`.
fn per_channel<const D: usize>(x: Dual<1>) -> Dual<D> {
    let mut dims = [1; D];
    dims[1] = x.dims()[0];
    x.reshape(dims)
}
