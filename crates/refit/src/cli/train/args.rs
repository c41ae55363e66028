//! What `refit train` takes.

use crate::{
    classifier::{AugmentName, FitSettings, OptimizerName},
    cli::{args::RunArgs, model::parse_source},
    source::TaskSource,
};
use std::path::PathBuf;

/// Train an image classifier
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Data: an .npz file with train, val and test parts, a folder of pictures (DIR/CLASS/*.png), of IDX files or of \
CIFAR binaries, or generated:NAME (digits, letters, shapes, textures, counting, arrows, faces, scripts). The \
number of classes comes from the data. A run that was stopped, by Ctrl-C or otherwise, is in RUN.part; --resume \
goes on from its last saved state, to the same bits as without a break.

Examples:
  refit train --data generated:scripts --model recipes/models/mlp.json \\
      --out runs/base
  refit train --data generated:digits --init runs/base --out runs/digits")]
pub(in crate::cli) struct TrainArgs {
    /// Images to learn from
    #[arg(long, value_name = "DATA", value_parser = parse_source, required_unless_present = "resume")]
    pub(super) data: Option<TaskSource>,
    /// Architecture (JSON); `recipes/models/` holds some
    #[arg(long, value_name = "CONFIG.json", required_unless_present_any = ["resume", "init"])]
    pub(super) model: Option<PathBuf>,
    /// Start from this model instead of from fresh weights
    #[arg(long, value_name = "MODEL", conflicts_with = "model")]
    pub(super) init: Option<PathBuf>,
    /// Go on with an interrupted run, its data and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "out", "data", "model", "init", "seed", "steps", "batch", "optimizer", "rate", "decay", "warmup", "smoothing", "augment",
    ])]
    pub(super) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(super) fit: FitArgs,
    /// Seconds of work that a kill may cost: the state is saved that often; 0 is after every step (ours) [default: 60]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(super) save_every: Option<u64>,
    /// New folder for everything that is written; appears complete or not at all
    #[arg(short, long, value_name = "DIR", required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
pub(super) struct FitArgs {
    /// Optimiser steps; the origin of defaults is in brackets (ours)
    #[arg(long, value_name = "N", default_value_t = FitSettings::default().steps)]
    steps: u64,
    /// Images per step (ours)
    #[arg(long, value_name = "N", default_value_t = FitSettings::default().batch)]
    batch: usize,
    /// Optimiser (ours)
    #[arg(long, value_enum, default_value_t = OptimizerName::Adamw)]
    optimizer: OptimizerName,
    /// Peak learning rate (usual for AdamW)
    #[arg(long, value_name = "X", default_value_t = FitSettings::default().rate)]
    rate: f64,
    /// Weight decay (ours)
    #[arg(long, value_name = "X", default_value_t = FitSettings::default().decay)]
    decay: f64,
    /// Steps until the peak is reached; a cosine follows (ours)
    #[arg(long, value_name = "N", default_value_t = FitSettings::default().warmup)]
    warmup: u64,
    /// Label smoothing, a share in [0, 1) (ours)
    #[arg(long, value_name = "X", default_value_t = FitSettings::default().smoothing)]
    smoothing: f32,
    /// How training images are varied (ours)
    #[arg(long, value_enum, default_value_t = AugmentName::None)]
    augment: AugmentName,
}

impl FitArgs {
    pub(super) const fn settings(&self) -> FitSettings {
        FitSettings {
            steps: self.steps,
            batch: self.batch,
            optimizer: self.optimizer,
            rate: self.rate,
            decay: self.decay,
            warmup: self.warmup,
            smoothing: self.smoothing,
            augment: self.augment,
        }
    }
}
