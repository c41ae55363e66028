//! First-order methods on finite sums.

use refit_core::{Budget, Silent};
use refit_train::optim::{
    AdamWConfig, Decay, FirstOrderConfig, OptimConfig, Schedule, SgdConfig, descend,
    second::{Closure, FiniteSum, Status},
};

/// `(x - i)^2 / 2` and a bowl beside it, for 100 terms.
fn bowls() -> impl FiniteSum {
    Closure::new(
        2,
        100,
        |i, x| 0.5 * (x[0] - 0.01 * i as f64).powi(2) + x[1] * x[1],
        |i, x, out: &mut [f64]| out.copy_from_slice(&[x[0] - 0.01 * i as f64, 2.0 * x[1]]),
        |_, _, v: &[f64], out: &mut [f64]| out.copy_from_slice(&[v[0], 2.0 * v[1]]),
    )
}

fn sgd(rate: f64, momentum: f64) -> OptimConfig {
    OptimConfig::Sgd(SgdConfig {
        rate,
        momentum,
        ..SgdConfig::default()
    })
}

#[test]
fn optimisers_come_down_by_the_same_count() {
    let adamw = OptimConfig::Adamw(AdamWConfig {
        rate: 0.05,
        ..AdamWConfig::default()
    });
    for optimizer in [sgd(0.1, 0.9), adamw] {
        let config = FirstOrderConfig {
            optimizer,
            batch: 30,
            epochs: 300,
            eps_g: 1e-2,
            ..FirstOrderConfig::default()
        };
        let found = descend(&bowls(), &[3.0, -1.0], &config, &Silent).unwrap();
        assert_eq!(found.status, Status::FirstOrderOnly);
        let epochs = found.way.len() as u64 - 1;
        // Four batches of an epoch hold each term once, and looks are not counted.
        assert_eq!(found.counts.gradients, 100 * epochs);
        assert_eq!(found.way.last().unwrap().step, 4 * epochs);
        let again = descend(&bowls(), &[3.0, -1.0], &config, &Silent).unwrap();
        assert_eq!(again.x, found.x);
    }
}

#[test]
fn a_step_on_all_terms_is_plain_descent() {
    let config = FirstOrderConfig {
        optimizer: sgd(0.25, 0.0),
        schedule: Schedule {
            decay: Decay::Constant,
            ..Schedule::default()
        },
        batch: 100,
        epochs: 1,
        ..FirstOrderConfig::default()
    };
    let found = descend(&bowls(), &[1.0, 1.0], &config, &Silent).unwrap();
    assert_eq!(found.status, Status::BudgetExhausted);
    // 1 - (1 - 0.495) / 4 and 1 - 2 / 4, in single precision.
    assert!((found.x[0] - 0.873_75).abs() < 1e-6 && (found.x[1] - 0.5).abs() < 1e-6);
}

#[test]
fn limits_end_a_descent_and_settings_are_checked() {
    let base = || FirstOrderConfig {
        optimizer: sgd(1e-3, 0.0),
        batch: 10,
        ..FirstOrderConfig::default()
    };
    let limits = [
        Budget {
            steps: Some(20),
            ..Budget::default()
        },
        Budget {
            queries: Some(400),
            ..Budget::default()
        },
    ];
    for budget in limits {
        let config = FirstOrderConfig { budget, ..base() };
        let found = descend(&bowls(), &[1.0, 1.0], &config, &Silent).unwrap();
        assert_eq!(
            (found.status, found.counts.gradients),
            (Status::BudgetExhausted, 200)
        );
    }
    let config = FirstOrderConfig { batch: 0, ..base() };
    let text = descend(&bowls(), &[1.0, 1.0], &config, &Silent)
        .unwrap_err()
        .to_string();
    assert_eq!(text, "`batch` is 0, expected at least 1");
    let wild = FirstOrderConfig {
        optimizer: sgd(1e30, 0.0),
        ..base()
    };
    let text = descend(&bowls(), &[1.0, 1.0], &wild, &Silent)
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("where the search stands"), "{text}");
}
