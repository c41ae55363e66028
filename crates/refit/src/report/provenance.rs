//! How the numbers came to be: tasks, set-up, caveats, run record, and how to repeat the run.

use super::{
    cost::head,
    format::{bytes, count, duration, percent},
    html::Html,
};
use crate::{outcome::Outcome, run::RunRecord};

/// More input files than this are left to `run.json`: folders of pictures have many.
const MAX_INPUTS: usize = 50;

/// Appends the table of tasks.
pub(crate) fn tasks(h: &mut Html, outcome: &Outcome) {
    h.scroll("Tasks", |h| {
        h.el("table", &[], |h| {
            h.leaf(
                "caption",
                &[],
                "Tasks. Constant guessing of the largest test class is the floor of each.",
            );
            head(
                h,
                &[
                    "Task",
                    "Classes",
                    "Train",
                    "Validation",
                    "Test",
                    "Constant guess, %",
                ],
            );
            h.el("tbody", &[], |h| {
                for task in &outcome.tasks {
                    h.el("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], &task.name);
                        h.leaf("td", &[], task.classes);
                        for size in task.sizes {
                            h.leaf("td", &[], count(size as u64));
                        }
                        h.leaf("td", &[], percent(task.constant_guess));
                    });
                }
            });
        });
    });
}

/// Appends plain sentences as a list.
pub(crate) fn sentences(h: &mut Html, list: &[String]) {
    h.el("ul", &[], |h| {
        for sentence in list {
            h.leaf("li", &[], sentence);
        }
    });
}

/// Appends what produced the run.
pub(crate) fn record(h: &mut Html, record: &RunRecord) {
    let machine = &record.machine;
    let cpu = machine.cpu.as_deref().unwrap_or("unnamed processor");
    let commit = record.commit.as_deref().unwrap_or("unknown at build");
    let facts: [(&str, String); 11] = [
        ("Command", record.shell_command()),
        (
            "Program",
            format!(
                "refit {} (commit {commit}), Burn {}",
                record.refit, record.burn
            ),
        ),
        (
            "Machine",
            format!(
                "{cpu}, {} hardware threads, {} {}",
                machine.cpus, machine.os, machine.arch
            ),
        ),
        ("Device", format!("{}, {}", record.device, record.dtype)),
        ("Threads", record.threads.to_string()),
        ("Seed", record.seed.get().to_string()),
        ("Started", record.started.clone()),
        ("Finished", record.finished.clone()),
        ("Time", duration(record.seconds)),
        (
            "Peak memory",
            record.peak_bytes.map_or("unknown".into(), bytes),
        ),
        ("Ended", record.stop.to_string()),
    ];
    h.el("dl", &[], |h| {
        for (name, value) in facts {
            h.leaf("dt", &[], name).leaf("dd", &[], value);
        }
    });
    inputs(h, record);
    settings(h, record);
}

fn inputs(h: &mut Html, record: &RunRecord) {
    if record.inputs.is_empty() {
        return;
    }
    h.scroll("Input files", |h| {
        h.el("table", &[], |h| {
            h.leaf("caption", &[], "Input files");
            head(h, &["File", "Size", "SHA-256"]);
            h.el("tbody", &[], |h| {
                for input in record.inputs.iter().take(MAX_INPUTS) {
                    h.el("tr", &[], |h| {
                        let name = match input.files {
                            Some(files) => format!("{} ({files} files)", input.path),
                            None => input.path.clone(),
                        };
                        h.leaf("th", &[("scope", &"row")], name);
                        h.leaf("td", &[], bytes(input.bytes));
                        h.el("td", &[("class", &"hash")], |h| {
                            h.text(&input.sha256);
                            if input.sampled {
                                h.text(" of samples");
                            }
                        });
                    });
                }
            });
        });
    });
    let left_out = record.inputs.len().saturating_sub(MAX_INPUTS);
    if left_out > 0 {
        let text = format!("{left_out} more files are in run.json.");
        h.leaf("p", &[("class", &"note")], text);
    }
}

fn settings(h: &mut Html, record: &RunRecord) {
    let text = serde_json::to_string_pretty(&record.settings).unwrap_or_default();
    h.el("details", &[], |h| {
        h.leaf("summary", &[], "All settings");
        h.leaf("pre", &[], text);
    });
}

/// Appends the command that repeats the run, and the one that rebuilds the page.
pub(crate) fn reproduce(h: &mut Html, record: &RunRecord) {
    let note = "The same version, settings and inputs give the same numbers on the same machine, for any number of threads.";
    h.leaf("p", &[], note);
    h.leaf("pre", &[], record.shell_command());
    h.leaf(
        "p",
        &[("class", &"note")],
        "Give another --out: what is there is not replaced.",
    );
    let results = match record.verb.as_str() {
        "extract" => "extraction.json",
        _ => "results.json",
    };
    h.leaf(
        "p",
        &[],
        format_args!("This page is made from what its folder holds of run.json, {results} and metrics.jsonl, and nothing else:"),
    );
    h.leaf("pre", &[], "refit report FOLDER");
}
