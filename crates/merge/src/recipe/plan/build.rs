//! The tensors of the result, one after the other.

use super::{
    EmbeddingMismatch, InputRef, OutputTensor, Plan, TensorSettings, Work,
    header::Header,
    parts::{Cut, Part},
    problem::{PlanError, PlanProblem, Problems},
    rule,
};
use crate::{
    error::Shape,
    recipe::{
        Depth, ModelRef, Recipe, Settings,
        document::resolve,
        structure::{Structure, Vocabulary, is_buffer, is_early, vocabulary},
    },
};
use refit_core::{DType, ParamPath, Seed, TensorMeta};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Collects tensors and problems.
pub(super) struct Builder<'a, 'p> {
    recipe: &'a Recipe,
    models: &'a [&'a ModelRef],
    names: Vec<String>,
    headers: &'p [Header<'a>],
    structure: &'p Structure,
    problems: Problems,
    tensors: Vec<OutputTensor>,
    mismatches: Vec<EmbeddingMismatch>,
    left_out: Vec<InputRef>,
    /// What was left out, so that it is told once.
    told: HashSet<(usize, usize)>,
}

/// One tensor of the result before its inputs are looked up.
struct Slot<'s> {
    /// Its name in the result.
    path: String,
    /// Its name in each feed.
    names: Vec<String>,
    layer: Option<usize>,
    depth: Depth,
    part: &'s Part<'s>,
    cut: &'s Cut<'s>,
}

/// Which tensors outside the layers a cut brings.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Those before the layers.
    Early,
    /// Those behind them.
    Late,
}

impl<'a, 'p> Builder<'a, 'p> {
    pub(super) fn new(
        recipe: &'a Recipe,
        models: &'a [&'a ModelRef],
        headers: &'p [Header<'a>],
        structure: &'p Structure,
        problems: Problems,
    ) -> Self {
        Self {
            recipe,
            models,
            names: models.iter().map(ToString::to_string).collect(),
            headers,
            structure,
            problems,
            tensors: vec![],
            mismatches: vec![],
            left_out: vec![],
            told: HashSet::new(),
        }
    }

    /// Adds the tensors of one module.
    pub(super) fn part(&mut self, part: &Part<'_>) {
        let (Some(first), Some(last)) = (part.cuts.first(), part.cuts.last()) else {
            return self.copied(part.module);
        };
        self.outside(part, first, End::Early);
        let mut layer = 0;
        for cut in &part.cuts {
            for index in 0..cut.layers {
                self.layer(part, cut, index, layer);
                layer += 1;
            }
        }
        self.outside(part, last, End::Late);
    }

    /// A module that the recipe does not name stays as it is in the first model.
    fn copied(&mut self, module: usize) {
        let header = &self.headers[0];
        for (index, name) in header.names().enumerate() {
            if self.structure.module(name) == Some(module) {
                let layer = self.structure.modules()[module].layer(name);
                let input = InputRef {
                    model: 0,
                    index,
                    tensor: name.into(),
                };
                let layer = layer.map(|(layer, _)| layer);
                self.copy(name.into(), input, layer);
            }
        }
    }

    /// Tensors before or behind the layers.
    fn outside(&mut self, part: &Part<'_>, cut: &Cut<'_>, end: End) {
        let module = &self.structure.modules()[part.module];
        let belongs = |header: &Header<'_>, name: &str| {
            let early = if is_early(name) {
                End::Early
            } else {
                End::Late
            };
            self.structure.module(name) == Some(part.module)
                && early == end
                && match module.layer(name) {
                    None => true,
                    Some((layer, _)) => part.whole && layer >= header.layers(part.module),
                }
        };
        let names = |feed: usize| -> Vec<&str> {
            let header = &self.headers[cut.feeds[feed].model];
            header
                .names()
                .filter(|name| belongs(header, name))
                .collect()
        };
        let mut wanted = names(cut.reference());
        let mut known: HashSet<&str> = wanted.iter().copied().collect();
        let mut extra = vec![];
        for feed in (0..cut.feeds.len()).filter(|&feed| feed != cut.reference()) {
            for name in names(feed) {
                // A head that only some models store is merged; the others have it in their embedding.
                if vocabulary(name) == Some(Vocabulary::Head) && known.insert(name) {
                    wanted.push(name);
                } else if !known.contains(name) {
                    extra.push((cut.feeds[feed].model, name));
                }
            }
        }
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        self.leave_out(&extra);
        for path in wanted {
            let names = vec![path.clone(); cut.feeds.len()];
            self.slot(&Slot {
                path,
                names,
                layer: None,
                depth: Depth::OUTSIDE,
                part,
                cut,
            });
        }
    }

    /// Layer `index` of a cut, which becomes layer `number` of the result.
    fn layer(&mut self, part: &Part<'_>, cut: &Cut<'_>, index: usize, number: usize) {
        let module = &self.structure.modules()[part.module];
        let rests = |feed: usize| -> Vec<&str> {
            let feed = &cut.feeds[feed];
            self.headers[feed.model].rests(part.module, feed.start + index)
        };
        let wanted = rests(cut.reference());
        let known: HashSet<&str> = wanted.iter().copied().collect();
        let mut extra = vec![];
        for (at, feed) in cut.feeds.iter().enumerate() {
            for rest in rests(at).into_iter().filter(|rest| !known.contains(rest)) {
                extra.push((feed.model, module.name(feed.start + index, rest)));
            }
        }
        let extra: Vec<(usize, &str)> = extra.iter().map(|(m, name)| (*m, name.as_str())).collect();
        self.leave_out(&extra);
        for rest in wanted {
            let name = |start: usize| module.name(start + index, rest);
            self.slot(&Slot {
                path: module.name(number, rest),
                names: cut.feeds.iter().map(|feed| name(feed.start)).collect(),
                layer: Some(number),
                depth: Depth::layer(index, cut.layers),
                part,
                cut,
            });
        }
    }

    fn leave_out(&mut self, extra: &[(usize, &str)]) {
        for &(model, name) in extra.iter().filter(|(_, name)| !is_buffer(name)) {
            if let Some(index) = self.headers[model]
                .find(name)
                .filter(|&index| self.told.insert((model, index)))
            {
                self.left_out.push(InputRef {
                    model,
                    index,
                    tensor: name.into(),
                });
            }
        }
    }

    /// Looks up the inputs of a tensor and decides how it is made.
    fn slot(&mut self, slot: &Slot<'_>) {
        let reference = slot.cut.reference();
        if is_buffer(&slot.path) {
            return self.copy_of(slot, reference);
        }
        let mut inputs = vec![];
        for (feed, name) in slot.cut.feeds.iter().zip(&slot.names) {
            let header = &self.headers[feed.model];
            match header.find(name).or_else(|| header.tied(name)) {
                Some(index) => inputs.push(InputRef {
                    model: feed.model,
                    index,
                    tensor: header.tensor(index).path.clone(),
                }),
                None => self.problems.missing(feed.model, name.as_str().into()),
            }
        }
        if inputs.len() < slot.names.len() {
            return;
        }
        if inputs.iter().all(|input| is_plain(self.meta(input).dtype)) {
            return self.copy_of(slot, reference);
        }
        let alone = inputs.len() == 1;
        if let Some(input) = inputs
            .iter()
            .find(|input| !self.meta(input).dtype.is_weight() && !alone)
        {
            let meta = self.meta(input);
            return self.problems.push(PlanProblem::NotWeights {
                path: meta.path.clone(),
                model: self.names[input.model].clone(),
                found: meta.dtype,
            });
        }
        if let Some(shape) = self.shape(slot, &inputs, reference) {
            self.add(slot, inputs, shape);
        }
    }

    /// The shape of the result, if the inputs agree on one.
    fn shape(
        &mut self,
        slot: &Slot<'_>,
        inputs: &[InputRef],
        reference: usize,
    ) -> Option<Vec<usize>> {
        let expected = &self.meta(&inputs[reference]).shape;
        let is_embedding = vocabulary(&slot.path).is_some();
        let mut rows = expected.first().copied();
        let mut differ = false;
        for input in inputs {
            let found = self.meta(input);
            if found.shape == *expected {
                continue;
            }
            let fits = is_embedding
                && found.shape.len() == expected.len()
                && !expected.is_empty()
                && found.shape[1..] == expected[1..];
            if !fits {
                self.problems.push(PlanProblem::Shape {
                    path: found.path.clone(),
                    model: self.names[input.model].clone(),
                    found: Shape(found.shape.clone()),
                    expected: Shape(expected.clone()),
                });
                return None;
            }
            differ = true;
            rows = rows.min(found.shape.first().copied());
        }
        let mut shape = expected.clone();
        if let (Some(first), Some(rows)) = (shape.first_mut(), rows) {
            *first = rows;
        }
        if differ {
            let rows = inputs
                .iter()
                .map(|input| (input.model, self.meta(input).shape[0]));
            self.mismatches.push(EmbeddingMismatch {
                tensor: self.tensors.len(),
                rows: rows.collect(),
            });
        }
        Some(shape)
    }

    fn add(&mut self, slot: &Slot<'_>, mut inputs: Vec<InputRef>, shape: Vec<usize>) {
        let dtypes = inputs.iter().map(|input| self.meta(input).dtype);
        let promoted = dtypes.reduce(promote).unwrap_or(DType::F32);
        let mut settings = self.settings(slot);
        let base = slot.cut.base.map(|at| {
            settings.models.remove(at);
            inputs.remove(at)
        });
        let path = ParamPath::from(slot.path.as_str());
        let method = self.recipe.method;
        // A method for one model changes it by its settings alone.
        let single = method.models == (1, 1) && base.is_none() && settings.is_empty();
        let mut output = OutputTensor {
            is_embedding: vocabulary(&slot.path).is_some(),
            layer: slot.layer,
            dtype: self.dtype(promoted),
            work: if single { Work::Copy } else { Work::Merge },
            path,
            shape,
            settings,
            inputs,
            base,
        };
        if output.work == Work::Merge {
            match rule(method, &output, &self.names, Seed::new(0)) {
                Ok(_) => {}
                Err(error) => return self.problems.setting(&output.path, error),
            }
        } else {
            output.settings = TensorSettings::default();
        }
        self.tensors.push(output);
    }

    /// The settings for each feed, the base among them.
    fn settings(&self, slot: &Slot<'_>) -> TensorSettings {
        let method = self.recipe.method;
        let wide = [
            slot.cut.parameters,
            slot.part.parameters,
            Some(&self.recipe.parameters),
        ];
        let read =
            |keys: &[&str], levels: &[Option<&Settings>], name: &str| -> Map<String, Value> {
                let value = |key: &&str| {
                    let levels = levels.iter().flatten().copied();
                    Some(((*key).to_owned(), resolve(key, levels, name, slot.depth)?))
                };
                keys.iter().filter_map(value).collect()
            };
        let models = slot.cut.feeds.iter().zip(&slot.names).map(|(feed, name)| {
            let levels = [feed.parameters, wide[0], wide[1], wide[2]];
            read(method.model_keys, &levels, name)
        });
        TensorSettings {
            models: models.collect(),
            tensor: read(method.tensor_keys, &wide, &slot.path),
        }
    }

    /// Copies what the reference has; what it has not is not missed.
    fn copy_of(&mut self, slot: &Slot<'_>, reference: usize) {
        let model = slot.cut.feeds[reference].model;
        let name = &slot.names[reference];
        if let Some(index) = self.headers[model].find(name) {
            let tensor = name.as_str().into();
            let input = InputRef {
                model,
                index,
                tensor,
            };
            self.copy(slot.path.as_str().into(), input, slot.layer);
        }
    }

    fn copy(&mut self, path: ParamPath, input: InputRef, layer: Option<usize>) {
        let meta = self.meta(&input);
        // Buffers keep their type: a rotary table loses its meaning in half precision.
        let keeps = !meta.dtype.is_weight() || is_buffer(path.as_str());
        self.tensors.push(OutputTensor {
            is_embedding: vocabulary(path.as_str()).is_some(),
            shape: meta.shape.clone(),
            dtype: if keeps {
                meta.dtype
            } else {
                self.dtype(meta.dtype)
            },
            work: Work::Copy,
            settings: TensorSettings::default(),
            inputs: vec![input],
            base: None,
            layer,
            path,
        });
    }

    fn meta(&self, input: &InputRef) -> &'a TensorMeta {
        self.headers[input.model].tensor(input.index)
    }

    /// What the recipe asks for, or else what holds the values of all inputs.
    fn dtype(&self, inputs: DType) -> DType {
        let asked = self.recipe.out_dtype.or(self.recipe.dtype);
        asked.filter(|_| inputs.is_weight()).unwrap_or(inputs)
    }

    /// The plan without its configuration.
    pub(super) fn finish(mut self, parts: &[Part<'_>]) -> Result<Plan, PlanError> {
        self.problems.settle(self.models)?;
        if parts.iter().all(|part| part.whole) {
            sort(&mut self.tensors, &mut self.mismatches, &self.headers[0]);
        }
        Ok(Plan {
            method: self.recipe.method,
            models: self.models.iter().map(|&model| model.clone()).collect(),
            tensors: self.tensors,
            mismatches: self.mismatches,
            left_out: self.left_out,
            config: None,
        })
    }
}

/// Brings tensors into the order of the first model; those that it has not come last.
fn sort(tensors: &mut Vec<OutputTensor>, mismatches: &mut [EmbeddingMismatch], first: &Header<'_>) {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&at| first.find(tensors[at].path.as_str()).unwrap_or(usize::MAX));
    let mut places = vec![0; order.len()];
    for (place, &at) in order.iter().enumerate() {
        places[at] = place;
    }
    for mismatch in &mut *mismatches {
        mismatch.tensor = places[mismatch.tensor];
    }
    mismatches.sort_by_key(|mismatch| mismatch.tensor);
    let mut taken: Vec<Option<OutputTensor>> = tensors.drain(..).map(Some).collect();
    tensors.extend(order.into_iter().filter_map(|at| taken[at].take()));
}

/// Whether a type holds counters or masks, which are copied; opaque floats are not.
fn is_plain(dtype: DType) -> bool {
    !dtype.is_weight() && !matches!(dtype, DType::F8E4M3 | DType::F8E5M2)
}

/// The smallest type that holds the values of both.
fn promote(a: DType, b: DType) -> DType {
    match (a, b) {
        _ if a == b => a,
        (DType::F64, _) | (_, DType::F64) => DType::F64,
        _ => DType::F32, // F16 and BF16 do not hold each other's values
    }
}
