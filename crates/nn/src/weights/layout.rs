//! Names, shapes and roles of the tensors of a model.

use crate::NnError;
use refit_core::ParamPath;
use std::collections::HashMap;

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
    pub(super) index: HashMap<ParamPath, usize>,
}

impl ParamLayout {
    pub(super) fn push(&mut self, spec: ParamSpec) -> Result<(), NnError> {
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
