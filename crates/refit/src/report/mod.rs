//! `report.html`: one file that says what a run found, what it cost and how to repeat it.
//!
//! The page holds its style and its drawings; it loads nothing, runs no script, and is made from `run.json`,
//! `results.json` and `metrics.jsonl` alone. The same files always give the same page.

mod accuracy;
mod corruption;
mod cost;
mod curves;
mod format;
mod heat;
mod html;
mod ladder;
mod lines;
mod palette;
mod provenance;
mod scale;
mod strip;
mod summary;
mod table;
mod words;

use crate::{
    outcome::{MethodKind, Outcome},
    run::{RunFiles, RunRecord},
};
pub(crate) use format::count;
pub use format::{bytes, duration};
use html::Html;
use summary::Summary;
pub use table::{Style, text_table};

/// Nothing may be loaded and nothing may run: should a name ever slip through the escaping, it still does nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Makes the page of a run.
pub fn render(run: &RunFiles) -> String {
    let sections = sections(run);
    let mut h = Html::default();
    h.doctype().el("html", &[("lang", &"en")], |h| {
        head(h, run);
        h.newline().el("body", &[], |h| {
            h.el("header", &[], |h| banner(h, run));
            navigation(h, &sections);
            h.newline().el("main", &[], |h| {
                for section in &sections {
                    section.render(h, run);
                }
            });
            h.el("footer", &[], |h| {
                h.text(format_args!(
                    "refit {} · {}",
                    run.record.refit, run.record.finished
                ));
            });
        });
    });
    h.newline();
    h.finish()
}

fn head(h: &mut Html, run: &RunFiles) {
    h.el("head", &[], |h| {
        h.empty("meta", &[("charset", &"utf-8")]);
        h.empty(
            "meta",
            &[
                ("http-equiv", &"Content-Security-Policy"),
                ("content", &POLICY),
            ],
        );
        h.empty(
            "meta",
            &[
                ("name", &"viewport"),
                ("content", &"width=device-width, initial-scale=1"),
            ],
        );
        h.empty(
            "meta",
            &[("name", &"color-scheme"), ("content", &"light dark")],
        );
        h.leaf("title", &[], title(run));
        h.style(include_str!("style.css"));
    });
}

fn title(run: &RunFiles) -> String {
    match &run.outcome {
        Some(outcome) => format!("{} · refit {}", outcome.suite, run.record.verb),
        None => format!("refit {}", run.record.verb),
    }
}

/// What the reader must know if nothing else is read.
fn banner(h: &mut Html, run: &RunFiles) {
    h.el("p", &[("class", &"kicker")], |h| kicker(h, run));
    let Some(outcome) = &run.outcome else {
        h.leaf(
            "h1",
            &[],
            format_args!("refit {}: {}", run.record.verb, run.record.stop),
        );
        return;
    };
    let headline = words::headline(outcome);
    h.leaf("h1", &[], headline.title);
    for line in &headline.lines {
        h.leaf("p", &[("class", &"lead")], line);
    }
    tiles(h, outcome);
}

fn kicker(h: &mut Html, run: &RunFiles) {
    let date = run.record.finished.split('T').next().unwrap_or_default();
    h.leaf("strong", &[], "refit");
    h.text(format_args!(" {}", run.record.verb));
    if let Some(outcome) = &run.outcome {
        let seeds: Vec<String> = outcome.seeds.iter().map(ToString::to_string).collect();
        let plural = if seeds.len() == 1 { "seed" } else { "seeds" };
        h.text(format_args!(
            " · {} · {plural} {}",
            outcome.suite,
            seeds.join(", ")
        ));
    }
    h.text(format_args!(" · {date}"));
}

/// A handful of figures in large type.
fn tiles(h: &mut Html, outcome: &Outcome) {
    let summary = Summary::of(outcome);
    let best = summary.hero();
    let mean = |m: Option<&crate::outcome::MethodResult>| m.map(|m| words::share(m.mean));
    let tiles = [
        ("Common base", mean(summary.base)),
        ("Merged model", mean(best)),
        ("Joint training", mean(summary.joint)),
        ("Separate experts", mean(summary.experts)),
        (
            "Gap closed",
            best.and_then(|m| summary.recovered(m.mean))
                .map(words::whole),
        ),
        ("Time", Some(duration(outcome.seconds))),
        (
            "Peak memory",
            (outcome.peak_bytes > 0).then(|| bytes(outcome.peak_bytes)),
        ),
    ];
    h.el("dl", &[("class", &"tiles")], |h| {
        for (name, value) in tiles {
            let Some(value) = value else { continue };
            let class = if name == "Merged model" {
                "tile hero"
            } else {
                "tile"
            };
            h.el("div", &[("class", &class)], |h| {
                h.leaf("dt", &[], name).leaf("dd", &[], value);
            });
        }
    });
}

fn navigation(h: &mut Html, sections: &[Section]) {
    h.el("nav", &[("aria-label", &"Sections")], |h| {
        for section in sections {
            h.leaf(
                "a",
                &[("href", &format_args!("#{}", section.id))],
                section.title,
            )
            .text(" ");
        }
    });
}

/// One section: its anchor, its heading, the sentence under it and what it shows.
struct Section {
    id: &'static str,
    title: &'static str,
    lead: &'static str,
    body: fn(&mut Html, &RunFiles),
}

impl Section {
    fn render(&self, h: &mut Html, run: &RunFiles) {
        h.el("section", &[("id", &self.id)], |h| {
            h.leaf("h2", &[], self.title);
            if !self.lead.is_empty() {
                h.leaf("p", &[("class", &"lead")], self.lead);
            }
            (self.body)(h, run);
        });
        h.newline();
    }
}

/// The sections for which there is something to show, in order.
fn sections(run: &RunFiles) -> Vec<Section> {
    let outcome = run.outcome.as_ref();
    let has = |test: fn(&Outcome) -> bool| outcome.is_some_and(test);
    let candidates = [
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
        (has(|o| !o.tasks.is_empty() || !o.setup.is_empty()), SETUP),
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

const ACCURACY: Section = Section {
    id: "accuracy",
    title: "Accuracy",
    lead: "",
    body: |h, run| {
        with_outcome(h, run, |h, outcome| {
            h.leaf("p", &[("class", &"lead")], "Mean over tasks. Dashed lines: the common base and the separate experts. Squares are bounds, discs one merged model, rings one merged model that saw the test images.");
            ladder::means(h, outcome);
            accuracy::table(h, outcome);
            h.leaf("h3", &[], "Task by task");
            h.leaf("p", &[("class", &"note")], "The bar runs from the base to the task's own expert; the large disc and the figure are the model of the headline.");
            ladder::tasks(h, outcome);
        });
    },
};
const COEFFICIENTS: Section = Section {
    id: "coefficients",
    title: "What was learned",
    lead: "How much of each expert's change the merged model takes on, by layer and task (first seed).",
    body: |h, run| with_outcome(h, run, heat::panels),
};
const ADAPTATION: Section = Section {
    id: "adaptation",
    title: "Adaptation",
    lead: "Entropy is what is minimised. The spread of predictions (the entropy of the average prediction) watches for collapse: near 0 the model gives one answer to everything. Validation accuracy is shown, never used.",
    body: |h, run| with_outcome(h, run, curves::adaptation),
};
const SWEEPS: Section = Section {
    id: "scales",
    title: "Scales",
    lead: "Methods with one scale for all layers are tuned on labelled validation images; this is how much the choice matters.",
    body: |h, run| with_outcome(h, run, curves::sweeps),
};
const ROBUSTNESS: Section = Section {
    id: "robustness",
    title: "Robustness",
    lead: "Accuracy in percent on corrupted test images, mean over tasks.",
    body: |h, run| with_outcome(h, run, corruption::bars),
};
const TRAINING: Section = Section {
    id: "training",
    title: "Training",
    lead: "",
    body: curves::training,
};
const COST: Section = Section {
    id: "cost",
    title: "Cost",
    lead: "",
    body: |h, run| with_outcome(h, run, cost::tables),
};
const SETUP: Section = Section {
    id: "setup",
    title: "Set-up",
    lead: "",
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
    body: |h, run| provenance::record(h, &run.record),
};
const REPRODUCE: Section = Section {
    id: "reproduce",
    title: "Repeat it",
    lead: "",
    body: |h, run| reproduce(h, &run.record),
};

fn reproduce(h: &mut Html, record: &RunRecord) {
    provenance::reproduce(h, record);
}
