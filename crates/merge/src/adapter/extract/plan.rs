//! What becomes of every tensor, from headers alone.

use super::{
    Extract, Others,
    factors::is_exact,
    part::{Part, Traits},
    tied,
};
use crate::{
    error::{MergeError, ModelName, NameList, Shape},
    recipe::{ModelHeader, Vocabulary, is_buffer, vocabulary},
};
use refit_core::{ConfigError, DType, ParamPath, Placement, TensorMeta};
use std::collections::{HashMap, HashSet};

/// What becomes of every tensor of two models, should it have changed.
#[derive(Clone, Debug)]
pub struct ExtractPlan {
    pub(super) names: Pair,
    pub(super) tensors: Vec<PlannedTensor>,
    pub(super) tied: bool,
    /// Tensors of other modules that are the embedding, as readers of whole models name them.
    pub(super) twins: Vec<ParamPath>,
    pub(super) left_out: Vec<String>,
    dtype: DType,
}

/// How messages speak of both models.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) base: String,
    pub(super) model: String,
}

/// What becomes of one tensor, should it have changed.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// Its name, in both models.
    pub path: ParamPath,
    /// Its extents, in both models.
    pub shape: Vec<usize>,
    /// Its element type in the fine-tuned model.
    pub dtype: DType,
    /// What becomes of it.
    pub part: Part,
    /// Most components, where it becomes factors.
    pub rank: usize,
    /// Its place in the base.
    pub base: usize,
    /// Its place in the fine-tuned model.
    pub model: usize,
}

impl ExtractPlan {
    /// Every tensor that is compared, in the order of the fine-tuned model.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Whether the head is the embedding, and therefore not looked at.
    pub const fn is_tied(&self) -> bool {
        self.tied
    }

    /// Tensors of either model that are not looked at: heads that are embeddings, buffers, integers, what is skipped.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Bytes of the adapter, should every tensor have changed and take all components.
    pub fn most_bytes(&self) -> u64 {
        let twins = self.twins.len() as u64;
        let bytes = |planned: &PlannedTensor| {
            let copies = match planned.part {
                Part::Whole if self.tied && planned.is_embedding() => 1 + twins,
                _ => 1,
            };
            copies * self.stored_bytes(planned)
        };
        self.tensors.iter().map(bytes).sum()
    }

    /// Bytes of the adapter that a tensor takes at most.
    pub fn stored_bytes(&self, planned: &PlannedTensor) -> u64 {
        let (values, dtype) = match (planned.part, &planned.shape[..]) {
            (Part::LowRank(_), &[rows, cols]) => (planned.rank * (rows + cols), self.dtype),
            (Part::Shift, _) => (planned.len(), self.dtype),
            _ => (planned.len(), planned.dtype),
        };
        (dtype.size_bytes() * values) as u64
    }
}

impl PlannedTensor {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory while it is worked on: where it becomes factors, the difference and what decomposes it.
    pub fn held_bytes(&self) -> u64 {
        const BLOCKS: u64 = 1 << 20;
        let (Part::LowRank(_), &[rows, cols]) = (self.part, &self.shape[..]) else {
            return BLOCKS;
        };
        let (values, sides) = (self.len() as u64, (rows + cols) as u64);
        let work = if is_exact([rows, cols], self.rank) {
            // The difference, it in double precision twice, both sides of vectors, and room to work.
            values * (4 + 4 * 8) + sides * rows.min(cols) as u64 * 8
        } else {
            values * (4 + 8) + sides * (self.rank as u64 + 16) * 4 * 8
        };
        BLOCKS + work
    }

    /// Whether its rows are tokens that become vectors.
    pub(super) fn is_embedding(&self) -> bool {
        vocabulary(self.path.as_str()) == Some(Vocabulary::Embedding)
    }
}

impl Extract {
    /// Says what becomes of every tensor, should it have changed. Reads headers alone; `names` are those of base and
    /// model in messages.
    ///
    /// # Errors
    /// [`MergeError::Names`] when a model has weights that the other has not, [`MergeError::Shape`] when one has another
    /// shape; [`MergeError::Config`] when `skip` has a beginning that no name has, or nothing is left.
    pub fn plan(
        &self,
        names: [&str; 2],
        base: ModelHeader<'_>,
        model: ModelHeader<'_>,
    ) -> Result<ExtractPlan, MergeError> {
        let [of_base, of_model] = names.map(str::to_owned);
        let names = Pair {
            base: of_base,
            model: of_model,
        };
        self.check_skip(base, model)?;
        let traits = Traits::of(model.config);
        let tied = is_tied(traits.tied, base, model);
        let mut left_out = Vec::new();
        let mut compared = |header: ModelHeader<'_>| -> Vec<usize> {
            let keep = |&at: &usize| {
                let meta = &header.tensors[at];
                let name = meta.path.as_str();
                let head = tied && vocabulary(name) == Some(Vocabulary::Head);
                let skipped = self
                    .0
                    .skip
                    .iter()
                    .any(|begin| name.starts_with(begin.as_str()));
                let out = head || skipped || is_buffer(name) || is_counter(meta);
                let out = out || traits.part(meta, &self.0).is_none();
                if out && !left_out.iter().any(|known| known == name) {
                    left_out.push(name.to_owned());
                }
                !out
            };
            (0..header.tensors.len()).filter(keep).collect()
        };
        let (of_base, of_model) = (compared(base), compared(model));
        let pairs = pairs(&names, (base, &of_base), (model, &of_model))?;
        let planned = pairs.into_iter().map(|(at, place)| {
            let meta = &model.tensors[at];
            let other = &base.tensors[place];
            names.check(meta, other)?;
            let part = traits.part(meta, &self.0).unwrap_or(Part::Whole);
            let untied = |part| tied && part == Part::LowRank(Placement::Embedding);
            let most = meta.shape.iter().copied().min().unwrap_or(1).max(1);
            Ok(PlannedTensor {
                path: meta.path.clone(),
                shape: meta.shape.clone(),
                dtype: meta.dtype,
                part: if untied(part) && !is_tied_by_loaders(&meta.path) {
                    Part::Whole
                } else {
                    part
                },
                rank: self.0.rank.min(most),
                base: place,
                model: at,
            })
        });
        let mut tensors = planned.collect::<Result<Vec<_>, MergeError>>()?;
        if tensors.is_empty() {
            let problem = "leave no tensor to compare";
            return Err(ConfigError::conflict("what is left out and skipped", problem).into());
        }
        bring_biases_to_layers(&mut tensors);
        Ok(ExtractPlan {
            names,
            twins: if tied {
                tied::twins(base, model)
            } else {
                Vec::new()
            },
            tensors,
            tied,
            left_out,
            dtype: self.0.dtype,
        })
    }

    /// Refuses a beginning to skip that no name has: a slip would go unseen.
    fn check_skip(&self, base: ModelHeader<'_>, model: ModelHeader<'_>) -> Result<(), ConfigError> {
        let names = || {
            let tensors = base.tensors.iter().chain(model.tensors);
            tensors.map(|tensor| tensor.path.as_str())
        };
        let unused = |begin: &&String| !names().any(|name| name.starts_with(begin.as_str()));
        match self.0.skip.iter().find(unused) {
            Some(begin) => {
                let problem = format!("has `{begin}`, with which no name of a tensor begins");
                Err(ConfigError::conflict("skip", problem))
            }
            None => Ok(()),
        }
    }

    /// Whether a change of this tensor is refused.
    pub(super) fn refuses(&self, planned: &PlannedTensor) -> bool {
        let other = planned.part == Part::Whole && vocabulary(planned.path.as_str()).is_none();
        other && self.0.others == Others::Refuse
    }
}

/// Whether the head is the embedding: as `config.json` says, or, where it is silent, where one of the models has none.
fn is_tied(told: Option<bool>, base: ModelHeader<'_>, model: ModelHeader<'_>) -> bool {
    let has_head = |header: ModelHeader<'_>| {
        let mut names = header.tensors.iter().map(|tensor| tensor.path.as_str());
        names.any(|name| vocabulary(name) == Some(Vocabulary::Head))
    };
    told.unwrap_or_else(|| has_head(base) != has_head(model))
}

/// Whether loaders tie the factors of this embedding to its head; they know a table of one name.
fn is_tied_by_loaders(path: &ParamPath) -> bool {
    let is_table = vocabulary(path.as_str()) == Some(Vocabulary::Embedding);
    !is_table || path.as_str().ends_with("embed_tokens.weight")
}

/// Numbers that no training changes, such as positions.
fn is_counter(meta: &TensorMeta) -> bool {
    !meta.dtype.is_weight()
}

/// For each tensor of the model its place there and in the base.
fn pairs(
    names: &Pair,
    (base, of_base): (ModelHeader<'_>, &[usize]),
    (model, of_model): (ModelHeader<'_>, &[usize]),
) -> Result<Vec<(usize, usize)>, MergeError> {
    let name = |header: ModelHeader<'_>, at: usize| header.tensors[at].path.clone();
    let places: HashMap<ParamPath, usize> =
        of_base.iter().map(|&at| (name(base, at), at)).collect();
    let held: HashSet<ParamPath> = of_model.iter().map(|&at| name(model, at)).collect();
    let missing: NameList = of_base
        .iter()
        .map(|&at| name(base, at))
        .filter(|name| !held.contains(name))
        .collect();
    let unexpected: NameList = of_model
        .iter()
        .map(|&at| name(model, at))
        .filter(|name| !places.contains_key(name))
        .collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(MergeError::Names {
            what: format!("tensors of `{}`", names.model),
            missing,
            unexpected,
        });
    }
    let place = |&at: &usize| (at, places[&model.tensors[at].path]);
    Ok(of_model.iter().map(place).collect())
}

impl Pair {
    fn check(&self, meta: &TensorMeta, base: &TensorMeta) -> Result<(), MergeError> {
        if meta.shape == base.shape {
            return Ok(());
        }
        Err(MergeError::Shape {
            path: meta.path.clone(),
            model: ModelName::Plain(self.model.clone()),
            found: Shape(meta.shape.clone()),
            expected: Shape(base.shape.clone()),
        })
    }
}

/// The bias of a layer with factors goes with them.
fn bring_biases_to_layers(tensors: &mut [PlannedTensor]) {
    let layers: HashSet<String> = tensors
        .iter()
        .filter(|planned| matches!(planned.part, Part::LowRank(_)))
        .map(|planned| planned.path.module().to_owned())
        .collect();
    for planned in tensors {
        let module = planned.path.module();
        let is_bias = planned.path.as_str() == format!("{module}.bias") && planned.shape.len() == 1;
        if is_bias && layers.contains(module) {
            planned.part = Part::Shift;
        }
    }
}
