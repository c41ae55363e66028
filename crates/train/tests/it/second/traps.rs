//! Traps that published code fell into.

use super::{Sigmoid, both, exact, minimise, one, timeless};
use refit_testkit::{normal_vec, with_threads};
use refit_train::optim::second::{
    Closure, Draw, FiniteSum, Method, Minimum, Mode, RegionSolver, Sample, Sampling,
    SecondOrderConfig, Status, Trial,
};

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
        for method in both() {
            let found = run(exact(method, 1e-6));
            assert_eq!(found.status, Status::Unbounded, "{name}");
            assert!(found.x[0].is_finite());
        }
    }
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
    let start: Vec<f64> = normal_vec(1, 10).iter().map(|v| 6.0 * v).collect();
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

/// Decreases are measured as exactly as was promised, and gradients are exact enough that noise takes no step back.
#[test]
fn errors_are_what_steps_can_bear() {
    let problem = Sigmoid::planted(6, 40_000, 10);
    let start: Vec<f64> = normal_vec(0, 10).iter().map(|v| 6.0 * v).collect();
    for method in both() {
        let config = SecondOrderConfig {
            sampling: Sampling::default(),
            ..exact(method, 3e-3)
        };
        let found = minimise(config.clone(), &problem, &start);
        assert!(
            found
                .trials
                .iter()
                .any(|t| t.gradient_terms < 40_000 && t.hessian_terms < 40_000)
        );
        for t in &found.trials {
            assert!(t.value_error <= config.noise * t.promised, "{t:?}");
            assert!(
                t.gradient_error <= (0.1 * t.gradient).max(0.5 * config.eps_g),
                "{t:?}"
            );
            bearable(t, &config);
        }
    }
}

/// Errors of the derivatives are at most a quarter of what the promised decrease may miss.
fn bearable(t: &Trial, config: &SecondOrderConfig) {
    let room = 0.25 * (1.0 - config.accept) * t.promised;
    let by_gradient = match t.mode {
        // Looked at for the first step from a point; the smaller ones after it have more room.
        Mode::First => t.gradient_error * t.length,
        // Of two ways along a curvature one does not go up.
        Mode::Second => 0.0,
    };
    let by_hessian = 0.5 * t.hessian_error.unwrap() * t.length * t.length;
    assert!(by_gradient + by_hessian <= room * (1.0 + 1e-12), "{t:?}");
}

/// `|x|^4 / 4 - (1 + 2 z_i) x_1^2 / 2` with normal `z_i`: from 0 there is no way but along a curvature that samples know
/// to a tenth.
#[test]
fn errors_are_what_steps_along_curvature_can_bear() {
    const TERMS: usize = 40_000;
    let z = normal_vec(3, TERMS);
    let square = |p: &[f64]| p.iter().map(|x| x * x).sum::<f64>();
    let depth = |i: usize| 1.0 + 2.0 * z[i];
    let problem = Closure::new(
        3,
        TERMS,
        |i, p| 0.25 * square(p).powi(2) - 0.5 * depth(i) * p[1] * p[1],
        |i, p, out| {
            let r = square(p);
            (0..3).for_each(|j| out[j] = r * p[j]);
            out[1] -= depth(i) * p[1];
        },
        |i, p, v, out| {
            let (r, along) = (square(p), p.iter().zip(v).map(|(p, v)| p * v).sum::<f64>());
            (0..3).for_each(|j| out[j] = r * v[j] + 2.0 * along * p[j]);
            out[1] -= depth(i) * v[1];
        },
    );
    for method in both() {
        let config = SecondOrderConfig {
            sampling: Sampling::default(),
            ..exact(method, 1e-2)
        };
        let found = minimise(config.clone(), &problem, &[0.0; 3]);
        assert!(matches!(found.status, Status::SecondOrder { .. }));
        assert_eq!(found.trials[0].mode, Mode::Second);
        // The least is where x_1^2 is the mean depth, 1 but for 2 / sqrt(40,000) a few times.
        assert!((found.x[1].abs() - 1.0).abs() < 0.05, "{:?}", found.x);
        found.trials.iter().for_each(|t| bearable(t, &config));
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
            data.values(x, Sample::Terms(&[i as u32]), &mut value);
            value[0]
        },
        |i, x, out| {
            let sample = [i as u32];
            data.gradient(x, Sample::Terms(&sample), &mut [0.0], out);
        },
        |i, x, v, out| {
            let sample = [i as u32];
            let state = data.hessian(x, Sample::Terms(&sample));
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

/// Three products say too little of two hundred dimensions: a short gradient is not called more than it is.
#[test]
fn what_cannot_be_certified_is_not() {
    let bowl = Closure::new(
        200,
        1,
        |_, x| {
            (0..200)
                .map(|i| 0.5 * (1.0 + 0.01 * i as f64) * x[i] * x[i])
                .sum()
        },
        |_, x, out| (0..200).for_each(|i| out[i] = (1.0 + 0.01 * i as f64) * x[i]),
        |_, _, v, out| (0..200).for_each(|i| out[i] = (1.0 + 0.01 * i as f64) * v[i]),
    );
    for (products, sure) in [(3, false), (200, true)] {
        let config = SecondOrderConfig {
            products,
            ..exact(Method::default(), 1e-6)
        };
        let found = minimise(config, &bowl, &[1.0; 200]);
        assert_eq!(matches!(found.status, Status::SecondOrder { .. }), sure);
        assert!(sure || found.status == Status::FirstOrderOnly);
        assert!(found.gradient.0 <= 1e-6 && found.gradient.1 == 0.0);
    }
}
