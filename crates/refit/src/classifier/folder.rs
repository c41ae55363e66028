//! The folder of a model, in the layout and names of Hugging Face.

use super::{
    Classifier, ClassifierError, Preprocessing,
    documents::{read_keys, understand, write_json, write_normalise},
};
use crate::{
    family::{class_names, unnamed},
    source::folder_options,
    text::setting,
    told::Chances,
};
use burn::tensor::Device;
use refit_core::{ConfigError, DType, Sink, Source, TensorMeta};
use refit_io::{
    atomic::AtomicError,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
    data::{FolderOptions, ImageSet, Normalise},
};
use refit_nn::{ImageConfig, Scope, Weights};
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
    /// What pictures go through, where the folder says so.
    pub preprocessing: Preprocessing,
    /// Names of its classes, where the folder says so.
    pub labels: Option<Vec<String>>,
    /// How scores of its classes become probabilities.
    pub chances: Chances,
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
        let keys = read_keys(&config_path)?;
        let config = understand(&config_path, &keys)?;
        let labels = class_names(&keys, config.num_labels()).map_err(setting(&config_path))?;
        let chances = Chances::of(&keys);
        Ok(Self {
            chances,
            ..Self::assemble(checkpoint, config, labels, folder)?
        })
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
        Self::assemble(checkpoint, config, None, &folder)
    }

    fn assemble(
        checkpoint: Checkpoint,
        config: ImageConfig,
        labels: Option<Vec<String>>,
        folder: &Path,
    ) -> Result<Self, ClassifierError> {
        config.check()?;
        Ok(Self {
            checkpoint,
            preprocessing: Preprocessing::read(folder, config.family(), config.side())?,
            labels: labels.filter(|names| !names.is_empty()),
            chances: Chances::default(),
            config,
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
        let bind = |scope: &Scope<'_>| self.config.bind(scope);
        self.with(Weights::load(&self.checkpoint, device, bind)?)
    }

    /// Reads the weights of a model that stays what it is: those of half precision stay so.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_as_stored(&self, device: &Device) -> Result<Classifier, ClassifierError> {
        let bind = |scope: &Scope<'_>| self.config.bind(scope);
        self.with(Weights::load_as_stored(&self.checkpoint, device, bind)?)
    }

    fn with(&self, weights: Weights) -> Result<Classifier, ClassifierError> {
        Ok(Classifier {
            config: self.config.clone(),
            weights,
            normalise: self.normalise()?,
        })
    }

    /// What pixels go through: what the folder says, or nothing.
    ///
    /// # Errors
    /// An architecture with far too many channels.
    pub fn normalise(&self) -> Result<Normalise, ClassifierError> {
        match &self.preprocessing.normalise {
            Some(normalise) => Ok(normalise.clone()),
            None => identity(&self.config),
        }
    }

    /// What happens to colours only because the folder says nothing about them, as a sentence.
    pub fn assumption(&self) -> Option<String> {
        self.preprocessing.normalise.is_none().then(|| {
            format!(
                "`{}` has no {PREPROCESSOR} that says what happens to colours; they stay between 0 and 1",
                self.home.display()
            )
        })
    }

    /// How pictures in folders are read.
    pub fn picture_options(&self) -> FolderOptions {
        let usual = folder_options(&self.config);
        FolderOptions {
            fit: self.preprocessing.fit.or(usual.fit),
            ..usual
        }
    }

    /// The same images by the classes of the model, where both tell their names; `None` where they are the same already, or
    /// the model tells none.
    ///
    /// # Errors
    /// A class that the model does not have.
    pub fn named(&self, set: &ImageSet) -> Result<Option<ImageSet>, ClassifierError> {
        let Some(labels) = &self.labels else {
            return Ok(None);
        };
        let are_none = labels
            .iter()
            .enumerate()
            .all(|(at, name)| *name == unnamed(at));
        if are_none || labels[..] == set.classes()[..] {
            return Ok(None);
        }
        let known = |name: &String| {
            let place = labels.iter().position(|label| label == name);
            let error = || ConfigError::unknown("class", name, labels.iter().map(String::as_str));
            place.map(|place| place as u32).ok_or_else(error)
        };
        let places: Vec<u32> = set.classes().iter().map(known).collect::<Result<_, _>>()?;
        let found = set.labels().iter().map(|&label| places[label as usize]);
        Ok(Some(ImageSet::new(
            set.name(),
            labels.clone(),
            set.shape(),
            set.images().to_vec(),
            found.collect::<Vec<_>>(),
        )?))
    }

    /// Where it lies.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Number of values of all tensors.
    pub fn num_values(&self) -> u64 {
        let tensors = self.checkpoint.tensors().iter();
        tensors.map(|meta| meta.len() as u64).sum()
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
    // A perceptron does not say how many channels its inputs are made of; gray is all that fits anything.
    let channels = config.channels().unwrap_or(1);
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
