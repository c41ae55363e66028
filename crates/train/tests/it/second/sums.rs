//! Every arm on the same sum, held against the whole gradient and a dense Hessian.

use super::{Sigmoid, both, exact, minimise};
use refit_core::Silent;
use refit_math::{Matrix, eigen};
use refit_testkit::{norm, normal_vec};
use refit_train::optim::second::{
    Closure, Curvature, Draw, FiniteSum, LbfgsConfig, Method, Sample, Sampling, SecondOrderConfig,
    Status, derivatives, lbfgs,
};

/// Length of the whole gradient and smallest eigenvalue of the whole Hessian.
fn truth(problem: &Sigmoid, x: &[f64]) -> (f64, f64) {
    let (dim, n) = (problem.dim(), problem.terms());
    let mut gradient = vec![0.0; dim];
    problem.gradient(x, Sample::All, &mut vec![0.0; n], &mut gradient);
    let state = problem.hessian(x, Sample::All);
    let mut rows = Matrix::zeros(dim, dim);
    for i in 0..dim {
        let mut axis = vec![0.0; dim];
        axis[i] = 1.0;
        problem.product(&state, &axis, rows.row_mut(i));
    }
    (norm(&gradient), eigen(&rows).unwrap().values[0])
}

fn start(number: u64, dim: usize) -> Vec<f64> {
    normal_vec(number, dim).iter().map(|v| 6.0 * v).collect()
}

#[test]
fn the_problem_has_the_derivatives_that_it_says() {
    let problem = Sigmoid::planted(1, 200, 7);
    let found = derivatives(&problem, &start(2, 7), 1e-4, refit_core::Seed::new(0));
    // Central differences of step 1e-4: 1e-8 times third derivatives, and 1e-16 / 1e-4 of rounding over small slopes.
    assert!(found.gradient < 1e-6 && found.hessian < 1e-6, "{found:?}");
    assert!(found.symmetry < 1e-12);
}

#[test]
fn every_arm_ends_where_it_says() {
    let problem = Sigmoid::planted(3, 4000, 8);
    let arms = [
        (Sampling::Full, Draw::Uniform),
        (
            Sampling::Fixed {
                gradient: 1.0,
                hessian: 0.05,
                value: 1.0,
            },
            Draw::Uniform,
        ),
        (
            Sampling::Fixed {
                gradient: 1.0,
                hessian: 0.05,
                value: 1.0,
            },
            Draw::Curvature,
        ),
        (Sampling::default(), Draw::Uniform),
        (Sampling::default(), Draw::Curvature),
        (Sampling::Theory, Draw::Uniform),
    ];
    for (sampling, draw) in arms {
        for method in both() {
            for number in 0..3 {
                let config = SecondOrderConfig {
                    sampling,
                    draw,
                    seed: refit_core::Seed::new(number),
                    ..exact(method, 1e-3)
                };
                let found = minimise(config, &problem, &start(number, 8));
                let Status::SecondOrder { certificate } = found.status else {
                    panic!("{:?} of {sampling:?} {draw:?} {method:?}", found.status);
                };
                let (gradient, curvature) = truth(&problem, &found.x);
                assert!(gradient <= certificate.gradient_bound() * (1.0 + 1e-12));
                assert!(
                    gradient <= 1e-3 && curvature >= -1e-3f64.sqrt(),
                    "{gradient} {curvature}"
                );
            }
        }
    }
}

/// Steps by the spread of last steps promise nothing, and are only asked to come down.
#[test]
fn samples_by_the_length_of_steps_come_down() {
    let problem = Sigmoid::planted(4, 4000, 8);
    for method in both() {
        let config = SecondOrderConfig {
            sampling: Sampling::StepNorm {
                share: 0.05,
                growth: 1.25,
            },
            ..exact(method, 1e-2)
        };
        let from = start(1, 8);
        let found = minimise(config, &problem, &from);
        assert!(truth(&problem, &found.x).0 < truth(&problem, &from).0.max(1e-2));
        assert!(!matches!(
            found.status,
            Status::BudgetExhausted | Status::Unbounded
        ));
    }
}

#[test]
fn gauss_newton_comes_down_as_well() {
    let problem = Sigmoid::planted(5, 2000, 8);
    let config = SecondOrderConfig {
        curvature: Curvature::GaussNewton,
        certify: false,
        ..exact(Method::default(), 1e-4)
    };
    let found = minimise(config, &problem, &start(3, 8));
    assert_eq!(found.status, Status::FirstOrderOnly);
    assert!(truth(&problem, &found.x).0 <= 1e-4);
}

#[test]
fn quasi_newton_comes_down_by_the_same_count() {
    let problem = Sigmoid::planted(5, 2000, 8);
    let config = LbfgsConfig {
        eps_g: 1e-5,
        ..LbfgsConfig::default()
    };
    let from: Vec<f64> = start(3, 8).iter().map(|v| 0.3 * v).collect();
    let found = lbfgs(&problem, &from, &config, &Silent).unwrap();
    assert_eq!(found.status, Status::FirstOrderOnly);
    assert!(truth(&problem, &found.x).0 <= 1e-5);
    assert!(found.way.windows(2).all(|w| w[1].value < w[0].value));
    // The last look at the truth asked for one gradient more, and a Hessian.
    assert_eq!(found.counts.gradients + 2000, problem.asked()[1]);
    assert_eq!(found.counts.propagations(), 2 * found.counts.gradients);
    let line = Closure::new(1, 1, |_, x| x[0], |_, _, out| out[0] = 1.0, |_, _, _, _| ());
    let found = lbfgs(&line, &[0.0], &config, &Silent).unwrap();
    assert_eq!(found.status, Status::Unbounded);
}

/// The claim of the method at a size that a test can afford: as many iterations, and fewer propagations.
#[test]
fn inexact_methods_take_as_many_steps_and_less_work() {
    let problem = Sigmoid::planted(6, 40_000, 10);
    for method in both() {
        let (mut steps, mut work) = ([0.0; 3], [0.0; 3]);
        let arms = [
            Sampling::Full,
            Sampling::Fixed {
                gradient: 1.0,
                hessian: 0.05,
                value: 1.0,
            },
            Sampling::default(),
        ];
        for number in 0..3 {
            for (arm, sampling) in arms.into_iter().enumerate() {
                let config = SecondOrderConfig {
                    sampling,
                    seed: refit_core::Seed::new(number),
                    certify: false,
                    ..exact(method, 3e-3)
                };
                let found = minimise(config, &problem, &start(number, 10));
                assert!(truth(&problem, &found.x).0 <= 3e-3);
                steps[arm] += found.trials.len() as f64;
                work[arm] += found.counts.propagations() as f64 / 40_000.0;
            }
        }
        assert!(work[1] < 0.6 * work[0], "{work:?}");
        assert!(work[2] < 0.6 * work[0], "{work:?}");
        assert!(
            steps[1] < 1.25 * steps[0] && steps[2] < 1.25 * steps[0],
            "{steps:?}"
        );
    }
}
