//! Why vocabularies cannot be brought together.

use super::vocabulary::MOST_ROWS;
use crate::{error::Shape, recipe::ModelRef};
use refit_core::{Hint, ParamPath};
use serde_json::Value;
use std::borrow::Cow;

/// Why a tokenizer cannot be read, or vocabularies cannot be brought together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A part of `tokenizer.json` of another form.
    #[error("`{field}` of `tokenizer.json` is {found}, expected {expected}")]
    Field {
        /// The part, such as `model.vocab`.
        field: Cow<'static, str>,
        /// What is there.
        found: &'static str,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A kind of tokenizer that is not known here.
    #[error(
        "the tokenizer is of type `{found}`, expected `BPE`, `Unigram`, `WordLevel` or `WordPiece`"
    )]
    Algorithm {
        /// The type.
        found: String,
    },
    /// An id that is no number, or too large for a row.
    #[error("token `{token}` has the id {found}, expected a whole number below {MOST_ROWS}")]
    Id {
        /// The token.
        token: String,
        /// The id.
        found: String,
    },
    /// A token in two places.
    #[error("token `{token}` has the ids {first} and {second}, expected one")]
    TwoIds {
        /// The token.
        token: String,
        /// The id that was read first.
        first: usize,
        /// The other one.
        second: usize,
    },
    /// Two tokens in one place.
    #[error("tokens `{first}` and `{second}` share the id {id}")]
    SharedId {
        /// The id.
        id: usize,
        /// One of the tokens.
        first: String,
        /// Another one.
        second: String,
    },
    /// A tokenizer of a merge that cannot be used.
    #[error("cannot use the tokenizer of `{model}`")]
    Model {
        /// The model.
        model: String,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// A merge of no models.
    #[error("no model is merged, expected at least one")]
    NoModels,
    /// A base that is none of the models that are merged.
    #[error("the base is model {found}, expected one of the {models} that are merged")]
    Base {
        /// Number of the base, from 0.
        found: usize,
        /// Number of models.
        models: usize,
    },
    /// A tokenizer of the result that nobody brought.
    #[error("the result takes the tokenizer of `{model}`, which is not at hand")]
    Source {
        /// The model.
        model: String,
    },
    /// An embedding from a model that has no part in the merge.
    #[error("token `{token}` takes its embedding from `{model}`, which is not merged")]
    NotMerged {
        /// The token.
        token: String,
        /// The model.
        model: String,
    },
    /// An embedding of a token that its model does not know.
    #[error(
        "token `{token}` takes its embedding from `{wanted}` of `{model}`, which does not know it"
    )]
    NoToken {
        /// The token.
        token: String,
        /// The token that it is taken from.
        wanted: String,
        /// The model.
        model: String,
    },
    /// An embedding from a row that its model has not.
    #[error("token `{token}` takes its embedding from row {row} of `{model}`, which has {rows}")]
    NoRow {
        /// The token.
        token: String,
        /// The row.
        row: usize,
        /// The model.
        model: String,
        /// Rows of its embedding.
        rows: usize,
    },
    /// A vocabulary of no tokens, or of too many.
    #[error("the result has {found} rows of tokens, expected 1 to {MOST_ROWS}")]
    Size {
        /// Rows, after padding.
        found: usize,
    },
}

impl TokenizerError {
    /// A part of another form.
    pub(super) fn field(
        field: impl Into<Cow<'static, str>>,
        found: Option<&Value>,
        expected: &'static str,
    ) -> Self {
        let found = match found {
            None => "missing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a flag",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a text",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "a mapping",
        };
        Self::Field {
            field: field.into(),
            found,
            expected,
        }
    }

    /// The same, with the name of the model.
    pub(super) fn of(self, model: &ModelRef) -> Self {
        Self::Model {
            model: model.to_string(),
            source: Box::new(self),
        }
    }
}

/// A foreign text as a message shows it: one line, and its beginning where it is long.
pub(super) fn shown(text: &str) -> String {
    const MOST_SHOWN: usize = 80;
    let cut = text.char_indices().nth(MOST_SHOWN).map(|(at, _)| at);
    let shown = text[..cut.unwrap_or(text.len())].escape_debug();
    let more = if cut.is_some() { ".." } else { "" };
    format!("{shown}{more}")
}

impl Hint for TokenizerError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Model { source, .. } => return source.hint(),
            Self::Field { .. } | Self::Algorithm { .. } => {
                "save the tokenizer again with a current version of its library".into()
            }
            Self::Source { .. } => "name a model of the merge, or take `union` or `base`".into(),
            Self::NotMerged { .. } => {
                "name a model of the merge; weight 0 keeps one out of the result".into()
            }
            Self::NoToken { .. } => "name a model that knows the token, or `kind: zero`".into(),
            Self::Size { found } if *found > 0 => "take a smaller `pad_to_multiple_of`".into(),
            _ => return None,
        })
    }
}

/// Why rows cannot be brought into another order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// A model that is not among those whose tensors were given.
    #[error("the rows of `{path}` come from model {found}, {models} were given")]
    Model {
        /// The tensor; empty where none was given.
        path: ParamPath,
        /// Number of the model, from 0.
        found: usize,
        /// Number of tensors.
        models: usize,
    },
    /// A tensor that is no weight.
    #[error("the rows of `{path}` hold no weights")]
    NotWeights {
        /// The tensor.
        path: ParamPath,
    },
    /// Rows of another length than those of the model that is read.
    #[error("`{path}` of model {model} has shape {found}, expected rows as in {expected}")]
    Shape {
        /// The tensor.
        path: ParamPath,
        /// Number of the model, from 0.
        model: usize,
        /// Its shape.
        found: Shape,
        /// Shape in the model that is read.
        expected: Shape,
    },
    /// A row that is not there.
    #[error("`{path}` of model {model} has {rows} rows, the vocabulary needs {needed}")]
    Few {
        /// The tensor.
        path: ParamPath,
        /// Number of the model, from 0.
        model: usize,
        /// Its rows.
        rows: usize,
        /// Rows that are read.
        needed: usize,
    },
    /// A stretch that does not fit the tensor or the memory given for it.
    #[error("`{path}` was asked for {found} values of {start}..{end}, it has {len}")]
    Range {
        /// The tensor.
        path: ParamPath,
        /// Room for values.
        found: usize,
        /// First value.
        start: usize,
        /// Behind the last value.
        end: usize,
        /// Values of the tensor.
        len: usize,
    },
    /// Bytes of values that are stored nowhere.
    #[error("`{path}` is computed and not stored, so it has no bytes")]
    Computed {
        /// The tensor.
        path: ParamPath,
    },
}

impl Hint for RowsError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::Few { .. })
            .then(|| "embedding and head need a row for each token of the tokenizer".into())
    }
}
