//! What one repetition finds, piece by piece.

use crate::outcome::{CoefficientTable, Curve, Phase, Sweep};
use serde::{Deserialize, Serialize};

/// How good one method is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scored {
    pub(super) name: String,
    pub(super) settings: String,
    /// Test accuracy of each task.
    pub(super) per_task: Vec<f64>,
    /// Mean over tasks for each corruption, in the order of [`Corruption::ALL`](refit_io::data::Corruption::ALL).
    pub(super) per_corruption: Vec<f64>,
    pub(super) seconds: f64,
}

/// What is known of a stage beside its model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notes {
    /// Settings that were chosen on the way, such as `scale 0.3`.
    pub(super) settings: String,
    pub(super) seconds: f64,
    pub(super) peak_bytes: u64,
    pub(super) coefficients: Option<CoefficientTable>,
    pub(super) curve: Option<Curve>,
    pub(super) sweep: Option<Sweep>,
    pub(super) collapses: Vec<String>,
}

/// Everything one repetition found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) methods: Vec<Scored>,
    pub(super) coefficients: Vec<CoefficientTable>,
    pub(super) curves: Vec<Curve>,
    pub(super) sweeps: Vec<Sweep>,
    pub(super) phases: Vec<Phase>,
    pub(super) collapses: Vec<String>,
    /// Seconds of the stages that an earlier run had finished.
    pub(super) spared: f64,
}

impl Found {
    /// Adds the notes of a stage; stages of one phase share a line of the cost.
    pub(super) fn take(&mut self, phase: &str, notes: &Notes) {
        self.coefficients.extend(notes.coefficients.clone());
        self.curves.extend(notes.curve.clone());
        self.sweeps.extend(notes.sweep.clone());
        self.collapses.extend(notes.collapses.iter().cloned());
        let Some(last) = self.phases.last_mut().filter(|last| last.name == phase) else {
            self.phases.push(Phase {
                name: phase.to_owned(),
                seconds: notes.seconds,
                peak_bytes: notes.peak_bytes,
            });
            return;
        };
        last.seconds += notes.seconds;
        last.peak_bytes = last.peak_bytes.max(notes.peak_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_one_phase_share_its_cost() {
        let mut found = Found::default();
        let notes = |seconds, peak_bytes| Notes {
            seconds,
            peak_bytes,
            ..Notes::default()
        };
        found.take("base", &notes(1.0, 5));
        found.take("experts", &notes(2.0, 9));
        found.take("experts", &notes(3.0, 7));
        let cost: Vec<_> = found
            .phases
            .iter()
            .map(|p| (p.name.as_str(), p.seconds, p.peak_bytes))
            .collect();
        assert_eq!(cost, [("base", 1.0, 5), ("experts", 5.0, 9)]);
    }
}
