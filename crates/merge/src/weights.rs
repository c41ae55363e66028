//! The weights of one model, read in place.

use crate::{
    error::{MergeError, ModelName, NameList, Shape},
    layout::{BLOCK, Layout},
    simd,
    tensor_set::TensorSet,
    values::Values,
};
use rayon::prelude::*;
use refit_core::{DType, ParamPath, Source, TensorMeta};
use std::{borrow::Cow, sync::Arc};

/// A named model as a list of weights, each left in the form and place in which it is stored.
///
/// What a [`Source`] lends (a mapped file) is not copied; what it hands out as owned bytes is kept as those bytes.
/// Tensors that are no weights (counters, masks) are left out: they cannot be merged, and
/// [`write_merged`](crate::write_merged) copies them from the base.
///
/// ```
/// use refit_core::DType;
/// use refit_merge::{TensorSet, Weights};
/// let set = TensorSet::from_values([("a", vec![2, 1], vec![1.0, 2.0])]).unwrap();
/// let weights = Weights::from_set("base", &set);
/// assert_eq!(weights.layout().values(), 2);
/// assert_eq!(*weights.tensor(0), [1.0, 2.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    name: Arc<str>,
    layout: Arc<Layout>,
    values: Vec<Values<'a>>,
    /// Tensors of the source that are no weights; kept to explain a clash with the base.
    others: Vec<(ParamPath, DType)>,
}

impl<'a> Weights<'a> {
    /// Opens the weights of `source` under `name`.
    ///
    /// # Errors
    /// [`MergeError::Read`] when the source fails, [`MergeError::Size`] when it hands out too few or too many bytes.
    pub fn open<S: Source>(name: impl AsRef<str>, source: &'a S) -> Result<Self, MergeError> {
        Self::open_where(name, source, |_| true)
    }

    /// Opens those weights of `source` whose name passes `wanted`, such as everything but the task heads.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_where<S: Source>(
        name: impl AsRef<str>,
        source: &'a S,
        wanted: impl Fn(&ParamPath) -> bool,
    ) -> Result<Self, MergeError> {
        let metas: Vec<_> = source
            .tensors()
            .iter()
            .enumerate()
            .filter(|(_, meta)| meta.dtype.is_weight() && wanted(&meta.path))
            .collect();
        let read = |&(index, meta): &(usize, &TensorMeta)| {
            let model = ModelName::Plain(name.as_ref().to_owned());
            read_values(source, index, meta, model)
        };
        let values = metas.iter().map(read).collect::<Result<_, _>>()?;
        let entries = metas
            .into_iter()
            .map(|(_, meta)| (meta.path.clone(), meta.shape.clone()));
        let others = source
            .tensors()
            .iter()
            .filter(|meta| !meta.dtype.is_weight());
        Ok(Self {
            name: name.as_ref().into(),
            layout: Arc::new(Layout::new(entries)),
            values,
            others: others.map(|meta| (meta.path.clone(), meta.dtype)).collect(),
        })
    }

    /// Views a set in memory.
    pub fn from_set(name: impl AsRef<str>, set: &'a TensorSet) -> Self {
        let values = set
            .tensors()
            .iter()
            .map(|v| Values::F32(Cow::Borrowed(v)))
            .collect();
        Self {
            name: name.as_ref().into(),
            layout: Arc::clone(set.layout()),
            values,
            others: vec![],
        }
    }

    /// Takes a set in memory.
    pub fn own(name: impl AsRef<str>, set: TensorSet) -> Weights<'static> {
        let (layout, values) = set.into_parts();
        let values = values
            .into_iter()
            .map(|v| Values::F32(Cow::Owned(v)))
            .collect();
        Weights {
            name: name.as_ref().into(),
            layout,
            values,
            others: vec![],
        }
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names and shapes of the weights.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The values of one tensor in single precision, borrowed where they are stored so.
    ///
    /// # Panics
    /// When `tensor` is not an index of [`layout`](Self::layout).
    pub fn tensor(&self, tensor: usize) -> Cow<'_, [f32]> {
        self.values[tensor].to_f32()
    }

    /// A copy of all weights in single precision.
    pub fn to_set(&self) -> TensorSet {
        let values = self
            .values
            .par_iter()
            .map(|v| v.to_f32().into_owned())
            .collect();
        TensorSet::from_parts(Arc::clone(&self.layout), values)
    }

    pub(crate) fn values(&self, tensor: usize) -> &Values<'a> {
        &self.values[tensor]
    }

    /// The same weights in the order of `base`, which they share from here on.
    ///
    /// # Errors
    /// [`MergeError::NotWeights`], [`MergeError::Names`] and [`MergeError::Shape`] when they are not the weights of
    /// the same architecture.
    pub(crate) fn aligned_to(self, base: &Arc<Layout>) -> Result<Self, MergeError> {
        self.check_names(base)?;
        let index = self.layout.index();
        let mut values = Vec::with_capacity(base.len());
        for entry in base.entries() {
            let at = index[entry.path.as_str()];
            let found = &self.layout.entries()[at].shape;
            if *found != entry.shape {
                return Err(MergeError::Shape {
                    path: entry.path.clone(),
                    model: self.expert(),
                    found: Shape(found.clone()),
                    expected: Shape(entry.shape.clone()),
                });
            }
            values.push(self.values[at].clone());
        }
        Ok(Self {
            layout: Arc::clone(base),
            values,
            ..self
        })
    }

    fn check_names(&self, base: &Layout) -> Result<(), MergeError> {
        let (here, there) = (self.layout.index(), base.index());
        if let Some((path, found)) = self
            .others
            .iter()
            .find(|(path, _)| there.contains_key(path.as_str()))
        {
            let (path, found) = (path.clone(), *found);
            return Err(MergeError::NotWeights {
                path,
                model: self.expert(),
                found,
            });
        }
        let missing: NameList = base
            .paths()
            .filter(|p| !here.contains_key(p.as_str()))
            .collect();
        let unexpected: NameList = self
            .layout
            .paths()
            .filter(|p| !there.contains_key(p.as_str()))
            .collect();
        if missing.is_empty() && unexpected.is_empty() {
            return Ok(());
        }
        let what = format!("the weights of expert `{}`", self.name);
        Err(MergeError::Names {
            what,
            missing,
            unexpected,
        })
    }

    /// How errors speak of this model once it is an expert.
    pub(crate) fn expert(&self) -> ModelName {
        ModelName::Expert(self.name.to_string())
    }

    /// The squared norm over all weights, or the first value that is not finite.
    pub(crate) fn squared_norm(&self, model: &ModelName) -> Result<f64, MergeError> {
        let units = self.layout.units(0..self.layout.len());
        let partial = |unit: &crate::layout::Unit| {
            let mut scratch = vec![0.0; BLOCK];
            let mut lanes = [0.0; simd::LANES];
            for block in unit.blocks() {
                let start = block.start;
                let values = self.values[unit.tensor].block(block, &mut scratch);
                simd::sum_of_squares(&mut lanes, values).map_err(|at| MergeError::NotFinite {
                    path: self.layout.entries()[unit.tensor].path.clone(),
                    model: model.clone(),
                    position: start + at,
                    value: values[at],
                })?;
            }
            Ok(simd::total(lanes))
        };
        let partials: Vec<Result<f64, MergeError>> = units.par_iter().map(partial).collect();
        partials.into_iter().sum() // in order: the first error is the first tensor's
    }
}

/// Fetches and checks one tensor.
fn read_values<'a, S: Source>(
    source: &'a S,
    index: usize,
    meta: &TensorMeta,
    model: ModelName,
) -> Result<Values<'a>, MergeError> {
    let bytes = source.bytes(index).map_err(|error| MergeError::Read {
        path: meta.path.clone(),
        model: model.clone(),
        source: Box::new(error),
    })?;
    if meta
        .checked_len()
        .and_then(|n| n.checked_mul(meta.dtype.size_bytes()))
        != Some(bytes.len())
    {
        return Err(MergeError::Size {
            path: meta.path.clone(),
            model,
            found: bytes.len(),
            expected: meta.size_bytes(),
            unit: "bytes",
        });
    }
    Ok(Values::from_bytes(meta.dtype, bytes))
}
