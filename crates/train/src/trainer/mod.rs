//! The loop.

mod config;
mod save;
mod state;

use crate::{
    Gradient,
    optim::{Optimizer, clip_norm},
    value_and_gradient,
};
use burn::tensor::Tensor;
pub use config::TrainConfig;
use refit_core::{ConfigError, Hint, Progress, StopReason};
use refit_nn::{ParamLayout, Pass, Weights, to_host};
use save::Saver;
pub use save::{SaveEvery, SaveResult};
pub use state::{TrainError, TrainState};
use std::sync::Arc;

/// What is minimised.
pub trait Objective {
    /// One micro-batch.
    type Batch;
    /// Why a loss could not be computed.
    type Error: Hint + Send + Sync + 'static;

    /// The mean loss (shape `[1]`) of one micro-batch at tracked weights.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    fn loss(
        &mut self,
        weights: &Weights,
        batch: Self::Batch,
        pass: &mut Pass,
    ) -> Result<Tensor<1>, Self::Error>;
}

/// One finished step, for whoever keeps a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Number of steps done, this one included.
    pub step: u64,
    /// Mean loss over its micro-batches, before the update.
    pub loss: f64,
    /// Learning rate of the update.
    pub rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// What training gives.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The weights after the last step whose loss was finite.
    pub weights: Weights,
    /// Everything that is needed to continue.
    pub state: TrainState,
    /// Why it ended.
    pub stop: StopReason,
    /// The last step, if there was one.
    pub last: Option<Step>,
}

/// Drives an [`Objective`] by a [`TrainConfig`].
pub struct Trainer<'a> {
    config: TrainConfig,
    resume: Option<TrainState>,
    on_step: Box<dyn FnMut(&Step) + 'a>,
    save: Option<Saver<'a>>,
}

impl<'a> Trainer<'a> {
    /// Takes a configuration.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn new(config: TrainConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            resume: None,
            on_step: Box::new(|_| ()),
            save: None,
        })
    }

    /// Calls `listener` after every step.
    #[must_use]
    pub fn on_step(mut self, listener: impl FnMut(&Step) + 'a) -> Self {
        self.on_step = Box::new(listener);
        self
    }

    /// Hands the state to `save` as often as `every` says, and when the run is interrupted.
    #[must_use]
    pub fn save_every(
        mut self,
        every: SaveEvery,
        save: impl FnMut(&TrainState) -> SaveResult + 'a,
    ) -> Self {
        self.save = Some(Saver::new(every, save));
        self
    }

    /// Continues from `state` instead of from the start weights.
    #[must_use]
    pub fn resume(mut self, state: TrainState) -> Self {
        self.resume = Some(state);
        self
    }

    /// Trains from `start`. `batch(i)` gives micro-batch `i` and must depend on `i` alone, so that a resumed run sees
    /// what an uninterrupted one would have seen.
    ///
    /// # Cost
    /// Per step one forward and backward pass for each micro-batch, and one pass over the weights. Memory: weights,
    /// gradient and optimiser state, all f32, and the activations of one micro-batch; while the state is saved, and at
    /// the end, a copy of weights and optimiser state ([`TrainConfig::state_bytes`]).
    ///
    /// # Errors
    /// Those of the objective and of the save hook; a resumed state that belongs to another model or configuration.
    pub fn fit<O: Objective>(
        mut self,
        start: Weights,
        objective: &mut O,
        mut batch: impl FnMut(u64) -> O::Batch,
        progress: &dyn Progress,
    ) -> Result<Fit, TrainError> {
        let (layout, device) = (Arc::clone(start.layout()), start.device());
        let mut run = Run::begin(&self.config, start, self.resume.take())?;
        progress.begin("train", Some(self.config.steps));
        progress.advance(run.step);
        let (mut stop, mut last) = (StopReason::Done, None);
        while run.step < self.config.steps {
            if progress.cancelled() {
                stop = StopReason::Interrupted;
                break;
            }
            let weights = Weights::from_host(&layout, std::mem::take(&mut run.params), &device);
            let measured = measure(&self.config, &weights, objective, &mut batch, run.step);
            run.params = weights.into_host();
            let (loss, mut gradient, statistics) = measured?;
            let norm = match self.config.clip {
                Some(limit) => clip_norm(&mut gradient, limit),
                None => gradient.norm(),
            };
            if !loss.is_finite() || !norm.is_finite() {
                stop = StopReason::Diverged;
                break;
            }
            let step = run.update(&self.config, &gradient, statistics, loss, norm);
            (self.on_step)(&step);
            progress.advance(1);
            progress.note(&format!("loss {loss:.4}"));
            last = Some(step);
            if let Some(saver) = &mut self.save
                && saver.is_due(run.step)
            {
                saver.save(&run.state(&layout, &self.config))?;
            }
        }
        let state = run.state(&layout, &self.config);
        if stop == StopReason::Interrupted
            && let Some(saver) = &mut self.save
        {
            saver.save(&state)?;
        }
        let weights = Weights::from_host(&layout, run.params, &device);
        Ok(Fit {
            weights,
            state,
            stop,
            last,
        })
    }
}

/// Running statistics of batch norm: tensor index and new values.
type Statistics = Vec<(usize, Vec<f32>)>;

/// Mean loss and gradient over the micro-batches of step `step`.
fn measure<O: Objective>(
    config: &TrainConfig,
    weights: &Weights,
    objective: &mut O,
    batch: &mut impl FnMut(u64) -> O::Batch,
    step: u64,
) -> Result<(f64, Gradient, Statistics), TrainError> {
    let parts = config.accumulate;
    let mut total: Option<(f64, Gradient, Statistics)> = None;
    for i in 0..parts {
        let micro = batch(step * parts + i);
        let (loss, gradient, statistics) = value_and_gradient(weights, |tracked| {
            let mut pass = Pass::train();
            let loss = objective.loss(tracked, micro, &mut pass)?;
            Ok((loss, statistics(tracked.layout(), pass)))
        })
        .map_err(TrainError::objective::<O::Error>)?;
        total = Some(match total.take() {
            None => (loss, gradient, statistics),
            Some((sum, mut gradients, _)) => {
                gradients.add(&gradient);
                (sum + loss, gradients, statistics)
            }
        });
    }
    let (loss, mut gradient, statistics) = total.expect("at least one micro-batch");
    if parts > 1 {
        gradient.scale(1.0 / parts as f32);
    }
    Ok((loss / parts as f64, gradient, statistics))
}

fn statistics(layout: &ParamLayout, pass: Pass) -> Statistics {
    let find = |path: &str| {
        layout
            .position(path)
            .expect("a bound norm knows its own name")
    };
    pass.into_statistics()
        .into_iter()
        .map(|(path, value)| (find(path.as_str()), to_host(value)))
        .collect()
}

/// What changes from step to step.
struct Run {
    step: u64,
    params: Vec<Vec<f32>>,
    optimizer: Optimizer,
}

impl Run {
    fn begin(
        config: &TrainConfig,
        start: Weights,
        resume: Option<TrainState>,
    ) -> Result<Self, TrainError> {
        let layout = Arc::clone(start.layout());
        let optimizer = config.optimizer.build(&layout)?;
        let mut run = Self {
            step: 0,
            params: start.into_host(),
            optimizer,
        };
        if let Some(state) = resume {
            state.check(&layout, config)?;
            run.step = state.step;
            run.params = state.params;
            let (buffers, steps) = run.optimizer.state_mut();
            for ((_, to), (_, from)) in buffers.into_iter().zip(state.moments) {
                to.clone_from_slice(&from);
            }
            if let Some(steps) = steps {
                *steps = state.step;
            }
        }
        Ok(run)
    }

    fn update(
        &mut self,
        config: &TrainConfig,
        gradient: &Gradient,
        statistics: Statistics,
        loss: f64,
        gradient_norm: f64,
    ) -> Step {
        let rate = config.optimizer.rate() * config.schedule.share(self.step, config.steps);
        self.optimizer
            .step(rate, &mut self.params, gradient.buffers());
        for (at, values) in statistics {
            self.params[at] = values;
        }
        self.step += 1;
        Step {
            step: self.step,
            loss,
            rate,
            gradient_norm,
        }
    }

    fn state(&self, layout: &Arc<ParamLayout>, config: &TrainConfig) -> TrainState {
        TrainState {
            step: self.step,
            config: config.clone(),
            layout: Arc::clone(layout),
            params: self.params.clone(),
            moments: self
                .optimizer
                .state()
                .into_iter()
                .map(|(name, buffers)| (name.to_owned(), buffers.to_vec()))
                .collect(),
        }
    }
}
