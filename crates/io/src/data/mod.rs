//! Labelled images: sets and tasks held as bytes, readers for the usual files, generated suites, transforms,
//! corruptions, and a loader that prepares batches ahead of the training step. Labelled rows of numbers: [`Table`],
//! read from LIBSVM files. Labelled texts: [`LabelledTexts`].
//!
//! ```
//! use refit_core::Seed;
//! use refit_io::data::{Batch, Normalise, suite};
//! let tasks = suite::generate(Seed::new(0), suite::Sizes { train: 20, val: 10, test: 10 });
//! assert_eq!(tasks.len(), 8);
//! let train = tasks[0].train();
//! let batch = Batch::collate(train, &[0, 3], &Normalise::unit(train.shape()));
//! assert_eq!(batch.shape, [2, 1, 28, 28]);
//! ```

mod augment;
mod batch;
mod corrupt;
mod draw;
mod error;
mod loader;
mod normalise;
mod read;
mod resample;
mod set;
mod table;
mod task;

pub mod npz;
pub mod suite;

pub use augment::{Augment, AugmentConfig};
pub use batch::Batch;
pub use corrupt::{Constants, Corruption, Severity};
pub use error::DataError;
pub use loader::{Cursor, Last, LoadedBatch, Loader, LoaderConfig, LoaderPlan, LoaderState, Order};
pub use normalise::Normalise;
pub use read::{
    Colour, FolderOptions, Header, IdxArray, LabelledTexts, LibsvmOptions, LineProblem, PictureFit,
    Pictures, REAL_SUITE, Resize, Split, TaggedSentence, TextColumn, TextProblem, TextRows,
    find_pictures, is_named_as_picture, parse_columns, parse_libsvm, parse_tagged,
    read_cifar_batch, read_cifar_folder, read_cifar_jpeg, read_columns, read_idx, read_idx_folder,
    read_idx_set, read_image_folder, read_libsvm, read_npz_task, read_picture, read_suite,
    read_tagged, read_task, read_texts, read_unpacked, suite_files, task_files, task_from_npz,
};
pub use resample::Filter;
pub use set::{ImageSet, ImageShape};
pub use table::{Classes, DenseRows, Features, SparseRow, SparseRows, Table, TableError};
pub use task::Task;
