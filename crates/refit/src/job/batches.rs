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
    /// For every set the images of each class that has any; where classes do not matter, nothing.
    classes: Option<Vec<Vec<Vec<usize>>>>,
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
            classes: None,
            normalise,
            seed,
            augment,
        }
    }

    /// Draws every class of a set as often as the others, however rare it is.
    #[must_use]
    pub(super) fn balanced(mut self) -> Self {
        self.classes = Some(self.sets.iter().map(|(_, set)| members(set)).collect());
        self
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
        for (at, (task, set)) in self.sets.iter().enumerate() {
            let seed = self.seed.fork(task).fork(number);
            let picked = match &self.classes {
                None => seed.sample(set.len(), per_set),
                Some(classes) => sample_classes(&classes[at], per_set, seed),
            };
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

/// The images of each class that has any.
fn members(set: &ImageSet) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); set.class_count()];
    for (i, &label) in set.labels().iter().enumerate() {
        members[label as usize].push(i);
    }
    members.retain(|class| !class.is_empty());
    members
}

/// `count` images, the same number of each class up to one, each at most once as long as its class lasts.
fn sample_classes(classes: &[Vec<usize>], count: usize, seed: Seed) -> Vec<usize> {
    let order = seed.fork("classes").sample(classes.len(), classes.len());
    let drawn = order.iter().enumerate().map(|(place, &class)| {
        let share = (count + classes.len() - 1 - place) / classes.len();
        let class = &classes[class];
        let order = seed
            .fork(format_args!("images/{place}"))
            .sample(class.len(), share);
        let picked = order.iter().map(|&i| class[i]).collect::<Vec<_>>();
        picked.into_iter().cycle().take(share).collect::<Vec<_>>()
    });
    drawn.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_are_drawn_as_often_as_others() {
        let classes = [vec![0, 1, 2, 3, 4, 5, 6], vec![7], vec![8, 9]];
        for (count, least) in [(9, 3), (10, 3), (2, 0)] {
            let drawn = sample_classes(&classes, count, Seed::new(5));
            assert_eq!(drawn.len(), count);
            for class in &classes {
                let times = drawn.iter().filter(|&i| class.contains(i)).count();
                assert!((least..=least + 1).contains(&times), "{drawn:?}");
            }
        }
        let mut common = sample_classes(&classes, 9, Seed::new(5));
        common.retain(|&i| i < 7);
        common.sort_unstable();
        common.dedup();
        assert_eq!(common.len(), 3, "a class that lasts repeats nothing");
        assert_ne!(
            sample_classes(&classes, 9, Seed::new(5)),
            sample_classes(&classes, 9, Seed::new(6))
        );
    }
}
