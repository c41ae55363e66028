//! What a recipe says about the vocabulary of the result.

use super::{
    fields::{Fields, count, mapping, text},
    model_ref::ModelRef,
    place::Place,
    problem::RecipeProblem,
    setting::truth,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most tokens that are treated one by one.
const MOST_TOKENS: usize = 65_536;

/// The vocabulary of the result: `tokenizer_source`, or `tokenizer` with its parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenizerSpec {
    /// Whose vocabulary.
    pub source: TokenizerSource,
    /// Tokens whose embedding comes from somewhere else than by default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, TokenRule>,
    /// Rows of the embedding are filled up to a multiple of this; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_to_multiple_of: Option<usize>,
}

/// Whose vocabulary the result has.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenizerSource {
    /// Every token of every model.
    Union,
    /// That of the base.
    Base,
    /// That of one model.
    Model(ModelRef),
}

/// Where the embedding of one token comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TokenRule {
    /// The place; by default as for every other token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<TokenOrigin>,
    /// Whether models that know the token take this embedding too.
    pub force: bool,
}

/// An embedding.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenOrigin {
    /// All zeros.
    Zero,
    /// That of the same token in a model.
    Model(ModelRef),
    /// That of a token in a model.
    Token(ModelRef, TokenName),
}

/// How a token is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenName {
    /// By its row.
    Id(usize),
    /// By its text.
    Text(String),
}

impl TokenizerSpec {
    /// Reads `tokenizer: {source, tokens, pad_to_multiple_of}`.
    pub(super) fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["source", "tokens", "pad_to_multiple_of"])?;
        let source = fields.map("source", TokenizerSource::read)?;
        let pad = fields.map("pad_to_multiple_of", |value, at| match count(value, &at)? {
            0 => Err(RecipeProblem::kind(&at, value, "a whole number from 1")),
            number => Ok(number),
        })?;
        Ok(Self {
            source: source.unwrap_or(TokenizerSource::Union),
            tokens: fields.map("tokens", read_tokens)?.unwrap_or_default(),
            pad_to_multiple_of: pad,
        })
    }

    /// Reads `tokenizer_source: union`.
    pub(super) fn from_source(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        Ok(Self {
            source: TokenizerSource::read(value, place)?,
            tokens: BTreeMap::new(),
            pad_to_multiple_of: None,
        })
    }

    /// The models that it names.
    pub(super) fn models(&self) -> impl Iterator<Item = &ModelRef> {
        let source = match &self.source {
            TokenizerSource::Model(model) => Some(model),
            TokenizerSource::Union | TokenizerSource::Base => None,
        };
        let tokens = self.tokens.values();
        source
            .into_iter()
            .chain(tokens.filter_map(|rule| match rule.source.as_ref()? {
                TokenOrigin::Zero => None,
                TokenOrigin::Model(model) | TokenOrigin::Token(model, _) => Some(model),
            }))
    }
}

fn read_tokens(value: &Value, place: Place) -> Result<BTreeMap<String, TokenRule>, RecipeProblem> {
    let map = mapping(value, &place)?;
    if map.len() > MOST_TOKENS {
        return Err(RecipeProblem::Count {
            place,
            found: map.len(),
            most: MOST_TOKENS,
        });
    }
    let rule = |(token, value)| {
        Ok((
            String::clone(token),
            TokenRule::read(value, place.key(token))?,
        ))
    };
    map.iter().map(rule).collect()
}

impl TokenizerSource {
    fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        Ok(match value.as_str() {
            Some("union") => Self::Union,
            Some("base") => Self::Base,
            _ => Self::Model(ModelRef::read(value, place)?),
        })
    }
}

impl TokenRule {
    fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["source", "force"])?;
        let force = fields.map("force", |value, at| {
            let flag = truth(value);
            flag.ok_or_else(|| RecipeProblem::kind(&at, value, "true or false"))
        })?;
        Ok(Self {
            source: fields.map("source", TokenOrigin::read)?,
            force: force.unwrap_or(false),
        })
    }
}

impl TokenOrigin {
    /// Reads a model, `{kind: zero}`, or `{kind: model_token, model, token | token_id}`.
    fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        let kind = value.get("kind");
        let Some(kind) = kind.filter(|_| value.is_object()) else {
            return Ok(Self::Model(ModelRef::read(value, place)?));
        };
        match kind.as_str() {
            Some("zero") => Fields::read(value, place, &["kind"]).map(|_| Self::Zero),
            Some("model_token") => Self::read_token(value, place),
            _ => {
                let expected = "`zero` or `model_token`";
                Err(RecipeProblem::kind(&place.key("kind"), kind, expected))
            }
        }
    }

    fn read_token(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["kind", "model", "token", "token_id"])?;
        let (model, at) = fields.need("model", "the model that knows the token")?;
        let model = ModelRef::read(model, at)?;
        let text = fields.map("token", |value, at| text(value, &at))?;
        let id = fields.map("token_id", |value, at| count(value, &at))?;
        let name = match (text, id) {
            (Some(text), None) => TokenName::Text(text),
            (None, Some(id)) => TokenName::Id(id),
            _ => {
                return Err(RecipeProblem::OneOf {
                    place: fields.place().clone(),
                    found: fields.which(&["token", "token_id"]),
                    expected: "`token`, `token_id`",
                });
            }
        };
        Ok(Self::Token(model, name))
    }
}

impl Serialize for TokenizerSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Union => to.serialize_str("union"),
            Self::Base => to.serialize_str("base"),
            Self::Model(model) => model.serialize(to),
        }
    }
}

impl Serialize for TokenOrigin {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            kind: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            model: Option<&'a ModelRef>,
            #[serde(skip_serializing_if = "Option::is_none")]
            token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            token_id: Option<usize>,
        }
        let form = |kind, model, token, token_id| Form {
            kind,
            model,
            token,
            token_id,
        };
        match self {
            Self::Zero => form("zero", None, None, None).serialize(to),
            Self::Model(model) => model.serialize(to),
            Self::Token(model, TokenName::Id(id)) => {
                form("model_token", Some(model), None, Some(*id)).serialize(to)
            }
            Self::Token(model, TokenName::Text(text)) => {
                form("model_token", Some(model), Some(text), None).serialize(to)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<TokenizerSpec, String> {
        TokenizerSpec::read(value, Place::top().key("tokenizer")).map_err(|e| e.to_string())
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        let spec = json!({
            "source": "union",
            "pad_to_multiple_of": 64,
            "tokens": {
                "<a>": {"source": "org/model", "force": true},
                "<b>": {"source": {"kind": "zero"}, "force": false},
                "<c>": {"source": {"kind": "model_token", "model": "m", "token": "</s>"}, "force": false},
                "<d>": {"source": {"kind": "model_token", "model": "m", "token_id": 2}, "force": false},
                "<e>": {"force": false},
            },
        });
        let read = read(&spec).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), spec);
        assert_eq!(read.models().count(), 3);
        let default = super::TokenizerSpec::read(&json!({}), Place::top()).unwrap();
        assert_eq!(default.source, TokenizerSource::Union);
    }

    #[test]
    fn damaged_forms_are_refused_with_their_place() {
        for (value, text) in [
            (json!({"sorce": "union"}), "unknown key `tokenizer.sorce`"),
            (
                json!({"pad_to_multiple_of": 0}),
                "`tokenizer.pad_to_multiple_of` is 0",
            ),
            (
                json!({"tokens": {"<a>": {"source": {"kind": "one"}}}}),
                "`tokenizer.tokens.<a>.source.kind` is `one`",
            ),
            (
                json!({"tokens": {"<a>": {"source": {"kind": "model_token", "model": "m"}}}}),
                "`tokenizer.tokens.<a>.source` has none, expected exactly one of `token`, `token_id`",
            ),
        ] {
            let problem = read(&value).unwrap_err();
            assert!(problem.starts_with(text), "{problem}");
        }
    }
}
