//! Learned coefficients as a document: positions mean nothing, names do.

use super::{
    adamerging::Plus,
    groups::{Group, Grouping},
};
use crate::{
    error::{MergeError, NameList},
    task_vector::TaskVectors,
    tensor_set::TensorSet,
};
use refit_core::ParamPath;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    io,
};

const WHAT: &str = "coefficients";
const FORMAT: &str = "refit-coefficients";
const VERSION: u32 = 1;

/// Merging coefficients with the names of everything they belong to; a recipe for the same merge.
///
/// Stored as JSON. A single group may leave its `tensors` out and then holds for all of them, so a task-wise table
/// can be written by hand:
///
/// ```
/// use refit_merge::Coefficients;
/// let text = r#"{"format": "refit-coefficients", "version": 1, "base": "vit-b-32", "experts": ["cars", "dtd"],
///     "grouping": "task", "groups": [{"name": "all", "values": [0.141, 0.169]}]}"#;
/// let table = Coefficients::load(text.as_bytes()).unwrap();
/// assert_eq!(table.value("all", "dtd"), Some(0.169));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Coefficients {
    format: String,
    version: u32,
    /// Name of the base; for the reader.
    pub base: String,
    /// Names of the experts, in the order of each group's values.
    pub experts: Vec<String>,
    /// How tensors were grouped; for the reader.
    pub grouping: Grouping,
    /// How task vectors are trimmed before they are combined, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plus: Option<Plus>,
    /// The coefficients.
    pub groups: Vec<GroupCoefficients>,
}

/// The coefficients of one group of tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GroupCoefficients {
    /// Name of the group.
    pub name: String,
    /// Names of its tensors; `None` stands for all tensors of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<ParamPath>>,
    /// One coefficient per expert.
    pub values: Vec<f32>,
}

impl Coefficients {
    pub(crate) fn new(
        tasks: &TaskVectors<'_>,
        grouping: Grouping,
        plus: Option<Plus>,
        groups: &[Group],
        values: Vec<Vec<f32>>,
    ) -> Self {
        let path = |&tensor: &usize| tasks.layout().entries()[tensor].path.clone();
        let groups = groups
            .iter()
            .zip(values)
            .map(|(group, values)| GroupCoefficients {
                name: group.name.clone(),
                tensors: Some(group.tensors.iter().map(path).collect()),
                values,
            });
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            base: tasks.base().name().to_owned(),
            experts: tasks.names().map(str::to_owned).collect(),
            grouping,
            plus,
            groups: groups.collect(),
        }
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`MergeError::Transfer`] when `writer` fails.
    pub fn save(&self, mut writer: impl io::Write) -> Result<(), MergeError> {
        serde_json::to_writer_pretty(&mut writer, self)
            .map_err(io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
            .and_then(|()| writer.flush())
            .map_err(|source| MergeError::Transfer { what: WHAT, source })
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`MergeError::Transfer`] when `reader` fails; [`MergeError::Document`] when the document is malformed, of
    /// another format or version, or contradicts itself.
    pub fn load(mut reader: impl io::Read) -> Result<Self, MergeError> {
        let mut text = String::new();
        reader
            .read_to_string(&mut text)
            .map_err(|source| MergeError::Transfer { what: WHAT, source })?;
        let document = |problem: String| MergeError::Document {
            what: WHAT,
            problem,
        };
        let read: Self = serde_json::from_str(&text).map_err(|e| document(e.to_string()))?;
        read.problem()
            .map_or(Ok(read), |problem| Err(document(problem)))
    }

    /// The first thing that is wrong with the document on its own, if anything is.
    fn problem(&self) -> Option<String> {
        if self.format != FORMAT || self.version != VERSION {
            let (format, version) = (&self.format, self.version);
            return Some(format!(
                "found format `{format}` version {version}, expected `{FORMAT}` version {VERSION}"
            ));
        }
        let repeated = first_repeated(self.experts.iter().map(String::as_str));
        if let Some(expert) = repeated {
            return Some(format!("expert `{expert}` is named twice"));
        }
        let tensors = self
            .groups
            .iter()
            .filter_map(|g| g.tensors.as_ref())
            .flatten();
        if let Some(path) = first_repeated(tensors.map(ParamPath::as_str)) {
            return Some(format!("tensor `{path}` is in two groups"));
        }
        self.groups
            .iter()
            .find_map(|group| self.group_problem(group))
    }

    fn group_problem(&self, group: &GroupCoefficients) -> Option<String> {
        let (name, found, expected) = (&group.name, group.values.len(), self.experts.len());
        if found != expected {
            return Some(format!(
                "group `{name}` has {found} values for {expected} experts"
            ));
        }
        if group.tensors.is_none() && self.groups.len() > 1 {
            return Some(format!(
                "group `{name}` names no tensors, but there are other groups"
            ));
        }
        let odd = group.values.iter().position(|v| !v.is_finite())?;
        Some(format!(
            "group `{name}` has a value for `{}` that is not finite",
            self.experts[odd]
        ))
    }

    /// The coefficient of `expert` in `group`.
    pub fn value(&self, group: &str, expert: &str) -> Option<f32> {
        let k = self.experts.iter().position(|name| name == expert)?;
        self.groups
            .iter()
            .find(|g| g.name == group)
            .map(|g| g.values[k])
    }

    /// The groups as indices into the layout of `tasks`, and each group's values in the order of its experts.
    fn matched(&self, tasks: &TaskVectors<'_>) -> Result<(Vec<Group>, Vec<Vec<f32>>), MergeError> {
        let order = self.expert_order(tasks)?;
        self.check_tensors(tasks)?;
        let index = tasks.layout().index();
        let group = |group: &GroupCoefficients| Group {
            name: group.name.clone(),
            tensors: group.tensors.as_ref().map_or_else(
                || (0..tasks.layout().len()).collect(),
                |tensors| tensors.iter().map(|path| index[path.as_str()]).collect(),
            ),
        };
        let values = |group: &GroupCoefficients| order.iter().map(|&k| group.values[k]).collect();
        Ok((
            self.groups.iter().map(group).collect(),
            self.groups.iter().map(values).collect(),
        ))
    }

    /// Where each expert of `tasks` stands in the document.
    fn expert_order(&self, tasks: &TaskVectors<'_>) -> Result<Vec<usize>, MergeError> {
        same_experts(WHAT, &self.experts, tasks)?;
        let at: HashMap<&str, usize> = self
            .experts
            .iter()
            .enumerate()
            .map(|(k, name)| (name.as_str(), k))
            .collect();
        Ok(tasks.names().map(|name| at[name]).collect())
    }

    fn check_tensors(&self, tasks: &TaskVectors<'_>) -> Result<(), MergeError> {
        if matches!(&self.groups[..], [GroupCoefficients { tensors: None, .. }]) {
            return Ok(());
        }
        let named = || {
            self.groups
                .iter()
                .filter_map(|g| g.tensors.as_ref())
                .flatten()
        };
        let here: HashSet<&ParamPath> = named().collect();
        let there: HashSet<&ParamPath> = tasks.layout().paths().collect();
        let missing: NameList = tasks
            .layout()
            .paths()
            .filter(|p| !here.contains(p))
            .collect();
        let unexpected: NameList = named().filter(|p| !there.contains(p)).collect();
        if missing.is_empty() && unexpected.is_empty() {
            return Ok(());
        }
        let what = "the tensors of the coefficients".to_owned();
        Err(MergeError::Names {
            what,
            missing,
            unexpected,
        })
    }
}

/// Refuses a document that was written for other experts; their order is free.
pub(super) fn same_experts(
    what: &'static str,
    documented: &[String],
    tasks: &TaskVectors<'_>,
) -> Result<(), MergeError> {
    let here: HashSet<&str> = tasks.names().collect();
    let there: HashSet<&str> = documented.iter().map(String::as_str).collect();
    let missing: NameList = documented
        .iter()
        .filter(|name| !here.contains(name.as_str()))
        .collect();
    let unexpected: NameList = tasks.names().filter(|name| !there.contains(name)).collect();
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    Err(MergeError::Experts {
        what,
        missing,
        unexpected,
    })
}

fn first_repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

impl TaskVectors<'_> {
    /// Merges with learned coefficients, matched by the names of experts and tensors; the order of both is free.
    ///
    /// # Errors
    /// [`MergeError::Experts`] and [`MergeError::Names`] when the names are not the same.
    ///
    /// # Cost
    /// One pass over base and task vectors, and those of
    /// [`trimmed_and_elected`](TaskVectors::trimmed_and_elected) for AdaMerging++.
    pub fn merge_with(&self, coefficients: &Coefficients) -> Result<TensorSet, MergeError> {
        let (groups, values) = coefficients.matched(self)?;
        match coefficients.plus {
            None => self.combine_groups(&groups, &values),
            Some(Plus { keep }) => self
                .trimmed_and_elected(keep)
                .combine_groups(&groups, &values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(experts: &str, groups: &str) -> Result<Coefficients, MergeError> {
        let text = format!(
            r#"{{"format": "refit-coefficients", "version": 1, "base": "b", "experts": {experts},
                "grouping": "tensor", "groups": {groups}}}"#
        );
        Coefficients::load(text.as_bytes())
    }

    #[test]
    fn documents_that_contradict_themselves_are_refused() {
        let one = r#"[{"name": "g", "tensors": ["w"], "values": [0.5]}]"#;
        assert!(load(r#"["a"]"#, one).is_ok());
        let cases = [
            (r#"["a", "b"]"#, one, "group `g` has 1 values for 2 experts"),
            (r#"["a", "a"]"#, one, "expert `a` is named twice"),
            (
                r#"["a"]"#,
                r#"[{"name": "g", "tensors": ["w", "w"], "values": [0.5]}]"#,
                "tensor `w` is in two groups",
            ),
            (
                r#"["a"]"#,
                r#"[{"name": "g", "values": [1]}, {"name": "h", "values": [1]}]"#,
                "group `g` names no tensors, but there are other groups",
            ),
            (
                r#"["a"]"#,
                r#"[{"name": "g", "values": [1e60]}]"#,
                "not finite",
            ),
        ];
        for (experts, groups, expected) in cases {
            let error = load(experts, groups).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn another_version_is_refused_with_both_numbers() {
        let text = r#"{"format": "refit-coefficients", "version": 2, "base": "b", "experts": [],
            "grouping": "task", "groups": []}"#;
        let error = Coefficients::load(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("version 2, expected `refit-coefficients` version 1"),
            "{error}"
        );
    }
}
