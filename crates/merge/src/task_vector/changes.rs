//! The models of a block as seen from the base.

use crate::{simd, stream::Block};
use std::ops::Range;

/// Calls `then` for each stretch of `step` values with its positions in the block and the change of every model.
pub(super) fn each_stretch(
    block: &Block<'_>,
    step: usize,
    mut then: impl FnMut(Range<usize>, &mut [&mut [f32]]),
) {
    let base = block.base.unwrap_or_default(); // a rule on changes is not made without a base
    let step = step.min(base.len()).max(1);
    let mut changes = vec![0.0; step * block.models.len()];
    for start in (0..base.len()).step_by(step) {
        let stretch = start..(start + step).min(base.len());
        let mut views: Vec<&mut [f32]> = changes
            .chunks_mut(step)
            .map(|change| &mut change[..stretch.len()])
            .collect();
        for (change, model) in views.iter_mut().zip(block.models) {
            simd::subtract(change, &model[stretch.clone()], &base[stretch.clone()]);
        }
        then(stretch, &mut views);
    }
}
