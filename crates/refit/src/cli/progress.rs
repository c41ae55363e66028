//! How long work is shown: a bar on a terminal, a line every ten seconds elsewhere.

use crate::report::{count, duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::{
    fmt,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines of a phase.
const EVERY: Duration = Duration::from_secs(10);
/// Phases shorter than this leave no line behind.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

const KNOWN: &str = "{prefix:<20} {bar:28} {human_pos}/{human_len}  {rate}, {eta} left  {wide_msg}";
const UNKNOWN: &str = "{prefix:<20} {spinner} {human_pos}  {rate}  {wide_msg}";

/// Shows one phase after the other on stderr.
#[derive(Debug)]
pub(super) struct Bar {
    terminal: bool,
    quiet: bool,
    phase: Mutex<Option<Phase>>,
}

#[derive(Debug)]
struct Phase {
    count: Count,
    drawn: ProgressBar,
}

impl Bar {
    pub(super) const fn new(terminal: bool, quiet: bool) -> Self {
        Self {
            terminal,
            quiet,
            phase: Mutex::new(None),
        }
    }

    pub(super) fn begin(&self, name: &str, total: Option<u64>) {
        self.finish();
        if self.quiet {
            return;
        }
        let count = Count::new(name, total, Instant::now());
        let drawn = if self.terminal {
            draw(name, total)
        } else {
            ProgressBar::hidden()
        };
        *self.lock() = Some(Phase { count, drawn });
    }

    pub(super) fn advance(&self, units: u64) {
        if let Some(phase) = &mut *self.lock() {
            phase.count.done += units;
            phase.drawn.inc(units);
            self.line(phase);
        }
    }

    pub(super) fn note(&self, text: &str) {
        if let Some(phase) = &mut *self.lock() {
            text.clone_into(&mut phase.count.note);
            phase.drawn.set_message(text.to_owned());
            self.line(phase);
        }
    }

    /// Ends the phase; a long one leaves a line.
    pub(super) fn finish(&self) {
        let Some(Phase { count, drawn }) = self.lock().take() else {
            return;
        };
        drawn.finish_and_clear();
        let taken = count.started.elapsed();
        if taken >= WORTH_A_LINE {
            tell(&format!(
                "{}: {}",
                count.name,
                duration(taken.as_secs_f64())
            ));
        }
    }

    /// Runs `print` without tearing the bar.
    pub(super) fn above(&self, print: impl FnOnce()) {
        let drawn = self.lock().as_ref().map(|phase| phase.drawn.clone());
        match drawn {
            Some(drawn) => drawn.suspend(print),
            None => print(),
        }
    }

    fn line(&self, phase: &mut Phase) {
        if !self.terminal
            && let Some(line) = phase.count.line(Instant::now())
        {
            tell(&line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Phase>> {
        // A listener that panicked elsewhere must not silence the others.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn draw(name: &str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(8));
    let template = if total.is_some() { KNOWN } else { UNKNOWN };
    let style =
        ProgressStyle::with_template(template).expect("the templates above are well-formed");
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let rate = state.per_sec();
        let _ = if rate < 10.0 {
            write!(out, "{rate:.1}/s")
        } else {
            write!(out, "{}/s", count(rate as u64))
        };
    };
    bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    bar
}

fn tell(line: &str) {
    // If stderr is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

/// How far a phase has come.
#[derive(Debug)]
struct Count {
    name: String,
    total: Option<u64>,
    done: u64,
    note: String,
    started: Instant,
    told: Instant,
}

impl Count {
    fn new(name: &str, total: Option<u64>, now: Instant) -> Self {
        Self {
            name: name.into(),
            total,
            done: 0,
            note: String::new(),
            started: now,
            told: now,
        }
    }

    /// A line, if it is time for one.
    fn line(&mut self, now: Instant) -> Option<String> {
        if now.duration_since(self.told) < EVERY {
            return None;
        }
        self.told = now;
        let seconds = now.duration_since(self.started).as_secs_f64();
        let rate = self.done as f64 / seconds;
        let mut line = format!("{}: {}", self.name, short(self.done as f64));
        if let Some(total) = self.total {
            let left = total.saturating_sub(self.done) as f64 / rate;
            let (total, rate) = (short(total as f64), short(rate));
            line += &format!("/{total}, {rate}/s, {} left", duration(left));
        } else {
            line += &format!(", {}/s", short(rate));
        }
        if !self.note.is_empty() {
            line += &format!("; {}", self.note);
        }
        Some(line)
    }
}

/// Three digits and a unit for large numbers, one decimal for those that are not whole.
fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let unit = UNITS.into_iter().find(|(size, _)| number >= 10.0 * size);
    match unit {
        Some((size, name)) => format!("{:.1}{name}", number / size),
        None if number.fract() == 0.0 => format!("{number:.0}"),
        None => format!("{number:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_ten_seconds_with_rate_and_time_left() {
        let start = Instant::now();
        let mut count = Count::new("experts", Some(400), start);
        count.done = 60;
        assert_eq!(count.line(start + Duration::from_secs(9)), None);
        let line = count.line(start + Duration::from_secs(12)).unwrap();
        assert_eq!(line, "experts: 60/400, 5/s, 68.0 s left");
        count.done = 110;
        count.note = "loss 0.5".into();
        assert_eq!(count.line(start + Duration::from_secs(21)), None);
        let line = count.line(start + Duration::from_secs(22)).unwrap();
        assert_eq!(line, "experts: 110/400, 5/s, 58.0 s left; loss 0.5");
    }

    #[test]
    fn large_numbers_are_short() {
        let shown = [9_999.0, 76_285_952.0, 0.25, 12_345.6, 3e11].map(short);
        assert_eq!(shown, ["9999", "76.3 M", "0.2", "12.3 k", "300.0 G"]);
    }

    #[test]
    fn a_phase_without_an_end_has_no_time_left() {
        let start = Instant::now();
        let mut count = Count::new("scan", None, start);
        count.done = 30;
        assert_eq!(count.line(start + EVERY).unwrap(), "scan: 30, 3/s");
    }
}
