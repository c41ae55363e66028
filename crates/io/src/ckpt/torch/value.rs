//! What the pickle of a checkpoint is made of. Values are small and refer to nodes by number.

use refit_core::DType;

/// Where a text lies in the pickle: start and length.
pub(super) type Text = (u32, u32);

#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Int(i64),
    Text(u32, u32),
    Global(Global),
    Node(u32),
    /// What tensors are not made of: nothing, truth, floats, bytes, huge numbers.
    Other,
}

#[derive(Debug)]
pub(super) enum Node {
    Tuple(Box<[Value]>),
    List,
    /// Entries whose key is a text.
    Dict(Vec<(Text, Value)>),
    Storage(Storage),
    Tensor(Tensor),
}

/// A row of values in a member of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    /// `None`: bytes.
    pub(super) dtype: Option<DType>,
    pub(super) key: Text,
    pub(super) len: u64,
}

/// A view of a storage. Offset and strides count values.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) dtype: DType,
    pub(super) offset: u64,
    pub(super) shape: Box<[u64]>,
    pub(super) strides: Box<[u64]>,
}

/// The classes and functions that tensors need, and no others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    OrderedDict,
    Tensor,
    Parameter,
    Storage(Option<DType>),
    DType(DType),
}

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => Some(Self::Tensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::Parameter),
            ("torch.storage" | "torch", "UntypedStorage") => Some(Self::Storage(None)),
            ("torch", name) => match name.strip_suffix("Storage") {
                Some(kind) => storage_dtype(kind).map(|dtype| Self::Storage(Some(dtype))),
                None => dtype(name).map(Self::DType),
            },
            _ => None,
        }
    }
}

fn storage_dtype(kind: &str) -> Option<DType> {
    Some(match kind {
        "Float" => DType::F32,
        "Half" => DType::F16,
        "BFloat16" => DType::BF16,
        "Double" => DType::F64,
        "Long" => DType::I64,
        "Int" => DType::I32,
        "Short" => DType::I16,
        "Char" => DType::I8,
        "Byte" => DType::U8,
        "Bool" => DType::Bool,
        _ => return None,
    })
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "float64" => DType::F64,
        "int64" => DType::I64,
        "int32" => DType::I32,
        "int16" => DType::I16,
        "int8" => DType::I8,
        "uint8" => DType::U8,
        "uint16" => DType::U16,
        "uint32" => DType::U32,
        "uint64" => DType::U64,
        "bool" => DType::Bool,
        "float8_e4m3fn" => DType::F8E4M3,
        "float8_e5m2" => DType::F8E5M2,
        _ => return None,
    })
}
