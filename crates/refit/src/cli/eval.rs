//! `refit eval`.

use super::{
    args::RunArgs,
    error::{CliError, Exit},
    model::parse_source,
    ui::{Show, Ui},
};
use crate::{
    classifier::{Classifier, ModelFolder, Score, check_set, read_config},
    report::count,
    source::{TaskSource, folder_options},
    visible::visible_name,
};
use clap::ValueEnum;
use refit_core::Source;
use refit_io::data::{ImageSet, Normalise, Task};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf, sync::Arc};

/// Score an image classifier
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as `refit train` and `refit merge` write it, or a .safetensors file with --model. A merged \
model has the head of its base; --head takes the one of an expert.

Examples:
  refit eval runs/digits --data generated:digits
  refit eval runs/digits --data generated:digits --split val --json")]
pub(super) struct EvalArgs {
    /// Folder or .safetensors file
    #[arg(value_name = "MODEL")]
    path: PathBuf,
    /// Images: .npz, folder or generated:NAME, as for `refit train`
    #[arg(long, value_name = "DATA", value_parser = parse_source)]
    data: TaskSource,
    /// Part of the data (report `test` once, choose on `val`)
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Architecture (JSON), for a checkpoint that has none beside it
    #[arg(long, value_name = "CONFIG.json")]
    model: Option<PathBuf>,
    /// Take the classifier from this model
    #[arg(long, value_name = "MODEL")]
    head: Option<PathBuf>,
    /// How tensors of the classifier begin (Hugging Face's name)
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "classifier.",
        requires = "head"
    )]
    head_prefix: String,
    /// What pixels go through [default: what the model's folder says, or nothing]
    #[arg(long, value_enum)]
    normalise: Option<NormaliseName>,
    /// Look at this many images only, a share of every class, drawn by --seed
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Images per forward pass (ours)
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Split {
    Train,
    Val,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NormaliseName {
    /// Pixels between 0 and 1
    None,
    /// Customary statistics of MNIST
    Mnist,
    /// Customary statistics of ImageNet
    Imagenet,
}

pub(super) fn run(args: &EvalArgs, ui: &Ui) -> Result<(), CliError> {
    let plan = Plan::make(args)?;
    if args.run.dry_run {
        return ui.show(&plan.summary(args));
    }
    let model = plan.load(args)?;
    ui.listen();
    let score = model.score(&plan.set, args.batch as usize, ui)?;
    ui.show(&Scored {
        model: args.path.display().to_string(),
        data: plan.task.name().to_owned(),
        split: args.split,
        score,
    })
}

/// A checked evaluation: headers and images are read, weights are not.
struct Plan {
    folder: ModelFolder,
    /// The model whose classifier is taken.
    head: Option<ModelFolder>,
    normalise: Normalise,
    task: Task,
    set: Arc<ImageSet>,
}

impl Plan {
    fn make(args: &EvalArgs) -> Result<Self, CliError> {
        let folder = match &args.model {
            Some(config) => ModelFolder::open_with(&args.path, read_config(config)?)?,
            None => ModelFolder::open(&args.path)?,
        };
        let head = args.head.as_deref().map(ModelFolder::open).transpose()?;
        args.run.start_threads()?;
        let model = head.as_ref().unwrap_or(&folder);
        let normalise = match args.normalise {
            None => model.normalise()?,
            Some(NormaliseName::None) => {
                let channels = model.normalise()?.mean().len();
                Normalise::new(vec![0.0; channels], vec![1.0; channels])?
            }
            Some(NormaliseName::Mnist) => Normalise::mnist(),
            Some(NormaliseName::Imagenet) => Normalise::imagenet(),
        };
        let task = args.data.read(&folder_options(&model.config))?;
        let set = part(args, &task);
        if set.is_empty() {
            return Err(CliError::plain(
                Exit::BadInput,
                "there is no image to score",
            ));
        }
        check_set(&model.config, &normalise, &set)?;
        Ok(Self {
            folder,
            head,
            normalise,
            task,
            set,
        })
    }

    fn load(&self, args: &EvalArgs) -> Result<Classifier, CliError> {
        let device = args.run.device.open();
        let mut model = match &self.head {
            None => self.folder.load(&device)?,
            Some(head) => {
                let mut model = head.load(&device)?;
                model.replace_body(&self.folder, &args.head_prefix)?;
                model
            }
        };
        model.normalise = self.normalise.clone();
        Ok(model)
    }

    fn summary(&self, args: &EvalArgs) -> Summary {
        let tensors = self.folder.checkpoint.tensors();
        Summary {
            model: args.path.clone(),
            parameters: tensors.iter().map(|m| m.len() as u64).sum(),
            data: args.data.to_string(),
            split: args.split,
            images: self.set.len(),
            classes: self.set.class_count(),
        }
    }
}

/// The images that are looked at.
fn part(args: &EvalArgs, task: &Task) -> Arc<ImageSet> {
    let set = match args.split {
        Split::Train => task.train(),
        Split::Val => task.val(),
        Split::Test => task.test(),
    };
    match args.limit {
        Some(limit) => Arc::new(set.sample_stratified(limit, args.run.seed())),
        None => Arc::clone(set),
    }
}

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    model: PathBuf,
    parameters: u64,
    data: String,
    split: Split,
    images: usize,
    classes: usize,
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
struct Scored {
    model: String,
    data: String,
    split: Split,
    #[serde(flatten)]
    score: Score,
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
