//! Scores of models that read text.

use super::{
    super::{
        error::{CliError, Exit},
        ui::{Show, Ui},
    },
    EvalArgs,
};
use crate::{
    report::count,
    text::{
        Embedder, TextClassifier, TextFolder, TextHead, WriteSettings, Writing, open_head,
        read_running,
        score::{
            AnswerScore, ClassScore, LanguageConfig, LanguageScore, RetrievalScore,
            SimilarityScore, TagScore, TextData, check_answers, check_classes, check_numbers,
            check_one_label, check_retrieval, check_similarity, check_spans, check_tags,
            score_answers, score_classes, score_language, score_numbers, score_retrieval,
            score_similarity, score_spans, score_tags,
        },
    },
    visible::visible_name,
};
use clap::ValueEnum;
use refit_nn::zoo::{Sampling, TextTask};
use refit_text::Day;
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TaskName {
    /// Classes of texts
    Classification,
    /// A number for every text
    Regression,
    /// Tags of words
    Tagging,
    /// The next word of running text
    Language,
    /// Answers to questions
    Answers,
    /// The text that belongs to a query
    Retrieval,
    /// How alike two texts are
    Similarity,
}

/// Most tokens of a written answer.
const ANSWER_TOKENS: usize = 32;

pub(super) fn run(args: &EvalArgs, ui: &Ui) -> Result<(), CliError> {
    let mut folder = TextFolder::open(&args.path)?;
    if let Some(longest) = args.texts.max_length {
        folder = folder.cut_to(longest)?;
    }
    let head = open_head(args.head.as_deref())?;
    let task = task(args, &folder, head.is_some())?;
    check_flags(args, task)?;
    if task == TaskName::Classification {
        check_one_label(&folder, head.as_ref())?;
    }
    if task == TaskName::Language {
        language(args).sizes(folder.config.size().longest)?;
    }
    args.run.start_threads()?;
    if args.run.dry_run {
        let parameters = folder.num_values();
        check_data(args, task, folder, head.as_ref())?;
        return ui.show(&Summary {
            model: args.path.clone(),
            parameters,
            data: args.data.clone(),
            split: part(args, task),
            task,
        });
    }
    ui.listen();
    let score = score(args, task, folder, head, ui)?;
    ui.show(&Scored {
        model: args.path.display().to_string(),
        data: args.data.clone(),
        split: part(args, task),
        task,
        score,
    })
}

/// What is asked for, or what the head of the model is for.
fn task(args: &EvalArgs, folder: &TextFolder, head: bool) -> Result<TaskName, CliError> {
    if let Some(task) = args.texts.task {
        return Ok(task);
    }
    Ok(match folder.config.task() {
        TextTask::Sequence { classes: 1 } => TaskName::Regression,
        TextTask::Sequence { .. } => TaskName::Classification,
        TextTask::Token { .. } => TaskName::Tagging,
        TextTask::Span | TextTask::Answer => TaskName::Answers,
        TextTask::NextWord => TaskName::Language,
        TextTask::States if head => TaskName::Classification,
        _ => {
            let words = format!(
                "`{}` has no head that says what is measured",
                args.path.display()
            );
            let hint = "give --task retrieval or --task similarity, or --head with what `refit tune` wrote";
            return Err(CliError::plain(Exit::Usage, words).hint(hint));
        }
    })
}

/// Whether the data of a task is a table, whose column `split` tells parts.
fn has_parts(task: TaskName) -> bool {
    !matches!(task, TaskName::Language | TaskName::Tagging)
}

/// The part that was asked for, where there are parts.
fn part(args: &EvalArgs, task: TaskName) -> Option<String> {
    has_parts(task).then(|| args.split().to_owned())
}

fn check_flags(args: &EvalArgs, task: TaskName) -> Result<(), CliError> {
    let texts = &args.texts;
    let language = task == TaskName::Language;
    for (flag, given, used) in [
        ("--window", texts.window.is_some(), language),
        ("--stride", texts.stride.is_some(), language),
        (
            "--max-tokens",
            texts.max_tokens.is_some(),
            task == TaskName::Answers,
        ),
        ("--max-length", texts.max_length.is_some(), !language),
        ("--split", args.split.is_some(), has_parts(task)),
        (
            "--head",
            args.head.is_some(),
            task == TaskName::Classification,
        ),
    ] {
        if given && !used {
            let words = format!("{flag} has no effect on --task {}", name(task));
            return Err(CliError::plain(Exit::Usage, words));
        }
    }
    Ok(())
}

/// Refuses what a run would refuse for its rows, its columns or the head of the model.
fn check_data(
    args: &EvalArgs,
    task: TaskName,
    folder: TextFolder,
    head: Option<&TextHead>,
) -> Result<(), CliError> {
    let path = Path::new(&args.data);
    let data = TextData {
        path,
        part: args.split(),
    };
    match task {
        TaskName::Classification => {
            check_classes(data, &TextClassifier::check(&folder, head)?)?;
        }
        TaskName::Regression => {
            TextClassifier::check(&folder, None)?;
            check_numbers(data)?;
        }
        TaskName::Tagging => check_tags(&folder, path)?,
        TaskName::Language => drop(read_running(path)?),
        TaskName::Answers if folder.config.task() == TextTask::Span => check_spans(&folder, data)?,
        TaskName::Answers => check_answers(&Writing::new(folder, answers(args))?, data)?,
        TaskName::Retrieval => check_retrieval(data)?,
        TaskName::Similarity => check_similarity(data)?,
    }
    Ok(())
}

fn score(
    args: &EvalArgs,
    task: TaskName,
    folder: TextFolder,
    head: Option<TextHead>,
    ui: &Ui,
) -> Result<Score, CliError> {
    let device = args.run.device.open();
    let path = Path::new(&args.data);
    let data = TextData {
        path,
        part: args.split(),
    };
    Ok(match task {
        TaskName::Classification => {
            let model = TextClassifier::load(folder, head, &device)?;
            Score::Classes(score_classes(&model, data, ui)?)
        }
        TaskName::Regression => {
            let model = TextClassifier::load(folder, None, &device)?;
            Score::Numbers(score_numbers(&model, data, ui)?)
        }
        TaskName::Tagging => Score::Tags(score_tags(folder, path, &device, ui)?),
        TaskName::Language => {
            let text = read_running(path)?;
            Score::Language(score_language(folder, &text, language(args), &device, ui)?)
        }
        TaskName::Answers if folder.config.task() == TextTask::Span => {
            Score::Answers(score_spans(folder, data, &device, ui)?)
        }
        TaskName::Answers => {
            let model = Writing::new(folder, answers(args))?.load(&device)?;
            Score::Answers(score_answers(&model, data, ui)?)
        }
        TaskName::Retrieval => {
            let model = Embedder::load(folder, &device)?;
            Score::Retrieval(score_retrieval(&model, data, ui)?)
        }
        TaskName::Similarity => {
            let model = Embedder::load(folder, &device)?;
            Score::Numbers(score_similarity(&model, data, ui)?)
        }
    })
}

fn language(args: &EvalArgs) -> LanguageConfig {
    LanguageConfig {
        window: args.texts.window,
        stride: args.texts.stride,
    }
}

/// An answer is the most probable line.
fn answers(args: &EvalArgs) -> WriteSettings {
    WriteSettings {
        chat: false,
        system: None,
        day: Day::now(),
        sampling: Sampling::default(),
        most: args.texts.max_tokens.unwrap_or(ANSWER_TOKENS),
        stops: vec!["\n".into()],
        ignore_end: false,
        batch: 8,
        seed: args.run.seed(),
    }
}

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    model: PathBuf,
    parameters: u64,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    task: TaskName,
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        format!(
            "model       {}: {} values\ndata        {}{}\ntask        {}\nnothing was computed (dry run)",
            self.model.display(),
            count(self.parameters),
            self.data,
            self.split
                .as_ref()
                .map_or_else(String::new, |part| format!(", part {part}")),
            name(self.task),
        )
    }
}

fn name(task: TaskName) -> String {
    let value = task.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

#[derive(Serialize)]
#[serde(untagged)]
enum Score {
    Classes(ClassScore),
    Numbers(SimilarityScore),
    Tags(TagScore),
    Language(LanguageScore),
    Answers(AnswerScore),
    Retrieval(RetrievalScore),
}

/// What an evaluation prints.
#[derive(Serialize)]
struct Scored {
    model: String,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    task: TaskName,
    #[serde(flatten)]
    score: Score,
}

impl Show for Scored {
    fn text(&self, ui: &Ui) -> String {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        match &self.score {
            Score::Classes(score) => {
                let mut text = format!(
                    "accuracy    {} ({} of {} texts)\nmacro F1    {}\nMatthews    {:.3}\nguessing    {} (largest class)\n",
                    percent(score.accuracy),
                    score.correct,
                    score.texts,
                    percent(score.macro_f1),
                    score.matthews,
                    percent(score.majority),
                );
                if ui.verbose() {
                    for (class, f1) in &score.per_class {
                        let _ = writeln!(text, "  {:<24}F1 {}", visible_name(class), percent(*f1));
                    }
                }
                text + &cut(score.cut)
            }
            Score::Numbers(score) => format!(
                "Pearson     {:.4}\nSpearman    {:.4} ({} texts; no relation gives 0)\n{}",
                score.pearson,
                score.spearman,
                score.texts,
                cut(score.cut)
            ),
            Score::Tags(score) => format!(
                "span F1     {} (precision {}, recall {}, {} spans)\naccuracy    {} of {} words (most common tag: {})\n{}",
                percent(score.f1),
                percent(score.precision),
                percent(score.recall),
                score.spans,
                percent(score.accuracy),
                count(score.words as u64),
                percent(score.majority),
                match score.unread {
                    0 => String::new(),
                    words => format!("unread      {words} words beyond what the model reads\n"),
                }
            ),
            Score::Language(score) => format!(
                "perplexity  {:.3} of {} tokens (all words alike: {})\nbits        {:.4} per byte\nwindow      {} tokens, moved by {}\n",
                score.perplexity,
                count(score.tokens as u64),
                score.uniform,
                score.bits_per_byte,
                score.window,
                score.stride,
            ),
            Score::Answers(score) => format!(
                "exact match {} of {} questions\nword F1     {}\n",
                percent(score.exact_match),
                score.questions,
                percent(score.token_f1),
            ),
            Score::Retrieval(score) => format!(
                "first right {} of {} queries among {} texts\nrecall@10   {} (by chance {})\nMRR@10      {:.4}\nnDCG@10     {:.4}\n{}",
                percent(score.accuracy),
                score.queries,
                count(score.documents as u64),
                percent(score.recall_at_10),
                percent(score.chance_recall_at_10),
                score.mrr_at_10,
                score.ndcg_at_10,
                cut(score.cut)
            ),
        }
    }
}

/// Says that texts were cut, where some were.
fn cut(texts: usize) -> String {
    match texts {
        0 => String::new(),
        texts => format!("cut         {texts} texts may have been cut to what the model reads\n"),
    }
}
