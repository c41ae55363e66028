//! The folder of a model that reads text.

use super::{TextModelError, TextPrompts, sentence::Sentence};
use crate::{
    family::{Shown, class_names, family, shown, unnamed},
    told::Chances,
};
use burn::tensor::Device;
use refit_core::{ConfigError, Source};
use refit_io::{
    ckpt::{Checkpoint, refuse_packed},
    file::read_file,
};
use refit_nn::{
    ParamLayout, Weights,
    zoo::{Pool, TextConfig},
};
use refit_text::Tokenizer;
use serde_json::{Map, Value};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files of settings are small.
const MAX_BYTES: u64 = 4 << 20;

/// A model on disk, checked as far as its headers say; weights are read by [`load`](Self::load).
#[derive(Debug)]
pub struct TextFolder {
    path: PathBuf,
    checkpoint: Checkpoint,
    /// The architecture.
    pub config: TextConfig,
    /// Cuts texts.
    pub tokenizer: Tokenizer,
    /// Tokens to which texts are cut.
    pub longest: usize,
    /// How sentence encoders make one vector of a text; the mean where the folder does not say.
    pub pool: Pool,
    /// Whether vectors are made as long as 1.
    pub unit: bool,
    /// What goes in front of texts before they become vectors.
    pub prompts: TextPrompts,
}

impl TextFolder {
    /// Opens a folder in the layout of Hugging Face: `config.json`, weights, `tokenizer.json`, and what sentence
    /// encoders have beside them.
    ///
    /// # Errors
    /// A missing or damaged file, an architecture that is not known, weights that are packed, a tokenizer of another
    /// model.
    pub fn open(path: &Path) -> Result<Self, TextModelError> {
        let file = path.join("config.json");
        let keys = object(&file)?;
        let shown = shown(&keys).map_err(setting(&file))?;
        if shown != Shown::Texts {
            return Err(TextModelError::OtherFamily {
                folder: path.into(),
                family: family(&keys).into(),
                shown,
            });
        }
        let config = TextConfig::read(&keys).map_err(setting(&file))?;
        let checkpoint = Checkpoint::open(path)?;
        refuse_packed(path, checkpoint.tensors())?;
        let (sentence, size) = (Sentence::read(path)?, config.size());
        let by_tokenizer = sentence.is_one || !config.limits_length();
        let longest = match sentence.longest {
            None if by_tokenizer => Tokenizer::longest(path)?,
            longest => longest,
        };
        let longest = longest.unwrap_or(size.longest).min(size.longest);
        let mut tokenizer = Tokenizer::open(path, longest)?;
        if sentence.lower {
            tokenizer = tokenizer.lower()?;
        }
        if tokenizer.len() > size.words {
            return Err(TextModelError::Vocabulary {
                folder: path.into(),
                found: tokenizer.len(),
                expected: size.words,
            });
        }
        Ok(Self {
            path: path.into(),
            checkpoint,
            config,
            tokenizer,
            longest,
            pool: sentence.pool.unwrap_or(Pool::Mean),
            unit: sentence.unit,
            prompts: sentence.prompts,
        })
    }

    /// Whether a folder says that it holds a model that reads text; what cannot be read says nothing.
    pub fn is_one(path: &Path) -> bool {
        let keys = object(&path.join("config.json")).unwrap_or_default();
        Shown::to(family(&keys)) == Some(Shown::Texts)
    }

    /// The same model, texts cut to `longest` tokens.
    ///
    /// # Errors
    /// A length that the model does not read.
    pub fn cut_to(self, longest: usize) -> Result<Self, TextModelError> {
        Ok(Self {
            tokenizer: cutting_to(self.tokenizer, longest, self.longest, &self.path)?,
            longest,
            ..self
        })
    }

    /// The same folder opened once more.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub(crate) fn again(&self) -> Result<Self, TextModelError> {
        let folder = Self::open(&self.path)?;
        if folder.longest == self.longest {
            return Ok(folder);
        }
        folder.cut_to(self.longest)
    }

    /// The names of the classes of its head, by `id2label`; `LABEL_0` and so on where there is none.
    ///
    /// # Errors
    /// Names that are not one for each class.
    pub fn labels(&self, classes: usize) -> Result<Vec<String>, TextModelError> {
        let file = self.path.join("config.json");
        let named = class_names(&object(&file)?, classes).map_err(setting(&file))?;
        Ok(named.unwrap_or_else(|| (0..classes).map(unnamed).collect()))
    }

    /// How scores of its classes become probabilities.
    ///
    /// # Errors
    /// A file that is no JSON object.
    pub(crate) fn chances(&self) -> Result<Chances, TextModelError> {
        Ok(Chances::of(&object(&self.path.join("config.json"))?))
    }

    /// The words that end what the model writes: as `generation_config.json` lists them, else `config.json`.
    ///
    /// # Errors
    /// A file that is no JSON object, or other values than numbers of words.
    pub(crate) fn ends(&self) -> Result<Vec<u32>, TextModelError> {
        const KEY: &str = "eos_token_id";
        for name in ["generation_config.json", "config.json"] {
            let file = self.path.join(name);
            let Some(keys) = optional(&file)? else {
                continue;
            };
            let Some(value) = keys.get(KEY).filter(|value| !value.is_null()) else {
                continue;
            };
            let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            let found = match value {
                Value::Array(many) => many.iter().map(one).collect(),
                value => one(value).map(|id| vec![id]),
            };
            return found.ok_or_else(|| {
                let expected = "the number of a word or a list of them";
                setting(&file)(ConfigError::range(KEY, value, expected))
            });
        }
        Ok(Vec::new())
    }

    /// Names and shapes of the tensors of the model.
    ///
    /// # Errors
    /// When weights do not fit the architecture.
    pub(crate) fn layout(&self) -> Result<Arc<ParamLayout>, TextModelError> {
        Ok(Arc::clone(self.load(&Device::flex())?.layout()))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of values of all tensors.
    pub fn num_values(&self) -> u64 {
        let tensors = self.checkpoint.tensors().iter();
        tensors.map(|meta| meta.len() as u64).sum()
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub fn load(&self, device: &Device) -> Result<Weights, TextModelError> {
        let bind = |scope: &refit_nn::Scope<'_>| self.config.bind(scope);
        Ok(Weights::load(&self.checkpoint, device, bind)?)
    }

    /// Reads the weights of a model that stays what it is: matrices of half precision are kept so.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_as_stored(&self, device: &Device) -> Result<Weights, TextModelError> {
        let bind = |scope: &refit_nn::Scope<'_>| self.config.bind(scope);
        Ok(Weights::load_as_stored(&self.checkpoint, device, bind)?)
    }
}

pub(crate) fn setting(path: &Path) -> impl Fn(ConfigError) -> TextModelError + use<> {
    let path = path.to_path_buf();
    move |source| TextModelError::Setting {
        path: path.clone(),
        source,
    }
}

/// The JSON document in a file; `None` where there is no file.
pub(crate) fn optional(path: &Path) -> Result<Option<Value>, TextModelError> {
    let bytes = match read_file(path, MAX_BYTES) {
        Err(error) if error.is_not_found() => return Ok(None),
        bytes => bytes?,
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| TextModelError::NotJson {
        path: path.into(),
        problem: error.to_string(),
    })?;
    Ok(Some(value))
}

/// The JSON object in a file that has to be there.
pub(crate) fn object(path: &Path) -> Result<Map<String, Value>, TextModelError> {
    let bytes = read_file(path, MAX_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| TextModelError::NotJson {
        path: path.into(),
        problem: error.to_string(),
    })
}

/// `tokenizer`, which cuts texts to `longest` tokens for a model that reads at `most` so many.
pub(crate) fn cutting_to(
    tokenizer: Tokenizer,
    longest: usize,
    most: usize,
    folder: &Path,
) -> Result<Tokenizer, TextModelError> {
    if !(3..=most).contains(&longest) {
        let expected = format!("a number in 3..={most}");
        let source = ConfigError::range("max-length", longest, expected);
        return Err(setting(folder)(source));
    }
    Ok(tokenizer.cut_to(longest)?)
}
