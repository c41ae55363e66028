//! `refit classify`.

use super::{
    args::RunArgs,
    error::{CliError, Exit},
    rows::{BLOCK, Block, PICTURES, Rows, pictures},
    ui::{Show, Ui},
};
use crate::{
    classifier::ModelFolder,
    family::{Shown, family},
    pictures::{ClipFolder, PictureClassifier, Seen},
    report::count,
    text::{Labelled, TextClassifier, TextFolder, ZeroShot, object, open_head, read_lines},
    told::Told,
    visible::visible_name,
};
use clap::value_parser;
use serde::Serialize;
use std::path::PathBuf;

/// Tell classes of texts or pictures
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it: config.json, weights; for texts tokenizer.json, for pictures \
preprocessor_config.json. Its own classes are told (ViT, DINOv2 and ResNet tell those of pictures); those of a --head \
that `refit tune` wrote, for an encoder; or any --label, by a model that says whether one text follows from another \
(MNLI), or of pictures by a CLIP. Every text or picture is a JSON object on a line of its own: the text or the path, its \
label, and the probability of each.

Examples:
  refit classify models/all-MiniLM-L6-v2 --head runs/head/head --input sentences.txt
  refit classify models/mnli --label sport --label music --input sentences.txt --json")]
pub(super) struct ClassifyArgs {
    /// Folder of a model that reads texts or sees pictures
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Texts, one per line; or a picture or a folder of pictures
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Folder `head` that `refit tune` wrote
    #[arg(long, value_name = "DIR")]
    head: Option<PathBuf>,
    /// A class in words; twice or more
    #[arg(long, value_name = "WORDS", conflicts_with = "head")]
    label: Vec<String>,
    /// What is said if it is of a class; {} stands for the label; of pictures, may be given several times [default: This example is {}., of a picture: a photo of a {}.]
    #[arg(long, value_name = "TEXT", requires = "label")]
    hypothesis: Vec<String>,
    /// Labels do not exclude each other: each has a probability of its own
    #[arg(long, requires = "label")]
    several: bool,
    /// Tell so many of the most probable classes, the best first [default: all, in their order]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Tokens to which texts are cut [default: as many as the model reads]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

impl ClassifyArgs {
    /// As much of a class as is asked for.
    fn shown(&self, class: Told) -> Told {
        match self.top {
            Some(top) => class.top(top as usize),
            None => class,
        }
    }
}

pub(super) fn run(args: &ClassifyArgs, ui: &Ui) -> Result<(), CliError> {
    let keys = object(&args.model.join("config.json"))?;
    match Shown::to(family(&keys)) {
        Some(Shown::Pictures) => return see(args, ui),
        Some(Shown::Both) => return compare(args, ui),
        _ => {}
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
        let hypothesis = match &args.hypothesis[..] {
            [] => None,
            [one] => Some(one.as_str()),
            _ => {
                let words = "several --hypothesis are for a model that sees pictures";
                return Err(CliError::plain(Exit::Usage, words));
            }
        };
        Ok(ZeroShot::new(
            &args.label,
            hypothesis,
            args.several,
            &names,
        )?)
    });
    let zero_shot = zero_shot.transpose()?;
    let texts = read_lines(&args.input)?;
    args.run.start_threads()?;
    if args.run.dry_run {
        return ui.show(&Summary {
            model: args.model.clone(),
            parameters: folder.num_values(),
            inputs: texts.len(),
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
    let mut rows = Rows::begin(ui, "classify", "texts", texts.len());
    let mut read = || {
        let mut all_cut = 0;
        for (at, block) in texts.chunks(BLOCK).enumerate() {
            let found = match &zero_shot {
                Some(zero_shot) => zero_shot.label(&model, block, &Block(ui)),
                None => model.label(block, &Block(ui)),
            };
            let (found, cut) = found.map_err(|error| error.after(at * BLOCK))?;
            all_cut += cut;
            rows.print(found.into_iter().map(|text| Labelled {
                class: args.shown(text.class),
                ..text
            }))?;
        }
        Ok(all_cut)
    };
    let done = read();
    let cut = rows.end(done)?;
    if cut > 0 {
        ui.say(format_args!(
            "{} readings had {longest} tokens or more; what came after was not read",
            count(cut as u64),
        ));
    }
    Ok(())
}

/// Classes of pictures by the head of a model.
fn see(args: &ClassifyArgs, ui: &Ui) -> Result<(), CliError> {
    let words = "a model that tells its own classes of pictures";
    without_effect(args, words, &[("--label", !args.label.is_empty())])?;
    let folder = ModelFolder::open(&args.model)?;
    let labels = PictureClassifier::check(&folder)?;
    if let Some(words) = folder.assumption() {
        ui.say(words);
    }
    look(args, folder.num_values(), labels, ui, || {
        let device = args.run.device.open();
        Ok(PictureClassifier::load(&folder, &device)?)
    })
}

/// Classes of pictures in words.
fn compare(args: &ClassifyArgs, ui: &Ui) -> Result<(), CliError> {
    without_effect(args, "a model that sees pictures", &[])?;
    PictureClassifier::check_words(&args.label, &args.hypothesis)?;
    let folder = ClipFolder::open(&args.model)?;
    look(args, folder.num_values(), args.label.clone(), ui, || {
        let device = args.run.device.open();
        let (labels, said) = (&args.label, &args.hypothesis);
        Ok(PictureClassifier::in_words(folder, labels, said, &device)?)
    })
}

/// Looks at pictures with the model that `load` reads.
fn look(
    args: &ClassifyArgs,
    parameters: u64,
    labels: Vec<String>,
    ui: &Ui,
    load: impl FnOnce() -> Result<PictureClassifier, CliError>,
) -> Result<(), CliError> {
    let pictures = pictures(&args.input, ui)?;
    args.run.start_threads()?;
    if args.run.dry_run {
        return ui.show(&Summary {
            model: args.model.clone(),
            parameters,
            inputs: pictures.len(),
            labels,
        });
    }
    ui.listen();
    let model = load()?;
    let mut rows = Rows::begin(ui, "classify", "pictures", pictures.len());
    let done = pictures.chunks(PICTURES).try_for_each(|block| {
        let found = model.label(block, &Block(ui))?;
        rows.print(found.into_iter().map(|picture| Seen {
            class: args.shown(picture.class),
            ..picture
        }))
    });
    rows.end(done)
}

/// Refuses flags that would change nothing.
fn without_effect(args: &ClassifyArgs, model: &str, more: &[(&str, bool)]) -> Result<(), CliError> {
    let flags = [
        ("--head", args.head.is_some()),
        ("--several", args.several),
        ("--max-length", args.max_length.is_some()),
    ];
    let mut flags = more.iter().chain(&flags);
    match flags.find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            let words = format!("{flag} has no effect on {model}");
            Err(CliError::plain(Exit::Usage, words))
        }
    }
}

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    model: PathBuf,
    parameters: u64,
    inputs: usize,
    labels: Vec<String>,
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|label| visible_name(label))
            .collect();
        format!(
            "model       {}: {} values\ninputs      {}\nlabels      {}\nnothing was computed (dry run)",
            self.model.display(),
            count(self.parameters),
            count(self.inputs as u64),
            labels.join("; "),
        )
    }
}
