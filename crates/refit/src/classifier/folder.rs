//! The folder of a model, in the layout and names of Hugging Face.

use super::{
    Classifier, ClassifierError,
    documents::{read_config, read_normalise, write_json, write_normalise},
};
use burn::tensor::Device;
use refit_core::{DType, Sink, TensorMeta};
use refit_io::{
    atomic::AtomicError,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
    data::Normalise,
};
use refit_nn::{ImageConfig, Weights};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// File that holds the architecture.
pub const CONFIG: &str = "config.json";
/// File that holds what happens to pixels.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// File that holds the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";

/// A model on disk, checked as far as its headers say; weights are read by [`load`](Self::load).
#[derive(Debug)]
pub struct ModelFolder {
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The architecture.
    pub config: ImageConfig,
    /// What pixels go through, where the folder says so.
    pub normalise: Option<Normalise>,
    /// Where what describes it lies.
    home: PathBuf,
}

impl ModelFolder {
    /// Opens a folder, or a `.safetensors` file with `config.json` beside it.
    ///
    /// # Errors
    /// When the checkpoint, the architecture or the pre-processing cannot be understood.
    pub fn open(path: &Path) -> Result<Self, ClassifierError> {
        let folder = if path.is_dir() {
            path
        } else {
            path.parent().unwrap_or(Path::new(""))
        };
        let checkpoint = Checkpoint::open(path)?;
        let config_path = folder.join(CONFIG);
        if !config_path.exists() {
            return Err(ClassifierError::NoConfig {
                path: path.into(),
                missing: config_path,
            });
        }
        Self::assemble(checkpoint, read_config(&config_path)?, folder)
    }

    /// Opens a checkpoint with an architecture from elsewhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, config: ImageConfig) -> Result<Self, ClassifierError> {
        let checkpoint = Checkpoint::open(path)?;
        // A lone file in a folder of many things owns none of its neighbours.
        let folder = if path.is_dir() {
            path.to_path_buf()
        } else {
            PathBuf::from(path).join("-")
        };
        Self::assemble(checkpoint, config, &folder)
    }

    fn assemble(
        checkpoint: Checkpoint,
        config: ImageConfig,
        folder: &Path,
    ) -> Result<Self, ClassifierError> {
        config.check()?;
        let normalise = read_normalise(&folder.join(PREPROCESSOR))?;
        Ok(Self {
            checkpoint,
            config,
            normalise,
            home: folder.into(),
        })
    }

    /// Every file that it is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        let weights = self.checkpoint.files().map(Path::to_path_buf);
        let beside = [CONFIG, PREPROCESSOR].map(|name| self.home.join(name));
        weights
            .chain(beside.into_iter().filter(|path| path.is_file()))
            .collect()
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub fn load(&self, device: &Device) -> Result<Classifier, ClassifierError> {
        let config = self.config.clone();
        let weights = Weights::load(&self.checkpoint, device, |scope| config.bind(scope))?;
        Ok(Classifier {
            config,
            weights,
            normalise: self.normalise()?,
        })
    }

    /// What pixels go through: what the folder says, or nothing.
    ///
    /// # Errors
    /// An architecture with far too many channels.
    pub fn normalise(&self) -> Result<Normalise, ClassifierError> {
        match &self.normalise {
            Some(normalise) => Ok(normalise.clone()),
            None => identity(&self.config),
        }
    }
}

/// Removes what [`Classifier::save`] wrote into `folder`, all or in part.
pub(crate) fn remove_model(folder: &Path) -> Result<(), AtomicError> {
    for name in [CONFIG, PREPROCESSOR, WEIGHTS] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                let action = "remove";
                return Err(AtomicError::Io {
                    action,
                    path,
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Pixels as they are, between 0 and 1.
fn identity(config: &ImageConfig) -> Result<Normalise, ClassifierError> {
    let channels = match config {
        ImageConfig::Vit(c) => c.num_channels,
        ImageConfig::ConvNet(c) => c.num_channels,
        ImageConfig::CifarResnet(c) => c.num_channels,
        ImageConfig::Resnet(c) => c.num_channels,
        // An MLP does not say how many channels its inputs are made of; gray is all that fits anything.
        _ => 1,
    };
    Ok(Normalise::new(vec![0.0; channels], vec![1.0; channels])?)
}

impl Classifier {
    /// Writes the three files into `folder`, which exists and holds none of them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, folder: &Path) -> Result<(), ClassifierError> {
        write_json(&folder.join(CONFIG), &self.config)?;
        write_normalise(&folder.join(PREPROCESSOR), &self.normalise)?;
        save_weights(&weights_file(folder), &self.weights)
    }
}

/// The file of the weights inside a folder.
pub(crate) fn weights_file(folder: &Path) -> PathBuf {
    folder.join(WEIGHTS)
}

/// Writes weights in single precision.
pub(crate) fn save_weights(path: &Path, weights: &Weights) -> Result<(), ClassifierError> {
    let metas: Vec<TensorMeta> = weights
        .layout()
        .specs()
        .iter()
        .map(|s| TensorMeta {
            path: s.path.clone(),
            dtype: DType::F32,
            shape: s.shape.clone(),
        })
        .collect();
    let options = WriteOptions {
        metadata: [("format".into(), "pt".into())].into(),
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(path, metas.clone(), options)?;
    for (meta, values) in metas.iter().zip(weights.to_host()) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.put(meta, &bytes)?;
    }
    Ok(writer.finish()?)
}
