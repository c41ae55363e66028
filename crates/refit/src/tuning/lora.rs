//! An encoder with adapters and a head, as a function of named weights. Source: Hu et al. 2021, arXiv 2106.09685; names
//! and defaults of PEFT.

use super::{LoraConfig, TuneError, kept::Kept};
use crate::text::{TextFolder, TextModelError};
use burn::tensor::Device;
use rayon::prelude::*;
use refit_core::{ConfigError, Progress, Seed};
use refit_io::data::LabelledTexts;
use refit_kernels::dual::Dual;
use refit_nn::{
    Addition, Init, NnError, Weights,
    blocks::{Linear, unit_rows},
    to_host,
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
    /// What the layers below the first addition make of every text, where there was room.
    kept: Option<Arc<Kept>>,
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
    /// The first layer with an addition.
    first: usize,
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
        let chosen =
            |(layer, site): &(usize, Site)| *layer >= first && config.targets.contains(&last(site));
        let (at, sites): (Vec<usize>, Vec<Site>) = maps.into_iter().filter(chosen).unzip();
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
            first: at.into_iter().min().unwrap_or(0),
            sites,
            rank: config.rank,
            scale: config.alpha / config.rank as f64,
        })
    }

    /// What the parameters are, in order.
    pub(super) fn layout(&self) -> String {
        let sites = self.sites.iter().map(|site| {
            let (module, rank) = (&site.module, self.rank);
            let (inputs, outputs) = (site.inputs, site.outputs);
            format!("{module}: lora_A [{rank}, {inputs}], lora_B [{outputs}, {rank}]")
        });
        let head = format!("{HEAD}: weight [classes, {}], bias [classes]", self.width());
        sites.chain([head]).collect::<Vec<_>>().join("; ")
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

    /// The encoder with its additions.
    fn model(&self, at: &Weights) -> Result<TextModel, NnError> {
        let mut weights = at.clone();
        for site in &self.sites {
            let factor = |name: &str, dims: [usize; 2]| {
                let place = format!("{}.{name}", site.module);
                at.bind(|scope| scope.at(&place).tensor("weight", dims, Init::Zeros))
            };
            let left = factor("lora_B", [site.outputs, self.rank])?.mul_scalar(self.scale);
            let right = factor("lora_A", [self.rank, site.inputs])?;
            weights.add(site.at, Addition { left, right });
        }
        weights.bind(|scope| self.config.bind(scope))
    }

    /// Texts of one length as the encoder reads them.
    fn batch(&self, texts: &[&Encoded]) -> TokenBatch {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids()).collect();
        let batch = TokenBatch::new(&ids, self.pad, Side::Right);
        match self.config.size().segments {
            0 | 1 => batch,
            _ => {
                let types: Vec<&[u32]> = texts.iter().map(|text| text.types()).collect();
                batch.with_types(&types, Side::Right)
            }
        }
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
            kept: None,
            classes: rows.classes.clone(),
            count: rows.labels.len(),
        })
    }

    /// Bytes of what [`keep`](Self::keep) keeps: at most `most_bytes`, and nothing where there is no layer below the
    /// first addition.
    pub(super) fn kept_bytes(&self, most_bytes: u64) -> u64 {
        let bytes = Kept::size(self.lengths(), self.adapted.width());
        bytes
            .filter(|&bytes| self.adapted.first > 0 && bytes <= most_bytes)
            .unwrap_or(0)
    }

    fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.texts.iter().map(|text| text.ids().len())
    }

    /// Computes what is below the first addition once, and keeps it if it takes `most_bytes` at most. Decoders keep
    /// nothing.
    pub(super) fn keep(
        mut self,
        weights: &Weights,
        most_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Self, TuneError> {
        if self.kept_bytes(most_bytes) == 0 {
            return Ok(self);
        }
        let Some(mut kept) = Kept::new(self.lengths(), self.adapted.width(), most_bytes) else {
            return Ok(self);
        };
        let model: TextModel = weights.bind(|scope| self.adapted.config.bind(scope))?;
        progress.begin("read", Some(self.texts.len() as u64));
        for places in kept.batches() {
            if progress.cancelled() {
                return Err(TextModelError::Interrupted.into());
            }
            let texts: Vec<&Encoded> = places.iter().map(|&at| &self.texts[at]).collect();
            let batch = self.adapted.batch(&texts);
            let Some(states) = model.states_before(self.adapted.first, &batch)? else {
                return Ok(self);
            };
            kept.put(&places, &to_host(states.into_value()));
            progress.advance(places.len() as u64);
        }
        self.kept = Some(Arc::new(kept));
        Ok(self)
    }

    /// How many texts are as long as the model reads, and may have been cut.
    pub(super) fn cut(&self, longest: usize) -> usize {
        self.lengths().filter(|&length| length >= longest).count()
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
        let adapted = &self.adapted;
        let texts: Vec<&Encoded> = terms.iter().map(|&at| &self.texts[at as usize]).collect();
        let (model, batch) = (adapted.model(at)?, adapted.batch(&texts));
        let below = self
            .kept
            .as_ref()
            .map(|kept| kept.states(terms, &at.device()));
        let states = match below {
            // Invariant: what is kept is of an encoder that has this layer.
            Some(below) => model.states_from(adapted.first, below.into(), &batch),
            None => None,
        };
        let states = states.map_or_else(|| model.states(&batch), Ok)?;
        let pooled = adapted.pool.apply(states, &batch);
        let vectors = if adapted.unit {
            unit_rows(pooled)
        } else {
            pooled
        };
        let width = self.adapted.width();
        let head = at.bind(|scope| Linear::bind(&scope.at(HEAD), width, self.count))?;
        Ok(head.forward(vectors))
    }
}
