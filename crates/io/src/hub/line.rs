//! The line to the hub: hung up when it says nothing for too long, and when nobody wants to listen any more.

use refit_core::Progress;
use std::{
    io::{self, Read},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};
use ureq::Agent;

/// How long a connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long finding and reaching a host may take; neither can be hung up.
const REACH: Duration = Duration::from_secs(15);
/// How often silence and wishes are looked at.
const STEP: Duration = Duration::from_millis(50);

/// Connections, and since when one of them is waited for.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) patience: Duration,
    agent: Mutex<Agent>,
    waiting: Mutex<Option<Instant>>,
    fell_silent: AtomicBool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            patience: PATIENCE,
            agent: Mutex::new(agent()),
            waiting: Mutex::new(None),
            fell_silent: AtomicBool::new(false),
        }
    }

    /// What requests are made with; after the line was hung up, another than before.
    pub(super) fn agent(&self) -> Agent {
        held(&self.agent).clone()
    }

    /// Does `work`, whose waits at [`wait`](Self::wait) end when they are too long or `progress` is cancelled.
    pub(super) fn watched<T>(&self, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| self.watch(&done, progress));
            let _end = End(&done, watch.thread().clone());
            work()
        })
    }

    /// Waits for the hub by `call`.
    pub(super) fn wait<T>(&self, call: impl FnOnce() -> T) -> T {
        self.fell_silent.store(false, Ordering::Relaxed);
        *held(&self.waiting) = Some(Instant::now());
        let result = call();
        *held(&self.waiting) = None;
        result
    }

    /// Whether the last wait ended for silence.
    pub(super) fn fell_silent(&self) -> bool {
        self.fell_silent.load(Ordering::Relaxed)
    }

    fn watch(&self, done: &AtomicBool, progress: &dyn Progress) {
        while !done.load(Ordering::Acquire) {
            let since = *held(&self.waiting);
            if let Some(since) = since {
                let silent = since.elapsed() >= self.patience;
                if silent || progress.cancelled() {
                    self.hang_up(since, silent);
                }
            }
            thread::park_timeout(STEP.min(self.patience));
        }
    }

    /// Ends the wait that began at `since`, unless it just ended by itself.
    fn hang_up(&self, since: Instant, silent: bool) {
        let mut waiting = held(&self.waiting);
        if *waiting != Some(since) {
            return;
        }
        *waiting = None;
        self.fell_silent.store(silent, Ordering::Relaxed);
        mem::replace(&mut *held(&self.agent), agent()).shutdown();
    }
}

/// Tells the watch that the work is over, however it ended.
struct End<'a>(&'a AtomicBool, Thread);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// The body of an answer, each read of which is a wait.
pub(super) struct Heard<'a, R> {
    line: &'a Line,
    body: R,
}

impl<'a, R> Heard<'a, R> {
    pub(super) const fn new(line: &'a Line, body: R) -> Self {
        Self { line, body }
    }
}

impl<R: Read> Read for Heard<'_, R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        self.line.wait(|| self.body.read(block))
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_resolve(Some(REACH))
        .timeout_connect(Some(REACH))
        .user_agent(concat!("refit/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

/// No holder of these locks can panic.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
