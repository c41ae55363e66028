//! Directional derivatives and Hessian-vector products of a loss.

use super::Dual;
use burn::tensor::Tensor;

/// A loss and its derivative along a direction, in one forward pass: `(f(x), <grad f(x), v>)`.
///
/// # Shapes
/// `at` and `along`: one flat tensor per parameter, of equal lengths; `f` returns one entry.
///
/// # Cost
/// About two to three forward passes; no graph is kept.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use refit_kernels::dual::jvp;
/// let device = Device::flex();
/// let x = Tensor::<1>::from_data([1.0, 2.0], &device);
/// let v = Tensor::<1>::from_data([3.0, 5.0], &device);
/// // f(x) = x0^2 + x1^2, so the slope along v is 2 <x, v> = 2 (3 + 10).
/// let (loss, slope) = jvp(|p| p[0].clone().powf_scalar(2.0).sum(), &[x], &[v]);
/// assert_eq!(loss.into_scalar::<f32>(), 5.0);
/// assert_eq!(slope.into_scalar::<f32>(), 26.0);
/// ```
pub fn jvp(
    f: impl Fn(&[Dual<1>]) -> Dual<1>,
    at: &[Tensor<1>],
    along: &[Tensor<1>],
) -> (Tensor<1>, Tensor<1>) {
    let (loss, slope) = f(&pairs(at, along)).into_parts();
    let slope = slope.unwrap_or_else(|| loss.zeros_like());
    (loss, slope)
}

/// A gradient and the product of the Hessian with a direction: `(grad f(x), H(x) v)`.
///
/// The slope `s(x, v) = <grad f(x), v>` of [`jvp`] is differentiated in reverse mode, once: its gradient in `x` is
/// `H v`, and its gradient in `v` is the gradient of `f`.
///
/// # Shapes
/// As in [`jvp`]; both results have one flat tensor per parameter. They carry no graph, whatever `at` carried.
///
/// # Cost
/// About twice a forward and backward pass; the graph of one pass with tangents is kept meanwhile.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use refit_kernels::dual::hvp;
/// let device = Device::flex();
/// let x = Tensor::<1>::from_data([1.0, 2.0], &device);
/// let v = Tensor::<1>::from_data([1.0, 0.0], &device);
/// // f(x) = x0^3 + x1^3: the gradient is 3 x^2, the Hessian is diagonal with entries 6 x.
/// let (gradient, product) = hvp(|p| p[0].clone().powf_scalar(3.0).sum(), &[x], &[v]);
/// gradient[0].to_data().assert_eq(&[3.0f32, 12.0].into(), true);
/// product[0].to_data().assert_eq(&[6.0f32, 0.0].into(), true);
/// ```
pub fn hvp(
    f: impl Fn(&[Dual<1>]) -> Dual<1>,
    at: &[Tensor<1>],
    along: &[Tensor<1>],
) -> (Vec<Tensor<1>>, Vec<Tensor<1>>) {
    let (at, along) = (leaves(at), leaves(along));
    let slope = f(&pairs(&at, &along))
        .into_parts()
        .1
        .filter(Tensor::is_tracked);
    let Some(slope) = slope else {
        return (zeros(&at), zeros(&at)); // the loss does not depend on any parameter
    };
    let grads = slope.sum().backward();
    let of = |leaf: &Tensor<1>| {
        leaf.grad(&grads)
            .unwrap_or_else(|| leaf.clone().inner().zeros_like())
    };
    (along.iter().map(of).collect(), at.iter().map(of).collect())
}

fn pairs(at: &[Tensor<1>], along: &[Tensor<1>]) -> Vec<Dual<1>> {
    assert_eq!(at.len(), along.len(), "one direction per parameter");
    at.iter()
        .zip(along)
        .map(|(x, v)| Dual::with_tangent(x.clone(), v.clone()))
        .collect()
}

fn leaves(tensors: &[Tensor<1>]) -> Vec<Tensor<1>> {
    tensors
        .iter()
        .map(|x| x.clone().inner().autodiff().require_grad())
        .collect()
}

fn zeros(like: &[Tensor<1>]) -> Vec<Tensor<1>> {
    like.iter()
        .map(|x| x.clone().inner().zeros_like())
        .collect()
}
