//! Laws of forward mode, checked in `f64` for every operation by one harness.

mod arithmetic;
mod attention;
mod contract;
mod cost;
mod elementwise;
mod kernels;
mod networks;
mod norm;
mod shape;

use super::{Dual, hvp, jvp};
use burn::tensor::{DType, Device, Tensor};
use refit_testkit::{close, close_in_norm, differences, norm, normal_vec, tensor, tensor_f64};

/// Random inputs of the given lengths, one seed each.
fn normals<const N: usize>(lengths: [usize; N]) -> Vec<Vec<f64>> {
    (0..)
        .zip(lengths)
        .map(|(seed, len)| normal_vec(seed, len))
        .collect()
}

/// Checks every law for `f`, a function of flat inputs with a flat result, at the point `inputs`.
fn check(inputs: &[Vec<f64>], f: impl Fn(&[Dual<1>]) -> Dual<1>) {
    let case = Case { inputs, f };
    let (v, w) = (case.direction(100), case.direction(200));
    case.values_are_those_of_the_kernel(&v);
    case.tangents_match_differences(&v);
    case.tangents_are_linear(&v, &w);
    case.tangents_add_up_over_the_inputs(&v);
    case.a_zero_direction_gives_a_zero_tangent();
    case.gradients_match_reverse_mode(&v);
    case.hessian_products_match_differences(&v);
    case.the_hessian_is_symmetric(&v, &w);
    case.single_precision_agrees(&v);
}

struct Case<'a, F> {
    inputs: &'a [Vec<f64>],
    f: F,
}

impl<F: Fn(&[Dual<1>]) -> Dual<1>> Case<'_, F> {
    /// Inputs, joined.
    fn point(&self) -> Vec<f64> {
        self.inputs.concat()
    }

    /// A random direction of unit length over all inputs, joined.
    fn direction(&self, seed: u64) -> Vec<f64> {
        let v = normal_vec(seed, self.point().len());
        let length = norm(&v);
        v.into_iter().map(|v| v / length).collect()
    }

    /// Joined values as one tensor per input.
    fn split(&self, joined: &[f64]) -> Vec<Tensor<1>> {
        self.split_as(joined, DType::F64)
    }

    fn split_as(&self, joined: &[f64], dtype: DType) -> Vec<Tensor<1>> {
        let mut rest = joined;
        let mut take = |len| {
            let (head, tail) = rest.split_at(len);
            rest = tail;
            tensor(head.to_vec(), [len], dtype, &device())
        };
        self.inputs.iter().map(|x| take(x.len())).collect()
    }

    fn duals(&self, v: &[f64]) -> Vec<Dual<1>> {
        let pairs = self.split(&self.point()).into_iter().zip(self.split(v));
        pairs.map(|(x, v)| Dual::with_tangent(x, v)).collect()
    }

    fn value(&self, x: &[f64]) -> Vec<f64> {
        let x: Vec<_> = self.split(x).into_iter().map(Dual::constant).collect();
        host([(self.f)(&x).into_value()])
    }

    fn tangent(&self, v: &[f64]) -> Vec<f64> {
        host((self.f)(&self.duals(v)).tangent().cloned())
    }

    /// A loss whose Hessian is not zero even where `f` is linear: `<c, y> + |y|^2 / 2`.
    fn loss(&self, x: &[Dual<1>]) -> Dual<1> {
        let y = (self.f)(x);
        let [len] = y.dims();
        let c = fixed(&x[0], tensor_f64(normal_vec(300, len), [len]));
        (y.clone() * c + (y.clone() * y).mul_scalar(0.5)).sum()
    }

    /// The gradient of the loss by Burn's reverse mode, through the values alone.
    fn gradient(&self, x: &[f64]) -> Vec<f64> {
        let leaves: Vec<_> = self
            .split(x)
            .into_iter()
            .map(|x| x.autodiff().require_grad())
            .collect();
        let x: Vec<_> = leaves.iter().cloned().map(Dual::constant).collect();
        let grads = self.loss(&x).into_value().backward();
        host(leaves.iter().map(|x| {
            x.grad(&grads)
                .unwrap_or_else(|| x.clone().inner().zeros_like())
        }))
    }

    /// Gradient and Hessian-vector product of the loss.
    fn curvature(&self, v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (g, hv) = hvp(|x| self.loss(x), &self.split(&self.point()), &self.split(v));
        (host(g), host(hv))
    }

    fn values_are_those_of_the_kernel(&self, v: &[f64]) {
        let plain = self.value(&self.point());
        let y = (self.f)(&self.duals(v));
        assert_eq!(
            host([y.value().clone()]),
            plain,
            "the value depends on the tangent"
        );
        assert_eq!(y.value().dtype(), DType::F64);
        let constants: Vec<_> = self.duals(v).into_iter().map(Dual::detach).collect();
        assert!(
            (self.f)(&constants).tangent().is_none(),
            "a tangent out of nowhere"
        );
    }

    fn tangents_match_differences(&self, v: &[f64]) {
        let expected = differences::directional(|x| self.value(x), &self.point(), v);
        close_in_norm(self.tangent(v), expected, 1e-8, 1e-13).expect("tangent");
    }

    fn tangents_are_linear(&self, v: &[f64], w: &[f64]) {
        let mix = |v: &[f64], w: &[f64]| -> Vec<f64> {
            v.iter().zip(w).map(|(v, w)| 3.0 * v - 0.5 * w).collect()
        };
        let expected = mix(&self.tangent(v), &self.tangent(w));
        close_in_norm(self.tangent(&mix(v, w)), expected, 1e-12, 1e-15).expect("linearity");
    }

    /// Each input alone carries a tangent: every combination with "no tangent" elsewhere is walked.
    fn tangents_add_up_over_the_inputs(&self, v: &[f64]) {
        let duals = self.duals(v);
        let mut total = vec![0.0; self.tangent(v).len()];
        for i in 0..duals.len() {
            let mut alone: Vec<_> = duals.iter().cloned().map(Dual::detach).collect();
            alone[i] = duals[i].clone();
            let part = host((self.f)(&alone).tangent().cloned());
            assert!(part.is_empty() || part.len() == total.len());
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
        close_in_norm(total, self.tangent(v), 1e-12, 1e-15).expect("sum over inputs");
    }

    fn a_zero_direction_gives_a_zero_tangent(&self) {
        let zeros = vec![0.0; self.point().len()];
        assert!(self.tangent(&zeros).iter().all(|&t| t.abs() == 0.0));
    }

    fn gradients_match_reverse_mode(&self, v: &[f64]) {
        let (g, _) = self.curvature(v);
        close_in_norm(&g, self.gradient(&self.point()), 1e-12, 1e-14).expect("gradient");
        let along: f64 = g.iter().zip(v).map(|(g, v)| g * v).sum();
        let (_, slope) = jvp(|x| self.loss(x), &self.split(&self.point()), &self.split(v));
        close(slope, vec![along], 1e-10, 1e-12 * norm(&g)).expect("slope");
    }

    fn hessian_products_match_differences(&self, v: &[f64]) {
        let expected = differences::directional(|x| self.gradient(x), &self.point(), v);
        close_in_norm(self.curvature(v).1, expected, 1e-8, 1e-12).expect("hessian product");
    }

    fn the_hessian_is_symmetric(&self, v: &[f64], w: &[f64]) {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (hv, hw) = (self.curvature(v).1, self.curvature(w).1);
        // Directions have unit length, so the norms bound both sides.
        close(
            dot(w, &hv),
            dot(v, &hw),
            0.0,
            1e-10 * norm(&hv).max(norm(&hw)),
        )
        .expect("symmetry");
    }

    /// The fused kernels are for `f32` alone, so this is where derivatives go through theirs.
    fn single_precision_agrees(&self, v: &[f64]) {
        let single = |x: &[f64]| self.split_as(x, DType::F32);
        let (at, along) = (single(&self.point()), single(v));
        let pairs = at.iter().cloned().zip(along.iter().cloned());
        let x: Vec<_> = pairs.map(|(x, v)| Dual::with_tangent(x, v)).collect();
        let tangent = host((self.f)(&x).tangent().cloned());
        close_in_norm(tangent, self.tangent(v), 1e-5, 1e-6).expect("tangent in f32");
        let (g, hv) = hvp(|x| self.loss(x), &at, &along);
        let (expected_g, expected_hv) = self.curvature(v);
        close_in_norm(host(g), expected_g, 1e-5, 1e-6).expect("gradient in f32");
        close_in_norm(host(hv), expected_hv, 1e-4, 1e-5).expect("hessian product in f32");
    }
}

/// Values of tensors on the host, joined.
fn host<const D: usize>(tensors: impl IntoIterator<Item = Tensor<D>>) -> Vec<f64> {
    let values = |x: Tensor<D>| x.try_into_vec_as::<f64>().expect("a float tensor");
    tensors.into_iter().flat_map(values).collect()
}

/// A constant of the element type of `like`.
fn fixed<const D: usize>(like: &Dual<1>, x: Tensor<D>) -> Dual<D> {
    Dual::constant(x.cast(like.value().dtype()))
}

/// A flat result.
fn flat<const D: usize>(y: Dual<D>) -> Dual<1> {
    y.flatten(0, D - 1)
}

fn device() -> Device {
    Device::flex()
}
