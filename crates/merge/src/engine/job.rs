//! How one output tensor comes about.

use crate::{
    error::{MergeError, ModelName},
    stream::StreamRule,
};
use refit_core::{ParamPath, ReadError, TensorRead};
use std::sync::Arc;

/// The work on one output tensor.
#[derive(Debug)]
pub struct Job {
    /// What is done.
    pub work: Work,
}

/// What is done for one output tensor.
#[derive(Debug)]
pub enum Work {
    /// Bytes are copied as they are stored.
    Copy(Operand),
    /// Values are merged. Every operand has the shape of the output.
    Merge {
        /// How.
        rule: Box<dyn StreamRule>,
        /// The base, where the merge has one.
        base: Option<Operand>,
        /// The models, in order.
        models: Vec<Operand>,
    },
}

/// A tensor of a model.
pub struct Operand {
    /// How messages speak of the model.
    pub model: ModelName,
    /// Where its values come from.
    pub tensor: Arc<dyn TensorRead>,
}

impl Operand {
    pub(super) fn failed(&self, path: &ParamPath, source: ReadError) -> MergeError {
        MergeError::Read {
            path: path.clone(),
            model: self.model.clone(),
            source,
        }
    }
}

impl std::fmt::Debug for Operand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.tensor.meta().path, self.model)
    }
}

impl Job {
    /// Bytes that a thread holds while it works on this job: a block of every operand, and the result.
    pub fn held_bytes(&self, shape: &[usize]) -> u64 {
        match &self.work {
            Work::Copy(_) => super::COPY_BYTES as u64,
            Work::Merge { rule, base, models } => {
                held_bytes(&**rule, models.len() + usize::from(base.is_some()), shape)
            }
        }
    }

    /// Says that the operands will be read soon.
    pub(super) fn prefetch(&self) {
        match &self.work {
            Work::Copy(operand) => operand.tensor.prefetch(),
            Work::Merge { base, models, .. } => {
                let operands = base.iter().chain(models);
                operands.for_each(|operand| operand.tensor.prefetch());
            }
        }
    }
}

/// Bytes that a thread holds while `rule` merges a tensor of `shape` from so many operands.
pub fn held_bytes(rule: &dyn StreamRule, operands: usize, shape: &[usize]) -> u64 {
    let len: usize = shape.iter().product();
    let block = rule.span().block_len(shape).min(len);
    (block * (operands + 1) * size_of::<f32>()) as u64 + rule.working_bytes()
}
