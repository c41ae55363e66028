//! The models of a recipe, opened: headers, configuration, and one way to read a tensor.

use super::{
    beside::{CONFIG, TOKENIZER},
    error::MergingError,
};
use crate::companions;
use refit_core::{Adapter, ReadError, TensorMeta, TensorRead};
use refit_io::{
    adapter::{CONFIG_FILE, StoredAdapter, read_adapter},
    ckpt::{CkptError, TensorReader},
    hub::{HubError, resolve_model},
};
use refit_merge::{
    adapter::{FoldError, attach, oriented},
    recipe::{ModelHeader, ModelPath, ModelRef},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a model of a plan comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A checkpoint, by its place in [`Models`].
    Opened(usize),
    /// The result of an earlier recipe of the file.
    Step(usize),
}

/// Every checkpoint that the recipes of a file name, opened once.
#[derive(Debug, Default)]
pub(super) struct Models {
    /// Where models are looked for that are no path.
    cache: Option<PathBuf>,
    opened: Vec<OpenModel>,
    places: HashMap<(ModelRef, Form), usize>,
}

/// What the tensors of a quantised model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// The weights that the stored integers stand for.
    Weights,
    /// What is stored, where `config.json` tells how to read it; otherwise weights.
    Stored,
}

/// Where `config.json` tells how weights are packed.
const QUANTIZATION: &str = "quantization_config";

/// A checkpoint and what describes it.
#[derive(Clone)]
pub(super) struct OpenModel {
    reader: Arc<TensorReader>,
    /// Its tensors as they are merged: with an adapter folded in, where there is one.
    tensors: Vec<Arc<dyn TensorRead>>,
    metas: Vec<TensorMeta>,
    config: Option<Value>,
    home: PathBuf,
    /// Whether the folder itself was named, and not a file in it.
    is_folder: bool,
    /// Files of the adapter.
    adapter: Vec<PathBuf>,
    /// For every tensor, whether the adapter changes it.
    folded: Vec<bool>,
    /// Bytes of the adapter that are in memory.
    held_bytes: u64,
}

/// An adapter on the result of an earlier recipe.
#[derive(Debug)]
pub(super) struct OnStep {
    pub(super) stored: StoredAdapter,
    /// For every tensor of the result, whether the adapter changes it.
    pub(super) folded: Vec<bool>,
}

impl std::fmt::Debug for OpenModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut show = f.debug_struct("OpenModel");
        show.field("home", &self.home);
        show.field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

impl Models {
    /// No model yet; `cache` is that of the hub.
    pub(super) fn new(cache: Option<PathBuf>) -> Self {
        Self {
            cache,
            ..Self::default()
        }
    }

    /// Opens `model`, unless it is open in this form.
    pub(super) fn open(&mut self, model: &ModelRef, form: Form) -> Result<usize, MergingError> {
        let key = (model.clone(), form);
        if let Some(&at) = self.places.get(&key) {
            return Ok(at);
        }
        let adapter = model.adapter.as_ref().map(|place| self.adapter(place));
        let adapter = adapter.transpose()?;
        let opened = OpenModel::open(&self.find(&model.model)?, adapter.as_ref(), form)?;
        self.opened.push(opened);
        let at = self.opened.len() - 1;
        self.places.insert(key, at);
        Ok(at)
    }

    fn find(&self, place: &ModelPath) -> Result<PathBuf, HubError> {
        let revision = place.revision.as_deref();
        resolve_model(&place.path, revision, self.cache.as_deref())
    }

    /// Reads the adapter of that name.
    pub(super) fn adapter(&self, place: &ModelPath) -> Result<StoredAdapter, MergingError> {
        Ok(read_adapter(self.find(place)?)?)
    }

    pub(super) fn get(&self, at: usize) -> &OpenModel {
        &self.opened[at]
    }

    /// Every file that is read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = Vec::new();
        for model in &self.opened {
            files.extend(model.reader.files().map(Path::to_path_buf));
            let described = [CONFIG, TOKENIZER].map(|name| model.home.join(name));
            files.extend(described.into_iter().filter(|file| file.is_file()));
            files.extend(model.adapter.iter().cloned());
        }
        files
    }

    /// Folders that were named as models: a result inside one would be read with it.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for model in &self.opened {
            folders.extend(model.is_folder.then(|| model.home.clone()));
            folders.extend(
                model
                    .adapter
                    .iter()
                    .filter_map(|file| Some(file.parent()?.into())),
            );
        }
        folders
    }

    /// Bytes of adapters that are in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.opened.iter().map(|model| model.held_bytes).sum()
    }

    /// Whether every file is still what it was when it was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), CkptError> {
        let mut models = self.opened.iter();
        models.try_for_each(|model| model.reader.check_unchanged())
    }
}

impl OpenModel {
    /// Whether the file itself tells of the architecture, as GGUF does.
    pub(super) fn tells_config(&self) -> bool {
        self.reader.config().is_some()
    }

    fn open(
        path: &Path,
        adapter: Option<&StoredAdapter>,
        form: Form,
    ) -> Result<Self, MergingError> {
        let is_folder = path.is_dir();
        let home = if is_folder {
            path.to_path_buf()
        } else {
            path.parent().unwrap_or(Path::new("")).to_path_buf()
        };
        if is_folder && is_adapter_alone(path) {
            return Err(MergingError::IsAdapter { path: path.into() });
        }
        let mut config = read_config(&home)?;
        let told = config.as_ref().and_then(|config| config.get(QUANTIZATION));
        let reader = Arc::new(match form {
            Form::Stored if told.is_some_and(Value::is_object) => TensorReader::open_stored(path)?,
            _ => TensorReader::open(path)?,
        });
        // A file of another format may tell by itself what a folder does not.
        config = config.or_else(|| reader.config().cloned().map(Value::Object));
        let computed = (0..reader.tensors().len()).any(|index| !reader.is_stored(index));
        if let Some(Value::Object(config)) = config.as_mut().filter(|_| computed) {
            config.remove(QUANTIZATION); // what is written are weights
        }
        let tensor =
            |index| Ok::<_, CkptError>(Arc::new(reader.tensor(index)?) as Arc<dyn TensorRead>);
        let mut tensors = (0..reader.tensors().len())
            .map(tensor)
            .collect::<Result<Vec<_>, _>>()?;
        let (mut files, mut held_bytes) = (Vec::new(), 0);
        let mut folded = vec![false; tensors.len()];
        if let Some(stored) = adapter {
            (tensors, folded) = fold(&tensors, &stored.adapter, config.as_ref())?;
            files.clone_from(&stored.files);
            held_bytes = stored.adapter.held_bytes();
        }
        let metas = tensors.iter().map(|tensor| tensor.meta().clone()).collect();
        Ok(Self {
            reader,
            tensors,
            metas,
            config,
            home,
            is_folder,
            adapter: files,
            folded,
            held_bytes,
        })
    }

    pub(super) fn header(&self) -> ModelHeader<'_> {
        ModelHeader {
            tensors: &self.metas,
            config: self.config.as_ref(),
        }
    }

    /// Its `config.json`.
    pub(super) fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }

    /// Tensor `index` of the header.
    pub(super) fn tensor(&self, index: usize) -> Arc<dyn TensorRead> {
        Arc::clone(&self.tensors[index])
    }

    /// Whether an adapter changes tensor `index`.
    pub(super) fn is_folded(&self, index: usize) -> bool {
        self.folded[index]
    }

    /// Every tensor, in the order of the header.
    pub(super) fn tensors(&self) -> &[Arc<dyn TensorRead>] {
        &self.tensors
    }

    /// The folder in which it lies.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

/// Opens the result of an earlier recipe, with an adapter folded in where there is one.
pub(super) fn reopen(
    folder: &Path,
    adapter: Option<&StoredAdapter>,
) -> Result<OpenModel, MergingError> {
    OpenModel::open(folder, adapter, Form::Weights)
}

impl OnStep {
    /// `stored` on a result of these tensors and of this `config.json`, which is not there yet.
    ///
    /// # Errors
    /// When they do not go together.
    pub(super) fn new(
        stored: StoredAdapter,
        metas: &[TensorMeta],
        config: Option<&Value>,
    ) -> Result<Self, FoldError> {
        let tensors = metas
            .iter()
            .map(|meta| Arc::new(Expected(meta.clone())) as Arc<dyn TensorRead>);
        let tensors: Vec<_> = tensors.collect();
        let (_, folded) = fold(&tensors, &stored.adapter, config)?;
        Ok(Self { stored, folded })
    }
}

/// The tensors of a model with an adapter folded in, and which of them it changes.
type Folded = (Vec<Arc<dyn TensorRead>>, Vec<bool>);

/// Folds `adapter` into tensors of a model of this `config.json`.
fn fold(
    tensors: &[Arc<dyn TensorRead>],
    adapter: &Adapter,
    config: Option<&Value>,
) -> Result<Folded, FoldError> {
    let adapter = oriented(adapter, config);
    let folded = attach(tensors.to_vec(), &adapter)?;
    let pairs = tensors.iter().zip(&folded);
    let changed = pairs.map(|(before, after)| !Arc::ptr_eq(before, after));
    let changed = changed.collect();
    Ok((folded, changed))
}

/// A tensor of which only the header is known.
#[derive(Debug)]
struct Expected(TensorMeta);

impl TensorRead for Expected {
    fn meta(&self) -> &TensorMeta {
        &self.0
    }

    fn read_f32(&self, _: Range<usize>, _: &mut [f32], _: &mut Vec<u8>) -> Result<(), ReadError> {
        Err(format!("`{}` is not there yet", self.0.path).into())
    }

    fn read_bytes(&self, _: Range<usize>, _: &mut [u8]) -> Result<(), ReadError> {
        Err(format!("`{}` is not there yet", self.0.path).into())
    }
}

/// Whether a folder holds an adapter and no model.
fn is_adapter_alone(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has(CONFIG_FILE) && !has(CONFIG) && !has("model.safetensors")
}

fn read_config(home: &Path) -> Result<Option<Value>, MergingError> {
    let Some(bytes) = companions::read(home, CONFIG)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(config @ Value::Object(_)) => Ok(Some(config)),
        Ok(_) => Err(MergingError::config(&home.join(CONFIG), "is no mapping")),
        Err(problem) => Err(MergingError::config(&home.join(CONFIG), problem)),
    }
}
