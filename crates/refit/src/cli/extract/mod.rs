//! `refit extract`.

mod show;

use super::{
    args::{RunArgs, check_not_input, check_place, overwrite},
    error::CliError,
    hub::{HubArgs, hub_env},
    ui::Ui,
};
use crate::{
    merging::{ExtractJob, ExtractOptions, MergingError, parse_bytes},
    run::{InputFile, RunError, RunFolder, RunRecord},
};
use clap::ValueEnum;
use refit_core::{DType, StopReason};
use refit_merge::{
    MergeError,
    adapter::{Embeddings, ExtractConfig, Others},
};
use serde::Serialize;
use show::Done;
use std::path::PathBuf;

/// Extract a LoRA adapter from a fine-tuned model and its base
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The change of every linear layer is cut to its largest singular components; the output is a PEFT adapter. What is no \
linear layer goes with it as a whole, what did not change is left out, and extraction.json lists what every tensor \
lost. `refit merge` folds the adapter in where a recipe says `model: BASE+DIR`. Ctrl-C leaves nothing.

Examples:
  refit extract runs/digits --base runs/base --skip layers.1. --out runs/digits-adapter --dry-run
  refit extract runs/digits --base runs/base --skip layers.1. --out runs/digits-adapter")]
pub(super) struct ExtractArgs {
    /// Fine-tuned model: a folder, a file, a name in the cache of the hub; `MODEL+ADAPTER` folds an adapter in
    #[arg(value_name = "FINETUNED")]
    model: String,
    /// The model that it was fine-tuned from
    #[arg(long, value_name = "BASE")]
    base: String,
    /// New folder for everything that is written; appears complete or not at all
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Most components of a matrix
    #[arg(long, value_name = "N", default_value_t = ExtractConfig::default().rank)]
    rank: usize,
    /// Share of the squared change to keep, by as few components as that takes; --rank still holds
    #[arg(long, value_name = "SHARE")]
    energy: Option<f64>,
    /// What becomes of embeddings and heads
    #[arg(long, value_enum, default_value_t = EmbeddingsName::Whole)]
    embeddings: EmbeddingsName,
    /// What becomes of norms, biases and convolutions
    #[arg(long, value_enum, default_value_t = OthersName::Whole)]
    others: OthersName,
    /// Leave out tensors whose names begin so, such as heads of different tasks; may be given several times
    #[arg(long, value_name = "PREFIX")]
    skip: Vec<String>,
    /// Element type of the factors; what goes as a whole keeps its own
    #[arg(long, value_enum, default_value_t = DTypeName::Float32)]
    dtype: DTypeName,
    /// Most memory for tensors that are worked on side by side, such as 4GiB; one tensor may need more
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "2GiB")]
    memory: u64,
    /// Replace the output of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What becomes of embeddings and heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EmbeddingsName {
    /// They go with the adapter as they are
    Whole,
    /// They become factors
    LowRank,
    /// They are not looked at
    LeaveOut,
}

/// What becomes of what is neither a linear layer nor an embedding or a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OthersName {
    /// They go with the adapter as they are, biases of linear layers as differences
    Whole,
    /// They are not looked at: the adapter is factors alone, as an `adapter_method` wants it
    LeaveOut,
    /// One that changed is an error
    Refuse,
}

/// Element types of adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DTypeName {
    /// 24 bits of precision
    Float32,
    /// 11 bits, values up to 65504
    Float16,
    /// 8 bits, values as large as those of float32
    Bfloat16,
}

/// What the record says.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings<'a> {
    model: &'a str,
    base: &'a str,
    options: &'a ExtractOptions,
}

pub(super) fn run(args: &ExtractArgs, ui: &Ui) -> Result<(), CliError> {
    check_place(&args.out, args.force)?;
    args.run.start_threads()?;
    let options = args.options();
    let (model, base, hub) = (&args.model, &args.base, &args.hub);
    hub.bring(&args.run, ui, |env| {
        ExtractJob::download(model, base, env, ui)
    })?;
    let job = ExtractJob::open(model, base, options.clone()).map_err(|error| hub.absent(error))?;
    let files = job.files();
    let read = [files.clone(), job.folders()].concat();
    check_not_input(&args.out, read.iter().map(PathBuf::as_path))?;
    if args.run.dry_run {
        return ui.show(&job.summary());
    }
    for warning in job.warnings(&args.out) {
        ui.say(format_args!("warning: {warning}"));
    }
    let settings = Settings {
        model,
        base,
        options: &options,
    };
    let settings = serde_json::to_value(&settings).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("extract", device, threads, args.run.seed(), settings);
    let inputs = files.iter().map(|file| InputFile::sample(file));
    record.inputs = inputs.collect::<Result<_, RunError>>()?;
    let folder = RunFolder::create(&args.out, overwrite(args.force), record)?;
    ui.listen();
    let found = match job.run(folder.path(), ui) {
        Ok(found) => found,
        Err(error) => {
            // What went wrong first is what the user should hear of.
            let _ = folder.discard();
            return Err(match error {
                MergingError::Merge(MergeError::Cancelled) => CliError::interrupted(),
                error @ MergingError::Merge(MergeError::NotFinite { .. }) => {
                    CliError::from(error).hint("look at the model with `refit info`")
                }
                error => error.into(),
            });
        }
    };
    if !found.entangled.is_empty() {
        let names = found.entangled.join("`, `");
        ui.say(format_args!(
            "warning: PEFT cannot load `{names}`, which share a module with others; `refit merge` can"
        ));
    }
    let seconds = folder.elapsed();
    let out = folder.finish(StopReason::Done)?;
    ui.show(&Done {
        out,
        seconds,
        found,
    })
}

impl ExtractArgs {
    fn options(&self) -> ExtractOptions {
        ExtractOptions {
            config: ExtractConfig {
                rank: self.rank,
                energy: self.energy,
                embeddings: match self.embeddings {
                    EmbeddingsName::Whole => Embeddings::Whole,
                    EmbeddingsName::LowRank => Embeddings::LowRank,
                    EmbeddingsName::LeaveOut => Embeddings::LeaveOut,
                },
                others: match self.others {
                    OthersName::Whole => Others::Whole,
                    OthersName::LeaveOut => Others::LeaveOut,
                    OthersName::Refuse => Others::Refuse,
                },
                skip: self.skip.clone(),
                dtype: match self.dtype {
                    DTypeName::Float32 => DType::F32,
                    DTypeName::Float16 => DType::F16,
                    DTypeName::Bfloat16 => DType::BF16,
                },
                seed: self.run.seed(),
            },
            memory_bytes: self.memory,
            cache: hub_env().cache,
        }
    }
}
