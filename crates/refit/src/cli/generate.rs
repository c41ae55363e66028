//! `refit generate`.

use super::{
    args::RunArgs,
    error::{CliError, Exit},
    ui::{Show, Ui},
};
use crate::{
    report::count,
    text::{
        Heard, Prompts, TextFolder, TextModelError, WriteSettings, Writer, Writing, Written,
        read_lines,
    },
};
use refit_core::Unwatched;
use refit_nn::zoo::Sampling;
use refit_text::Day;
use serde::Serialize;
use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf};

/// Let a model write on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MODEL is a folder as Hugging Face publishes it: config.json, weights, tokenizer.json. One --prompt is answered on stdout \
as the words come; of several, and of --input, every answer is a JSON object on a line of its own. The most probable \
word is taken unless --temperature says otherwise, whatever generation_config.json says; of that file the words that end \
a text are read.

Examples:
  refit generate models/writer --prompt \"learn from\" --max-tokens 8
  refit generate models/writer --input sentences.txt --temperature 0.8 --top-p 0.95 \\
      --max-tokens 8 > answers.jsonl")]
pub(super) struct GenerateArgs {
    /// Folder of a decoder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Text to write on after; may be given several times
    #[arg(
        short,
        long,
        value_name = "TEXT",
        conflicts_with = "input",
        required_unless_present = "input"
    )]
    prompt: Vec<String>,
    /// Texts to write on after, one per line
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Prompts are what a user says, put into the model's chat template
    #[arg(long)]
    chat: bool,
    /// What the system says before, in a chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// The day that a chat template is told, such as 2026-02-03 [default: today, in UTC]
    #[arg(long, value_name = "DAY", requires = "chat")]
    date: Option<Day>,
    /// Most tokens of an answer; 0 leaves it to the model (ours)
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// Scores are divided by it; 0 takes the most probable word
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f64,
    /// Draw from so many of the most probable words; 0 from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Draw from the fewest words whose probabilities reach this sum
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Scores of words that occurred are divided by it (multiplied where negative)
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    repetition_penalty: f64,
    /// Text before which an answer ends, or a word that writes nothing; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Write on after words that end a text
    #[arg(long)]
    ignore_end: bool,
    /// Prompts that are read together (ours)
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(super) fn run(args: &GenerateArgs, ui: &Ui) -> Result<(), CliError> {
    let draws = args.top_k > 0 || args.top_p < 1.0;
    if draws && args.temperature == 0.0 {
        let words =
            "--top-k and --top-p choose among words to draw from, and --temperature 0 draws none";
        return Err(CliError::plain(Exit::Usage, words).hint("give --temperature 1 too"));
    }
    let folder = TextFolder::open(&args.model)?;
    let texts = match &args.input {
        Some(path) => read_lines(path)?,
        None => args.prompt.clone(),
    };
    let summary = Summary {
        model: args.model.clone(),
        parameters: folder.num_values(),
        prompts: texts.len(),
        max_tokens: args.max_tokens,
        longest: folder.config.size().longest,
    };
    let job = Writing::new(folder, settings(args))?;
    let prompts = job.prompts(texts)?;
    args.run.start_threads()?;
    if args.run.dry_run {
        return ui.show(&summary);
    }
    ui.listen();
    let writer = job.load(&args.run.device.open())?;
    if ui.json() {
        let answers = writer.write(&prompts, &mut |_| ControlFlow::Continue(()), ui)?;
        return ui.print_json(&Answers { answers });
    }
    if summary.prompts == 1 && args.input.is_none() {
        return stream(&writer, &prompts, ui);
    }
    lines(&writer, &prompts, ui)
}

/// Prints the words of one answer as they come.
fn stream(writer: &Writer, prompts: &Prompts, ui: &Ui) -> Result<(), CliError> {
    let mut printed = Ok(());
    let mut tell = |heard: Heard<'_>| match heard {
        Heard::Piece(piece) => {
            printed = ui.stream(piece);
            stop_if(printed.is_err())
        }
        Heard::Done(..) => ControlFlow::Continue(()),
    };
    let done = writer.write(prompts, &mut tell, &Unwatched(ui));
    printed?;
    done?;
    ui.print("\n")
}

/// Prints every answer on a line of its own, as soon as it and those before it are done: what was written stays when
/// the work is cut.
fn lines(writer: &Writer, prompts: &Prompts, ui: &Ui) -> Result<(), CliError> {
    let (mut printed, mut waiting, mut next) = (Ok(()), BTreeMap::new(), 0);
    let mut tell = |heard: Heard<'_>| {
        if let Heard::Done(at, answer) = heard {
            let line = serde_json::to_string(answer).unwrap_or_default() + "\n";
            waiting.insert(at, line);
            while let Some(line) = waiting.remove(&next).filter(|_| printed.is_ok()) {
                printed = ui.line(&line);
                next += 1;
            }
        }
        stop_if(printed.is_err())
    };
    let done = writer.write(prompts, &mut tell, ui);
    ui.finish();
    printed?;
    match done {
        Err(TextModelError::Interrupted) => {
            let words = format!(
                "interrupted; {next} of {} answers are printed",
                prompts.len()
            );
            Err(CliError::plain(Exit::Interrupted, words))
        }
        done => Ok(done.map(|_| ())?),
    }
}

fn stop_if(broken: bool) -> ControlFlow<()> {
    if broken {
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

fn settings(args: &GenerateArgs) -> WriteSettings {
    WriteSettings {
        chat: args.chat,
        system: args.system.clone(),
        day: args.date.unwrap_or_else(Day::now),
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            repetition_penalty: args.repetition_penalty,
        },
        most: args.max_tokens,
        stops: args.stop.clone(),
        ignore_end: args.ignore_end,
        batch: args.batch.into(),
        seed: args.run.seed(),
    }
}

/// What goes to stdout with `--json`.
#[derive(Serialize)]
struct Answers {
    answers: Vec<Written>,
}

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    model: PathBuf,
    parameters: u64,
    prompts: usize,
    max_tokens: usize,
    longest: usize,
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        format!(
            "model       {}: {} values\nprompts     {}\nanswers     at most {} tokens each, {} with their prompt\nnothing was computed (dry run)",
            self.model.display(),
            count(self.parameters),
            count(self.prompts as u64),
            if self.max_tokens == 0 {
                self.longest
            } else {
                self.max_tokens
            },
            count(self.longest as u64),
        )
    }
}
