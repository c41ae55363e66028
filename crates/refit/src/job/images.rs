//! Which images are used for what.

use super::{AdaptOn, FusionConfig};
use refit_core::Seed;
use refit_io::data::{
    Constants, Corruption, ImageSet, Severity, Task,
    suite::{Sizes, generate},
};
use std::sync::Arc;

/// The images of one task, by what they are used for.
pub(super) struct Split {
    pub(super) base: Arc<ImageSet>,
    pub(super) train: Arc<ImageSet>,
    pub(super) tune: Arc<ImageSet>,
    pub(super) adapt: Arc<ImageSet>,
    pub(super) test: Arc<ImageSet>,
}

impl Split {
    pub(super) fn new(config: &FusionConfig, task: &Task, seed: Seed) -> Self {
        let train = task.train();
        let of_base = seed.fork("base images").fork(task.name());
        Self {
            base: sample(train, config.base_images, of_base),
            train: Arc::clone(train),
            tune: first(task.val(), config.tuning_images),
            adapt: match config.adapt_on {
                AdaptOn::Train => Arc::clone(train),
                AdaptOn::Val => Arc::clone(task.val()),
            },
            test: first(task.test(), config.test_images),
        }
    }
}

/// The first `n` images, or all of them.
fn first(set: &Arc<ImageSet>, n: usize) -> Arc<ImageSet> {
    if n == 0 || n >= set.len() {
        return Arc::clone(set);
    }
    Arc::new(set.first(n))
}

/// `n` images drawn without repetition, or all of them.
fn sample(set: &Arc<ImageSet>, n: usize, seed: Seed) -> Arc<ImageSet> {
    if n == 0 || n >= set.len() {
        return Arc::clone(set);
    }
    Arc::new(set.subset(&seed.sample(set.len(), n)))
}

/// The generated tasks that a base may be trained on, `images` of each; other images than those of the demonstration.
pub(super) fn auxiliary(images: usize, seed: Seed) -> Vec<Task> {
    if images == 0 {
        return Vec::new();
    }
    let sizes = Sizes {
        train: images.max(10),
        val: 1,
        test: 1,
    };
    generate(seed.fork("auxiliary"), sizes)
}

/// Up to `per_class` images of every class.
pub(super) fn few_shot(set: &ImageSet, per_class: usize, seed: Seed) -> ImageSet {
    let order = seed.sample(set.len(), set.len());
    let mut taken = vec![0; set.class_count()];
    let picked: Vec<usize> = order
        .into_iter()
        .filter(|&i| {
            let count = &mut taken[set.label(i) as usize];
            *count += 1;
            *count <= per_class
        })
        .collect();
    set.subset(&picked)
}

/// For each corruption the first test images of each task, corrupted.
pub(super) fn corrupt(config: &FusionConfig, parts: &[Split], seed: Seed) -> Vec<Vec<ImageSet>> {
    if config.corrupted_images == 0 {
        return Vec::new();
    }
    let severity = Severity::new(config.severity).expect("checked: severity 1 to 5");
    let seed = seed.fork("corruptions");
    let corrupted = |corruption: Corruption, split: &Split| {
        let count = config.corrupted_images.min(split.test.len());
        corruption.apply_set(
            &split.test.first(count),
            severity,
            Constants::default(),
            seed,
        )
    };
    Corruption::ALL
        .into_iter()
        .map(|corruption| {
            parts
                .iter()
                .map(|split| corrupted(corruption, split))
                .collect()
        })
        .collect()
}
