//! Merging in weight space: the average, and methods whose one scale is tuned on labelled validation images.

use super::{
    JobError,
    files::Form,
    found::{Found, Notes},
    heads::FrozenHeads,
    repetition::Repetition,
    scoring::Candidate,
};
use crate::outcome::Sweep;
use refit_core::Silent;
use refit_io::data::Task;
use refit_merge::{
    Aggregate, AverageConfig, Checks, MergeConfig, TaskArithmeticConfig, TaskVectors, TensorSet,
    TiesConfig, Weights as MergeWeights,
};
use refit_nn::Weights;

/// What every merge starts from.
pub(super) struct Ground<'a> {
    pub(super) base: &'a Weights,
    pub(super) heads: &'a FrozenHeads,
    tasks: &'a [Task],
    base_set: TensorSet,
    experts: Vec<TensorSet>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(
        tasks: &'a [Task],
        base: &'a Weights,
        heads: &'a FrozenHeads,
        experts: &[Weights],
    ) -> Result<Self, JobError> {
        let set = |weights: &Weights| {
            let specs = weights.layout().specs().iter().zip(weights.to_host());
            TensorSet::from_values(
                specs.map(|(spec, values)| (spec.path.clone(), spec.shape.clone(), values)),
            )
        };
        Ok(Self {
            base,
            heads,
            tasks,
            base_set: set(base)?,
            experts: experts.iter().map(set).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn task_vectors(&self) -> Result<TaskVectors<'_>, JobError> {
        let experts = self.tasks.iter().zip(&self.experts);
        let experts = experts
            .map(|(task, set)| MergeWeights::from_set(task.name(), set))
            .collect();
        let base = MergeWeights::from_set("base", &self.base_set);
        Ok(TaskVectors::between(base, experts, &Checks::default())?)
    }

    /// Merged values in the layout of the base.
    pub(super) fn weights(&self, values: Vec<Vec<f32>>) -> Weights {
        Weights::from_host(self.base.layout(), values, &self.base.device())
    }

    fn merge(&self, tasks: &TaskVectors<'_>, method: MergeConfig) -> Result<Weights, JobError> {
        let merged = method.check()?.merge(tasks, &Silent)?;
        Ok(self.weights(merged.into_tensors()))
    }
}

/// A method with one scale.
type Scaled = fn(f64) -> MergeConfig;

const SCALED: [(&str, Scaled); 2] = [
    ("task-arithmetic", |scale| {
        MergeConfig::TaskArithmetic(TaskArithmeticConfig {
            scale,
            ..TaskArithmeticConfig::default()
        })
    }),
    ("ties", |scale| {
        MergeConfig::Ties(TiesConfig {
            scale,
            aggregate: Aggregate::Sum,
            ..TiesConfig::default()
        })
    }),
];

/// Every method with this scale.
pub(super) fn scaled(scale: f64) -> impl Iterator<Item = MergeConfig> {
    SCALED.into_iter().map(move |(_, method)| method(scale))
}

impl Repetition<'_> {
    pub(super) fn merge_without_data(
        &self,
        found: &mut Found,
        ground: &Ground<'_>,
    ) -> Result<(), JobError> {
        let tasks = ground.task_vectors()?;
        self.merged(found, "average", ground, |_| {
            let average = MergeConfig::Average(AverageConfig::default());
            ground.merge(&tasks, average)
        })?;
        for (name, scaled) in SCALED {
            self.merged(found, name, ground, |notes| {
                self.tuned(name, scaled, &tasks, ground, notes)
            })?;
        }
        Ok(())
    }

    /// Makes one merged model, keeps it and scores it.
    pub(super) fn merged(
        &self,
        found: &mut Found,
        name: &str,
        ground: &Ground<'_>,
        make: impl FnOnce(&mut Notes) -> Result<Weights, JobError>,
    ) -> Result<(), JobError> {
        let (merged, notes) = self.stage(found, name, name, Form::Encoder, make)?;
        let candidate = Candidate::Shared(&merged);
        self.score(found, name, ground.heads, &candidate, &notes)
    }

    /// The first of the scales that does best on validation images.
    fn tuned(
        &self,
        name: &str,
        scaled: Scaled,
        tasks: &TaskVectors<'_>,
        ground: &Ground<'_>,
        notes: &mut Notes,
    ) -> Result<Weights, JobError> {
        let mut points = Vec::with_capacity(self.config.scales.len());
        let mut best: Option<(f64, f64, Weights)> = None;
        self.progress
            .begin(name, Some(self.config.scales.len() as u64));
        for &scale in &self.config.scales {
            if self.progress.cancelled() {
                return Err(JobError::Interrupted);
            }
            let merged = ground.merge(tasks, scaled(scale))?;
            let accuracy = self.tuning_accuracy(&merged, ground.heads)?;
            points.push((scale, accuracy));
            if best.as_ref().is_none_or(|(_, top, _)| accuracy > *top) {
                best = Some((scale, accuracy, merged));
            }
            self.progress.advance(1);
        }
        let (scale, _, merged) = best.expect("checked: at least one scale");
        notes.settings = format!("scale {scale}");
        notes.sweep = Some(Sweep {
            method: name.to_owned(),
            points,
        });
        Ok(merged)
    }
}
