//! Merging with coefficients that are learned on images without labels.

use super::{
    JobError, Variation,
    adapt::EncoderEntropy,
    found::{Found, Notes},
    merging::Ground,
    repetition::{Named, Repetition},
};
use crate::outcome::{CoefficientTable, Curve, CurvePoint};
use refit_core::StopReason;
use refit_merge::{
    AdaMerging, AdaMergingConfig, Coefficients, Grouping, Plus, Session, StepRecord, TaskEntropy,
};
use refit_nn::Weights;
use std::sync::Arc;

/// One way to adapt.
struct Variant {
    name: &'static str,
    grouping: Grouping,
    plus: bool,
    /// Whether the coefficients see the test images.
    on_test: bool,
}

const VARIANTS: [Variant; 5] = [
    Variant::new("adamerging-task", Grouping::Task, false, false),
    Variant::new("adamerging-layer", Grouping::Tensor, false, false),
    Variant::new("adamerging-layer-plus", Grouping::Tensor, true, false),
    Variant::new(
        "adamerging-layer-transductive",
        Grouping::Tensor,
        false,
        true,
    ),
    Variant::new(
        "adamerging-layer-plus-transductive",
        Grouping::Tensor,
        true,
        true,
    ),
];

impl Variant {
    const fn new(name: &'static str, grouping: Grouping, plus: bool, on_test: bool) -> Self {
        Self {
            name,
            grouping,
            plus,
            on_test,
        }
    }

    fn settings(&self, common: &AdaMergingConfig) -> AdaMergingConfig {
        AdaMergingConfig {
            grouping: self.grouping.clone(),
            plus: self.plus.then(Plus::default),
            ..common.clone()
        }
    }
}

impl Repetition<'_> {
    pub(super) fn merge_with_entropy(
        &self,
        found: &mut Found,
        ground: &Ground<'_>,
    ) -> Result<(), JobError> {
        let wanted = |v: &&Variant| self.config.transductive || !v.on_test;
        for variant in VARIANTS.iter().filter(wanted) {
            self.merged(found, variant.name, ground, |notes| {
                self.adapt(variant, ground, notes)
            })?;
        }
        Ok(())
    }

    fn adapt(
        &self,
        variant: &Variant,
        ground: &Ground<'_>,
        notes: &mut Notes,
    ) -> Result<Weights, JobError> {
        let name = variant.name;
        let settings = variant.settings(&self.config.adamerging);
        let mut entropy = self.entropy(variant, &settings, ground)?;
        let method = AdaMerging::try_from(settings)?;
        let mut session = Session::start(&method, ground.task_vectors()?)?;
        let named = Named {
            name,
            inner: self.progress,
        };
        let mut points = Vec::new();
        let mut failure = None;
        let outcome = session.run(&mut entropy, &named, |record, session| {
            let accuracy = self.watched(record.step, session, ground);
            let accuracy = accuracy.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                None
            });
            let point = point(record, accuracy);
            self.shelf.log(name, point.step, &point_values(&point));
            points.push(point);
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        self.shelf.check()?;
        if outcome.stop == StopReason::Interrupted {
            return Err(JobError::Interrupted);
        }
        let collapses = outcome.collapses.iter();
        notes.settings = format!("{} steps", self.config.adamerging.steps);
        notes.collapses = collapses.map(|c| format!("{name}: {c:?}")).collect();
        notes.coefficients = Some(table(name, &outcome.coefficients));
        notes.curve = Some(Curve {
            method: name.to_owned(),
            points,
        });
        Ok(ground.weights(session.into_merged().into_tensors()))
    }

    fn entropy<'a>(
        &'a self,
        variant: &Variant,
        settings: &AdaMergingConfig,
        ground: &'a Ground<'_>,
    ) -> Result<EncoderEntropy<'a>, JobError> {
        let images = self.every(|s| if variant.on_test { &s.test } else { &s.adapt });
        Ok(EncoderEntropy {
            model: &self.model,
            layout: Arc::clone(ground.base.layout()),
            heads: ground.heads,
            drawer: self.drawer(images, "adapt batches", Variation::None)?,
            batches: settings.batches as u64,
            batch_size: settings.batch_size,
            device: self.device.clone(),
        })
    }

    /// Accuracy on validation images after every so many steps, for the reader alone.
    fn watched(
        &self,
        step: u64,
        session: &mut Session<'_>,
        ground: &Ground<'_>,
    ) -> Result<Option<f64>, JobError> {
        let every = self.config.watch_every;
        if every == 0 || !(step + 1).is_multiple_of(every) {
            return Ok(None);
        }
        let weights = ground.weights(session.theta().to_vec());
        self.tuning_accuracy(&weights, ground.heads).map(Some)
    }
}

fn point(record: &StepRecord, accuracy: Option<f64>) -> CurvePoint {
    let tasks = &record.report.tasks;
    let mean =
        |value: fn(&TaskEntropy) -> f64| tasks.iter().map(value).sum::<f64>() / tasks.len() as f64;
    CurvePoint {
        step: record.step + 1,
        entropy: mean(|task| task.mean),
        marginal: mean(marginal_share),
        accuracy,
    }
}

/// Class-marginal entropy as a share of its maximum.
fn marginal_share(task: &TaskEntropy) -> f64 {
    task.marginal / (task.classes as f64).ln().max(f64::MIN_POSITIVE)
}

/// A point as a line of measurements holds it.
fn point_values(point: &CurvePoint) -> Vec<(&'static str, f64)> {
    let mut values = vec![("entropy", point.entropy), ("spread", point.marginal)];
    values.extend(
        point
            .accuracy
            .map(|accuracy| ("validation accuracy", accuracy)),
    );
    values
}

fn table(method: &str, learned: &Coefficients) -> CoefficientTable {
    let groups = learned.groups.iter();
    let values = |values: &Vec<f32>| values.iter().map(|&v| f64::from(v)).collect();
    CoefficientTable {
        method: method.to_owned(),
        groups: groups.clone().map(|g| g.name.clone()).collect(),
        values: groups.map(|g| values(&g.values)).collect(),
    }
}
