//! Classes that a model was never trained on, by asking whether a sentence about each follows from the text.
//!
//! Source: Yin, Hay and Roth 2019, arXiv:1909.00161.

use super::{TextClassifier, TextModelError, TextScores, softmax};
use refit_core::{ConfigError, Progress};
use refit_nn::NnError;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a text says if it is of a class, where nothing else is asked for.
const HYPOTHESIS: &str = "This example is {}.";
/// Where the label stands in it.
const PLACE: &str = "{}";

/// A text and its class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// The label of the highest probability.
    pub label: String,
    /// The probability of each label.
    pub probabilities: BTreeMap<String, f64>,
}

impl Labelled {
    pub(crate) fn new(text: &str, labels: &[String], probabilities: Vec<f64>) -> Self {
        let better = |best: usize, at: usize| {
            if probabilities[at] > probabilities[best] {
                at
            } else {
                best
            }
        };
        let best = (0..labels.len()).fold(0, better);
        Self {
            text: text.to_owned(),
            label: labels[best].clone(),
            probabilities: labels.iter().cloned().zip(probabilities).collect(),
        }
    }
}

/// Labels in words, and how a model is asked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroShot {
    labels: Vec<String>,
    hypotheses: Vec<String>,
    several: bool,
    /// Classes of the model: that a text follows, and that it is ruled out.
    entailment: usize,
    contradiction: Option<usize>,
}

impl ZeroShot {
    /// `names` are the classes of the model, one of which begins with `entail`. With `several`, labels do not exclude each
    /// other, and a class that begins with `contra` is needed too.
    ///
    /// # Errors
    /// Fewer than two labels, one that comes twice, a hypothesis without a place for the label, a model of other
    /// classes.
    pub fn new(
        labels: &[String],
        hypothesis: Option<&str>,
        several: bool,
        names: &[String],
    ) -> Result<Self, TextModelError> {
        let wrong = |error: ConfigError| TextModelError::Model(NnError::from(error));
        let hypothesis = hypothesis.unwrap_or(HYPOTHESIS);
        if !hypothesis.contains(PLACE) {
            let expected = "a sentence with {} in the place of the label";
            return Err(wrong(ConfigError::range(
                "hypothesis",
                hypothesis,
                expected,
            )));
        }
        let mut sorted = labels.to_vec();
        sorted.sort();
        sorted.dedup();
        if sorted.len() != labels.len() || labels.len() < 2 {
            let found = format!("{} of which {} differ", labels.len(), sorted.len());
            return Err(wrong(ConfigError::range(
                "label",
                found,
                "two or more, each once",
            )));
        }
        let named = |start: &str| {
            let begins = |name: &String| name.to_lowercase().starts_with(start);
            names.iter().position(begins)
        };
        let (entailment, contradiction) = (named("entail"), named("contra"));
        let Some(entailment) = entailment.filter(|_| !several || contradiction.is_some()) else {
            let problem = format!(
                "are asked of a model whose classes are {}, expected `entailment` among them, and `contradiction` with --several",
                names.join(", ")
            );
            return Err(wrong(ConfigError::conflict("labels", problem)));
        };
        Ok(Self {
            labels: labels.to_vec(),
            hypotheses: labels
                .iter()
                .map(|label| hypothesis.replace(PLACE, label))
                .collect(),
            several,
            entailment,
            contradiction,
        })
    }

    /// The label of every text, and how many readings may have been cut.
    ///
    /// Probabilities are the softmax of how much each label follows; with `several`, of every label whether it follows
    /// against being ruled out.
    ///
    /// # Errors
    /// When a text cannot be cut, or `progress` asks for a stop.
    pub fn label(
        &self,
        model: &TextClassifier,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<(Vec<Labelled>, usize), TextModelError> {
        let each = |text: &String| vec![text.clone(); self.labels.len()];
        let firsts: Vec<String> = texts.iter().flat_map(each).collect();
        let seconds: Vec<String> = texts.iter().flat_map(|_| self.hypotheses.clone()).collect();
        let TextScores { scores, cut } = model.scores(&firsts, Some(&seconds), progress)?;
        let probabilities = |scores: &[Vec<f32>]| match self.contradiction {
            Some(contradiction) if self.several => {
                let of = |s: &Vec<f32>| softmax(&[s[contradiction], s[self.entailment]])[1];
                scores.iter().map(of).collect()
            }
            _ => {
                let scores: Vec<f32> = scores.iter().map(|s| s[self.entailment]).collect();
                softmax(&scores)
            }
        };
        let of_texts = texts.iter().zip(scores.chunks(self.labels.len()));
        let found =
            of_texts.map(|(text, scores)| Labelled::new(text, &self.labels, probabilities(scores)));
        Ok((found.collect(), cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_make_no_sense_are_refused() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        let nli = words(&["contradiction", "neutral", "Entailment"]);
        let two = words(&["sport", "music"]);
        let asked = |labels: &[String], hypothesis, several, names: &[String]| {
            ZeroShot::new(labels, hypothesis, several, names)
        };
        let found = asked(&two, Some("It is about {}."), true, &nli).unwrap();
        assert_eq!((found.entailment, found.contradiction), (2, Some(0)));
        assert_eq!(
            found.hypotheses,
            ["It is about sport.", "It is about music."]
        );
        assert!(asked(&two, Some("no place"), false, &nli).is_err());
        assert!(asked(&words(&["a"]), None, false, &nli).is_err());
        assert!(asked(&words(&["a", "a"]), None, false, &nli).is_err());
        let other = asked(&two, None, false, &words(&["NEGATIVE", "POSITIVE"])).unwrap_err();
        assert!(
            other.to_string().contains("classes are NEGATIVE, POSITIVE"),
            "{other}"
        );
        assert!(asked(&two, None, true, &words(&["entailment", "not_entailment"])).is_err());
    }
}
