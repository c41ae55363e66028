//! What was read of the last few tensors that cannot be read piece by piece.

use super::packed::Unpacked;
use crate::ckpt::error::CkptError;
use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept: threads of streaming work are at one tensor, or at two when one ends.
const KEPT: usize = 2;

/// A tensor as a whole.
#[derive(Debug)]
pub(super) enum Whole {
    Bytes(Vec<u8>),
    Unpacked(Unpacked),
}

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Vec<(usize, Arc<Whole>)>>);

impl Recent {
    /// The tensor at `index`, made when it is not kept. Threads that ask for one tensor make it once.
    pub(super) fn get(
        &self,
        index: usize,
        make: impl FnOnce() -> Result<Whole, CkptError>,
    ) -> Result<Arc<Whole>, CkptError> {
        // A thread that failed left whole entries behind.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.iter().position(|entry| entry.0 == index) {
            let entry = kept.remove(found);
            kept.push(entry);
        } else {
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push((index, Arc::new(make()?)));
        }
        let last = &kept[kept.len() - 1].1;
        Ok(Arc::clone(last))
    }
}
