//! A job that was stopped goes on where it was and ends as if nothing had happened.

use refit::{
    job::{FusionConfig, Heads, JobError, Store, StoreError, fusion, generated},
    outcome::Outcome,
};
use refit_core::{Hint, Progress, Silent};
use refit_io::data::{Task, suite::Sizes};
use refit_nn::{ImageConfig, zoo::VitConfig};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Every stage and kind of stage, as small as it can be.
fn config() -> FusionConfig {
    let mut config = FusionConfig::quick();
    config.encoder = ImageConfig::Vit(VitConfig {
        hidden_size: 32,
        num_attention_heads: 1,
        intermediate_size: 32,
        num_hidden_layers: 1,
        image_size: 28,
        patch_size: 14,
        num_channels: 1,
        num_labels: 0,
        ..VitConfig::default()
    });
    config.base_images = 20;
    // Probes are fitted after the base is trained; they have tests of their own.
    config.heads = Heads::Trained;
    for stage in [&mut config.base, &mut config.expert, &mut config.joint] {
        stage.steps = 12;
        stage.batch = 8;
        stage.warmup = 2;
    }
    config.scales = vec![0.1, 0.4];
    config.tuning_images = 10;
    config.adamerging.steps = 3;
    config.adamerging.batch_size = 2;
    config.transductive = true;
    config.watch_every = 2;
    config.test_images = 10;
    config.corrupted_images = 3;
    config
}

fn tasks() -> Vec<Task> {
    let sizes = Sizes {
        train: 30,
        val: 10,
        test: 10,
    };
    generated(sizes).into_iter().take(2).collect()
}

/// Asks for a stop once a phase of this name has advanced by so many steps.
struct StopIn {
    phase: &'static str,
    after: u64,
    there: AtomicBool,
    steps: AtomicU64,
}

impl StopIn {
    fn new(phase: &'static str) -> Self {
        Self::after(1, phase)
    }

    fn after(after: u64, phase: &'static str) -> Self {
        Self {
            phase,
            after,
            there: AtomicBool::new(false),
            steps: AtomicU64::new(0),
        }
    }

    /// Steps of the phase, without those of earlier processes, which are told at once.
    fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

impl Progress for StopIn {
    fn begin(&self, phase: &str, _: Option<u64>) {
        self.there.store(phase == self.phase, Ordering::Relaxed);
    }

    fn advance(&self, units: u64) {
        if units == 1 && self.there.load(Ordering::Relaxed) {
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note(&self, _: &str) {}

    fn cancelled(&self) -> bool {
        self.steps() >= self.after
    }
}

const SEEDS: [u64; 2] = [3, 4];

fn job(folder: &Path, progress: &dyn Progress) -> Result<Outcome, JobError> {
    let store = Store::open(folder).unwrap();
    fusion("toy", &config(), &tasks(), &SEEDS, &store, progress)
}

/// The outcome as it is written, without what no two runs share.
pub(crate) fn written(mut outcome: Outcome) -> String {
    (outcome.seconds, outcome.peak_bytes) = (0.0, 0);
    outcome.methods.iter_mut().for_each(|m| m.seconds = 0.0);
    for phase in &mut outcome.phases {
        (phase.seconds, phase.peak_bytes) = (0.0, 0);
    }
    serde_json::to_string_pretty(&outcome).unwrap()
}

/// Every model and the measurements, byte by byte.
fn files(folder: &Path, kept: &mut BTreeMap<String, Vec<u8>>, home: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(home).unwrap().display().to_string();
        let same = [".safetensors", "config.json", ".jsonl", ".state.json"];
        if path.is_dir() {
            files(&path, kept, home);
        } else if same.iter().any(|end| name.ends_with(end)) {
            kept.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

pub(crate) fn models(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut kept = BTreeMap::new();
    files(folder, &mut kept, folder);
    kept
}

#[test]
fn a_job_that_was_cut_anywhere_ends_as_an_uninterrupted_one() {
    let whole = tempfile::tempdir().unwrap();
    let expected = written(job(whole.path(), &Silent).unwrap());
    let cut = tempfile::tempdir().unwrap();
    // One run after the other goes a little further; the last phase is met again in the second repetition.
    for phase in [
        "base",
        "scoring base",
        "experts/letters",
        "joint",
        "ties",
        "adamerging-task",
        "adamerging-layer-plus-transductive",
        "base",
        "scoring experts",
        "adamerging-layer",
    ] {
        let progress = StopIn::new(phase);
        let stopped = job(cut.path(), &progress);
        assert!(
            matches!(stopped, Err(JobError::Interrupted)),
            "{phase}: {stopped:?}"
        );
    }
    assert_eq!(written(job(cut.path(), &Silent).unwrap()), expected);
    assert_eq!(models(cut.path()), models(whole.path()));
    // Everything is there now, so nothing is trained or scored again.
    let idle = StopIn::new("adamerging-layer");
    assert_eq!(written(job(cut.path(), &idle).unwrap()), expected);
    assert!(!idle.cancelled());
}

#[test]
fn a_stage_that_was_cut_goes_on_with_its_next_step() {
    let whole = tempfile::tempdir().unwrap();
    let expected = written(job(whole.path(), &Silent).unwrap());
    let cut = tempfile::tempdir().unwrap();
    for (phase, file, steps) in [
        ("base", "base.state.safetensors", 12u64),
        ("experts/letters", "experts/letters.state.safetensors", 12),
        ("joint", "joint.state.safetensors", 12),
        ("adamerging-task", "adamerging-task.state.json", 3),
        (
            "adamerging-layer-plus",
            "adamerging-layer-plus.state.json",
            3,
        ),
    ] {
        let half = steps.div_ceil(2);
        let file = cut.path().join("seed-3").join(file);
        let stopped = job(cut.path(), &StopIn::after(half, phase));
        assert!(
            matches!(stopped, Err(JobError::Interrupted)) && file.is_file(),
            "{phase}: {stopped:?}"
        );
        // All that is left, and then the next phase asks for the stop.
        let rest = StopIn::after(steps - half, phase);
        let stopped = job(cut.path(), &rest);
        assert!(matches!(stopped, Err(JobError::Interrupted)), "{phase}");
        assert_eq!(rest.steps(), steps - half, "{phase}");
        assert!(!file.exists(), "{phase}");
    }
    assert_eq!(written(job(cut.path(), &Silent).unwrap()), expected);
    assert_eq!(models(cut.path()), models(whole.path()));
}

#[test]
fn probes_are_fitted_aloud_and_can_be_stopped() {
    let mut config = config();
    config.heads = Heads::Probe(2);
    let run = |folder: &Path, progress: &dyn Progress| {
        let store = Store::open(folder).unwrap();
        fusion("toy", &config, &tasks(), &[3], &store, progress)
    };
    let home = tempfile::tempdir().unwrap();
    let stop = StopIn::after(7, "heads/letters");
    let stopped = run(home.path(), &stop);
    assert!(matches!(stopped, Err(JobError::Interrupted)), "{stopped:?}");
    assert_eq!(stop.steps(), 7);
    // The base is trained, and is not trained again.
    let base = StopIn::after(1, "base");
    run(home.path(), &base).unwrap();
    assert_eq!(base.steps(), 0);
}

#[test]
fn a_job_without_a_folder_finds_the_same() {
    let home = tempfile::tempdir().unwrap();
    let kept = job(home.path(), &Silent).unwrap();
    let free = fusion("toy", &config(), &tasks(), &SEEDS, &Store::none(), &Silent).unwrap();
    for (a, b) in kept.methods.iter().zip(&free.methods) {
        assert_eq!(a.name, b.name);
        assert!((a.mean - b.mean).abs() < 1e-12, "{}", a.name);
    }
}

#[test]
fn measurements_name_stage_and_seed() {
    let home = tempfile::tempdir().unwrap();
    job(home.path(), &Silent).unwrap();
    let metrics = refit::run::read_metrics(home.path()).unwrap();
    let steps = |seed, series: &str| -> Vec<u64> {
        let of = metrics
            .iter()
            .filter(|m| m.seed == Some(seed) && m.series == series);
        of.map(|m| m.step).collect()
    };
    for seed in SEEDS {
        for stage in ["base", "experts/digits", "experts/letters", "joint"] {
            assert_eq!(steps(seed, stage), [10, 12], "{stage}");
        }
        assert_eq!(steps(seed, "adamerging-layer-plus"), [1, 2, 3]);
    }
}

#[test]
fn a_damaged_stage_is_named_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    job(home.path(), &Silent).unwrap();
    let seed = home.path().join("seed-3");
    let damage = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = seed.join(file);
        let before = std::fs::read(&path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        let replace = refit_io::atomic::Overwrite::Replace;
        refit_io::atomic::write_file(&path, &bytes, replace).unwrap();
        let error = job(home.path(), &Silent).unwrap_err();
        refit_io::atomic::write_file(&path, &before, replace).unwrap();
        let JobError::Store(StoreError::Damaged { path, source }) = &error else {
            panic!("{file}: {error:?}");
        };
        assert!(error.hint().unwrap().contains(&path.display().to_string()));
        let stage = path.strip_prefix(&seed).unwrap().display().to_string();
        (stage, source.to_string())
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let nan = |bytes: &mut Vec<u8>| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    let wider = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text
            .replace("\"hidden_size\": 32", "\"hidden_size\": 64")
            .into();
    };
    for (file, change, stage, words) in [
        (
            "base/model.safetensors",
            &cut as &dyn Fn(&mut Vec<u8>),
            "base",
            "model.safetensors",
        ),
        (
            "heads/model.safetensors",
            &nan,
            "heads",
            "holds a value that is not finite",
        ),
        (
            "experts/letters/model.safetensors",
            &nan,
            "experts/letters",
            "not finite",
        ),
        (
            "ties/config.json",
            &wider,
            "ties",
            "describes another model",
        ),
        ("joint/stage.json", &cut, "joint", "cannot understand"),
        (
            "scores/base.json",
            &cut,
            "scores/base.json",
            "cannot understand",
        ),
    ] {
        let (found, said) = damage(file, change);
        assert_eq!(found, stage);
        assert!(said.contains(words), "{file}: {said}");
    }
    std::fs::remove_dir_all(seed.join("heads")).unwrap();
    let error = job(home.path(), &Silent).unwrap_err();
    assert!(
        matches!(error, JobError::Store(StoreError::Damaged { .. })),
        "{error:?}"
    );
}
