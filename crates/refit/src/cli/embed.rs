//! `refit embed`.

use super::{
    args::{RunArgs, check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    rows::{BLOCK, Block, PICTURES, Rows, pictures},
    ui::{Show, Ui},
};
use crate::{
    classifier::{ClassifierError, ModelFolder},
    family::{Shown, family},
    pictures::{ClipEmbedder, ClipFolder, PictureEmbedder},
    report::count,
    text::{Embedder, Embeddings, TextFolder, TextModelError, object, read_lines},
};
use refit_core::{DType, Progress as _, Sink, TensorMeta};
use refit_io::{
    ckpt::{CheckpointWriter, WriteOptions, encode_f32},
    data::is_named_as_picture,
};
use serde::Serialize;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Turn texts or pictures into vectors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it: config.json, weights, tokenizer.json, and for sentence encoders \
modules.json and what it names. Without those a vector is the mean of a text's tokens. Of a picture it is the class \
token (ViT, DINOv2) or the mean of the last map (ResNet), by preprocessing of preprocessor_config.json; a CLIP reads \
texts and sees pictures, in one space. Vectors go to stdout as they are done, one JSON list per line or with --json one document, or as the tensor \
`embeddings` into --out; those of a folder of pictures come by path.

Examples:
  refit embed models/all-MiniLM-L6-v2 --input sentences.txt > vectors.jsonl
  refit embed models/all-MiniLM-L6-v2 --input sentences.txt --out vectors.safetensors")]
pub(super) struct EmbedArgs {
    /// Folder of a model that reads texts or sees pictures
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Texts, one per line; or a picture or a folder of pictures
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// New .safetensors file for the vectors
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace --out
    #[arg(long, requires = "out")]
    force: bool,
    /// Tokens to which texts are cut [default: as many as the model reads]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(super) fn run(args: &EmbedArgs, ui: &Ui) -> Result<(), CliError> {
    if let Some(out) = &args.out {
        let ending = out.extension().is_some_and(|end| end == "safetensors");
        if !ending {
            let words = format!("--out `{}` does not end in .safetensors", out.display());
            return Err(CliError::plain(Exit::Usage, words));
        }
        check_place(out, args.force)?;
        check_not_input(out, [args.input.as_path(), args.model.as_path()])?;
    }
    let keys = object(&args.model.join("config.json"))?;
    let shown = Shown::to(family(&keys));
    let are_pictures = args.input.is_dir() || is_named_as_picture(&args.input);
    match shown {
        Some(Shown::Pictures) => see(args, ui),
        Some(Shown::Both) if are_pictures => see_by_clip(args, ui),
        Some(Shown::Both) => read_by_clip(args, ui),
        _ => read(args, ui),
    }
}

/// Texts by a model that reads them.
fn read(args: &EmbedArgs, ui: &Ui) -> Result<(), CliError> {
    let mut folder = TextFolder::open(&args.model)?;
    if let Some(longest) = args.max_length {
        folder = folder.cut_to(longest)?;
    }
    let texts = read_lines(&args.input)?;
    let (longest, width) = (folder.longest, folder.config.size().hidden);
    let plan = Plan::of_texts(args, folder.num_values(), texts.len(), (width, longest));
    plan.carry_out(args, ui, &texts, || {
        let embedder = Embedder::load(folder, &args.run.device.open())?;
        Ok(move |block: &[String]| embedder.embed(block, &Block(ui)).map_err(Failed::Text))
    })
}

/// Texts by a CLIP.
fn read_by_clip(args: &EmbedArgs, ui: &Ui) -> Result<(), CliError> {
    let mut folder = ClipFolder::open(&args.model)?;
    if let Some(longest) = args.max_length {
        folder = folder.cut_to(longest)?;
    }
    let texts = read_lines(&args.input)?;
    let sizes = (folder.width(), folder.longest());
    let plan = Plan::of_texts(args, folder.num_values(), texts.len(), sizes);
    plan.carry_out(args, ui, &texts, || {
        let embedder = ClipEmbedder::load(folder, &args.run.device.open())?;
        Ok(move |block: &[String]| embedder.texts(block, &Block(ui)).map_err(Failed::Text))
    })
}

/// Pictures by a CLIP.
fn see_by_clip(args: &EmbedArgs, ui: &Ui) -> Result<(), CliError> {
    check_no_length(args)?;
    let folder = ClipFolder::open(&args.model)?;
    let pictures = pictures(&args.input, ui)?;
    let (values, width) = (folder.num_values(), folder.width());
    let plan = Plan::of_pictures(args, values, pictures.len(), width);
    plan.carry_out(args, ui, &pictures, || {
        let embedder = ClipEmbedder::load(folder, &args.run.device.open())?;
        Ok(move |block: &[PathBuf]| {
            embedder
                .pictures(block, &Block(ui))
                .map_err(Failed::Picture)
        })
    })
}

/// Pictures by a model that sees them.
fn see(args: &EmbedArgs, ui: &Ui) -> Result<(), CliError> {
    check_no_length(args)?;
    let folder = ModelFolder::open(&args.model)?;
    let width = PictureEmbedder::check(&folder)?;
    if let Some(words) = folder.assumption() {
        ui.say(words);
    }
    let pictures = pictures(&args.input, ui)?;
    let plan = Plan::of_pictures(args, folder.num_values(), pictures.len(), width);
    plan.carry_out(args, ui, &pictures, || {
        let embedder = PictureEmbedder::load(&folder, &args.run.device.open())?;
        Ok(move |block: &[PathBuf]| embedder.embed(block, &Block(ui)).map_err(Failed::Picture))
    })
}

/// Refuses a flag that would change nothing.
fn check_no_length(args: &EmbedArgs) -> Result<(), CliError> {
    match args.max_length {
        None => Ok(()),
        Some(_) => {
            let words = "--max-length has no effect on pictures";
            Err(CliError::plain(Exit::Usage, words))
        }
    }
}

/// Why a block became no vectors.
enum Failed {
    Text(TextModelError),
    Picture(ClassifierError),
}

impl Failed {
    /// The same of a block behind so many inputs.
    fn after(self, inputs: usize) -> CliError {
        match self {
            Self::Text(error) => error.after(inputs).into(),
            Self::Picture(error) => error.into(),
        }
    }
}

impl Plan {
    /// Shows the plan, or turns `inputs` into vectors by what `load` reads.
    fn carry_out<T, F>(
        self,
        args: &EmbedArgs,
        ui: &Ui,
        inputs: &[T],
        load: impl FnOnce() -> Result<F, CliError>,
    ) -> Result<(), CliError>
    where
        F: Fn(&[T]) -> Result<Embeddings, Failed>,
    {
        args.run.start_threads()?;
        if args.run.dry_run {
            return ui.show(&self);
        }
        ui.listen();
        let embed = load()?;
        let job = Job {
            inputs,
            block: if self.pictures.is_some() {
                PICTURES
            } else {
                BLOCK
            },
            width: self.width,
            embed: &embed,
            ui,
        };
        let cut = match &args.out {
            Some(out) => job.write(out, args.force)?,
            None => job.print()?,
        };
        if let (1.., Some(longest)) = (cut, self.longest) {
            ui.say(format_args!(
                "{} of {} texts have {longest} tokens or more; what came after was not read",
                count(cut as u64),
                count(inputs.len() as u64)
            ));
        }
        Ok(())
    }
}

/// Inputs and what turns them into vectors.
struct Job<'a, T, F> {
    inputs: &'a [T],
    /// Those whose vectors are held together.
    block: usize,
    width: usize,
    embed: &'a F,
    ui: &'a Ui,
}

impl<T, F: Fn(&[T]) -> Result<Embeddings, Failed>> Job<'_, T, F> {
    /// Tells the vectors of one block of inputs after the other; returns how many texts may have been cut.
    fn each(
        &self,
        mut tell: impl FnMut(&Embeddings) -> Result<(), CliError>,
    ) -> Result<usize, CliError> {
        let mut cut = 0;
        for (at, block) in self.inputs.chunks(self.block).enumerate() {
            let found = (self.embed)(block);
            let found = found.map_err(|error| error.after(at * self.block))?;
            cut += found.cut;
            tell(&found)?;
        }
        Ok(cut)
    }

    /// Prints the vectors.
    fn print(&self) -> Result<usize, CliError> {
        let mut rows = Rows::begin(self.ui, "embed", "embeddings", self.inputs.len());
        let done = self.each(|found| rows.print(found.values.chunks(found.width)));
        rows.end(done)
    }

    /// Writes all vectors as one tensor.
    fn write(&self, out: &Path, force: bool) -> Result<usize, CliError> {
        let (vectors, width) = (self.inputs.len(), self.width);
        let mut all = Vec::new();
        self.ui.begin("embed", Some(vectors as u64));
        let cut = self.each(|found| {
            all.extend_from_slice(&found.values);
            Ok(())
        })?;
        let meta = TensorMeta {
            path: "embeddings".into(),
            dtype: DType::F32,
            shape: vec![vectors, width],
        };
        let options = WriteOptions {
            overwrite: overwrite(force),
            ..WriteOptions::default()
        };
        let mut writer = CheckpointWriter::create(out, vec![meta.clone()], options)?;
        // Invariant: as many values as the shape says, in a dtype that holds them.
        let bytes = encode_f32(&meta, &all).unwrap_or_default();
        writer.put(&meta, &bytes)?;
        writer.finish()?;
        let out = out.into();
        self.ui.show(&Written {
            out,
            vectors,
            width,
        })?;
        Ok(cut)
    }
}

impl From<TextModelError> for CliError {
    fn from(error: TextModelError) -> Self {
        match error {
            TextModelError::Interrupted => Self::interrupted(),
            TextModelError::Checkpoint(error) => error.into(),
            error => Self::bad_input(&error),
        }
    }
}

/// What is to be done; a dry run prints it.
#[derive(Serialize)]
struct Plan {
    model: PathBuf,
    parameters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    texts: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pictures: Option<usize>,
    width: usize,
    /// Tokens to which texts are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    longest: Option<usize>,
}

impl Plan {
    fn of_texts(
        args: &EmbedArgs,
        parameters: u64,
        texts: usize,
        (width, longest): (usize, usize),
    ) -> Self {
        Self {
            model: args.model.clone(),
            parameters,
            texts: Some(texts),
            pictures: None,
            width,
            longest: Some(longest),
        }
    }

    fn of_pictures(args: &EmbedArgs, parameters: u64, pictures: usize, width: usize) -> Self {
        Self {
            model: args.model.clone(),
            parameters,
            texts: None,
            pictures: Some(pictures),
            width,
            longest: None,
        }
    }
}

impl Show for Plan {
    fn text(&self, _: &Ui) -> String {
        let number = |n: usize| count(n as u64);
        let mut text = format!(
            "model       {}: {} values\n",
            self.model.display(),
            count(self.parameters)
        );
        if let (Some(texts), Some(longest)) = (self.texts, self.longest) {
            let (texts, longest) = (number(texts), number(longest));
            let _ = writeln!(text, "texts       {texts}, cut to {longest} tokens");
        }
        if let Some(pictures) = self.pictures {
            let _ = writeln!(text, "pictures    {}", number(pictures));
        }
        let _ = writeln!(text, "vectors     {} entries each", self.width);
        text + "nothing was computed (dry run)"
    }
}

/// What goes to stdout when a file was written.
#[derive(Serialize)]
struct Written {
    out: PathBuf,
    vectors: usize,
    width: usize,
}

impl Show for Written {
    fn text(&self, _: &Ui) -> String {
        format!(
            "{} vectors of {} entries in {}",
            count(self.vectors as u64),
            self.width,
            self.out.display()
        )
    }
}
