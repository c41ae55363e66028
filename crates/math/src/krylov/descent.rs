//! Gradient descent on a cubic model, for dimensions at which a basis does not fit into memory.
//! Source: Carmon and Duchi 2016, arXiv:1612.00547; perturbed start as in Tripuraneni et al. 2017, arXiv:1711.02838.

use super::{
    lanczos::Operator,
    model::{Growth, Step},
    small::Bound,
};
use crate::{
    error::MathError,
    vector::{add_scaled, dot, norm, normal, scale},
};
use refit_core::Seed;

/// Share of the gradient's length by which it is moved, so that the hard case has probability 0.
const PERTURBATION: f64 = 1e-3;

/// A step that makes `g^T s + s^T H s / 2 + sigma |s|^3 / 3` small, by descent along its gradient.
///
/// Starts at the best step along `-g`. Steps have length `1 / (2 (M + 2 sigma |s|))` times the gradient, `M` being the
/// largest `|H s| / |s|` seen, doubled whenever the model grows.
///
/// # Errors
/// [`MathError::NotFiniteProduct`]; [`MathError::Empty`] without dimensions.
///
/// # Cost
/// One product and `O(n)` per step, four vectors of memory. Many more products than in a Krylov space.
///
/// # Example
/// ```
/// use refit_core::Seed;
/// use refit_math::krylov::{Growth, cubic_descent};
/// let mut product = |v: &[f64], out: &mut [f64]| {
///     out.copy_from_slice(&[-2.0 * v[0], v[1], 3.0 * v[2]]);
/// };
/// let growth = Growth { tolerance: 1e-6, most: 10_000 };
/// let found = cubic_descent(&[0.0, 1.0, -1.0], 1.0, growth, Seed::new(0), &mut product)?;
/// assert!((found.value + 1.6).abs() < 1e-2);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn cubic_descent(
    gradient: &[f64],
    sigma: f64,
    growth: Growth,
    seed: Seed,
    operator: &mut Operator<'_>,
) -> Result<Step, MathError> {
    let length = norm(gradient);
    if gradient.is_empty() {
        return Err(MathError::Empty {
            what: "the gradient of a model",
        });
    }
    let mut product = |v: &[f64]| {
        let mut image = vec![0.0; v.len()];
        operator(v, &mut image);
        if image.iter().all(|v| v.is_finite()) {
            Ok(image)
        } else {
            Err(MathError::product(&image))
        }
    };
    let mut noise = normal(gradient.len(), seed);
    let share = PERTURBATION
        * if length > 0.0 {
            length
        } else {
            growth.tolerance
        };
    let size = norm(&noise);
    scale(&mut noise, share / size);
    let mut moved = gradient.to_vec();
    add_scaled(&mut moved, 1.0, &noise);

    let (mut s, mut image) = cauchy(&moved, sigma, &mut product)?;
    let mut magnitude = norm(&image) / norm(&s).max(f64::MIN_POSITIVE);
    let value = |s: &[f64], image: &[f64]| {
        dot(gradient, s) + 0.5 * dot(s, image) + Bound::Cubic(sigma).term(norm(s))
    };
    let mut best = value(&s, &image);
    let mut residual = f64::INFINITY;
    for _ in 1..growth.most.max(1) {
        let mut slope = moved.clone();
        add_scaled(&mut slope, 1.0, &image);
        add_scaled(&mut slope, sigma * norm(&s), &s);
        residual = norm(&slope);
        if residual <= growth.tolerance {
            break;
        }
        let pace = 0.5 / (magnitude + 2.0 * sigma * norm(&s)).max(f64::MIN_POSITIVE);
        let mut next = s.clone();
        add_scaled(&mut next, -pace, &slope);
        let there = product(&next)?;
        magnitude = magnitude.max(norm(&there) / norm(&next).max(f64::MIN_POSITIVE));
        let reached = value(&next, &there);
        // The perturbed model falls; the model itself may rise by the perturbation, no more.
        if reached > best + share * (norm(&next) + norm(&s)) {
            magnitude *= 2.0;
            continue;
        }
        (s, image, best) = (next, there, reached);
    }
    Ok(Step {
        multiplier: sigma * norm(&s),
        value: best,
        residual,
        bounded: true,
        hard: false,
        step: s,
    })
}

/// The best step along `-g`, with its product.
fn cauchy(
    gradient: &[f64],
    sigma: f64,
    product: &mut impl FnMut(&[f64]) -> Result<Vec<f64>, MathError>,
) -> Result<(Vec<f64>, Vec<f64>), MathError> {
    let length = norm(gradient);
    if length == 0.0 {
        return Ok((gradient.to_vec(), gradient.to_vec()));
    }
    let mut direction = gradient.to_vec();
    scale(&mut direction, -1.0 / length);
    let mut image = product(&direction)?;
    // t^2 sigma + t c - |g| = 0 for t > 0, without loss of digits for c > 0.
    let c = dot(&direction, &image);
    let root = (c * c + 4.0 * sigma * length).sqrt();
    let far = if c > 0.0 {
        2.0 * length / (c + root)
    } else {
        (root - c) / (2.0 * sigma)
    };
    scale(&mut direction, far);
    scale(&mut image, far);
    Ok((direction, image))
}
