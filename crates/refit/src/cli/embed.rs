//! `refit embed`.

use super::{
    args::{RunArgs, check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    ui::{Show, Ui},
};
use crate::{
    report::count,
    text::{Embedder, Embeddings, TextFolder, TextModelError, read_lines},
};
use refit_core::{DType, Progress, Sink, TensorMeta};
use refit_io::ckpt::{CheckpointWriter, WriteOptions, encode_f32};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Turn texts into vectors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it: config.json, weights, tokenizer.json, and for sentence encoders \
modules.json and what it names. Without those a vector is the mean of a text's tokens. Vectors go to stdout as they are \
done, one JSON list per line or with --json one document, or as the tensor `embeddings` into --out.

Examples:
  refit embed models/all-MiniLM-L6-v2 --input sentences.txt > vectors.jsonl
  refit embed models/all-MiniLM-L6-v2 --input sentences.txt --out vectors.safetensors")]
pub(super) struct EmbedArgs {
    /// Folder of an encoder or a decoder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Texts, one per line
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

/// Texts whose vectors are held together.
const BLOCK: usize = 4096;

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
    let mut folder = TextFolder::open(&args.model)?;
    if let Some(longest) = args.max_length {
        folder = folder.cut_to(longest)?;
    }
    let texts = read_lines(&args.input)?;
    args.run.start_threads()?;
    if args.run.dry_run {
        return ui.show(&Summary {
            model: args.model.clone(),
            parameters: folder.num_values(),
            texts: texts.len(),
            width: folder.config.size().hidden,
            longest: folder.longest,
        });
    }
    ui.listen();
    let longest = folder.longest;
    let embedder = Embedder::load(folder, &args.run.device.open())?;
    let job = Job {
        embedder: &embedder,
        texts: &texts,
        ui,
    };
    let cut = match &args.out {
        Some(out) => job.write(out, args.force)?,
        None => job.print()?,
    };
    if cut > 0 {
        ui.say(format_args!(
            "{} of {} texts have {longest} tokens or more; what came after was not read",
            count(cut as u64),
            count(texts.len() as u64)
        ));
    }
    Ok(())
}

/// Texts and what turns them into vectors.
struct Job<'a> {
    embedder: &'a Embedder,
    texts: &'a [String],
    ui: &'a Ui,
}

impl Job<'_> {
    /// Tells the vectors of one block of texts after the other; returns how many texts may have been cut.
    fn each(
        &self,
        mut tell: impl FnMut(&Embeddings) -> Result<(), CliError>,
    ) -> Result<usize, CliError> {
        let (texts, mut cut) = (self.texts, 0);
        self.ui.begin("embed", Some(texts.len() as u64));
        for (at, block) in texts.chunks(BLOCK).enumerate() {
            let done = at * BLOCK;
            let found = self.embedder.embed(block, &Block(self.ui));
            let found = found.map_err(|error| match error {
                TextModelError::NoToken { text } => TextModelError::NoToken { text: text + done },
                TextModelError::NotFinite { text } => {
                    TextModelError::NotFinite { text: text + done }
                }
                error => error,
            })?;
            cut += found.cut;
            tell(&found)?;
        }
        Ok(cut)
    }

    /// Prints a list on each line, or one document, as vectors become known: what was printed stays when the work is cut.
    fn print(&self) -> Result<usize, CliError> {
        let (json, mut printed) = (self.ui.json(), 0);
        if json {
            self.ui.line("{\"embeddings\": [")?;
        }
        let done = self.each(|found| {
            let mut text = String::new();
            for row in found.values.chunks(found.width) {
                text += match (json, printed) {
                    (false, _) => "",
                    (true, 0) => "\n",
                    (true, _) => ",\n",
                };
                text += &serde_json::to_string(row).unwrap_or_default();
                text += if json { "" } else { "\n" };
                printed += 1;
            }
            self.ui.line(&text)
        });
        let cut = done.map_err(|error| {
            if error.exit() != Exit::Interrupted {
                return error;
            }
            let all = self.texts.len();
            let words = format!("interrupted; {printed} of {all} vectors are printed");
            CliError::plain(Exit::Interrupted, words)
        })?;
        self.ui.finish();
        if json {
            self.ui.line("\n]}\n")?;
        }
        Ok(cut)
    }

    /// Writes all vectors as one tensor.
    fn write(&self, out: &Path, force: bool) -> Result<usize, CliError> {
        let mut all = Vec::new();
        let cut = self.each(|found| {
            all.extend_from_slice(&found.values);
            Ok(())
        })?;
        let width = self.embedder.width();
        let meta = TensorMeta {
            path: "embeddings".into(),
            dtype: DType::F32,
            shape: vec![self.texts.len(), width],
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
        self.ui.show(&Written {
            out: out.into(),
            texts: self.texts.len(),
            width,
        })?;
        Ok(cut)
    }
}

/// Hears how far a block is, which is a part of a longer phase.
struct Block<'a>(&'a Ui);

impl Progress for Block<'_> {
    fn begin(&self, _phase: &str, _total: Option<u64>) {}

    fn advance(&self, units: u64) {
        self.0.advance(units);
    }

    fn note(&self, _text: &str) {}

    fn cancelled(&self) -> bool {
        self.0.stopped()
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

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    model: PathBuf,
    parameters: u64,
    texts: usize,
    width: usize,
    longest: usize,
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        format!(
            "model       {}: {} values\ntexts       {}, cut to {} tokens\nvectors     {} entries each\nnothing was computed (dry run)",
            self.model.display(),
            count(self.parameters),
            count(self.texts as u64),
            count(self.longest as u64),
            self.width,
        )
    }
}

/// What goes to stdout when a file was written.
#[derive(Serialize)]
struct Written {
    out: PathBuf,
    texts: usize,
    width: usize,
}

impl Show for Written {
    fn text(&self, _: &Ui) -> String {
        format!(
            "{} vectors of {} entries in {}",
            count(self.texts as u64),
            self.width,
            self.out.display()
        )
    }
}
