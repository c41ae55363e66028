//! Traps that published code fell into, and input that is not what it should be.

use super::{Sigmoid, both, exact, minimise};
use refit_core::{Budget, Cancel, Hint, Seed, Silent};
use refit_testkit::with_threads;
use refit_train::optim::second::{
    Closure, Curvature, Draw, FiniteSum, Method, Minimum, RegionSolver, Sampling, SecondOrder,
    SecondOrderConfig, SecondOrderError, SecondOrderState, Status, Trial,
};

fn one(
    value: impl Fn(f64) -> f64 + Sync,
    slope: impl Fn(f64) -> f64 + Sync,
    bend: impl Fn(f64) -> f64 + Sync,
) -> impl FiniteSum {
    Closure::new(
        1,
        1,
        move |_, x| value(x[0]),
        move |_, x, out: &mut [f64]| out[0] = slope(x[0]),
        move |_, x, v: &[f64], out: &mut [f64]| out[0] = bend(x[0]) * v[0],
    )
}

fn error<O: FiniteSum>(objective: &O, start: &[f64]) -> SecondOrderError {
    let solver = SecondOrder::new(exact(Method::default(), 1e-6)).unwrap();
    solver.minimise(objective, start, &Silent).unwrap_err()
}

/// A minimum without what differs between runs: times.
fn timeless(mut found: Minimum) -> Minimum {
    found.trials.iter_mut().for_each(|t| t.seconds = 0.0);
    found
}

/// `(x - 3)^2 / 2 - ln(1 - x^2) / 100`, not a number from 1 on.
#[test]
fn a_trial_that_is_not_finite_shrinks_the_region() {
    let slope = |x: f64| x - 3.0 + 0.02 * x / (1.0 - x * x);
    let barrier = one(
        |x| 0.5 * (x - 3.0).powi(2) - 0.01 * (1.0 - x * x).ln(),
        slope,
        |x| 1.0 + 0.02 * (1.0 + x * x) / (1.0 - x * x).powi(2),
    );
    for method in both() {
        let wide = match method {
            Method::TrustRegion { solver, .. } => Method::TrustRegion {
                radius: 64.0,
                solver,
            },
            Method::Cubics { solver, least, .. } => Method::Cubics {
                sigma: 1e-3,
                least,
                solver,
            },
        };
        let found = minimise(exact(wide, 1e-8), &barrier, &[0.0]);
        assert!(matches!(found.status, Status::SecondOrder { .. }));
        let broken = found.trials.windows(2).filter(|t| t[0].measured.is_none());
        let mut count = 0;
        for pair in broken {
            count += 1;
            assert!(!pair[0].taken && pair[1].length < pair[0].length);
        }
        assert!(count > 0);
        assert!(slope(found.x[0]).abs() < 1e-8);
    }
}

/// A minimisation of one objective by any settings.
type Run = Box<dyn Fn(SecondOrderConfig) -> Minimum>;

#[test]
fn an_objective_without_a_minimum_is_named() {
    let cases: [(&str, Run); 3] = [
        (
            "linear",
            Box::new(|c| minimise(c, &one(|x| x, |_| 1.0, |_| 0.0), &[0.0])),
        ),
        (
            "quartic",
            Box::new(|c| {
                minimise(
                    c,
                    &one(|x| -x.powi(4), |x| -4.0 * x.powi(3), |x| -12.0 * x * x),
                    &[0.1],
                )
            }),
        ),
        (
            "exponential",
            Box::new(|c| minimise(c, &one(|x| -x.exp(), |x| -x.exp(), |x| -x.exp()), &[0.0])),
        ),
    ];
    for (name, run) in cases {
        // The cubic term has a smallest weight, so that steps down a line grow no more from some length on.
        let [region, cubics] = both();
        let methods = if name == "linear" {
            vec![region]
        } else {
            vec![region, cubics]
        };
        for method in methods {
            let found = run(exact(method, 1e-6));
            assert_eq!(found.status, Status::Unbounded, "{name}");
            assert!(found.x[0].is_finite());
        }
    }
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

/// `1e6 + x^4 / 4`: near 0 no difference is seen, and the gradient is far from the tolerance.
#[test]
fn noise_is_told_from_failure() {
    let flat = one(|x| 1e6 + 0.25 * x.powi(4), |x| x.powi(3), |x| 3.0 * x * x);
    for method in both() {
        let found = minimise(exact(method, 1e-30), &flat, &[1.0]);
        assert_eq!(found.status, Status::NoiseFloor, "{method:?}");
        assert!(found.trials.len() < 100, "{}", found.trials.len());
        // Differences below 4e-10 are rounding: x^4 / 8 is there from x = 0.008 on, and steps went on for a while.
        assert!(found.x[0].abs() < 0.02, "{}", found.x[0]);
    }
}

/// A wide start makes steps that are taken back; none of them costs a derivative.
#[test]
fn a_step_that_is_taken_back_costs_values_only() {
    let problem = Sigmoid::planted(5, 2000, 10);
    let start: Vec<f64> = refit_testkit::normal_vec(1, 10)
        .iter()
        .map(|v| 6.0 * v)
        .collect();
    for sampling in [Sampling::Full, Sampling::default()] {
        let config = SecondOrderConfig {
            method: Method::TrustRegion {
                radius: 1e3,
                solver: RegionSolver::default(),
            },
            sampling,
            certify: false,
            ..exact(Method::default(), 1e-3)
        };
        let found = minimise(config, &problem, &start);
        let again: Vec<&[Trial]> = found.trials.windows(2).filter(|t| !t[0].taken).collect();
        assert!(!again.is_empty());
        for pair in again {
            let more = pair[1].counts - pair[0].counts;
            assert_eq!((more.gradients, more.states, more.products), (0, 0, 0));
            assert!(more.values > 0);
        }
    }
}

#[test]
fn counts_are_what_the_objective_was_asked() {
    let samplings = [
        Sampling::Full,
        Sampling::Fixed {
            gradient: 1.0,
            hessian: 0.05,
            value: 1.0,
        },
        Sampling::default(),
        Sampling::StepNorm {
            share: 0.05,
            growth: 1.25,
        },
        Sampling::Theory,
    ];
    for sampling in samplings {
        for draw in [Draw::Uniform, Draw::Curvature] {
            let problem = Sigmoid::planted(6, 3000, 6);
            let config = SecondOrderConfig {
                sampling,
                draw,
                ..exact(Method::default(), 1e-2)
            };
            let found = minimise(config, &problem, &[1.0; 6]);
            let counts = found.counts;
            let told = [
                counts.values,
                counts.gradients,
                counts.states,
                counts.products,
                counts.curvatures,
            ];
            assert_eq!(told, problem.asked(), "{sampling:?} {draw:?}");
        }
    }
}

#[test]
fn samples_of_everything_are_the_deterministic_method() {
    let start = [2.0, -1.0, 0.5, 3.0];
    for method in both() {
        let problem = Sigmoid::planted(7, 1000, 4);
        let run = |sampling| {
            let config = SecondOrderConfig {
                sampling,
                ..exact(method, 1e-6)
            };
            minimise(config, &problem, &start)
        };
        let full = run(Sampling::Full);
        let all = run(Sampling::Fixed {
            gradient: 1.0,
            hessian: 1.0,
            value: 1.0,
        });
        assert_eq!(full.x, all.x);
        assert_eq!((full.counts, full.status), (all.counts, all.status));
        let small = Sigmoid::planted(8, 100, 4);
        let run = |sampling| {
            let config = SecondOrderConfig {
                sampling,
                ..exact(method, 1e-6)
            };
            minimise(config, &small, &start)
        };
        let (full, few) = (run(Sampling::Full), run(Sampling::default()));
        assert_eq!(full.x, few.x);
        assert_eq!(full.status, few.status);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let data = Sigmoid::planted(9, 3000, 5);
    let closure = Closure::new(
        5,
        3000,
        |i, x| {
            let mut value = [0.0];
            data.values(
                x,
                refit_train::optim::second::Sample::Terms(&[i as u32]),
                &mut value,
            );
            value[0]
        },
        |i, x, out| {
            let sample = [i as u32];
            data.gradient(
                x,
                refit_train::optim::second::Sample::Terms(&sample),
                &mut [0.0],
                out,
            );
        },
        |i, x, v, out| {
            let sample = [i as u32];
            let state = data.hessian(x, refit_train::optim::second::Sample::Terms(&sample));
            data.product(&state, v, out);
        },
    );
    let run = || {
        timeless(minimise(
            exact(Method::default(), 1e-4),
            &closure,
            &[3.0; 5],
        ))
    };
    let found = with_threads(1, run);
    assert_eq!(found, with_threads(3, run));
    assert_eq!(found, with_threads(2, run));
}

#[test]
fn a_run_resumes_to_the_same_bits_from_everywhere() {
    let samplings = [
        Sampling::Full,
        Sampling::default(),
        Sampling::Fixed {
            gradient: 0.5,
            hessian: 0.1,
            value: 1.0,
        },
        Sampling::StepNorm {
            share: 0.05,
            growth: 1.25,
        },
    ];
    for sampling in samplings {
        for method in both() {
            let problem = Sigmoid::planted(10, 2000, 6);
            let config = || SecondOrderConfig {
                sampling,
                budget: Budget {
                    steps: Some(40),
                    ..Budget::default()
                },
                ..exact(method, 1e-3)
            };
            let mut states = Vec::new();
            let start = [4.0, -4.0, 4.0, -4.0, 4.0, -4.0];
            let whole = SecondOrder::new(config())
                .unwrap()
                .on_state(|state| states.push(serde_json::to_string(state).unwrap()))
                .minimise(&problem, &start, &Silent)
                .unwrap();
            let whole = timeless(whole);
            assert!(states.len() > 3, "{}", states.len());
            for text in &states {
                let state: SecondOrderState = serde_json::from_str(text).unwrap();
                let done = state.trials() as usize;
                let rest = SecondOrder::new(config())
                    .unwrap()
                    .resume(state)
                    .minimise(&problem, &[], &Silent)
                    .unwrap();
                let rest = timeless(rest);
                assert_eq!(rest.trials, whole.trials[done..], "{sampling:?} {method:?}");
                assert_eq!(
                    (&rest.x, rest.status, rest.counts),
                    (&whole.x, whole.status, whole.counts)
                );
                assert_eq!(rest.state, whole.state);
            }
        }
    }
}

#[test]
fn limits_and_interruptions_leave_a_state_to_go_on_from() {
    let problem = Sigmoid::planted(11, 2000, 6);
    let start = [4.0; 6];
    let config = |budget| SecondOrderConfig {
        budget,
        ..exact(Method::default(), 1e-4)
    };
    let whole = minimise(config(Budget::default()), &problem, &start);
    let steps = Budget {
        steps: Some(3),
        ..Budget::default()
    };
    let queries = Budget {
        queries: Some(whole.counts.propagations() / 2),
        ..Budget::default()
    };
    let seconds = Budget {
        seconds: Some(0.0),
        ..Budget::default()
    };
    for budget in [steps, queries, seconds] {
        let part = minimise(config(budget), &problem, &start);
        assert_eq!(part.status, Status::BudgetExhausted);
        let rest = SecondOrder::new(config(Budget::default()))
            .unwrap()
            .resume(part.state);
        let rest = rest.minimise(&problem, &[], &Silent).unwrap();
        assert_eq!((&rest.x, rest.counts), (&whole.x, whole.counts));
    }
    let cancel = Cancel::default();
    let raise = cancel.clone();
    let part = SecondOrder::new(config(Budget::default()))
        .unwrap()
        .on_trial(move |trial| {
            if trial.trial == 2 {
                raise.raise();
            }
        })
        .minimise(&problem, &start, &cancel)
        .unwrap();
    assert_eq!((part.status, part.trials.len()), (Status::Interrupted, 2));
    let rest = SecondOrder::new(config(Budget::default()))
        .unwrap()
        .resume(part.state);
    assert_eq!(rest.minimise(&problem, &[], &Silent).unwrap().x, whole.x);
}

#[test]
fn a_state_of_another_run_is_refused() {
    let problem = Sigmoid::planted(12, 300, 3);
    let found = minimise(exact(Method::default(), 1e-3), &problem, &[1.0; 3]);
    let resume = |config: SecondOrderConfig, problem: &Sigmoid| {
        let solver = SecondOrder::new(config)
            .unwrap()
            .resume(found.state.clone());
        solver
            .minimise(problem, &[], &Silent)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let other = SecondOrderConfig {
        seed: Seed::new(1),
        ..exact(Method::default(), 1e-3)
    };
    let text = resume(other, &problem).unwrap_err();
    assert_eq!(text, "the saved state was made with other settings");
    let text = resume(
        exact(Method::default(), 1e-3),
        &Sigmoid::planted(12, 300, 4),
    )
    .unwrap_err();
    assert_eq!(text, "the saved state belongs to another objective");
    resume(exact(Method::default(), 1e-3), &problem).unwrap();
}
