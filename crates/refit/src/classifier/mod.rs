//! Image classifiers as folders: `config.json`, `model.safetensors`, `preprocessor_config.json`.
//!
//! What `refit train` writes, `refit eval` reads and `refit merge` takes as base and experts.
//!
//! ```
//! use refit::classifier::{Classifier, ModelFolder};
//! use refit_core::{Seed, Silent};
//! use refit_io::data::{Normalise, suite};
//! use burn::tensor::Device;
//!
//! let task = &suite::generate(Seed::new(0), suite::Sizes { train: 10, val: 1, test: 8 })[0];
//! let config = serde_json::from_str(r#"{"model_type": "mlp", "inputs": 784, "hidden": [16], "num_labels": 10}"#)?;
//! let model = Classifier::create(config, task, Seed::new(0), &Device::flex())?;
//! let score = model.score(task.test(), 4, &Silent)?;
//! assert_eq!(score.images, 8);
//!
//! let home = tempfile::tempdir()?;
//! model.save(home.path())?;
//! let again = ModelFolder::open(home.path())?.load(&Device::flex())?;
//! assert_eq!(again.score(task.test(), 8, &Silent)?.correct, score.correct);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod documents;
mod error;
mod fit;
mod folder;
mod preprocessing;
mod score;
mod state;
mod transfer;

pub use documents::read_config;
pub use error::ClassifierError;
pub use fit::{AugmentName, FitSettings, Fitted, OptimizerName, SaveHook, TrainingRun};
pub use folder::{CONFIG, ModelFolder, PREPROCESSOR};
pub(crate) use folder::{remove_model, save_weights, weights_file};
pub use preprocessing::Preprocessing;
pub use score::Score;
pub(crate) use score::{Hits, check_set, score_batches};
pub(crate) use state::{load_state, save_state};

use burn::tensor::{Device, Tensor, TensorData};
use refit_core::Seed;
use refit_io::data::{Batch, ImageShape, Normalise, Task};
use refit_nn::{ImageConfig, Weights};

/// A model that maps images to classes.
#[derive(Clone, Debug)]
pub struct Classifier {
    /// Its architecture.
    pub config: ImageConfig,
    /// Its weights.
    pub weights: Weights,
    /// What its pixels go through first.
    pub normalise: Normalise,
}

impl Classifier {
    /// A model with fresh weights for `task`: its classes, and its statistics over training pixels.
    ///
    /// # Errors
    /// A setting out of range, or images that do not fit the architecture.
    pub fn create(
        config: ImageConfig,
        task: &Task,
        seed: Seed,
        device: &Device,
    ) -> Result<Self, ClassifierError> {
        let config = with_classes(config, task.class_count())?;
        check_images(&config, task.shape())?;
        let weights = Weights::create(seed, device, |scope| config.bind(scope))?;
        let normalise = Normalise::measured([task.train().as_ref()]);
        Ok(Self {
            config,
            weights,
            normalise,
        })
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.weights.device()
    }
}

/// The architecture with as many classes as the data has.
pub(crate) fn with_classes(
    config: ImageConfig,
    classes: usize,
) -> Result<ImageConfig, ClassifierError> {
    let config = config.with_labels(classes);
    config.check()?;
    Ok(config)
}

/// Checks that images of `shape` fit the architecture.
pub(crate) fn check_images(config: &ImageConfig, shape: ImageShape) -> Result<(), ClassifierError> {
    config.check()?;
    if config.takes([shape.channels, shape.height, shape.width]) {
        return Ok(());
    }
    Err(ClassifierError::Images {
        found: shape.to_string(),
        expected: config.expects(),
    })
}

/// The pixels of a batch as `[n, c, h, w]` on `device`.
fn pixels(batch: &mut Batch, device: &Device) -> Tensor<4> {
    Tensor::from_data(
        TensorData::new(std::mem::take(&mut batch.pixels), batch.shape),
        device,
    )
}
