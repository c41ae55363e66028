//! Merging with coefficients that are learned on images without labels.

use super::{
    JobError, StoreError, Variation,
    adapt::EncoderEntropy,
    found::{Found, Notes},
    merging::Ground,
    repetition::Repetition,
    unfinished::Clock,
};
use crate::{
    outcome::{Curve, CurvePoint},
    trace::{SavedAdaptation, point, point_values, table},
};
use refit_core::StopReason;
use refit_merge::{AdaMerging, AdaMergingConfig, Grouping, Plus, Session};
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
        let clock = self.shelf.clock(name)?;
        let (mut session, mut points) = self.session(name, &method, ground)?;
        let mut failure = None;
        let outcome = session.run(&mut entropy, &self.named(name), |record, session| {
            let mut observe = || {
                let point = point(record, self.watched(record.step, session, ground)?);
                self.shelf.log(name, point.step, &point_values(&point));
                points.push(point);
                if clock.is_due() && !record.diverged {
                    self.save_session(name, session, &points, &clock)?;
                }
                Ok::<_, JobError>(())
            };
            if let Err(error) = observe() {
                failure.get_or_insert(error);
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        self.shelf.check()?;
        if outcome.stop == StopReason::Interrupted {
            self.save_session(name, &session, &points, &clock)?;
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

    /// A run at its beginning, or where it was saved, with its curve up to there.
    fn session<'a>(
        &self,
        name: &str,
        method: &AdaMerging,
        ground: &'a Ground<'_>,
    ) -> Result<(Session<'a>, Vec<CurvePoint>), JobError> {
        let tasks = ground.task_vectors()?;
        let Some((saved, file)) = self.shelf.saved::<SavedAdaptation>(name)? else {
            return Ok((Session::start(method, tasks)?, Vec::new()));
        };
        let session = Session::resume(method, tasks, &saved.session)
            .map_err(|error| StoreError::damaged(&file, error))?;
        Ok((session, saved.points()))
    }

    fn save_session(
        &self,
        name: &str,
        session: &Session<'_>,
        points: &[CurvePoint],
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let saved = SavedAdaptation::new(session, points);
        self.shelf.save(name, saved.session.step(), saved, clock)
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
