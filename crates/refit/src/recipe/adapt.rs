//! AdaMerging from a recipe: each expert brings its architecture, its own head and inputs without labels.

use super::{MergePlan, Merged, Recipe, RecipeError};
use crate::{
    classifier::{ClassifierError, ModelFolder},
    outcome::CurvePoint,
    run::{MetricsWriter, keep_metrics, read_document, write_document},
    trace::{self, SavedAdaptation},
};
use burn::tensor::{Device, Tensor, TensorData};
use refit_core::{Cancel, ParamPath, Progress, Seed, StopReason};
use refit_io::{
    atomic::Overwrite,
    ckpt::Checkpoint,
    data::{Batch, ImageSet, Normalise},
};
use refit_kernels::dual::Dual;
use refit_merge::{
    AdaMerging, Collapse, EntropyMeter, EntropyModel, EntropyReport, Gradient, MergeError, Session,
    TaskVectors, TensorSet, Theta,
};
use refit_nn::{ImageConfig, NnError, ParamLayout, Pass, Weights, to_host};
use refit_train::{loss::mean_entropy, value_and_gradient};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Checks that every expert says what it is; reads no weight and no image.
pub(super) fn check(recipe: &Recipe, experts: &[Checkpoint]) -> Result<(), RecipeError> {
    for (expert, checkpoint) in recipe.experts.iter().zip(experts) {
        let wrap = |problem| RecipeError::Model {
            name: expert.name.clone(),
            problem,
        };
        let folder = ModelFolder::open(checkpoint.path()).map_err(wrap)?;
        folder.config.check().map_err(|e| wrap(e.into()))?;
    }
    Ok(())
}

/// File of an unfinished merge that holds what is needed to go on.
pub(crate) const STATE: &str = "adaptation.json";
/// Work that a kill may cost; the state is small.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Learns the coefficients and returns the merged weights; `None` when it was interrupted, with its state in `folder`.
///
/// Goes on from a state that is in `folder`. Measurements go there too.
pub(super) fn adapt(
    plan: &MergePlan,
    method: &AdaMerging,
    tasks: TaskVectors<'_>,
    folder: &Path,
    merged: &mut Merged,
    progress: &dyn Progress,
) -> Result<Option<TensorSet>, RecipeError> {
    let mut model = Experts {
        tasks: plan
            .recipe()
            .experts
            .iter()
            .zip(plan.experts())
            .map(|(expert, checkpoint)| Task::open(expert, checkpoint, &tasks, plan.recipe().seed))
            .collect::<Result<_, _>>()?,
        batches: method.config().batches as u64,
        batch_size: method.config().batch_size,
    };
    let name = AdaMerging::CARD.name;
    let file = folder.join(STATE);
    let (mut session, mut points) = session(method, tasks, &file)?;
    let done = session.state().step();
    // What was measured after the state was saved is measured again.
    keep_metrics(folder, |m| m.series == name && m.step <= done)?;
    let mut metrics = MetricsWriter::append(folder)?;
    let save = |session: &Session<'_>, points: &[CurvePoint]| {
        let saved = SavedAdaptation::new(session, points);
        write_document(&file, &saved, Overwrite::Replace)
    };
    let (mut saved, mut failure) = (Instant::now(), None);
    // What cannot be measured is told at once, not after hours.
    let stop = Cancel::default();
    let listener = Stoppable {
        inner: progress,
        stop: stop.clone(),
    };
    let outcome = session.run(&mut model, &listener, |record, session| {
        let point = trace::point(record, None);
        points.push(point);
        let mut written = metrics.write(name, point.step, &trace::point_values(&point));
        if written.is_ok() && !record.diverged && saved.elapsed() >= SAVE_EVERY {
            written = save(session, &points);
            saved = Instant::now();
        }
        if let Err(error) = written {
            failure = failure.take().or(Some(error));
            stop.raise();
        }
    })?;
    if outcome.stop == StopReason::Diverged {
        return Err(RecipeError::Diverged {
            step: outcome.steps,
        });
    }
    // Whatever happens from here on, no step is lost.
    let kept = save(&session, &points);
    if let Some(error) = failure {
        return Err(error.into());
    }
    kept?;
    merged.steps = outcome.steps;
    merged.stop = outcome.stop;
    if outcome.stop == StopReason::Interrupted {
        return Ok(None);
    }
    let expert = |task: usize| {
        let experts = &plan.recipe().experts;
        experts.get(task).map_or("?", |e| e.name.as_str())
    };
    merged.remarks = outcome
        .collapses
        .iter()
        .map(|c| remark(expert(c.task), c))
        .collect();
    merged.coefficients = Some(outcome.coefficients);
    merged.curve = points;
    Ok(Some(session.into_merged()))
}

/// Hands progress on, and stops the work when either side asks for it.
struct Stoppable<'a> {
    inner: &'a dyn Progress,
    stop: Cancel,
}

impl Progress for Stoppable<'_> {
    fn begin(&self, phase: &str, total: Option<u64>) {
        self.inner.begin(phase, total);
    }

    fn advance(&self, units: u64) {
        self.inner.advance(units);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn cancelled(&self) -> bool {
        self.stop.is_raised() || self.inner.cancelled()
    }
}

/// A run at its beginning, or as `file` has it, with its curve up to there.
fn session<'a>(
    method: &AdaMerging,
    tasks: TaskVectors<'a>,
    file: &Path,
) -> Result<(Session<'a>, Vec<CurvePoint>), RecipeError> {
    if !file.is_file() {
        return Ok((Session::start(method, tasks)?, Vec::new()));
    }
    let saved: SavedAdaptation = read_document(file)?;
    let session = Session::resume(method, tasks, &saved.session);
    let session = session.map_err(|problem| RecipeError::State {
        path: file.into(),
        problem,
    })?;
    Ok((session, saved.points()))
}

/// Says that the predictions of a task fell into few classes.
fn remark(name: &str, collapse: &Collapse) -> String {
    let Collapse {
        step,
        marginal,
        classes,
        lasting,
        ..
    } = collapse;
    let since = if *lasting {
        "and stayed there"
    } else {
        "and recovered"
    };
    format!(
        "predictions for `{name}` fell into few of {classes} classes at step {step} (spread {marginal:.2} nats) {since}"
    )
}

/// What one expert brings.
struct Task {
    config: ImageConfig,
    normalise: Normalise,
    layout: Arc<ParamLayout>,
    /// Tensors of its own, which are not merged: its head.
    own: Vec<Option<Dual<1>>>,
    /// For every tensor of the merge, its place in `layout`.
    places: Vec<usize>,
    images: Arc<ImageSet>,
    seed: Seed,
}

impl Task {
    fn open(
        expert: &super::Expert,
        checkpoint: &Checkpoint,
        tasks: &TaskVectors<'_>,
        seed: Seed,
    ) -> Result<Self, RecipeError> {
        let wrap = |problem| RecipeError::Model {
            name: expert.name.clone(),
            problem,
        };
        let folder = ModelFolder::open(checkpoint.path()).map_err(wrap)?;
        let model = folder.load(&Device::flex()).map_err(wrap)?;
        let source = expert
            .data
            .as_ref()
            .expect("access was checked when the plan was made");
        let task = source
            .read(&folder.picture_options())
            .map_err(|problem| RecipeError::Data {
                name: expert.name.clone(),
                problem,
            })?;
        model.check(task.train()).map_err(wrap)?;
        let layout = Arc::clone(model.weights.layout());
        let place = |path: &ParamPath| {
            let missing = || NnError::Missing {
                path: path.clone(),
                expected: vec![],
            };
            layout.position(path.as_str()).ok_or_else(missing)
        };
        let places: Result<Vec<usize>, _> = tasks.layout().paths().map(place).collect();
        let places = places.map_err(|e| wrap(ClassifierError::from(e)))?;
        let mut own: Vec<_> = model.weights.values().iter().cloned().map(Some).collect();
        for &place in &places {
            own[place] = None;
        }
        Ok(Self {
            places,
            layout,
            own,
            images: Arc::clone(task.train()),
            seed: seed.fork("adapt").fork(&expert.name),
            config: model.config,
            normalise: model.normalise,
        })
    }

    /// The expert's model with the merged body.
    fn model(&self, body: &[Tensor<1>]) -> Weights {
        let mut values = self.own.clone();
        for (tensor, &place) in body.iter().zip(&self.places) {
            values[place] = Some(Dual::constant(tensor.clone()));
        }
        let values = values.into_iter().flatten().collect();
        Weights::from_values(&self.layout, values)
    }

    /// Images of batch `number`, the same for every run.
    fn draw(&self, number: u64, size: usize) -> Batch {
        let n = self.images.len();
        let picked = self.seed.fork(number).sample(n, size.min(n));
        Batch::collate(&self.images, &picked, &self.normalise)
    }
}

/// The merged body under every expert's own head.
struct Experts {
    tasks: Vec<Task>,
    batches: u64,
    batch_size: usize,
}

/// A step of adaptation failed.
#[derive(Debug, thiserror::Error)]
enum AdaptError {
    #[error(transparent)]
    Model(#[from] NnError),
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl EntropyModel for Experts {
    type Error = AdaptError;

    fn entropy_gradient(
        &mut self,
        step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, AdaptError> {
        let device = Device::flex();
        let leaf = |values: Vec<f32>| {
            let len = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [len]), &device)
        };
        let body: Vec<Tensor<1>> = theta.take().into_iter().map(leaf).collect();
        let mut report = EntropyReport {
            tasks: Vec::with_capacity(self.tasks.len()),
        };
        for task in &self.tasks {
            let model = task.model(&body);
            let mut meter = EntropyMeter::new(task.config.num_outputs());
            for i in 0..self.batches {
                let batch = task.draw(step * self.batches + i, self.batch_size);
                let mut found = task.entropy_gradient(&model, batch, &mut meter)?;
                for (at, &place) in task.places.iter().enumerate() {
                    let buffer = std::mem::take(&mut found[place]);
                    // Running statistics are merged but have no gradient.
                    if !buffer.is_empty() {
                        gradient.give(at, buffer)?;
                    }
                }
            }
            report.tasks.push(meter.finish());
        }
        theta.give_back(body.into_iter().map(to_host).collect());
        Ok(report)
    }
}

impl Task {
    fn entropy_gradient(
        &self,
        model: &Weights,
        mut batch: Batch,
        meter: &mut EntropyMeter,
    ) -> Result<Vec<Vec<f32>>, NnError> {
        let (_, gradient, ()) = value_and_gradient(model, |tracked| {
            let model = tracked.bind(|scope| self.config.bind(scope))?;
            let shape = batch.shape;
            let data = TensorData::new(std::mem::take(&mut batch.pixels), shape);
            let pixels = Tensor::<4>::from_data(data, &tracked.device());
            let logits = model.forward(pixels.into(), &mut Pass::eval()).into_value();
            meter.add(&to_host(logits.clone().inner()));
            Ok::<_, NnError>((mean_entropy(logits), ()))
        })?;
        Ok(gradient.into_buffers())
    }
}
