//! Optimisers against their definitions in f64.

use burn::tensor::{Device, Tensor};
use refit_core::{Seed, Silent};
use refit_nn::{Init, NnError, Pass, Weights};
use refit_train::{
    Objective, TrainConfig, Trainer,
    optim::{AdamWConfig, Decay, OptimConfig, Schedule, SgdConfig},
};

/// `sum of (w - 1)^2 / 2` over a matrix and a vector, so that decay can tell them apart.
struct Bowl;

impl Objective for Bowl {
    type Batch = ();
    type Error = NnError;

    fn loss(&mut self, at: &Weights, (): (), _: &mut Pass) -> Result<Tensor<1>, NnError> {
        let part = |i: usize| {
            (at.values()[i].value().clone() - 1.0)
                .powf_scalar(2.0)
                .sum()
        };
        Ok((part(0) + part(1)) / 2.0)
    }
}

fn descend(optimizer: OptimConfig, steps: u64) -> Vec<Vec<f32>> {
    let start = Weights::create(Seed::new(0), &Device::flex(), |s| {
        s.tensor("matrix", [2, 2], Init::Ones)?;
        s.tensor("vector", [2], Init::Zeros)
    })
    .unwrap();
    let schedule = Schedule {
        decay: Decay::Constant,
        ..Schedule::default()
    };
    let config = TrainConfig {
        steps,
        clip: None,
        optimizer,
        schedule,
        accumulate: 1,
    };
    let fit = Trainer::new(config)
        .unwrap()
        .fit(start, &mut Bowl, |_| (), &Silent)
        .unwrap();
    fit.weights.to_host()
}

#[test]
fn adamw_follows_its_equations_and_decays_matrices_only() {
    let config = AdamWConfig {
        rate: 0.1,
        betas: [0.9, 0.99],
        eps: 1e-3,
        decay: 0.2,
    };
    let found = descend(OptimConfig::Adamw(config), 7);
    for (values, start, decay) in [(&found[0], 1.0, 0.2), (&found[1], 0.0, 0.0)] {
        let (mut w, mut m, mut v) = (start, 0.0f64, 0.0f64);
        for t in 1..=7 {
            let g = w - 1.0;
            m = 0.9 * m + 0.1 * g;
            v = 0.99 * v + 0.01 * g * g;
            let (m, v) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.99f64.powi(t)));
            w = w * (1.0 - 0.1 * decay) - 0.1 * m / (v.sqrt() + 1e-3);
        }
        assert!(
            values.iter().all(|&x| (f64::from(x) - w).abs() < 1e-6),
            "{values:?} {w}"
        );
    }
}

#[test]
fn sgd_follows_its_equations_with_and_without_looking_ahead() {
    for nesterov in [false, true] {
        let config = SgdConfig {
            rate: 0.1,
            momentum: 0.8,
            nesterov,
            decay: 0.0,
        };
        let found = descend(OptimConfig::Sgd(config), 5);
        let (mut w, mut u) = (0.0f64, 0.0f64);
        for _ in 0..5 {
            let g = w - 1.0;
            u = 0.8 * u + g;
            w -= 0.1 * if nesterov { 0.8 * u + g } else { u };
        }
        assert!(found[1].iter().all(|&x| (f64::from(x) - w).abs() < 1e-6));
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let cases = [
        (
            "rate",
            OptimConfig::Adamw(AdamWConfig {
                rate: f64::NAN,
                ..AdamWConfig::default()
            }),
        ),
        (
            "betas",
            OptimConfig::Adamw(AdamWConfig {
                betas: [0.9, 1.0],
                ..AdamWConfig::default()
            }),
        ),
        (
            "eps",
            OptimConfig::Adamw(AdamWConfig {
                eps: 0.0,
                ..AdamWConfig::default()
            }),
        ),
        (
            "decay",
            OptimConfig::Sgd(SgdConfig {
                decay: -1.0,
                ..SgdConfig::default()
            }),
        ),
        (
            "momentum",
            OptimConfig::Sgd(SgdConfig {
                momentum: 1.0,
                ..SgdConfig::default()
            }),
        ),
    ];
    let layout = refit_nn::ParamLayout::default();
    for (key, optimizer) in cases {
        let error = optimizer.build(&layout).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{key}` is ")), "{error}");
    }
}

/// The memory of a training is known before there is an optimiser.
#[test]
fn an_optimiser_keeps_as_many_numbers_as_it_says() {
    let layout = refit_nn::ParamLayout::default();
    let optimisers = [
        OptimConfig::Adamw(AdamWConfig::default()),
        OptimConfig::Sgd(SgdConfig::default()),
    ];
    for config in optimisers {
        let state = config.build(&layout).unwrap();
        assert_eq!(config.moments(), state.state().len() as u64, "{config:?}");
    }
}
