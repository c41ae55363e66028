//! The frozen heads, one for each task.

use burn::tensor::{Device, Tensor};
use refit_core::{Seed, Source};
use refit_io::data::Task;
use refit_kernels::dual::Dual;
use refit_nn::{Init, NnError, Scope, Weights, blocks::CosineHead};

/// One head per task, as a checkpoint (`digits.weight [classes, width]`, rows that carry the scale) and bound.
#[derive(Clone, Debug)]
pub(super) struct FrozenHeads {
    weights: Weights,
    bound: Vec<CosineHead>,
}

impl FrozenHeads {
    /// Takes the rows of every head, in the order of the tasks.
    pub(super) fn new(
        tasks: &[Task],
        rows: Vec<Tensor<2>>,
        device: &Device,
    ) -> Result<Self, NnError> {
        let width = rows.first().map_or(0, |rows| rows.dims()[1]);
        let mut weights = Weights::create(Seed::new(0), device, |s| bind(tasks, width, s))?;
        for (k, rows) in rows.into_iter().enumerate() {
            let len = rows.dims().iter().product::<usize>();
            weights.set(k, rows.reshape([len]));
        }
        Self::bound(weights, tasks, width)
    }

    /// Reads heads over features of this width.
    pub(super) fn load<S: Source>(
        source: &S,
        tasks: &[Task],
        width: usize,
        device: &Device,
    ) -> Result<Self, NnError> {
        let weights = Weights::load(source, device, |scope| bind(tasks, width, scope))?;
        Self::bound(weights, tasks, width)
    }

    fn bound(weights: Weights, tasks: &[Task], width: usize) -> Result<Self, NnError> {
        let rows = weights.bind(|scope| bind(tasks, width, scope))?;
        let bound = rows.into_iter().map(CosineHead::new).collect();
        Ok(Self { weights, bound })
    }

    /// The rows by name.
    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The rows of one task, flat.
    pub(super) fn rows(&self, task: usize) -> &Dual<1> {
        &self.weights.values()[task]
    }
}

impl std::ops::Deref for FrozenHeads {
    type Target = [CosineHead];

    fn deref(&self) -> &[CosineHead] {
        &self.bound
    }
}

fn bind(tasks: &[Task], width: usize, scope: &Scope<'_>) -> Result<Vec<Dual<2>>, NnError> {
    let rows = |task: &Task| {
        let dims = [task.class_count(), width];
        scope.at(task.name()).tensor("weight", dims, Init::Zeros)
    };
    tasks.iter().map(rows).collect()
}
