//! One vocabulary out of several, and the source of every row.
//! Rules: those of mergekit 0.1.5, observed. Deviations: ordinary tokens are added in the order of ids, where the tool
//! takes that of a hash table, so ids may differ and rows of tokens do not; the tokenizer that the result takes keeps
//! tokens without a row, which get zeros, where the tool takes them out of that of the base.

use super::{
    error::{TokenizerError, shown},
    extend::{Extended, Known},
    row_map::{RowMap, RowMapBuilder, RowSource},
    vocabulary::{MOST_ROWS, Vocabulary},
};
use crate::recipe::{ModelRef, TokenName, TokenOrigin, TokenRule, TokenizerSource, TokenizerSpec};
use serde_json::{Map, Value};

/// What a model brings.
#[derive(Clone, Copy, Debug)]
pub struct VocabularyInput<'a> {
    /// Its parsed `tokenizer.json`.
    pub tokenizer: &'a Value,
    /// Rows of its embedding; none for a model that is not merged and only lends its tokenizer.
    pub rows: Option<usize>,
}

/// The vocabulary of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct VocabularyPlan {
    /// Number of the model, from 0, whose tokenizer the result has. Settings beside `tokenizer.json` are taken from it.
    pub model: usize,
    /// `tokenizer.json` of the result.
    pub tokenizer_json: Value,
    /// Tokens that were added to the tokenizer of that model.
    pub added: usize,
    /// Rows of the embedding of the result, padded.
    pub rows: usize,
    /// For each model that is merged, in order, where its rows come from.
    pub maps: Vec<RowMap>,
    /// Models whose tokenizer knows tokens that their embedding has no row for; to them these are unknown.
    pub rowless: Vec<RowlessTokens>,
}

/// Tokens of a model that have no row in its embedding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowlessTokens {
    /// Number of the model, from 0.
    pub model: usize,
    /// How many there are.
    pub count: usize,
    /// The first three of them, fit to be shown.
    pub first: Vec<String>,
}

/// Plans the vocabulary of a merge.
///
/// The tokenizer is that of the base (without one: of the first model), of a model, or the union: that of the base,
/// with the ordinary tokens of all models added in the order of models and ids, then their added tokens; of two
/// definitions of a token the first wins. Tokens that have a rule and are still missing are added last, by name.
///
/// A model takes the embedding of a token from its own row. Where it has none, or the rule of the token forces it, the
/// embedding is that of the rule; without a rule
/// - that of the only model that knows the token; zero where none does;
/// - that of the base, if it is merged and knows the token;
/// - else the mean over the models that know it.
///
/// Rows that belong to no token, such as those of padding, are the mean of all rows of tokens.
///
/// Models are numbered from 0 without those that only lend their tokenizer; `base` counts all.
///
/// # Errors
/// When a tokenizer cannot be read ([`Vocabulary::read`]), a rule names a model, token or row that is not there (only
/// where its embedding is needed), or the result is too large.
///
/// # Cost
/// One look-up per token and model; maps are as long as there are stretches of rows that follow each other.
///
/// # Example
/// ```
/// use refit_merge::recipe::{TokenizerSource, TokenizerSpec};
/// use refit_merge::tokenizer::{RowSource, VocabularyInput, plan_vocabulary};
/// use serde_json::json;
/// let words = |[a, b]: [&str; 2]| json!({"model": {"type": "WordLevel", "vocab": {a: 0, b: 1}}});
/// let (a, b) = (words(["x", "y"]), words(["y", "z"]));
/// let input = |tokenizer| VocabularyInput { tokenizer, rows: Some(2) };
/// let models = [("a".parse()?, input(&a)), ("b".parse()?, input(&b))];
/// let spec = TokenizerSpec {
///     source: TokenizerSource::Union,
///     tokens: Default::default(),
///     pad_to_multiple_of: Some(4),
/// };
///
/// let plan = plan_vocabulary(&spec, &models, None)?;
/// assert_eq!((plan.rows, &plan.tokenizer_json["added_tokens"][0]["content"]), (4, &"z".into()));
/// // The second model has no `x`, knows `y` by its row 0 and `z` by its row 1; the last row is padding.
/// let sources: Vec<_> = (0..4).map(|row| plan.maps[1].source(row).unwrap()).collect();
/// let row = |model, row| RowSource::Model { model, row };
/// assert_eq!(sources, [row(0, 0), row(1, 0), row(1, 1), RowSource::Fill]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn plan_vocabulary(
    spec: &TokenizerSpec,
    models: &[(ModelRef, VocabularyInput<'_>)],
    base: Option<usize>,
) -> Result<VocabularyPlan, TokenizerError> {
    let vocabularies = read(models)?;
    let merged = merged(models, &vocabularies);
    if merged.is_empty() {
        return Err(TokenizerError::NoModels);
    }
    let place_of_base = |base: usize| {
        let place = merged.iter().position(|model| model.number == base);
        place.ok_or(TokenizerError::Base {
            found: base,
            models: merged.len(),
        })
    };
    let base = base.map(place_of_base).transpose()?;
    let first = merged[base.unwrap_or(0)].number;
    let model = match &spec.source {
        TokenizerSource::Union | TokenizerSource::Base => first,
        TokenizerSource::Model(name) => find(models, name)?,
    };

    let mut output = Extended::new(&vocabularies[model]);
    if spec.source == TokenizerSource::Union {
        let others = merged.iter().map(|model| Known {
            vocabulary: model.vocabulary,
            rows: model.rows,
        });
        output.unite(&others.collect::<Vec<_>>());
    }
    for token in spec.tokens.keys() {
        output.add(token);
    }

    let rows = padded(output.rows(), spec.pad_to_multiple_of.unwrap_or(1))?;
    let maps = Sources {
        spec,
        merged: &merged,
        base,
    }
    .maps(output.tokens(), rows)?;
    Ok(VocabularyPlan {
        model,
        rowless: merged.iter().filter_map(Merged::rowless).collect(),
        added: output.rows() - vocabularies[model].rows(),
        tokenizer_json: output.write(models[model].1.tokenizer),
        rows,
        maps,
    })
}

impl VocabularyPlan {
    /// The maps of a tensor that only some models have, such as the head of stacked slices: `models` are those of the
    /// plan, without rows where they do not have it. A base that is not among them counts as none.
    ///
    /// # Errors
    /// Those of [`plan_vocabulary`].
    pub fn maps_among(
        &self,
        spec: &TokenizerSpec,
        models: &[(ModelRef, VocabularyInput<'_>)],
        base: Option<usize>,
    ) -> Result<Vec<RowMap>, TokenizerError> {
        let vocabularies = read(models)?;
        let merged = merged(models, &vocabularies);
        let place = |base: usize| merged.iter().position(|model| model.number == base);
        let output = Vocabulary::read(&self.tokenizer_json)?;
        Sources {
            spec,
            merged: &merged,
            base: base.and_then(place),
        }
        .maps(output.tokens(), self.rows)
    }

    /// Adds the tokens that are new to the `added_tokens_decoder` of a `tokenizer_config.json`, if it has one.
    pub fn extend_config(&self, tokenizer_config: &mut Value) {
        let decoder = tokenizer_config.get_mut("added_tokens_decoder");
        let added = self.tokenizer_json.get("added_tokens");
        let (Some(Value::Object(decoder)), Some(Value::Array(added))) = (decoder, added) else {
            return;
        };
        for entry in added.iter().filter_map(Value::as_object) {
            if let Some(id) = entry.get("id") {
                let fields = entry.iter().filter(|(key, _)| *key != "id");
                let fields = || {
                    fields
                        .map(|(k, v)| (k.clone(), v.clone()))
                        .collect::<Map<_, _>>()
                };
                decoder
                    .entry(id.to_string())
                    .or_insert_with(|| fields().into());
            }
        }
    }
}

/// A model that is merged.
struct Merged<'a> {
    /// Number among all models.
    number: usize,
    name: &'a ModelRef,
    vocabulary: &'a Vocabulary<'a>,
    rows: usize,
}

fn merged<'a>(
    models: &'a [(ModelRef, VocabularyInput<'_>)],
    vocabularies: &'a [Vocabulary<'a>],
) -> Vec<Merged<'a>> {
    let models = models.iter().zip(vocabularies).enumerate();
    let merged = models.filter_map(|(number, ((name, input), vocabulary))| {
        Some(Merged {
            number,
            name,
            vocabulary,
            rows: input.rows?,
        })
    });
    merged.collect()
}

impl Merged<'_> {
    /// The row of a token; none where the embedding has no such row.
    fn row(&self, token: &str) -> Option<usize> {
        self.vocabulary.id(token).filter(|&id| id < self.rows)
    }

    fn rowless(&self) -> Option<RowlessTokens> {
        let beyond = || self.vocabulary.tokens().filter(|&(id, _)| id >= self.rows);
        let first: Vec<String> = beyond().take(3).map(|(_, token)| shown(token)).collect();
        (!first.is_empty()).then(|| RowlessTokens {
            model: self.number,
            count: beyond().count(),
            first,
        })
    }
}

/// The vocabulary of every model.
fn read<'a>(
    models: &[(ModelRef, VocabularyInput<'a>)],
) -> Result<Vec<Vocabulary<'a>>, TokenizerError> {
    let read = |(name, input): &(ModelRef, VocabularyInput<'a>)| {
        Vocabulary::read(input.tokenizer).map_err(|error| error.of(name))
    };
    models.iter().map(read).collect()
}

/// The model whose tokenizer is meant: an adapter has that of its model.
fn find(
    models: &[(ModelRef, VocabularyInput<'_>)],
    wanted: &ModelRef,
) -> Result<usize, TokenizerError> {
    let by = |same: &dyn Fn(&ModelRef) -> bool| models.iter().position(|(name, _)| same(name));
    by(&|name| name == wanted)
        .or_else(|| by(&|name| name.model == wanted.model))
        .ok_or_else(|| TokenizerError::Source {
            model: wanted.to_string(),
        })
}

fn padded(rows: usize, multiple: usize) -> Result<usize, TokenizerError> {
    let padded = rows.checked_next_multiple_of(multiple.max(1));
    match padded.filter(|padded| (1..=MOST_ROWS).contains(padded)) {
        Some(padded) => Ok(padded),
        None => Err(TokenizerError::Size {
            found: padded.unwrap_or(usize::MAX),
        }),
    }
}

/// What decides on the source of a row.
struct Sources<'a> {
    spec: &'a TokenizerSpec,
    merged: &'a [Merged<'a>],
    /// Place of the base among the merged.
    base: Option<usize>,
}

impl Sources<'_> {
    /// The maps for these ids and tokens, in the order of ids, and rows without tokens behind them.
    fn maps<'t>(
        &self,
        tokens: impl Iterator<Item = (usize, &'t str)>,
        rows: usize,
    ) -> Result<Vec<RowMap>, TokenizerError> {
        let mut maps: Vec<RowMapBuilder> = self
            .merged
            .iter()
            .map(|_| RowMapBuilder::default())
            .collect();
        let mut ids = vec![None; self.merged.len()];
        for (row, token) in tokens {
            for (id, model) in ids.iter_mut().zip(self.merged) {
                *id = model.row(token);
            }
            let rule = self.spec.tokens.get(token);
            let force = rule.is_some_and(|rule| rule.force);
            let other = if force || ids.contains(&None) {
                self.source(token, rule, &ids)?
            } else {
                RowSource::Zero // every model has its own row
            };
            for (model, (map, id)) in maps.iter_mut().zip(&ids).enumerate() {
                let own = id.filter(|_| !force);
                let own = own.map(|row| RowSource::Model { model, row });
                map.set(row, own.unwrap_or_else(|| other.clone()));
            }
        }
        let finish = |mut map: RowMapBuilder| {
            map.fill_to(rows);
            map.finish()
        };
        Ok(maps.into_iter().map(finish).collect())
    }

    /// The embedding of a token for models that do not take their own; `ids` has its row in each model.
    fn source(
        &self,
        token: &str,
        rule: Option<&TokenRule>,
        ids: &[Option<usize>],
    ) -> Result<RowSource, TokenizerError> {
        match rule.and_then(|rule| rule.source.as_ref()) {
            None => Ok(self.usual(ids)),
            Some(TokenOrigin::Zero) => Ok(RowSource::Zero),
            Some(TokenOrigin::Model(name)) => self.of_token(token, name, token),
            Some(TokenOrigin::Token(name, TokenName::Text(wanted))) => {
                self.of_token(token, name, wanted)
            }
            Some(TokenOrigin::Token(name, TokenName::Id(row))) => {
                let (model, row) = (self.model(token, name)?, *row);
                let rows = self.merged[model].rows;
                if row < rows {
                    return Ok(RowSource::Model { model, row });
                }
                Err(TokenizerError::NoRow {
                    token: shown(token),
                    row,
                    model: name.to_string(),
                    rows,
                })
            }
        }
    }

    /// The embedding of a token without a rule.
    fn usual(&self, ids: &[Option<usize>]) -> RowSource {
        let places = || {
            ids.iter()
                .enumerate()
                .filter_map(|(model, id)| Some((model, (*id)?)))
        };
        let base = self.base.and_then(|model| Some((model, ids[model]?)));
        let mut known = places();
        match (known.next(), known.next()) {
            (None, _) => RowSource::Zero,
            (Some((model, row)), None) => RowSource::Model { model, row },
            _ => match base {
                Some((model, row)) => RowSource::Model { model, row },
                None => RowSource::Mean(places().collect()),
            },
        }
    }

    /// The embedding of `wanted` in the model called `name`.
    fn of_token(
        &self,
        token: &str,
        name: &ModelRef,
        wanted: &str,
    ) -> Result<RowSource, TokenizerError> {
        let model = self.model(token, name)?;
        let row = self.merged[model].row(wanted);
        row.map(|row| RowSource::Model { model, row })
            .ok_or_else(|| TokenizerError::NoToken {
                token: shown(token),
                wanted: shown(wanted),
                model: name.to_string(),
            })
    }

    fn model(&self, token: &str, name: &ModelRef) -> Result<usize, TokenizerError> {
        let place = self.merged.iter().position(|model| model.name == name);
        place.ok_or_else(|| TokenizerError::NotMerged {
            token: shown(token),
            model: name.to_string(),
        })
    }
}
