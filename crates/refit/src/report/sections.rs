//! What the page shows, section by section.

use super::{
    accuracy, corruption, cost, curves, extraction, fit, heat, html::Html, ladder, merge,
    provenance,
};
use crate::{
    outcome::{MethodKind, Outcome},
    run::RunFiles,
};
use std::collections::BTreeSet;

/// One section: its anchor, its heading, the sentence under it and what it shows.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    lead: &'static str,
    seeds: Seeds,
    body: fn(&mut Html, &RunFiles),
}

/// Which repetitions a section speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seeds {
    /// All of them, or none.
    All,
    /// The first: a mean over runs that go different ways would be the picture of none.
    First,
}

impl Section {
    pub(super) fn render(&self, h: &mut Html, run: &RunFiles) {
        h.el("section", &[("id", &self.id)], |h| {
            h.leaf("h2", &[], self.title);
            if !self.lead.is_empty() {
                h.leaf("p", &[("class", &"lead")], self.lead);
            }
            if self.seeds == Seeds::First {
                first_seed(h, run);
            }
            (self.body)(h, run);
        });
        h.newline();
    }
}

/// Says that what follows is of one seed, where there are several.
fn first_seed(h: &mut Html, run: &RunFiles) {
    let seeds: Vec<u64> = match &run.outcome {
        Some(outcome) => outcome.seeds.clone(),
        // A run that is not finished has measurements only.
        None => run.metrics.iter().filter_map(|m| m.seed).collect(),
    };
    let count = seeds.iter().collect::<BTreeSet<_>>().len();
    if let (Some(first), 2..) = (seeds.first(), count) {
        let words = format_args!("Seed {first} alone, the first of {count}.");
        h.leaf("p", &[("class", &"note first-seed")], words);
    }
}

/// The sections for which there is something to show, in order.
pub(super) fn sections(run: &RunFiles) -> Vec<Section> {
    let outcome = run.outcome.as_ref();
    let has = |test: fn(&Outcome) -> bool| outcome.is_some_and(test);
    let fit = run.fit.is_some();
    let sampled = run.fit.as_ref().is_some_and(|_| fit::sampled(run));
    let candidates = [
        (fit, FOUND),
        (fit, WAY),
        (sampled, SAMPLES),
        (fit, WORK),
        (!merge::steps(&run.record).is_empty(), MERGE),
        (merge::is_of_adapters(&run.record), ADAPTERS),
        (run.extraction.is_some(), EXTRACTED),
        (has(|o| !o.methods.is_empty()), ACCURACY),
        (has(|o| !o.coefficients.is_empty()), COEFFICIENTS),
        (has(|o| !o.curves.is_empty()), ADAPTATION),
        (has(|o| !o.sweeps.is_empty()), SWEEPS),
        (has(corruption::measured), ROBUSTNESS),
        (!curves::of_training(run).is_empty(), TRAINING),
        (
            has(|o| !o.phases.is_empty() || o.methods.iter().any(|m| m.kind != MethodKind::Bound)),
            COST,
        ),
        (has(|o| !o.methods.is_empty() || !o.setup.is_empty()), SETUP),
        (has(|o| !o.caveats.is_empty()), CAVEATS),
        (true, RECORD),
        (true, REPRODUCE),
    ];
    candidates
        .into_iter()
        .filter(|(shown, _)| *shown)
        .map(|(_, section)| section)
        .collect()
}

/// Runs `body` on the outcome, which the choice of sections made sure of.
fn with_outcome(h: &mut Html, run: &RunFiles, body: impl FnOnce(&mut Html, &Outcome)) {
    if let Some(outcome) = &run.outcome {
        body(h, outcome);
    }
}

const FOUND: Section = Section {
    id: "found",
    title: "What was found",
    lead: "Loss and gradient are those of all rows. A certificate says that no gradient is longer and no curvature lower than its bounds, with its confidence.",
    seeds: Seeds::All,
    body: fit::found,
};
const WAY: Section = Section {
    id: "way",
    title: "On the way",
    lead: "Against work, which is the same on every machine, and against time, which is not. The gap is the distance to the lowest loss that any solver of this run saw.",
    seeds: Seeds::All,
    body: fit::way,
};
const SAMPLES: Section = Section {
    id: "samples",
    title: "Samples",
    lead: "Rows that each estimate was made of, trial by trial.",
    seeds: Seeds::All,
    body: fit::samples,
};
const WORK: Section = Section {
    id: "work",
    title: "Work",
    lead: "A propagation is one row, one pass through the model, forward or backward. Values of a row cost one, a gradient two, what a Hessian keeps two, and each product with it two more; trials that were taken back, certificates and probabilities of draws are charged.",
    seeds: Seeds::All,
    body: fit::work,
};
const MERGE: Section = Section {
    id: "merge",
    title: "What was merged",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| merge::recipes(h, &run.record),
};
const ADAPTERS: Section = Section {
    id: "merge",
    title: "What was merged",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| merge::adapters(h, &run.record),
};
const EXTRACTED: Section = Section {
    id: "extracted",
    title: "What was extracted",
    lead: "What factors do not hold of a change is lost: the length of the difference beside the length of the change. What goes whole or as a shift loses nothing.",
    seeds: Seeds::All,
    body: |h, run| {
        if let Some(found) = &run.extraction {
            extraction::tensors(h, found);
        }
    },
};
const ACCURACY: Section = Section {
    id: "accuracy",
    title: "Accuracy",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| {
        with_outcome(h, run, |h, outcome| {
            h.leaf("p", &[("class", &"lead")], "Mean over tasks. Dashed lines: the common base and the separate experts. Squares are bounds, discs one merged model, rings one merged model that saw the test images.");
            ladder::means(h, outcome);
            accuracy::table(h, outcome);
            h.leaf("h3", &[], "Task by task");
            h.leaf("p", &[("class", &"note")], "The bar runs from the base to the task's own expert; the large disc and the figure are the model of the headline, which is chosen by a fixed rule, not by score.");
            ladder::tasks(h, outcome);
        });
    },
};
const COEFFICIENTS: Section = Section {
    id: "coefficients",
    title: "What was learned",
    lead: "How much of each expert's change the merged model takes on, by layer and task.",
    seeds: Seeds::First,
    body: |h, run| with_outcome(h, run, heat::panels),
};
const ADAPTATION: Section = Section {
    id: "adaptation",
    title: "Adaptation",
    lead: "Entropy is what is minimised. The spread of predictions (the entropy of the average prediction) watches for collapse: near 0 the model gives one answer to everything. Validation accuracy, where it is shown, was not used.",
    seeds: Seeds::First,
    body: |h, run| with_outcome(h, run, curves::adaptation),
};
const SWEEPS: Section = Section {
    id: "scales",
    title: "Scales",
    lead: "Methods with one scale for all layers are tuned on labelled validation images; this is how much the choice matters.",
    seeds: Seeds::First,
    body: |h, run| with_outcome(h, run, curves::sweeps),
};
const ROBUSTNESS: Section = Section {
    id: "robustness",
    title: "Robustness",
    lead: "Accuracy in percent on corrupted test images, mean over classes and tasks.",
    seeds: Seeds::All,
    body: |h, run| {
        corruption::how(h, &run.record);
        with_outcome(h, run, corruption::bars);
    },
};
const TRAINING: Section = Section {
    id: "training",
    title: "Training",
    lead: "",
    seeds: Seeds::First,
    body: curves::training,
};
const COST: Section = Section {
    id: "cost",
    title: "Cost",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| with_outcome(h, run, cost::tables),
};
const SETUP: Section = Section {
    id: "setup",
    title: "Set-up",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| {
        with_outcome(h, run, |h, outcome| {
            provenance::sentences(h, &outcome.setup);
            provenance::tasks(h, outcome);
        });
    },
};
const CAVEATS: Section = Section {
    id: "caveats",
    title: "Before you quote a number",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| {
        with_outcome(h, run, |h, outcome| {
            provenance::sentences(h, &outcome.caveats);
        });
    },
};
const RECORD: Section = Section {
    id: "record",
    title: "Run record",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| provenance::record(h, &run.record),
};
const REPRODUCE: Section = Section {
    id: "reproduce",
    title: "Repeat it",
    lead: "",
    seeds: Seeds::All,
    body: |h, run| provenance::reproduce(h, &run.record),
};
