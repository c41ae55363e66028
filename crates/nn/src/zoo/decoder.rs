//! What decoders of text have in common once their tensors are named.

use super::{TextSize, TextTask, TokenBatch, pool::pick, tokens::places};
use crate::{
    Init, NnError, Scope,
    blocks::{
        Cache, DEVIATION, Embedding, Layer, Linear, Look, Norm, RelativeBias, Rotary, Sight,
        Source, dense,
    },
};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;

/// A decoder of text bound to weights.
#[derive(Clone, Debug)]
pub struct TextDecoder {
    pub(super) size: TextSize,
    pub(super) words: Embedding,
    pub(super) places: Places,
    /// From the width of words to that of the layers, where they differ.
    pub(super) widen: Option<Linear>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Option<Norm>,
    /// Back to the width of words.
    pub(super) narrow: Option<Linear>,
    /// From states to scores of the next word.
    pub(super) head: Option<Linear>,
    /// From states to classes.
    pub(super) labels: Option<Labels>,
    /// Whether a token sees those before it alone; otherwise those behind it too, as in some that make vectors of texts.
    pub(super) causal: bool,
    /// How many tokens back a token can see.
    pub(super) window: Option<usize>,
}

/// The table of `[words, d]` at `place`, and the map from states to words where that is the table once more: files of such
/// a model hold one of the two, under either name.
pub(super) fn words(
    scope: &Scope<'_>,
    place: &Scope<'_>,
    [words, d]: [usize; 2],
    tied: bool,
) -> Result<(Embedding, Option<Linear>), NnError> {
    let head = scope.at("lm_head");
    let (has_table, has_head) = (place.holds("weight"), head.holds("weight"));
    let place = if tied && has_head && !has_table {
        &head
    } else {
        place
    };
    let table = Embedding::bind(place, words, d)?;
    // A file that holds both means both, whatever the configuration says.
    let is_shared = tied && !(has_head && has_table);
    let shared = is_shared.then(|| Linear::tied(table.weight()));
    Ok((table, shared))
}

/// The map from states to `words`: one that is shared with their table, or one of its own; none where states are the
/// answer.
pub(super) fn head(
    scope: &Scope<'_>,
    task: TextTask,
    shared: Option<Linear>,
    [words, d]: [usize; 2],
) -> Result<Option<Linear>, NnError> {
    if task != TextTask::NextWord {
        super::leave_out_heads(scope, task, &["lm_head", "score", "classifier"]);
        return Ok(None);
    }
    if shared.is_some() {
        return Ok(shared);
    }
    let init = Init::Normal(DEVIATION);
    Linear::bind_plain(&scope.at("lm_head"), d, words, init).map(Some)
}

/// Refuses to guess words where tokens see those behind them.
pub(super) fn check_causal(causal: bool) -> Result<(), ConfigError> {
    if causal {
        return Ok(());
    }
    let expected = "`true` in a model that guesses words from those before them";
    Err(ConfigError::range("is_causal", false, expected))
}

/// The map from states to classes.
#[derive(Clone, Debug)]
pub(super) enum Labels {
    /// Of a sequence, from its last token that is neither padding nor the word that fills texts up.
    Sequence { map: Linear, padding: Option<u32> },
    /// Of every token.
    Token(Linear),
}

/// The map to classes, where the task is to tell them; that for tokens is called `token`, and `padding` is the word that
/// fills texts up.
pub(super) fn labels(
    scope: &Scope<'_>,
    task: TextTask,
    d: usize,
    token: &str,
    padding: Option<u32>,
) -> Result<Option<Labels>, NnError> {
    Ok(match task {
        TextTask::Sequence { classes } => {
            let map = dense(&scope.at("score"), d, classes, false)?;
            Some(Labels::Sequence { map, padding })
        }
        TextTask::Token { classes } => {
            Some(Labels::Token(dense(&scope.at(token), d, classes, true)?))
        }
        _ => None,
    })
}

/// The place in `batch` of the token that stands for each text: the last that is no padding and not the word
/// `padding`; the first that is no padding where there is no other.
fn ends(batch: &TokenBatch, padding: Option<u32>) -> Vec<usize> {
    let tokens = batch.tokens();
    let rows = batch
        .ids()
        .chunks(tokens)
        .zip(batch.padding().chunks(tokens));
    let end = |(ids, empty): (&[u32], &[bool])| {
        let real = |at: &usize| !empty[*at];
        let word = |at: &usize| !empty[*at] && Some(ids[*at]) != padding;
        let last = (0..tokens).rev().find(word);
        last.or_else(|| (0..tokens).find(real)).unwrap_or(0)
    };
    rows.map(end).collect()
}

/// How a decoder knows where a token stands.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// By a table whose row `first` is that of the first token.
    Table { rows: Embedding, first: u32 },
    /// By turning queries and keys.
    Turn(Rotary),
    /// By scores for distances.
    Distance(RelativeBias),
}

/// What a decoder remembers of the tokens it has read.
#[derive(Clone, Debug, Default)]
pub struct Decoding {
    layers: Vec<Cache>,
    /// Whether tokens were padding, one list per row.
    padding: Vec<Vec<bool>>,
    /// What each layer has read of the texts that are answered.
    sources: Vec<Source>,
}

impl Decoding {
    /// Tokens so far, padding included.
    pub fn len(&self) -> usize {
        self.padding.first().map_or(0, Vec::len)
    }

    /// Whether no token was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses another number of texts, or another model, than those that were read, and a memory of no text in a model
    /// that answers one.
    fn check(&self, batch: &TokenBatch, model: &TextDecoder) -> Result<(), ConfigError> {
        let answers = model.layers.iter().any(|layer| layer.cross.is_some());
        let asked = self.sources.first().map(Source::rows);
        let (rows, layers) = match (asked, self.is_empty()) {
            (None, _) if answers => {
                let expected = "a text that the model has read, which it can answer";
                return Err(ConfigError::range("memory", "empty", expected));
            }
            (None, true) => return Ok(()),
            (Some(rows), _) => (rows, self.sources.len()),
            (None, false) => (self.padding.len(), self.layers.len()),
        };
        if (rows, layers) == (batch.rows(), model.layers.len()) {
            return Ok(());
        }
        let expected = format!("{rows} texts in a model of {layers} layers, as before");
        let found = format!("{} texts, {} layers", batch.rows(), model.layers.len());
        Err(ConfigError::range("memory", found, expected))
    }

    /// Tokens of the longest text once `batch` is read, padding not counted: it takes no position.
    fn longest_with(&self, batch: &TokenBatch) -> usize {
        let real = |row: &[bool]| row.iter().filter(|&&padding| !padding).count();
        let new = batch.padding().chunks(batch.tokens().max(1)).map(real);
        let seen = self.padding.iter().map(|row| real(row));
        let all = new.zip(seen.chain(std::iter::repeat(0)));
        all.map(|(new, seen)| new + seen).max().unwrap_or(0)
    }

    /// Adds the tokens of `batch`; the place of each in its sequence.
    fn read(&mut self, batch: &TokenBatch) -> Vec<u32> {
        self.padding.resize(batch.rows(), Vec::new());
        let mut all = Vec::with_capacity(batch.ids().len());
        let rows = batch.padding().chunks(batch.tokens().max(1));
        for (seen, new) in self.padding.iter_mut().zip(rows) {
            let before = seen.iter().filter(|&&padding| !padding).count();
            all.extend(places(before as u32, new));
            seen.extend_from_slice(new);
        }
        all
    }
}

impl TextDecoder {
    /// States of the tokens of `batch` after the last norm, `[rows, tokens, d]`; with a memory they follow the tokens
    /// that it holds, and are added to them. What stands in the place of padding means nothing.
    ///
    /// # Errors
    /// A token or a length that the model does not have, a memory of other texts, or one in a model whose tokens see those
    /// behind them. The memory is then as it was.
    pub fn states(
        &self,
        batch: &TokenBatch,
        memory: Option<&mut Decoding>,
    ) -> Result<Dual<3>, NnError> {
        self.size.check_batch(batch)?;
        if memory.is_some() {
            self.check_causal()?;
        }
        let (mut own, remembers) = (Decoding::default(), memory.is_some());
        let memory = memory.unwrap_or(&mut own);
        memory.check(batch, self)?;
        let (tokens, longest) = (memory.longest_with(batch), self.size.longest);
        if tokens > longest {
            return Err(NnError::TooLong { tokens, longest });
        }
        let keys = memory.len() + batch.tokens();
        let places = memory.read(batch);
        let padding = memory.padding.concat();
        let sight = Sight {
            rows: batch.rows(),
            queries: batch.tokens(),
            keys,
            padding: &padding,
            causal: self.causal,
            window: self.window,
        };
        let device = self.words.weight().device();
        let mut x = self.words.forward(batch.ids_on(&device));
        if let Some(widen) = &self.widen {
            x = widen.forward(x);
        }
        let (mut rotation, mut bias) = (None, None);
        match &self.places {
            Places::Table { rows, first } => {
                let rows_of: Vec<u32> = places.iter().map(|place| first + place).collect();
                x = x + rows.forward(batch.numbers(&rows_of, &device));
            }
            Places::Turn(rotary) => rotation = Some(rotary.at(&places, batch.rows(), &x)),
            Places::Distance(scores) => bias = Some(scores.scores(batch.tokens(), keys)),
        }
        let mask = sight.mask(bias, &x);
        memory.layers.resize_with(self.layers.len(), Cache::default);
        for (at, (layer, cache)) in self.layers.iter().zip(&mut memory.layers).enumerate() {
            let look = Look {
                mask: mask.clone(),
                rotation: rotation.as_ref(),
                cache: remembers.then_some(cache),
                source: memory.sources.get(at),
            };
            x = layer.forward(x, look);
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        Ok(match &self.narrow {
            Some(narrow) => narrow.forward(x),
            None => x,
        })
    }

    /// Refuses to guess words in a model whose tokens see those behind them.
    ///
    /// # Errors
    /// In such a model.
    pub fn check_causal(&self) -> Result<(), ConfigError> {
        check_causal(self.causal)
    }

    /// A memory of no token in which every layer has read the texts that are to be answered: `states [rows, tokens,
    /// d]` of `batch`.
    pub(super) fn read_source(&self, states: &Dual<3>, batch: &TokenBatch) -> Decoding {
        let mask = batch.sight().mask(None, states);
        let layers = self.layers.iter().filter_map(|layer| layer.cross.as_ref());
        let sources = layers.map(|(cross, _)| cross.read(states.clone(), mask.clone()));
        Decoding {
            sources: sources.collect(),
            ..Decoding::default()
        }
    }

    /// What a head makes of the states of `batch`: classes of sequences as `[rows, 1, classes]`, classes of tokens,
    /// or what [`read`](Self::read) gives.
    ///
    /// Classes of a sequence are read from its last token that is no padding. A word that `config.json` names as
    /// `pad_token_id` counts as padding wherever it stands, as those were trained who pad with a word of theirs.
    pub fn answer(&self, states: Dual<3>, batch: &TokenBatch) -> Dual<3> {
        match &self.labels {
            None => self.read(states),
            Some(Labels::Token(map)) => map.forward(states),
            Some(Labels::Sequence { map, padding }) => {
                let last = pick(states, &ends(batch, *padding));
                map.forward(last.unsqueeze_dim(1))
            }
        }
    }

    /// Scores of every word as the next, `[.., words]`; the states themselves in a model without a head.
    pub fn read(&self, states: Dual<3>) -> Dual<3> {
        match &self.head {
            Some(head) => head.forward(states),
            None => states,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::Side;

    #[test]
    fn the_last_word_stands_for_a_text_and_padding_does_not() {
        let texts = [vec![5, 6, 7], vec![8, 9], vec![5, 2, 2], vec![2, 2]];
        let right = TokenBatch::new(&texts, 0, Side::Right);
        assert_eq!(ends(&right, None), [2, 1, 2, 1]);
        assert_eq!(ends(&right, Some(2)), [2, 1, 0, 0]);
        let left = TokenBatch::new(&texts, 0, Side::Left);
        assert_eq!(ends(&left, Some(2)), [2, 2, 0, 1]);
    }
}
