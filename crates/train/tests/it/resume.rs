//! A run that was interrupted continues bit for bit.

use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_core::{Cancel, Seed, Silent, StopReason};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions};
use refit_nn::{ImageConfig, NnError, Pass, Weights, zoo::ConvNetConfig};
use refit_testkit::{integers_vec, normal_vec, with_threads};
use refit_train::{
    Fit, Objective, SaveEvery, TrainConfig, TrainState, Trainer, loss,
    optim::{AdamWConfig, Decay, OptimConfig, Schedule, SgdConfig},
};
use std::time::Duration;

struct Classify(ImageConfig);

impl Objective for Classify {
    type Batch = (Vec<f32>, Vec<i64>);
    type Error = NnError;

    fn loss(
        &mut self,
        weights: &Weights,
        (pixels, labels): Self::Batch,
        pass: &mut Pass,
    ) -> Result<Tensor<1>, NnError> {
        let (n, device) = (labels.len(), weights.device());
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [n, 1, 8, 8]), &device);
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), &device);
        let model = weights.bind(|s| self.0.bind(s))?;
        Ok(loss::mean_cross_entropy(
            model.forward(pixels.into(), pass).into_value(),
            labels,
            0.1,
        ))
    }
}

/// A small network with batch norm, so that running statistics are part of the state.
fn network() -> ImageConfig {
    ImageConfig::ConvNet(ConvNetConfig {
        num_channels: 1,
        image_size: 8,
        channels: vec![4, 4],
        kernel: 3,
        stride: 1,
        hidden: 6,
        num_labels: 3,
    })
}

fn batch(i: u64) -> (Vec<f32>, Vec<i64>) {
    let pixels = normal_vec(i, 5 * 64)
        .into_iter()
        .map(|x| x as f32)
        .collect();
    (pixels, integers_vec(i + 1000, 5, 3))
}

fn start() -> Weights {
    Weights::create(Seed::new(0), &Device::flex(), |s| network().bind(s)).unwrap()
}

fn config(optimizer: OptimConfig) -> TrainConfig {
    let schedule = Schedule {
        warmup: 3,
        decay: Decay::Cosine,
        floor: 0.1,
    };
    TrainConfig {
        steps: 12,
        accumulate: 2,
        clip: Some(0.5),
        optimizer,
        schedule,
    }
}

fn run(trainer: Trainer<'_>) -> Fit {
    trainer
        .fit(start(), &mut Classify(network()), batch, &Silent)
        .unwrap()
}

/// Stops after five steps, saves to a file, loads, and goes on to the end.
fn with_a_break(config: &TrainConfig) -> Fit {
    let (cancel, home) = (Cancel::default(), tempfile::tempdir().unwrap());
    let file = home.path().join("state.safetensors");
    let stopped = Trainer::new(config.clone())
        .unwrap()
        .on_step(|step| {
            if step.step == 5 {
                cancel.raise();
            }
        })
        .save_every(SaveEvery::Steps(100), |state| {
            let metas = state.tensors().into_iter().map(|(meta, _)| meta).collect();
            let metadata = state.metadata().into_iter().collect();
            let options = WriteOptions {
                metadata,
                ..WriteOptions::default()
            };
            let mut writer = CheckpointWriter::create(&file, metas, options)?;
            state.save(&mut writer)?;
            Ok(writer.finish()?)
        })
        .fit(start(), &mut Classify(network()), batch, &cancel)
        .unwrap();
    assert_eq!(
        (stopped.stop, stopped.state.step()),
        (StopReason::Interrupted, 5)
    );
    let saved = Checkpoint::open(&file).unwrap();
    let state = TrainState::load(&saved, saved.metadata(), start().layout()).unwrap();
    run(Trainer::new(config.clone()).unwrap().resume(state))
}

#[test]
fn a_break_changes_no_bit() {
    let sgd = SgdConfig {
        rate: 0.05,
        nesterov: true,
        ..SgdConfig::default()
    };
    for optimizer in [
        OptimConfig::Adamw(AdamWConfig::default()),
        OptimConfig::Sgd(sgd),
    ] {
        let config = config(optimizer);
        let whole = run(Trainer::new(config.clone()).unwrap());
        let broken = with_a_break(&config);
        assert_eq!(whole.stop, StopReason::Done);
        assert_eq!(whole.weights.to_host(), broken.weights.to_host());
        assert_eq!(whole.last, broken.last);
        assert_ne!(whole.weights.to_host(), start().to_host());
    }
}

#[test]
fn states_are_saved_as_often_as_is_asked_for() {
    let config = config(OptimConfig::default());
    let saved = |every| {
        let mut steps = Vec::new();
        run(Trainer::new(config.clone())
            .unwrap()
            .save_every(every, |state| {
                steps.push(state.step());
                Ok(())
            }));
        steps
    };
    assert_eq!(saved(SaveEvery::Steps(5)), [5, 10]);
    assert_eq!(saved(SaveEvery::Steps(0)).len(), 12);
    assert_eq!(saved(SaveEvery::Time(Duration::ZERO)).len(), 12);
    assert!(saved(SaveEvery::Time(Duration::from_hours(1))).is_empty());
}

#[test]
fn threads_change_no_bit() {
    let config = config(OptimConfig::default());
    let on = |n| {
        with_threads(n, || {
            run(Trainer::new(config.clone()).unwrap()).weights.to_host()
        })
    };
    assert_eq!(on(1), on(2));
}

#[test]
fn a_state_of_other_settings_is_refused() {
    let state = run(Trainer::new(config(OptimConfig::default())).unwrap()).state;
    let other = TrainConfig {
        steps: 99,
        ..config(OptimConfig::default())
    };
    let error = Trainer::new(other)
        .unwrap()
        .resume(state)
        .fit(start(), &mut Classify(network()), batch, &Silent)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the saved state was made with other settings"
    );
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_at_the_last_good_weights() {
    let poisoned = |i: u64| {
        let (mut pixels, labels) = batch(i);
        if i == 3 {
            pixels[0] = f32::NAN;
        }
        (pixels, labels)
    };
    let config = TrainConfig {
        accumulate: 1,
        ..config(OptimConfig::default())
    };
    let fit = Trainer::new(config)
        .unwrap()
        .fit(start(), &mut Classify(network()), poisoned, &Silent)
        .unwrap();
    assert_eq!((fit.stop, fit.state.step()), (StopReason::Diverged, 3));
    assert!(fit.weights.to_host().concat().iter().all(|w| w.is_finite()));
}
