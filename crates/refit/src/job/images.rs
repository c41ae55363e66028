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
        let chance = |part: &str| seed.fork(part).fork(task.name());
        Self {
            base: sample(train, config.base_images, chance("base images")),
            train: Arc::clone(train),
            tune: stratified(task.val(), config.tuning_images, chance("tuning images")),
            adapt: match config.adapt_on {
                AdaptOn::Train => Arc::clone(train),
                AdaptOn::Val => Arc::clone(task.val()),
            },
            test: stratified(task.test(), config.test_images, chance("test images")),
        }
    }
}

/// `n` images with a share of every class (folders are sorted by class), or all of them.
fn stratified(set: &Arc<ImageSet>, n: usize, seed: Seed) -> Arc<ImageSet> {
    if n == 0 || n >= set.len() {
        return Arc::clone(set);
    }
    Arc::new(set.sample_stratified(n, seed))
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

/// Up to `per_class` images of every class, and the others.
pub(super) fn few_shot(set: &ImageSet, per_class: usize, seed: Seed) -> [ImageSet; 2] {
    let order = seed.sample(set.len(), set.len());
    let mut taken = vec![0; set.class_count()];
    let (picked, others): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&i| {
        let count = &mut taken[set.label(i) as usize];
        *count += 1;
        *count <= per_class
    });
    [picked, others].map(|images| set.subset(&images))
}

/// For each corruption some test images of each task, the same for all corruptions.
pub(super) fn corrupt(config: &FusionConfig, parts: &[Split], seed: Seed) -> Vec<Vec<ImageSet>> {
    if config.corrupted_images == 0 {
        return Vec::new();
    }
    let severity = Severity::new(config.severity).expect("checked: severity 1 to 5");
    let seed = seed.fork("corruptions");
    let corrupted = |corruption: Corruption, split: &Split| {
        let clean = stratified(&split.test, config.corrupted_images, seed.fork("images"));
        corruption.apply_set(&clean, severity, Constants::default(), seed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::data::ImageShape;

    /// A set as a folder is read: class by class.
    fn sorted(per_class: usize) -> ImageSet {
        let classes: Vec<String> = (0..4).map(|c| format!("class {c}")).collect();
        let labels: Vec<u32> = (0..4).flat_map(|c| vec![c; per_class]).collect();
        let pixels = (0..4 * per_class)
            .flat_map(|i| vec![i as u8; ImageShape::GLYPH.len()])
            .collect();
        ImageSet::new("sorted", classes, ImageShape::GLYPH, pixels, labels).unwrap()
    }

    #[test]
    fn parts_of_a_set_that_is_sorted_by_class_hold_every_class() {
        let task = Task::new("sorted", sorted(20), sorted(10), sorted(15)).unwrap();
        let config = FusionConfig {
            tuning_images: 8,
            test_images: 12,
            corrupted_images: 4,
            ..FusionConfig::quick()
        };
        let split = Split::new(&config, &task, Seed::new(0));
        assert_eq!(split.tune.class_counts(), [2; 4]);
        assert_eq!(split.test.class_counts(), [3; 4]);
        let parts = [split];
        for corrupted in corrupt(&config, &parts, Seed::new(0)) {
            assert_eq!(corrupted[0].class_counts(), [1; 4]);
        }
        let other = Split::new(&config, &task, Seed::new(1));
        assert_ne!(parts[0].test, other.test);
    }
}
