//! The first sentences of the page.

use super::{
    format::{in_words, percent},
    summary::{Summary, needs_labels},
};
use crate::outcome::{MethodResult, Outcome};

/// Said where there is nothing to merge.
const NO_GAP: &str =
    "The experts are no better than the base here, so this run says nothing about merging.";

/// A headline and the sentences under it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
}

/// Says what the model of the headline reaches, against base and experts.
pub(crate) fn headline(outcome: &Outcome) -> Headline {
    let summary = Summary::of(outcome);
    let with = summary.best(needs_labels);
    let Some(best) = summary.hero() else {
        return Headline {
            title: "No merged model in this run".into(),
            lines: vec![],
        };
    };
    let tasks = in_words(outcome.tasks.len());
    let plural = if outcome.tasks.len() == 1 {
        "expert"
    } else {
        "experts"
    };
    let labels = if needs_labels(best) {
        ""
    } else {
        ", without labels"
    };
    let title = format!(
        "One model merged from {tasks} {plural} reaches {}{labels}",
        share(best.mean)
    );
    let mut lines = vec![against_bounds(&summary, best)];
    if let (Some(base), Some(experts)) = (summary.base, summary.experts)
        && experts.mean <= base.mean
    {
        lines.push(NO_GAP.into());
    }
    if let Some(rival) = with.filter(|rival| rival.name != best.name) {
        lines.push(against_rival(&summary, best, rival));
    }
    Headline { title, lines }
}

fn against_bounds(summary: &Summary<'_>, best: &MethodResult) -> String {
    let mut text = format!("{} averages {}", best.label, share(best.mean));
    if let Some(base) = summary.base {
        let gap = points(best.mean, base.mean);
        text += &format!(", {gap} the common base ({})", share(base.mean));
    }
    if let Some(experts) = summary.experts {
        let gap = points(best.mean, experts.mean);
        text += &format!(
            " and {gap} one separate expert per task ({})",
            share(experts.mean)
        );
    }
    text += ".";
    if let Some(recovered) = summary.recovered(best.mean) {
        text += &format!(
            " It recovers {} of the way from base to experts.",
            whole(recovered)
        );
    }
    text
}

fn against_rival(summary: &Summary<'_>, best: &MethodResult, rival: &MethodResult) -> String {
    let recovered = summary
        .recovered(rival.mean)
        .map(|r| format!(", {} of the way", whole(r)))
        .unwrap_or_default();
    let difference = points(best.mean, rival.mean);
    format!(
        "The best method that does use labels, {}, reaches {}{recovered}: the label-free model is {difference} it.",
        rival.label,
        share(rival.mean),
    )
}

/// `73.5 %`, on one line.
pub(crate) fn share(value: f64) -> String {
    format!("{}\u{202f}%", percent(value))
}

/// `26 %`, on one line.
pub(crate) fn whole(value: f64) -> String {
    format!("{}\u{202f}%", super::format::number(100.0 * value, 0))
}

/// The difference of two shares in words: `2.2 points above`, `level with`. It is that of the numbers as they are
/// printed, so that whoever subtracts them finds it.
fn points(share: f64, other: f64) -> String {
    let printed = |share: f64| percent(share).parse::<f64>().map_or(share, |p| p / 100.0);
    let difference = printed(share) - printed(other);
    let text = percent(difference.abs());
    match text.as_str() {
        "0.0" => "level with".into(),
        "1.0" => format!("1.0 point {}", side(difference)),
        _ => format!("{text} points {}", side(difference)),
    }
}

const fn side(difference: f64) -> &'static str {
    if difference < 0.0 { "below" } else { "above" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{MethodKind, TaskSummary};

    fn method(name: &str, kind: MethodKind, mean: f64, data: &str) -> MethodResult {
        MethodResult {
            name: name.into(),
            label: name.to_uppercase(),
            kind,
            mean,
            data: data.into(),
            ..MethodResult::default()
        }
    }

    fn outcome(methods: Vec<MethodResult>) -> Outcome {
        Outcome {
            methods,
            tasks: vec![TaskSummary::default(); 8],
            ..Outcome::default()
        }
    }

    #[test]
    fn the_label_free_model_has_the_headline_even_if_a_tuned_one_is_better() {
        let found = headline(&outcome(vec![
            method("base", MethodKind::Bound, 0.5, "none"),
            method(
                "experts",
                MethodKind::Bound,
                0.9,
                "labelled training images",
            ),
            method(
                "ties",
                MethodKind::Merged,
                0.7,
                "labelled validation images",
            ),
            method("ada", MethodKind::Merged, 0.6, "unlabelled images"),
        ]));
        assert_eq!(
            found.title,
            "One model merged from eight experts reaches 60.0\u{202f}%, without labels"
        );
        assert_eq!(
            found.lines,
            [
                "ADA averages 60.0\u{202f}%, 10.0 points above the common base (50.0\u{202f}%) and 30.0 points \
                 below one separate expert per task (90.0\u{202f}%). It recovers 25\u{202f}% of the way from base \
                 to experts.",
                "The best method that does use labels, TIES, reaches 70.0\u{202f}%, 50\u{202f}% of the way: the \
                 label-free model is 10.0 points below it.",
            ]
        );
    }

    #[test]
    fn experts_that_learned_nothing_are_called_so() {
        let found = headline(&outcome(vec![
            method("base", MethodKind::Bound, 0.5, "none"),
            method(
                "experts",
                MethodKind::Bound,
                0.5,
                "labelled training images",
            ),
            method("ada", MethodKind::Merged, 0.6, "unlabelled images"),
        ]));
        assert_eq!(found.lines[1..], [NO_GAP]);
        assert!(!found.lines[0].contains("It recovers"));
    }

    #[test]
    fn an_empty_outcome_says_so() {
        assert_eq!(
            headline(&Outcome::default()).title,
            "No merged model in this run"
        );
    }

    #[test]
    fn differences_that_print_as_zero_are_level() {
        assert_eq!(points(0.5004, 0.5), "level with");
        assert_eq!(points(0.5, 0.51), "1.0 point below");
    }

    #[test]
    fn a_difference_is_that_of_the_numbers_beside_it() {
        // 61.5 and 60.3 are printed; the difference itself is 1.11.
        assert_eq!(points(0.61451, 0.60341), "1.2 points above");
        assert_eq!(points(0.5004, 0.4996), "level with");
    }
}
