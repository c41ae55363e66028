//! Checks of an objective's derivatives against its values.

use super::oracle::{FiniteSum, Sample};
use rand::Rng;
use refit_core::Seed;
use refit_math::{
    MathError,
    krylov::Operator,
    vector::{add_scaled, dot, norm},
};

/// Share of two products by which they may differ; those in single precision differ by about 1e-6.
const ASYMMETRY: f64 = 1e-4;

/// How far derivatives are from differences, each as a share of what it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derivatives {
    /// Slope of the values along a random direction.
    pub gradient: f64,
    /// Slope of the gradient along it, against the product with the Hessian.
    pub hessian: f64,
    /// `u^T H v` against `v^T H u`.
    pub symmetry: f64,
}

/// Compares gradient, product with the Hessian and their symmetry with central differences of step `step` along random
/// directions at `x`.
///
/// # Cost
/// Two values and three gradients of all terms, and two products.
///
/// # Example
/// ```
/// use refit_core::Seed;
/// use refit_train::optim::second::{Closure, derivatives};
/// let wrong = Closure::new(
///     2,
///     1,
///     |_, x| x[0].powi(2) + x[0] * x[1],
///     |_, x, out| out.copy_from_slice(&[2.0 * x[0] + x[1], x[0]]),
///     |_, _, v, out| out.copy_from_slice(&[2.0 * v[0] + v[1], 0.0]), // the second row is missing
/// );
/// let found = derivatives(&wrong, &[1.0, 2.0], 1e-4, Seed::new(0));
/// assert!(found.gradient < 1e-8 && found.hessian > 0.1 && found.symmetry > 0.1);
/// ```
///
/// # Panics
/// When `x` has not one value for each parameter.
pub fn derivatives<O: FiniteSum>(objective: &O, x: &[f64], step: f64, seed: Seed) -> Derivatives {
    let (dim, n) = (objective.dim(), objective.terms());
    assert_eq!(x.len(), dim, "a value for each parameter");
    let [u, v] = ["u", "v"].map(|name| direction(dim, seed.fork(name)));
    let mut values = vec![0.0; n];
    let mut at = |share: f64| {
        let mut moved = x.to_vec();
        add_scaled(&mut moved, share, &v);
        let mut gradient = vec![0.0; dim];
        objective.gradient(&moved, Sample::All, &mut values, &mut gradient);
        objective.values(&moved, Sample::All, &mut values);
        (values.iter().sum::<f64>() / n as f64, gradient)
    };
    let ((_, here), (up, above), (down, below)) = (at(0.0), at(step), at(-step));
    let slope: Vec<f64> = above
        .iter()
        .zip(&below)
        .map(|(a, b)| (a - b) / (2.0 * step))
        .collect();
    let state = objective.hessian(x, Sample::All);
    let [hu, hv] = [&u, &v].map(|v| {
        let mut image = vec![0.0; dim];
        objective.product(&state, v, &mut image);
        image
    });
    let mut off = hv.clone();
    add_scaled(&mut off, -1.0, &slope);
    let expected = (up - down) / (2.0 * step);
    let share = |off: f64, size: f64| off.abs() / size.max(f64::MIN_POSITIVE);
    let (there, back) = (dot(&u, &hv), dot(&v, &hu));
    Derivatives {
        gradient: share(dot(&here, &v) - expected, norm(&here)),
        hessian: share(norm(&off), norm(&slope)),
        symmetry: share(there - back, norm(&hv).max(norm(&hu))),
    }
}

/// Refuses an operator for which `u^T H v` and `v^T H u` differ for random `u` and `v`; two products.
pub(super) fn symmetry(
    dim: usize,
    seed: Seed,
    operator: &mut Operator<'_>,
) -> Result<(), MathError> {
    let [u, v] = ["u", "v"].map(|name| direction(dim, seed.fork(name)));
    let (mut hu, mut hv) = (vec![0.0; dim], vec![0.0; dim]);
    operator(&u, &mut hu);
    operator(&v, &mut hv);
    let (there, back) = (dot(&u, &hv), dot(&v, &hu));
    if (there - back).abs() > ASYMMETRY * norm(&hu).max(norm(&hv)) {
        return Err(MathError::NotSymmetric { there, back });
    }
    Ok(())
}

/// A random unit vector with entries of both signs and like sizes.
fn direction(dim: usize, seed: Seed) -> Vec<f64> {
    let mut rng = seed.rng();
    let mut v: Vec<f64> = (0..dim)
        .map(|_| rng.random_range(0.5..1.5) * if rng.random() { 1.0 } else { -1.0 })
        .collect();
    let length = norm(&v);
    refit_math::vector::scale(&mut v, 1.0 / length);
    v
}
