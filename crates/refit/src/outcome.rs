//! What a fusion job found: the data behind its table, its page and its JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a fusion job reports; `results.json` in its run folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Name of the set of tasks: `generated`, or the folder that was given.
    pub suite: String,
    /// Seeds of the repetitions; every figure is a mean over them.
    pub seeds: Vec<u64>,
    /// The tasks, in the order of every table.
    pub tasks: Vec<TaskSummary>,
    /// What was compared, in the order of the table.
    pub methods: Vec<MethodResult>,
    /// Learned coefficients of each method that has some, of the first seed.
    pub coefficients: Vec<CoefficientTable>,
    /// How each adaptive method went, for the first seed.
    pub curves: Vec<Curve>,
    /// Accuracy on labelled validation images over the scale of each tuned method, for the first seed.
    pub sweeps: Vec<Sweep>,
    /// How the base and its heads came to be, in plain sentences.
    pub setup: Vec<String>,
    /// What readers should know before they quote a number, in plain sentences.
    pub caveats: Vec<String>,
    /// Time and memory of each phase, in order, of the first seed.
    pub phases: Vec<Phase>,
    /// Wall-clock time of everything, in seconds.
    pub seconds: f64,
    /// Largest resident memory of the process, in bytes.
    pub peak_bytes: u64,
}

/// One task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// Its name.
    pub name: String,
    /// Number of classes.
    pub classes: usize,
    /// Images for training, validation and test.
    pub sizes: [usize; 3],
    /// What a constant guess reaches: one over the classes that the test images have.
    pub constant_guess: f64,
}

/// Balanced accuracy of one method: the mean over classes of the share that is right; in `[0, 1]`, means over seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// The name scripts use, such as `adamerging-layer`.
    pub name: String,
    /// What tables print, such as `AdaMerging, layer-wise`.
    pub label: String,
    /// Which part of the table it belongs to.
    pub kind: MethodKind,
    /// Mean over tasks of test accuracy.
    pub mean: f64,
    /// Standard deviation over seeds of that mean; 0 with one seed.
    pub deviation: f64,
    /// Mean over tasks for each seed.
    pub per_seed: Vec<f64>,
    /// Test accuracy by task name.
    pub per_task: BTreeMap<String, f64>,
    /// Mean over tasks and corruptions, where it was measured.
    pub corrupted_mean: Option<f64>,
    /// Mean over tasks by corruption name.
    pub per_corruption: BTreeMap<String, f64>,
    /// Settings chosen on validation data, such as `scale 0.3`.
    pub settings: String,
    /// What it needs to see: `none`, `unlabelled images`, `labelled validation images`, `labelled training images`.
    pub data: String,
    /// Seconds it took beyond the experts.
    pub seconds: f64,
}

/// The part of the table a method belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodKind {
    /// A lower or an upper bound: base, individual experts, joint training.
    Bound,
    /// One merged model.
    #[default]
    Merged,
    /// One merged model whose coefficients saw the (unlabelled) test images, as in the paper.
    Transductive,
}

/// Learned coefficients: one row for each group of tensors, one column for each task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoefficientTable {
    /// The method's name.
    pub method: String,
    /// Group names, from the first layer to the last.
    pub groups: Vec<String>,
    /// `values[g][k]`: coefficient of task `k` in group `g`.
    pub values: Vec<Vec<f64>>,
}

/// Trace of an adaptive method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The method's name.
    pub method: String,
    /// Points in order of steps.
    pub points: Vec<CurvePoint>,
}

/// One point of a [`Curve`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimiser step.
    pub step: u64,
    /// Mean prediction entropy over tasks, in nats.
    pub entropy: f64,
    /// Mean over tasks of the entropy of the average prediction, as a share of its maximum; near 0 is collapse.
    pub marginal: f64,
    /// Mean validation accuracy over tasks, where it was measured at this step.
    pub accuracy: Option<f64>,
}

/// Validation accuracy of a method over its scale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The method's name.
    pub method: String,
    /// Pairs of scale and mean validation accuracy.
    pub points: Vec<(f64, f64)>,
}

/// Cost of one phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name, such as `experts`.
    pub name: String,
    /// Wall-clock time in seconds.
    pub seconds: f64,
    /// Largest resident memory up to its end, in bytes.
    pub peak_bytes: u64,
}
