//! A tensor with a row for each token, brought into the order of another vocabulary while it is read.

use super::{
    error::RowsError,
    row_map::{RowMap, RowSource},
};
use crate::{
    error::Shape,
    layout::{BLOCK, UNIT},
    simd,
};
use refit_core::{DType, ParamPath, ReadError, TensorMeta, TensorRead};
use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// An embedding, a head or the bias of a head, with rows in the order of a [`RowMap`].
///
/// Means are summed in double precision. That of rows without a token is found by one pass over the rows when the first
/// of them is read, and kept.
///
/// # Cost
/// That of reading the rows; rows that follow each other in their model are read in one call.
///
/// # Example
/// See [`plan_vocabulary`](super::plan_vocabulary) for how a map is made.
pub struct Rows {
    meta: TensorMeta,
    model: usize,
    tensors: Vec<Arc<dyn TensorRead>>,
    map: RowMap,
    /// Values of a row.
    width: usize,
    /// The mean of all rows that are tokens.
    fill: Mutex<Option<Arc<[f32]>>>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut show = f.debug_struct("Rows");
        show.field("meta", &self.meta).field("model", &self.model);
        show.field("map", &self.map).finish_non_exhaustive()
    }
}

impl Rows {
    /// The tensor of model `model` with the rows of `map`. `tensors` holds the same tensor of every model that is
    /// merged, in the order in which the map numbers them.
    ///
    /// The name is that of the model's own tensor. The element type holds every value of every model.
    ///
    /// # Shapes
    /// Each `[rows, ..]`, alike behind the first axis -> `[map.rows(), ..]`.
    ///
    /// # Errors
    /// When a tensor is missing, is no weight, has rows of another length, or fewer than the map needs.
    pub fn new(
        tensors: Vec<Arc<dyn TensorRead>>,
        model: usize,
        map: &RowMap,
    ) -> Result<Self, RowsError> {
        let own = tensors.get(model).ok_or_else(|| RowsError::Model {
            path: first_name(&tensors),
            found: model,
            models: tensors.len(),
        })?;
        let mut meta = own.meta().clone();
        let (path, expected) = (meta.path.clone(), Shape(meta.shape.clone()));
        let shape = |model: usize, found: &[usize]| RowsError::Shape {
            path: path.clone(),
            model,
            found: Shape(found.to_vec()),
            expected: expected.clone(),
        };
        let Some((rows, width)) = meta.shape.split_first_mut() else {
            return Err(shape(model, &[]));
        };
        *rows = map.rows();
        for (number, tensor) in tensors.iter().enumerate() {
            let other = tensor.meta();
            if other.shape.get(1..) != Some(&*width) {
                return Err(shape(number, &other.shape));
            }
            let dtype = common(meta.dtype, other.dtype);
            meta.dtype = dtype.ok_or_else(|| RowsError::NotWeights { path: path.clone() })?;
        }
        let width = width.iter().product();
        for (number, needed) in map.needs() {
            let tensor = tensors.get(number).ok_or_else(|| RowsError::Model {
                path: path.clone(),
                found: number,
                models: tensors.len(),
            })?;
            let rows = tensor.meta().shape[0]; // there is a first axis, as there is a rest
            if rows < needed {
                return Err(RowsError::Few {
                    path,
                    model: number,
                    rows,
                    needed,
                });
            }
        }
        Ok(Self {
            meta,
            model,
            tensors,
            map: map.clone(),
            width,
            fill: Mutex::default(),
        })
    }

    /// The model's own tensor, where the map leaves it as it is.
    fn unchanged(&self) -> Option<&dyn TensorRead> {
        let own = &*self.tensors[self.model];
        let found = own.meta();
        let same = self.map.is_identity(self.model, found.shape[0]);
        (same && found.dtype == self.meta.dtype).then_some(own)
    }

    /// Reads values of stretch `run`, which all of `range` lies in.
    fn read_run(
        &self,
        run: usize,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let run = &self.map.runs()[run];
        let skipped = range.start - run.rows.start * self.width;
        let from = |row: usize| {
            let start = row * self.width + skipped;
            start..start + range.len()
        };
        match &run.source {
            RowSource::Model { model, row } => {
                self.tensors[*model].read_f32(from(*row), out, scratch)
            }
            RowSource::Mean(places) => {
                let places = places.iter().map(|&(model, row)| (model, from(row)));
                self.read_mean(&places.collect::<Vec<_>>(), out, scratch)
            }
            RowSource::Zero => {
                out.fill(0.0);
                Ok(())
            }
            RowSource::Fill => {
                let fill = self.fill(scratch)?;
                copy_cycle(&fill, range.start % self.width, out);
                Ok(())
            }
        }
    }

    /// The mean of stretches of the same length.
    fn read_mean(
        &self,
        places: &[(usize, Range<usize>)],
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let most = out.len().min(BLOCK);
        let (mut sums, mut values) = (vec![0.0; most], vec![0.0; most]);
        for (i, out) in out.chunks_mut(BLOCK).enumerate() {
            let (sums, values) = (&mut sums[..out.len()], &mut values[..out.len()]);
            sums.fill(0.0);
            for (model, range) in places {
                let start = range.start + i * BLOCK;
                self.tensors[*model].read_f32(start..start + values.len(), values, scratch)?;
                simd::add_scaled(sums, 1.0, values);
            }
            divide(out, sums, places.len() as f64);
        }
        Ok(())
    }

    /// The mean of all rows that are tokens; the first caller looks through them, others wait for it.
    fn fill(&self, scratch: &mut Vec<u8>) -> Result<Arc<[f32]>, ReadError> {
        // What is inside is whole or absent, also after a panic elsewhere.
        let mut known = self.fill.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let width = self.width;
        let (mut sums, mut rows) = (vec![0.0; width], 0usize);
        let step = (UNIT / width).max(1);
        let mut values = Vec::new();
        for (i, run) in self.map.runs().iter().enumerate() {
            if run.source == RowSource::Fill {
                continue;
            }
            rows += run.rows.len();
            for start in run.rows.clone().step_by(step) {
                let end = (start + step).min(run.rows.end);
                let range = start * width..end * width;
                values.resize(range.len(), 0.0);
                self.read_run(i, range, &mut values, scratch)?;
                for row in values.chunks(width) {
                    simd::add_scaled(&mut sums, 1.0, row);
                }
            }
        }
        let mut mean = vec![0.0; width];
        divide(&mut mean, &sums, rows.max(1) as f64); // without tokens: zero
        let mean: Arc<[f32]> = mean.into();
        *known = Some(Arc::clone(&mean));
        Ok(mean)
    }
}

impl TensorRead for Rows {
    fn meta(&self) -> &TensorMeta {
        &self.meta
    }

    fn read_f32(
        &self,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let len = self.meta.len();
        if range.start > range.end || range.end > len || out.len() != range.len() {
            return Err(Box::new(RowsError::Range {
                path: self.meta.path.clone(),
                found: out.len(),
                start: range.start,
                end: range.end,
                len,
            }));
        }
        let (mut at, mut out) = (range.start, out);
        let mut run = self.map.run_of(at.checked_div(self.width).unwrap_or(0));
        while !out.is_empty() {
            let end = self.map.runs()[run].rows.end * self.width;
            let (now, rest) = out.split_at_mut((end - at).min(out.len()));
            self.read_run(run, at..at + now.len(), now, scratch)?;
            at += now.len();
            out = rest;
            run += 1;
        }
        Ok(())
    }

    fn read_bytes(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), ReadError> {
        match self.unchanged() {
            Some(own) => own.read_bytes(range, out),
            None => Err(Box::new(RowsError::Computed {
                path: self.meta.path.clone(),
            })),
        }
    }

    fn is_stored(&self) -> bool {
        self.unchanged().is_some_and(TensorRead::is_stored)
    }

    fn prefetch(&self) {
        for model in self.map.needs().into_keys() {
            self.tensors[model].prefetch();
        }
    }
}

fn first_name(tensors: &[Arc<dyn TensorRead>]) -> ParamPath {
    tensors
        .first()
        .map_or_else(ParamPath::root, |tensor| tensor.meta().path.clone())
}

/// The smallest element type that holds every value of both; none unless both are weights.
fn common(a: DType, b: DType) -> Option<DType> {
    match (a, b) {
        _ if !(a.is_weight() && b.is_weight()) => None,
        _ if a == b => Some(a),
        (DType::F64, _) | (_, DType::F64) => Some(DType::F64),
        _ => Some(DType::F32),
    }
}

/// Repeats `row` from position `start` on.
fn copy_cycle(row: &[f32], start: usize, out: &mut [f32]) {
    let (first, rest) = out.split_at_mut((row.len() - start).min(out.len()));
    first.copy_from_slice(&row[start..start + first.len()]);
    for out in rest.chunks_mut(row.len()) {
        out.copy_from_slice(&row[..out.len()]);
    }
}

simd::kernel! {
    /// `out_i = sum_i / divisor`, rounded.
    fn divide(out: &'a mut [f32], sums: &'a [f64], divisor: f64) {
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = (sum / divisor) as f32;
        }
    }
}
