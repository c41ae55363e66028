//! Repetitions to one outcome.

use super::{
    AdaptOn, FusionConfig, Heads,
    found::{Found, Scored},
    scoring::mean,
};
use crate::outcome::{MethodKind, MethodResult, Outcome, TaskSummary};
use refit_io::data::{Corruption, Task};
use refit_merge::AdaMergingConfig;
use refit_nn::ImageConfig;
use std::collections::BTreeMap;

/// What tables say about a method: label, part of the table, data it needs.
fn about(name: &str) -> (&'static str, MethodKind, &'static str) {
    use MethodKind::{Bound, Merged, Transductive};
    const UNLABELLED: &str = "unlabelled images";
    const TUNED: &str = "labelled validation images";
    match name {
        "base" => ("Base", Bound, "none"),
        "experts" => (
            "Experts, each on its own task",
            Bound,
            "labelled training images",
        ),
        "joint" => ("Joint training", Bound, "labelled training images"),
        "average" => ("Average", Merged, "none"),
        "task-arithmetic" => ("Task arithmetic, tuned", Merged, TUNED),
        "ties" => ("TIES, tuned", Merged, TUNED),
        "adamerging-task" => ("AdaMerging, task-wise", Merged, UNLABELLED),
        "adamerging-layer" => ("AdaMerging, layer-wise", Merged, UNLABELLED),
        "adamerging-layer-plus" => ("AdaMerging++, layer-wise", Merged, UNLABELLED),
        "adamerging-layer-transductive" => (
            "AdaMerging, layer-wise, on test images",
            Transductive,
            UNLABELLED,
        ),
        _ => (
            "AdaMerging++, layer-wise, on test images",
            Transductive,
            UNLABELLED,
        ),
    }
}

pub(super) fn outcome(
    suite: &str,
    config: &FusionConfig,
    tasks: &[Task],
    seeds: &[u64],
    mut runs: Vec<Found>,
) -> Outcome {
    let count = runs.first().map_or(0, |run| run.methods.len());
    let methods = (0..count)
        .map(|at| {
            let each: Vec<&Scored> = runs.iter().map(|run| &run.methods[at]).collect();
            method(tasks, &each)
        })
        .collect();
    let collapses: Vec<String> = runs.iter().flat_map(|run| run.collapses.clone()).collect();
    let first = if runs.is_empty() {
        Found::default()
    } else {
        runs.swap_remove(0)
    };
    Outcome {
        suite: suite.to_owned(),
        seeds: seeds.to_vec(),
        tasks: tasks.iter().map(summarise).collect(),
        methods,
        coefficients: first.coefficients,
        curves: first.curves,
        sweeps: first.sweeps,
        setup: setup(config),
        caveats: caveats(config, seeds, &collapses),
        phases: first.phases,
        seconds: 0.0,
        peak_bytes: 0,
    }
}

fn summarise(task: &Task) -> TaskSummary {
    let test = task.test();
    let present = test.class_counts().into_iter().filter(|&n| n > 0).count();
    TaskSummary {
        name: task.name().to_owned(),
        classes: task.class_count(),
        sizes: [task.train().len(), task.val().len(), test.len()],
        constant_guess: 1.0 / present.max(1) as f64,
    }
}

fn method(tasks: &[Task], runs: &[&Scored]) -> MethodResult {
    let average = |value: &dyn Fn(&Scored) -> f64| {
        mean(&runs.iter().map(|run| value(run)).collect::<Vec<_>>())
    };
    let first = runs[0];
    let (label, kind, data) = about(&first.name);
    let per_seed: Vec<f64> = runs.iter().map(|run| mean(&run.per_task)).collect();
    let per_corruption: BTreeMap<String, f64> = Corruption::ALL
        .into_iter()
        .take(first.per_corruption.len())
        .enumerate()
        .map(|(c, corruption)| {
            (
                corruption.name().to_owned(),
                average(&|r| r.per_corruption[c]),
            )
        })
        .collect();
    let corrupted: Vec<f64> = per_corruption.values().copied().collect();
    let mut settings: Vec<&str> = runs.iter().map(|run| run.settings.as_str()).collect();
    settings.dedup();
    MethodResult {
        name: first.name.clone(),
        label: label.to_owned(),
        kind,
        mean: mean(&per_seed),
        deviation: deviation(&per_seed),
        per_seed,
        per_task: tasks
            .iter()
            .enumerate()
            .map(|(k, task)| (task.name().to_owned(), average(&|r| r.per_task[k])))
            .collect(),
        corrupted_mean: (!corrupted.is_empty()).then(|| mean(&corrupted)),
        per_corruption,
        settings: settings.join(", "),
        data: data.to_owned(),
        seconds: average(&|r| r.seconds),
    }
}

/// Sample standard deviation; 0 for one value.
fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    let square: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    if values.len() < 2 {
        0.0
    } else {
        (square / (values.len() - 1) as f64).sqrt()
    }
}

fn architecture(encoder: &ImageConfig) -> String {
    match encoder {
        ImageConfig::Vit(vit) => format!(
            "a vision transformer ({} blocks of width {}, patches of {} pixels)",
            vit.num_hidden_layers, vit.hidden_size, vit.patch_size
        ),
        ImageConfig::Mlp(mlp) => format!("a perceptron with hidden layers of {:?}", mlp.hidden),
        other => format!("a `{}`", other.family()),
    }
}

fn setup(config: &FusionConfig) -> Vec<String> {
    let part = match config.adapt_on {
        AdaptOn::Train => "training",
        AdaptOn::Val => "validation",
    };
    let heads = match config.heads {
        Heads::Trained => "trained with the base, one unit vector per class".to_owned(),
        Heads::Prototypes(n) => {
            format!("the mean directions of the base's features over {n} training images per class")
        }
        Heads::Probe(n) => format!(
            "linear probes: logistic regression on the base's features of {n} training images per class, each \
             multiplied by the factor that suits other training images best, where there are enough"
        ),
    };
    vec![
        format!(
            "The base is {}, trained from nothing for {} steps on {}.",
            architecture(&config.encoder),
            config.base.steps,
            base_data(config),
        ),
        format!(
            "The heads are {heads}, and frozen from then on. Features come to them with length 1; their rows carry a \
             factor of {}, so that they can be sure of an answer.",
            config.head_scale
        ),
        format!(
            "Each expert starts from the base and is fine-tuned for {} steps on the whole training part of its task; \
             the joint model sees the training parts of all tasks for {} steps.",
            config.expert.steps, config.joint.steps
        ),
        expert_rates(config),
        format!(
            "Scales of task arithmetic and TIES are chosen on {} labelled validation images per task; coefficients \
             of AdaMerging are learned in {} steps on {part} images without their labels.",
            config.tuning_images, config.adamerging.steps
        ),
        "Accuracy is measured on test images, which decide nothing.".to_owned(),
    ]
}

fn expert_rates(config: &FusionConfig) -> String {
    let (rate, spread) = (config.expert.rate, config.expert_spread);
    if spread <= 1.0 {
        return format!("All experts have a learning rate of {rate:.1e}.");
    }
    format!(
        "Experts are unlike each other, as models from several hands are: their learning rates lie between {:.1e} and \
         {:.1e}, dealt out by the seed.",
        rate / spread,
        rate * spread
    )
}

fn base_data(config: &FusionConfig) -> String {
    let labelled = format!(
        "{} labelled training images of every task",
        config.base_images
    );
    let generated = format!("{} images of each generated task", config.auxiliary_images);
    match (config.base_images, config.auxiliary_images) {
        (0, _) => generated,
        (_, 0) => labelled,
        _ => format!("{labelled} and {generated}"),
    }
}

fn caveats(config: &FusionConfig, seeds: &[u64], collapses: &[String]) -> Vec<String> {
    let mut caveats = Vec::new();
    if seeds.len() < 3 {
        caveats.push(format!(
            "{} repetition: differences of a point or two may be chance; use `--seeds 3` before you conclude.",
            seeds.len()
        ));
    }
    let told = |c: &AdaMergingConfig| {
        format!(
            "{} steps at rate {} with {} batches of {} images of each task",
            c.steps, c.learning_rate, c.batches, c.batch_size
        )
    };
    let (ours, authors) = (told(&config.adamerging), told(&AdaMergingConfig::default()));
    if ours != authors {
        caveats.push(format!(
            "AdaMerging ran for {ours}; the authors' code: {authors}."
        ));
    }
    if config.transductive {
        caveats.push(
            "Rows marked `on test images` learned their coefficients on the images they are scored on, as the paper \
             does; all other rows did not."
                .to_owned(),
        );
    }
    caveats.extend(
        collapses
            .iter()
            .map(|c| format!("Predictions collapsed: {c}.")),
    );
    caveats
}
