//! One repetition of the job, for one seed.

use super::{
    AdaptOn, FusionConfig, Heads, JobError, Stage, Variation,
    adapt::EncoderEntropy,
    batches::Drawer,
    encoder::{MultiTask, Supervised, accuracy, prototype_head},
};
use crate::outcome::{CoefficientTable, Curve, CurvePoint, Phase, Sweep};
use burn::tensor::Device;
use refit_core::{Progress, Seed, Silent, StopReason};
use refit_io::data::{Augment, Constants, Corruption, ImageSet, Normalise, Severity, Task};
use refit_merge::{
    AdaMerging, AdaMergingConfig, Aggregate, AverageConfig, Checks, Grouping, MergeConfig, Plus,
    Session, TaskArithmeticConfig, TaskVectors, TensorSet, TiesConfig, Weights as MergeWeights,
};
use refit_nn::{ImageConfig, Weights, blocks::CosineHead};
use refit_train::Trainer;
use std::{sync::Arc, time::Instant};

/// What one repetition found for one method.
#[derive(Clone, Debug, Default)]
pub(super) struct Scored {
    pub(super) name: &'static str,
    pub(super) settings: String,
    /// Test accuracy of each task.
    pub(super) per_task: Vec<f64>,
    /// Mean over tasks for each corruption, in the order of [`Corruption::ALL`].
    pub(super) per_corruption: Vec<f64>,
    pub(super) seconds: f64,
}

/// Everything one repetition found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) methods: Vec<Scored>,
    pub(super) coefficients: Vec<CoefficientTable>,
    pub(super) curves: Vec<Curve>,
    pub(super) sweeps: Vec<Sweep>,
    pub(super) phases: Vec<Phase>,
    pub(super) collapses: Vec<String>,
}

/// The parts of one repetition that do not change while it runs.
pub(super) struct Repetition<'a> {
    config: &'a FusionConfig,
    tasks: &'a [Task],
    seed: Seed,
    progress: &'a dyn Progress,
    model: MultiTask,
    normalise: Normalise,
    device: Device,
    parts: Vec<Split>,
    corrupted: Vec<Vec<ImageSet>>,
}

/// The images of one task, by what they are used for.
struct Split {
    base: Arc<ImageSet>,
    train: Arc<ImageSet>,
    tune: Arc<ImageSet>,
    adapt: Arc<ImageSet>,
    test: Arc<ImageSet>,
}

/// One candidate model for every task: shared weights, or one set of weights per task.
enum Candidate<'a> {
    Shared(&'a Weights),
    PerTask(&'a [Weights]),
}

impl Candidate<'_> {
    fn of(&self, task: usize) -> &Weights {
        match self {
            Self::Shared(weights) => weights,
            Self::PerTask(weights) => &weights[task],
        }
    }
}

impl<'a> Repetition<'a> {
    pub(super) fn new(
        config: &'a FusionConfig,
        tasks: &'a [Task],
        seed: u64,
        progress: &'a dyn Progress,
    ) -> Self {
        let seed = Seed::new(seed);
        let model = MultiTask {
            encoder: ImageConfig::Vit(config.encoder.clone()),
            width: config.encoder.hidden_size,
            classes: tasks.iter().map(Task::class_count).collect(),
            scale: config.head_scale,
        };
        let normalise = Normalise::measured(tasks.iter().map(|t| t.train().as_ref()));
        let parts: Vec<Split> = tasks
            .iter()
            .map(|task| Split::new(config, task, seed))
            .collect();
        let corrupted = corrupt(config, &parts, seed);
        let device = Device::flex();
        Self {
            config,
            tasks,
            seed,
            progress,
            model,
            normalise,
            device,
            parts,
            corrupted,
        }
    }

    pub(super) fn run(&self) -> Result<Found, JobError> {
        let mut found = Found::default();
        let (base, heads) = phase(&mut found, "base and heads", || self.train_base())?;
        self.score(
            &mut found,
            "base",
            String::new(),
            &heads,
            &Candidate::Shared(&base),
            0.0,
        )?;
        let experts = phase(&mut found, "experts", || self.train_experts(&base, &heads))?;
        self.score(
            &mut found,
            "experts",
            String::new(),
            &heads,
            &Candidate::PerTask(&experts),
            0.0,
        )?;
        let start = Instant::now();
        let joint = phase(&mut found, "joint training", || {
            self.train(
                &self.model,
                &self.config.joint,
                "joint model",
                &base,
                Some(&heads),
                &self.joint_drawer()?,
            )
        })?;
        let seconds = start.elapsed().as_secs_f64();
        self.score(
            &mut found,
            "joint",
            String::new(),
            &heads,
            &Candidate::Shared(&joint),
            seconds,
        )?;
        let sets = Sets::new(&base, &experts)?;
        self.merge_without_data(&mut found, &sets, &base, &heads)?;
        self.merge_with_entropy(&mut found, &sets, &base, &heads)?;
        Ok(found)
    }

    fn drawer(
        &self,
        sets: Vec<(usize, Arc<ImageSet>)>,
        name: &str,
        variation: Variation,
    ) -> Result<Drawer, JobError> {
        let augment = Augment::try_from(variation.config())?;
        Ok(Drawer::new(
            sets,
            self.normalise.clone(),
            self.seed.fork(name),
            augment,
        ))
    }

    fn every(&self, part: impl Fn(&Split) -> &Arc<ImageSet>) -> Vec<(usize, Arc<ImageSet>)> {
        self.parts
            .iter()
            .map(|split| Arc::clone(part(split)))
            .enumerate()
            .collect()
    }

    /// The encoder of the base, and one frozen head per task.
    fn train_base(&self) -> Result<(Weights, Vec<CosineHead>), JobError> {
        let stage = &self.config.base;
        let mut model = self.model.clone();
        let mut sets = match self.config.base_images {
            0 => Vec::new(),
            _ => self.every(|s| &s.base),
        };
        for task in auxiliary(self.config.auxiliary_images, self.seed) {
            sets.push((model.classes.len(), Arc::clone(task.train())));
            model.classes.push(task.class_count());
        }
        let fresh = model.create(self.seed.fork("base"), &self.device)?;
        let drawer = self.drawer(sets, "base batches", stage.augment)?;
        let all = self.train(&model, stage, "base", &fresh, None, &drawer)?;
        let base = self.model.encoder_weights(&all)?;
        let heads = match self.config.heads {
            Heads::Trained => {
                let mut heads = model.heads(&all)?;
                heads.truncate(self.tasks.len());
                heads
            }
            Heads::Prototypes(per_class) => self.prototypes(&base, per_class)?,
        };
        Ok((base, heads))
    }

    fn prototypes(&self, base: &Weights, per_class: usize) -> Result<Vec<CosineHead>, JobError> {
        let seed = self.seed.fork("prototypes");
        self.tasks
            .iter()
            .map(|task| {
                let picked = few_shot(task.train(), per_class, seed.fork(task.name()));
                prototype_head(&self.model, base, &picked, &self.normalise)
            })
            .collect()
    }

    fn joint_drawer(&self) -> Result<Drawer, JobError> {
        let augment = self.config.joint.augment;
        self.drawer(self.every(|s| &s.train), "joint batches", augment)
    }

    fn train_experts(
        &self,
        base: &Weights,
        heads: &[CosineHead],
    ) -> Result<Vec<Weights>, JobError> {
        let stage = &self.config.expert;
        self.parts
            .iter()
            .enumerate()
            .map(|(k, split)| {
                let set = vec![(k, Arc::clone(&split.train))];
                let drawer = self.drawer(set, "expert batches", stage.augment)?;
                let name = format!("expert `{}`", self.tasks[k].name());
                self.train(&self.model, stage, &name, base, Some(heads), &drawer)
            })
            .collect()
    }

    fn train(
        &self,
        model: &MultiTask,
        stage: &Stage,
        name: &str,
        start: &Weights,
        heads: Option<&[CosineHead]>,
        drawer: &Drawer,
    ) -> Result<Weights, JobError> {
        let per_set = stage.batch.div_ceil(drawer.sets());
        let mut objective = Supervised {
            model,
            heads,
            smoothing: stage.smoothing,
        };
        let named = Named {
            name,
            inner: self.progress,
        };
        let fit = Trainer::new(stage.trainer())?
            .fit(
                start.clone(),
                &mut objective,
                |i| drawer.draw(i, per_set),
                &named,
            )
            .map_err(|source| JobError::Train {
                stage: name.to_owned(),
                source,
            })?;
        match fit.stop {
            StopReason::Diverged => Err(JobError::Diverged {
                stage: name.to_owned(),
            }),
            StopReason::Interrupted => Err(JobError::Interrupted),
            _ => Ok(fit.weights),
        }
    }

    /// Scores a finished candidate on test images; nothing is decided by what this returns.
    fn score(
        &self,
        found: &mut Found,
        name: &'static str,
        settings: String,
        heads: &[CosineHead],
        candidate: &Candidate<'_>,
        seconds: f64,
    ) -> Result<(), JobError> {
        self.progress
            .begin(&format!("scoring {name}"), Some(self.parts.len() as u64));
        let mut per_task = Vec::with_capacity(self.parts.len());
        for (k, split) in self.parts.iter().enumerate() {
            if self.progress.cancelled() {
                return Err(JobError::Interrupted);
            }
            per_task.push(self.accuracy(candidate.of(k), heads, k, &split.test)?);
            self.progress.advance(1);
        }
        let per_corruption = self
            .corrupted
            .iter()
            .map(|sets| {
                let each = sets.iter().enumerate();
                let scores: Result<Vec<f64>, _> = each
                    .map(|(k, set)| self.accuracy(candidate.of(k), heads, k, set))
                    .collect();
                scores.map(|scores| mean(&scores))
            })
            .collect::<Result<_, _>>()?;
        self.progress
            .note(&format!("{name}: {:.1} %", 100.0 * mean(&per_task)));
        found.methods.push(Scored {
            name,
            settings,
            per_task,
            per_corruption,
            seconds,
        });
        Ok(())
    }

    fn accuracy(
        &self,
        weights: &Weights,
        heads: &[CosineHead],
        task: usize,
        set: &ImageSet,
    ) -> Result<f64, JobError> {
        accuracy(&self.model, weights, &heads[task], set, &self.normalise)
    }

    /// Mean accuracy on the labelled validation images that settings are tuned on.
    fn tuning_accuracy(&self, weights: &Weights, heads: &[CosineHead]) -> Result<f64, JobError> {
        let scores: Result<Vec<f64>, _> = (0..self.parts.len())
            .map(|k| self.accuracy(weights, heads, k, &self.parts[k].tune))
            .collect();
        Ok(mean(&scores?))
    }

    fn weights(&self, like: &Weights, merged: TensorSet) -> Weights {
        Weights::from_host(like.layout(), merged.into_tensors(), &self.device)
    }

    fn merge_without_data(
        &self,
        found: &mut Found,
        sets: &Sets,
        base: &Weights,
        heads: &[CosineHead],
    ) -> Result<(), JobError> {
        let tasks = sets.task_vectors(self.tasks)?;
        let start = Instant::now();
        let average = MergeConfig::Average(AverageConfig::default()).check()?;
        let merged = self.weights(base, average.merge(&tasks, &Silent)?);
        let seconds = start.elapsed().as_secs_f64();
        self.score(
            found,
            "average",
            String::new(),
            heads,
            &Candidate::Shared(&merged),
            seconds,
        )?;
        for name in ["task-arithmetic", "ties"] {
            let start = Instant::now();
            let mut points = Vec::with_capacity(self.config.scales.len());
            let mut best: Option<(f64, f64, Weights)> = None;
            for &scale in &self.config.scales {
                let method = scaled(name, scale).check()?;
                let merged = self.weights(base, method.merge(&tasks, &Silent)?);
                let accuracy = self.tuning_accuracy(&merged, heads)?;
                points.push((scale, accuracy));
                if best.as_ref().is_none_or(|(_, top, _)| accuracy > *top) {
                    best = Some((scale, accuracy, merged));
                }
            }
            let (scale, _, merged) = best.expect("checked: at least one scale");
            let seconds = start.elapsed().as_secs_f64();
            found.sweeps.push(Sweep {
                method: name.to_owned(),
                points,
            });
            let settings = format!("scale {scale}");
            self.score(
                found,
                name,
                settings,
                heads,
                &Candidate::Shared(&merged),
                seconds,
            )?;
        }
        Ok(())
    }

    fn merge_with_entropy(
        &self,
        found: &mut Found,
        sets: &Sets,
        base: &Weights,
        heads: &[CosineHead],
    ) -> Result<(), JobError> {
        let mut variants = vec![
            ("adamerging-task", Grouping::Task, None, false),
            ("adamerging-layer", Grouping::Tensor, None, false),
            (
                "adamerging-layer-plus",
                Grouping::Tensor,
                Some(Plus::default()),
                false,
            ),
        ];
        if self.config.transductive {
            variants.push((
                "adamerging-layer-transductive",
                Grouping::Tensor,
                None,
                true,
            ));
            let plus = Some(Plus::default());
            variants.push((
                "adamerging-layer-plus-transductive",
                Grouping::Tensor,
                plus,
                true,
            ));
        }
        for (name, grouping, plus, on_test) in variants {
            let settings = AdaMergingConfig {
                grouping,
                plus,
                ..self.config.adamerging.clone()
            };
            let start = Instant::now();
            let merged = self.phase_adapt(found, name, settings, sets, base, heads, on_test)?;
            let seconds = start.elapsed().as_secs_f64();
            let steps = format!("{} steps", self.config.adamerging.steps);
            self.score(
                found,
                name,
                steps,
                heads,
                &Candidate::Shared(&merged),
                seconds,
            )?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one private caller")]
    fn phase_adapt(
        &self,
        found: &mut Found,
        name: &'static str,
        settings: AdaMergingConfig,
        sets: &Sets,
        base: &Weights,
        heads: &[CosineHead],
        on_test: bool,
    ) -> Result<Weights, JobError> {
        let began = Instant::now();
        let images = self.every(|s| if on_test { &s.test } else { &s.adapt });
        let mut entropy = EncoderEntropy {
            model: &self.model,
            layout: Arc::clone(base.layout()),
            heads,
            drawer: self.drawer(images, "adapt batches", Variation::None)?,
            batches: settings.batches as u64,
            batch_size: settings.batch_size,
            device: self.device.clone(),
        };
        let method = AdaMerging::try_from(settings)?;
        let mut session = Session::start(&method, sets.task_vectors(self.tasks)?)?;
        let mut points = Vec::new();
        let mut failure = None;
        let named = Named {
            name,
            inner: self.progress,
        };
        let outcome = session.run(&mut entropy, &named, |record, session| {
            let every = self.config.watch_every;
            let watched = every > 0 && (record.step + 1).is_multiple_of(every);
            let accuracy = watched.then(|| {
                let buffers = session.theta().to_vec();
                let weights = Weights::from_host(base.layout(), buffers, &self.device);
                self.tuning_accuracy(&weights, heads)
            });
            let accuracy = accuracy.transpose().unwrap_or_else(|error| {
                failure = Some(error);
                None
            });
            let tasks = &record.report.tasks;
            let count = tasks.len() as f64;
            points.push(CurvePoint {
                step: record.step + 1,
                entropy: tasks.iter().map(|t| t.mean).sum::<f64>() / count,
                marginal: tasks.iter().map(marginal_share).sum::<f64>() / count,
                accuracy,
            });
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        if outcome.stop == StopReason::Interrupted {
            return Err(JobError::Interrupted);
        }
        for collapse in &outcome.collapses {
            found.collapses.push(format!("{name}: {collapse:?}"));
        }
        found.curves.push(Curve {
            method: name.to_owned(),
            points,
        });
        let table = session.coefficients();
        found.coefficients.push(CoefficientTable {
            method: name.to_owned(),
            groups: table.groups.iter().map(|g| g.name.clone()).collect(),
            values: table
                .groups
                .iter()
                .map(|g| g.values.iter().map(|&v| f64::from(v)).collect())
                .collect(),
        });
        let merged = self.weights(base, session.into_merged());
        found.phases.push(Phase {
            name: name.to_owned(),
            seconds: began.elapsed().as_secs_f64(),
            peak_bytes: crate::run::peak_bytes().unwrap_or(0),
        });
        Ok(merged)
    }
}

/// Does a piece of work and notes what it cost.
fn phase<R>(
    found: &mut Found,
    name: &str,
    work: impl FnOnce() -> Result<R, JobError>,
) -> Result<R, JobError> {
    let start = Instant::now();
    let result = work()?;
    found.phases.push(Phase {
        name: name.to_owned(),
        seconds: start.elapsed().as_secs_f64(),
        peak_bytes: crate::run::peak_bytes().unwrap_or(0),
    });
    Ok(result)
}

/// Class-marginal entropy as a share of its maximum.
fn marginal_share(task: &refit_merge::TaskEntropy) -> f64 {
    task.marginal / (task.classes as f64).ln().max(f64::MIN_POSITIVE)
}

fn scaled(name: &str, scale: f64) -> MergeConfig {
    match name {
        "ties" => MergeConfig::Ties(TiesConfig {
            scale,
            aggregate: Aggregate::Sum,
            ..TiesConfig::default()
        }),
        _ => MergeConfig::TaskArithmetic(TaskArithmeticConfig {
            scale,
            ..TaskArithmeticConfig::default()
        }),
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Split {
    fn new(config: &FusionConfig, task: &Task, seed: Seed) -> Self {
        let first = |set: &Arc<ImageSet>, n: usize| {
            if n == 0 || n >= set.len() {
                Arc::clone(set)
            } else {
                Arc::new(set.first(n))
            }
        };
        let train = task.train();
        let base = sample(
            train,
            config.base_images,
            seed.fork("base images").fork(task.name()),
        );
        Self {
            base,
            train: Arc::clone(train),
            tune: first(task.val(), config.tuning_images),
            adapt: match config.adapt_on {
                AdaptOn::Train => Arc::clone(train),
                AdaptOn::Val => Arc::clone(task.val()),
            },
            test: first(task.test(), config.test_images),
        }
    }
}

/// The generated tasks that a base may be trained on, `images` of each; other images than those of the demonstration.
fn auxiliary(images: usize, seed: Seed) -> Vec<Task> {
    if images == 0 {
        return Vec::new();
    }
    let sizes = refit_io::data::suite::Sizes {
        train: images.max(10),
        val: 1,
        test: 1,
    };
    refit_io::data::suite::generate(seed.fork("auxiliary"), sizes)
}

/// Up to `per_class` images of every class.
fn few_shot(set: &ImageSet, per_class: usize, seed: Seed) -> ImageSet {
    let order = seed.sample(set.len(), set.len());
    let mut taken = vec![0; set.class_count()];
    let picked: Vec<usize> = order
        .into_iter()
        .filter(|&i| {
            let count = &mut taken[set.label(i) as usize];
            *count += 1;
            *count <= per_class
        })
        .collect();
    set.subset(&picked)
}

/// `n` images drawn without repetition, or all of them.
fn sample(set: &Arc<ImageSet>, n: usize, seed: Seed) -> Arc<ImageSet> {
    if n == 0 || n >= set.len() {
        return Arc::clone(set);
    }
    Arc::new(set.subset(&seed.sample(set.len(), n)))
}

/// For each corruption the first test images of each task, corrupted.
fn corrupt(config: &FusionConfig, parts: &[Split], seed: Seed) -> Vec<Vec<ImageSet>> {
    if config.corrupted_images == 0 {
        return Vec::new();
    }
    let severity = Severity::new(config.severity).expect("checked: severity 1 to 5");
    let seed = seed.fork("corruptions");
    Corruption::ALL
        .into_iter()
        .map(|corruption| {
            let each = parts.iter().map(|split| {
                let set = split
                    .test
                    .first(config.corrupted_images.min(split.test.len()));
                corruption.apply_set(&set, severity, Constants::default(), seed)
            });
            each.collect()
        })
        .collect()
}

/// Base and experts as the merge crate takes them.
struct Sets {
    base: TensorSet,
    experts: Vec<TensorSet>,
}

impl Sets {
    fn new(base: &Weights, experts: &[Weights]) -> Result<Self, JobError> {
        let set = |weights: &Weights| {
            let specs = weights.layout().specs().iter().zip(weights.to_host());
            TensorSet::from_values(
                specs.map(|(spec, values)| (spec.path.clone(), spec.shape.clone(), values)),
            )
        };
        let experts = experts.iter().map(set).collect::<Result<_, _>>()?;
        Ok(Self {
            base: set(base)?,
            experts,
        })
    }

    fn task_vectors(&self, tasks: &[Task]) -> Result<TaskVectors<'_>, JobError> {
        let experts = tasks.iter().zip(&self.experts);
        let experts = experts
            .map(|(task, set)| MergeWeights::from_set(task.name(), set))
            .collect();
        let base = MergeWeights::from_set("base", &self.base);
        Ok(TaskVectors::between(base, experts, &Checks::default())?)
    }
}

/// Passes progress on under another phase name.
struct Named<'a> {
    name: &'a str,
    inner: &'a dyn Progress,
}

impl Progress for Named<'_> {
    fn begin(&self, _phase: &str, total: Option<u64>) {
        self.inner.begin(self.name, total);
    }

    fn advance(&self, units: u64) {
        self.inner.advance(units);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}
