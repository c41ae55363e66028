//! A model with an adapter folded in, computed while it is read.
//! Sources: Hu et al. 2021, arXiv:2106.09685 (LoRA); Liu et al. 2024, arXiv:2402.09353 (DoRA).

use super::{error::FoldError, product::add_product};
use crate::{error::Shape, layout::UNIT, simd};
use refit_core::{
    Adapter, Change, LowRank, ParamPath, Placement, ReadError, TensorMeta, TensorRead, nearest,
};
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Names that an unknown name is compared with, at most.
const NEAREST_OF: usize = 10_000;

/// Folds `adapter` into `model`: the same tensors in the same order, where those that the adapter changes are computed
/// while they are read.
///
/// Names are matched exactly; where that fails for some, all of them are tried without their first part, or behind the
/// first part of a name of the model, since checkpoints of a bare model leave out what a head in front of it adds. A
/// matrix that fits the weight only when it is turned over is turned over, as a layer's kind wins over
/// `fan_in_fan_out` in PEFT.
///
/// # Errors
/// [`FoldError`] names the first change that does not fit.
///
/// # Example
/// ```
/// use refit_core::{Adapter, AdapterTensor, Change, LowRank, Placement};
/// use refit_merge::adapter::attach;
/// let factors = LowRank::new([2, 2], 1, vec![1.0, 2.0], vec![1.0, -1.0], 1.0).unwrap();
/// let change = Change::LowRank { factors, placement: Placement::Linear, magnitude: None };
/// let tensors = vec![AdapterTensor { target: "q.weight".into(), change }];
/// let adapter = Adapter { name: "tuned".into(), tensors };
/// let Err(error) = attach(Vec::new(), &adapter) else { panic!() };
/// let text = "the adapter `tuned` changes `q.weight`, which the model has not";
/// assert_eq!(error.to_string(), text);
/// ```
pub fn attach(
    mut model: Vec<Arc<dyn TensorRead>>,
    adapter: &Adapter,
) -> Result<Vec<Arc<dyn TensorRead>>, FoldError> {
    for (place, target) in places(&model, adapter)?.into_iter().zip(&adapter.tensors) {
        let base = Arc::clone(&model[place]);
        model[place] = Arc::new(Folded::new(base, &target.change)?);
    }
    Ok(model)
}

/// The tensor of the model for each change.
fn places(model: &[Arc<dyn TensorRead>], adapter: &Adapter) -> Result<Vec<usize>, FoldError> {
    let names = || model.iter().map(|tensor| tensor.meta().path.as_str());
    let index: HashMap<&str, usize> = names().enumerate().map(|(i, name)| (name, i)).collect();
    let find = |rename: &dyn Fn(&str) -> Option<String>| -> Option<Vec<usize>> {
        let place = |target: &ParamPath| index.get(rename(target.as_str())?.as_str()).copied();
        adapter
            .tensors
            .iter()
            .map(|tensor| place(&tensor.target))
            .collect()
    };
    let exact = |name: &str| Some(name.to_owned());
    let shorter = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    if let Some(places) = find(&exact).or_else(|| find(&shorter)) {
        return Ok(places);
    }
    let mut heads: Vec<&str> = names().filter_map(|n| Some(n.split_once('.')?.0)).collect();
    heads.sort_unstable();
    heads.dedup();
    // Names of blocks are few; a model with many first parts has no common head.
    let longer = |head: &str| find(&|name: &str| Some(format!("{head}.{name}")));
    if let Some(places) = heads.iter().take(16).find_map(|head| longer(head)) {
        return Ok(places);
    }
    let targets = adapter.tensors.iter().map(|tensor| &tensor.target);
    let mut unknown = targets.filter(|target| !index.contains_key(target.as_str()));
    match unknown.next() {
        Some(target) => Err(FoldError::NoTarget {
            adapter: adapter.name.clone(),
            target: target.clone(),
            nearest: nearest(target.as_str(), names().take(NEAREST_OF)).map(str::to_owned),
            more: unknown.count(),
        }),
        None => Ok(Vec::new()),
    }
}

/// A tensor with a change folded in: `W + s B A`, or what takes its place.
///
/// With magnitudes `m` (DoRA), every output of `V = W + s B A` is brought to its length: `m_o V_o / |V_o|`. Lengths are
/// found by one pass over the tensor before the first stretch is read, and kept; an output of length 0 stays 0.
///
/// # Cost
/// `2 r` operations per value beside reading the base, in vector registers; the factors and, for DoRA, one double per
/// output in memory. Stretches of whole rows are fastest.
#[derive(Debug)]
pub struct Folded {
    meta: TensorMeta,
    work: Work,
}

enum Work {
    Add {
        base: Arc<dyn TensorRead>,
        factors: LowRank,
        lengths: Option<Lengths>,
    },
    Shift {
        base: Arc<dyn TensorRead>,
        values: Vec<f32>,
    },
    Replace(Arc<dyn TensorRead>),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Add { .. } => "Add",
            Self::Shift { .. } => "Shift",
            Self::Replace(_) => "Replace",
        })
    }
}

/// Magnitudes, and the factors that they become once the lengths of outputs are known.
struct Lengths {
    magnitude: Vec<f32>,
    outputs: Outputs,
    factors: Mutex<Option<Arc<[f64]>>>,
}

/// Where the outputs of a layer lie in its weight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outputs {
    Rows,
    Cols,
}

impl Folded {
    /// `base` with `change` folded in; the name stays that of `base`.
    ///
    /// # Errors
    /// When the change has another shape than the tensor, or the tensor is no weight.
    pub fn new(base: Arc<dyn TensorRead>, change: &Change) -> Result<Self, FoldError> {
        let meta = base.meta().clone();
        let target = || meta.path.clone();
        if !meta.dtype.is_weight() {
            return Err(FoldError::NotWeights { target: target() });
        }
        let shape_error = |found: &[usize]| FoldError::Shape {
            target: target(),
            found: Shape(found.to_vec()),
            expected: Shape(meta.shape.clone()),
        };
        let work = match change {
            Change::LowRank {
                factors,
                placement,
                magnitude,
            } => {
                let (factors, turned) = fit(factors, *placement, &meta.shape)
                    .ok_or_else(|| shape_error(&[factors.rows(), factors.cols()]))?;
                let rows = (*placement == Placement::Linear) != turned;
                let outputs = if rows { Outputs::Rows } else { Outputs::Cols };
                let expected = match outputs {
                    Outputs::Rows => factors.rows(),
                    Outputs::Cols => factors.cols(),
                };
                if let Some(found) = magnitude.as_ref().map(Vec::len).filter(|&n| n != expected) {
                    return Err(FoldError::Magnitudes {
                        target: target(),
                        found,
                        expected,
                    });
                }
                let lengths = magnitude.as_ref().map(|magnitude| Lengths {
                    magnitude: magnitude.clone(),
                    outputs,
                    factors: Mutex::default(),
                });
                Work::Add {
                    base,
                    factors,
                    lengths,
                }
            }
            Change::Shift(values) if values.len() == meta.len() => Work::Shift {
                base,
                values: values.clone(),
            },
            Change::Shift(values) => return Err(shape_error(&[values.len()])),
            Change::Replace(other) => {
                let found = other.meta();
                if found.shape != meta.shape {
                    return Err(shape_error(&found.shape));
                }
                let meta = TensorMeta {
                    dtype: found.dtype,
                    ..meta
                };
                let work = Work::Replace(Arc::clone(other));
                return Ok(Self { meta, work });
            }
            _ => return Err(FoldError::Unknown { target: target() }),
        };
        Ok(Self { meta, work })
    }

    fn check(&self, range: &Range<usize>, out: &[f32]) -> Result<(), FoldError> {
        let len = self.meta.len();
        if range.start <= range.end && range.end <= len && out.len() == range.len() {
            return Ok(());
        }
        Err(FoldError::Range {
            target: self.meta.path.clone(),
            found: out.len(),
            start: range.start,
            end: range.end,
            len,
        })
    }
}

/// The factors in the orientation of a weight of `shape`, and whether they had to be turned over for it.
fn fit(factors: &LowRank, placement: Placement, shape: &[usize]) -> Option<(LowRank, bool)> {
    let (&rows, rest) = shape.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let cols: usize = rest.iter().product();
    if (factors.rows(), factors.cols()) == (rows, cols) {
        return Some((factors.clone(), false));
    }
    let may_turn = placement != Placement::Embedding && rest.len() == 1;
    let fits = may_turn && (factors.cols(), factors.rows()) == (rows, cols);
    fits.then(|| (factors.transposed(), true))
}

impl TensorRead for Folded {
    fn meta(&self) -> &TensorMeta {
        &self.meta
    }

    fn read_f32(
        &self,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        self.check(&range, out)?;
        match &self.work {
            Work::Replace(other) => other.read_f32(range, out, scratch),
            Work::Shift { base, values } => {
                base.read_f32(range.clone(), out, scratch)?;
                simd::add(out, &values[range]);
                Ok(())
            }
            Work::Add {
                base,
                factors,
                lengths,
            } => {
                // Before the stretch itself: the pass needs the same scratch.
                let scale = match lengths {
                    Some(lengths) => Some((lengths.factors(&**base, factors, scratch)?, lengths)),
                    None => None,
                };
                base.read_f32(range.clone(), out, scratch)?;
                add_product(factors, range.clone(), out);
                if let Some((scale, lengths)) = scale {
                    lengths.apply(&scale, factors.cols(), range, out);
                }
                Ok(())
            }
        }
    }

    fn read_bytes(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), ReadError> {
        match &self.work {
            Work::Replace(other) => other.read_bytes(range, out),
            _ => Err(Box::new(FoldError::Computed {
                target: self.meta.path.clone(),
            })),
        }
    }

    fn is_stored(&self) -> bool {
        matches!(&self.work, Work::Replace(other) if other.is_stored())
    }

    fn prefetch(&self) {
        match &self.work {
            Work::Add { base, .. } | Work::Shift { base, .. } => base.prefetch(),
            Work::Replace(other) => other.prefetch(),
        }
    }
}

impl Lengths {
    /// One factor per output; the first caller looks through the tensor, others wait for it.
    fn factors(
        &self,
        base: &dyn TensorRead,
        factors: &LowRank,
        scratch: &mut Vec<u8>,
    ) -> Result<Arc<[f64]>, ReadError> {
        // What is inside is whole or absent, also after a panic elsewhere.
        let mut known = self.factors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let (rows, cols) = (factors.rows(), factors.cols());
        let mut squares = vec![0.0f64; self.magnitude.len()];
        let step = (UNIT / cols.max(1)).max(1);
        let mut values = vec![0.0; step.min(rows) * cols];
        for start in (0..rows).step_by(step) {
            let end = (start + step).min(rows);
            let range = start * cols..end * cols;
            let values = &mut values[..range.len()];
            base.read_f32(range.clone(), values, scratch)?;
            add_product(factors, range, values);
            for (row, values) in (start..end).zip(values.chunks(cols.max(1))) {
                match self.outputs {
                    Outputs::Rows => {
                        let mut lanes = [0.0; simd::LANES];
                        simd::dot(&mut lanes, values, values);
                        squares[row] = simd::total(lanes);
                    }
                    Outputs::Cols => add_squares(&mut squares, values),
                }
            }
        }
        let factor = |(&magnitude, square): (&f32, f64)| match square {
            0.0 => 0.0,
            square => f64::from(magnitude) / square.sqrt(),
        };
        let found: Arc<[f64]> = self.magnitude.iter().zip(squares).map(factor).collect();
        *known = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Multiplies every value of the stretch by the factor of its output.
    fn apply(&self, factors: &[f64], cols: usize, range: Range<usize>, out: &mut [f32]) {
        let (mut at, mut out) = (range.start, out);
        while !out.is_empty() {
            let (row, col) = (at / cols, at % cols);
            let (now, rest) = out.split_at_mut((cols - col).min(out.len()));
            match self.outputs {
                Outputs::Rows => simd::scale(now, factors[row]),
                Outputs::Cols => scale_each(now, &factors[col..]),
            }
            at += now.len();
            out = rest;
        }
    }
}

simd::kernel! {
    /// `sums_i += b_i^2`.
    fn add_squares(sums: &'a mut [f64], b: &'a [f32]) {
        for (sum, &b) in sums.iter_mut().zip(b) {
            *sum += f64::from(b) * f64::from(b);
        }
    }
}

simd::kernel! {
    /// `values_i *= factors_i`, rounded once.
    fn scale_each(values: &'a mut [f32], factors: &'a [f64]) {
        for (value, &factor) in values.iter_mut().zip(factors) {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::Held;
    use refit_core::{AdapterTensor, DType};

    /// The weights that the observed numbers started from.
    fn base(len: usize, number: usize) -> Vec<f32> {
        let value = |i: usize| (((i * 7 + number * 3) % 11) as f32 - 5.0) / 4.0;
        (0..len).map(value).collect()
    }

    fn held(name: &str, shape: &[usize], values: Vec<f32>) -> Arc<dyn TensorRead> {
        Arc::new(Held::new(name, shape, values))
    }

    fn read(tensor: &dyn TensorRead, range: Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; range.len()];
        tensor.read_f32(range, &mut out, &mut Vec::new()).unwrap();
        out
    }

    fn dora(placement: Placement, a: [&[f32]; 2], magnitude: &[f32]) -> Change {
        let [a, b] = a.map(<[f32]>::to_vec);
        let outward = LowRank::new([b.len() / 2, a.len() / 2], 2, b, a, 2.0).unwrap();
        let factors = match placement {
            Placement::Linear => outward,
            _ => outward.transposed(),
        };
        let magnitude = Some(magnitude.to_vec());
        Change::LowRank {
            factors,
            placement,
            magnitude,
        }
    }

    type Case = (
        Placement,
        &'static [usize],
        usize,
        [&'static [f32]; 2],
        &'static [f32],
        &'static [f32],
    );

    /// PEFT 0.21.2, `merge_and_unload` of a DoRA adapter with `r = 2`, `lora_alpha = 4`: shape and number of the base,
    /// the factors and magnitudes that were saved, and what the weights became.
    fn observed() -> [Case; 4] {
        use Placement::{Embedding, Linear, Transposed};
        [
            (
                Linear,
                &[2, 3],
                1,
                [
                    &[-0.5, 1.25, 0.25, -0.75, 1.0, 0.0],
                    &[0.25, -0.75, 1.0, 0.0],
                ],
                &[2.053_959_6, 1.875],
                &[
                    1.185_854_2,
                    1.185_854_2,
                    1.185_854_2,
                    -0.831_763_1,
                    1.663_526_2,
                    0.237_646_6,
                ],
            ),
            (
                Transposed,
                &[3, 2],
                3,
                [
                    &[-1.0, 0.75, -0.25, -1.25, 0.5, -0.5],
                    &[-0.25, -1.25, 0.5, -0.5],
                ],
                &[2.154_211, 2.186_607],
                &[
                    1.832_922_8,
                    0.380_639_4,
                    -1.040_307_5,
                    1.522_557_6,
                    0.445_846_1,
                    -1.522_557_6,
                ],
            ),
            (
                Linear,
                &[2, 2, 1, 2],
                5,
                [
                    &[1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25],
                    &[-0.75, 1.0, 0.0, -1.0],
                ],
                &[2.186_607, 2.678_035_7],
                &[
                    -0.800_748_2,
                    -1.365_982_3,
                    1.177_570_9,
                    -0.942_056_8,
                    0.896_672_7,
                    1.614_010_8,
                    -1.614_010_8,
                    1.076_007_2,
                ],
            ),
            (
                Embedding,
                &[4, 3],
                0,
                [
                    &[0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25],
                    &[0.75, -0.25, -1.25, 0.5, -0.5, 1.25],
                ],
                &[3.247_595_3, 0.918_558_7, 2.755_676],
                &[
                    -0.805_877_3,
                    -0.156_385_8,
                    -1.857_976_9,
                    -0.644_701_8,
                    0.677_671_9,
                    0.768_818,
                    3.062_333_8,
                    -0.495_221_8,
                    -1.537_636,
                    -0.322_350_9,
                    0.338_836,
                    1.089_158_9,
                ],
            ),
        ]
    }

    #[test]
    fn every_kind_of_layer_becomes_what_peft_makes_of_it() {
        for (placement, shape, number, factors, magnitude, merged) in observed() {
            let base = held("w", shape, base(merged.len(), number));
            let folded = Folded::new(base, &dora(placement, factors, magnitude)).unwrap();
            let found = read(&folded, 0..merged.len());
            for (found, merged) in found.iter().zip(merged) {
                assert!(
                    (found - merged).abs() < 1e-6,
                    "{placement:?}: {found} is not {merged}"
                );
            }
            // Any stretch has the bits of the whole.
            for start in 0..merged.len() {
                for end in start..=merged.len() {
                    assert_eq!(read(&folded, start..end), found[start..end]);
                }
            }
        }
    }

    fn rank_one(rows: usize, cols: usize) -> Change {
        let factors = LowRank::new([rows, cols], 1, vec![1.0; rows], vec![1.0; cols], 0.5);
        let factors = factors.unwrap();
        Change::LowRank {
            factors,
            placement: Placement::Linear,
            magnitude: None,
        }
    }

    fn adapter(tensors: Vec<(&str, Change)>) -> Adapter {
        let tensors = tensors
            .into_iter()
            .map(|(target, change)| AdapterTensor {
                target: target.into(),
                change,
            })
            .collect();
        let name = "tuned".into();
        Adapter { name, tensors }
    }

    #[test]
    fn tensors_are_found_behind_and_without_a_first_part() {
        let model = |name: &str| {
            vec![
                held("x", &[1], vec![7.0]),
                held(name, &[1, 2], vec![1.0, 2.0]),
            ]
        };
        for (stored, named) in [
            ("h.0.q.weight", "h.0.q.weight"),
            ("h.0.q.weight", "transformer.h.0.q.weight"),
            ("bert.h.0.q.weight", "h.0.q.weight"),
        ] {
            let folded = attach(model(stored), &adapter(vec![(named, rank_one(1, 2))])).unwrap();
            assert_eq!(read(&*folded[0], 0..1), [7.0]);
            assert_eq!(read(&*folded[1], 0..2), [1.5, 2.5]);
            assert_eq!(folded[1].meta().path.as_str(), stored);
            assert!(folded[0].is_stored() && !folded[1].is_stored());
        }
        let slip = adapter(vec![
            ("h.0.qq.weight", rank_one(1, 2)),
            ("z", rank_one(1, 2)),
        ]);
        let error = attach(model("h.0.q.weight"), &slip).err().unwrap();
        let text =
            "the adapter `tuned` changes `h.0.qq.weight`, which the model has not, nor 1 more";
        assert_eq!(error.to_string(), text);
        assert_eq!(
            refit_core::Hint::hint(&error).unwrap(),
            "did you mean `h.0.q.weight`?"
        );
    }

    #[test]
    fn a_matrix_that_fits_only_turned_over_is_turned_over() {
        let factors = LowRank::new([2, 1], 1, vec![1.0, 2.0], vec![3.0], 1.0).unwrap();
        let change = Change::LowRank {
            factors,
            placement: Placement::Linear,
            magnitude: Some(vec![1.0, 2.0]),
        };
        // The outputs are the columns now: each has one value, so its length is the magnitude.
        let folded = Folded::new(held("w", &[1, 2], vec![0.0, -9.0]), &change).unwrap();
        assert_eq!(read(&folded, 0..2), [1.0, -2.0]);
        let folded = Folded::new(held("w", &[2, 2], vec![0.0; 4]), &change);
        let text = "the adapter changes `w` by a matrix of shape [2, 1], the model has [2, 2]";
        assert_eq!(folded.unwrap_err().to_string(), text);
    }

    #[test]
    fn an_output_of_length_zero_stays_zero() {
        let change = dora(Placement::Linear, [&[0.0; 4], &[0.0; 4]], &[3.0, 10.0]);
        let folded = Folded::new(held("w", &[2, 2], vec![0.0, 0.0, 3.0, 4.0]), &change).unwrap();
        assert_eq!(read(&folded, 0..4), [0.0, 0.0, 6.0, 8.0]);
    }

    #[test]
    fn biases_are_shifted_and_tensors_replaced() {
        let shift = Folded::new(
            held("b", &[2], vec![1.0, 2.0]),
            &Change::Shift(vec![0.5, -0.5]),
        );
        assert_eq!(read(&shift.unwrap(), 1..2), [1.5]);
        let wrong = Folded::new(held("b", &[2], vec![1.0, 2.0]), &Change::Shift(vec![0.5]));
        assert!(matches!(wrong, Err(FoldError::Shape { .. })));
        let other = Change::Replace(held("adapter.b", &[2], vec![8.0, 9.0]));
        let replaced = Folded::new(held("b", &[2], vec![1.0, 2.0]), &other).unwrap();
        assert_eq!(read(&replaced, 0..2), [8.0, 9.0]);
        assert!(replaced.is_stored() && replaced.meta().path.as_str() == "b");
        let other = Change::Replace(held("adapter.b", &[3], vec![8.0; 3]));
        assert!(Folded::new(held("b", &[2], vec![1.0, 2.0]), &other).is_err());
    }

    #[test]
    fn wrong_stretches_and_counters_are_errors() {
        let folded = Folded::new(held("w", &[1, 2], vec![1.0, 2.0]), &rank_one(1, 2)).unwrap();
        let mut out = [0.0; 2];
        for range in [1..3, 0..1] {
            assert!(folded.read_f32(range, &mut out, &mut Vec::new()).is_err());
        }
        let error = folded.read_bytes(0..4, &mut [0; 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`w` is computed and not stored, so it has no bytes"
        );
        let counter = Arc::new(Held::new("n", &[1, 2], vec![1.0, 2.0]).with_dtype(DType::I64));
        assert!(matches!(
            Folded::new(counter, &rank_one(1, 2)),
            Err(FoldError::NotWeights { .. })
        ));
    }
}
