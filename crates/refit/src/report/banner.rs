//! The top of the page.

use super::{
    format::{bytes, duration},
    html::Html,
    summary::Summary,
    words,
};
use crate::{
    outcome::{MethodResult, Outcome},
    run::RunFiles,
};

/// What the reader must know if nothing else is read.
pub(super) fn banner(h: &mut Html, run: &RunFiles) {
    h.el("p", &[("class", &"kicker")], |h| kicker(h, run));
    if let Some(fit) = &run.fit {
        return super::fit::banner(h, fit);
    }
    // A single merge is compared with nothing.
    let compares = |o: &&Outcome| !o.methods.is_empty() || o.coefficients.is_empty();
    let Some(outcome) = run.outcome.as_ref().filter(compares) else {
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
    if let Some(fit) = &run.fit {
        let seed = run.record.seed.get();
        h.text(format_args!(" · {} · seed {seed}", fit.data));
    }
    h.text(format_args!(" · {date}"));
}

/// A handful of figures in large type.
fn tiles(h: &mut Html, outcome: &Outcome) {
    let summary = Summary::of(outcome);
    let best = summary.hero();
    let mean = |m: Option<&MethodResult>| m.map(|m| words::share(m.mean));
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
