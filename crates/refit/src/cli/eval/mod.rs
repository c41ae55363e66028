//! `refit eval`.

mod images;
mod text;
mod words;

use super::{
    args::RunArgs,
    error::{CliError, Exit},
    ui::Ui,
};
use crate::{
    classifier::CONFIG,
    family::{self, Shown},
    text::{object, setting},
};
use std::path::PathBuf;

/// Score a model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it or as `refit train` and `refit merge` write it, or a .safetensors file \
with --model. Images: accuracy of a classifier, by the names of its classes where its folder tells them, or of a CLIP \
that is asked for the names of the data's; a merged model has the head of its base, and --head takes the one of an \
expert. Texts: what the head of the model is for says what is measured, and --task chooses where there is a choice:

  classification  accuracy, macro F1 and Matthews correlation of columns `label` and `text` (pairs: `text_b` too); for \
an encoder with the --head that `refit tune` wrote
  regression      Pearson and Spearman correlation of columns `score` and `text`
  tagging         F1 of the spans that tags mark, of a CoNLL file
  language        perplexity of running text, in a sliding window
  answers         exact match and word F1 of columns `question` and `answer` (and `context` for a model that marks \
answers in one)
  retrieval       how high the right one of all texts stands, of columns `query` and `text`
  similarity      Pearson and Spearman correlation of cosines with columns `score`, `text_a` and `text_b`

Tables are TSV with a header, lines of JSON objects, or Parquet; gzip is unpacked.

Examples:
  refit eval runs/digits --data generated:digits
  refit eval models/writer --data sentences.txt --window 8")]
pub(super) struct EvalArgs {
    /// Folder or .safetensors file
    #[arg(value_name = "MODEL")]
    path: PathBuf,
    /// Images: .npz, folder or generated:NAME, as for `refit train`. Texts: a file
    #[arg(long, value_name = "DATA")]
    data: String,
    /// Part of the data (report `test` once, choose on `val`) [default: test]
    #[arg(long, value_name = "PART")]
    split: Option<String>,
    /// Take the classifier from this model; of texts, the folder `head` that `refit tune` wrote
    #[arg(long, value_name = "MODEL")]
    head: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Images")]
    images: ImageArgs,
    #[command(flatten, next_help_heading = "Texts")]
    texts: TextArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// Flags for models that read images.
#[derive(Debug, clap::Args)]
struct ImageArgs {
    /// Architecture (JSON), for a checkpoint that has none beside it
    #[arg(long, value_name = "CONFIG.json")]
    model: Option<PathBuf>,
    /// How tensors of the classifier begin (Hugging Face's name) [default: classifier.]
    #[arg(long, value_name = "PREFIX", requires = "head")]
    head_prefix: Option<String>,
    /// What pixels go through [default: what the model's folder says, or nothing]
    #[arg(long, value_enum)]
    normalise: Option<images::NormaliseName>,
    /// What is said of a picture of a class to a CLIP, {} stands for its name; may be given several times [default: a photo of a {}.]
    #[arg(long, value_name = "TEXT")]
    hypothesis: Vec<String>,
    /// Look at this many images only, a share of every class, drawn by --seed
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Images per forward pass (ours) [default: 250]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Option<u32>,
}

/// Flags for models that read text.
#[derive(Debug, clap::Args)]
struct TextArgs {
    /// What is measured [default: by the head of the model]
    #[arg(long, value_enum)]
    task: Option<text::TaskName>,
    /// Tokens to which texts are cut [default: as many as the model reads]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Tokens that the model sees at once, for perplexity [default: as many as it reads]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Tokens by which the window moves on [default: half of it]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Most tokens of a written answer (ours) [default: 32]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
}

impl EvalArgs {
    /// The part of the data that is looked at.
    fn split(&self) -> &str {
        self.split.as_deref().unwrap_or("test")
    }
}

pub(super) fn run(args: &EvalArgs, ui: &Ui) -> Result<(), CliError> {
    let (images, texts) = (&args.images, &args.texts);
    let shown = shown(args)?;
    if shown == Some(Shown::Texts) {
        without_effect(
            "texts",
            &[
                ("--model", images.model.is_some()),
                ("--head-prefix", images.head_prefix.is_some()),
                ("--normalise", images.normalise.is_some()),
                ("--limit", images.limit.is_some()),
                ("--batch", images.batch.is_some()),
                ("--hypothesis", !images.hypothesis.is_empty()),
            ],
        )?;
        return text::run(args, ui);
    }
    if shown.is_some() {
        without_effect(
            "images",
            &[
                ("--task", texts.task.is_some()),
                ("--max-length", texts.max_length.is_some()),
                ("--window", texts.window.is_some()),
                ("--stride", texts.stride.is_some()),
                ("--max-tokens", texts.max_tokens.is_some()),
            ],
        )?;
    }
    if shown == Some(Shown::Both) {
        return words::run(args, ui);
    }
    if !images.hypothesis.is_empty() {
        let words = "--hypothesis has no effect on a model with classes of its own";
        return Err(CliError::plain(Exit::Usage, words));
    }
    images::run(args, ui)
}

/// What the model is shown; `None` where nothing is there that says so.
fn shown(args: &EvalArgs) -> Result<Option<Shown>, CliError> {
    let file = args.path.join(CONFIG);
    if !args.path.is_dir() || !file.exists() {
        return Ok(args.images.model.as_ref().map(|_| Shown::Pictures));
    }
    let keys = object(&file);
    if args.images.model.is_some() {
        // An architecture from elsewhere goes before one that cannot be used.
        let known = keys.ok().and_then(|keys| family::shown(&keys).ok());
        return Ok(Some(known.unwrap_or(Shown::Pictures)));
    }
    let shown = family::shown(&keys?).map_err(setting(&file))?;
    Ok(Some(shown))
}

/// Refuses flags that would change nothing.
fn without_effect(what: &str, flags: &[(&str, bool)]) -> Result<(), CliError> {
    match flags.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            let words = format!("{flag} has no effect on a model that reads {what}");
            Err(CliError::plain(Exit::Usage, words))
        }
    }
}
