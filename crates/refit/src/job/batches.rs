//! Batches that hold images of several tasks.

use rayon::prelude::*;
use refit_core::Seed;
use refit_io::data::{Augment, AugmentConfig, ImageSet, Normalise};
use std::{ops::Range, sync::Arc};

/// Images of one or more tasks, side by side, so that the encoder runs once.
#[derive(Clone, Debug)]
pub(super) struct MixedBatch {
    /// Normalised pixels of all parts.
    pub(super) pixels: Vec<f32>,
    /// Images, channels, height, width.
    pub(super) shape: [usize; 4],
    /// Which rows belong to which task, with their labels.
    pub(super) parts: Vec<Part>,
}

/// The rows of one task.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) task: usize,
    pub(super) rows: Range<usize>,
    pub(super) labels: Vec<u32>,
}

/// Draws batches that depend on their number alone.
#[derive(Clone, Debug)]
pub(super) struct Drawer {
    sets: Vec<(usize, Arc<ImageSet>)>,
    normalise: Normalise,
    seed: Seed,
    augment: Augment,
}

impl Drawer {
    /// Batches from `sets`, each given with the number of its task.
    pub(super) fn new(
        sets: Vec<(usize, Arc<ImageSet>)>,
        normalise: Normalise,
        seed: Seed,
        augment: Augment,
    ) -> Self {
        Self {
            sets,
            normalise,
            seed,
            augment,
        }
    }

    /// Number of sets.
    pub(super) fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Batch number `number` with `per_set` images of every set, each drawn without repetition.
    pub(super) fn draw(&self, number: u64, per_set: usize) -> MixedBatch {
        let shape = self.sets[0].1.shape();
        let mut parts = Vec::with_capacity(self.sets.len());
        let mut sources = Vec::with_capacity(self.sets.len() * per_set);
        for (task, set) in &self.sets {
            let seed = self.seed.fork(task).fork(number);
            let picked = seed.sample(set.len(), per_set);
            let start = sources.len();
            sources.extend(picked.iter().enumerate().map(|(j, &i)| (set, i, seed, j)));
            let labels = picked.iter().map(|&i| set.label(i)).collect();
            parts.push(Part {
                task: *task,
                rows: start..sources.len(),
                labels,
            });
        }
        let mut pixels = vec![0.0; sources.len() * shape.len()];
        pixels
            .par_chunks_exact_mut(shape.len())
            .zip(&sources)
            .for_each(|(out, &(set, i, seed, j))| self.render(set, i, seed, j, out));
        MixedBatch {
            pixels,
            shape: [sources.len(), shape.channels, shape.height, shape.width],
            parts,
        }
    }

    fn render(&self, set: &ImageSet, i: usize, seed: Seed, j: usize, out: &mut [f32]) {
        let shape = set.shape();
        if *self.augment.config() == AugmentConfig::default() {
            self.normalise.bytes(set.image(i), shape, out);
            return;
        }
        for (to, &from) in out.iter_mut().zip(set.image(i)) {
            *to = f32::from(from) / 255.0;
        }
        self.augment.apply(out, shape, seed.fork(j));
        self.normalise.unit_floats(out, shape);
    }
}
