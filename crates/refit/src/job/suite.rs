//! The generated tasks of the demonstration.

use refit_core::Seed;
use refit_io::data::{
    Task,
    suite::{Sizes, generate},
};

/// Images per task in the demonstration.
pub const DEFAULT_SIZES: Sizes = Sizes {
    train: 3000,
    val: 500,
    test: 1000,
};

/// Images per task in the quick demonstration.
pub const QUICK_SIZES: Sizes = Sizes {
    train: 1000,
    val: 200,
    test: 300,
};

/// The eight generated tasks; the images are the same for every seed of the job.
pub fn generated(sizes: Sizes) -> Vec<Task> {
    generate(Seed::new(0).fork("demo"), sizes)
}
