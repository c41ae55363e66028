//! What an [`Outcome`] says, as both tables and the headline need it.

use crate::outcome::{MethodKind, MethodResult, Outcome};

/// Names of the methods that bound the others.
const BASE: &str = "base";
const EXPERTS: &str = "experts";
const JOINT: &str = "joint";
/// The method of the headline.
const HEADLINE: &str = "adamerging-layer";

/// The bounds and the best of an outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary<'a> {
    outcome: &'a Outcome,
    pub(crate) base: Option<&'a MethodResult>,
    pub(crate) experts: Option<&'a MethodResult>,
    pub(crate) joint: Option<&'a MethodResult>,
}

impl<'a> Summary<'a> {
    pub(crate) fn of(outcome: &'a Outcome) -> Self {
        let named = |name: &str| outcome.methods.iter().find(|m| m.name == name);
        Self {
            outcome,
            base: named(BASE),
            experts: named(EXPERTS),
            joint: named(JOINT),
        }
    }

    /// The methods of one part of the table, in order.
    pub(crate) fn of_kind(&self, kind: MethodKind) -> impl Iterator<Item = &'a MethodResult> {
        self.outcome.methods.iter().filter(move |m| m.kind == kind)
    }

    /// The merged model with the highest mean among those that pass `wanted`.
    pub(crate) fn best(&self, wanted: impl Fn(&MethodResult) -> bool) -> Option<&'a MethodResult> {
        self.of_kind(MethodKind::Merged)
            .filter(|m| m.mean.is_finite() && wanted(m))
            .max_by(|a, b| a.mean.total_cmp(&b.mean))
    }

    /// The model that the page speaks of, by a rule that looks at no score: layer-wise AdaMerging, since a model without
    /// labels is the promise of the job; where that was not run, the last merged model of the table without labels; only
    /// where there is none, the last.
    pub(crate) fn hero(&self) -> Option<&'a MethodResult> {
        let usable = || {
            self.of_kind(MethodKind::Merged)
                .filter(|m| m.mean.is_finite())
        };
        usable()
            .find(|m| m.name == HEADLINE)
            .or_else(|| usable().filter(|m| !needs_labels(m)).last())
            .or_else(|| usable().last())
    }

    /// Share of the way from base to experts that `mean` covers; `None` where there is no way to cover.
    pub(crate) fn recovered(&self, mean: f64) -> Option<f64> {
        let (low, high) = (self.base?.mean, self.experts?.mean);
        (high > low && mean.is_finite()).then(|| (mean - low) / (high - low))
    }

    /// Highest accuracy of a merged model in each column: the mean first, then every task.
    pub(crate) fn column_best(&self) -> Vec<Option<f64>> {
        let highest = |value: &dyn Fn(&MethodResult) -> Option<f64>| {
            self.of_kind(MethodKind::Merged)
                .filter_map(value)
                .filter(|v| v.is_finite())
                .max_by(f64::total_cmp)
        };
        let tasks = self.outcome.tasks.iter();
        std::iter::once(highest(&|m| Some(m.mean)))
            .chain(tasks.map(|t| highest(&|m| m.per_task.get(&t.name).copied())))
            .collect()
    }
}

/// Whether two accuracies print alike, so that both deserve to be called best.
pub(crate) fn prints_alike(a: f64, b: Option<f64>) -> bool {
    b.is_some_and(|b| super::format::percent(a) == super::format::percent(b))
}

/// Whether a method reads labels of any kind.
pub(crate) fn needs_labels(method: &MethodResult) -> bool {
    method.data.starts_with("labelled")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, kind: MethodKind, mean: f64) -> MethodResult {
        MethodResult {
            name: name.into(),
            kind,
            mean,
            ..MethodResult::default()
        }
    }

    fn outcome(base: f64, experts: f64) -> Outcome {
        let methods = vec![
            method("base", MethodKind::Bound, base),
            method("experts", MethodKind::Bound, experts),
            method("ties", MethodKind::Merged, 0.7),
            method("seen", MethodKind::Transductive, 0.99),
            method("broken", MethodKind::Merged, f64::NAN),
        ];
        Outcome {
            methods,
            ..Outcome::default()
        }
    }

    #[test]
    fn the_recovered_share_runs_from_base_to_experts() {
        let outcome = outcome(0.6, 0.8);
        let summary = Summary::of(&outcome);
        assert!((summary.recovered(0.7).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(summary.recovered(f64::NAN), None);
    }

    #[test]
    fn without_a_gap_there_is_no_share() {
        assert_eq!(Summary::of(&outcome(0.8, 0.8)).recovered(0.7), None);
        assert_eq!(Summary::of(&Outcome::default()).recovered(0.7), None);
    }

    #[test]
    fn the_headline_has_one_method_whatever_the_scores() {
        for mean in [0.1, 0.9] {
            let mut outcome = outcome(0.6, 0.8);
            let layer = method("adamerging-layer", MethodKind::Merged, mean);
            outcome.methods.insert(2, layer);
            assert_eq!(
                Summary::of(&outcome).hero().unwrap().name,
                "adamerging-layer"
            );
        }
    }

    #[test]
    fn the_best_is_a_merged_model_and_a_number() {
        let outcome = outcome(0.6, 0.8);
        let summary = Summary::of(&outcome);
        assert_eq!(summary.best(|_| true).unwrap().name, "ties");
        assert_eq!(summary.hero().unwrap().name, "ties");
        assert_eq!(summary.column_best(), [Some(0.7)]);
    }
}
