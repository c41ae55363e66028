//! One run of AdaMerging, step by step.

use super::{
    adam::{AdamStep, GroupState},
    adamerging::{AdaMerging, AdaMergingConfig},
    coefficients::Coefficients,
    collapse::{Collapse, CollapseWatch},
    entropy::EntropyReport,
    exchange::{EntropyModel, Gradient, GradientBuffers, Theta},
    groups::Group,
    project::{combine_group, for_each_group, group_dots},
    state::SessionState,
};
use crate::{error::MergeError, task_vector::TaskVectors, tensor_set::TensorSet};
use refit_core::{Progress, StopReason};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A run of [`AdaMerging`] on given task vectors: its coefficients, its optimiser, and the merged weights.
///
/// # Cost
/// Memory beside the task vectors: the merged weights (`P` values), the gradient (`P` values, or none if the model
/// projects at once), and `3 G K` numbers for `G` groups; AdaMerging++ adds its sparse task vectors. Time of a step
/// beside the model's own: one pass over base, gradient and task vectors per group, read again from the cache to form
/// the new weights. The same bits for any number of threads.
#[derive(Debug)]
pub struct Session<'a> {
    config: AdaMergingConfig,
    tasks: TaskVectors<'a>,
    groups: Vec<Group>,
    states: Vec<GroupState>,
    /// The states whose loss was the last finite one.
    good: Vec<GroupState>,
    step: u64,
    diverged: bool,
    watch: CollapseWatch,
    theta: Theta,
    /// Whether `theta` holds the weights of `states`; not while the model has it.
    fresh: bool,
    gradient: GradientBuffers,
}

/// What one step saw and did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Zero-based step.
    pub step: u64,
    /// The objective at the weights *before* the update.
    pub loss: f64,
    /// The same, task by task.
    pub report: EntropyReport,
    /// Whether loss or gradient was not finite; the coefficients are then those of the last finite loss.
    pub diverged: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub stop: StopReason,
    /// Steps done, over all parts of a resumed run.
    pub steps: u64,
    /// The learned coefficients; after a divergence those of the last finite loss.
    pub coefficients: Coefficients,
    /// Tasks whose predictions fell into few classes at some time.
    pub collapses: Vec<Collapse>,
    /// The last step of this part of the run.
    pub last: Option<StepRecord>,
}

impl<'a> Session<'a> {
    /// Begins at the method's start coefficients. For AdaMerging++ the task vectors are trimmed here.
    ///
    /// # Errors
    /// [`MergeError::Config`] when the grouping does not fit.
    pub fn start(method: &AdaMerging, tasks: TaskVectors<'a>) -> Result<Self, MergeError> {
        let config = method.config().clone();
        let tasks = match config.plus {
            None => tasks,
            Some(plus) => tasks.trimmed_and_elected(plus.keep),
        };
        let groups = config.grouping.groups(tasks.layout())?;
        let states = vec![GroupState::new(config.start as f32, tasks.len()); groups.len()];
        let theta = Theta::new(Arc::clone(tasks.layout()));
        let gradient = GradientBuffers::new(tasks.layout().len());
        Ok(Self {
            good: states.clone(),
            watch: CollapseWatch::default(),
            step: 0,
            diverged: false,
            fresh: false,
            config,
            tasks,
            groups,
            states,
            theta,
            gradient,
        })
    }

    /// Continues from a stored state, bit by bit as if there had been no break.
    ///
    /// The method may differ in what does not shape the state, such as its number of steps.
    ///
    /// # Errors
    /// Those of [`start`](Self::start); [`MergeError::Experts`] and [`MergeError::Document`] when the state belongs to
    /// other experts or groups.
    pub fn resume(
        method: &AdaMerging,
        tasks: TaskVectors<'a>,
        state: &SessionState,
    ) -> Result<Self, MergeError> {
        let mut session = Self::start(method, tasks)?;
        (session.states, session.watch) = state.restore(&session.tasks, &session.groups)?;
        session.good.clone_from(&session.states);
        session.step = state.step();
        Ok(session)
    }

    /// Runs the steps that are left.
    ///
    /// `observe` is called after each step, for instance to record it, to score the new weights or to save the state.
    /// `progress` can stop the run between two steps.
    ///
    /// # Errors
    /// [`MergeError::Model`] when the model fails, [`MergeError::Size`] when a gradient has the wrong size. A loss that
    /// is not finite is no error: see [`StopReason::Diverged`].
    pub fn run<M: EntropyModel>(
        &mut self,
        model: &mut M,
        progress: &dyn Progress,
        mut observe: impl FnMut(&StepRecord, &mut Self),
    ) -> Result<Outcome, MergeError> {
        let left = self.config.steps.saturating_sub(self.step);
        progress.begin(AdaMerging::CARD.name, Some(left));
        let mut last = None;
        while self.step < self.config.steps && !self.diverged {
            if progress.cancelled() {
                return Ok(self.outcome(StopReason::Interrupted, last));
            }
            let record = self.step(model)?;
            progress.advance(1);
            progress.note(&format!("entropy {:.4}", record.loss));
            observe(&record, self);
            last = Some(record);
        }
        let stop = if self.diverged {
            StopReason::Diverged
        } else {
            StopReason::Done
        };
        Ok(self.outcome(stop, last))
    }

    /// Does one step: entropy and gradient at the merged weights, then new coefficients and new weights.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn step<M: EntropyModel>(&mut self, model: &mut M) -> Result<StepRecord, MergeError> {
        self.refresh();
        self.fresh = false; // until the weights are written again
        let mut gradient = Gradient {
            tasks: &self.tasks,
            buffers: &mut self.gradient,
        };
        let report = model.entropy_gradient(self.step, &mut self.theta, &mut gradient);
        let report = report.map_err(|error| {
            self.gradient.clear();
            MergeError::Model {
                step: self.step,
                source: Box::new(error),
            }
        })?;
        let loss = report.loss();
        self.diverged = !loss.is_finite();
        if !self.diverged {
            self.good.clone_from(&self.states);
            self.diverged = !self.update();
        }
        self.gradient.clear();
        if self.diverged {
            self.states.clone_from(&self.good);
            self.fresh = false;
        } else {
            self.watch
                .observe(self.step, &report, self.config.collapse_share);
        }
        let record = StepRecord {
            step: self.step,
            loss,
            report,
            diverged: self.diverged,
        };
        self.step += 1;
        Ok(record)
    }

    /// Group by group: project the gradient, move the coefficients, write the new weights. Whether all was finite.
    fn update(&mut self) -> bool {
        let (tasks, clamp) = (&self.tasks, self.config.clamp);
        let adam = AdamStep::new(&self.config, self.step + 1);
        let (filled, finite) = (self.gradient.filled(), AtomicBool::new(true));
        let gradient = &self.gradient;
        for_each_group(
            &self.groups,
            self.theta.buffers(),
            &mut self.states,
            |group, state, theta| {
                let mut dots = group_dots(tasks, &group.tensors, &filled);
                for projected in group.tensors.iter().filter_map(|&t| gradient.projected(t)) {
                    dots.iter_mut()
                        .zip(projected)
                        .for_each(|(dot, part)| *dot += part);
                }
                adam.apply(state, &dots);
                if !state.is_finite() {
                    finite.store(false, Ordering::Relaxed);
                    return;
                }
                combine_group(tasks, &group.tensors, &state.coefficients(clamp), theta);
            },
        );
        self.fresh = true;
        finite.into_inner()
    }

    /// Writes the merged weights of the present coefficients, unless they are there already.
    fn refresh(&mut self) {
        if self.fresh {
            return;
        }
        let (tasks, clamp) = (&self.tasks, self.config.clamp);
        for_each_group(
            &self.groups,
            self.theta.buffers(),
            &mut self.states,
            |group, state, theta| {
                combine_group(tasks, &group.tensors, &state.coefficients(clamp), theta);
            },
        );
        self.fresh = true;
    }

    fn outcome(&self, stop: StopReason, last: Option<StepRecord>) -> Outcome {
        let (steps, collapses) = (self.step, self.watch.collapses());
        Outcome {
            stop,
            steps,
            coefficients: self.coefficients(),
            collapses,
            last,
        }
    }

    /// The task vectors that are combined; for AdaMerging++ the trimmed ones.
    pub fn tasks(&self) -> &TaskVectors<'a> {
        &self.tasks
    }

    /// The groups of tensors, in the order of [`Coefficients::groups`].
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The present coefficients, with their names.
    pub fn coefficients(&self) -> Coefficients {
        let values = self
            .states
            .iter()
            .map(|s| s.coefficients(self.config.clamp))
            .collect();
        let (grouping, plus) = (self.config.grouping.clone(), self.config.plus);
        Coefficients::new(&self.tasks, grouping, plus, &self.groups, values)
    }

    /// The merged weights of the present coefficients, tensor by tensor.
    pub fn theta(&mut self) -> &[Vec<f32>] {
        self.refresh();
        self.theta.tensors()
    }

    /// Ends the run and gives away the merged weights.
    #[must_use]
    pub fn into_merged(mut self) -> TensorSet {
        self.refresh();
        TensorSet::from_parts(Arc::clone(self.tasks.layout()), self.theta.take())
    }

    /// What is needed to continue later with [`resume`](Self::resume).
    pub fn state(&self) -> SessionState {
        SessionState::new(
            self.step,
            &self.tasks,
            &self.groups,
            &self.states,
            &self.watch,
        )
    }
}
