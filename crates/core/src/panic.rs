//! Readers of others that panic where they should say no.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}
/// Panics are told by one hook for the whole process.
static HOOK: Once = Once::new();

/// Runs what reads a file of strangers and may panic on a damaged one; `None` where it does, and nothing is printed.
///
/// Work that other threads do for it is heard as always.
///
/// ```
/// assert_eq!(refit_core::without_panic(|| 2), Some(2));
/// let none: Option<u8> = refit_core::without_panic(|| [1, 2][std::hint::black_box(7)]);
/// assert_eq!(none, None);
/// ```
pub fn without_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                hook(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let found = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    found.ok()
}
