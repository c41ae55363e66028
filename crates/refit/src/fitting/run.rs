//! How an arm went.

use super::{
    Verdict,
    record::{Point, Recorder},
};
use refit_train::optim::second::{Certificate, Counts, Descended, SecondOrderState, Status};

/// How an arm went, whatever its method.
pub(super) struct Run {
    pub(super) verdict: Verdict,
    pub(super) certificate: Option<Certificate>,
    pub(super) trials: u64,
    pub(super) x: Vec<f64>,
    pub(super) counts: Counts,
    pub(super) seconds: f64,
    /// What it can go on from; methods without one begin again.
    pub(super) state: Option<SecondOrderState>,
}

impl Run {
    /// What a method without trials found; its way is written here, as it is told in the end.
    pub(super) fn descended(
        arm: &str,
        found: Descended,
        errors: &[[Option<f64>; 2]],
        recorder: &mut Recorder<'_>,
    ) -> Self {
        let last = found.way.last().copied();
        if found.status != Status::Interrupted {
            // The last one is looked at with its errors, as for every arm.
            let points = found.way.len().saturating_sub(1);
            for (place, at) in found.way.iter().enumerate() {
                recorder.step(arm, at);
                if place == points {
                    break;
                }
                let point = Point {
                    step: at.step,
                    loss: at.value,
                    gradient: at.gradient,
                    errors: errors.get(place).copied().unwrap_or_default(),
                    propagations: at.counts.propagations(),
                    seconds: at.seconds,
                };
                recorder.point(arm, &point);
            }
        }
        Self {
            verdict: (&found.status).into(),
            certificate: None,
            trials: last.map_or(0, |at| at.step),
            x: found.x,
            counts: found.counts,
            seconds: last.map_or(0.0, |at| at.seconds),
            state: None,
        }
    }

    pub(super) fn diverged() -> Self {
        Self {
            verdict: Verdict::Diverged,
            certificate: None,
            trials: 0,
            x: Vec::new(),
            counts: Counts::default(),
            seconds: 0.0,
            state: None,
        }
    }
}
