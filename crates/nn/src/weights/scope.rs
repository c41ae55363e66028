//! The scope through which a configuration asks for tensors, and what answers it.

use super::{Addition, Init, ParamLayout, ParamSpec, Role, Weights};
use crate::NnError;
use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use refit_core::{ParamPath, Seed};
use refit_kernels::dual::Dual;
use std::{cell::RefCell, collections::HashMap};

pub(super) struct Created {
    pub(super) seed: Seed,
    pub(super) device: Device,
    pub(super) layout: ParamLayout,
    pub(super) values: Vec<Dual<1>>,
}

/// Reads the stored tensor at a place, of an expected shape, and perhaps a matrix as it is stored; `None` where headers are
/// all that is looked at.
pub(super) type Read<'a> = &'a dyn Fn(usize, &[usize], bool) -> Result<Option<Tensor<1>>, NnError>;

pub(super) struct Loading<'a> {
    pub(super) stored: &'a HashMap<&'a str, usize>,
    pub(super) read: Read<'a>,
    pub(super) device: Device,
    /// Values that the checkpoint holds: missing tensors together are not larger.
    pub(super) room: usize,
    pub(super) taken: RefCell<Taken>,
}

/// What a model has asked for so far.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) layout: ParamLayout,
    pub(super) values: Vec<Dual<1>>,
    pub(super) missing: Vec<(ParamPath, Vec<usize>)>,
    pub(super) missing_values: usize,
    pub(super) left_out: Vec<ParamPath>,
}

pub(super) enum Mode<'a> {
    Create(Box<RefCell<Created>>),
    Load(Box<Loading<'a>>),
    Bind(&'a Weights),
}

/// A place in the name tree from which a configuration asks for tensors; it reads like the checkpoint's own names.
///
/// While weights are being created the request itself defines the tensor; while a model is bound it is looked up and
/// its shape is checked. So a model is written once.
pub struct Scope<'a> {
    pub(super) mode: &'a Mode<'a>,
    pub(super) prefix: ParamPath,
}

impl Scope<'_> {
    /// The scope below `name`.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self {
            mode: self.mode,
            prefix: self.prefix.join(name),
        }
    }

    /// The name of this place.
    pub fn path(&self) -> &ParamPath {
        &self.prefix
    }

    /// The trained tensor `name` of shape `dims`.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        dims: [usize; D],
        init: Init,
    ) -> Result<Dual<D>, NnError> {
        self.request(name, &dims, dims, init, (Role::Weight, false))
    }

    /// The trained matrix `name` of shape `dims`, and what is added to it where that is less work than the sum.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub(crate) fn map(
        &self,
        name: &str,
        dims: [usize; 2],
        init: Init,
    ) -> Result<(Dual<2>, Option<Addition>), NnError> {
        if let Mode::Bind(weights) = self.mode {
            let path = self.prefix.join(name);
            let at = weights.place(&path, &dims)?;
            if let Some(addition) = weights.additions.get(&at).filter(|found| found.is_thin()) {
                let matrix = weights.values[at].clone().reshape(dims);
                return Ok((matrix, Some(addition.clone())));
            }
        }
        Ok((self.matrix(name, dims, init)?, None))
    }

    /// The trained matrix `name` of shape `dims` of a map or a table of words, which may be of half precision
    /// ([`Weights::load_as_stored`]).
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub(crate) fn matrix(
        &self,
        name: &str,
        dims: [usize; 2],
        init: Init,
    ) -> Result<Dual<2>, NnError> {
        self.request(name, &dims, dims, init, (Role::Weight, true))
    }

    /// The transpose of a trained [matrix](Self::matrix) that is stored as `dims`: a view of one of f32; of half precision a
    /// copy whose rows lie one after the other, which is how products read them.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub(crate) fn turned(
        &self,
        name: &str,
        dims: [usize; 2],
        init: Init,
    ) -> Result<Dual<2>, NnError> {
        let turned = self.matrix(name, dims, init)?.transpose();
        // While weights are loaded nothing is computed.
        let computes = matches!(self.mode, Mode::Bind(_));
        let dtype = turned.value().dtype();
        if !computes || !is_half(dtype) {
            return Ok(turned);
        }
        let device = turned.device();
        let rows = turned.into_value().into_data();
        Ok(Dual::constant(Tensor::from_data(rows, (&device, dtype))))
    }

    /// Trained [matrices](Self::matrix) that are stored together as `name` of shape `dims`, one below the other.
    ///
    /// # Errors
    /// When they are missing or have another shape.
    pub(crate) fn stacked(
        &self,
        name: &str,
        dims: [usize; 3],
        init: Init,
    ) -> Result<Dual<2>, NnError> {
        let [count, rows, columns] = dims;
        let flat = [count * rows, columns];
        self.request(name, &dims, flat, init, (Role::Weight, true))
    }

    /// The running statistic `name` of length `len`.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn buffer(&self, name: &str, len: usize, init: Init) -> Result<Dual<1>, NnError> {
        self.request(name, &[len], [len], init, (Role::Buffer, false))
    }

    /// Whether there is a tensor `name`: in the checkpoint that is read, or in the weights that are bound. Weights
    /// that are created have what is asked for, so nothing optional.
    pub fn holds(&self, name: &str) -> bool {
        let path = self.prefix.join(name);
        match self.mode {
            Mode::Create(_) => false,
            Mode::Load(loading) => loading.stored.contains_key(path.as_str()),
            Mode::Bind(weights) => weights.layout.position(path.as_str()).is_some(),
        }
    }

    /// The scope below `name` if anything stands there, else this one: whole models have a part that others are alone.
    #[must_use]
    pub fn inside(&self, name: &str) -> Scope<'_> {
        let below = self.at(name);
        let is_below = |path: &str| {
            let rest = path.strip_prefix(below.prefix.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let is_whole = match self.mode {
            Mode::Create(_) => false,
            Mode::Load(loading) => loading.stored.keys().any(|&path| is_below(path)),
            Mode::Bind(weights) => {
                let mut specs = weights.layout.specs().iter();
                specs.any(|spec| is_below(spec.path.as_str()))
            }
        };
        if is_whole {
            return below;
        }
        Scope {
            mode: self.mode,
            prefix: self.prefix.clone(),
        }
    }

    /// Tensors below `name` may stand in the checkpoint, and are not part of this model: a head for another task.
    pub fn leave_out(&self, name: &str) {
        if let Mode::Load(loading) = self.mode {
            let path = self.prefix.join(name);
            loading.taken.borrow_mut().left_out.push(path);
        }
    }

    /// The trained number `name`, a tensor without axes, as `[1]`.
    ///
    /// # Errors
    /// When it is missing or has axes.
    pub fn scalar(&self, name: &str, init: Init) -> Result<Dual<1>, NnError> {
        self.request(name, &[], [1], init, (Role::Weight, false))
    }

    /// The tensor `name` of this shape, as `dims`; a matrix may be of half precision.
    fn request<const D: usize>(
        &self,
        name: &str,
        shape: &[usize],
        dims: [usize; D],
        init: Init,
        (role, is_matrix): (Role, bool),
    ) -> Result<Dual<D>, NnError> {
        let path = self.prefix.join(name);
        let value = match self.mode {
            Mode::Create(created) => created.borrow_mut().make(path, shape, init, role)?,
            Mode::Load(loading) => match loading.take(path, shape, role, is_matrix)? {
                Some(value) => value,
                None => return Ok(stand_in(dims, &loading.device)),
            },
            Mode::Bind(weights) => {
                let at = weights.place(&path, shape)?;
                if is_matrix {
                    weights.summed(at)
                } else {
                    weights.whole(at)
                }
            }
        };
        Ok(value.reshape(dims))
    }
}

impl Loading<'_> {
    /// Reads a tensor; `None` where nothing is read. One that is missing is noted, so that all of them can be told together;
    /// a configuration that asks for more than the checkpoint is large ends at once.
    fn take(
        &self,
        path: ParamPath,
        dims: &[usize],
        role: Role,
        is_matrix: bool,
    ) -> Result<Option<Dual<1>>, NnError> {
        let mut taken = self.taken.borrow_mut();
        let value = if let Some(&at) = self.stored.get(path.as_str()) {
            (self.read)(at, dims, is_matrix)?
        } else {
            taken.missing.push((path.clone(), dims.to_vec()));
            let len = dims
                .iter()
                .try_fold(1usize, |len, &dim| len.checked_mul(dim));
            let all = len.and_then(|len| taken.missing_values.checked_add(len));
            let Some(all) = all.filter(|&all| all <= self.room) else {
                return Err(NnError::missing(std::mem::take(&mut taken.missing), true));
            };
            taken.missing_values = all;
            None
        };
        let shape = dims.to_vec();
        taken.layout.push(ParamSpec { path, shape, role })?;
        let value = value.map(Dual::constant);
        taken.values.extend(value.clone());
        Ok(value)
    }
}

impl Created {
    fn make(
        &mut self,
        path: ParamPath,
        dims: &[usize],
        init: Init,
        role: Role,
    ) -> Result<Dual<1>, NnError> {
        let spec = ParamSpec {
            path,
            shape: dims.to_vec(),
            role,
        };
        let (len, seed) = (spec.len(), self.seed.fork(&spec.path));
        self.layout.push(spec)?;
        let data = TensorData::new(init.draw(len, seed), [len]);
        let value = Dual::constant(Tensor::from_data(data, &self.device));
        self.values.push(value.clone());
        Ok(value)
    }
}

impl Weights {
    /// A tensor with what is added to it, as f32.
    pub(super) fn whole(&self, at: usize) -> Dual<1> {
        wide(self.summed(at))
    }

    /// A tensor with what is added to it; of half precision, where nothing is.
    fn summed(&self, at: usize) -> Dual<1> {
        let value = self.values[at].clone();
        let Some(addition) = self.additions.get(&at) else {
            return value;
        };
        let value = wide(value);
        let dims = value.dims();
        value + addition.product().reshape(dims)
    }

    /// Where a tensor of this name and shape stands.
    fn place(&self, path: &ParamPath, dims: &[usize]) -> Result<usize, NnError> {
        let Some(at) = self.layout.position(path.as_str()) else {
            return Err(NnError::Missing {
                path: path.clone(),
                expected: dims.to_vec(),
            });
        };
        let found = &self.layout.specs()[at].shape;
        if found != dims {
            let (found, expected) = (found.clone(), dims.to_vec());
            return Err(NnError::Shape {
                path: path.clone(),
                found,
                expected,
            });
        }
        Ok(at)
    }
}

/// A tensor without values that are read: one zero, seen from everywhere.
fn stand_in<const D: usize>(dims: [usize; D], device: &Device) -> Dual<D> {
    Dual::constant(if dims.contains(&0) {
        Tensor::zeros(dims, device)
    } else {
        Tensor::<D>::zeros([1; D], device).expand(dims)
    })
}

/// A constant of half precision as f32; anything else as it is.
fn wide(value: Dual<1>) -> Dual<1> {
    if is_half(value.value().dtype()) {
        return Dual::constant(value.into_value().cast(BurnDType::F32));
    }
    value
}

fn is_half(dtype: BurnDType) -> bool {
    matches!(dtype, BurnDType::F16 | BurnDType::BF16)
}
