//! Fork and join on threads that stay awake between one operator and the next.
//!
//! An operator of a small network lasts tens of microseconds, as long as it takes to wake a sleeping
//! thread. So the calling thread works itself, and threads of the current `rayon` pool that have
//! helped once keep watch for the next call for a moment; meanwhile they serve their pool too.

#![expect(
    unsafe_code,
    reason = "helpers call a closure that borrows from the caller, who waits for them"
)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a helper keeps watch after the last work it has seen.
const WATCH: Duration = Duration::from_micros(300);
/// Looks at the board between two looks at the clock and the pool.
const LOOKS: usize = 16;

type Task<'a> = dyn Fn(usize) + Sync + 'a;
type Panic = Box<dyn Any + Send>;

/// Where the one caller at a time leaves its work, and how many helpers keep watch.
struct Board {
    taken: AtomicBool,
    round: AtomicUsize,
    helpers: AtomicUsize,
    work: Mutex<Option<Arc<Work>>>,
}

static BOARD: Board = Board {
    taken: AtomicBool::new(false),
    round: AtomicUsize::new(0),
    helpers: AtomicUsize::new(0),
    work: Mutex::new(None),
};

/// Calls `task(0)` to `task(count - 1)`, each once, on the threads of the current pool.
///
/// # Panics
/// If a task panics, with what it panicked with, after all have ended.
pub(crate) fn for_each_index(count: usize, task: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads();
    if threads == 1 || count <= 1 {
        (0..count).for_each(task);
    } else if BOARD.taken.swap(true, Ordering::Acquire) {
        // Another thread, or a task further up this one's stack, has the helpers.
        use rayon::prelude::*;
        (0..count).into_par_iter().for_each(&task);
    } else {
        let _seat = Seat;
        BOARD.call_helpers(threads - 1);
        let work = BOARD.publish(count, threads, &task);
        work.help();
        work.wait();
    }
}

/// Gives the board back, also when a task has panicked.
struct Seat;

impl Drop for Seat {
    fn drop(&mut self) {
        BOARD.taken.store(false, Ordering::Release);
    }
}

impl Board {
    fn call_helpers(&'static self, wanted: usize) {
        // Only the caller who has the seat raises the number.
        for _ in self.helpers.load(Ordering::Acquire)..wanted {
            self.helpers.fetch_add(1, Ordering::AcqRel);
            rayon::spawn(|| self.keep_watch());
        }
    }

    fn publish(&self, count: usize, threads: usize, task: &Task) -> Arc<Work> {
        #[expect(
            clippy::transmute_ptr_to_ptr,
            reason = "a cast does not lengthen a lifetime"
        )]
        // SAFETY: only the lifetime changes; `Work::run` says why the task is alive when it is called.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        let work = Arc::new(Work {
            task,
            count,
            joined: AtomicUsize::new(0),
            claimed: (0..threads)
                .map(|share| AtomicUsize::new(count * share / threads))
                .collect(),
            done: AtomicUsize::new(0),
            panic: Mutex::new(None),
        });
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&work));
        self.round.fetch_add(1, Ordering::Release);
        work
    }

    /// Helps with what is on the board until nothing new has come for a while.
    fn keep_watch(&self) {
        let mut seen = 0;
        let mut last = Instant::now();
        loop {
            let round = self.round.load(Ordering::Acquire);
            if round != seen {
                seen = round;
                let work = self
                    .work
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                if let Some(work) = work {
                    work.help();
                }
                last = Instant::now();
            } else if !self.look_around(seen) && last.elapsed() > WATCH {
                break;
            }
        }
        self.helpers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits a moment and serves the pool; whether there may be something new.
    fn look_around(&self, seen: usize) -> bool {
        for _ in 0..LOOKS {
            if self.round.load(Ordering::Relaxed) != seen {
                return true;
            }
            std::hint::spin_loop();
        }
        let served = rayon::yield_now() == Some(rayon::Yield::Executed);
        if !served {
            std::thread::yield_now();
        }
        served
    }
}

/// The tasks of one call.
struct Work {
    task: *const Task<'static>,
    count: usize,
    /// Threads that have come.
    joined: AtomicUsize,
    /// The next task of each thread's share. Neighbours read the same memory, so each thread begins in
    /// a share of its own.
    claimed: Vec<AtomicUsize>,
    done: AtomicUsize,
    panic: Mutex<Option<Panic>>,
}

// SAFETY: the task is `Sync`, and called while the caller keeps it alive.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

impl Work {
    /// Runs tasks until all are claimed: first those of a share of its own, then what others left.
    fn help(&self) {
        let shares = self.claimed.len();
        let own = self.joined.fetch_add(1, Ordering::Relaxed);
        for share in (0..shares).map(|i| (own + i) % shares) {
            let end = self.count * (share + 1) / shares;
            loop {
                let index = self.claimed[share].fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                self.run(index);
            }
        }
    }

    fn run(&self, index: usize) {
        // SAFETY: the caller, from whom the task borrows, waits until this index is done.
        let task = unsafe { &*self.task };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(index))) {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Waits until every task is done.
    fn wait(&self) {
        let mut looks = 0;
        while self.done.load(Ordering::Acquire) < self.count {
            looks += 1;
            if looks % LOOKS == 0 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        let panic = self
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_testkit::with_threads;

    #[test]
    fn every_task_runs_once_whoever_calls_and_how_often() {
        let calls_each_once = |count: usize| {
            let calls: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each_index(count, |i| {
                calls[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        };
        std::thread::scope(|scope| {
            for threads in 2..5 {
                scope.spawn(move || {
                    with_threads(threads, || (0..40).chain([1000]).for_each(calls_each_once));
                });
            }
        });
    }

    #[test]
    fn a_task_may_fork_again() {
        let sum = AtomicUsize::new(0);
        for_each_index(8, |i| {
            for_each_index(8, |j| {
                sum.fetch_add(8 * i + j, Ordering::Relaxed);
            });
        });
        assert_eq!(sum.into_inner(), 63 * 64 / 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_tasks() {
        let done = AtomicUsize::new(0);
        let call = || {
            for_each_index(20, |i| {
                assert!(i != 7, "task {i}");
                done.fetch_add(1, Ordering::Relaxed);
            });
        };
        let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "task 7");
        for_each_index(3, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 22);
    }

    #[test]
    fn helpers_go_home() {
        with_threads(3, || for_each_index(64, |_| std::thread::yield_now()));
        let start = Instant::now();
        while BOARD.helpers.load(Ordering::Acquire) > 0 {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
    }
}
