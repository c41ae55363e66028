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
use refit_core::{DType, Sink, TensorMeta};
use refit_io::ckpt::{CheckpointWriter, WriteOptions, encode_f32};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Turn texts into vectors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it: config.json, weights, tokenizer.json, and for sentence encoders \
modules.json and what it names. Without those a vector is the mean of a text's tokens. Vectors go to stdout, one JSON \
list per line, or as the tensor `embeddings` into --out.

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
    let folder = TextFolder::open(&args.model)?;
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
    let found = embedder.embed(&texts, ui)?;
    if found.cut > 0 {
        ui.say(format_args!(
            "{} of {} texts have {longest} tokens or more; what came after was not read",
            count(found.cut as u64),
            count(texts.len() as u64)
        ));
    }
    match &args.out {
        Some(out) => {
            write(out, &found, args.force)?;
            ui.show(&Written {
                out: out.clone(),
                texts: texts.len(),
                width: found.width,
            })
        }
        None if ui.json() => ui.show(&Vectors {
            embeddings: found.values.chunks(found.width).collect(),
        }),
        None => ui.print(&lines(&found)),
    }
}

/// One JSON list per line.
fn lines(found: &Embeddings) -> String {
    let rows = found.values.chunks(found.width);
    let line = |row| serde_json::to_string(row).unwrap_or_default() + "\n";
    rows.map(|row: &[f32]| line(row)).collect()
}

fn write(out: &Path, found: &Embeddings, force: bool) -> Result<(), CliError> {
    let meta = TensorMeta {
        path: "embeddings".into(),
        dtype: DType::F32,
        shape: vec![found.values.len() / found.width, found.width],
    };
    let options = WriteOptions {
        overwrite: overwrite(force),
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(out, vec![meta.clone()], options)?;
    // Invariant: as many values as the shape says, in a dtype that holds them.
    let bytes = encode_f32(&meta, &found.values).unwrap_or_default();
    writer.put(&meta, &bytes)?;
    Ok(writer.finish()?)
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

/// What goes to stdout with `--json`.
#[derive(Serialize)]
struct Vectors<'a> {
    embeddings: Vec<&'a [f32]>,
}

impl Show for Vectors<'_> {
    fn text(&self, _: &Ui) -> String {
        String::new() // printed as lines instead
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
