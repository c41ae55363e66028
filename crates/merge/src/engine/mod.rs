//! Merging whole models, one stretch of one tensor at a time.
//!
//! A [`Job`] says how one output tensor comes about; [`run`] does them in order. Tensors are read by position and
//! written by position, so nothing larger than a few blocks is in memory unless a method has to see a whole tensor,
//! and neither the size of the models nor their number changes that. While one group of tensors is merged, the next
//! is fetched and the last one reaches the disk.

mod finite;
mod flush;
mod job;
mod operands;

pub use job::{Job, Operand, Work, held_bytes};

use crate::{
    error::MergeError,
    stream::{Block, Look, StreamRule, Tally},
    task_vector::NotFinite,
};
use finite::first_not_finite;
use flush::Flusher;
use operands::Operands;
use rayon::prelude::*;
use refit_core::{Progress, TensorWrite};
use std::{ops::Range, sync::Mutex};

/// How a merge runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Most bytes of blocks that a thread holds for tensors worked on side by side (default 256 MiB). One tensor alone
    /// may exceed it: a method that has to see the whole tensor needs it whole.
    pub memory_bytes: u64,
    /// What happens to NaN and infinities in models and result (default: refused).
    pub not_finite: NotFinite,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            not_finite: NotFinite::Refuse,
        }
    }
}

/// Values of the tensors that are worked on side by side, where every method is content with blocks: enough that
/// threads seldom wait for each other, and that what reaches the disk does so in long runs.
const GROUP_VALUES: usize = 8 << 20;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Makes every tensor of `sink` by its job; `job(i)` is asked for each tensor that was not done before, when its turn
/// comes.
///
/// # Errors
/// [`MergeError::Cancelled`] when `progress` asks for a stop, after what is complete has reached the disk;
/// [`MergeError::NotFinite`] and [`MergeError::Overflow`]; those of rules, readers and `sink`.
/// # Cost
/// One pass over the operands for every survey of a rule, and one more.
pub fn run(
    config: EngineConfig,
    sink: &dyn TensorWrite,
    job: &(dyn Fn(usize) -> Result<Job, MergeError> + Sync),
    progress: &dyn Progress,
) -> Result<(), MergeError> {
    let tensors = sink.tensors();
    let left = |i: &usize| !sink.is_done(*i);
    let total = (0..tensors.len())
        .filter(left)
        .map(|i| tensors[i].len() as u64);
    progress.begin("merging values", Some(total.sum()));
    let mut groups = Groups {
        config,
        sink,
        job,
        next: 0,
        held_over: None,
    };
    Flusher::with(sink, |flusher| {
        let mut group = groups.next()?;
        while let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) {
            let range = *first..*last + 1;
            // Known before this group is done, so that a disk can begin to fetch it.
            let coming = groups.next()?;
            for (_, job) in &coming {
                job.prefetch();
            }
            group
                .into_par_iter()
                .with_max_len(1)
                .try_for_each(|(index, job)| finish(index, job, config, sink, progress))?;
            flusher.done(range)?;
            group = coming;
        }
        Ok(())
    })
}

/// Cuts the tensors that are left into runs that are worked on side by side.
struct Groups<'a> {
    config: EngineConfig,
    sink: &'a dyn TensorWrite,
    job: &'a (dyn Fn(usize) -> Result<Job, MergeError> + Sync),
    /// The next tensor.
    next: usize,
    /// A job that did not fit into the run before.
    held_over: Option<(usize, Job)>,
}

impl Groups<'_> {
    /// The next run; empty at the end.
    fn next(&mut self) -> Result<Vec<(usize, Job)>, MergeError> {
        let tensors = self.sink.tensors();
        let (mut group, mut values, mut bytes) = (Vec::new(), 0, 0);
        while let Some((index, job)) = self.one()? {
            let shape = &tensors[index].shape;
            bytes += job.held_bytes(shape);
            if !group.is_empty() && bytes > self.config.memory_bytes {
                self.held_over = Some((index, job));
                break;
            }
            values += tensors[index].len();
            group.push((index, job));
            if values >= GROUP_VALUES {
                break;
            }
        }
        Ok(group)
    }

    fn one(&mut self) -> Result<Option<(usize, Job)>, MergeError> {
        if let Some(job) = self.held_over.take() {
            return Ok(Some(job));
        }
        while self.next < self.sink.tensors().len() {
            let index = self.next;
            self.next += 1;
            if !self.sink.is_done(index) {
                return Ok(Some((index, (self.job)(index)?)));
            }
        }
        Ok(None)
    }
}

/// Does one job.
fn finish(
    index: usize,
    job: Job,
    config: EngineConfig,
    sink: &dyn TensorWrite,
    progress: &dyn Progress,
) -> Result<(), MergeError> {
    match job.work {
        Work::Copy(operand) => copy(index, &operand, config.not_finite, sink, progress),
        Work::Merge { rule, base, models } => {
            let operands = Operands {
                at: &sink.tensors()[index],
                base,
                models,
                not_finite: config.not_finite,
            };
            merge(index, rule, &operands, sink, progress)
        }
    }
}

fn copy(
    index: usize,
    operand: &Operand,
    not_finite: NotFinite,
    sink: &dyn TensorWrite,
    progress: &dyn Progress,
) -> Result<(), MergeError> {
    let meta = &sink.tensors()[index];
    let size = meta.dtype.size_bytes();
    let starts: Vec<usize> = (0..meta.size_bytes()).step_by(COPY_BYTES).collect();
    starts.into_par_iter().try_for_each_init(
        || vec![0; COPY_BYTES],
        |bytes, start| {
            if progress.cancelled() {
                return Err(MergeError::Cancelled);
            }
            let end = (start + COPY_BYTES).min(meta.size_bytes());
            let bytes = &mut bytes[..end - start];
            let read = operand.tensor.read_bytes(start..end, bytes);
            read.map_err(|error| operand.failed(&meta.path, error))?;
            if not_finite == NotFinite::Refuse
                && let Some((at, value)) = first_not_finite(meta.dtype, bytes)
            {
                return Err(MergeError::NotFinite {
                    path: meta.path.clone(),
                    model: operand.model.clone(),
                    position: start / size + at,
                    value,
                });
            }
            let written = sink.write_bytes(index, start, bytes);
            written.map_err(|error| MergeError::writing(&meta.path, error))?;
            progress.advance((bytes.len() / size) as u64);
            Ok(())
        },
    )
}

/// Memory that a thread reuses from block to block.
#[derive(Default)]
struct Desk {
    values: Vec<f32>,
    bytes: Vec<u8>,
    merged: Vec<f32>,
}

fn merge(
    index: usize,
    mut rule: Box<dyn StreamRule>,
    operands: &Operands<'_>,
    sink: &dyn TensorWrite,
    progress: &dyn Progress,
) -> Result<(), MergeError> {
    let meta = &sink.tensors()[index];
    // Who surveys everything checks it the first time: one NaN spoils what is learned of all.
    let (mut round, mut check) = (0, true);
    while round < rule.surveys() {
        let tally = survey(&*rule, round, operands, check, progress)?;
        check &= rule.look(round) != Look::Everything;
        rule.learn(round, tally)?;
        round += 1;
    }
    let rule = &*rule;
    let blocks = Look::Everything.ranges(rule.span(), &meta.shape);
    blocks.par_iter().enumerate().try_for_each_init(
        Desk::default,
        |Desk {
             values,
             bytes,
             merged,
         },
         (number, range)| {
            let merge = |block: &Block<'_>| {
                merged.resize(range.len(), 0.0);
                rule.merge(block, merged)
            };
            operands.with_block(number, range, values, bytes, check, progress, merge)?;
            operands.check_result(range.start, merged)?;
            let written = sink.write_f32(index, range.start, merged, bytes);
            written.map_err(|error| MergeError::writing(&meta.path, error))?;
            progress.advance(range.len() as u64);
            Ok(())
        },
    )
}

/// What survey `round` of `rule` writes down.
fn survey(
    rule: &dyn StreamRule,
    round: usize,
    operands: &Operands<'_>,
    check: bool,
    progress: &dyn Progress,
) -> Result<Tally, MergeError> {
    /// Values that are worth another thread.
    const SHARE: usize = 1 << 14;
    let tallies: Mutex<Vec<Tally>> = Mutex::default();
    let ranges = rule.look(round).ranges(rule.span(), &operands.at.shape);
    let together = SHARE / ranges.first().map_or(1, Range::len).max(1);
    let each = ranges.par_iter().enumerate().with_min_len(together.max(1));
    each.try_for_each_init(
        || Pen::new(&tallies),
        |pen, (number, range)| {
            let Pen { desk, tally, .. } = pen;
            let look = |block: &Block<'_>| {
                rule.survey(round, block, tally);
                Ok(())
            };
            operands.with_block(
                number,
                range,
                &mut desk.values,
                &mut desk.bytes,
                check,
                progress,
                look,
            )
        },
    )?;
    let tallies = tallies.into_inner().unwrap_or_default();
    Ok(tallies.into_iter().fold(Tally::default(), Tally::merged))
}

/// What one thread writes a survey down with; it hands its tally over when it is done.
struct Pen<'a> {
    desk: Desk,
    tally: Tally,
    tallies: &'a Mutex<Vec<Tally>>,
}

impl<'a> Pen<'a> {
    fn new(tallies: &'a Mutex<Vec<Tally>>) -> Self {
        Self {
            desk: Desk::default(),
            tally: Tally::default(),
            tallies,
        }
    }
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        if let Ok(mut tallies) = self.tallies.lock() {
            tallies.push(std::mem::take(&mut self.tally));
        }
    }
}

#[cfg(test)]
mod tests;
