//! Writing on, word by word.

use super::{Decoding, Seq2Seq, Side, TextDecoder, TokenBatch};
use crate::{NnError, to_host};
use rand::Rng;
use refit_core::{ConfigError, Seed};

/// How the next word is chosen from scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scores are divided by it before they become probabilities; 0 takes the highest.
    pub temperature: f64,
    /// How many of the most probable words are considered; 0 considers all.
    pub top_k: usize,
    /// Considers the fewest words whose probabilities reach this sum; in `(0, 1]`.
    pub top_p: f64,
    /// Scores of words that occurred are divided by it where positive and multiplied where negative; 1 leaves them.
    pub repetition_penalty: f64,
}

impl Default for Sampling {
    /// The highest score.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
        }
    }
}

impl Sampling {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let number = |key, value: f64, holds: bool, expected: &'static str| {
            let good = value.is_finite() && holds;
            good.then_some(())
                .ok_or_else(|| ConfigError::range(key, value, expected))
        };
        let (t, p, r) = (self.temperature, self.top_p, self.repetition_penalty);
        number("temperature", t, t >= 0.0, "a number of at least 0")?;
        number("top_p", p, p > 0.0 && p <= 1.0, "above 0 and at most 1")?;
        let penalty = (1e-3..=1e3).contains(&r);
        number("repetition_penalty", r, penalty, "from 0.001 to 1000")
    }

    /// Chooses a word by its place in `scores`; `seen` lists words that occurred, in any order and number.
    fn pick(&self, scores: &mut [f32], seen: &[u32], rng: &mut impl Rng) -> u32 {
        self.punish(scores, seen);
        if self.temperature == 0.0 {
            return highest(scores);
        }
        let kept = self.kept(scores);
        let most = kept
            .iter()
            .fold(f32::NEG_INFINITY, |most, word| most.max(word.0));
        let weight = |score| (f64::from(score - most) / self.temperature).exp();
        let weights = || kept.iter().map(|word| weight(word.0));
        let mut left = rng.random::<f64>() * weights().sum::<f64>();
        let chosen = weights().position(|weight| {
            left -= weight;
            left < 0.0
        });
        kept[chosen.unwrap_or(kept.len() - 1)].1
    }

    /// The words that are considered, with their scores. As few are sorted as suffice.
    fn kept(&self, scores: &[f32]) -> Vec<(f32, u32)> {
        let mut words: Vec<(f32, u32)> = scores.iter().copied().zip(0..).collect();
        let higher = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if (1..words.len()).contains(&self.top_k) {
            words.select_nth_unstable_by(self.top_k - 1, higher);
            words.truncate(self.top_k);
        }
        if self.top_p >= 1.0 {
            return words;
        }
        let most = words
            .iter()
            .fold(f32::NEG_INFINITY, |most, word| most.max(word.0));
        let weight = |word: &(f32, u32)| (f64::from(word.0 - most) / self.temperature).exp();
        let enough = self.top_p * words.iter().map(weight).sum::<f64>();
        let (mut sorted, mut before) = (0, 0.0);
        while sorted < words.len() {
            let end = words.len().min((2 * sorted).max(64));
            if end < words.len() {
                words[sorted..].select_nth_unstable_by(end - sorted - 1, higher);
            }
            words[sorted..end].sort_unstable_by(higher);
            for at in sorted..end {
                if at > 0 && before >= enough {
                    words.truncate(at);
                    return words;
                }
                before += weight(&words[at]);
            }
            sorted = end;
        }
        words
    }

    #[expect(clippy::float_cmp, reason = "exactly 1 leaves scores alone")]
    fn punish(&self, scores: &mut [f32], seen: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let penalty = self.repetition_penalty as f32;
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for at in seen {
            if let Some(score) = scores.get_mut(at as usize) {
                *score = if *score < 0.0 {
                    *score * penalty
                } else {
                    *score / penalty
                };
            }
        }
    }
}

/// Place of the highest score, the first of equals.
fn highest(scores: &[f32]) -> u32 {
    let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).fold(0, better) as u32
}

/// When a text is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// Words that end a text; they are not part of it.
    pub words: Vec<u32>,
    /// The most words that are written; 0 sets no bound but the model's own.
    pub most: usize,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a word that ends texts.
    Word,
    /// As many words were written as were asked for.
    Most,
    /// The model tells no more positions apart.
    Full,
}

/// Texts that a decoder writes on.
///
/// # Cost
/// One pass of the model per word. Keys and values of every word are kept; rows that ended are no longer read by the
/// caller but computed until all have.
#[derive(Debug)]
pub struct Generator<'a> {
    model: &'a TextDecoder,
    sampling: Sampling,
    stop: Stop,
    memory: Decoding,
    /// What the model has not read yet.
    pending: TokenBatch,
    rows: Vec<Row>,
}

/// One text.
#[derive(Debug)]
struct Row {
    words: Vec<u32>,
    prompt: usize,
    rng: rand_chacha::ChaCha8Rng,
    ended: Option<Ended>,
}

impl<'a> Generator<'a> {
    /// Writes on after `prompts`, each of which has at least one word and draws from a seed of its own, so that what is
    /// written after one does not depend on the others.
    ///
    /// # Errors
    /// A setting out of range, a model without a head or whose tokens see those behind them, or a prompt without words.
    /// # Panics
    /// If there are not as many seeds as prompts.
    pub fn new(
        model: &'a TextDecoder,
        prompts: &[impl AsRef<[u32]>],
        seeds: &[Seed],
        sampling: Sampling,
        stop: Stop,
    ) -> Result<Self, NnError> {
        assert_eq!(prompts.len(), seeds.len(), "one seed per prompt");
        sampling.check()?;
        model.check_causal()?;
        if model.head.is_none() {
            let problem = "names a model without a head, expected one that ends with ForCausalLM";
            return Err(ConfigError::conflict("architectures", problem).into());
        }
        if prompts.is_empty() || prompts.iter().any(|prompt| prompt.as_ref().is_empty()) {
            return Err(ConfigError::range("prompt", "empty", "at least one token").into());
        }
        let rows = prompts.iter().zip(seeds).map(|(prompt, seed)| Row {
            words: prompt.as_ref().to_vec(),
            prompt: prompt.as_ref().len(),
            rng: seed.rng(),
            ended: None,
        });
        Ok(Self {
            model,
            sampling,
            stop,
            memory: Decoding::default(),
            pending: TokenBatch::new(prompts, 0, Side::Left),
            rows: rows.collect(),
        })
    }

    /// Answers the texts of `batch`, each after the word that starts an answer, which stands in for a prompt.
    ///
    /// # Errors
    /// A setting out of range, or a token or a length that the model does not have.
    /// # Panics
    /// If there are not as many seeds as texts.
    pub fn answering(
        model: &'a Seq2Seq,
        batch: &TokenBatch,
        seeds: &[Seed],
        sampling: Sampling,
        stop: Stop,
    ) -> Result<Self, NnError> {
        let starts = vec![[model.start()]; batch.rows()];
        Ok(Self {
            memory: model.remember(batch)?,
            ..Self::new(model.decoder(), &starts, seeds, sampling, stop)?
        })
    }

    /// The next word of every row; `None` for those that have ended, and where it ends them.
    ///
    /// # Errors
    /// A word that the model lacks, a prompt longer than the model can tell positions apart, or scores that are not finite.
    pub fn next_words(&mut self) -> Result<Vec<Option<u32>>, NnError> {
        if self.is_done() {
            return Ok(vec![None; self.rows.len()]);
        }
        let states = self.model.states(&self.pending, Some(&mut self.memory))?;
        let last = states.narrow(1, self.pending.tokens() - 1, 1);
        let mut scores = to_host(self.model.read(last).into_value());
        let words = scores.len() / self.rows.len();
        let rows = scores.chunks_mut(words.max(1)).zip(&mut self.rows);
        let (sampling, stop, longest) = (&self.sampling, &self.stop, self.model.size.longest);
        let picked = rows.enumerate().map(|(at, (scores, row))| {
            if row.ended.is_some() {
                return Ok(None);
            }
            if !scores.iter().all(|score| score.is_finite()) {
                return Err(NnError::Scores { row: at + 1 });
            }
            let word = sampling.pick(scores, &row.words, &mut row.rng);
            if stop.words.contains(&word) {
                row.ended = Some(Ended::Word);
                return Ok(None);
            }
            row.words.push(word);
            if row.words.len() - row.prompt == stop.most {
                row.ended = Some(Ended::Most);
            } else if row.words.len() > longest {
                row.ended = Some(Ended::Full); // there is no position for this word to be read at
            }
            Ok(Some(word))
        });
        let picked = picked.collect::<Result<Vec<Option<u32>>, NnError>>()?;
        // A text that has ended reads padding, which takes no position.
        let goes_on = |row: &Row| row.ended.is_none().then(|| row.words[row.words.len() - 1]);
        let next: Vec<Vec<u32>> = self
            .rows
            .iter()
            .map(|row| Vec::from_iter(goes_on(row)))
            .collect();
        self.pending = TokenBatch::new(&next, 0, Side::Left);
        Ok(picked)
    }

    /// Ends the text of a row, because of what its words mean; a word that was chosen for it last may still be read.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn end_row(&mut self, row: usize) {
        self.rows[row].ended.get_or_insert(Ended::Word);
    }

    /// Whether every text has ended.
    pub fn is_done(&self) -> bool {
        self.rows.iter().all(|row| row.ended.is_some())
    }

    /// Why the text of each row ended; `None` where it goes on.
    pub fn ended(&self) -> Vec<Option<Ended>> {
        self.rows.iter().map(|row| row.ended).collect()
    }

    /// Prompt and answer of a row so far.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn text(&self, row: usize) -> &[u32] {
        &self.rows[row].words
    }

    /// What was written after the prompt of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn answer(&self, row: usize) -> &[u32] {
        let row = &self.rows[row];
        &row.words[row.prompt..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, scores: &[f32], seen: &[u32]) -> Vec<f64> {
        let mut rng = Seed::new(3).rng();
        let mut counts = vec![0.0; scores.len()];
        for _ in 0..20_000 {
            counts[sampling.pick(&mut scores.to_vec(), seen, &mut rng) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn words_are_drawn_with_their_probabilities() {
        // Scores ln(4), ln(3), ln(2), ln(1): shares of ten.
        let scores = [4f32, 3.0, 2.0, 1.0].map(f32::ln);
        let warm = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        let close = |found: Vec<f64>, expected: [f64; 4]| {
            // Four deviations of a share of 20,000 draws are below 0.0142.
            let pairs = found.iter().zip(expected);
            pairs.into_iter().all(|(a, b)| (a - b).abs() < 0.0142)
        };
        assert!(close(drawn(warm, &scores, &[]), [0.4, 0.3, 0.2, 0.1]));
        let two = Sampling { top_k: 2, ..warm };
        assert!(close(
            drawn(two, &scores, &[]),
            [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]
        ));
        // 0.4 + 0.3 reaches 0.7, and 0.71 needs a third.
        let nucleus = Sampling { top_p: 0.7, ..warm };
        assert!(close(
            drawn(nucleus, &scores, &[]),
            [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]
        ));
        let nucleus = Sampling {
            top_p: 0.71,
            ..warm
        };
        assert!(close(
            drawn(nucleus, &scores, &[]),
            [4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0]
        ));
        // Half the temperature squares the odds: 16, 9, 4, 1 of 30.
        let cold = Sampling {
            temperature: 0.5,
            ..warm
        };
        assert!(close(
            drawn(cold, &scores, &[]),
            [16.0 / 30.0, 0.3, 4.0 / 30.0, 1.0 / 30.0]
        ));
    }

    #[test]
    fn repeated_words_lose_whatever_the_sign_of_their_score() {
        let punished = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::default()
        };
        let mut scores = [1.0, 0.8, -1.0];
        punished.punish(&mut scores, &[0, 2, 0, 9]);
        let expected = [0.5f32, 0.8, -2.0]; // once, however often it occurred
        assert_eq!(scores.map(f32::to_bits), expected.map(f32::to_bits));
        assert_eq!(
            punished.pick(&mut [1.0, 0.8], &[0], &mut Seed::new(0).rng()),
            1
        );
        assert_eq!(highest(&[0.5, 2.0, 2.0]), 1);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let base = Sampling::default();
        assert!(base.check().is_ok());
        for (key, bad) in [
            (
                "temperature",
                Sampling {
                    temperature: -0.1,
                    ..base
                },
            ),
            (
                "temperature",
                Sampling {
                    temperature: f64::NAN,
                    ..base
                },
            ),
            ("top_p", Sampling { top_p: 0.0, ..base }),
            ("top_p", Sampling { top_p: 1.1, ..base }),
            (
                "repetition_penalty",
                Sampling {
                    repetition_penalty: 0.0,
                    ..base
                },
            ),
        ] {
            let text = bad.check().unwrap_err().to_string();
            assert!(text.starts_with(&format!("`{key}` is ")), "{text}");
        }
    }
}
