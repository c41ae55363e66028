//! Whole runs of AdaMerging on a model that fits on a page.

use crate::support::{Handover, TinyModel, distance, near, tasks, uniform};
use refit_core::{Cancel, Silent, StopReason};
use refit_merge::{
    AdaMerging, AdaMergingConfig, Aggregate, Clamp, Coefficients, Grouping, MergeConfig, Outcome,
    Plus, Session, SessionState, TaskVectors, TensorSet, TiesConfig,
};

fn method(config: AdaMergingConfig) -> AdaMerging {
    AdaMerging::try_from(config).unwrap()
}

/// Large steps, so that few of them show something.
fn quick(steps: u64) -> AdaMergingConfig {
    AdaMergingConfig {
        steps,
        learning_rate: 0.02,
        ..Default::default()
    }
}

fn run(
    config: AdaMergingConfig,
    tasks: TaskVectors<'_>,
    model: &mut TinyModel,
) -> (Outcome, TensorSet) {
    let mut session = Session::start(&method(config), tasks).unwrap();
    let outcome = session.run(model, &Silent, |_, _| ()).unwrap();
    (outcome, session.into_merged())
}

fn bits(coefficients: &Coefficients) -> Vec<u32> {
    coefficients
        .groups
        .iter()
        .flat_map(|g| &g.values)
        .map(|v| v.to_bits())
        .collect()
}

fn in_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

#[test]
fn entropy_falls_and_unused_tensors_stay_at_the_start() {
    let (base, experts) = TinyModel::weights(1, 3);
    let mut losses = vec![];
    let mut session = Session::start(&method(quick(60)), tasks(&base, &experts)).unwrap();
    let outcome = session
        .run(&mut TinyModel::new(1, 3), &Silent, |record, _| {
            losses.push(record.loss);
        })
        .unwrap();
    assert_eq!(
        (outcome.stop, outcome.steps, losses.len()),
        (StopReason::Done, 60, 60)
    );
    assert!(
        losses[59] < 0.8 * losses[0],
        "{} -> {}",
        losses[0],
        losses[59]
    );
    for k in 0..3 {
        assert_eq!(
            outcome.coefficients.value("unused", &format!("e{k}")),
            Some(0.3)
        );
    }
    let moved = outcome.coefficients.groups[0]
        .values
        .iter()
        .any(|v| (v - 0.3).abs() > 0.05);
    assert!(
        moved && outcome.collapses.is_empty(),
        "{:?}",
        outcome.collapses
    );
}

/// The method written down plainly, in double precision, with dense task vectors.
fn plain_reference(steps: u64, rate: f64, clamp: Clamp) -> Vec<Vec<f64>> {
    let (base, experts) = TinyModel::weights(7, 2);
    let (model, tasks) = (TinyModel::new(7, 2), tasks(&base, &experts));
    let mut raw = vec![vec![0.3f64; 2]; 2];
    let (mut m, mut v) = (vec![vec![0.0; 2]; 2], vec![vec![0.0; 2]; 2]);
    let seen = |raw: f64| {
        if clamp == Clamp::Off {
            raw
        } else {
            raw.clamp(0.0, 1.0)
        }
    };
    for t in 1..=steps as i32 {
        let theta = |g: usize| -> Vec<f64> {
            let mut theta: Vec<f64> = base.tensors()[g].iter().map(|&v| f64::from(v)).collect();
            for k in 0..2 {
                for (theta, tau) in theta.iter_mut().zip(tasks.task(k, g)) {
                    *theta += seen(raw[g][k]) * f64::from(tau);
                }
            }
            theta
        };
        let (_, db, dw) = model.run(&theta(0), &theta(1));
        for (g, gradient) in [db, dw].iter().enumerate() {
            for k in 0..2 {
                let task = tasks.task(k, g);
                let dot: f64 = gradient
                    .iter()
                    .zip(task)
                    .map(|(g, t)| g * f64::from(t))
                    .sum();
                let passes = clamp != Clamp::Forward || (0.0..=1.0).contains(&raw[g][k]);
                let dot = if passes { dot } else { 0.0 };
                m[g][k] = 0.9 * m[g][k] + 0.1 * dot;
                v[g][k] = 0.999 * v[g][k] + 0.001 * dot * dot;
                let (mean, var) = (
                    m[g][k] / (1.0 - 0.9f64.powi(t)),
                    v[g][k] / (1.0 - 0.999f64.powi(t)),
                );
                raw[g][k] -= rate * mean / (var.sqrt() + 1e-8);
                if clamp == Clamp::Projected {
                    raw[g][k] = raw[g][k].clamp(0.0, 1.0);
                }
            }
        }
    }
    raw.iter()
        .map(|row| row.iter().map(|&r| seen(r)).collect())
        .collect()
}

#[test]
fn a_run_follows_the_plain_algorithm_in_every_clamp_mode() {
    for clamp in [Clamp::Forward, Clamp::Projected, Clamp::Off] {
        let (base, experts) = TinyModel::weights(7, 2);
        let config = AdaMergingConfig { clamp, ..quick(60) };
        let (outcome, _) = run(config, tasks(&base, &experts), &mut TinyModel::new(7, 2));
        let expected = plain_reference(60, 0.02, clamp);
        let mut at_a_bound = 0;
        for (group, expected) in outcome.coefficients.groups.iter().zip(expected) {
            for (&found, expected) in group.values.iter().zip(expected) {
                assert!(
                    (f64::from(found) - expected).abs() < 2e-4,
                    "{clamp:?}: {found} {expected}"
                );
                at_a_bound += usize::from(expected == 0.0 || expected >= 1.0);
            }
        }
        assert!(at_a_bound > 0, "{clamp:?}: the clamp was never tried");
    }
}

#[test]
fn the_start_of_plus_is_ties_with_a_sum() {
    let shape = [("a.w", 700), ("a.b", 13), ("z", 1)];
    let base = uniform(3, &shape);
    let experts: Vec<_> = (0..5).map(|k| near(&base, 0.1, k)).collect();
    let config = AdaMergingConfig {
        plus: Some(Plus::default()),
        ..Default::default()
    };
    let start = Session::start(&method(config), tasks(&base, &experts)).unwrap();
    let density = start.tasks().densities();
    assert!(density.iter().all(|&d| d > 0.05 && d <= 0.2), "{density:?}");
    let ties = TiesConfig {
        aggregate: Aggregate::Sum,
        scale: 0.3,
        ..Default::default()
    };
    let ties = MergeConfig::Ties(ties).check().unwrap();
    let ties = ties.merge(&tasks(&base, &experts), &Silent).unwrap();
    assert_ne!(ties, base);
    assert!(distance(&start.into_merged(), &ties) <= 1.2e-7);
}

#[test]
fn giving_adding_and_projecting_at_once_lead_to_the_same_coefficients() {
    let results = [Handover::Give, Handover::Add, Handover::Project].map(|handover| {
        let (base, experts) = TinyModel::weights(2, 4);
        let mut model = TinyModel {
            handover,
            ..TinyModel::new(2, 2)
        };
        run(quick(20), tasks(&base, &experts), &mut model)
            .0
            .coefficients
    });
    assert_eq!(bits(&results[0]), bits(&results[1]));
    assert_eq!(bits(&results[0]), bits(&results[2]));
}

#[test]
fn task_wise_learns_one_coefficient_per_expert() {
    let (base, experts) = TinyModel::weights(4, 3);
    let config = AdaMergingConfig {
        grouping: Grouping::Task,
        ..quick(30)
    };
    let (outcome, merged) = run(config, tasks(&base, &experts), &mut TinyModel::new(4, 3));
    let [group] = &outcome.coefficients.groups[..] else {
        panic!("one group expected")
    };
    assert_eq!(
        (group.values.len(), group.tensors.as_ref().unwrap().len()),
        (3, 3)
    );
    let again = tasks(&base, &experts)
        .merge_with(&outcome.coefficients)
        .unwrap();
    assert_eq!(again, merged);
}

#[test]
fn a_stopped_run_continues_bit_by_bit() {
    let (base, experts) = TinyModel::weights(5, 3);
    let config = || AdaMergingConfig {
        plus: Some(Plus { keep: 0.7 }),
        ..quick(40)
    };
    let (whole, theta) = run(config(), tasks(&base, &experts), &mut TinyModel::new(5, 3));

    let mut model = TinyModel::new(5, 3);
    let (cancel, mut file) = (Cancel::default(), vec![]);
    let mut session = Session::start(&method(config()), tasks(&base, &experts)).unwrap();
    let stop_after_17 = cancel.clone();
    let part = session
        .run(&mut model, &cancel, |record, session| {
            if record.step == 16 {
                session.state().save(&mut file).unwrap();
                stop_after_17.raise();
            }
        })
        .unwrap();
    assert_eq!((part.stop, part.steps), (StopReason::Interrupted, 17));

    let state = SessionState::load(&file[..]).unwrap();
    let mut session = Session::resume(&method(config()), tasks(&base, &experts), &state).unwrap();
    let rest = session.run(&mut model, &Silent, |_, _| ()).unwrap();
    assert_eq!((rest.stop, rest.steps), (StopReason::Done, 40));
    assert_eq!(bits(&rest.coefficients), bits(&whole.coefficients));
    assert_eq!(rest.last, whole.last);
    assert_eq!(session.state().step(), 40);
    assert_eq!(session.into_merged(), theta);
}

#[test]
fn a_state_of_another_run_is_refused() {
    let (base, experts) = TinyModel::weights(5, 3);
    let state = Session::start(&method(quick(1)), tasks(&base, &experts))
        .unwrap()
        .state();
    let fewer = Session::resume(&method(quick(1)), tasks(&base, &experts[..2]), &state);
    assert!(fewer.unwrap_err().to_string().contains("missing `e2`"));
    let config = AdaMergingConfig {
        grouping: Grouping::Task,
        ..quick(1)
    };
    let grouped = Session::resume(&method(config), tasks(&base, &experts), &state).unwrap_err();
    let text = grouped.to_string();
    assert!(
        text.contains("3 groups where the settings make 1") && text.contains("`enc.b`"),
        "{text}"
    );
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    // Tensors longer than one unit of work, so that partial sums meet.
    let shape = [("a", 150_000), ("b", 70_001), ("c", 3)];
    let base = uniform(8, &shape);
    let experts: Vec<_> = (0..3).map(|k| near(&base, 0.1, k)).collect();
    let runs = [1, 2, 3, 7].map(|threads| {
        in_threads(threads, || {
            let config = AdaMergingConfig {
                plus: Some(Plus { keep: 0.5 }),
                ..Default::default()
            };
            let plain =
                Session::start(&method(AdaMergingConfig::default()), tasks(&base, &experts));
            let plus = Session::start(&method(config), tasks(&base, &experts));
            [plain, plus].map(|session| {
                let mut session = session.unwrap();
                for _ in 0..3 {
                    session.step(&mut Waves).unwrap();
                }
                (bits(&session.coefficients()), session.into_merged())
            })
        })
    });
    for other in &runs[1..] {
        assert_eq!(other, &runs[0]);
    }
}

/// A gradient that depends on the weights, for any layout.
struct Waves;

impl refit_merge::EntropyModel for Waves {
    type Error = refit_merge::MergeError;

    fn entropy_gradient(
        &mut self,
        _step: u64,
        theta: &mut refit_merge::Theta,
        gradient: &mut refit_merge::Gradient<'_>,
    ) -> Result<refit_merge::EntropyReport, Self::Error> {
        for (tensor, values) in theta.tensors().iter().enumerate() {
            gradient.give(tensor, values.iter().map(|v| (9.0 * v).sin()).collect())?;
        }
        Ok(refit_merge::EntropyReport::default())
    }
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_at_the_last_good_coefficients() {
    let (base, experts) = TinyModel::weights(6, 2);
    let mut model = TinyModel {
        breaks_at: Some(12),
        ..TinyModel::new(6, 2)
    };
    let mut seen = vec![];
    let mut session = Session::start(&method(quick(30)), tasks(&base, &experts)).unwrap();
    let outcome = session
        .run(&mut model, &Silent, |_, session| {
            seen.push(session.coefficients());
        })
        .unwrap();
    assert_eq!((outcome.stop, outcome.steps), (StopReason::Diverged, 13));
    // The loss was last finite in step 11, at the coefficients that step 10 had made.
    assert_eq!(outcome.coefficients, seen[10]);
    assert_ne!(outcome.coefficients, seen[11]);
    let expected = tasks(&base, &experts).merge_with(&seen[10]).unwrap();
    assert_eq!(session.into_merged(), expected);
}

#[test]
fn a_gradient_that_is_not_finite_is_a_divergence_too() {
    struct Broken;
    impl refit_merge::EntropyModel for Broken {
        type Error = refit_merge::MergeError;
        fn entropy_gradient(
            &mut self,
            _step: u64,
            _theta: &mut refit_merge::Theta,
            gradient: &mut refit_merge::Gradient<'_>,
        ) -> Result<refit_merge::EntropyReport, Self::Error> {
            gradient.add(0, &[f32::NAN; 4])?;
            Ok(refit_merge::EntropyReport::default())
        }
    }
    let (base, experts) = TinyModel::weights(6, 2);
    let mut session = Session::start(&method(quick(5)), tasks(&base, &experts)).unwrap();
    let outcome = session.run(&mut Broken, &Silent, |_, _| ()).unwrap();
    assert_eq!((outcome.stop, outcome.steps), (StopReason::Diverged, 1));
    assert!(
        outcome
            .coefficients
            .groups
            .iter()
            .flat_map(|g| &g.values)
            .all(|&v| v == 0.3)
    );
}

#[test]
fn a_model_that_fails_leaves_the_run_before_the_step() {
    let (base, experts) = TinyModel::weights(6, 2);
    let mut session = Session::start(&method(quick(5)), tasks(&base, &experts)).unwrap();
    let mut model = TinyModel::new(6, 2);
    session.step(&mut model).unwrap();
    let (before, theta) = (session.state(), session.theta().to_vec());
    let error = session.step(&mut Thief { short: true }).unwrap_err();
    assert_eq!(error.to_string(), "the model failed in step 1");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        cause,
        "`enc.b` of the gradient holds 1 values, its shape asks for 4"
    );
    assert_eq!(session.state(), before);
    assert_eq!(session.theta(), theta);
}

#[test]
fn buffers_that_do_not_come_back_are_made_anew() {
    let (base, experts) = TinyModel::weights(6, 2);
    let mut session = Session::start(&method(quick(5)), tasks(&base, &experts)).unwrap();
    session.step(&mut Thief { short: false }).unwrap();
    let expected = tasks(&base, &experts)
        .merge_with(&session.coefficients())
        .unwrap();
    assert_eq!(session.theta(), expected.tensors());
}

/// Keeps the weights for itself.
struct Thief {
    short: bool,
}

impl refit_merge::EntropyModel for Thief {
    type Error = refit_merge::MergeError;

    fn entropy_gradient(
        &mut self,
        _step: u64,
        theta: &mut refit_merge::Theta,
        gradient: &mut refit_merge::Gradient<'_>,
    ) -> Result<refit_merge::EntropyReport, Self::Error> {
        drop(theta.take());
        gradient.give(0, vec![1.0; if self.short { 1 } else { 4 }])?;
        Ok(refit_merge::EntropyReport::default())
    }
}

#[test]
fn a_collapse_is_reported_and_is_no_error() {
    let (base, experts) = TinyModel::weights(9, 2);
    let mut model = TinyModel {
        collapses_at: Some(20),
        ..TinyModel::new(9, 2)
    };
    let (outcome, _) = run(quick(60), tasks(&base, &experts), &mut model);
    assert_eq!(outcome.stop, StopReason::Done);
    let [collapse] = outcome.collapses[..] else {
        panic!("{:?}", outcome.collapses)
    };
    assert!(
        collapse.task == 0 && collapse.step > 20 && collapse.lasting,
        "{collapse:?}"
    );
}

#[test]
fn one_expert_at_coefficient_one_is_itself() {
    let (base, experts) = TinyModel::weights(10, 1);
    let config = AdaMergingConfig {
        start: 1.0,
        ..Default::default()
    };
    let session = Session::start(&method(config), tasks(&base, &experts)).unwrap();
    assert!(distance(&session.into_merged(), &experts[0]) <= 1.2e-7);
}
