//! What every objective has to satisfy.

use crate::optim::second::{FiniteSum, Sample};
use refit_testkit::{close, close_in_norm, differences, norm, normal_vec, with_threads};

/// Values of all terms at `x`.
pub(super) fn values(sum: &impl FiniteSum, x: &[f64], sample: Sample<'_>) -> Vec<f64> {
    let mut values = vec![f64::NAN; sample.len(sum.terms())];
    sum.values(x, sample, &mut values);
    values
}

/// Values, gradient, and squares of norms.
pub(super) fn gradient(
    sum: &impl FiniteSum,
    x: &[f64],
    sample: Sample<'_>,
) -> (Vec<f64>, Vec<f64>, Option<f64>) {
    let mut values = vec![f64::NAN; sample.len(sum.terms())];
    let mut out = vec![f64::NAN; sum.dim()];
    let squares = sum.gradient(x, sample, &mut values, &mut out);
    (values, out, squares)
}

pub(super) fn product<O: FiniteSum>(sum: &O, state: &O::State, v: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; sum.dim()];
    sum.product(state, v, &mut out);
    out
}

/// The weighted mean of the values of a sample.
fn mean(sum: &impl FiniteSum, x: &[f64], sample: Sample<'_>) -> f64 {
    let values = values(sum, x, sample);
    let terms = values.len() as f64;
    let weighted = values.iter().enumerate().map(|(j, v)| sample.weight(j) * v);
    weighted.sum::<f64>() / terms
}

/// Checks derivatives against differences, symmetry, samples, and bits, at a point of `scale` times normal numbers.
///
/// Differences are Richardson's, whose error is about 1e-9 of functions that vary over distances of order one.
pub(super) fn check<O: FiniteSum>(sum: &O, seed: u64, scale: f64) {
    let (n, dim) = (sum.terms(), sum.dim());
    let x: Vec<f64> = normal_vec(seed, dim).iter().map(|v| scale * v).collect();
    let (u, v) = (normal_vec(seed + 1, dim), normal_vec(seed + 2, dim));
    let terms: Vec<u32> = (0..n as u32).rev().step_by(3).collect();
    let repeated: Vec<u32> = terms.iter().flat_map(|&term| [term, 0]).collect();
    let weights = vec![1.0; repeated.len()];
    let weighted = Sample::Weighted {
        terms: &repeated,
        weights: &weights,
    };
    for sample in [Sample::All, Sample::Terms(&terms), weighted] {
        let (with_gradient, g, _) = gradient(sum, &x, sample);
        assert_eq!(
            with_gradient,
            values(sum, &x, sample),
            "values come with gradients"
        );
        let expected = differences::gradient(|x| mean(sum, x, sample), &x);
        close_in_norm(&g, &expected, 1e-7, 1e-8).unwrap();
        let state = sum.hessian(&x, sample);
        let hv = product(sum, &state, &v);
        let expected = differences::directional(|x| gradient(sum, x, sample).1, &x, &v);
        close_in_norm(&hv, &expected, 1e-7, 1e-8).unwrap();
        symmetric(sum, &state, &u, &v);
        let mut prepared = sum.hessian(&x, sample);
        sum.prepare(&mut prepared, u32::MAX);
        close_in_norm(product(sum, &prepared, &v), &hv, 1e-12, 1e-14).unwrap();
        if let Some((squares, state)) = sum.gradient_and_hessian(
            &x,
            sample,
            &mut vec![0.0; sample.len(n)],
            &mut vec![0.0; dim],
        ) {
            assert_eq!(squares, gradient(sum, &x, sample).2);
            assert_eq!(product(sum, &state, &v), hv, "one pass or two");
        }
        if let Some(state) = sum.gauss_newton(&x, sample) {
            symmetric(sum, &state, &u, &v);
            let along = dot(&v, &product(sum, &state, &v));
            assert!(along >= -1e-12, "{along}");
        }
    }
    squares(sum, &x);
    bounds(sum, &x, &v);
    bits(sum, &x, &v, &terms);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `u^T H v = v^T H u` up to the rounding of sums in double precision.
fn symmetric<O: FiniteSum>(sum: &O, state: &O::State, u: &[f64], v: &[f64]) {
    let (hu, hv) = (product(sum, state, u), product(sum, state, v));
    let size = norm(u) * norm(&hv) + norm(v) * norm(&hu);
    close(dot(u, &hv), dot(v, &hu), 0.0, 1e-13 * size).unwrap();
}

/// The sum of squared norms is that of the gradients of single terms.
fn squares(sum: &impl FiniteSum, x: &[f64]) {
    let Some(squares) = gradient(sum, x, Sample::All).2 else {
        return;
    };
    let of_one = |term| norm(&gradient(sum, x, Sample::Terms(&[term])).1).powi(2);
    let expected: f64 = (0..sum.terms() as u32).map(of_one).sum();
    close(squares, expected, 1e-11, 1e-14).unwrap();
}

/// Curvatures and bounds hold for single terms.
fn bounds(sum: &impl FiniteSum, x: &[f64], v: &[f64]) {
    let mut curvatures = vec![0.0; sum.terms()];
    let known = sum.curvatures(x, &mut curvatures);
    let mean = curvatures.iter().sum::<f64>() / sum.terms() as f64;
    let bounds = sum.bounds();
    let (_, all, _) = gradient(sum, x, Sample::All);
    let all_hv = product(sum, &sum.hessian(x, Sample::All), v);
    for term in 0..sum.terms() as u32 {
        let terms = [term];
        let sample = Sample::Terms(&terms);
        let apart = |one: Vec<f64>, all: &[f64]| {
            norm(&one.iter().zip(all).map(|(a, b)| a - b).collect::<Vec<_>>())
        };
        let hv = product(sum, &sum.hessian(x, sample), v);
        if known {
            // What is the same in every term cancels.
            let far = apart(hv.clone(), &all_hv);
            let most = (curvatures[term as usize] + mean) * norm(v);
            assert!(far <= most * (1.0 + 1e-12) + 1e-14, "{far} {most}");
        }
        if let Some(bounds) = bounds {
            // A term is as far from the mean as two terms can be from each other.
            let far = apart(gradient(sum, x, sample).1, &all);
            assert!(far <= 2.0 * bounds.gradient, "{far} {bounds:?}");
            let far = apart(hv, &all_hv);
            assert!(far <= 2.0 * bounds.hessian * norm(v), "{far} {bounds:?}");
        }
    }
}

/// Threads change no bit, and a term has one value in every sample.
fn bits<O: FiniteSum>(sum: &O, x: &[f64], v: &[f64], terms: &[u32]) {
    let all = || {
        let (values, g, squares) = gradient(sum, x, Sample::All);
        let mut state = sum.hessian(x, Sample::All);
        let hv = product(sum, &state, v);
        sum.prepare(&mut state, u32::MAX);
        (values, g, squares, hv, product(sum, &state, v))
    };
    let one = with_threads(1, all);
    for threads in [2, 3] {
        assert_eq!(with_threads(threads, all), one);
    }
    for (&term, value) in terms.iter().zip(values(sum, x, Sample::Terms(terms))) {
        assert_eq!(value.to_bits(), one.0[term as usize].to_bits());
    }
    // The whole sample in order, given as a list, is the whole.
    let list: Vec<u32> = (0..sum.terms() as u32).collect();
    assert_eq!(gradient(sum, x, Sample::Terms(&list)).1, one.1);
}
