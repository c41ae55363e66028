//! A class with the probability of each.

use serde::{Serialize, Serializer};

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

/// As an object whose keys stay in their order.
fn in_order<S: Serializer>(pairs: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        pairs
            .iter()
            .map(|(label, probability)| (label, probability)),
    )
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
    }
}
