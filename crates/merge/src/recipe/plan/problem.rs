//! What can be wrong with a recipe once the models are known.

use crate::{
    error::Shape,
    recipe::document::{ModelRef, Place},
};
use refit_core::{ConfigError, DType, Hint, ParamPath, nearest};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt,
};

/// A recipe that does not fit its models: the first ten problems, and how many more there are.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanError {
    problems: Vec<PlanProblem>,
    more: usize,
}

impl PlanError {
    /// How many problems are kept.
    pub const SHOWN: usize = 10;

    /// The problems, in the order of the recipe; at least one.
    pub fn problems(&self) -> &[PlanProblem] {
        &self.problems
    }

    /// How many problems there are beyond [`problems`](Self::problems).
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ([problem], 0) = (self.problems.as_slice(), self.more) {
            return write!(f, "{problem}");
        }
        let count = self.problems.len() + self.more;
        write!(f, "the recipe does not fit its models, {count} problems:")?;
        for problem in &self.problems {
            write!(f, "\n- {problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n- and {more} more"),
        }
    }
}

impl std::error::Error for PlanError {}

impl Hint for PlanError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        self.problems.iter().find_map(PlanProblem::hint)
    }
}

/// One way in which a recipe does not fit its models.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanProblem {
    /// Headers that are not those of the recipe's models.
    #[error("{found} headers for {expected} models")]
    Headers {
        /// Number of headers.
        found: usize,
        /// Number of models.
        expected: usize,
    },
    /// A method that merges differences, without a base.
    #[error("`{method}` merges differences from a base, `{place}` has none")]
    NoBase {
        /// Where.
        place: Place,
        /// The method.
        method: &'static str,
    },
    /// A base whose layers are not told.
    #[error("`{place}` does not name the base `{base}` among its sources")]
    BaseNotASource {
        /// The slice.
        place: Place,
        /// The base.
        base: String,
    },
    /// Too few or too many models for the method.
    #[error("`{place}` has {found} models{beside}, `{method}` takes {expected}")]
    ModelCount {
        /// Where.
        place: Place,
        /// How many.
        found: usize,
        /// ` beside the base`, where the method has one.
        beside: &'static str,
        /// The method.
        method: &'static str,
        /// How many it takes.
        expected: String,
    },
    /// A model that is named twice.
    #[error("`{place}` names `{model}` twice")]
    Twice {
        /// Where.
        place: Place,
        /// The model.
        model: String,
    },
    /// A module that the models do not have.
    #[error("the models have no module `{module}`, they have {known}")]
    NoModule {
        /// The name.
        module: String,
        /// The names there are.
        known: String,
        /// The closest of them.
        nearest: Option<String>,
    },
    /// Slices of a model that has more than one list of layers.
    #[error("the models have the modules {known}, `slices` of which is not told")]
    WhichModule {
        /// Their names.
        known: String,
    },
    /// Layers that a model does not have.
    #[error("`{place}` is [{start}, {end}], `{model}` has {layers} layers")]
    Range {
        /// Where.
        place: Place,
        /// First layer.
        start: usize,
        /// The layer after the last.
        end: usize,
        /// The model.
        model: String,
        /// How many it has.
        layers: usize,
    },
    /// Sources of one slice with unequal numbers of layers.
    #[error("`{place}` takes {found} layers of `{model}` and {expected} of the first model")]
    Lengths {
        /// The slice or the list of models.
        place: Place,
        /// The model.
        model: String,
        /// Its layers.
        found: usize,
        /// Those of the first.
        expected: usize,
    },
    /// More layers than any model has.
    #[error("the result has {found} layers, expected at most {most}")]
    TooManyLayers {
        /// How many.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// Fewer layers than `config.json` tells of.
    #[error("`config.json` of `{model}` tells of {expected} layers, its tensors are of {found}")]
    Layers {
        /// The model.
        model: String,
        /// Layers with tensors.
        found: usize,
        /// Layers of the configuration.
        expected: usize,
    },
    /// A number of layers that is none.
    #[error("`{key}` in `config.json` of `{model}` is {found}, expected a number of layers")]
    Count {
        /// The model.
        model: String,
        /// The key, dots leading into nested objects.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// A model without tensors that others have.
    #[error("`{model}` has no `{path}`{}", also(*more))]
    Missing {
        /// The model.
        model: String,
        /// The first tensor that it lacks.
        path: ParamPath,
        /// How many more it lacks.
        more: usize,
    },
    /// One tensor in two shapes.
    #[error("`{path}` has shape {found} in `{model}` and {expected} in the first model")]
    Shape {
        /// The tensor in that model.
        path: ParamPath,
        /// The model.
        model: String,
        /// Its shape there.
        found: Shape,
        /// Its shape in the first model of the merge.
        expected: Shape,
    },
    /// Values that cannot be computed with.
    #[error("`{path}` of `{model}` is stored as {found}, expected weights (F16, BF16, F32 or F64)")]
    NotWeights {
        /// The tensor.
        path: ParamPath,
        /// The model.
        model: String,
        /// How it is stored.
        found: DType,
    },
    /// Settings with which the method cannot work.
    #[error("`{path}`{}: {source}", also(*more))]
    Setting {
        /// The first tensor that cannot be merged so.
        path: ParamPath,
        /// How many more there are.
        more: usize,
        /// What is wrong.
        source: ConfigError,
    },
}

fn also(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " and one more tensor".into(),
        more => format!(" and {more} more tensors"),
    }
}

impl Hint for PlanProblem {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NoBase { .. } => {
                "name the model that the others start from as `base_model`".into()
            }
            Self::BaseNotASource { .. } => {
                "add the base with its `layer_range` to the `sources`".into()
            }
            Self::Twice { .. } => "name it once, with the sum of its weights".into(),
            Self::NoModule { nearest, .. } => {
                return nearest
                    .as_ref()
                    .map(|name| format!("did you mean `{name}`?").into());
            }
            Self::WhichModule { .. } => "write `modules: {name: {slices: ...}}`".into(),
            Self::Range { .. } => {
                "layers count from 0, and the second number is the first layer left out".into()
            }
            Self::Lengths { .. } => "merge as many layers of each model, or use `slices`".into(),
            Self::Missing { .. } | Self::Shape { .. } | Self::Layers { .. } => {
                "models must share one architecture; compare `refit info` of both".into()
            }
            Self::NotWeights { .. } => "convert the model to BF16 first".into(),
            Self::Setting { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}

/// Problems while they are collected.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<PlanProblem>,
    count: usize,
    /// The tensors that each model lacks.
    missing: BTreeMap<usize, Lacks>,
    /// The tensors that a setting spoils: the first, and how many more.
    settings: Vec<(ConfigError, ParamPath, usize)>,
}

/// Tensors that a model lacks.
#[derive(Debug)]
struct Lacks {
    first: ParamPath,
    all: HashSet<ParamPath>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: PlanProblem) {
        self.count += 1;
        if self.kept.len() < PlanError::SHOWN {
            self.kept.push(problem);
        }
    }

    pub(super) fn missing(&mut self, model: usize, path: ParamPath) {
        let lacks = self.missing.entry(model).or_insert_with(|| Lacks {
            first: path.clone(),
            all: HashSet::new(),
        });
        lacks.all.insert(path);
    }

    pub(super) fn setting(&mut self, path: &ParamPath, source: ConfigError) {
        match self
            .settings
            .iter_mut()
            .find(|(known, ..)| *known == source)
        {
            Some((_, _, more)) => *more += 1,
            None => self.settings.push((source, path.clone(), 0)),
        }
    }

    /// The error, if there is a problem.
    pub(super) fn settle(mut self, models: &[&ModelRef]) -> Result<Self, PlanError> {
        for (model, lacks) in std::mem::take(&mut self.missing) {
            self.push(PlanProblem::Missing {
                model: models[model].to_string(),
                path: lacks.first,
                more: lacks.all.len() - 1,
            });
        }
        for (source, path, more) in std::mem::take(&mut self.settings) {
            self.push(PlanProblem::Setting { path, more, source });
        }
        if self.count == 0 {
            return Ok(self);
        }
        Err(PlanError {
            more: self.count - self.kept.len(),
            problems: self.kept,
        })
    }
}

/// Names as `a`, `b`.
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// A module that is not there.
pub(super) fn no_module(module: &str, known: &[&str]) -> PlanProblem {
    PlanProblem::NoModule {
        module: module.to_owned(),
        known: quoted(known.iter().copied()),
        nearest: nearest(module, known.iter().copied()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_problems_are_shown_and_the_rest_is_counted() {
        let model: ModelRef = "org/m".parse().unwrap();
        let mut problems = Problems::default();
        for found in 0..11 {
            problems.push(PlanProblem::Headers { found, expected: 1 });
        }
        problems.missing(0, "a.w".into());
        problems.missing(0, "b.w".into());
        problems.missing(0, "b.w".into());
        let error = problems.settle(&[&model]).unwrap_err();
        assert_eq!((error.problems().len(), error.more()), (10, 2));
        assert!(error.to_string().ends_with("\n- and 2 more"), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("the recipe does not fit its models, 12 problems:")
        );

        let mut problems = Problems::default();
        for path in ["a.w", "b.w", "c.w"] {
            problems.missing(0, path.into());
        }
        let error = problems.settle(&[&model]).unwrap_err();
        assert_eq!(error.to_string(), "`org/m` has no `a.w` and 2 more tensors");
        assert!(error.hint().is_some());
        assert!(Problems::default().settle(&[&model]).is_ok());
    }

    #[test]
    fn problems_are_small() {
        assert!(size_of::<PlanProblem>() <= 128 && size_of::<PlanError>() < 128);
    }
}
