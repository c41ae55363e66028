//! A class with the probability of each.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Which class it is, and how probable each is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// The label of the highest probability; of equal ones the first.
    pub label: String,
    /// Labels and their probabilities, in the order of the labels.
    #[serde(serialize_with = "in_order")]
    pub probabilities: Vec<(String, f64)>,
}

impl Told {
    /// `probabilities` are those of `labels`, of which there is one or more.
    pub(crate) fn new(labels: &[String], probabilities: Vec<f64>) -> Self {
        let better = |best: usize, at: usize| {
            if probabilities[at] > probabilities[best] {
                at
            } else {
                best
            }
        };
        let best = (0..labels.len()).fold(0, better);
        Self {
            label: labels[best].clone(),
            probabilities: labels.iter().cloned().zip(probabilities).collect(),
        }
    }
}

impl Told {
    /// With the `most` most probable classes alone, the best first; of equal ones the first.
    #[must_use]
    pub fn top(mut self, most: usize) -> Self {
        self.probabilities.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.probabilities.truncate(most);
        self
    }
}

/// As an object whose keys stay in their order.
fn in_order<S: Serializer>(pairs: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        pairs
            .iter()
            .map(|(label, probability)| (label, probability)),
    )
}

/// How scores of classes become probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chances {
    /// Classes exclude each other: the softmax of their scores.
    #[default]
    OneOf,
    /// Each class has a probability of its own: the logistic function of its score.
    Each,
}

impl Chances {
    /// What `problem_type` of a `config.json` says of its classes.
    pub(crate) fn of(keys: &Map<String, Value>) -> Self {
        match keys.get("problem_type").and_then(Value::as_str) {
            Some("multi_label_classification") => Self::Each,
            _ => Self::OneOf,
        }
    }

    /// Probabilities of scores.
    ///
    /// ```
    /// use refit::told::Chances;
    /// let found = Chances::OneOf.probabilities(&[0.0, 3f32.ln()]);
    /// assert!((found[0] - 0.25).abs() < 1e-7 && (found[1] - 0.75).abs() < 1e-7);
    /// let found = Chances::Each.probabilities(&[0.0, 3f32.ln()]);
    /// assert!((found[0] - 0.5).abs() < 1e-7 && (found[1] - 0.75).abs() < 1e-7);
    /// ```
    pub fn probabilities(self, scores: &[f32]) -> Vec<f64> {
        match self {
            Self::OneOf => softmax(scores),
            Self::Each => scores
                .iter()
                .map(|&score| 1.0 / (1.0 + f64::from(-score).exp()))
                .collect(),
        }
    }
}

/// Probabilities of scores whose classes exclude each other.
pub(crate) fn softmax(scores: &[f32]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = scores
        .iter()
        .map(|score| f64::from(score - most).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_in_their_order_and_the_first_of_the_best_is_told() {
        let labels = ["b", "c", "a"].map(String::from);
        let told = Told::new(&labels, vec![0.25, 0.375, 0.375]);
        let json = serde_json::to_string(&told).unwrap();
        let expected = r#"{"label":"c","probabilities":{"b":0.25,"c":0.375,"a":0.375}}"#;
        assert_eq!(json, expected);
        let top = serde_json::to_string(&told.top(2)).unwrap();
        assert_eq!(
            top,
            r#"{"label":"c","probabilities":{"c":0.375,"a":0.375}}"#
        );
    }
}
