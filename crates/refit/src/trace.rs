//! What an adaptation leaves: its curve, its coefficients, and the state that it goes on with.

use crate::outcome::{CoefficientTable, CurvePoint};
use refit_merge::{Coefficients, Session, SessionState, StepRecord, TaskEntropy};
use serde::{Deserialize, Serialize};

/// What an adaptation goes on with: its state, and its curve up to there.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedAdaptation {
    pub(crate) session: SessionState,
    points: Vec<SavedPoint>,
}

impl SavedAdaptation {
    pub(crate) fn new(session: &Session<'_>, points: &[CurvePoint]) -> Self {
        Self {
            session: session.state(),
            points: points.iter().map(SavedPoint::from).collect(),
        }
    }

    pub(crate) fn points(self) -> Vec<CurvePoint> {
        self.points.into_iter().map(CurvePoint::from).collect()
    }
}

/// A [`CurvePoint`] to the last bit, which a decimal number in a document is not.
#[derive(Serialize, Deserialize)]
struct SavedPoint(u64, [u64; 2], Option<u64>);

impl From<&CurvePoint> for SavedPoint {
    fn from(point: &CurvePoint) -> Self {
        let bits = [point.entropy, point.marginal].map(f64::to_bits);
        Self(point.step, bits, point.accuracy.map(f64::to_bits))
    }
}

impl From<SavedPoint> for CurvePoint {
    fn from(SavedPoint(step, bits, accuracy): SavedPoint) -> Self {
        let [entropy, marginal] = bits.map(f64::from_bits);
        Self {
            step,
            entropy,
            marginal,
            accuracy: accuracy.map(f64::from_bits),
        }
    }
}

/// The point of the curve that a step adds.
pub(crate) fn point(record: &StepRecord, accuracy: Option<f64>) -> CurvePoint {
    let tasks = &record.report.tasks;
    let mean =
        |value: fn(&TaskEntropy) -> f64| tasks.iter().map(value).sum::<f64>() / tasks.len() as f64;
    CurvePoint {
        step: record.step + 1,
        entropy: mean(|task| task.mean),
        marginal: mean(marginal_share),
        accuracy,
    }
}

/// Class-marginal entropy as a share of its maximum.
fn marginal_share(task: &TaskEntropy) -> f64 {
    task.marginal / (task.classes as f64).ln().max(f64::MIN_POSITIVE)
}

/// A point as a line of measurements holds it.
pub(crate) fn point_values(point: &CurvePoint) -> Vec<(&'static str, f64)> {
    let mut values = vec![("entropy", point.entropy), ("spread", point.marginal)];
    values.extend(
        point
            .accuracy
            .map(|accuracy| ("validation accuracy", accuracy)),
    );
    values
}

/// Learned coefficients as pages show them.
pub(crate) fn table(method: &str, learned: &Coefficients) -> CoefficientTable {
    let groups = learned.groups.iter();
    let values = |values: &Vec<f32>| values.iter().map(|&v| f64::from(v)).collect();
    CoefficientTable {
        method: method.to_owned(),
        groups: groups.clone().map(|g| g.name.clone()).collect(),
        values: groups.map(|g| values(&g.values)).collect(),
    }
}
