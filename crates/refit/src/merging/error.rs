//! What can go wrong when recipes are run.

use crate::{companions::CompanionError, yaml::YamlError};
use refit_core::{ConfigError, Hint};
use refit_io::{
    adapter::AdapterError, atomic::AtomicError, ckpt::CkptError, file::FileError, hub::HubError,
};
use refit_merge::{
    MergeError,
    adapter::{CombineError, FoldError},
    recipe::{EmbeddingMismatch, Plan, PlanError, RecipeProblem},
    tokenizer::TokenizerError,
};
use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
};

/// Recipes could not be read, planned or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergingError {
    /// The file is no YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The file does not describe merges.
    #[error("`{}`: {problem}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: RecipeProblem,
    },
    /// The models do not go together as the recipe wants.
    #[error("`{}`{}: {problem}", path.display(), of(name.as_deref()))]
    Plan {
        /// The file.
        path: PathBuf,
        /// Which recipe of the file.
        name: Option<String>,
        /// What is wrong.
        problem: Box<PlanError>,
    },
    /// Models with vocabularies of different sizes.
    #[error("`{tensor}` has {found} rows in `{model}`, {expected} in `{other}`")]
    Vocabulary {
        /// The tensor.
        tensor: String,
        /// A model.
        model: String,
        /// Rows there.
        found: usize,
        /// Another model.
        other: String,
        /// Rows there.
        expected: usize,
    },
    /// A configuration that is no JSON mapping.
    #[error("`{}`: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An adapter where a model was asked for.
    #[error("`{}` is an adapter, expected a model", path.display())]
    IsAdapter {
        /// Its folder.
        path: PathBuf,
    },
    /// A checkpoint cannot be read, or the result not be written.
    #[error(transparent)]
    Checkpoint(#[from] CkptError),
    /// There is no such model, neither as a path nor in the cache of the hub.
    #[error(transparent)]
    Hub(#[from] Box<HubError>),
    /// An adapter cannot be read.
    #[error(transparent)]
    Adapter(#[from] Box<AdapterError>),
    /// An adapter does not fit its model.
    #[error(transparent)]
    Fold(#[from] Box<FoldError>),
    /// Adapters do not become one.
    #[error(transparent)]
    Combine(#[from] Box<CombineError>),
    /// A recipe for adapters, or settings of an extraction, that cannot be used.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// Tokenizers that cannot be brought together.
    #[error(transparent)]
    Tokenizer(#[from] Box<TokenizerError>),
    /// A model without `tokenizer.json` in a merge of tokenizers.
    #[error("`{model}` has no `tokenizer.json`, which the recipe needs to match rows by token")]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// A chat template by a name that stands for none here.
    #[error(
        "`chat_template` is `{found}`, expected `auto`, `alpaca`, `chatml`, `exaone`, `llama3`, `mistral` or a template with `{{{{ .. }}}}`"
    )]
    ChatTemplate {
        /// The name.
        found: String,
        /// The known name that is closest.
        nearest: Option<String>,
    },
    /// Merging failed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A small file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A small file beside the models is not what it should be.
    #[error(transparent)]
    Companion(CompanionError),
    /// The result could not be written.
    #[error(transparent)]
    Output(#[from] AtomicError),
}

fn of(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!(", `{name}`"))
}

impl MergingError {
    pub(super) fn config(path: &Path, problem: impl fmt::Display) -> Self {
        Self::Config {
            path: path.into(),
            problem: problem.to_string(),
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| AtomicError::from_io("write", path)(source).into()
    }

    pub(super) fn vocabulary(plan: &Plan, mismatch: &EmbeddingMismatch) -> Self {
        let name = |model: usize| plan.models[model].to_string();
        let (first, rows) = mismatch.rows[0];
        let other = mismatch.rows.iter().find(|(_, found)| *found != rows);
        let (model, found) = other.copied().unwrap_or((first, rows));
        Self::Vocabulary {
            tensor: plan.tensors[mismatch.tensor].path.to_string(),
            model: name(model),
            found,
            other: name(first),
            expected: rows,
        }
    }
}

impl From<HubError> for MergingError {
    fn from(error: HubError) -> Self {
        Box::new(error).into()
    }
}

impl From<AdapterError> for MergingError {
    fn from(error: AdapterError) -> Self {
        Box::new(error).into()
    }
}

impl From<FoldError> for MergingError {
    fn from(error: FoldError) -> Self {
        Box::new(error).into()
    }
}

impl From<CombineError> for MergingError {
    fn from(error: CombineError) -> Self {
        Box::new(error).into()
    }
}

impl From<TokenizerError> for MergingError {
    fn from(error: TokenizerError) -> Self {
        Box::new(error).into()
    }
}

impl From<CompanionError> for MergingError {
    fn from(error: CompanionError) -> Self {
        match error {
            CompanionError::Read(error) => error.into(),
            CompanionError::Write(error) => error.into(),
            error => Self::Companion(error),
        }
    }
}

impl Hint for MergingError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Yaml(error) => error.hint(),
            Self::Recipe { problem, .. } => problem.hint(),
            Self::Plan { problem, .. } => problem.hint(),
            Self::Vocabulary { .. } => Some(
                "add `tokenizer_source: union`, or `base`, so that rows are matched by token"
                    .into(),
            ),
            Self::IsAdapter { path } => Some(
                format!("write `MODEL+{}`: the model that it changes, and the adapter", path.display()).into(),
            ),
            Self::Checkpoint(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Adapter(error) => error.hint(),
            Self::Fold(error) => error.hint(),
            Self::Combine(error) => error.hint(),
            Self::Setting(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::NoTokenizer { .. } => Some(
                "put `tokenizer.json` beside the weights; transformers makes it: `AutoTokenizer.from_pretrained(MODEL).save_pretrained(MODEL)`"
                    .into(),
            ),
            Self::ChatTemplate { nearest, .. } => Some(match nearest {
                Some(name) => format!("did you mean `{name}`?").into(),
                None => "give the text of the template itself".into(),
            }),
            Self::Merge(MergeError::NotFinite { .. }) => Some(
                "look at the model with `refit info`; `--nan allow` lets such values pass".into(),
            ),
            Self::Merge(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Companion(error) => error.hint(),
            Self::Output(error) => error.hint(),
            Self::Config { .. } => None,
        }
    }
}
