use super::*;
use crate::{
    error::ModelName,
    held::Held,
    stream::{Span, StreamRule},
};
use proptest::prelude::*;
use refit_core::{Cancel, DType, Silent, TensorMeta, WriteError};
use refit_testkit::with_threads;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// An output in memory, which fails at a tensor if it is told to.
struct Memory {
    metas: Vec<TensorMeta>,
    values: Vec<Mutex<Vec<f32>>>,
    done_before: usize,
    done: Mutex<Vec<Range<usize>>>,
    full_at: Option<usize>,
}

impl Memory {
    fn new(metas: Vec<TensorMeta>) -> Self {
        let values = metas.iter().map(|m| Mutex::new(vec![0.0; m.len()]));
        Self {
            values: values.collect(),
            metas,
            done_before: 0,
            done: Mutex::default(),
            full_at: None,
        }
    }

    fn into_values(self) -> Vec<Vec<f32>> {
        let values = self.values.into_iter();
        values.map(|v| v.into_inner().unwrap()).collect()
    }
}

impl TensorWrite for Memory {
    fn tensors(&self) -> &[TensorMeta] {
        &self.metas
    }

    fn is_done(&self, index: usize) -> bool {
        index < self.done_before
    }

    fn write_f32(
        &self,
        index: usize,
        start: usize,
        values: &[f32],
        _: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        self.values[index].lock().unwrap()[start..start + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn write_bytes(&self, index: usize, start: usize, bytes: &[u8]) -> Result<(), WriteError> {
        let words = bytes.as_chunks::<4>().0;
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        self.write_f32(index, start / 4, &values, &mut Vec::new())
    }

    fn done(&self, tensors: Range<usize>) -> Result<(), WriteError> {
        if self.full_at.is_some_and(|at| tensors.contains(&at)) {
            return Err("no space left on device".into());
        }
        self.done.lock().unwrap().push(tensors);
        Ok(())
    }
}

/// Takes the mean of the models minus the mean of their means: a survey, then a merge.
#[derive(Debug)]
struct Centred {
    span: Span,
    mean: f64,
}

impl StreamRule for Centred {
    fn span(&self) -> Span {
        self.span
    }

    fn surveys(&self) -> usize {
        1
    }

    fn survey(&self, _: usize, block: &Block<'_>, tally: &mut Tally) {
        let sum = block
            .models
            .iter()
            .flat_map(|m| m.iter())
            .map(|&v| f64::from(v));
        tally.add(block.number, vec![sum.sum()]);
        tally.counts(1)[0] += (block.len() * block.models.len()) as u64;
    }

    fn learn(&mut self, _: usize, tally: Tally) -> Result<(), MergeError> {
        self.mean = tally.totals(1)[0];
        self.mean /= tally.into_counts().first().map_or(1.0, |&n| n as f64);
        Ok(())
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        for (i, out) in out.iter_mut().enumerate() {
            let sum: f64 = block.models.iter().map(|m| f64::from(m[i])).sum();
            *out = (sum / block.models.len() as f64 - self.mean) as f32;
        }
        Ok(())
    }
}

fn meta(name: &str, shape: &[usize]) -> TensorMeta {
    TensorMeta {
        path: name.into(),
        dtype: DType::F32,
        shape: shape.to_vec(),
    }
}

fn metas() -> Vec<TensorMeta> {
    vec![
        meta("small", &[3]),
        meta("long", &[200_003]),
        meta("matrix", &[700, 300]),
        meta("empty", &[0, 4]),
        meta("scalar", &[]),
        meta("copied", &[300_000]),
    ]
}

fn values(index: usize, model: usize, len: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 31 + index * 7 + model * 13) as f32 * 0.37).sin();
    (0..len).map(value).collect()
}

fn operand(meta: &TensorMeta, index: usize, model: usize) -> Operand {
    Operand {
        model: ModelName::Expert(format!("m{model}")),
        tensor: Arc::new(Held::new(
            meta.path.as_str(),
            &meta.shape,
            values(index, model, meta.len()),
        )),
    }
}

fn job(metas: &[TensorMeta], index: usize, span: Span) -> Job {
    let meta = &metas[index];
    let work = if meta.path.as_str() == "copied" {
        Work::Copy(operand(meta, index, 0))
    } else {
        Work::Merge {
            rule: Box::new(Centred { span, mean: 0.0 }),
            base: None,
            models: (0..3).map(|model| operand(meta, index, model)).collect(),
        }
    };
    Job { work }
}

fn merged(threads: usize, span: Span, memory_bytes: u64) -> Vec<Vec<f32>> {
    let sink = Memory::new(metas());
    let config = EngineConfig {
        memory_bytes,
        ..EngineConfig::default()
    };
    let make = |index| Ok(job(&sink.metas, index, span));
    with_threads(threads, || run(config, &sink, &make, &Silent)).unwrap();
    let done = sink.done.lock().unwrap().clone();
    assert_eq!(done.iter().map(Range::len).sum::<usize>(), 6, "{done:?}");
    sink.into_values()
}

#[test]
fn threads_and_memory_change_no_bit() {
    for span in [Span::Any, Span::Rows, Span::Whole] {
        let one = merged(1, span, 1 << 40);
        for (threads, memory) in [(2, 1 << 40), (3, 1), (2, 1 << 20)] {
            assert_eq!(
                merged(threads, span, memory),
                one,
                "{span:?} {threads} {memory}"
            );
        }
        let copied = &one[5];
        assert_eq!(*copied, values(5, 0, 300_000));
        let mean: f64 = one[1].iter().map(|&v| f64::from(v)).sum::<f64>() / 200_003.0;
        assert!(mean.abs() < 1e-7, "{mean}");
    }
}

#[test]
fn what_was_done_before_is_not_done_again() {
    let mut sink = Memory::new(metas());
    sink.done_before = 2;
    let asked = AtomicUsize::new(0);
    let make = |index| {
        asked.fetch_add(1, Ordering::Relaxed);
        assert!(index >= 2);
        Ok(job(&sink.metas, index, Span::Any))
    };
    run(EngineConfig::default(), &sink, &make, &Silent).unwrap();
    assert_eq!(asked.into_inner(), 4);
    assert!(sink.into_values()[1].iter().all(|&v| v == 0.0));
}

#[test]
fn a_stop_and_a_full_disk_end_the_work() {
    let mut sink = Memory::new(metas());
    let make = |index| Ok(job(&metas(), index, Span::Any));
    let cancel = Cancel::default();
    cancel.raise();
    let stopped = run(EngineConfig::default(), &sink, &make, &cancel);
    assert!(matches!(stopped, Err(MergeError::Cancelled)));
    sink.full_at = Some(3);
    let full = run(EngineConfig::default(), &sink, &make, &Silent).unwrap_err();
    assert!(matches!(full, MergeError::Write { .. }), "{full}");
}

#[test]
fn values_that_are_not_finite_are_refused_by_name_unless_allowed() {
    let spoilt = |index: usize| {
        let mut job = job(&metas(), index, Span::Any);
        if let (1, Work::Merge { models, .. }) = (index, &mut job.work) {
            let mut spoilt = values(1, 1, 200_003);
            spoilt[150_000] = f32::NAN;
            models[1].tensor = Arc::new(Held::new("long", &[200_003], spoilt));
        }
        Ok(job)
    };
    let sink = Memory::new(metas());
    let refused = run(EngineConfig::default(), &sink, &spoilt, &Silent).unwrap_err();
    let expected = "`long` of expert `m1` holds NaN at position 150000, expected finite values";
    assert_eq!(refused.to_string(), expected);
    let allow = EngineConfig {
        not_finite: NotFinite::Allow,
        ..EngineConfig::default()
    };
    run(allow, &sink, &spoilt, &Silent).unwrap();
    assert!(
        sink.into_values()[1].iter().all(|v| v.is_nan()),
        "the mean is spoilt"
    );
}

#[test]
fn a_result_that_the_output_cannot_hold_is_refused() {
    let mut metas = metas();
    metas[0].dtype = DType::F16;
    let sink = Memory::new(metas.clone());
    let make = |index| {
        let mut job = job(&metas, index, Span::Any);
        if let (0, Work::Merge { models, .. }) = (index, &mut job.work) {
            for model in models {
                model.tensor = Arc::new(Held::new("small", &[3], vec![7e4, -7e4, 0.0]));
            }
        }
        Ok(job)
    };
    let refused = run(EngineConfig::default(), &sink, &make, &Silent).unwrap_err();
    assert!(
        matches!(refused, MergeError::Overflow { position: 0, .. }),
        "{refused}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape_is_merged_once(rows in 0usize..5, columns in 0usize..70_000, threads in 1usize..4) {
        let metas = vec![meta("w", &[rows, columns])];
        for span in [Span::Any, Span::Rows, Span::Whole] {
            let sink = Memory::new(metas.clone());
            let make = |index| Ok(job(&metas, index, span));
            with_threads(threads, || run(EngineConfig::default(), &sink, &make, &Silent)).unwrap();
            let plain: Vec<Vec<f32>> = (0..3).map(|m| values(0, m, rows * columns)).collect();
            let sum = |i: usize| plain.iter().map(|m| f64::from(m[i])).sum::<f64>() / 3.0;
            let mean = (0..rows * columns).map(sum).sum::<f64>() / (rows * columns).max(1) as f64;
            for (i, &v) in sink.into_values()[0].iter().enumerate() {
                prop_assert!((f64::from(v) - (sum(i) - mean)).abs() < 1e-6);
            }
        }
    }
}
