//! Rules that merge a tensor block by block.

use super::{
    block::{Block, Look, Span},
    tally::Tally,
};
use crate::error::MergeError;
use refit_core::Silent;
use std::ops::Range;

/// How one output tensor is merged from the same tensor of several models.
///
/// A rule is made for one tensor, with the settings that hold for it. Surveys come first, in order; each sees every
/// block once, or a [sample](Look::Sample), in any order and from several threads. What it wrote down is given to [`learn`](Self::learn) before the
/// next begins. Then every block is merged. The same operands give the same bits, whatever the threads do.
pub trait StreamRule: Send + Sync + std::fmt::Debug {
    /// What must be seen at once.
    fn span(&self) -> Span {
        Span::Any
    }

    /// Bytes that merging a block takes beside the values of its operands and its result.
    fn working_bytes(&self) -> u64 {
        0
    }

    /// How often the blocks are looked at before they are merged.
    ///
    /// Asked again after every [`learn`](Self::learn): what was learned may make a further look needless.
    fn surveys(&self) -> usize {
        0
    }

    /// How much survey `round` has to see.
    fn look(&self, _round: usize) -> Look {
        Look::Everything
    }

    /// Looks at one block in survey `round`, counted from 0.
    fn survey(&self, _round: usize, _block: &Block<'_>, _tally: &mut Tally) {}

    /// Takes what survey `round` wrote down.
    ///
    /// # Errors
    /// When the operands cannot be merged with these settings.
    fn learn(&mut self, _round: usize, _tally: Tally) -> Result<(), MergeError> {
        Ok(())
    }

    /// Writes the merged block into `out`, which has as many values as the block and any content.
    ///
    /// # Errors
    /// When the block cannot be merged, such as a decomposition that does not converge.
    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError>;
}

/// Merges a tensor that is in memory.
///
/// # Shapes
/// `base` and every model have as many values as `shape` says.
///
/// # Errors
/// [`MergeError::Lengths`] when lengths differ, and those of the rule.
pub fn merge_values(
    mut rule: Box<dyn StreamRule>,
    shape: &[usize],
    base: Option<&[f32]>,
    models: &[&[f32]],
) -> Result<Vec<f32>, MergeError> {
    let expected = shape.iter().product();
    let lengths = models.iter().copied().chain(base).map(<[f32]>::len);
    if let Some((operand, found)) = lengths.enumerate().find(|&(_, found)| found != expected) {
        return Err(MergeError::Lengths {
            operand,
            found,
            expected,
        });
    }
    let span = rule.span();
    let with_block =
        |number: usize,
         range: &Range<usize>,
         work: &mut dyn FnMut(&Block<'_>) -> Result<(), MergeError>| {
            let models: Vec<&[f32]> = models.iter().map(|model| &model[range.clone()]).collect();
            let (start, base) = (range.start, base.map(|base| &base[range.clone()]));
            let models = models.as_slice();
            work(&Block {
                number,
                start,
                shape,
                base,
                models,
                progress: &Silent,
            })
        };
    let mut round = 0;
    while round < rule.surveys() {
        let mut tally = Tally::default();
        for (number, range) in rule.look(round).ranges(span, shape).iter().enumerate() {
            with_block(number, range, &mut |block| {
                rule.survey(round, block, &mut tally);
                Ok(())
            })?;
        }
        rule.learn(round, tally)?;
        round += 1;
    }
    let mut merged = vec![0.0; expected];
    for (number, range) in span.blocks(shape).enumerate() {
        let out = &mut merged[range.clone()];
        with_block(number, &range, &mut |block| rule.merge(block, out))?;
    }
    Ok(merged)
}
