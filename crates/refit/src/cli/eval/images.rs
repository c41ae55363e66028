//! Accuracy of image classifiers.

use super::{
    super::{
        error::{CliError, Exit},
        model::parse_source,
        ui::{Show, Ui},
    },
    EvalArgs,
};
use crate::{
    classifier::{Classifier, ModelFolder, Score, check_set, read_config},
    report::count,
    source::TaskSource,
    visible::visible_name,
};
use clap::ValueEnum;
use refit_io::data::{ImageSet, Normalise, Task};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf, sync::Arc};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Split {
    Train,
    Val,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NormaliseName {
    /// Pixels between 0 and 1
    None,
    /// Customary statistics of MNIST
    Mnist,
    /// Customary statistics of ImageNet
    Imagenet,
}

/// How tensors of a classifier begin, in the names of Hugging Face.
const HEAD_PREFIX: &str = "classifier.";
/// Images per forward pass.
pub(super) const BATCH: u32 = 250;

pub(super) fn run(args: &EvalArgs, ui: &Ui) -> Result<(), CliError> {
    let plan = Plan::make(args)?;
    let assumption = plan.head.as_ref().unwrap_or(&plan.folder).assumption();
    if let (Some(words), None) = (assumption, args.images.normalise) {
        ui.say(words);
    }
    if args.run.dry_run {
        return ui.show(&plan.summary(args));
    }
    let model = plan.load(args)?;
    ui.listen();
    let score = model.score(&plan.set, args.images.batch.unwrap_or(BATCH) as usize, ui)?;
    ui.show(&Scored::new(args, &plan.task, plan.split, score))
}

/// A checked evaluation: headers and images are read, weights are not.
struct Plan {
    folder: ModelFolder,
    /// The model whose classifier is taken.
    head: Option<ModelFolder>,
    normalise: Normalise,
    task: Task,
    split: Split,
    set: Arc<ImageSet>,
}

impl Plan {
    fn make(args: &EvalArgs) -> Result<Self, CliError> {
        let (source, split) = asked(args)?;
        let folder = match &args.images.model {
            Some(config) => ModelFolder::open_with(&args.path, read_config(config)?)?,
            None => ModelFolder::open(&args.path)?,
        };
        let head = args.head.as_deref().map(ModelFolder::open).transpose()?;
        args.run.start_threads()?;
        let model = head.as_ref().unwrap_or(&folder);
        let normalise = match args.images.normalise {
            None => model.normalise()?,
            Some(NormaliseName::None) => {
                let channels = model.normalise()?.mean().len();
                Normalise::new(vec![0.0; channels], vec![1.0; channels])?
            }
            Some(NormaliseName::Mnist) => Normalise::mnist(),
            Some(NormaliseName::Imagenet) => Normalise::imagenet(),
        };
        let task = source.read(&model.picture_options())?;
        let mut set = part(args, split, &task)?;
        if let Some(named) = model.named(&set)? {
            set = Arc::new(named);
        }
        check_set(&model.config, &normalise, &set)?;
        Ok(Self {
            folder,
            head,
            normalise,
            task,
            split,
            set,
        })
    }

    fn load(&self, args: &EvalArgs) -> Result<Classifier, CliError> {
        let device = args.run.device.open();
        let mut model = match &self.head {
            None => self.folder.load_as_stored(&device)?,
            Some(head) => {
                let mut model = head.load(&device)?;
                let prefix = args.images.head_prefix.as_deref().unwrap_or(HEAD_PREFIX);
                model.replace_body(&self.folder, prefix)?;
                model
            }
        };
        model.normalise = self.normalise.clone();
        Ok(model)
    }

    fn summary(&self, args: &EvalArgs) -> Summary {
        Summary::of(args, self.folder.num_values(), self.split, &self.set)
    }
}

/// Where images come from, and which part of them is looked at.
pub(super) fn asked(args: &EvalArgs) -> Result<(TaskSource, Split), CliError> {
    let source = parse_source(&args.data);
    let source = source.map_err(|words| CliError::plain(Exit::Usage, words))?;
    let split = Split::from_str(args.split(), true).map_err(|_| {
        let words = format!(
            "--split `{}`, expected `train`, `val` or `test`",
            args.split()
        );
        CliError::plain(Exit::Usage, words)
    })?;
    Ok((source, split))
}

/// The images that are looked at.
pub(super) fn part(args: &EvalArgs, split: Split, task: &Task) -> Result<Arc<ImageSet>, CliError> {
    let set = match split {
        Split::Train => task.train(),
        Split::Val => task.val(),
        Split::Test => task.test(),
    };
    let set = match args.images.limit {
        Some(limit) => Arc::new(set.sample_stratified(limit, args.run.seed())),
        None => Arc::clone(set),
    };
    if set.is_empty() {
        let words = "there is no image to score";
        return Err(CliError::plain(Exit::BadInput, words));
    }
    Ok(set)
}

/// What a dry run prints.
#[derive(Serialize)]
pub(super) struct Summary {
    model: PathBuf,
    parameters: u64,
    data: String,
    split: Split,
    images: usize,
    classes: usize,
}

impl Summary {
    pub(super) fn of(args: &EvalArgs, parameters: u64, split: Split, set: &ImageSet) -> Self {
        Self {
            model: args.path.clone(),
            parameters,
            data: args.data.clone(),
            split,
            images: set.len(),
            classes: set.class_count(),
        }
    }
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        let split = serde_json::to_value(self.split).unwrap_or_default();
        format!(
            "model       {}: {} values\ndata        {}, part {}: {} images, {} classes\nnothing was computed (dry run)",
            self.model.display(),
            count(self.parameters),
            self.data,
            split.as_str().unwrap_or_default(),
            count(self.images as u64),
            self.classes,
        )
    }
}

/// What an evaluation prints.
#[derive(Serialize)]
pub(super) struct Scored {
    model: String,
    data: String,
    split: Split,
    #[serde(flatten)]
    score: Score,
}

impl Scored {
    pub(super) fn new(args: &EvalArgs, task: &Task, split: Split, score: Score) -> Self {
        Self {
            model: args.path.display().to_string(),
            data: task.name().to_owned(),
            split,
            score,
        }
    }
}

impl Show for Scored {
    fn text(&self, ui: &Ui) -> String {
        let score = &self.score;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let mut text = format!(
            "accuracy    {} ({} of {} images)\nbalanced    {} (mean over classes)\nguessing    {} (largest class)\n",
            percent(score.accuracy),
            score.correct,
            score.images,
            percent(score.balanced_accuracy),
            percent(score.majority),
        );
        if ui.verbose() {
            for (class, share) in &score.per_class {
                let _ = writeln!(text, "  {:<24}{}", visible_name(class), percent(*share));
            }
        }
        text
    }
}
