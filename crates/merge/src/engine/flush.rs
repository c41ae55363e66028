//! A thread that brings finished tensors to the disk while others are merged.

use crate::error::MergeError;
use refit_core::{TensorWrite, WriteError};
use std::{
    ops::Range,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

/// Hands finished tensors over.
pub(super) struct Flusher<'a> {
    sink: &'a dyn TensorWrite,
    finished: Sender<Range<usize>>,
    problems: Receiver<(usize, WriteError)>,
}

impl<'a> Flusher<'a> {
    /// Runs `work` beside a thread that says `done` of what it hands over; returns when everything has been said.
    pub(super) fn with(
        sink: &'a dyn TensorWrite,
        work: impl FnOnce(&Self) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        let ((finished, received), (report, problems)) = (channel(), channel());
        let flusher = Self {
            sink,
            finished,
            problems,
        };
        thread::scope(|scope| {
            scope.spawn(move || {
                while let Ok(range) = next_run(&received) {
                    let start = range.start;
                    if let Err(error) = sink.done(range) {
                        // Whoever listens no longer has a problem of its own.
                        let _ = report.send((start, error));
                        return;
                    }
                }
            });
            let result = work(&flusher);
            let Self {
                finished, problems, ..
            } = flusher;
            drop(finished);
            // Ends when the thread does.
            let problem = problems.iter().next();
            result?;
            match problem {
                Some((tensor, error)) => {
                    Err(MergeError::writing(&sink.tensors()[tensor].path, error))
                }
                None => Ok(()),
            }
        })
    }

    /// Says that these tensors were written completely.
    ///
    /// # Errors
    /// When tensors that were handed over before could not be brought to the disk.
    pub(super) fn done(&self, range: Range<usize>) -> Result<(), MergeError> {
        if let Ok((tensor, error)) = self.problems.try_recv() {
            let path = &self.sink.tensors()[tensor].path;
            return Err(MergeError::writing(path, error));
        }
        // The thread is gone only after it has reported a problem, which the next call or the end meets.
        let _ = self.finished.send(range);
        Ok(())
    }
}

/// Everything that waits, as one run where it is one.
fn next_run(received: &Receiver<Range<usize>>) -> Result<Range<usize>, std::sync::mpsc::RecvError> {
    let mut run = received.recv()?;
    // What waits further on is taken in the next turn; runs come in order and seldom have gaps.
    while let Some(next) = received.try_iter().next() {
        run.end = next.end;
    }
    Ok(run)
}
