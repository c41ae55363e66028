//! The tokens of a `tokenizer.json`.

use super::error::{TokenizerError, shown};
use serde_json::{Map, Value};
use std::collections::{HashMap, hash_map::Entry};

/// Most rows of an embedding; known vocabularies stay below a million.
pub(super) const MOST_ROWS: usize = 1 << 24;

/// Which tokens a tokenizer knows, and the row of each.
///
/// Tokens are those of the model (`WordLevel`, `BPE`, `WordPiece`, `Unigram`) and those that were added to it; a token
/// in both lists has one id. Ids are unique and may leave gaps.
#[derive(Clone, Debug)]
pub struct Vocabulary<'a> {
    ids: HashMap<&'a str, usize>,
    by_id: Vec<(usize, &'a str)>,
    added: Vec<Added<'a>>,
}

/// A token that was added to the model of a tokenizer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added<'a> {
    pub(super) id: usize,
    pub(super) token: &'a str,
    /// How it is matched.
    pub(super) definition: &'a Map<String, Value>,
}

impl<'a> Vocabulary<'a> {
    /// Reads a parsed `tokenizer.json`.
    ///
    /// # Errors
    /// When it has no model of a known type, an id is no row, or tokens and ids are not one to one; the error names the
    /// token.
    ///
    /// # Cost
    /// One look at each token, and `O(V log V)` for the order of their ids.
    ///
    /// # Example
    /// ```
    /// use refit_merge::tokenizer::Vocabulary;
    /// let json = serde_json::json!({
    ///     "added_tokens": [{"id": 2, "content": "<pad>"}],
    ///     "model": {"type": "WordLevel", "vocab": {"b": 1, "a": 0}},
    /// });
    /// let vocabulary = Vocabulary::read(&json)?;
    /// assert_eq!(vocabulary.tokens().collect::<Vec<_>>(), [(0, "a"), (1, "b"), (2, "<pad>")]);
    /// # Ok::<(), refit_merge::tokenizer::TokenizerError>(())
    /// ```
    pub fn read(tokenizer_json: &'a Value) -> Result<Self, TokenizerError> {
        let mut read = Self {
            ids: HashMap::new(),
            by_id: Vec::new(),
            added: Vec::new(),
        };
        read.model(tokenizer_json.get("model"))?;
        read.added(tokenizer_json.get("added_tokens"))?;
        read.by_id.sort_unstable();
        match read.by_id.array_windows().find(|[a, b]| a.0 == b.0) {
            None => Ok(read),
            Some(&[(id, first), (_, second)]) => Err(TokenizerError::SharedId {
                id,
                first: shown(first),
                second: shown(second),
            }),
        }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<usize> {
        self.ids.get(token).copied()
    }

    /// The token of an id.
    pub fn token(&self, id: usize) -> Option<&'a str> {
        let at = self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(self.by_id[at].1)
    }

    /// Ids and tokens that `other` contradicts: it has the token under another id, or another token under that id. What
    /// only one of the two knows contradicts nothing.
    ///
    /// # Example
    /// ```
    /// use refit_merge::tokenizer::Vocabulary;
    /// let json = |vocab| serde_json::json!({"model": {"type": "WordLevel", "vocab": vocab}});
    /// let (a, b) = (json(serde_json::json!({"x": 0, "y": 1})), json(serde_json::json!({"x": 0, "z": 1, "w": 2})));
    /// let (a, b) = (Vocabulary::read(&a)?, Vocabulary::read(&b)?);
    /// assert_eq!(a.moved(&b).collect::<Vec<_>>(), [(1, "y")]);
    /// # Ok::<(), refit_merge::tokenizer::TokenizerError>(())
    /// ```
    pub fn moved<'v>(
        &'v self,
        other: &'v Vocabulary<'_>,
    ) -> impl Iterator<Item = (usize, &'a str)> {
        self.tokens().filter(|&(id, token)| {
            let elsewhere = other.id(token).is_some_and(|found| found != id);
            elsewhere || other.token(id).is_some_and(|found| found != token)
        })
    }

    /// Ids and tokens, in the order of ids.
    pub fn tokens(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.by_id.iter().copied()
    }

    /// The largest id and one: rows that an embedding needs.
    pub fn rows(&self) -> usize {
        self.by_id.last().map_or(0, |&(id, _)| id + 1)
    }

    /// Added tokens, in the order of ids.
    pub(super) fn added_tokens(&self) -> &[Added<'a>] {
        &self.added
    }

    fn model(&mut self, model: Option<&'a Value>) -> Result<(), TokenizerError> {
        let Some(fields) = model.and_then(Value::as_object) else {
            return Err(TokenizerError::field("model", model, "a mapping"));
        };
        let vocab = fields.get("vocab");
        // Old files leave the type out; the form of the vocabulary tells lists of scores from ids.
        let scored = match fields.get("type") {
            None => vocab.is_some_and(Value::is_array),
            Some(Value::String(name)) => match name.as_str() {
                "Unigram" => true,
                "BPE" | "WordLevel" | "WordPiece" => false,
                other => {
                    return Err(TokenizerError::Algorithm {
                        found: shown(other),
                    });
                }
            },
            other => return Err(TokenizerError::field("model.type", other, "a text")),
        };
        match (vocab, scored) {
            (Some(Value::Array(list)), true) => {
                list.iter().enumerate().try_for_each(|(id, entry)| {
                    let Some(token) = entry.get(0).and_then(Value::as_str) else {
                        let field = format!("model.vocab.{id}");
                        return Err(TokenizerError::field(
                            field,
                            Some(entry),
                            "a token and its score",
                        ));
                    };
                    self.insert(token, id)
                })
            }
            (Some(Value::Object(map)), false) => map
                .iter()
                .try_for_each(|(token, id)| self.insert(token, row(token, Some(id))?)),
            (other, true) => Err(TokenizerError::field("model.vocab", other, "a list")),
            (other, false) => Err(TokenizerError::field("model.vocab", other, "a mapping")),
        }
    }

    fn added(&mut self, added: Option<&'a Value>) -> Result<(), TokenizerError> {
        let list = match added {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(list)) => list,
            other => return Err(TokenizerError::field("added_tokens", other, "a list")),
        };
        for (i, entry) in list.iter().enumerate() {
            let definition = entry.as_object();
            let content = definition.and_then(|fields| fields.get("content")?.as_str());
            let (Some(definition), Some(token)) = (definition, content) else {
                let field = format!("added_tokens.{i}");
                let expected = "a mapping with a text `content`";
                return Err(TokenizerError::field(field, Some(entry), expected));
            };
            let id = row(token, definition.get("id"))?;
            self.insert(token, id)?;
            self.added.push(Added {
                id,
                token,
                definition,
            });
        }
        self.added.sort_by_key(|added| added.id); // stable: of two equal entries the first counts
        self.added.dedup_by_key(|added| added.id);
        Ok(())
    }

    fn insert(&mut self, token: &'a str, id: usize) -> Result<(), TokenizerError> {
        if id >= MOST_ROWS {
            return Err(TokenizerError::Id {
                token: shown(token),
                found: id.to_string(),
            });
        }
        match self.ids.entry(token) {
            Entry::Occupied(known) if *known.get() == id => Ok(()),
            Entry::Occupied(known) => Err(TokenizerError::TwoIds {
                token: shown(token),
                first: *known.get(),
                second: id,
            }),
            Entry::Vacant(place) => {
                place.insert(id);
                self.by_id.push((id, token));
                Ok(())
            }
        }
    }
}

/// The id of a token as a number.
fn row(token: &str, id: Option<&Value>) -> Result<usize, TokenizerError> {
    let number = id.and_then(Value::as_u64);
    let row = number.and_then(|number| usize::try_from(number).ok());
    row.ok_or_else(|| TokenizerError::Id {
        token: shown(token),
        found: id.map_or_else(|| "missing".to_owned(), |id| shown(&id.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(json: &Value) -> String {
        Vocabulary::read(json).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_model_is_read() {
        let map = json!({"a": 0, "b": 1});
        for model in [
            json!({"type": "WordLevel", "vocab": map}),
            json!({"type": "BPE", "vocab": map, "merges": []}),
            json!({"type": "WordPiece", "vocab": map}),
            json!({"vocab": map}),
            json!({"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}),
            json!({"vocab": [["a", -1.0], ["b", -2.0]]}),
        ] {
            let added = json!([{"id": 5, "content": "<x>"}, {"id": 0, "content": "a"}]);
            let json = json!({"model": model, "added_tokens": added});
            let read = Vocabulary::read(&json).unwrap();
            assert_eq!(
                read.tokens().collect::<Vec<_>>(),
                [(0, "a"), (1, "b"), (5, "<x>")]
            );
            assert_eq!((read.len(), read.rows(), read.id("b")), (3, 6, Some(1)));
            let added: Vec<_> = read
                .added_tokens()
                .iter()
                .map(|added| added.token)
                .collect();
            assert_eq!(added, ["a", "<x>"]);
            assert_eq!((read.token(5), read.token(4)), (Some("<x>"), None));
        }
    }

    #[test]
    fn hostile_tokenizers_are_refused_and_the_token_is_named() {
        let words = |vocab: Value| json!({"model": {"type": "WordLevel", "vocab": vocab}});
        let added = |token: Value| json!({"model": {"vocab": {"a": 0}}, "added_tokens": [token]});
        let below = "expected a whole number below 16777216";
        for (json, text) in [
            (json!(null), "`model` of `tokenizer.json` is missing, expected a mapping".to_owned()),
            (json!({"model": null}), "`model` of `tokenizer.json` is null, expected a mapping".into()),
            (
                json!({"model": {"type": "Magic", "vocab": {}}}),
                "the tokenizer is of type `Magic`, expected `BPE`, `Unigram`, `WordLevel` or `WordPiece`".into(),
            ),
            (json!({"model": {"type": 3}}), "`model.type` of `tokenizer.json` is a number, expected a text".into()),
            (json!({"model": {}}), "`model.vocab` of `tokenizer.json` is missing, expected a mapping".into()),
            (
                json!({"model": {"type": "Unigram", "vocab": {"a": 0}}}),
                "`model.vocab` of `tokenizer.json` is a mapping, expected a list".into(),
            ),
            (
                json!({"model": {"type": "Unigram", "vocab": [["a", 0.0], [1]]}}),
                "`model.vocab.1` of `tokenizer.json` is a list, expected a token and its score".into(),
            ),
            (
                json!({"model": {"type": "Unigram", "vocab": [["a", 0.0], ["a", 0.0]]}}),
                "token `a` has the ids 0 and 1, expected one".into(),
            ),
            (words(json!({"a": 7, "b": 7})), "tokens `a` and `b` share the id 7".into()),
            (words(json!({"a": -1})), format!("token `a` has the id -1, {below}")),
            (words(json!({"a": 1.5})), format!("token `a` has the id 1.5, {below}")),
            (words(json!({"a\n": 1u64 << 24})), format!("token `a\\n` has the id 16777216, {below}")),
            (words(json!({"a": u64::MAX})), format!("token `a` has the id {}, {below}", u64::MAX)),
            (added(json!({"content": "<x>"})), format!("token `<x>` has the id missing, {below}")),
            (
                added(json!({"id": 1})),
                "`added_tokens.0` of `tokenizer.json` is a mapping, expected a mapping with a text `content`".into(),
            ),
            (added(json!({"id": 1, "content": "a"})), "token `a` has the ids 0 and 1, expected one".into()),
            (added(json!({"id": 0, "content": "b"})), "tokens `a` and `b` share the id 0".into()),
            (
                json!({"model": {"vocab": {}}, "added_tokens": {}}),
                "`added_tokens` of `tokenizer.json` is a mapping, expected a list".into(),
            ),
        ] {
            assert_eq!(problem(&json), text);
        }
        let long = problem(&words(json!({"x".repeat(1000): -1})));
        assert!(long.len() < 200, "{long}");
    }
}
