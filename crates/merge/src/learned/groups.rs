//! Which tensors share a coefficient.

use crate::layout::Layout;
use refit_core::{ConfigError, ParamPath};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What counts as one layer.
///
/// ```
/// use refit_merge::Grouping;
/// let each: Grouping = serde_json::from_str("\"block\"").unwrap();
/// assert_eq!(each, Grouping::Block);
/// let custom: Grouping = serde_json::from_str(r#"{"regex": ["attn", "mlp"]}"#).unwrap();
/// assert_eq!(custom, Grouping::Regex(vec!["attn".into(), "mlp".into()]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grouping {
    /// One coefficient per expert for the whole model ("task-wise").
    Task,
    /// Each parameter tensor on its own, weight and bias apart ("layer-wise" as in the paper).
    #[default]
    Tensor,
    /// The tensors of one module: names that agree up to the last dot.
    Module,
    /// The tensors of one repeated block: names that agree up to the first number; elsewhere as `module`.
    Block,
    /// The first of these patterns that is found in the name; names without a match form the group `rest`. A pattern
    /// with a capture group splits by what it captures: `blocks\.(\d+)\.attn` is one group per block.
    Regex(Vec<String>),
}

/// Tensors that share one coefficient per expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What the tensors have in common; unique.
    pub name: String,
    /// Indices into the [`Layout`], ascending.
    pub tensors: Vec<usize>,
}

impl Grouping {
    /// Sorts the tensors of `layout` into groups, in the order in which groups first appear.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] when a pattern does not compile or none is given.
    pub fn groups(&self, layout: &Layout) -> Result<Vec<Group>, ConfigError> {
        let patterns = self.compile()?;
        let mut groups: Vec<Group> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (tensor, path) in layout.paths().enumerate() {
            let name = self.name_of(path, &patterns);
            let at = *known.entry(name).or_insert_with_key(|name| {
                groups.push(Group {
                    name: name.clone(),
                    tensors: vec![],
                });
                groups.len() - 1
            });
            groups[at].tensors.push(tensor);
        }
        Ok(groups)
    }

    /// Compiles the patterns, if there are any.
    pub(crate) fn compile(&self) -> Result<Vec<Regex>, ConfigError> {
        let Self::Regex(patterns) = self else {
            return Ok(vec![]);
        };
        if patterns.is_empty() {
            return Err(ConfigError::conflict(
                "grouping",
                "has no pattern, expected at least one",
            ));
        }
        let compile = |pattern: &String| {
            Regex::new(pattern).map_err(|error| {
                ConfigError::conflict("grouping", format!("has the pattern `{pattern}`: {error}"))
            })
        };
        patterns.iter().map(compile).collect()
    }

    fn name_of(&self, path: &ParamPath, patterns: &[Regex]) -> String {
        let module = || match path.module() {
            "" => path.as_str(),
            module => module,
        };
        match self {
            Self::Task => "all".to_owned(),
            Self::Tensor => path.to_string(),
            Self::Module => module().to_owned(),
            Self::Block => path.block().unwrap_or_else(module).to_owned(),
            Self::Regex(_) => first_match(path, patterns),
        }
    }
}

fn first_match(path: &ParamPath, patterns: &[Regex]) -> String {
    let found = patterns
        .iter()
        .find_map(|p| Some((p, p.captures(path.as_str())?)));
    match found {
        None => "rest".to_owned(),
        Some((pattern, captures)) => {
            let parts: Vec<&str> = captures
                .iter()
                .skip(1)
                .flatten()
                .map(|part| part.as_str())
                .collect();
            if parts.is_empty() {
                pattern.to_string()
            } else {
                format!("{pattern} @ {}", parts.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = [
        "cls",
        "blocks.0.attn.weight",
        "blocks.0.attn.bias",
        "blocks.1.attn.weight",
        "blocks.1.mlp.weight",
        "norm.weight",
        "norm.bias",
    ];

    fn groups(grouping: &Grouping) -> Vec<(String, Vec<usize>)> {
        let layout = Layout::new(NAMES.map(|name| (name.into(), vec![1])));
        grouping
            .groups(&layout)
            .unwrap()
            .into_iter()
            .map(|g| (g.name, g.tensors))
            .collect()
    }

    fn named(expected: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
        expected
            .iter()
            .map(|(name, tensors)| ((*name).to_owned(), tensors.to_vec()))
            .collect()
    }

    #[test]
    fn presets_cut_where_they_say() {
        assert_eq!(
            groups(&Grouping::Task),
            named(&[("all", &[0, 1, 2, 3, 4, 5, 6])])
        );
        assert_eq!(groups(&Grouping::Tensor).len(), 7);
        let modules = [
            ("cls", &[0][..]),
            ("blocks.0.attn", &[1, 2]),
            ("blocks.1.attn", &[3]),
            ("blocks.1.mlp", &[4]),
            ("norm", &[5, 6]),
        ];
        assert_eq!(groups(&Grouping::Module), named(&modules));
        let blocks = [
            ("cls", &[0][..]),
            ("blocks.0", &[1, 2]),
            ("blocks.1", &[3, 4]),
            ("norm", &[5, 6]),
        ];
        assert_eq!(groups(&Grouping::Block), named(&blocks));
    }

    #[test]
    fn patterns_match_in_order_and_split_by_capture() {
        let grouping = Grouping::Regex(vec![r"(\d+)\.attn".into(), r"^norm".into()]);
        let expected = [
            ("rest", &[0, 4][..]),
            (r"(\d+)\.attn @ 0", &[1, 2]),
            (r"(\d+)\.attn @ 1", &[3]),
            ("^norm", &[5, 6]),
        ];
        assert_eq!(groups(&grouping), named(&expected));
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named() {
        let error = Grouping::Regex(vec!["(".into()]).compile().unwrap_err();
        assert!(
            error.to_string().contains("`grouping` has the pattern `(`"),
            "{error}"
        );
        assert!(Grouping::Regex(vec![]).compile().is_err());
    }
}
