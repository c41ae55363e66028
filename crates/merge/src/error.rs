//! What can go wrong when models become one.

use refit_core::{ConfigError, DType, Hint, ParamPath};
use refit_math::MathError;
use std::{borrow::Cow, error::Error, fmt};

/// Everything that can stop a merge before or while it runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Nothing to merge.
    #[error("no expert to merge with the base `{base}`, expected at least one")]
    NoExperts {
        /// Name of the base.
        base: String,
    },
    /// Two experts share a name, so that coefficients could not be told apart.
    #[error("the name `{name}` is used by two experts, expected distinct names")]
    DuplicateExpert {
        /// The name.
        name: String,
    },
    /// A model, or a file of coefficients, speaks of other tensors than the base.
    #[error("{what} differ from the base: missing {missing}; unexpected {unexpected}")]
    Names {
        /// Whose names, as the start of the sentence.
        what: String,
        /// Names that the base has and the other has not.
        missing: NameList,
        /// Names that the other has and the base has not.
        unexpected: NameList,
    },
    /// A file of coefficients was learned for other experts.
    #[error("experts differ from those of the {what}: missing {missing}; unexpected {unexpected}")]
    Experts {
        /// `coefficients` or `state`.
        what: &'static str,
        /// Experts that the file names and the caller does not.
        missing: NameList,
        /// Experts that the caller names and the file does not.
        unexpected: NameList,
    },
    /// The same name, another shape.
    #[error("`{path}` of {model} has shape {found}, the base has {expected}")]
    Shape {
        /// The tensor.
        path: ParamPath,
        /// Who holds it.
        model: ModelName,
        /// Its shape there.
        found: Shape,
        /// Its shape in the base.
        expected: Shape,
    },
    /// The same name, but integers or opaque values on one side.
    #[error("`{path}` of {model} is stored as {found}, expected weights (F16, BF16, F32 or F64)")]
    NotWeights {
        /// The tensor.
        path: ParamPath,
        /// Who holds it.
        model: ModelName,
        /// How it is stored there.
        found: DType,
    },
    /// A NaN or an infinity.
    #[error("`{path}` of {model} holds {value} at position {position}, expected finite values")]
    NotFinite {
        /// The tensor.
        path: ParamPath,
        /// Who holds it.
        model: ModelName,
        /// Flat position inside the tensor.
        position: usize,
        /// What stands there.
        value: f32,
    },
    /// A factor or a difference that the output cannot hold.
    #[error("`{path}` of the adapter has values beyond those of {dtype}")]
    TooLarge {
        /// The tensor.
        path: ParamPath,
        /// Element type of the adapter.
        dtype: DType,
    },
    /// A merged value that the output cannot hold.
    #[error(
        "`{path}` of the merged model is {value} at position {position}, which is no finite {dtype} value"
    )]
    Overflow {
        /// The tensor.
        path: ParamPath,
        /// Flat position inside the tensor.
        position: usize,
        /// The value before it was rounded.
        value: f32,
        /// How the tensor is stored.
        dtype: DType,
    },
    /// An expert so far from the base that it was hardly fine-tuned from it.
    #[error("{model} lies {found:.3} base norms from the base, expected at most {limit:.3}")]
    TooFar {
        /// The expert.
        model: ModelName,
        /// `|expert - base| / |base|` over all weights.
        found: f64,
        /// The limit that was asked for.
        limit: f64,
    },
    /// A source failed.
    #[error("cannot read `{path}` of {model}")]
    Read {
        /// The tensor.
        path: ParamPath,
        /// Who holds it.
        model: ModelName,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A sink failed.
    #[error("cannot write `{path}`")]
    Write {
        /// The tensor.
        path: ParamPath,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Bytes or values that do not fill their shape.
    #[error("`{path}` of {model} holds {found} {unit}, its shape asks for {expected}")]
    Size {
        /// The tensor.
        path: ParamPath,
        /// Who holds it.
        model: ModelName,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
        /// What was counted.
        unit: &'static str,
    },
    /// Slices of unequal length given to a rule.
    #[error("operand {operand} holds {found} values, expected {expected}")]
    Lengths {
        /// Its index; the output counts as the last one.
        operand: usize,
        /// Its length.
        found: usize,
        /// The length of the first operand.
        expected: usize,
    },
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A decomposition or a product that failed.
    #[error("cannot merge `{path}` as a matrix")]
    Matrix {
        /// The tensor.
        path: ParamPath,
        /// Why.
        #[source]
        source: MathError,
    },
    /// Nothing was learned.
    #[error("`{model}` does not differ from its base in any weight")]
    Unchanged {
        /// The fine-tuned model.
        model: String,
    },
    /// A change that was not to be stored as a whole.
    #[error("`{path}` differs from the base and is no linear layer")]
    NotLinear {
        /// The tensor.
        path: ParamPath,
    },
    /// A method that learns was asked to work without a model.
    #[error("`{method}` learns from unlabelled inputs and cannot run on weights alone")]
    NeedsModel {
        /// The method.
        method: &'static str,
    },
    /// The caller's model failed inside a step.
    #[error("the model failed in step {step}")]
    Model {
        /// Zero-based step.
        step: u64,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A stored document that is not what it should be.
    #[error("cannot read the {what}: {problem}")]
    Document {
        /// `coefficients` or `state`.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Reading or writing a document failed.
    #[error("cannot transfer the {what}")]
    Transfer {
        /// `coefficients` or `state`.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The listener asked for a stop before the result was complete.
    #[error("interrupted")]
    Cancelled,
}

impl MergeError {
    /// A sink that failed at the tensor called `path`.
    pub(crate) fn writing(path: &ParamPath, source: Box<dyn Error + Send + Sync>) -> Self {
        Self::Write {
            path: path.clone(),
            source,
        }
    }
}

impl Hint for MergeError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Shape { .. } | Self::Names { .. } => {
                "experts must share one base; compare `refit info` of both".into()
            }
            Self::NotFinite { .. } => {
                "repair or leave out that model, or allow values that are not finite".into()
            }
            Self::TooLarge { .. } => "store the adapter as BF16 or F32".into(),
            Self::Overflow { .. } => {
                "lower the scale or the weights, or allow values that are not finite".into()
            }
            Self::TooFar { .. } => "check that the expert was fine-tuned from this base".into(),
            Self::Experts { .. } => {
                "give the experts the names under which the coefficients were learned".into()
            }
            Self::NoExperts { .. } => "name at least one expert".into(),
            Self::DuplicateExpert { .. } => "give each expert a name of its own".into(),
            Self::Unchanged { .. } => {
                "compare `refit info` of both; was the base given twice?".into()
            }
            Self::NotLinear { .. } => "let other tensors go with the adapter as a whole".into(),
            Self::NeedsModel { .. } => "give it data, or choose a method without data".into(),
            Self::Config(config) => return config.hint(),
            Self::Matrix { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}

/// Which of the models in a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelName {
    /// The common start.
    Base(String),
    /// A fine-tuned model.
    Expert(String),
    /// A model before its place in the merge is known.
    Plain(String),
    /// The result.
    Merged,
    /// The gradient with respect to the result.
    Gradient,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(name) => write!(f, "base `{name}`"),
            Self::Expert(name) => write!(f, "expert `{name}`"),
            Self::Plain(name) => write!(f, "`{name}`"),
            Self::Merged => f.write_str("the merged model"),
            Self::Gradient => f.write_str("the gradient"),
        }
    }
}

/// A shape that prints as `[768, 3072]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(pub Vec<usize>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Names in an error message: at most ten are printed, the rest is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList(pub Vec<String>);

impl NameList {
    /// How many names are spelt out.
    pub const SHOWN: usize = 10;

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: ToString> FromIterator<T> for NameList {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.to_string()).collect())
    }
}

impl fmt::Display for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        let shown: Vec<_> = self
            .0
            .iter()
            .take(Self::SHOWN)
            .map(|n| format!("`{n}`"))
            .collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_names_are_spelt_out_and_the_rest_is_counted() {
        let names: NameList = (0..12).collect();
        let text = names.to_string();
        assert!(
            text.starts_with("`0`, `1`") && text.ends_with("`9` and 2 more"),
            "{text}"
        );
        assert_eq!(NameList::default().to_string(), "nothing");
    }

    #[test]
    fn a_shape_error_names_tensor_expert_and_both_shapes() {
        let error = MergeError::Shape {
            path: "a.weight".into(),
            model: ModelName::Expert("dtd".into()),
            found: Shape(vec![2, 3]),
            expected: Shape(vec![3, 2]),
        };
        let text = "`a.weight` of expert `dtd` has shape [2, 3], the base has [3, 2]";
        assert_eq!(error.to_string(), text);
        assert!(error.hint().unwrap().contains("refit info"));
    }
}
