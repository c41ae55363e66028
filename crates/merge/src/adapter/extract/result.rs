//! What was extracted, and what it lacks.

use super::part::Part;
use refit_core::{Adapter, ParamPath};
use serde::Serialize;

/// An adapter and what is known of it.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// The adapter: base and adapter together are the fine-tuned model, up to [`residual`](Self::residual).
    pub adapter: Adapter,
    /// Every tensor that changed, in the order of the fine-tuned model, and those that complete the modules of whole ones.
    pub tensors: Vec<ExtractedTensor>,
    /// How many tensors did not change.
    pub unchanged: usize,
    /// Whether the head is the embedding, and the embedding has factors: loaders have to tie them.
    pub ties_embedding: bool,
    /// Whole tensors of modules that hold other things, too, such as layers with factors. Folding knows them; loaders
    /// that replace whole modules would replace the rest with them, or miss it.
    pub entangled: Vec<ParamPath>,
}

/// What became of a tensor that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExtractedTensor {
    /// Its name.
    pub path: ParamPath,
    /// What became of it.
    pub part: Part,
    /// Components, where it became factors.
    pub rank: Option<usize>,
    /// `|tau|`, the Frobenius norm of the change.
    pub norm: f64,
    /// `|tau - B A| / |tau|`: 0 where nothing is lost.
    pub residual: f64,
}

impl Extraction {
    /// `sqrt(sum |tau - B A|^2 / sum |tau|^2)` over all tensors that changed.
    pub fn residual(&self) -> f64 {
        let (mut lost, mut all) = (0.0, 0.0);
        for tensor in &self.tensors {
            lost += (tensor.norm * tensor.residual).powi(2);
            all += tensor.norm.powi(2);
        }
        if all > 0.0 { (lost / all).sqrt() } else { 0.0 }
    }

    /// The tensor that loses the largest part of its change.
    pub fn worst(&self) -> Option<&ExtractedTensor> {
        let tensors = self.tensors.iter();
        tensors.max_by(|a, b| a.residual.total_cmp(&b.residual))
    }

    /// How many tensors became this.
    pub fn count(&self, wanted: impl Fn(Part) -> bool) -> usize {
        self.tensors.iter().filter(|t| wanted(t.part)).count()
    }
}
