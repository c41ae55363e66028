//! Input that is not what it should be.

use super::{exact, minimise, one};
use refit_core::{Hint, Silent};
use refit_train::optim::second::{
    Closure, Curvature, Draw, FiniteSum, Method, Sampling, SecondOrder, SecondOrderConfig,
    SecondOrderError, Status,
};

fn error<O: FiniteSum>(objective: &O, start: &[f64]) -> SecondOrderError {
    let solver = SecondOrder::new(exact(Method::default(), 1e-6)).unwrap();
    solver.minimise(objective, start, &Silent).unwrap_err()
}

#[test]
fn a_product_that_is_not_symmetric_is_named() {
    let twisted = Closure::new(
        3,
        1,
        |_, x| x.iter().map(|v| 0.5 * v * v).sum(),
        |_, x, out| out.copy_from_slice(x),
        |_, _, v, out| out.copy_from_slice(&[v[0] + 0.5 * v[1], v[1], v[2]]),
    );
    let found = error(&twisted, &[1.0, 2.0, 3.0]);
    assert!(
        matches!(found, SecondOrderError::Model { trial: 1, .. }),
        "{found}"
    );
    let source = std::error::Error::source(&found).unwrap().to_string();
    assert!(
        source.starts_with("the operator is not symmetric"),
        "{source}"
    );
    assert!(
        found
            .hint()
            .unwrap()
            .contains("differences of the gradient")
    );
}

#[test]
fn what_is_not_finite_is_named() {
    let nan = |_: f64| f64::NAN;
    let found = error(&one(nan, |x| x, |_| 1.0), &[1.0]);
    assert_eq!(
        found.to_string(),
        "the value is NaN where the search stands"
    );
    let found = error(&one(|x| x, nan, |_| 1.0), &[1.0]);
    assert_eq!(
        found.to_string(),
        "the gradient is NaN where the search stands"
    );
    let found = error(&one(|x| x, |_| 1.0, nan), &[1.0]);
    let source = std::error::Error::source(&found).unwrap().to_string();
    assert_eq!(
        source,
        "a product is NaN in entry 0, expected finite values"
    );
    let found = error(&one(|x| x, |x| x, |_| 1.0), &[f64::INFINITY]);
    assert!(
        matches!(found, SecondOrderError::NotFinite { .. }),
        "{found}"
    );
}

#[test]
fn problems_of_no_size_are_refused_and_of_size_one_are_not() {
    let empty = |dim, terms| {
        Closure::new(
            dim,
            terms,
            |_, _| 0.0,
            |_, _, _: &mut [f64]| (),
            |_, _, _: &[f64], _: &mut [f64]| (),
        )
    };
    let text = error(&empty(0, 1), &[]).to_string();
    assert_eq!(
        text,
        "the objective has no parameters, expected at least one"
    );
    let text = error(&empty(1, 0), &[0.0]).to_string();
    assert_eq!(text, "the objective has no terms, expected at least one");
    let text = error(&empty(2, 1), &[0.0]).to_string();
    assert_eq!(text, "the start has 1 values, expected 2");
    let bowl = one(|x| (x - 3.0).powi(2), |x| 2.0 * (x - 3.0), |_| 2.0);
    for sampling in [Sampling::Full, Sampling::default()] {
        let config = SecondOrderConfig {
            sampling,
            ..exact(Method::default(), 1e-8)
        };
        let found = minimise(config, &bowl, &[0.0]);
        assert!(matches!(found.status, Status::SecondOrder { .. }));
        assert!((found.x[0] - 3.0).abs() < 1e-8);
    }
}

#[test]
fn what_an_objective_does_not_know_is_named() {
    let many = Closure::new(
        1,
        500,
        |_, x| x[0] * x[0],
        |_, x, out| out[0] = 2.0 * x[0],
        |_, _, v, out| out[0] = 2.0 * v[0],
    );
    let run = |config: SecondOrderConfig| {
        let solver = SecondOrder::new(config).unwrap();
        solver
            .minimise(&many, &[1.0], &Silent)
            .unwrap_err()
            .to_string()
    };
    let base = || exact(Method::default(), 1e-6);
    let text = run(SecondOrderConfig {
        sampling: Sampling::Theory,
        ..base()
    });
    assert_eq!(
        text,
        "the objective knows no bounds on its terms, which `sampling` asks for"
    );
    let text = run(SecondOrderConfig {
        curvature: Curvature::GaussNewton,
        ..base()
    });
    assert_eq!(
        text,
        "the objective knows no Gauss-Newton matrix, which `curvature` asks for"
    );
    let text = run(SecondOrderConfig {
        draw: Draw::Curvature,
        sampling: Sampling::default(),
        ..base()
    });
    assert_eq!(
        text,
        "the objective knows no curvatures of its terms, which `draw` asks for"
    );
}
