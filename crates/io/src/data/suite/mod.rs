//! Eight generated tasks of 28 x 28 gray images, so that the whole job runs without a download.
//!
//! | task | classes | what must be told apart |
//! |---|---|---|
//! | `digits` | 10 | stroke digits, handwriting-like |
//! | `letters` | 10 | bold capital letters, bright on dark or dark on bright |
//! | `shapes` | 10 | filled or outlined figures |
//! | `textures` | 8 | patterns that fill the image |
//! | `counting` | 8 | one to eight blobs |
//! | `arrows` | 8 | the direction an arrow points to |
//! | `faces` | 8 | expressions |
//! | `scripts` | 8 | which of eight made-up scripts a character belongs to |
//!
//! Every image is drawn from its own stream, forked by task, part and position: image `i` is the same whatever the sizes,
//! the number of threads and the machine. Position, scale, rotation, thickness, contrast, clutter and noise vary, so that a
//! linear model on pixels stays weak.

mod arrows;
mod canvas;
mod counting;
mod digits;
mod faces;
mod glyph;
mod letters;
mod nuisance;
mod scripts;
mod shapes;
mod textures;

use super::{ImageSet, ImageShape, Task};
use canvas::Canvas;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use refit_core::Seed;
use std::sync::Arc;

/// Images in each part of each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// To train on; at least 10, so that every class occurs.
    pub train: usize,
    /// To tune on; at least 1.
    pub val: usize,
    /// To report; at least 1.
    pub test: usize,
}

/// One generator: its name, its classes, and how to draw an image of a class.
struct Generator {
    name: &'static str,
    classes: &'static [&'static str],
    draw: fn(&mut ChaCha8Rng, usize) -> Canvas,
}

/// All generators, in the order of the tasks.
const GENERATORS: [Generator; 8] = [
    digits::GENERATOR,
    letters::GENERATOR,
    shapes::GENERATOR,
    textures::GENERATOR,
    counting::GENERATOR,
    arrows::GENERATOR,
    faces::GENERATOR,
    scripts::GENERATOR,
];

/// Names of the tasks, in the order in which [`generate`] returns them.
pub fn names() -> [&'static str; 8] {
    GENERATORS.map(|g| g.name)
}

/// Draws the eight tasks, on all threads of the current pool.
///
/// Labels go round (`0, 1, 2, ..`), so that every beginning of a part is balanced.
///
/// # Panics
/// When a size is below its minimum (see [`Sizes`]).
///
/// ```
/// use refit_core::Seed;
/// use refit_io::data::suite::{Sizes, generate};
/// let small = generate(Seed::new(1), Sizes { train: 10, val: 1, test: 1 });
/// let large = generate(Seed::new(1), Sizes { train: 30, val: 1, test: 1 });
/// assert_eq!(small[3].train().image(7), large[3].train().image(7));
/// ```
pub fn generate(seed: Seed, sizes: Sizes) -> Vec<Task> {
    assert!(
        sizes.train >= 10 && sizes.val >= 1 && sizes.test >= 1,
        "a generated task needs at least 10 training, 1 validation and 1 test image"
    );
    GENERATORS
        .iter()
        .map(|generator| generator.task(seed.fork("suite"), sizes))
        .collect()
}

impl Generator {
    fn task(&self, seed: Seed, sizes: Sizes) -> Task {
        let classes: Arc<[String]> = self.classes.iter().map(ToString::to_string).collect();
        let part =
            |part, n| self.part(seed.fork(format_args!("{}/{part}", self.name)), n, &classes);
        Task::new(
            self.name,
            part("train", sizes.train),
            part("val", sizes.val),
            part("test", sizes.test),
        )
        .expect("generated parts agree")
    }

    fn part(&self, seed: Seed, count: usize, classes: &Arc<[String]>) -> ImageSet {
        let shape = ImageShape::GLYPH;
        let mut images = vec![0; count * shape.len()];
        images
            .par_chunks_mut(shape.len())
            .enumerate()
            .for_each(|(i, out)| {
                let canvas = (self.draw)(&mut seed.fork(i).rng(), i % self.classes.len());
                canvas.write_bytes(out);
            });
        let labels = (0..count)
            .map(|i| (i % self.classes.len()) as u32)
            .collect();
        ImageSet::new(self.name, classes.clone(), shape, images, labels)
            .expect("labels go round the classes")
    }
}
