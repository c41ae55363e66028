//! A linear head that was fitted to the vectors of an encoder.

use super::{
    TextFolder, TextModelError, TextPrompts,
    folder::{object, setting},
};
use refit_core::ConfigError;
use refit_io::ckpt::Checkpoint;
use refit_nn::zoo::Pool;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Classes by scalar products with the vector of a text, from the folder `head` of `refit tune`.
#[derive(Clone, Debug, PartialEq)]
pub struct TextHead {
    path: PathBuf,
    config: HeadConfig,
    width: usize,
    /// A row of `width` values for every class.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// What `refit tune` says about it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct HeadConfig {
    model: PathBuf,
    adapter: bool,
    labels: Vec<String>,
    pool: String,
    unit: bool,
    max_length: usize,
}

const POOLS: [Pool; 5] = [
    Pool::First,
    Pool::Last,
    Pool::Mean,
    Pool::MeanSqrtLen,
    Pool::Max,
];

impl TextHead {
    /// Reads `config.json` and the tensors `classifier.weight` and `classifier.bias`.
    ///
    /// # Errors
    /// A missing or damaged file, tensors of another shape than labels ask for.
    pub fn open(path: &Path) -> Result<Self, TextModelError> {
        let file = path.join("config.json");
        let keys = Value::Object(object(&file)?);
        let config = HeadConfig::deserialize(&keys).map_err(|error| TextModelError::NotJson {
            path: file.clone(),
            problem: format!("it is not that of a head: {error}"),
        })?;
        let checkpoint = Checkpoint::open(path)?;
        let shape = checkpoint.view("classifier.weight")?.meta.shape.clone();
        let weight = checkpoint.tensor_f32("classifier.weight")?;
        let bias = checkpoint.tensor_f32("classifier.bias")?;
        let classes = config.labels.len();
        let fits = matches!(shape[..], [rows, width] if rows == classes && width > 0);
        if !fits || bias.len() != classes || classes < 2 {
            let expected = format!("two or more, as rows of `classifier.weight` {shape:?}");
            return Err(setting(&file)(ConfigError::range(
                "labels", classes, expected,
            )));
        }
        Ok(Self {
            path: path.into(),
            width: shape[1],
            config,
            weight,
            bias,
        })
    }

    /// The names of its classes.
    pub fn labels(&self) -> &[String] {
        &self.config.labels
    }

    /// Checks that it belongs to vectors of this encoder.
    pub(super) fn check(&self, folder: &TextFolder) -> Result<(), TextModelError> {
        let failed = setting(&self.path.join("config.json"));
        let width = folder.config.size().hidden;
        if self.width != width {
            let expected = format!("{width}, the width of `{}`", folder.path().display());
            return Err(failed(ConfigError::range("width", self.width, expected)));
        }
        if self.config.adapter && self.config.model == folder.path() {
            let problem = format!(
                "was fitted with an adapter beside `{}`; fold the adapter with `refit merge` and give the folder it makes",
                folder.path().display()
            );
            return Err(failed(ConfigError::conflict("adapter", problem)));
        }
        self.pool().map(|_| ()).map_err(failed)
    }

    /// The encoder, made to give the vectors that the head was fitted to.
    pub(super) fn settle(&self, folder: TextFolder) -> Result<TextFolder, TextModelError> {
        let failed = setting(&self.path.join("config.json"));
        let mut folder = match self.config.max_length {
            longest if longest == folder.longest => folder,
            longest => folder.cut_to(longest)?,
        };
        folder.pool = self.pool().map_err(failed)?;
        folder.unit = self.config.unit;
        if self.config.adapter {
            folder.prompts = TextPrompts::default(); // an adapter is fitted to texts as they are
        }
        Ok(folder)
    }

    fn pool(&self) -> Result<Pool, ConfigError> {
        let name = |pool: &Pool| format!("{pool:?}").to_lowercase();
        let found = POOLS
            .into_iter()
            .find(|pool| name(pool) == self.config.pool);
        found.ok_or_else(|| {
            let names = POOLS.map(|pool| name(&pool));
            ConfigError::unknown("pool", &self.config.pool, names.iter().map(String::as_str))
        })
    }

    /// The score of every class.
    pub(super) fn scores(&self, vector: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks(self.width).zip(&self.bias);
        let score = |(row, bias): (&[f32], &f32)| {
            let products = row
                .iter()
                .zip(vector)
                .map(|(w, x)| f64::from(*w) * f64::from(*x));
            (products.sum::<f64>() + f64::from(*bias)) as f32
        };
        rows.map(score).collect()
    }

    pub(super) fn pairs(&self) -> TextModelError {
        let problem = "reads one vector, and the texts are pairs";
        setting(&self.path.join("config.json"))(ConfigError::conflict("head", problem))
    }
}
