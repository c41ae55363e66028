//! Named weights, and the scope through which a configuration asks for them.

use crate::NnError;
use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use burn_std::{AllocationProperty, Bytes};
use refit_core::{DType, ParamPath, Seed, Sink, Source, TensorMeta};
use refit_kernels::dual::Dual;
use std::{cell::RefCell, collections::HashMap, sync::Arc};

/// Whether a tensor is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Trained by gradients.
    Weight,
    /// Updated by the forward pass: running statistics of batch norm.
    Buffer,
}

/// Name, shape and role of one tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// Name in the checkpoint.
    pub path: ParamPath,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Whether it is trained.
    pub role: Role,
}

impl ParamSpec {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of a model in a fixed order, without their values.
#[derive(Clone, Debug, Default)]
pub struct ParamLayout {
    specs: Vec<ParamSpec>,
    index: HashMap<ParamPath, usize>,
}

impl ParamLayout {
    fn push(&mut self, spec: ParamSpec) -> Result<(), NnError> {
        let path = spec.path.clone();
        if self.index.insert(path.clone(), self.specs.len()).is_some() {
            return Err(NnError::Duplicate { path });
        }
        self.specs.push(spec);
        Ok(())
    }

    /// All tensors, in order.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Position of the tensor called `path`.
    pub fn position(&self, path: &str) -> Option<usize> {
        self.index.get(path).copied()
    }

    /// Number of values over all tensors.
    pub fn num_values(&self) -> usize {
        self.specs.iter().map(ParamSpec::len).sum()
    }
}

/// How a weight starts when a model is created from nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with this standard deviation, cut at two deviations.
    Normal(f64),
    /// Uniform in `±sqrt(6 / fan_in)`: keeps the variance through rectified layers (He et al. 2015).
    HeUniform {
        /// Inputs that one output sums over.
        fan_in: usize,
    },
    /// Uniform in `±1 / sqrt(fan_in)`, the usual start of linear layers and their biases.
    LinearUniform {
        /// Inputs that one output sums over.
        fan_in: usize,
    },
}

impl Init {
    fn draw(self, len: usize, seed: Seed) -> Vec<f32> {
        use rand::Rng;
        let mut rng = seed.rng();
        let mut uniform = |bound: f64| {
            (0..len)
                .map(|_| (rng.random::<f64>().mul_add(2.0, -1.0) * bound) as f32)
                .collect()
        };
        match self {
            Self::Zeros => vec![0.0; len],
            Self::Ones => vec![1.0; len],
            Self::HeUniform { fan_in } => uniform((6.0 / fan_in.max(1) as f64).sqrt()),
            Self::LinearUniform { fan_in } => uniform((fan_in.max(1) as f64).sqrt().recip()),
            Self::Normal(deviation) => (0..len)
                .map(|_| (truncated_normal(&mut rng) * deviation) as f32)
                .collect(),
        }
    }
}

/// A standard normal variate with magnitude below two (Box and Muller, rejecting the tails).
fn truncated_normal(rng: &mut impl rand::Rng) -> f64 {
    loop {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let z = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        if z.abs() < 2.0 {
            return z;
        }
    }
}

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
        let stored = source.tensors().iter().enumerate();
        let stored: HashMap<&str, usize> = stored.map(|(i, m)| (m.path.as_str(), i)).collect();
        let read = |at, shape: &[usize]| read_f32(source, at, shape, device);
        let mode = Mode::Load(Box::new(Loading {
            stored: &stored,
            read: &read,
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
            return Err(NnError::missing(taken.missing));
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
        assert_eq!(buffers.len(), layout.specs.len(), "one buffer per tensor");
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
    /// another (tied words) is there once, as the model's own files have it.
    ///
    /// # Errors
    /// Those of the checkpoint.
    pub fn save<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        for (meta, value) in self.metas().iter().zip(&self.values) {
            let values = to_host(value.value().clone());
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
            [self.layout.specs[index].len()],
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
            self.layout.specs[index].shape,
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

fn read_f32<S: Source>(
    source: &S,
    at: usize,
    shape: &[usize],
    device: &Device,
) -> Result<Tensor<1>, NnError> {
    let meta = &source.tensors()[at];
    let path = || meta.path.clone();
    if !meta.dtype.is_weight() {
        return Err(NnError::DType {
            path: path(),
            found: meta.dtype,
        });
    }
    if meta.shape != shape {
        let (found, expected) = (meta.shape.clone(), shape.to_vec());
        return Err(NnError::Shape {
            path: path(),
            found,
            expected,
        });
    }
    let data = match mapped(source, at) {
        Some(data) => data,
        None => {
            let bytes = source.bytes(at).map_err(|e| NnError::Read {
                path: path(),
                source: Box::new(e),
            })?;
            let dtype = match meta.dtype {
                DType::F16 => BurnDType::F16,
                DType::BF16 => BurnDType::BF16,
                DType::F64 => BurnDType::F64,
                _ => BurnDType::F32,
            };
            TensorData::from_bytes_vec(bytes.into_owned(), [meta.len()], dtype)
                .convert_dtype(BurnDType::F32)
        }
    };
    let values = data.as_slice::<f32>().expect("just converted to f32");
    // In stretches without a way out, which the compiler turns into wide comparisons.
    let finite = |stretch: &[f32]| stretch.iter().fold(true, |all, v| all & v.is_finite());
    if !values.chunks(1 << 12).all(finite) {
        return Err(NnError::NotFinite { path: path() });
    }
    Ok(Tensor::from_data(data, device))
}

/// The values of a tensor where they lie: nothing is copied until something writes there.
fn mapped<S: Source>(source: &S, at: usize) -> Option<TensorData> {
    let meta = &source.tensors()[at];
    let as_in_memory = meta.dtype == DType::F32 && cfg!(target_endian = "little");
    let bytes = as_in_memory.then(|| source.lasting(at)).flatten()?;
    let aligned = bytes.as_ref().as_ptr().align_offset(align_of::<f32>()) == 0;
    if !aligned || bytes.as_ref().len() != meta.len() * size_of::<f32>() {
        return None;
    }
    let bytes = Bytes::from_shared(bytes::Bytes::from_owner(bytes), AllocationProperty::File);
    Some(TensorData::from_bytes(bytes, [meta.len()], BurnDType::F32))
}

struct Created {
    seed: Seed,
    device: Device,
    layout: ParamLayout,
    values: Vec<Dual<1>>,
}

/// Reads the stored tensor at a place, of an expected shape.
type Read<'a> = &'a dyn Fn(usize, &[usize]) -> Result<Tensor<1>, NnError>;

struct Loading<'a> {
    stored: &'a HashMap<&'a str, usize>,
    read: Read<'a>,
    device: Device,
    /// Values that the checkpoint holds: missing tensors together are not larger.
    room: usize,
    taken: RefCell<Taken>,
}

/// What a model has asked for so far.
#[derive(Default)]
struct Taken {
    layout: ParamLayout,
    values: Vec<Dual<1>>,
    missing: Vec<(ParamPath, Vec<usize>)>,
    missing_values: usize,
    left_out: Vec<ParamPath>,
}

enum Mode<'a> {
    Create(Box<RefCell<Created>>),
    Load(Box<Loading<'a>>),
    Bind(&'a Weights),
}

/// A place in the name tree from which a configuration asks for tensors; it reads like the checkpoint's own names.
///
/// While weights are being created the request itself defines the tensor; while a model is bound it is looked up and
/// its shape is checked. So a model is written once.
pub struct Scope<'a> {
    mode: &'a Mode<'a>,
    prefix: ParamPath,
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
        Ok(self.request(name, &dims, init, Role::Weight)?.reshape(dims))
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
        Ok((self.tensor(name, dims, init)?, None))
    }

    /// The running statistic `name` of length `len`.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn buffer(&self, name: &str, len: usize, init: Init) -> Result<Dual<1>, NnError> {
        self.request(name, &[len], init, Role::Buffer)
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

    /// The scope below `name` if `tensor` stands there, else this one: whole models have a part that others are alone.
    #[must_use]
    pub fn inside(&self, name: &str, tensor: &str) -> Scope<'_> {
        let below = self.at(name);
        if below.holds(tensor) {
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
        self.request(name, &[], init, Role::Weight)
    }

    fn request(
        &self,
        name: &str,
        dims: &[usize],
        init: Init,
        role: Role,
    ) -> Result<Dual<1>, NnError> {
        let path = self.prefix.join(name);
        match self.mode {
            Mode::Create(created) => created.borrow_mut().make(path, dims, init, role),
            Mode::Load(loading) => loading.take(path, dims, role),
            Mode::Bind(weights) => weights.find(&path, dims),
        }
    }
}

impl Loading<'_> {
    /// Reads a tensor. One that is missing is noted and stands as zeros, so that all of them can be told together;
    /// a configuration that asks for more than the checkpoint is large ends at once.
    fn take(&self, path: ParamPath, dims: &[usize], role: Role) -> Result<Dual<1>, NnError> {
        let mut taken = self.taken.borrow_mut();
        let value = if let Some(&at) = self.stored.get(path.as_str()) {
            (self.read)(at, dims)?
        } else {
            taken.missing.push((path.clone(), dims.to_vec()));
            let len = dims
                .iter()
                .try_fold(1usize, |len, &dim| len.checked_mul(dim));
            let all = len.and_then(|len| taken.missing_values.checked_add(len));
            let Some(all) = all.filter(|&all| all <= self.room) else {
                return Err(NnError::missing(std::mem::take(&mut taken.missing)));
            };
            taken.missing_values = all;
            Tensor::zeros([dims.iter().product::<usize>()], &self.device)
        };
        let shape = dims.to_vec();
        taken.layout.push(ParamSpec { path, shape, role })?;
        let value = Dual::constant(value);
        taken.values.push(value.clone());
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
    fn find(&self, path: &ParamPath, dims: &[usize]) -> Result<Dual<1>, NnError> {
        let at = self.place(path, dims)?;
        let value = self.values[at].clone();
        Ok(match self.additions.get(&at) {
            Some(addition) => value + addition.product().reshape([dims.iter().product::<usize>()]),
            None => value,
        })
    }

    /// Where a tensor of this name and shape stands.
    fn place(&self, path: &ParamPath, dims: &[usize]) -> Result<usize, NnError> {
        let Some(at) = self.layout.position(path.as_str()) else {
            return Err(NnError::Missing {
                path: path.clone(),
                expected: dims.to_vec(),
            });
        };
        let found = &self.layout.specs[at].shape;
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
