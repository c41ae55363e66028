//! A run put down and picked up again, bit by bit.

use super::{
    adam::GroupState,
    coefficients::same_experts,
    collapse::{CollapseWatch, WatchedTask},
    groups::Group,
};
use crate::{
    error::{MergeError, NameList},
    task_vector::TaskVectors,
};
use serde::{Deserialize, Serialize};
use std::io;

const WHAT: &str = "state";
const FORMAT: &str = "refit-adamerging-state";
const VERSION: u32 = 1;

/// Everything that a run of AdaMerging carries from step to step, besides weights and settings.
///
/// Stored as JSON; numbers are stored as their bits, so that a resumed run continues exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionState {
    format: String,
    version: u32,
    step: u64,
    experts: Vec<String>,
    groups: Vec<StoredGroup>,
    watched_steps: u64,
    watched: Vec<StoredTask>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StoredGroup {
    name: String,
    raw: Vec<u32>,
    first: Vec<u32>,
    second: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StoredTask {
    marginal: u64,
    mean: u64,
    initial_marginal: u64,
    first_seen: Option<u64>,
    collapsed: bool,
    classes: usize,
}

impl SessionState {
    pub(super) fn new(
        step: u64,
        tasks: &TaskVectors<'_>,
        groups: &[Group],
        states: &[GroupState],
        watch: &CollapseWatch,
    ) -> Self {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect();
        let groups = groups.iter().zip(states).map(|(group, state)| StoredGroup {
            name: group.name.clone(),
            raw: bits(&state.raw),
            first: bits(&state.first),
            second: bits(&state.second),
        });
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            step,
            experts: tasks.names().map(str::to_owned).collect(),
            groups: groups.collect(),
            watched_steps: watch.steps,
            watched: watch.tasks.iter().map(StoredTask::new).collect(),
        }
    }

    /// Steps that were done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`MergeError::Transfer`] when `writer` fails.
    pub fn save(&self, mut writer: impl io::Write) -> Result<(), MergeError> {
        serde_json::to_writer(&mut writer, self)
            .map_err(io::Error::from)
            .and_then(|()| writer.flush())
            .map_err(|source| MergeError::Transfer { what: WHAT, source })
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`MergeError::Transfer`] when `reader` fails, [`MergeError::Document`] when the document is malformed or of
    /// another format or version.
    pub fn load(mut reader: impl io::Read) -> Result<Self, MergeError> {
        let mut text = String::new();
        reader
            .read_to_string(&mut text)
            .map_err(|source| MergeError::Transfer { what: WHAT, source })?;
        let state: Self = serde_json::from_str(&text).map_err(|e| document(e.to_string()))?;
        if state.format != FORMAT || state.version != VERSION {
            let (format, version) = (&state.format, state.version);
            return Err(document(format!(
                "found format `{format}` version {version}, expected `{FORMAT}` version {VERSION}"
            )));
        }
        Ok(state)
    }

    /// The optimiser's state, if it belongs to these experts and groups, in this order.
    pub(super) fn restore(
        &self,
        tasks: &TaskVectors<'_>,
        groups: &[Group],
    ) -> Result<(Vec<GroupState>, CollapseWatch), MergeError> {
        same_experts(WHAT, &self.experts, tasks)?;
        if !self.experts.iter().map(String::as_str).eq(tasks.names()) {
            return Err(document("experts stand in another order".to_owned()));
        }
        if !self
            .groups
            .iter()
            .map(|g| &g.name)
            .eq(groups.iter().map(|g| &g.name))
        {
            let (stored, here) = (self.groups.len(), groups.len());
            let unknown: NameList = self
                .groups
                .iter()
                .filter(|s| groups.iter().all(|g| g.name != s.name))
                .map(|s| &s.name)
                .collect();
            return Err(document(format!(
                "it has {stored} groups where the settings make {here}; unknown here: {unknown}"
            )));
        }
        let states = self
            .groups
            .iter()
            .map(|group| group.restore(tasks.len()))
            .collect::<Result<_, _>>()?;
        let tasks = self.watched.iter().map(StoredTask::restore).collect();
        Ok((
            states,
            CollapseWatch {
                steps: self.watched_steps,
                tasks,
            },
        ))
    }
}

fn document(problem: String) -> MergeError {
    MergeError::Document {
        what: WHAT,
        problem,
    }
}

impl StoredGroup {
    fn restore(&self, experts: usize) -> Result<GroupState, MergeError> {
        let values =
            |bits: &[u32]| -> Vec<f32> { bits.iter().map(|&b| f32::from_bits(b)).collect() };
        if [&self.raw, &self.first, &self.second]
            .iter()
            .any(|bits| bits.len() != experts)
        {
            return Err(document(format!(
                "group `{}` is not made for {experts} experts",
                self.name
            )));
        }
        let (raw, first, second) = (values(&self.raw), values(&self.first), values(&self.second));
        if raw
            .iter()
            .chain(&first)
            .chain(&second)
            .any(|v| !v.is_finite())
        {
            return Err(document(format!(
                "group `{}` holds values that are not finite",
                self.name
            )));
        }
        Ok(GroupState { raw, first, second })
    }
}

impl StoredTask {
    fn new(task: &WatchedTask) -> Self {
        Self {
            marginal: task.marginal.to_bits(),
            mean: task.mean.to_bits(),
            initial_marginal: task.initial_marginal.to_bits(),
            first_seen: task.first_seen,
            collapsed: task.collapsed,
            classes: task.classes,
        }
    }

    fn restore(&self) -> WatchedTask {
        WatchedTask {
            marginal: f64::from_bits(self.marginal),
            mean: f64::from_bits(self.mean),
            initial_marginal: f64::from_bits(self.initial_marginal),
            first_seen: self.first_seen,
            collapsed: self.collapsed,
            classes: self.classes,
        }
    }
}
