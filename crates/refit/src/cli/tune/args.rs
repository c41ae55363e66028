//! What `refit tune` takes.

use crate::{
    cli::{
        args::RunArgs,
        solvers::{SETTLED, SolverArgs, differ, told},
    },
    fitting::StartName,
    tuning::LoraConfig,
};
use std::path::PathBuf;

/// Fit a head, or a head and adapters, to labelled texts on a pre-trained encoder, to a certified point
#[derive(Debug, clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
MODEL is a folder as Hugging Face publishes it, such as that of a sentence encoder. Data: a line for each text, \
`label<TAB>text`, or with a header that names columns `label` and `text`, or a JSON object with these keys; plain or \
gzip. Where there is a column `split`, --data takes its rows `train` and --test those called `test`, so both may be one \
file. With --method head a linear classifier is fitted to the vectors of the texts: its loss is convex and in double \
precision. With --method lora the encoder itself is trained by additions of low rank, in single precision, and the \
folder `adapter` is one for PEFT, and for `MODEL+runs/lora/adapter` in a recipe of `refit merge`. Solvers, samples and certificates are those of \
`refit fit`. A run that was stopped, by Ctrl-C or otherwise, is in RUN.part; --resume goes on, to the same bits as \
without a break.

Examples:
  refit tune models/all-MiniLM-L6-v2 --data questions.tsv --test questions.tsv \\
      --out runs/head
  refit tune models/all-MiniLM-L6-v2 --data questions.tsv --method lora \\
      --rank 1 --solver tr,adamw --budget-steps 3 --out runs/lora"
)]
pub(in crate::cli) struct TuneArgs {
    /// Folder of an encoder
    #[arg(value_name = "MODEL", required_unless_present = "resume")]
    pub(super) model: Option<PathBuf>,
    /// Labelled texts to fit
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub(super) data: Option<PathBuf>,
    /// Labelled texts to test on
    #[arg(long, value_name = "FILE")]
    pub(super) test: Option<PathBuf>,
    /// What is fitted
    #[arg(long, value_enum, default_value_t = MethodName::Head)]
    pub(super) method: MethodName,
    /// Tokens to which texts are cut [default: as many as the model reads]
    #[arg(long, value_name = "N")]
    pub(super) max_length: Option<usize>,
    /// Go on with an interrupted run, its data and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = DECIDED.iter().chain(&SETTLED).copied())]
    pub(super) resume: Option<PathBuf>,
    /// New folder for everything that is written; appears complete or not at all
    #[arg(short, long, value_name = "DIR", required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,
    #[command(flatten)]
    pub(super) head: HeadArgs,
    #[command(flatten)]
    pub(super) lora: LoraArgs,
    #[command(flatten)]
    pub(super) solvers: SolverArgs,
}

/// What decides what is tuned, of which an interrupted run has its own.
const DECIDED: [&str; 14] = [
    "out",
    "model",
    "data",
    "test",
    "method",
    "max_length",
    "seed",
    "ridge",
    "start",
    "start_scale",
    "rank",
    "alpha",
    "targets",
    "layers",
];

/// Methods by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum MethodName {
    /// A linear classifier on the vectors of the texts
    Head,
    /// A linear classifier, and additions of low rank to weights of the encoder
    Lora,
}

/// Settings of a head.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Head")]
pub(super) struct HeadArgs {
    /// Factor of |w|^2 / 2; biases aside for a head alone, all parameters with adapters
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(super) ridge: f64,
    /// Where every solver begins [default: zeros]
    #[arg(long, value_enum)]
    pub(super) start: Option<StartName>,
    /// Factor on the start
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) start_scale: f64,
}

/// Settings of adapters.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Adapters")]
pub(super) struct LoraArgs {
    /// Rank of every addition (PEFT)
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(super) rank: usize,
    /// An addition is multiplied by this over the rank (PEFT)
    #[arg(long, value_name = "X", default_value_t = 8.0)]
    pub(super) alpha: f64,
    /// Maps that get an addition, by the last part of their name (PEFT, for BERT)
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "query,value"
    )]
    pub(super) targets: Vec<String>,
    /// Only those of the last N layers [default: all]
    #[arg(long, value_name = "N")]
    pub(super) layers: Option<usize>,
}

impl TuneArgs {
    /// Flags that were given and change nothing.
    pub(super) fn idle(&self) -> Vec<String> {
        let (usual, given) = (LoraConfig::default(), &self.lora);
        let is_lora = self.method == MethodName::Lora;
        let moved = self
            .head
            .start
            .is_some_and(|start| start != StartName::Zeros);
        let mut found = self.solvers.idle();
        found.extend(told(&[
            (
                "--method lora",
                is_lora,
                &[
                    ("rank", given.rank != usual.rank),
                    ("alpha", differ(given.alpha, usual.alpha)),
                    ("targets", given.targets != usual.targets),
                    ("layers", given.layers.is_some()),
                ],
            ),
            (
                "another start than zeros",
                moved || is_lora,
                &[("start-scale", differ(self.head.start_scale, 1.0))],
            ),
        ]));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::solvers::unsettled;

    #[test]
    fn an_interrupted_run_has_its_own_of_every_flag_that_decides() {
        assert_eq!(unsettled::<TuneArgs>(&DECIDED), ["resume", "save_every"]);
    }
}
