//! An encoder with adapters and a head, as a function of named weights. Source: Hu et al. 2021, arXiv 2106.09685; names
//! and defaults of PEFT.

use super::{LoraConfig, TuneError};
use crate::text::{TextFolder, TextModelError};
use burn::tensor::Device;
use rayon::prelude::*;
use refit_core::{ConfigError, Seed};
use refit_io::data::LabelledTexts;
use refit_kernels::dual::Dual;
use refit_nn::{
    Init, NnError, Weights,
    blocks::{Linear, unit_rows},
    zoo::{Pool, Side, TextConfig, TextModel, TokenBatch},
};
use refit_text::Encoded;
use refit_train::objective::Outputs;
use std::sync::Arc;

/// Name of the head.
pub(super) const HEAD: &str = "classifier";

/// One map that gets an addition of low rank.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Its name without `.weight`.
    pub(super) module: String,
    /// Place of its weight in the layout.
    at: usize,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// An encoder with a head, and adapters whose factors are named weights: a finite sum over labelled texts.
#[derive(Clone, Debug)]
pub struct LoraRows {
    adapted: Arc<Adapted>,
    texts: Arc<Vec<Encoded>>,
    classes: Vec<u32>,
    count: usize,
}

/// What is the same whatever texts are read.
#[derive(Clone, Debug)]
pub(super) struct Adapted {
    config: TextConfig,
    pool: Pool,
    unit: bool,
    pad: u32,
    pub(super) sites: Vec<Site>,
    pub(super) rank: usize,
    pub(super) scale: f64,
}

impl Adapted {
    /// Finds the maps in an encoder.
    pub(super) fn find(folder: &TextFolder, config: &LoraConfig) -> Result<Self, TuneError> {
        config.check()?;
        if folder.config.turns_maps() {
            let problem = "does not go with GPT-2, whose maps are stored turned over";
            return Err(ConfigError::conflict("method lora", problem).into());
        }
        let layout = folder.layout()?;
        let maps = layout.specs().iter().enumerate().filter_map(|(at, spec)| {
            let module = spec.path.as_str().strip_suffix(".weight")?;
            let layer = layer(module)?;
            match spec.shape[..] {
                [outputs, inputs] => Some((
                    layer,
                    Site {
                        module: module.to_owned(),
                        at,
                        outputs,
                        inputs,
                    },
                )),
                _ => None,
            }
        });
        let maps: Vec<(usize, Site)> = maps.collect();
        let last = |site: &Site| {
            site.module
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        for target in &config.targets {
            if !maps.iter().any(|(_, site)| last(site) == *target) {
                let mut known: Vec<String> = maps.iter().map(|(_, site)| last(site)).collect();
                known.sort();
                known.dedup();
                let expected = format!("one of {}", known.join(", "));
                return Err(ConfigError::range("targets", target, expected).into());
            }
        }
        let layers = maps.iter().map(|(layer, _)| layer + 1).max().unwrap_or(0);
        let first = layers.saturating_sub(config.layers.unwrap_or(layers));
        let sites = maps
            .into_iter()
            .filter(|(layer, site)| *layer >= first && config.targets.contains(&last(site)))
            .map(|(_, site)| site)
            .collect::<Vec<_>>();
        let most = sites.iter().map(|site| site.inputs.min(site.outputs)).min();
        let most = most.unwrap_or(1);
        if config.rank > most {
            let expected = format!("at most {most}, the smaller side of a target");
            return Err(ConfigError::range("rank", config.rank, expected).into());
        }
        Ok(Self {
            config: folder.config.clone(),
            pool: folder.pool,
            unit: folder.unit,
            pad: folder.tokenizer.pad(),
            sites,
            rank: config.rank,
            scale: config.alpha / config.rank as f64,
        })
    }

    /// Fresh factors and a fresh head: one factor of every addition is zero, so the encoder is what it was.
    pub(super) fn create(
        &self,
        classes: usize,
        seed: Seed,
        device: &Device,
    ) -> Result<Weights, NnError> {
        Weights::create(seed, device, |scope| {
            for site in &self.sites {
                let place = scope.at(&site.module);
                let init = Init::LinearUniform {
                    fan_in: site.inputs,
                };
                place
                    .at("lora_A")
                    .tensor("weight", [self.rank, site.inputs], init)?;
                place
                    .at("lora_B")
                    .tensor("weight", [site.outputs, self.rank], Init::Zeros)?;
            }
            Linear::bind(&scope.at(HEAD), self.width(), classes)
        })
    }

    /// Width of a vector.
    pub(super) fn width(&self) -> usize {
        self.config.size().hidden
    }

    /// Vectors of texts of one length: `[texts, width]`.
    fn vectors(&self, at: &Weights, texts: &[&Encoded]) -> Result<Dual<2>, NnError> {
        let mut weights = at.clone();
        for site in &self.sites {
            let factor = |name: &str, dims: [usize; 2]| {
                let place = format!("{}.{name}", site.module);
                at.bind(|scope| scope.at(&place).tensor("weight", dims, Init::Zeros))
            };
            let left = factor("lora_B", [site.outputs, self.rank])?;
            let right = factor("lora_A", [self.rank, site.inputs])?;
            let change = left.matmul(right).mul_scalar(self.scale);
            let change = change.reshape([site.outputs * site.inputs]);
            weights.set(site.at, at.values()[site.at].clone() + change);
        }
        let model: TextModel = weights.bind(|scope| self.config.bind(scope))?;
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids()).collect();
        let batch = TokenBatch::new(&ids, self.pad, Side::Right);
        let batch = match self.config.size().segments {
            0 | 1 => batch,
            _ => {
                let types: Vec<&[u32]> = texts.iter().map(|text| text.types()).collect();
                batch.with_types(&types, Side::Right)
            }
        };
        let pooled = self.pool.apply(model.states(&batch)?, &batch);
        Ok(if self.unit { unit_rows(pooled) } else { pooled })
    }
}

/// The layer that a map belongs to; `None` for what is in none, such as embeddings.
fn layer(module: &str) -> Option<usize> {
    module.split('.').find_map(|part| part.parse().ok())
}

impl LoraRows {
    /// Cuts texts into tokens.
    pub(super) fn new(
        adapted: &Arc<Adapted>,
        folder: &TextFolder,
        rows: &LabelledTexts,
    ) -> Result<Self, TextModelError> {
        let encode = |text: &String| folder.tokenizer.encode(text, None);
        let texts: Vec<Encoded> = rows
            .texts
            .par_iter()
            .map(encode)
            .collect::<Result<_, _>>()?;
        if let Some(at) = texts.iter().position(|text| text.ids().is_empty()) {
            return Err(TextModelError::NoToken { text: at + 1 });
        }
        Ok(Self {
            adapted: Arc::clone(adapted),
            texts: Arc::new(texts),
            classes: rows.classes.clone(),
            count: rows.labels.len(),
        })
    }

    /// How many texts are as long as the model reads, and may have been cut.
    pub(super) fn cut(&self, longest: usize) -> usize {
        let texts = self.texts.iter();
        texts.filter(|text| text.ids().len() >= longest).count()
    }
}

impl Outputs for LoraRows {
    fn terms(&self) -> usize {
        self.classes.len()
    }

    fn classes(&self) -> usize {
        self.count
    }

    fn class(&self, term: usize) -> usize {
        self.classes[term] as usize
    }

    fn length(&self, term: usize) -> usize {
        self.texts[term].ids().len()
    }

    fn outputs(&self, at: &Weights, terms: &[u32]) -> Result<Dual<2>, NnError> {
        let texts: Vec<&Encoded> = terms.iter().map(|&at| &self.texts[at as usize]).collect();
        let vectors = self.adapted.vectors(at, &texts)?;
        let width = self.adapted.width();
        let head = at.bind(|scope| Linear::bind(&scope.at(HEAD), width, self.count))?;
        Ok(head.forward(vectors))
    }
}
