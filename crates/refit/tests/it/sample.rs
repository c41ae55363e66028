//! A run of invented numbers in the shape of a real one, to look at the page and to test it.

use refit::{
    outcome::{
        CoefficientTable, Curve, CurvePoint, MethodKind, MethodResult, Outcome, Phase, Sweep,
        TaskSummary,
    },
    run::{InputFile, Metric, RunFiles, RunRecord},
};
use refit_core::Seed;
use serde_json::json;

const TASKS: [(&str, usize, f64, f64); 8] = [
    ("digits", 10, 0.62, 0.91),
    ("letters", 10, 0.58, 0.88),
    ("shapes", 10, 0.71, 0.93),
    ("textures", 8, 0.80, 0.97),
    ("counting", 8, 0.44, 0.79),
    ("arrows", 8, 0.55, 0.90),
    ("faces", 8, 0.47, 0.82),
    ("scripts", 8, 0.39, 0.66),
];
const CORRUPTIONS: [&str; 7] = [
    "motion-blur",
    "impulse-noise",
    "gaussian-noise",
    "pixelate",
    "spatter",
    "contrast",
    "jpeg",
];

/// Name, label, kind, way from base (0) to expert (1), settings, data.
const METHODS: [(&str, &str, MethodKind, f64, &str, &str); 10] = {
    use MethodKind::{Bound, Merged, Transductive};
    [
        ("base", "Common base", Bound, 0.0, "", "none"),
        (
            "experts",
            "Individual experts",
            Bound,
            1.0,
            "",
            "labelled training images",
        ),
        (
            "joint",
            "Joint training",
            Bound,
            0.93,
            "",
            "labelled training images",
        ),
        ("average", "Simple average", Merged, 0.28, "", "none"),
        (
            "task-arithmetic",
            "Task arithmetic",
            Merged,
            0.41,
            "scale 0.3",
            "labelled validation images",
        ),
        (
            "ties",
            "TIES",
            Merged,
            0.46,
            "keep 0.2, scale 0.4",
            "labelled validation images",
        ),
        (
            "adamerging-task",
            "AdaMerging, task-wise",
            Merged,
            0.5,
            "500 steps",
            "unlabelled images",
        ),
        (
            "adamerging-layer",
            "AdaMerging, layer-wise",
            Merged,
            0.69,
            "500 steps",
            "unlabelled images",
        ),
        (
            "adamerging-layer-plus",
            "AdaMerging++, layer-wise",
            Merged,
            0.73,
            "keep 0.2, 500 steps",
            "unlabelled images",
        ),
        (
            "adamerging-layer-test",
            "AdaMerging, layer-wise, adapted on test images",
            Transductive,
            0.72,
            "500 steps",
            "unlabelled test images",
        ),
    ]
};

/// A value in `[0, 1)` that looks like chance and is none.
fn wobble(a: usize, b: usize) -> f64 {
    let hash = (a * 2_654_435_761 + b * 40_503 + 12_345) % 10_007;
    hash as f64 / 10_007.0
}

pub(crate) fn outcome() -> Outcome {
    Outcome {
        suite: "invented numbers".into(),
        seeds: vec![0, 1, 2],
        tasks: tasks(),
        methods: METHODS.iter().enumerate().map(|(i, _)| method(i)).collect(),
        coefficients: coefficients(),
        curves: curves(),
        sweeps: sweeps(),
        setup: vec![
            "The base is a vision transformer trained on the train parts of all eight tasks."
                .into(),
            "Each head was fitted once on the base and then frozen.".into(),
        ],
        caveats: vec!["Every number on this page was invented to test the page.".into()],
        phases: phases(),
        seconds: 156.4,
        peak_bytes: 412 << 20,
    }
}

fn tasks() -> Vec<TaskSummary> {
    let task = |&(name, classes, _, _): &(&str, usize, f64, f64)| TaskSummary {
        name: name.into(),
        classes,
        sizes: [6000, 1000, 2000],
        constant_guess: 1.0 / classes as f64,
    };
    TASKS.iter().map(task).collect()
}

fn method(i: usize) -> MethodResult {
    let (name, label, kind, way, settings, data) = METHODS[i];
    let per_task: std::collections::BTreeMap<String, f64> = TASKS
        .iter()
        .enumerate()
        .map(|(k, (task, _, low, high))| {
            let way = if way > 0.0 && way < 1.0 {
                way + 0.16 * (wobble(i, k) - 0.5)
            } else {
                way
            };
            ((*task).to_owned(), low + way * (high - low))
        })
        .collect();
    let mean = per_task.values().sum::<f64>() / 8.0;
    let corrupted: std::collections::BTreeMap<String, f64> = CORRUPTIONS
        .iter()
        .enumerate()
        .map(|(c, name)| {
            (
                (*name).to_owned(),
                mean * (0.6 + 0.25 * wobble(c, 3) + 0.05 * wobble(i, c)),
            )
        })
        .collect();
    let per_seed = [-1.0, 0.2, 0.8].map(|s| mean + s * 0.004 * (1.0 + wobble(i, 99)));
    MethodResult {
        name: name.into(),
        label: label.into(),
        kind,
        mean,
        deviation: 0.004 * (1.0 + wobble(i, 99)) * 0.92,
        per_seed: per_seed.into(),
        corrupted_mean: Some(corrupted.values().sum::<f64>() / 7.0),
        per_corruption: corrupted,
        per_task,
        settings: settings.into(),
        data: data.into(),
        seconds: 0.3 + 20.0 * way * way,
    }
}

fn coefficients() -> Vec<CoefficientTable> {
    const PARTS: [&str; 12] = [
        "norm1.weight",
        "norm1.bias",
        "attn.qkv.weight",
        "attn.qkv.bias",
        "attn.proj.weight",
        "attn.proj.bias",
        "norm2.weight",
        "norm2.bias",
        "mlp.fc1.weight",
        "mlp.fc1.bias",
        "mlp.fc2.weight",
        "mlp.fc2.bias",
    ];
    let mut groups: Vec<String> = [
        "cls_token",
        "pos_embed",
        "patch_embed.weight",
        "patch_embed.bias",
    ]
    .map(String::from)
    .into();
    for block in 0..6 {
        groups.extend(PARTS.iter().map(|part| format!("blocks.{block}.{part}")));
    }
    groups.extend(["norm.weight".into(), "norm.bias".into()]);
    let depth = groups.len() as f64;
    let values = |salt: usize| -> Vec<Vec<f64>> {
        (0..groups.len())
            .map(|g| {
                let rise = 0.15 + 0.35 * g as f64 / depth;
                (0..8)
                    .map(|k| (rise + 0.5 * (wobble(g + salt, k) - 0.45)).clamp(0.0, 1.0))
                    .collect()
            })
            .collect()
    };
    let task_wise = CoefficientTable {
        method: "adamerging-task".into(),
        groups: vec!["all".into()],
        values: vec![(0..8).map(|k| 0.15 + 0.3 * wobble(7, k)).collect()],
    };
    let layer = |method: &str, salt| CoefficientTable {
        method: method.into(),
        groups: groups.clone(),
        values: values(salt),
    };
    vec![
        task_wise,
        layer("adamerging-layer", 0),
        layer("adamerging-layer-plus", 77),
    ]
}

fn curves() -> Vec<Curve> {
    let curve = |(i, method): (usize, &str)| {
        let point = |n: usize| {
            let t = n as f64 / 50.0;
            CurvePoint {
                step: 10 * n as u64,
                entropy: 0.55 + (0.5 - 0.08 * i as f64) * (-2.5 * t).exp() + 0.02 * wobble(n, i),
                marginal: 0.97 - 0.02 * t + 0.004 * wobble(n, i + 5),
                accuracy: n
                    .is_multiple_of(5)
                    .then(|| 0.69 + (0.03 + 0.025 * i as f64) * (1.0 - (-3.0 * t).exp())),
            }
        };
        Curve {
            method: method.into(),
            points: (0..=50).map(point).collect(),
        }
    };
    [
        "adamerging-task",
        "adamerging-layer",
        "adamerging-layer-plus",
    ]
    .into_iter()
    .enumerate()
    .map(curve)
    .collect()
}

fn sweeps() -> Vec<Sweep> {
    let sweep = |method: &str, top: f64, height: f64| Sweep {
        method: method.into(),
        points: (0..=10)
            .map(|n| f64::from(n) / 10.0)
            .map(|x| (x, height - 0.6 * (x - top).powi(2)))
            .collect(),
    };
    vec![
        sweep("task-arithmetic", 0.3, 0.71),
        sweep("ties", 0.4, 0.73),
    ]
}

fn phases() -> Vec<Phase> {
    let phase = |(name, seconds, mib): (&str, f64, u64)| Phase {
        name: name.into(),
        seconds,
        peak_bytes: mib << 20,
    };
    [
        ("data", 1.1, 90),
        ("base", 44.0, 310),
        ("experts", 61.5, 355),
        ("joint", 20.0, 355),
        ("merge and tune", 4.2, 380),
        ("adapt", 19.7, 412),
        ("evaluate", 5.9, 412),
    ]
    .map(phase)
    .into()
}

pub(crate) fn run(outcome: Outcome) -> RunFiles {
    let settings = json!({ "quick": false, "seeds": 3, "steps": 500, "data": null });
    let mut record = RunRecord::start("demo", "cpu", 2, Seed::new(0), settings);
    record.command = ["refit", "demo", "--seeds", "3", "--out", "runs/demo"]
        .map(String::from)
        .into();
    record.seconds = outcome.seconds;
    record.peak_bytes = Some(outcome.peak_bytes);
    record.inputs = vec![InputFile {
        path: "data/img28_mnist.npz".into(),
        bytes: 1_572_864,
        sha256: "790f4e7a6da7e3ffbf1d9e48e0ed363cfa9ee786f2c53c41ff7b066d44926a0c".into(),
        sampled: false,
        modified: None,
        files: None,
    }];
    let metric = |series: &str, n: usize, salt: usize| Metric {
        series: series.into(),
        seed: Some(0),
        step: 20 * n as u64,
        values: vec![
            (
                "loss".into(),
                0.4 + 2.0 * (-(n as f64) / 9.0).exp() + 0.1 * wobble(n, salt),
            ),
            (
                "learning-rate".into(),
                1e-3 * (1.0 + (n as f64 / 10.0).cos()) / 2.0,
            ),
        ],
    };
    let series = ["base", "experts/digits", "experts/letters"];
    let metrics = series
        .iter()
        .enumerate()
        .flat_map(|(s, name)| (0..30).map(move |n| metric(name, n, s)))
        .collect();
    RunFiles {
        fit: None,
        extraction: None,
        record,
        outcome: Some(outcome),
        metrics,
    }
}
