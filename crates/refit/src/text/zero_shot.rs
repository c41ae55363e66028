//! Classes that a model was never trained on, by asking whether a sentence about each follows from the text.
//!
//! Source: Yin, Hay and Roth 2019, arXiv:1909.00161.

use super::{TextClassifier, TextModelError, TextScores};
use crate::told::{Told, softmax};
use refit_core::{ConfigError, Progress, Unwatched};
use refit_nn::NnError;
use serde::Serialize;

/// What a text says if it is of a class, where nothing else is asked for.
const HYPOTHESIS: &str = "This example is {}.";
/// Where the label stands in it.
const PLACE: &str = "{}";

/// Texts whose pairs with all labels are held together.
const TEXTS: usize = 128;

/// A text and its class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// Its class.
    #[serde(flatten)]
    pub class: Told,
}

impl Labelled {
    pub(crate) fn new(text: &str, labels: &[String], probabilities: Vec<f64>) -> Self {
        Self {
            text: text.to_owned(),
            class: Told::new(labels, probabilities),
        }
    }
}

/// What is said about each label: `sentence` with it in the place of `{}`.
///
/// # Errors
/// Fewer than `least` labels, one that comes twice, a sentence without a place.
pub(crate) fn hypotheses(
    labels: &[String],
    sentence: &str,
    least: usize,
) -> Result<Vec<String>, ConfigError> {
    if !sentence.contains(PLACE) {
        let expected = "a sentence with {} in the place of the label";
        return Err(ConfigError::range("hypothesis", sentence, expected));
    }
    let again = |(at, label): (usize, &String)| labels[..at].contains(label);
    if let Some((_, label)) = labels.iter().enumerate().find(|&one| again(one)) {
        return Err(ConfigError::range(
            "label",
            format_args!("`{label}` twice"),
            "each once",
        ));
    }
    if labels.len() < least {
        let expected = format!("{least} or more");
        return Err(ConfigError::range(
            "label",
            format_args!("{} in number", labels.len()),
            expected,
        ));
    }
    Ok(labels
        .iter()
        .map(|label| sentence.replace(PLACE, label))
        .collect())
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
    /// other, and a class that begins with `contra` is needed too, or there are but two.
    ///
    /// # Errors
    /// Fewer than two labels (one with `several`), one that comes twice, a hypothesis without a place for the label, a model of other
    /// classes.
    pub fn new(
        labels: &[String],
        hypothesis: Option<&str>,
        several: bool,
        names: &[String],
    ) -> Result<Self, TextModelError> {
        let wrong = |error: ConfigError| TextModelError::Model(NnError::from(error));
        let least = if several { 1 } else { 2 };
        let hypotheses =
            hypotheses(labels, hypothesis.unwrap_or(HYPOTHESIS), least).map_err(wrong)?;
        let named = |start: &str| {
            let begins = |name: &String| name.to_lowercase().starts_with(start);
            names.iter().position(begins)
        };
        let entailment = named("entail");
        // Of two classes the other one rules it out, whatever it is called.
        let other = || entailment.filter(|_| names.len() == 2).map(|at| 1 - at);
        let contradiction = named("contra").or_else(other);
        let Some(entailment) = entailment.filter(|_| !several || contradiction.is_some()) else {
            let problem = format!(
                "are asked of a model whose classes are {}, expected `entailment` among them, and `contradiction` with --several",
                names.join(", ")
            );
            return Err(wrong(ConfigError::conflict("labels", problem)));
        };
        Ok(Self {
            labels: labels.to_vec(),
            hypotheses,
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
        progress.begin("classify", Some(texts.len() as u64));
        let (mut found, mut all_cut) = (Vec::with_capacity(texts.len()), 0);
        for (at, some) in texts.chunks(TEXTS).enumerate() {
            let each = |text: &String| vec![text.clone(); self.labels.len()];
            let firsts: Vec<String> = some.iter().flat_map(each).collect();
            let seconds: Vec<String> = some.iter().flat_map(|_| self.hypotheses.clone()).collect();
            let unwatched = Unwatched(progress);
            let scores = model.scores(&firsts, Some(&seconds), &unwatched);
            let TextScores { scores, cut } =
                scores.map_err(|error| error.of_group(self.labels.len()).after(at * TEXTS))?;
            for (text, scores) in some.iter().zip(scores.chunks(self.labels.len())) {
                found.push(Labelled::new(text, &self.labels, probabilities(scores)));
            }
            all_cut += cut;
            progress.advance(some.len() as u64);
        }
        Ok((found, all_cut))
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
        let either = words(&["entailment", "not_entailment"]);
        let found = asked(&two, None, true, &either).unwrap();
        assert_eq!((found.entailment, found.contradiction), (0, Some(1)));
        let three = words(&["entailment", "neutral", "other"]);
        assert!(asked(&two, None, true, &three).is_err());
    }
}
