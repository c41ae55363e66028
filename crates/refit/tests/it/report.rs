//! The page as a whole.

use crate::sample;
use refit::{
    outcome::Outcome,
    report::{self, Style, text_table},
    run::RunFiles,
};
use std::path::Path;

/// Writes the page where a browser can be pointed at it: `target/tmp/report.html`.
#[test]
fn the_page_is_complete_and_loads_nothing() {
    let page = report::render(&sample::run(sample::outcome()));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    refit_io::atomic::write_file(&path, page.as_bytes(), refit_io::atomic::Overwrite::Replace)
        .unwrap();

    for id in [
        "accuracy",
        "coefficients",
        "adaptation",
        "scales",
        "robustness",
        "training",
        "cost",
        "setup",
        "caveats",
        "record",
        "reproduce",
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
        assert!(page.contains(&format!("href=\"#{id}\"")), "{id}");
    }
    for forbidden in [
        "<script", "http://", "https://", "src=", "@import", "url(", "NaN", "inf",
    ] {
        assert!(!body(&page).contains(forbidden), "{forbidden}");
    }
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}

/// The page without its visible words, which may well say `information`.
fn body(page: &str) -> String {
    page.replace("info", "")
}

#[test]
fn elements_are_closed_in_order() {
    let page = report::render(&sample::run(sample::outcome()));
    let mut open: Vec<&str> = Vec::new();
    for tag in page
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>'))
        .map(|(tag, _)| tag)
    {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !tag.starts_with('!') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str = "\"'></td><script>alert(1)</script><img src=x onerror=alert(1)>";
    let text = serde_json::to_string(&sample::outcome()).unwrap();
    let escaped = serde_json::to_string(HOSTILE).unwrap();
    let mut text = text.replace("\"digits\"", &escaped);
    for word in [
        "invented numbers",
        "Common base",
        "ties",
        "blocks.0.attn.qkv.weight",
        "jpeg",
        "adapt",
        "unlabelled images",
    ] {
        text = text.replace(&format!("\"{word}\""), &escaped);
    }
    let outcome: Outcome = serde_json::from_str(&text).unwrap();
    let mut run = sample::run(outcome);
    run.record.command.push(HOSTILE.into());
    run.record.device = HOSTILE.into();
    run.record.inputs[0].path = HOSTILE.into();
    run.record.settings = serde_json::json!({ HOSTILE: HOSTILE });
    run.metrics[0].series = HOSTILE.into();
    run.metrics[0].values[0].0 = HOSTILE.into();
    let page = report::render(&run);
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(page.matches("&lt;script&gt;").count() > 20);
    // Every quote inside an attribute is escaped: no attribute called `onerror` can have come to be.
    assert!(!page.contains(" onerror=alert(1)>"));
}

#[test]
fn what_shows_one_seed_of_several_says_so() {
    let mut outcome = sample::outcome();
    let said = |outcome: &Outcome| {
        let page = report::render(&sample::run(outcome.clone()));
        let sections = page.split("<section id=\"").skip(1);
        let marked = sections
            .filter(|s| s.contains("class=\"note first-seed\">Seed 7 alone, the first of 3."));
        marked
            .map(|s| s.split('"').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    outcome.seeds = vec![7, 8, 9];
    assert_eq!(
        said(&outcome),
        ["coefficients", "adaptation", "scales", "training"]
    );
    outcome.seeds = vec![7];
    assert_eq!(said(&outcome), Vec::<String>::new());
}

#[test]
fn a_run_without_results_still_has_a_page() {
    let run = RunFiles {
        outcome: None,
        metrics: vec![],
        ..sample::run(Outcome::default())
    };
    let page = report::render(&run);
    assert!(page.contains("Run record") && !page.contains("id=\"accuracy\""));
}

#[test]
fn an_empty_outcome_and_numbers_that_are_none_do_not_panic() {
    let page = report::render(&sample::run(Outcome::default()));
    assert!(page.contains("No merged model in this run"));
    let mut outcome = sample::outcome();
    for method in &mut outcome.methods {
        method.mean = f64::NAN;
        method.deviation = f64::INFINITY;
        method.per_seed = vec![f64::NEG_INFINITY];
        method.per_task.values_mut().for_each(|v| *v = f64::NAN);
        method
            .per_corruption
            .values_mut()
            .for_each(|v| *v = f64::NAN);
    }
    outcome.phases[0].seconds = f64::NAN;
    outcome.curves[0].points[0].entropy = f64::NAN;
    let page = report::render(&sample::run(outcome.clone()));
    assert!(!page.contains("NaN"));
    let _ = text_table(
        &outcome,
        Style {
            width: 100,
            bold: true,
        },
    );
}
