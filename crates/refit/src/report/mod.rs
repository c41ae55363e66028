//! `report.html`: one file that says what a run found, what it cost and how to repeat it.
//!
//! The page holds its style and its drawings; it loads nothing, runs no script, and is made from `run.json`,
//! `results.json` and `metrics.jsonl` alone. The same files always give the same page.

mod accuracy;
mod axis;
mod banner;
mod bar;
mod columns;
mod corruption;
mod cost;
mod curves;
mod extraction;
mod fit;
mod format;
mod frame;
mod heat;
mod html;
mod ladder;
mod lines;
mod merge;
mod palette;
mod provenance;
mod scale;
mod sections;
mod strip;
mod summary;
mod table;
mod words;

use crate::run::RunFiles;
use banner::banner;
pub use format::{bytes, duration};
pub(crate) use format::{count, counted, percent, scientific};
use html::Html;
use sections::{Section, sections};
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
    if let Some(fit) = &run.fit {
        return format!("{} · refit {}", fit.data, run.record.verb);
    }
    match &run.outcome {
        Some(outcome) => format!("{} · refit {}", outcome.suite, run.record.verb),
        None => format!("refit {}", run.record.verb),
    }
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
