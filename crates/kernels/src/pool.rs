//! Memory for results, used again: a training step asks for the same sizes as the one before.
//!
//! A fresh buffer of a few megabytes costs a pass of zeros or of page faults, which one thread pays
//! while the others wait. Buffers come back when the last tensor over them is dropped.

#![expect(
    unsafe_code,
    reason = "`Bytes` takes foreign memory through an unsafe interface"
)]

use burn::backend::AllocationProperty;
use burn::tensor::Bytes;
use burn_std::{AccessError, AccessPolicy, AllocationController};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Shorter buffers are cheaper from the allocator.
const SHORTEST: usize = 1 << 12;
/// Bytes kept for later, at most. When more come back, everything kept is let go: sizes that are no
/// longer asked for do not stay.
const MOST_BYTES: usize = 256 << 20;

#[derive(Default)]
struct Pool {
    /// Buffers by length.
    free: HashMap<usize, Vec<Vec<f32>>>,
    bytes: usize,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

impl Pool {
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let buffer = self.free.get_mut(&len)?.pop()?;
        self.bytes -= size_of_val(buffer.as_slice());
        Some(buffer)
    }

    fn give(&mut self, buffer: Vec<f32>) {
        let bytes = size_of_val(buffer.as_slice());
        if self.bytes + bytes > MOST_BYTES {
            *self = Self::default();
        }
        if bytes <= MOST_BYTES {
            self.bytes += bytes;
            self.free.entry(buffer.len()).or_default().push(buffer);
        }
    }
}

/// A buffer of `len` values, which may be left over from an earlier use.
pub(crate) fn buffer(len: usize) -> Vec<f32> {
    let used = if len < SHORTEST {
        None
    } else {
        POOL.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(len)
    };
    used.unwrap_or_else(|| vec![0.0; len])
}

/// The memory of a tensor; it comes back for the next [`buffer`] of its length.
pub(crate) fn bytes(buffer: Vec<f32>) -> Bytes {
    if buffer.len() < SHORTEST {
        return Bytes::from_elems(buffer);
    }
    let len = size_of_val(buffer.as_slice());
    // SAFETY: all of the buffer's `len` bytes are initialised.
    unsafe { Bytes::from_controller(Box::new(Lent(buffer)), len) }
}

/// A buffer that returns to the pool.
struct Lent(Vec<f32>);

impl AllocationController for Lent {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(
        &mut self,
        _: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        // SAFETY: same memory and lifetime; the caller writes initialised bytes only.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.0);
        // SAFETY: same memory and lifetime; what is initialised may be seen as possibly not so.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }

    fn try_detach(&mut self) -> Option<NonNull<u8>> {
        // The new owner frees `len` values: there must not be more behind them.
        let exact = self.0.capacity() == self.0.len();
        let buffer = exact.then(|| std::mem::take(&mut self.0))?;
        Some(NonNull::from(buffer.leak()).cast())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.len() >= SHORTEST {
            POOL.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_and_a_shared_one_is_not() {
        const LEN: usize = SHORTEST + 71; // a length that no other test uses
        let first = bytes(buffer(LEN));
        let address = first.as_ptr();
        let second = bytes(buffer(LEN));
        assert_ne!(second.as_ptr(), address);
        drop(first);
        let third = buffer(LEN);
        assert_eq!(third.as_ptr().cast(), address);
    }

    #[test]
    fn clones_are_independent() {
        let mut values = buffer(SHORTEST);
        values.fill(1.0);
        let original = bytes(values);
        let mut copy = original.clone();
        copy[0] = 7;
        assert_eq!((original[0], copy[0]), (0, 7));
    }

    #[test]
    fn a_vector_takes_the_memory_over() {
        let lent = bytes(vec![2.5; SHORTEST]);
        let address = lent.as_ptr();
        let values = lent
            .try_into_vec::<f32>()
            .expect("same alignment, exact capacity");
        assert_eq!(values.as_ptr().cast(), address);
        assert!(values.iter().all(|v| v.to_bits() == 2.5f32.to_bits()) && values.len() == SHORTEST);
    }

    #[test]
    fn the_pool_lets_go_when_it_is_full() {
        let mut pool = Pool::default();
        let quarter = MOST_BYTES / 4 / size_of::<f32>();
        (0..4).for_each(|_| pool.give(vec![0.0; quarter]));
        assert_eq!(pool.bytes, MOST_BYTES);
        pool.give(vec![0.0; 8]);
        assert!(pool.take(quarter).is_none() && pool.take(8).is_some());
        assert_eq!(pool.bytes, 0);
    }
}
