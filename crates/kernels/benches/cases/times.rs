//! Timing a case again and again.

use std::time::{Duration, Instant};

/// Milliseconds of each run, after two unrecorded ones.
pub(crate) fn times(seconds: f64, mut run: impl FnMut()) -> Vec<f64> {
    run();
    run();
    let (start, mut millis) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs_f64(seconds) || millis.len() < 5 {
        let begin = Instant::now();
        run();
        millis.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    millis
}
