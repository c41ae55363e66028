//! Runs code on a chosen number of threads.

use rayon::ThreadPoolBuilder;

/// Runs `work` inside a pool of `count` threads, which everything that it calls through rayon uses too.
///
/// # Panics
/// If the system gives no threads.
///
/// ```
/// use refit_testkit::with_threads;
/// assert_eq!(with_threads(3, rayon::current_num_threads), 3);
/// ```
pub fn with_threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = ThreadPoolBuilder::new().num_threads(count).build();
    pool.expect("the system has a thread to spare")
        .install(work)
}
