//! What can go wrong between a configuration and a checkpoint.

use refit_core::{ConfigError, DType, Hint, ParamPath};
use std::borrow::Cow;

/// A model could not be built from its configuration and weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// The configuration names a tensor that the checkpoint lacks.
    #[error("tensor `{path}` is missing, expected shape {expected:?}")]
    Missing {
        /// Its name.
        path: ParamPath,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
    },
    /// The configuration names several tensors that the checkpoint lacks.
    #[error("{}{count} tensors are missing: {listed}", if *.more { "at least " } else { "" })]
    MissingMany {
        /// How many.
        count: usize,
        /// Whether there may be others that were not looked for.
        more: bool,
        /// The first of them with their shapes.
        listed: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("tensor `{path}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        path: ParamPath,
        /// What the checkpoint holds.
        found: Vec<usize>,
        /// What the configuration asks for.
        expected: Vec<usize>,
    },
    /// The checkpoint holds tensors that the configuration does not know.
    #[error("{count} {} to no part of the model: {listed}", if *.count == 1 { "tensor belongs" } else { "tensors belong" })]
    Unused {
        /// How many.
        count: usize,
        /// The first of them.
        listed: String,
    },
    /// Two tensors have one name.
    #[error("tensor `{path}` is listed twice")]
    Duplicate {
        /// The name.
        path: ParamPath,
    },
    /// A tensor is of a type that weights cannot have.
    #[error("tensor `{path}` has dtype {found}, expected one of F16, BF16, F32, F64")]
    DType {
        /// Its name.
        path: ParamPath,
        /// Its type.
        found: DType,
    },
    /// A value is not a number.
    #[error("tensor `{path}` holds a value that is not finite")]
    NotFinite {
        /// Its name.
        path: ParamPath,
    },
    /// The bytes of a tensor could not be read.
    #[error("cannot read tensor `{path}`")]
    Read {
        /// Its name.
        path: ParamPath,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A token that the model has no row for.
    #[error("token {token} is not among the {words} of the model")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the table of words.
        words: usize,
    },
    /// A segment that the model has no row for.
    #[error("segment {found} is not among the {segments} of the model")]
    Segment {
        /// The segment.
        found: u32,
        /// Rows of the table of segments.
        segments: usize,
    },
    /// A sequence that is longer than the model's positions.
    #[error("a sequence has {tokens} tokens, expected at most {longest}")]
    TooLong {
        /// How many it has.
        tokens: usize,
        /// How many the model can tell apart.
        longest: usize,
    },
    /// Nothing to read.
    #[error("a batch of {rows} texts has no token")]
    Empty {
        /// How many texts there are.
        rows: usize,
    },
    /// Pictures that the model does not take.
    #[error("pictures are {found:?}, expected at least one of {expected:?} or larger")]
    Pictures {
        /// How many there are, channels, height and width.
        found: [usize; 4],
        /// Channels, least height and least width.
        expected: [usize; 3],
    },
    /// Scores from which no word can be chosen.
    #[error("the scores after text {row} are not finite")]
    Scores {
        /// Which of the texts that are read together, counted from 1.
        row: usize,
    },
    /// A setting of the model is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// How many tensors an error names.
const LISTED: usize = 10;

impl NnError {
    /// Refuses no pictures at all, smaller ones than `expected`, and those of other channels.
    pub(crate) fn check_pictures(found: [usize; 4], expected: [usize; 3]) -> Result<(), Self> {
        let ([n, c, h, w], [channels, height, width]) = (found, expected);
        if n > 0 && c == channels && h >= height && w >= width {
            return Ok(());
        }
        Err(Self::Pictures { found, expected })
    }

    /// The error of tensors that a checkpoint lacks; there is at least one, and `more` may be lacking.
    pub(crate) fn missing(mut paths: Vec<(ParamPath, Vec<usize>)>, more: bool) -> Self {
        if paths.len() == 1 {
            let (path, expected) = paths.remove(0);
            return Self::Missing { path, expected };
        }
        let named = paths
            .iter()
            .map(|(path, shape)| format!("`{path}` {shape:?}"));
        Self::MissingMany {
            count: paths.len(),
            more,
            listed: listed(named),
        }
    }

    /// The error of tensors that no part of a model asks for.
    pub(crate) fn unused(paths: &[&ParamPath]) -> Self {
        Self::Unused {
            count: paths.len(),
            listed: listed(paths.iter().map(|path| format!("`{path}`"))),
        }
    }
}

/// The first names, and how many more there are.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown = names.take(LISTED).collect::<Vec<_>>().join(", ");
    if more == 0 {
        return shown;
    }
    format!("{shown} and {more} more")
}

impl Hint for NnError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Missing { .. }
            | Self::MissingMany { .. }
            | Self::Shape { .. }
            | Self::Unused { .. } => Some(
                "compare `config.json` with the tensors that `refit info` lists for the checkpoint"
                    .into(),
            ),
            Self::NotFinite { .. } => {
                Some("run `refit info` to see which tensors are affected".into())
            }
            Self::Scores { .. } => {
                Some("weights of a type that holds too small numbers do that".into())
            }
            Self::Token { .. } => Some("use the tokenizer that belongs to the model".into()),
            Self::Pictures { .. } => {
                Some("scale pictures to the size that `config.json` names".into())
            }
            Self::TooLong { .. } => Some("cut texts to that length".into()),
            Self::Config(error) => error.hint(),
            _ => None,
        }
    }
}
