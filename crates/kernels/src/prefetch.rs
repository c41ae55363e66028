//! Asking for memory before it is needed.

#![expect(unsafe_code, reason = "an instruction without effect on results")]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the cache lines of `values`, which are read some hundred nanoseconds later: rows of a random sample, which no
/// processor guesses. Does nothing where there is no such instruction.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let per_line = (LINE / size_of::<T>().max(1)).max(1);
        for line in values.chunks(per_line) {
            // SAFETY: part of every x86-64 processor; it neither faults nor changes anything, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, LINE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_may_be_asked_for() {
        prefetch(&[0u8; 0]);
        prefetch(&[0.0f32; 1000][3..]);
        prefetch(&[[0u64; 100]; 2]);
        prefetch(&[(); 5]);
    }
}
