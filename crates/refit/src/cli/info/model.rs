//! What a folder says of its model, and whether its tensors are those of it.

use crate::{
    classifier::{CONFIG, ModelFolder},
    family::{Shown, class_names, family},
    pictures::ClipFolder,
    report::count,
    text::{TextFolder, TextModelError, TextRole, object},
    visible::visible_name,
};
use refit_core::{ConfigError, Hint};
use refit_io::ckpt::Checkpoint;
use refit_nn::{
    ImageConfig, NnError, Scope, Weights,
    zoo::{ClipConfig, Pool, TextConfig, TextTask},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{fmt::Write, path::Path};

/// What encoders do.
const VECTORS: &str = "vectors of texts";
/// Labels that are printed without `-v`.
const SHOWN: usize = 10;

/// The model of a folder.
#[derive(Default, Serialize)]
pub(super) struct ModelInfo {
    family: String,
    /// What it does and which verbs read it, where it is a family that is known.
    does: Option<&'static str>,
    verbs: Option<&'static str>,
    task: Option<&'static str>,
    layers: Option<u64>,
    width: Option<u64>,
    heads: Option<u64>,
    vocabulary: Option<u64>,
    longest_text: Option<u64>,
    image_size: Option<u64>,
    /// How an encoder of sentences makes one vector of a text.
    vectors: Option<String>,
    labels: Vec<String>,
    /// Whether the tensors are those of the model; `None` where that is not known.
    fits: Option<bool>,
    /// Why no verb reads it.
    problem: Option<String>,
}

/// What a configuration says, checked.
enum Config {
    Text(TextConfig),
    Image(ImageConfig),
    Clip(Box<ClipConfig>),
}

impl Config {
    fn read(keys: &Map<String, Value>, shown: Shown) -> Result<Self, ConfigError> {
        Ok(match shown {
            Shown::Texts => Self::Text(TextConfig::read(keys)?),
            Shown::Pictures => Self::Image(ImageConfig::read(keys)?),
            Shown::Both => Self::Clip(Box::new(ClipConfig::read(keys)?)),
        })
    }

    /// Binds whatever it is.
    fn bind(&self, scope: &Scope<'_>) -> Result<(), NnError> {
        match self {
            Self::Text(config) => config.bind(scope).map(drop),
            Self::Image(config) => config.bind(scope).map(drop),
            Self::Clip(config) => config.bind(scope).map(drop),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::Text(config) => match config.task() {
                TextTask::Sequence { classes } | TextTask::Token { classes } => classes,
                _ => 0,
            },
            Self::Image(config) => config.num_labels(),
            Self::Clip(_) => 0,
        }
    }

    fn task(&self) -> Option<&'static str> {
        match self {
            Self::Text(config) => Some(match config.task() {
                TextTask::States => VECTORS,
                TextTask::Sequence { classes: 1 } => "a number for a text",
                TextTask::Sequence { .. } => "classes of texts",
                TextTask::Token { .. } => "tags of words",
                TextTask::Span => "answers marked in texts",
                TextTask::Words => "hidden words",
                TextTask::NextWord => "the next word",
                TextTask::Answer => "answers in words",
            }),
            Self::Image(_) => None,
            Self::Clip(_) => Some("classes of pictures in words"),
        }
    }
}

impl Config {
    /// The verbs that read it, as a sentence.
    fn verbs(&self, task: Option<TextTask>) -> &'static str {
        match (self, task) {
            (Self::Text(_), Some(task)) => match task {
                TextTask::States => {
                    "`refit embed`, `refit eval` and `refit tune` read it, `refit classify` with a --head"
                }
                TextTask::Sequence { classes: 2.. } => {
                    "`refit classify`, `refit eval` and `refit embed` read it"
                }
                TextTask::NextWord | TextTask::Answer => {
                    "`refit generate`, `refit eval` and `refit embed` read it"
                }
                _ => "`refit eval` and `refit embed` read it",
            },
            (Self::Image(config), _) => {
                let vectors = config.clone().with_labels(0).num_outputs() > 0;
                match (config.num_labels() > 0, vectors) {
                    (false, _) => "`refit embed` reads it",
                    (true, false) => "`refit classify` and `refit eval` read it",
                    (true, true) => Shown::Pictures.verbs(),
                }
            }
            _ => Shown::Both.verbs(),
        }
    }
}

impl ModelInfo {
    /// Looks at the folder of a model; `None` where there is no `config.json`.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(CONFIG);
        let keys = match object(&path) {
            Ok(keys) => keys,
            Err(TextModelError::File(error)) if error.is_not_found() => return None,
            Err(error) => {
                return Some(Self {
                    problem: Some(error.to_string()),
                    ..Self::default()
                });
            }
        };
        let shown = Shown::to(family(&keys));
        let mut info = Self {
            family: family(&keys).to_owned(),
            does: shown.map(Shown::does),
            layers: number(
                &keys,
                &["num_hidden_layers", "n_layer", "num_layers", "n_layers"],
            ),
            width: number(&keys, &["hidden_size", "n_embd", "d_model", "dim"]),
            heads: number(
                &keys,
                &["num_attention_heads", "n_head", "num_heads", "n_heads"],
            ),
            ..Self::default()
        };
        if let Some(shown) = shown
            && let Err(problem) = info.understand(folder, &keys, shown)
        {
            info.verbs = None;
            info.problem = Some(problem);
        }
        Some(info)
    }

    /// What only a checked configuration tells.
    fn understand(
        &mut self,
        folder: &Path,
        keys: &Map<String, Value>,
        shown: Shown,
    ) -> Result<(), String> {
        let file = folder.join(CONFIG);
        let wrong = |error: ConfigError| format!("`{}`: {}", file.display(), told(&error));
        let config = Config::read(keys, shown).map_err(wrong)?;
        self.task = config.task();
        let task = match &config {
            Config::Text(config) => Some(config.task()),
            _ => None,
        };
        self.verbs = Some(config.verbs(task));
        match &config {
            Config::Text(config) => {
                let size = config.size();
                self.width = Some(size.hidden as u64);
                self.vocabulary = Some(size.words as u64);
                self.longest_text = Some(size.longest as u64);
            }
            Config::Image(config) => {
                self.image_size = config.side().map(|side| side as u64);
                self.task = Some("classes of pictures");
                if config.num_labels() == 0 {
                    self.task = Some("vectors of pictures");
                }
            }
            Config::Clip(config) => {
                let text = config.text_size();
                self.width = Some(config.width() as u64);
                self.vocabulary = Some(text.words as u64);
                self.longest_text = Some(text.longest as u64);
                self.image_size = Some(config.image_size() as u64);
            }
        }
        self.labels = class_names(keys, config.classes())
            .map_err(wrong)?
            .unwrap_or_default();
        let checkpoint = Checkpoint::open(folder).map_err(|error| told(&error))?;
        let fits = Weights::check(&checkpoint, |scope| config.bind(scope));
        self.fits = Some(fits.is_ok());
        fits.map_err(|error| error.to_string())?;
        match &config {
            Config::Text(_) => {
                let opened = TextFolder::open(folder).map_err(|error| full(&error))?;
                self.longest_text = Some(opened.longest as u64);
                if config.task() == Some(VECTORS) {
                    self.vectors = Some(vectors(&opened));
                }
                Ok(())
            }
            Config::Image(_) => ModelFolder::open(folder).map(drop).map_err(|e| full(&e)),
            Config::Clip(_) => ClipFolder::open(folder).map(drop).map_err(|e| full(&e)),
        }
    }

    /// Whether the family is one that is understood.
    pub(super) const fn is_known(&self) -> bool {
        self.does.is_some()
    }

    /// Lines for a terminal.
    pub(super) fn text(&self, all: bool) -> String {
        let mut text = String::new();
        let family = visible_name(&self.family);
        match (self.does, self.verbs) {
            (Some(does), Some(verbs)) => {
                let _ = writeln!(text, "family      {family} {does}; {verbs}");
            }
            (Some(does), None) => {
                let _ = writeln!(text, "family      {family} {does}");
            }
            _ if family.is_empty() => {}
            _ => {
                let _ = writeln!(text, "family      {family} is none that refit runs");
            }
        }
        if let Some(task) = self.task {
            let _ = writeln!(text, "task        {task}");
        }
        let sizes = [
            ("layers", self.layers),
            ("width", self.width),
            ("heads", self.heads),
            ("vocabulary", self.vocabulary),
            ("tokens of a text", self.longest_text),
            ("side of a picture", self.image_size),
        ];
        let sizes = sizes
            .into_iter()
            .filter_map(|(name, size)| Some((name, size?)));
        let sizes: Vec<String> = sizes
            .map(|(name, n)| format!("{name} {}", count(n)))
            .collect();
        if !sizes.is_empty() {
            let _ = writeln!(text, "size        {}", sizes.join(", "));
        }
        if !self.labels.is_empty() {
            let shown = if all {
                self.labels.len()
            } else {
                SHOWN.min(self.labels.len())
            };
            let more = match self.labels.len() - shown {
                0 => String::new(),
                more => format!(" and {more} more (-v shows all)"),
            };
            // Some labels have commas in them.
            let labels = self.labels[..shown].iter();
            let labels: Vec<String> = labels.map(|label| visible_name(label)).collect();
            let _ = writeln!(text, "labels      {}{more}", labels.join("; "));
        }
        if let Some(vectors) = &self.vectors {
            let _ = writeln!(text, "vectors     {vectors}");
        }
        if self.fits == Some(true) {
            text += "fit         every tensor is one of the model\n";
        }
        if let Some(problem) = &self.problem {
            let name = match self.fits {
                Some(false) => "fit         no:",
                _ => "problem    ",
            };
            let _ = writeln!(text, "{name} {}", visible_name(problem));
        }
        text
    }
}

/// An error and what to do about it.
fn told(error: &impl Hint) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

/// An error with what caused it, and what to do about it.
fn full(error: &impl Hint) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => told(error),
    }
}

/// How vectors are made, in words.
fn vectors(folder: &TextFolder) -> String {
    let mut text = match folder.pool {
        Pool::First => "of the first token",
        Pool::Last => "of the last token",
        Pool::Mean => "mean of the tokens",
        Pool::MeanSqrtLen => "sum of the tokens over the root of their number",
        Pool::Max => "largest entries of the tokens",
    }
    .to_owned();
    if folder.unit {
        text += ", of length 1";
    }
    for (role, name) in [
        (TextRole::Text, "every text"),
        (TextRole::Query, "a query"),
        (TextRole::Document, "a document"),
    ] {
        let prompt = folder.prompts.of(role);
        if !prompt.is_empty() {
            let _ = write!(text, ", behind `{}` for {name}", visible_name(prompt));
        }
    }
    text
}

/// The first of several names of a size.
fn number(keys: &Map<String, Value>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| keys.get(*name)?.as_u64())
}
