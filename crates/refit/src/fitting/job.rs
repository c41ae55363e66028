//! The work: every arm from the same start.

use super::{
    Arm, ArmConfig, ArmFound, FitError, FitOutcome, FitSettings, Looks, Objective, ObjectiveConfig,
    RowSource, Score, StartName, TextRows, Verdict,
    objective::{Exact, each, objective_name},
    record::{OfArm, Point, Recorder, Saved},
    run::Run,
    watch::Watch,
    weights::write_weights,
};
use crate::run::write_document;
use refit_core::{ConfigError, Progress};
use refit_io::{
    atomic::Overwrite,
    data::{Classes, Features, LibsvmOptions, Table, read_libsvm},
};
use refit_train::optim::{
    descend_seen,
    second::{Draw, FiniteSum as _, Sampling, SecondOrderError, Status, lbfgs_seen},
};
use serde::Serialize;
use std::{path::Path, sync::atomic::AtomicBool, time::Duration};

/// Parameters of the first arm.
pub(crate) const WEIGHTS: &str = "weights.safetensors";
/// What the parameters mean.
const CONFIG: &str = "config.json";
/// The point where every arm began, where chance chose it.
const START: &str = "start.safetensors";

/// A checked fit: rows, objective and start.
#[derive(Debug)]
pub struct Fit {
    settings: FitSettings,
    objective: Objective,
    test: Option<Objective>,
    classes: Option<Classes>,
    columns: usize,
    /// Bytes of the rows in memory, and whether every number is stored.
    stored: (u64, bool),
    start: Vec<f64>,
    layout: String,
    texts: Option<TextRows>,
}

/// What a fit is made of, beside its settings.
pub(crate) struct FitParts {
    pub(crate) objective: Objective,
    pub(crate) test: Option<Objective>,
    pub(crate) columns: usize,
    pub(crate) stored: (u64, bool),
    pub(crate) start: Vec<f64>,
    /// What the parameters are, in order.
    pub(crate) layout: String,
}

impl Fit {
    /// Reads rows and checks everything.
    ///
    /// # Errors
    /// Settings out of range, rows that cannot be read, labels that the objective does not take.
    pub fn new(settings: FitSettings) -> Result<Self, FitError> {
        settings.check()?;
        let source = RowSource::parse(&settings.data)?;
        let mut options = LibsvmOptions {
            features: settings.features,
            first_index: u8::from(!settings.zero_based),
            ..LibsvmOptions::default()
        };
        let rows = source.read(&options, settings.seed)?;
        options.features = Some(rows.features().columns());
        let test: Option<Table> = match &settings.test {
            Some(path) => Some(read_libsvm(path, &options)?),
            None => source.test(settings.seed),
        };
        Self::of_rows(settings, rows, test)
    }

    /// A fit of rows that were made elsewhere.
    pub(crate) fn of_rows(
        settings: FitSettings,
        rows: Table,
        test: Option<Table>,
    ) -> Result<Self, FitError> {
        let columns = rows.features().columns();
        let dense = matches!(rows.features(), Features::Dense(_));
        let stored = (rows.features().size_bytes(), dense);
        let classes = settings.objective.has_classes();
        let classes = classes.then(|| rows.classes().map(Classes::without_rows));
        let objective = Objective::new(rows, settings.objective)?;
        let test = test.map(|table| objective.beside(table)).transpose()?;
        let dim = objective.dim();
        let start = settings
            .start
            .point(&settings.objective, columns, dim, settings.seed);
        let parts = FitParts {
            objective,
            test,
            columns,
            stored,
            start,
            layout: settings.objective.layout().to_owned(),
        };
        Ok(Self {
            // The objective has looked at the labels.
            classes: classes.and_then(Result::ok),
            ..Self::of(settings, parts)?
        })
    }

    /// A fit of whatever has been put together, with settings that were checked before it was.
    pub(crate) fn of(settings: FitSettings, parts: FitParts) -> Result<Self, FitError> {
        let by_theory = |arm: &Arm| matches!(&arm.config, ArmConfig::SecondOrder(c) if c.sampling == Sampling::Theory);
        if settings.arms.iter().any(by_theory) && !parts.objective.has_bounds() {
            let problem = "theory needs bounds on the terms, which this objective has not";
            return Err(ConfigError::conflict("sampling", problem).into());
        }
        let by_curvature = |arm: &Arm| matches!(&arm.config, ArmConfig::SecondOrder(c) if c.draw == Draw::Curvature);
        if settings.arms.iter().any(by_curvature) {
            let mut curvatures = vec![0.0; parts.objective.rows()];
            if !each!(parts.objective, sum => sum.curvatures(&parts.start, &mut curvatures)) {
                let problem = "asks for curvatures of the rows, which this objective does not know";
                return Err(ConfigError::conflict("draw", problem).into());
            }
        }
        Ok(Self {
            settings,
            objective: parts.objective,
            test: parts.test,
            classes: None,
            columns: parts.columns,
            stored: parts.stored,
            start: parts.start,
            layout: parts.layout,
            texts: None,
        })
    }

    /// The same fit, of rows that are texts.
    #[must_use]
    pub(crate) fn of_texts(mut self, texts: TextRows) -> Self {
        // Their labels are words, and the numbers of classes mean nothing.
        self.classes = None;
        self.texts = Some(texts);
        self
    }

    /// The settings.
    pub const fn settings(&self) -> &FitSettings {
        &self.settings
    }

    /// The objective over the rows to fit.
    pub const fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Number of rows to test on, if there are some.
    pub fn test_rows(&self) -> Option<usize> {
        self.test.as_ref().map(Objective::rows)
    }

    /// Features of every row.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of the rows in memory, and whether zeros are stored.
    pub const fn stored(&self) -> (u64, bool) {
        self.stored
    }

    /// What is known of the rows where they are texts.
    pub const fn texts(&self) -> Option<&TextRows> {
        self.texts.as_ref()
    }

    /// The labels behind classes 0, 1, ..; empty where labels are numbers.
    pub fn class_labels(&self) -> &[f32] {
        self.classes.as_ref().map_or(&[], Classes::labels)
    }

    /// Fits every arm, and writes weights, trace and measurements into `folder`. Whatever an earlier process left there
    /// is gone on with.
    ///
    /// # Errors
    /// [`FitError::Interrupted`] when the user stopped it: the state is then saved. A method that cannot go on, and a
    /// disk that refuses.
    pub fn run(&self, folder: &Path, progress: &dyn Progress) -> Result<FitOutcome, FitError> {
        let saved = Saved::read(folder)?;
        let arms = &self.settings.arms;
        let fits = saved.done.len() <= arms.len()
            && saved.done.iter().zip(arms).all(|(a, b)| a.name == b.name);
        if !fits {
            return Err(FitError::State {
                path: folder.join(super::record::STATE),
                problem: "is of other arms".into(),
            });
        }
        let first = saved.done.len();
        let next = arms.get(first).map(|arm| arm.name.as_str());
        let every = Duration::from_secs(self.settings.save_every);
        let mut recorder = Recorder::open(folder, every, saved, next)?;
        let config = Meaning {
            objective: &self.settings.objective,
            features: self.columns,
            layout: &self.layout,
            classes: self.class_labels(),
            labels: self.texts.as_ref().map_or(&[], |texts| &texts.labels),
        };
        write_document(&folder.join(CONFIG), &config, Overwrite::Replace)?;
        if self.settings.start.name == StartName::Random {
            write_weights(&folder.join(START), &self.start)?;
        }
        for (at, arm) in arms.iter().enumerate().skip(first) {
            let (found, x) = self.arm(arm, &mut recorder, progress)?;
            if found.verdict != Verdict::Diverged {
                write_weights(&folder.join(weights_name(at, arm)), &x)?;
            }
            recorder.finish(found);
            recorder.check()?;
        }
        Ok(self.outcome(std::mem::take(&mut recorder.saved.done)))
    }

    /// Fits one arm.
    fn arm(
        &self,
        arm: &Arm,
        recorder: &mut Recorder<'_>,
        progress: &dyn Progress,
    ) -> Result<(ArmFound, Vec<f64>), FitError> {
        let stop = AtomicBool::new(false);
        let of_arm = OfArm {
            inner: progress,
            name: &arm.name,
            stop: &stop,
        };
        let failed = |source| FitError::Arm {
            arm: arm.name.clone(),
            source: Box::new(source),
        };
        let run = match &arm.config {
            ArmConfig::SecondOrder(config) => {
                let watch = Watch::new(self, &arm.name, &stop, recorder);
                let (found, seconds) = each!(self.objective, sum => {
                    watch.second(sum, config, &self.start, &of_arm)
                })
                .map_err(failed)?;
                Run {
                    verdict: (&found.status).into(),
                    certificate: match found.status {
                        Status::SecondOrder { certificate } => Some(certificate),
                        _ => None,
                    },
                    // Its state stands before the trials of a search that found no step.
                    trials: match (&found.status, found.trials.last()) {
                        (Status::Interrupted, _) | (_, None) => found.state.trials(),
                        (_, Some(last)) => last.trial,
                    },
                    x: found.x,
                    counts: found.counts,
                    seconds,
                    state: Some(found.state),
                }
            }
            ArmConfig::Lbfgs(config) => {
                let mut errors = Vec::new();
                let found = each!(self.objective, sum => {
                    lbfgs_seen(sum, &self.start, config, &of_arm, &mut |x| errors.push(self.errors(x)))
                });
                Run::descended(&arm.name, found.map_err(failed)?, &errors, recorder)
            }
            ArmConfig::FirstOrder(config) => {
                let mut errors = Vec::new();
                let found = each!(self.objective, sum => {
                    descend_seen(sum, &self.start, config, &of_arm, &mut |x| errors.push(self.errors(x)))
                });
                match found {
                    Ok(found) => Run::descended(&arm.name, found, &errors, recorder),
                    // At a start that is finite, the learning rate is to blame: the other arms go on.
                    Err(SecondOrderError::NotFinite { .. }) if self.begins().loss.is_some() => {
                        Run::diverged()
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        };
        recorder.check()?;
        if run.verdict == Verdict::Interrupted {
            recorder.save(run.state, run.seconds);
            recorder.check()?;
            return Err(FitError::Interrupted {
                arm: arm.name.clone(),
                trials: run.trials,
            });
        }
        let score = match run.verdict {
            Verdict::Diverged => Score::default(),
            _ => self.score(&run.x),
        };
        if run.verdict != Verdict::Diverged {
            let work = run.counts.propagations();
            recorder.point(&arm.name, &Point::of(&score, run.trials, work, run.seconds));
        }
        let found = ArmFound {
            name: arm.name.clone(),
            label: arm.label.clone(),
            verdict: run.verdict,
            certificate: run.certificate,
            score,
            trials: run.trials,
            counts: run.counts,
            seconds: run.seconds,
        };
        Ok((found, run.x))
    }

    fn begins(&self) -> Score {
        self.score(&self.start)
    }

    /// Errors on both tables at a point on the way; none where no look is wanted.
    fn errors(&self, x: &[f64]) -> [Option<f64>; 2] {
        match self.settings.looks {
            Looks::Sample => [None; 2],
            Looks::Exact => {
                let test = self.test.as_ref();
                [
                    self.objective.error_rate(x),
                    test.and_then(|test| test.error_rate(x)),
                ]
            }
        }
    }

    pub(super) fn score(&self, x: &[f64]) -> Score {
        let finite = |value: f64| value.is_finite().then_some(value);
        let Exact { loss, gradient } = self.objective.exact(x);
        let test = self.test.as_ref().map(|test| test.loss_and_error(x));
        Score {
            loss: finite(loss),
            gradient: finite(gradient),
            error: self.objective.error_rate(x),
            test_loss: test.and_then(|(loss, _)| finite(loss)),
            test_error: test.and_then(|(_, error)| error),
        }
    }

    fn outcome(&self, arms: Vec<ArmFound>) -> FitOutcome {
        let second = self.settings.arms.iter().find_map(|arm| match &arm.config {
            ArmConfig::SecondOrder(config) => Some(config.eps_h()),
            _ => None,
        });
        FitOutcome {
            data: self.settings.data.clone(),
            rows: self.objective.rows(),
            features: self.columns,
            parameters: self.objective.dim(),
            objective: objective_name(&self.settings.objective),
            test_rows: self.test_rows(),
            start: self.settings.start.to_string(),
            eps_g: self.settings.eps_g(),
            eps_h: second,
            begins: self.begins(),
            texts: self.texts.clone(),
            arms,
        }
    }
}

/// Where the parameters of an arm are written.
pub(crate) fn weights_name(at: usize, arm: &Arm) -> String {
    if at == 0 {
        return WEIGHTS.to_owned();
    }
    format!("weights-{}.safetensors", arm.name.replace(':', "-"))
}

/// What the parameters in `weights.safetensors` mean.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Meaning<'a> {
    objective: &'a ObjectiveConfig,
    features: usize,
    /// What the numbers of the tensor `w` are, in order.
    layout: &'a str,
    /// The labels behind classes 0, 1, .., where they are numbers.
    classes: &'a [f32],
    /// And where they are words.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [String],
}
