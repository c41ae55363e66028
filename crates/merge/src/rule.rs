//! Rules that merge one tensor at a time, and the driver that applies them to whole models.

use crate::{
    error::MergeError, layout::BLOCK, simd, task_vector::TaskVectors, tensor_set::TensorSet,
};
use rayon::prelude::*;
use refit_core::{Card, ConfigError, ParamPath, Progress};
use std::{borrow::Cow, sync::Arc};

/// What a rule wants to see of each expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The expert's weights; the rule's result is the merged tensor.
    Models,
    /// The expert minus the base; the rule's result is added to the base.
    TaskVectors,
}

/// A merge without data that treats one tensor after the other.
///
/// Implementations are pure: the same operands give the same bits, whichever thread runs them and whatever came
/// before. The driver has checked names, shapes and finiteness.
pub trait TensorRule: Sync {
    /// What the method says about itself.
    const CARD: Card;
    /// What [`apply`](Self::apply) is given.
    const OPERAND: Operand;
    /// What must be known of whole models before the first tensor; `()` where nothing must.
    type Plan: Sync;

    /// Checks settings against the experts and looks through the task vectors where the method needs it.
    ///
    /// # Errors
    /// [`MergeError::Config`] when a setting does not fit the number of experts.
    fn plan(&self, tasks: &TaskVectors<'_>) -> Result<Self::Plan, MergeError>;

    /// Merges the tensor called `at`.
    ///
    /// # Shapes
    /// `operands`: one slice per expert, all as long as `out`, which is overwritten.
    ///
    /// # Errors
    /// [`MergeError::Lengths`] when the slices differ in length.
    fn apply(
        &self,
        plan: &Self::Plan,
        at: &ParamPath,
        operands: &[&[f32]],
        out: &mut [f32],
    ) -> Result<(), MergeError>;
}

/// Applies `rule` to every tensor, in parallel.
///
/// # Errors
/// Those of the rule, and [`MergeError::Cancelled`] when `progress` asks for a stop.
///
/// # Cost
/// One pass over base and experts besides the plan's; the result, plus `K + 1` copies of one tensor per thread.
///
/// ```
/// use refit_core::Silent;
/// use refit_merge::{Checks, TaskVectors, TensorSet, Weights, merge};
/// use refit_merge::{TaskArithmetic, TaskArithmeticConfig};
/// let set = |x| TensorSet::from_values([("w", vec![1], vec![x])]).unwrap();
/// let (base, a, b) = (set(1.0), set(2.0), set(4.0));
/// let experts = vec![Weights::from_set("a", &a), Weights::from_set("b", &b)];
/// let tasks = TaskVectors::between(Weights::from_set("base", &base), experts, &Checks::default()).unwrap();
/// let rule = TaskArithmetic::try_from(TaskArithmeticConfig { scale: 0.5, ..Default::default() }).unwrap();
/// assert_eq!(merge(&rule, &tasks, &Silent).unwrap().tensors()[0], [3.0]); // 1 + 0.5 (1 + 3)
/// ```
pub fn merge<R: TensorRule>(
    rule: &R,
    tasks: &TaskVectors<'_>,
    progress: &dyn Progress,
) -> Result<TensorSet, MergeError> {
    let layout = tasks.layout();
    progress.begin(R::CARD.name, Some(layout.values() as u64));
    let plan = rule.plan(tasks)?;
    let tensor = |at: usize| {
        if progress.cancelled() {
            return Err(MergeError::Cancelled);
        }
        let entry = &layout.entries()[at];
        let operands: Vec<Cow<'_, [f32]>> = (0..tasks.len())
            .map(|k| match R::OPERAND {
                Operand::Models => tasks.model(k, at),
                Operand::TaskVectors => tasks.task(k, at).into(),
            })
            .collect();
        let views: Vec<&[f32]> = operands.iter().map(|operand| &**operand).collect();
        let mut out = vec![0.0; entry.len];
        rule.apply(&plan, &entry.path, &views, &mut out)?;
        if R::OPERAND == Operand::TaskVectors {
            simd::add(&mut out, &tasks.base().tensor(at));
        }
        progress.advance(entry.len as u64);
        Ok(out)
    };
    let merged: Vec<Result<_, _>> = (0..layout.len())
        .into_par_iter()
        .with_max_len(1)
        .map(tensor)
        .collect();
    let values = merged.into_iter().collect::<Result<_, _>>()?;
    Ok(TensorSet::from_parts(Arc::clone(layout), values))
}

/// One weight per expert: those given, or 1 for everyone.
pub(crate) fn weights_for(weights: &[f64], experts: usize) -> Result<Vec<f64>, ConfigError> {
    match weights.len() {
        0 => Ok(vec![1.0; experts]),
        n if n == experts => Ok(weights.to_vec()),
        n => Err(ConfigError::conflict(
            "weights",
            format!("names {n} values, expected one for each of {experts} experts"),
        )),
    }
}

/// Refuses a setting that is NaN or infinite.
pub(crate) fn finite(key: &'static str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(ConfigError::range(key, value, "a finite number"))
}

/// Refuses weights that are NaN or infinite.
pub(crate) fn finite_weights(weights: &[f64]) -> Result<(), ConfigError> {
    weights.iter().try_for_each(|&w| finite("weights", w))
}

/// `out = sum_k f_k operands_k`, where `factors` makes `f` of the weights, or of 1 for every operand where none are given.
pub(crate) fn sum_with(
    operands: &[&[f32]],
    weights: &[f64],
    factors: impl FnOnce(Vec<f64>) -> Result<Vec<f64>, ConfigError>,
    out: &mut [f32],
) -> Result<(), MergeError> {
    check_operands(operands, weights, out)?;
    let factors = factors(weights_for(weights, operands.len())?)?;
    weighted_sum(operands, &factors, out);
    Ok(())
}

/// Refuses slices of unequal length, and weights that are not one per operand.
pub(crate) fn check_operands(
    operands: &[&[f32]],
    weights: &[f64],
    out: &[f32],
) -> Result<(), MergeError> {
    weights_for(weights, operands.len())?;
    let expected = operands.first().map_or(out.len(), |first| first.len());
    let lengths = operands.iter().map(|o| o.len()).chain([out.len()]);
    match lengths.enumerate().find(|&(_, found)| found != expected) {
        Some((operand, found)) => Err(MergeError::Lengths {
            operand,
            found,
            expected,
        }),
        None => Ok(()),
    }
}

/// `out = sum_k factors_k operands_k`, in double precision, rounded once.
pub(crate) fn weighted_sum(operands: &[&[f32]], factors: &[f64], out: &mut [f32]) {
    let mut sums = vec![0.0; BLOCK.min(out.len())];
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let sums = &mut sums[..out.len()];
        sums.fill(0.0);
        for (operand, &factor) in operands.iter().zip(factors) {
            simd::add_scaled(sums, factor, &operand[block * BLOCK..][..out.len()]);
        }
        simd::narrow(out, sums);
    }
}
