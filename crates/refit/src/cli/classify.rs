//! `refit classify`.

use super::{
    args::RunArgs,
    error::{CliError, Exit},
    ui::{Show, Ui},
};
use crate::{
    clip::{ClipFolder, PictureClassifier},
    report::count,
    text::{Labelled, TextClassifier, TextFolder, ZeroShot, open_head, read_lines},
};
use refit_io::data::find_pictures;
use serde::Serialize;
use std::path::PathBuf;

/// Tell classes of texts or pictures
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it: config.json, weights, tokenizer.json. Its own classes are told; those of \
a --head that `refit tune` wrote, for an encoder; or any --label, by a model that says whether one text follows from \
another (MNLI). A CLIP model tells which --label fits a picture. Every text or picture is a JSON object on a line of its \
own: the text or the path, its label, and the probability of each.

Examples:
  refit classify models/all-MiniLM-L6-v2 --head runs/head/head --input sentences.txt
  refit classify models/mnli --label sport --label music --input sentences.txt --json")]
pub(super) struct ClassifyArgs {
    /// Folder of a model that reads text, or of a CLIP model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Texts, one per line; for CLIP a picture or a folder of pictures
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Folder `head` that `refit tune` wrote
    #[arg(long, value_name = "DIR")]
    head: Option<PathBuf>,
    /// A class in words; twice or more
    #[arg(long, value_name = "WORDS", conflicts_with = "head")]
    label: Vec<String>,
    /// What a text says if it is of a class; {} stands for the label [default: This example is {}., of a picture: a photo of a {}.]
    #[arg(long, value_name = "TEXT", requires = "label")]
    hypothesis: Option<String>,
    /// Labels do not exclude each other: each has a probability of its own
    #[arg(long, requires = "label")]
    several: bool,
    /// Tokens to which texts are cut [default: as many as the model reads]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(super) fn run(args: &ClassifyArgs, ui: &Ui) -> Result<(), CliError> {
    if ClipFolder::is_one(&args.model) {
        return see(args, ui);
    }
    let mut folder = TextFolder::open(&args.model)?;
    if let Some(longest) = args.max_length {
        folder = folder.cut_to(longest)?;
    }
    let head = open_head(args.head.as_deref())?;
    let names = TextClassifier::check(&folder, head.as_ref())?;
    if names.len() < 2 {
        let words = format!("`{}` gives a number and no classes", args.model.display());
        return Err(CliError::plain(Exit::BadInput, words)
            .hint("`refit eval --task regression` says how good its numbers are"));
    }
    let zero_shot = (!args.label.is_empty()).then(|| {
        let hypothesis = args.hypothesis.as_deref();
        ZeroShot::new(&args.label, hypothesis, args.several, &names)
    });
    let zero_shot = zero_shot.transpose()?;
    let texts = read_lines(&args.input)?;
    args.run.start_threads()?;
    if args.run.dry_run {
        return ui.show(&Summary {
            model: args.model.clone(),
            parameters: folder.num_values(),
            texts: texts.len(),
            labels: if args.label.is_empty() {
                names
            } else {
                args.label.clone()
            },
        });
    }
    ui.listen();
    let longest = folder.longest;
    let model = TextClassifier::load(folder, head, &args.run.device.open())?;
    let (found, cut) = match &zero_shot {
        Some(zero_shot) => zero_shot.label(&model, &texts, ui)?,
        None => model.label(&texts, ui)?,
    };
    if cut > 0 {
        ui.say(format_args!(
            "{} readings had {longest} tokens or more; what came after was not read",
            count(cut as u64),
        ));
    }
    show(found, ui)
}

/// Classes of pictures.
fn see(args: &ClassifyArgs, ui: &Ui) -> Result<(), CliError> {
    for (flag, given) in [
        ("--head", args.head.is_some()),
        ("--several", args.several),
        ("--max-length", args.max_length.is_some()),
    ] {
        if given {
            let words = format!("{flag} has no effect on a model that sees pictures");
            return Err(CliError::plain(Exit::Usage, words));
        }
    }
    let hypothesis = args.hypothesis.as_deref();
    PictureClassifier::check(&args.label, hypothesis)?;
    let folder = ClipFolder::open(&args.model)?;
    let pictures = find_pictures(&args.input)?;
    args.run.start_threads()?;
    if args.run.dry_run {
        return ui.show(&Summary {
            model: args.model.clone(),
            parameters: folder.num_values(),
            texts: pictures.len(),
            labels: args.label.clone(),
        });
    }
    ui.listen();
    let device = args.run.device.open();
    let model = PictureClassifier::load(folder, &args.label, hypothesis, &device)?;
    show(model.label(&pictures, ui)?, ui)
}

fn show(found: Vec<Labelled>, ui: &Ui) -> Result<(), CliError> {
    if ui.json() {
        return ui.print_json(&Found { texts: found });
    }
    let line = |text: &Labelled| serde_json::to_string(text).unwrap_or_default() + "\n";
    ui.print(&found.iter().map(line).collect::<String>())
}

/// What goes to stdout with `--json`.
#[derive(Serialize)]
struct Found {
    texts: Vec<Labelled>,
}

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    model: PathBuf,
    parameters: u64,
    texts: usize,
    labels: Vec<String>,
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        format!(
            "model       {}: {} values\ninputs      {}\nlabels      {}\nnothing was computed (dry run)",
            self.model.display(),
            count(self.parameters),
            count(self.texts as u64),
            self.labels.join(", "),
        )
    }
}
