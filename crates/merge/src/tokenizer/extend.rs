//! The tokenizer of the result: that of one model, with tokens added.

use super::vocabulary::{Added, Vocabulary};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// A tokenizer, and tokens that are added to it.
#[derive(Debug)]
pub(super) struct Extended<'a> {
    base: &'a Vocabulary<'a>,
    /// Ids and tokens that the base does not know, in the order of ids.
    new: Vec<(usize, &'a str)>,
    known: HashSet<&'a str>,
    entries: Vec<Value>,
}

/// The tokens of a vocabulary that a model has rows for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) vocabulary: &'a Vocabulary<'a>,
    /// Rows of the embedding.
    pub(super) rows: usize,
}

impl<'a> Extended<'a> {
    /// The tokenizer as it is.
    pub(super) fn new(base: &'a Vocabulary<'a>) -> Self {
        Self {
            base,
            new: Vec::new(),
            known: HashSet::new(),
            entries: Vec::new(),
        }
    }

    /// Adds what the base does not know: ordinary tokens of every vocabulary, then added tokens. Of two definitions the
    /// first wins.
    pub(super) fn unite(&mut self, models: &[Known<'a>]) {
        let mut added: Vec<Added<'a>> = Vec::new();
        let mut seen = HashSet::new();
        let every = models.iter().flat_map(|model| {
            let added = model.vocabulary.added_tokens().iter();
            added.filter(|token| token.id < model.rows)
        });
        for token in self.base.added_tokens().iter().chain(every) {
            if seen.insert(token.token) {
                added.push(*token);
            }
        }
        let every = models.iter().flat_map(|model| {
            let tokens = model.vocabulary.tokens();
            tokens.filter(|&(id, _)| id < model.rows)
        });
        for (_, token) in every {
            if !seen.contains(token) {
                self.add(token);
            }
        }
        for token in added.into_iter().skip(self.base.added_tokens().len()) {
            self.define(token);
        }
    }

    /// Adds a token that is matched as it stands, unless it is known.
    pub(super) fn add(&mut self, token: &'a str) {
        let is_new = self.base.id(token).is_none() && !self.known.contains(token);
        if is_new && let Some(id) = self.place(token) {
            self.entries.push(json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": true,
                "special": false,
            }));
        }
    }

    /// Adds a token as another tokenizer defines it. One that is ordinary in the base keeps its id.
    fn define(&mut self, added: Added<'a>) {
        let id = self
            .base
            .id(added.token)
            .or_else(|| self.place(added.token));
        if let Some(id) = id {
            let mut entry: Map<String, Value> = added.definition.clone();
            entry.insert("id".to_owned(), id.into());
            self.entries.push(Value::Object(entry));
        }
    }

    /// The id behind all others. Tokenizers pass over a token without text.
    fn place(&mut self, token: &'a str) -> Option<usize> {
        let id = self.base.rows() + self.new.len();
        let is_text = !token.is_empty();
        is_text.then(|| {
            self.new.push((id, token));
            self.known.insert(token);
            id
        })
    }

    /// Ids and tokens, in the order of ids.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.base.tokens().chain(self.new.iter().copied())
    }

    /// The largest id and one.
    pub(super) fn rows(&self) -> usize {
        self.base.rows() + self.new.len()
    }

    /// `tokenizer.json` of the base with the added tokens.
    pub(super) fn write(self, base: &Value) -> Value {
        let mut json = base.clone();
        let Some(fields) = json.as_object_mut().filter(|_| !self.entries.is_empty()) else {
            return json;
        };
        let list = fields.entry("added_tokens").or_insert(Value::Null);
        if list.is_null() {
            *list = Value::Array(Vec::new());
        }
        if let Some(list) = list.as_array_mut() {
            list.extend(self.entries);
            list.sort_by_key(|entry| entry.get("id").and_then(Value::as_u64));
        }
        json
    }
}
