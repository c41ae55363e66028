//! Named weights, and the scope through which a configuration asks for them.

mod init;
mod layout;
mod read;
mod scope;

pub use init::Init;
pub use layout::{ParamLayout, ParamSpec, Role};
pub use scope::Scope;

use crate::NnError;
use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use read::{check_header, read};
use refit_core::{DType, ParamPath, Seed, Sink, Source, TensorMeta};
use refit_kernels::dual::Dual;
use scope::{Created, Loading, Mode, Read};
use std::{cell::RefCell, collections::HashMap, sync::Arc};

/// Named weights on a device, each flat, in the order in which the model asks for them.
///
/// Cloning shares the values. A value may carry a tangent, which makes every model bound to it a directional
/// derivative.
#[derive(Clone, Debug)]
pub struct Weights {
    layout: Arc<ParamLayout>,
    values: Vec<Dual<1>>,
    /// What is added to matrices, by their place in the layout.
    additions: HashMap<usize, Addition>,
}

/// What is added to a matrix: `left right`, of low rank.
#[derive(Clone, Debug)]
pub struct Addition {
    /// `[out, rank]`.
    pub left: Dual<2>,
    /// `[rank, in]`.
    pub right: Dual<2>,
}

impl Addition {
    fn product(&self) -> Dual<2> {
        self.left.clone().matmul(self.right.clone())
    }

    /// Whether two products with thin matrices are less work than one with the whole one.
    fn is_thin(&self) -> bool {
        let ([outputs, rank], [_, inputs]) = (self.left.dims(), self.right.dims());
        rank * (outputs + inputs) < outputs * inputs
    }
}

impl Weights {
    /// Draws fresh weights for whatever `bind` asks for; each tensor from its own stream, forked by name.
    ///
    /// # Errors
    /// Those of `bind`.
    pub fn create<M>(
        seed: Seed,
        device: &Device,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
    ) -> Result<Self, NnError> {
        let mode = Mode::Create(Box::new(RefCell::new(Created {
            seed,
            device: device.clone(),
            layout: ParamLayout::default(),
            values: Vec::new(),
        })));
        bind(&Scope {
            mode: &mode,
            prefix: ParamPath::root(),
        })?;
        let Mode::Create(created) = mode else {
            unreachable!("the mode was set above")
        };
        let created = created.into_inner();
        Ok(Self {
            layout: Arc::new(created.layout),
            values: created.values,
            additions: HashMap::new(),
        })
    }

    /// Reads the tensors that `bind` asks for from a checkpoint, as f32, in the model's own order, each once. What a mapped
    /// file holds as f32 stays there: values take no memory of their own as long as nobody changes them. Integer
    /// and boolean tensors that the model does not name are left aside; a weight that it neither names nor
    /// [leaves out](Scope::leave_out) is an error.
    ///
    /// # Errors
    /// Missing, unreadable or left-over tensors, all of them together; a misshapen one; those of `bind`.
    pub fn load<M, S: Source>(
        source: &S,
        device: &Device,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
    ) -> Result<Self, NnError> {
        Self::read(source, device, bind, false)
    }

    /// [`load`](Self::load) for models that stay what they are: matrices of maps and tables of words that the file holds
    /// in half precision are kept so, which takes half of the memory, and of the time where reading them is what takes
    /// it. Products widen them; all other values are f32. With such weights nothing can be trained. Maps that are stored
    /// turned over, as GPT-2's, are turned for each model that is bound, and take that memory once more.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_as_stored<M, S: Source>(
        source: &S,
        device: &Device,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
    ) -> Result<Self, NnError> {
        Self::read(source, device, bind, true)
    }

    fn read<M, S: Source>(
        source: &S,
        device: &Device,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
        as_stored: bool,
    ) -> Result<Self, NnError> {
        let read = |at, shape: &[usize], is_matrix| {
            read(source, at, shape, as_stored && is_matrix, device).map(Some)
        };
        Self::gather(source, device, &read, bind)
    }

    /// Checks that a checkpoint holds the tensors that `bind` asks for, from its headers alone: no value is read.
    ///
    /// # Errors
    /// Missing or left-over tensors, all of them together; a misshapen one, or one that is no weight; those of `bind`.
    ///
    /// # Cost
    /// Nothing for each value.
    pub fn check<M, S: Source>(
        source: &S,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
    ) -> Result<(), NnError> {
        let device = Device::flex();
        let read = |at, shape: &[usize], _| {
            check_header(&source.tensors()[at], shape)?;
            Ok(None)
        };
        Self::gather(source, &device, &read, bind).map(drop)
    }

    fn gather<M, S: Source>(
        source: &S,
        device: &Device,
        read: Read<'_>,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
    ) -> Result<Self, NnError> {
        let stored = source.tensors().iter().enumerate();
        let stored: HashMap<&str, usize> = stored.map(|(i, m)| (m.path.as_str(), i)).collect();
        let mode = Mode::Load(Box::new(Loading {
            stored: &stored,
            read,
            device: device.clone(),
            room: source.tensors().iter().map(TensorMeta::len).sum(),
            taken: RefCell::default(),
        }));
        bind(&Scope {
            mode: &mode,
            prefix: ParamPath::root(),
        })?;
        let Mode::Load(loading) = mode else {
            unreachable!("the mode was set above")
        };
        let taken = loading.taken.into_inner();
        if !taken.missing.is_empty() {
            return Err(NnError::missing(taken.missing, false));
        }
        let known = |path: &ParamPath| {
            let left_out = |prefix: &ParamPath| path.is_within(prefix);
            taken.layout.index.contains_key(path) || taken.left_out.iter().any(left_out)
        };
        let unused = source.tensors().iter().filter(|m| m.dtype.is_weight());
        let unused: Vec<_> = unused.map(|m| &m.path).filter(|p| !known(p)).collect();
        if !unused.is_empty() {
            return Err(NnError::unused(&unused));
        }
        Ok(Self {
            layout: Arc::new(taken.layout),
            values: taken.values,
            additions: HashMap::new(),
        })
    }

    /// These tensors and then those of `others`: a model and what is trained beside it.
    ///
    /// # Errors
    /// A name that both have.
    pub fn join(&self, others: &Self) -> Result<Self, NnError> {
        let mut layout = (*self.layout).clone();
        for spec in others.layout.specs() {
            layout.push(spec.clone())?;
        }
        Ok(Self {
            layout: Arc::new(layout),
            values: [&self.values[..], &others.values].concat(),
            additions: self.additions.clone(),
        })
    }

    /// The tensors of `layout` with these values, flat.
    ///
    /// # Panics
    /// If the values are not as many and as long as the layout says.
    pub fn from_values(layout: &Arc<ParamLayout>, values: Vec<Dual<1>>) -> Self {
        let given = values.iter().map(|value| value.dims()[0]);
        assert!(
            given.eq(layout.specs().iter().map(ParamSpec::len)),
            "values fit the layout"
        );
        Self {
            layout: Arc::clone(layout),
            values,
            additions: HashMap::new(),
        }
    }

    /// The same tensors with other values, one buffer per tensor of `layout`; no value is copied.
    ///
    /// # Panics
    /// If the buffers are not as many and as long as the layout says.
    pub fn from_host(layout: &Arc<ParamLayout>, buffers: Vec<Vec<f32>>, device: &Device) -> Self {
        assert_eq!(buffers.len(), layout.specs().len(), "one buffer per tensor");
        let values = buffers
            .into_iter()
            .zip(layout.specs())
            .map(|(buffer, spec)| {
                assert_eq!(buffer.len(), spec.len(), "{:?}", spec.path);
                let len = buffer.len();
                Dual::constant(Tensor::from_data(TensorData::new(buffer, [len]), device))
            })
            .collect();
        Self {
            layout: Arc::clone(layout),
            values,
            additions: HashMap::new(),
        }
    }

    /// The values on the host, one buffer per tensor; copies only what is still shared.
    pub fn into_host(self) -> Vec<Vec<f32>> {
        self.values
            .into_iter()
            .map(|value| to_host(value.into_value()))
            .collect()
    }

    /// A copy of the values on the host.
    pub fn to_host(&self) -> Vec<Vec<f32>> {
        self.clone().into_host()
    }

    /// Names and shapes as a checkpoint lists them, values as f32.
    pub fn metas(&self) -> Vec<TensorMeta> {
        let metas = self.layout.specs().iter().map(|spec| TensorMeta {
            path: spec.path.clone(),
            dtype: DType::F32,
            shape: spec.shape.clone(),
        });
        metas.collect()
    }

    /// Puts every tensor into a checkpoint that expects [`metas`](Self::metas), in that order. A table that stands in for
    /// another (tied words) is there once, as the model's own files have it; what was added to matrices is in them.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub fn save<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        for (at, meta) in self.metas().iter().enumerate() {
            let values = to_host(self.whole(at).into_value());
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            sink.put(meta, &bytes)?;
        }
        Ok(())
    }

    /// Binds a model to these weights.
    ///
    /// # Errors
    /// Those of `bind`.
    pub fn bind<M>(
        &self,
        bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
    ) -> Result<M, NnError> {
        bind(&Scope {
            mode: &Mode::Bind(self),
            prefix: ParamPath::root(),
        })
    }

    /// Names, shapes and roles.
    pub fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    /// The values, flat, in layout order.
    pub fn values(&self) -> &[Dual<1>] {
        &self.values
    }

    /// The tensor called `path`, flat.
    pub fn get(&self, path: &str) -> Option<&Dual<1>> {
        self.layout.position(path).map(|i| &self.values[i])
    }

    /// Replaces the value at `index`, flat; whoever passes a tangent makes this a direction.
    ///
    /// # Panics
    /// If the length differs.
    pub fn set(&mut self, index: usize, value: impl Into<Dual<1>>) {
        let value = value.into();
        assert_eq!(
            value.dims(),
            [self.layout.specs()[index].len()],
            "length of tensor {index}"
        );
        self.values[index] = value;
    }

    /// Adds a matrix of low rank to the matrix at `index` for every model bound from here on. Where it is a map's, the map
    /// is made of thin products beside the one that stays; otherwise the sum is formed.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add(&mut self, index: usize, addition: Addition) {
        let ([outputs, rank], [same, inputs]) = (addition.left.dims(), addition.right.dims());
        assert_eq!(rank, same, "factors of one rank");
        assert_eq!(
            self.layout.specs()[index].shape,
            [outputs, inputs],
            "tensor {index}"
        );
        self.additions.insert(index, addition);
    }

    /// The device of the values.
    pub fn device(&self) -> Device {
        self.values
            .first()
            .map_or_else(Device::default, |v| v.value().device())
    }

    /// The same values as leaves of a new graph: every [`Role::Weight`] asks for its gradient.
    #[must_use]
    pub fn tracked(&self) -> Self {
        let values = self
            .layout
            .specs()
            .iter()
            .zip(&self.values)
            .map(|(spec, dual)| {
                let value = Tensor::from_inner(dual.value().clone());
                Dual::constant(if spec.role == Role::Weight {
                    value.require_grad()
                } else {
                    value
                })
            })
            .collect();
        Self {
            layout: Arc::clone(&self.layout),
            values,
            additions: self.additions.clone(),
        }
    }
}

/// Moves a tensor to the host as f32, row by row, without a copy when nobody else holds it.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// assert_eq!(refit_nn::to_host(Tensor::<1>::ones([2], &Device::flex())), [1.0, 1.0]);
/// ```
#[expect(
    clippy::missing_panics_doc,
    reason = "what was converted to f32 is f32"
)]
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert_dtype(BurnDType::F32);
    data.try_into_vec().expect("just converted to f32")
}
