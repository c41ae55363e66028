//! One tensor of the result: its inputs, its shape, its settings, and how it is made.

use super::{
    EmbeddingMismatch, InputRef, OutputTensor, TensorSettings, Work,
    build::Builder,
    parts::{Cut, Part},
    problem::PlanProblem,
    rule,
};
use crate::{
    error::Shape,
    recipe::{
        Depth, Settings,
        document::resolve,
        structure::{is_buffer, vocabulary},
    },
};
use refit_core::{DType, ParamPath, Seed, TensorMeta};
use serde_json::{Map, Value};

/// One tensor of the result before its inputs are looked up.
pub(super) struct Slot<'s> {
    /// Its name in the result.
    pub(super) path: String,
    /// Its name in each feed.
    pub(super) names: Vec<String>,
    pub(super) layer: Option<usize>,
    pub(super) depth: Depth,
    pub(super) part: &'s Part<'s>,
    pub(super) cut: &'s Cut<'s>,
}

impl<'a> Builder<'a, '_> {
    /// Looks up the inputs of a tensor and decides how it is made.
    pub(super) fn slot(&mut self, slot: &Slot<'_>) {
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

    pub(super) fn copy(&mut self, path: ParamPath, input: InputRef, layer: Option<usize>) {
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
