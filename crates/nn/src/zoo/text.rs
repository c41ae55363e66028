//! Models that read text, from their `config.json`.

use super::{
    TokenBatch,
    bert::{BertConfig, Dialect},
    decoder::{self, TextDecoder},
    distilbert::DistilBertConfig,
    encoder::TextEncoder,
    gpt2::Gpt2Config,
    llama::{LlamaConfig, Variant},
    opt::OptConfig,
    seq2seq::Seq2Seq,
    settings::Settings,
    t5::T5Config,
};
use crate::{NnError, Scope};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;
use serde_json::{Map, Value};

/// Configuration of a model that reads text, as its `config.json` holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    family: Family,
    task: TextTask,
}

#[derive(Clone, Debug, PartialEq)]
enum Family {
    Bert(BertConfig),
    DistilBert(DistilBertConfig),
    Gpt2(Gpt2Config),
    Opt(OptConfig),
    Llama(LlamaConfig),
    T5(T5Config),
}

/// What a checkpoint was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextTask {
    /// States of tokens; no head.
    States,
    /// Classes of sequences.
    Sequence {
        /// How many.
        classes: usize,
    },
    /// Classes of tokens.
    Token {
        /// How many.
        classes: usize,
    },
    /// The answer's first and last token.
    Span,
    /// Words in place of hidden ones.
    Words,
    /// The next word.
    NextWord,
    /// Words of another text, which answers the one that is read.
    Answer,
}

/// What a model can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextSize {
    /// Width of a token's state.
    pub hidden: usize,
    /// Words of the vocabulary.
    pub words: usize,
    /// Segments a token can belong to; 0 where the model does not tell them apart.
    pub segments: usize,
    /// Tokens of a sequence.
    pub longest: usize,
}

impl TextSize {
    pub(super) fn check_batch(&self, batch: &TokenBatch) -> Result<(), NnError> {
        batch.check(self.words, self.segments, self.longest)
    }
}

impl TextConfig {
    /// Whether the maps of its layers are stored turned over, `[in, out]`, as GPT-2 does.
    pub const fn turns_maps(&self) -> bool {
        matches!(self.family, Family::Gpt2(_))
    }

    /// The names that `model_type` may have.
    pub const MODEL_TYPES: [&'static str; 12] = [
        "bert",
        "roberta",
        "xlm-roberta",
        "distilbert",
        "gpt2",
        "opt",
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen3",
        "t5",
    ];

    /// Reads the keys of a `config.json`.
    ///
    /// # Errors
    /// An unknown `model_type`, with the nearest one; an architecture whose name ends in no known way; a value of another
    /// type or out of range.
    ///
    /// # Example
    /// ```
    /// use refit_nn::zoo::{TextConfig, TextTask};
    /// let json = serde_json::json!({ "model_type": "bert", "architectures": ["BertModel"] });
    /// let config = TextConfig::read(json.as_object().unwrap())?;
    /// assert_eq!((config.task(), config.size().longest), (TextTask::States, 512));
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    pub fn read(keys: &Map<String, Value>) -> Result<Self, ConfigError> {
        let settings = Settings(keys);
        let name: String = settings.get("model_type", String::new())?;
        let family = match name.as_str() {
            "bert" => Family::Bert(BertConfig::read(settings, Dialect::Bert)?),
            "roberta" | "xlm-roberta" => {
                Family::Bert(BertConfig::read(settings, Dialect::Roberta)?)
            }
            "distilbert" => Family::DistilBert(DistilBertConfig::read(settings)?),
            "gpt2" => Family::Gpt2(Gpt2Config::read(settings)?),
            "opt" => Family::Opt(OptConfig::read(settings)?),
            "llama" => Family::Llama(LlamaConfig::read(settings, Variant::Llama)?),
            "mistral" => Family::Llama(LlamaConfig::read(settings, Variant::Mistral)?),
            "mixtral" => Family::Llama(LlamaConfig::read(settings, Variant::Mixtral)?),
            "qwen2" => Family::Llama(LlamaConfig::read(settings, Variant::Qwen2)?),
            "qwen3" => Family::Llama(LlamaConfig::read(settings, Variant::Qwen3)?),
            "t5" => Family::T5(T5Config::read(settings)?),
            _ => return Err(ConfigError::unknown("model_type", name, Self::MODEL_TYPES)),
        };
        let ends: &[&str] = match family {
            Family::Gpt2(_) | Family::Opt(_) | Family::Llama(_) => &DECODERS,
            Family::T5(_) => &ANSWERERS,
            Family::Bert(_) | Family::DistilBert(_) => &ENCODERS,
        };
        let task = task(settings, ends)?;
        Ok(Self { family, task })
    }

    /// What the checkpoint was trained for.
    pub fn task(&self) -> TextTask {
        self.task
    }

    /// What the model can read.
    pub fn size(&self) -> TextSize {
        match &self.family {
            Family::Bert(config) => config.size(),
            Family::DistilBert(config) => config.size(),
            Family::Gpt2(config) => config.size(),
            Family::Opt(config) => config.size(),
            Family::Llama(config) => config.size(),
            Family::T5(config) => config.size(),
        }
    }

    /// Refuses to guess words in a model whose tokens see those behind them.
    ///
    /// # Errors
    /// In such a decoder.
    pub fn check_causal(&self) -> Result<(), ConfigError> {
        decoder::check_causal(match &self.family {
            Family::Gpt2(config) => config.causal,
            Family::Opt(config) => config.causal,
            Family::Llama(config) => config.causal,
            Family::Bert(_) | Family::DistilBert(_) | Family::T5(_) => true,
        })
    }

    /// Whether there is a length beyond which tokens are not told apart. The longest text of a model without is bounded by
    /// work alone.
    pub const fn limits_length(&self) -> bool {
        !matches!(self.family, Family::T5(_))
    }

    /// Binds the model.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(&self, scope: &Scope<'_>) -> Result<TextModel, NnError> {
        Ok(match &self.family {
            Family::Bert(config) => TextModel::Encoder(config.bind(scope, self.task)?),
            Family::DistilBert(config) => TextModel::Encoder(config.bind(scope, self.task)?),
            Family::Gpt2(config) => TextModel::Decoder(config.bind(scope, self.task)?),
            Family::Opt(config) => TextModel::Decoder(config.bind(scope, self.task)?),
            Family::Llama(config) => TextModel::Decoder(config.bind(scope, self.task)?),
            Family::T5(config) => config.bind(scope, self.task)?,
        })
    }
}

/// A model that reads text, bound to weights.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "bound once per step and never moved again"
)]
pub enum TextModel {
    /// Every token sees every other.
    Encoder(TextEncoder),
    /// A token sees those before it.
    Decoder(TextDecoder),
    /// A decoder answers what an encoder has read.
    Answerer(Seq2Seq),
}

impl TextModel {
    /// States of all tokens after the last layer, `[rows, tokens, d]`; those of the text that is read in a model that
    /// answers.
    ///
    /// # Errors
    /// A token or a length that the model does not have.
    pub fn states(&self, batch: &TokenBatch) -> Result<Dual<3>, NnError> {
        match self {
            Self::Encoder(model) => model.states(batch),
            Self::Decoder(model) => model.states(batch, None),
            Self::Answerer(model) => model.read(batch),
        }
    }

    /// States that layer `layer` of an encoder reads, `[rows, tokens, d]`: what layers before it make of a batch, which
    /// stays the same where only later ones are trained. `None` for decoders, and where there is no such layer.
    ///
    /// # Errors
    /// A token or a length that the model does not have.
    pub fn states_before(
        &self,
        layer: usize,
        batch: &TokenBatch,
    ) -> Result<Option<Dual<3>>, NnError> {
        match self {
            Self::Encoder(model) if layer < model.layers.len() => {
                let embedded = model.embedded(batch)?;
                Ok(Some(model.pass(0..layer, embedded, batch)))
            }
            _ => Ok(None),
        }
    }

    /// States after the last layer, from those that layer `layer` reads; bits are those of [`states`](Self::states).
    /// `None` where [`states_before`](Self::states_before) gives none.
    pub fn states_from(
        &self,
        layer: usize,
        states: Dual<3>,
        batch: &TokenBatch,
    ) -> Option<Dual<3>> {
        match self {
            Self::Encoder(model) if layer < model.layers.len() => {
                Some(model.pass(layer..model.layers.len(), states, batch))
            }
            _ => None,
        }
    }

    /// What the head says: `[rows, tokens, classes or words]`; for classes of sequences, and the first word of answers,
    /// one token per row.
    ///
    /// # Errors
    /// A token or a length that the model does not have.
    pub fn forward(&self, batch: &TokenBatch) -> Result<Dual<3>, NnError> {
        match self {
            Self::Encoder(model) => Ok(model.read(model.states(batch)?, batch)),
            Self::Decoder(model) => Ok(model.answer(model.states(batch, None)?, batch)),
            Self::Answerer(model) => {
                let none = vec![Vec::new(); batch.rows()];
                model.forward(batch, &none)
            }
        }
    }
}

/// How names of architectures end that read whole texts.
const ENCODERS: [&str; 6] = [
    "Model",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMaskedLM",
    "ForPreTraining",
];

/// How those end that write texts on.
const DECODERS: [&str; 5] = [
    "ForCausalLM",
    "LMHeadModel",
    "Model",
    "ForSequenceClassification",
    "ForTokenClassification",
];

/// How those end that answer texts, and their readers alone.
const ANSWERERS: [&str; 3] = [
    "ForConditionalGeneration",
    "WithLMHeadModel", // as the first files had it
    "EncoderModel",
];

/// What the first of `architectures` is for, whose name has one of these ends.
fn task(settings: Settings<'_>, ends: &[&str]) -> Result<TextTask, ConfigError> {
    let names: Vec<String> = settings.get("architectures", Vec::new())?;
    let Some(name) = names.first() else {
        return Ok(TextTask::States);
    };
    match ends.iter().find(|end| name.ends_with(**end)) {
        Some(&("Model" | "EncoderModel")) => Ok(TextTask::States),
        Some(&("ForCausalLM" | "LMHeadModel")) => Ok(TextTask::NextWord),
        Some(&"ForSequenceClassification") => Ok(TextTask::Sequence {
            classes: settings.classes()?,
        }),
        Some(&"ForTokenClassification") => Ok(TextTask::Token {
            classes: settings.classes()?,
        }),
        Some(&"ForQuestionAnswering") => Ok(TextTask::Span),
        Some(&("ForConditionalGeneration" | "WithLMHeadModel")) => Ok(TextTask::Answer),
        Some(_) => Ok(TextTask::Words),
        None => {
            let expected = format!("a name that ends with one of {}", ends.join(", "));
            let found = format_args!("`{name}`");
            Err(ConfigError::range("architectures", found, expected))
        }
    }
}
