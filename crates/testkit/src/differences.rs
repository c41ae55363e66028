//! Derivatives by central differences, in `f64`.

/// Default step: with Richardson's correction the truncation error is of order `step^4 = 1e-12` and the rounding
/// error of order `1e-16 / step = 1e-13`, both relative to a function of order one.
pub const STEP: f64 = 1e-3;

/// The derivative of `f` at `x` along `v`, entry by entry of the result, at the default [`STEP`].
///
/// # Panics
/// If `x` and `v` differ in length.
///
/// ```
/// use refit_testkit::{close, differences};
/// let slope = differences::directional(|x| vec![x[0] * x[1], x[0].exp()], &[0.0, 2.0], &[1.0, 3.0]);
/// close(slope, vec![2.0, 1.0], 1e-10, 0.0)?;
/// # Ok::<(), refit_testkit::Mismatch>(())
/// ```
pub fn directional(f: impl Fn(&[f64]) -> Vec<f64>, x: &[f64], v: &[f64]) -> Vec<f64> {
    directional_with(f, x, v, STEP)
}

/// [`directional`] with a chosen step: central differences at `step` and `step / 2`, combined so that their common
/// error of order `step^2` cancels (Richardson).
///
/// # Panics
/// If `x` and `v` differ in length.
pub fn directional_with(
    f: impl Fn(&[f64]) -> Vec<f64>,
    x: &[f64],
    v: &[f64],
    step: f64,
) -> Vec<f64> {
    let coarse = central(&f, x, v, step);
    let fine = central(&f, x, v, 0.5 * step);
    fine.iter()
        .zip(coarse)
        .map(|(fine, coarse)| (4.0 * fine - coarse) / 3.0)
        .collect()
}

/// The gradient of a scalar function at `x`, at the default [`STEP`].
///
/// ```
/// use refit_testkit::{close, differences};
/// let gradient = differences::gradient(|x| x[0] * x[0] * x[1], &[3.0, 2.0]);
/// close(gradient, vec![12.0, 9.0], 1e-10, 0.0)?;
/// # Ok::<(), refit_testkit::Mismatch>(())
/// ```
pub fn gradient(f: impl Fn(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    let mut axis = vec![0.0; x.len()];
    (0..x.len())
        .map(|i| {
            axis[i] = 1.0;
            let slope = directional(|x| vec![f(x)], x, &axis)[0];
            axis[i] = 0.0;
            slope
        })
        .collect()
}

fn central(f: &impl Fn(&[f64]) -> Vec<f64>, x: &[f64], v: &[f64], step: f64) -> Vec<f64> {
    assert_eq!(x.len(), v.len(), "one direction entry per input");
    let moved = |h: f64| f(&x.iter().zip(v).map(|(x, v)| x + h * v).collect::<Vec<_>>());
    let (up, down) = (moved(step), moved(-step));
    up.iter()
        .zip(down)
        .map(|(up, down)| (up - down) / (2.0 * step))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close;

    #[test]
    fn smooth_functions_are_differentiated_to_ten_digits() {
        let f = |x: &[f64]| vec![(x[0] * x[1]).sin(), (x[0] - x[1]).exp()];
        let exact = vec![
            (0.3f64 * 1.7).cos() * (2.0 * 1.7 + -0.3),
            (0.3f64 - 1.7).exp() * 3.0,
        ];
        close(directional(f, &[0.3, 1.7], &[2.0, -1.0]), exact, 1e-10, 0.0).unwrap();
    }
}
