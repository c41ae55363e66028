//! Adapters: folded into a model while it is read, extracted from the difference of two models, merged without a base.
//!
//! The product of factors is never formed as a whole: [`attach`] and [`Folded`] compute the stretch that is read.
//! [`Extract`] is the way back. [`Combine`] works on factors alone.

mod combine;
mod error;
mod extract;
mod fold;
mod product;

pub use combine::{
    Combine, CombineConfig, CombineError, DensitySettings, ElectSettings, KnotsSettings, Majority,
    NoSettings, RankSettings,
};
pub use error::FoldError;
pub use extract::{
    Cut, Embeddings, Extract, ExtractConfig, ExtractPlan, ExtractedTensor, Extraction, Others,
    Part, PlannedTensor, cut,
};
pub use fold::{Folded, attach, oriented};

use crate::layout::UNIT;
use refit_core::TensorRead;

/// Model types whose blocks are made of layers that store their weights `[in, out]`.
const TRANSPOSED_TYPES: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

/// Whether two tensors hold the same values; what cannot be read is not the same.
fn is_same(a: &dyn TensorRead, b: &dyn TensorRead) -> bool {
    let len = a.meta().len();
    let (mut of_a, mut of_b, mut scratch) = (vec![0.0; UNIT], vec![0.0; UNIT], Vec::new());
    let equal = |start: usize| {
        let end = (start + UNIT).min(len);
        let (of_a, of_b) = (&mut of_a[..end - start], &mut of_b[..end - start]);
        let read = a.read_f32(start..end, of_a, &mut scratch).is_ok()
            && b.read_f32(start..end, of_b, &mut scratch).is_ok();
        read && of_a
            .iter()
            .zip(of_b)
            .all(|(a, b)| a.to_bits() == b.to_bits())
    };
    a.meta().shape == b.meta().shape && (0..len).step_by(UNIT).all(equal)
}

fn is_transposed_type(model_type: &str) -> bool {
    TRANSPOSED_TYPES.contains(&model_type)
}
