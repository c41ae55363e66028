//! Peak memory of a run does not grow with the number of experts: `2 P` beside mapped task vectors.
//!
//! Allocations of the whole process are counted, so the measurement runs in a process of its own.

use refit_core::{DType, Source, TensorMeta};
use refit_merge::{
    AdaMerging, AdaMergingConfig, Checks, EntropyModel, EntropyReport, Gradient, Grouping,
    MergeError, Plus, Session, TaskVectors, Theta, Weights,
};
use refit_testkit::Counting;
use std::{borrow::Cow, convert::Infallible, process::Command};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Parameters of a vision transformer with 11 blocks of width 384: 19.8 M values.
fn layout() -> Vec<TensorMeta> {
    let meta = |path: String, shape: &[usize]| TensorMeta {
        path: path.into(),
        dtype: DType::F32,
        shape: shape.to_vec(),
    };
    let mut metas = vec![
        meta("patch.weight".into(), &[384, 768]),
        meta("pos".into(), &[197, 384]),
    ];
    for block in 0..11 {
        for (name, shape) in [
            ("norm1.weight", &[384][..]),
            ("attn.qkv.weight", &[1152, 384]),
            ("attn.qkv.bias", &[1152]),
            ("attn.proj.weight", &[384, 384]),
            ("mlp.up.weight", &[1536, 384]),
            ("mlp.up.bias", &[1536]),
            ("mlp.down.weight", &[384, 1536]),
        ] {
            metas.push(meta(format!("blocks.{block}.{name}"), shape));
        }
    }
    metas
}

/// Weights in pages that no allocator knows of, like those of a mapped file.
struct Mapped {
    metas: Vec<TensorMeta>,
    pages: memmap2::MmapMut,
}

impl Mapped {
    fn new(step: u32) -> Self {
        let metas = layout();
        let values: usize = metas.iter().map(TensorMeta::len).sum();
        let mut pages = memmap2::MmapMut::map_anon(values * 4).unwrap();
        let mut state = step;
        for bytes in pages.as_chunks_mut::<4>().0 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *bytes = ((state >> 8) as f32 * 1e-8).to_le_bytes();
        }
        Self { metas, pages }
    }

    fn values(&self) -> usize {
        self.pages.len() / 4
    }
}

impl Source for Mapped {
    type Error = Infallible;

    fn tensors(&self) -> &[TensorMeta] {
        &self.metas
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, Infallible> {
        let before: usize = self.metas[..index].iter().map(TensorMeta::size_bytes).sum();
        Ok(Cow::Borrowed(
            &self.pages[before..][..self.metas[index].size_bytes()],
        ))
    }
}

/// Takes the weights and gives a gradient of the same size, as an engine with its own tensors does.
struct Engine;

impl EntropyModel for Engine {
    type Error = MergeError;

    fn entropy_gradient(
        &mut self,
        _step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, MergeError> {
        let leaves = theta.take();
        for (tensor, leaf) in leaves.iter().enumerate() {
            gradient.give(tensor, leaf.iter().map(|v| v - 0.02).collect())?;
        }
        theta.give_back(leaves);
        Ok(EntropyReport::default())
    }
}

/// Peak of allocated bytes over start and three steps.
fn peak(sources: &[Mapped; 2], experts: usize, config: AdaMergingConfig) -> usize {
    let before = Counting::start();
    let weights = |k: usize| Weights::open(format!("e{k}"), &sources[k % 2]).unwrap();
    let base = Weights::open("base", &sources[0]).unwrap();
    let tasks = (0..experts).map(weights).collect();
    let tasks = TaskVectors::between(base, tasks, &Checks::default()).unwrap();
    let mut session = Session::start(&AdaMerging::try_from(config).unwrap(), tasks).unwrap();
    for _ in 0..3 {
        session.step(&mut Engine).unwrap();
    }
    drop(session.into_merged());
    Counting::peak() - before
}

#[test]
fn memory_is_two_models_for_any_number_of_experts() {
    let binary = std::env::current_exe().unwrap();
    let output = Command::new(binary)
        .args([
            "--exact",
            "memory::measured_in_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}

#[test]
#[ignore = "counts every allocation of its process; the test above runs it alone"]
fn measured_in_a_process_of_its_own() {
    let sources = [Mapped::new(1), Mapped::new(2)];
    let model = sources[0].values() * 4;
    let slack = 4 << 20; // scratch, names, optimiser
    for grouping in [Grouping::Tensor, Grouping::Task] {
        for experts in [2, 8, 20] {
            let config = AdaMergingConfig {
                grouping: grouping.clone(),
                ..Default::default()
            };
            let peak = peak(&sources, experts, config);
            println!(
                "{grouping:?} K = {experts}: {:.4} models",
                peak as f64 / model as f64
            );
            assert!(peak <= 2 * model + slack, "{experts}: {peak}");
        }
    }
    for experts in [2, 8] {
        let plus = Some(Plus { keep: 0.2 });
        let peak = peak(
            &sources,
            experts,
            AdaMergingConfig {
                plus,
                ..Default::default()
            },
        );
        // 6 bytes for each of at most 20 % of the entries, beside the two models
        let sparse = experts * sources[0].values() * 6 / 5;
        println!("++ K = {experts}: {:.4} models", peak as f64 / model as f64);
        assert!(peak <= 2 * model + sparse + slack, "{experts}: {peak}");
    }
}
