//! Which images come next.

use super::{Last, LoaderConfig, LoaderState, Order};
use crate::data::draw::Draw;
use refit_core::Seed;

/// One batch to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) task: usize,
    pub(super) epoch: u64,
    pub(super) indices: Vec<usize>,
}

/// Walks over the sets: one batch of each in turn, every set in epochs of its own.
pub(super) struct Schedule {
    lens: Vec<usize>,
    config: LoaderConfig,
    seed: Seed,
    state: LoaderState,
    /// The order of each set's current epoch, once it was needed.
    orders: Vec<Option<(u64, Vec<usize>)>>,
}

impl Schedule {
    pub(super) fn new(
        lens: Vec<usize>,
        config: LoaderConfig,
        seed: Seed,
        state: LoaderState,
    ) -> Self {
        let orders = vec![None; lens.len()];
        Self {
            lens,
            config,
            seed,
            state,
            orders,
        }
    }

    /// Where the schedule stands.
    pub(super) const fn state(&self) -> &LoaderState {
        &self.state
    }

    /// The next batch; `None` when every set has gone through its epochs.
    pub(super) fn next(&mut self) -> Option<Job> {
        for _ in 0..self.lens.len() {
            let task = self.state.turn;
            self.state.turn = (task + 1) % self.lens.len();
            self.start_epoch_if_due(task);
            let epoch = self.state.cursors[task].epoch;
            if self.config.epochs.is_none_or(|most| epoch < most) {
                return Some(self.take(task, epoch));
            }
        }
        None
    }

    /// Moves on to the next epoch when too little of this one is left.
    fn start_epoch_if_due(&mut self, task: usize) {
        let cursor = &mut self.state.cursors[task];
        let left = self.lens[task] - cursor.position;
        let needed = match self.config.last {
            Last::Keep => 1,
            Last::Drop => self.config.batch_size,
        };
        if left < needed {
            cursor.epoch += 1;
            cursor.position = 0;
        }
    }

    fn take(&mut self, task: usize, epoch: u64) -> Job {
        self.prepare_order(task, epoch);
        let cursor = &mut self.state.cursors[task];
        let order = self.orders[task]
            .as_ref()
            .map_or(&[][..], |(_, order)| order);
        let end = (cursor.position + self.config.batch_size).min(order.len());
        let indices = order[cursor.position..end].to_vec();
        cursor.position = end;
        Job {
            task,
            epoch,
            indices,
        }
    }

    fn prepare_order(&mut self, task: usize, epoch: u64) {
        if self.orders[task].as_ref().is_some_and(|(e, _)| *e == epoch) {
            return;
        }
        let mut order: Vec<usize> = (0..self.lens[task]).collect();
        if self.config.order == Order::Shuffled {
            self.seed
                .fork(format_args!("order/{task}/{epoch}"))
                .rng()
                .shuffle(&mut order);
        }
        self.orders[task] = Some((epoch, order));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(lens: &[usize], config: LoaderConfig) -> Schedule {
        Schedule::new(
            lens.to_vec(),
            config,
            Seed::new(1),
            LoaderState::start(lens.len()),
        )
    }

    #[test]
    fn every_epoch_visits_every_image_once() {
        let config = LoaderConfig {
            batch_size: 3,
            epochs: Some(2),
            ..LoaderConfig::default()
        };
        let mut schedule = schedule(&[7], config);
        let jobs: Vec<Job> = std::iter::from_fn(|| schedule.next()).collect();
        assert_eq!(
            jobs.iter().map(|j| j.indices.len()).collect::<Vec<_>>(),
            [3, 3, 1, 3, 3, 1]
        );
        let epochs = [0, 1].map(|epoch| {
            jobs.iter()
                .filter(|j| j.epoch == epoch)
                .flat_map(|j| j.indices.clone())
                .collect()
        });
        let sorted = epochs.clone().map(|mut e: Vec<usize>| {
            e.sort_unstable();
            e
        });
        assert_eq!(sorted[0], (0..7).collect::<Vec<_>>());
        assert_eq!(sorted[0], sorted[1]);
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn sets_take_turns_and_the_last_rest_is_dropped() {
        let config = LoaderConfig {
            batch_size: 2,
            order: Order::Sequential,
            last: Last::Drop,
            epochs: Some(1),
            ..LoaderConfig::default()
        };
        let mut schedule = schedule(&[5, 2], config);
        let jobs: Vec<_> = std::iter::from_fn(|| schedule.next())
            .map(|j| (j.task, j.indices))
            .collect();
        assert_eq!(jobs, [(0, vec![0, 1]), (1, vec![0, 1]), (0, vec![2, 3])]);
    }
}
