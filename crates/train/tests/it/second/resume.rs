//! Limits, interruptions, and going on.

use super::{Sigmoid, both, exact, minimise, timeless};
use refit_core::{Budget, Cancel, Seed, Silent};
use refit_train::optim::second::{
    Method, Sampling, SecondOrder, SecondOrderConfig, SecondOrderState, Status,
};

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
