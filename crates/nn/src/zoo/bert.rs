//! BERT (Devlin et al. 2019, arXiv:1810.04805), RoBERTa (Liu et al. 2019, arXiv:1907.11692) and what is built like
//! them, such as sentence encoders, in the names of Hugging Face.

use super::{
    TextSize, TextTask,
    encoder::{TextEmbeddings, TextEncoder, TextHead},
    settings::Settings,
};
use crate::{
    Init, NnError, Scope,
    blocks::{
        Activation, Attention, AttentionNames, Embedding, Heads, Layer, Linear, Mlp, Norm,
        NormOrder, dense,
    },
};
use refit_core::ConfigError;

/// Which of the models that share these layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Bert,
    Roberta,
}

/// What a BERT is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BertConfig {
    dialect: Dialect,
    words: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    intermediate: usize,
    activation: Activation,
    positions: usize,
    segments: usize,
    eps: f64,
    padding: u32,
    tied: bool,
}

const ATTENTION: AttentionNames = AttentionNames {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
};

impl BertConfig {
    pub(super) fn read(settings: Settings<'_>, dialect: Dialect) -> Result<Self, ConfigError> {
        settings.only("position_embedding_type", &"absolute".to_owned())?;
        settings.only("is_decoder", &false)?;
        let (words, padding) = match dialect {
            Dialect::Bert => (30522, 0),
            Dialect::Roberta => (50265, 1),
        };
        let hidden = settings.size("hidden_size", 768)?;
        let config = Self {
            dialect,
            words: settings.size("vocab_size", words)?,
            hidden,
            layers: settings.layers("num_hidden_layers", 12)?,
            heads: settings.heads("num_attention_heads", 12, hidden)?,
            intermediate: settings.size("intermediate_size", 3072)?,
            activation: settings.get("hidden_act", Activation::Gelu)?,
            positions: settings.size("max_position_embeddings", 512)?,
            segments: settings.size("type_vocab_size", 2)?,
            eps: settings.eps("layer_norm_eps", 1e-12)?,
            padding: settings.padding(Some(padding))?.unwrap_or(padding),
            tied: settings.get("tie_word_embeddings", true)?,
        };
        if config.first() as usize >= config.positions {
            let expected = format!("below `max_position_embeddings` {} - 1", config.positions);
            return Err(ConfigError::range("pad_token_id", config.padding, expected));
        }
        Ok(config)
    }

    /// Row of the first token's position: RoBERTa leaves the rows up to that of padding empty.
    fn first(&self) -> u32 {
        match self.dialect {
            Dialect::Bert => 0,
            Dialect::Roberta => self.padding.saturating_add(1),
        }
    }

    pub(super) fn size(&self) -> TextSize {
        TextSize {
            hidden: self.hidden,
            words: self.words,
            segments: self.segments,
            longest: self.positions - self.first() as usize,
        }
    }

    pub(super) fn bind(&self, scope: &Scope<'_>, task: TextTask) -> Result<TextEncoder, NnError> {
        let name = match self.dialect {
            Dialect::Bert => "bert",
            Dialect::Roberta => "roberta",
        };
        let encoder = scope.inside(name);
        let (place, d) = (encoder.at("embeddings"), self.hidden);
        let embeddings = TextEmbeddings {
            words: Embedding::bind(&place.at("word_embeddings"), self.words, d)?,
            positions: Some(Embedding::bind(
                &place.at("position_embeddings"),
                self.positions,
                d,
            )?),
            segments: Some(Embedding::bind(
                &place.at("token_type_embeddings"),
                self.segments,
                d,
            )?),
            norm: Some(Norm::layer(&place.at("LayerNorm"), d, self.eps)?),
            first: self.first(),
        };
        let layers = (0..self.layers)
            .map(|i| self.layer(&encoder.at("encoder.layer").at(i)))
            .collect::<Result<_, _>>()?;
        let words = embeddings.words.clone();
        // The pooler belongs to the checkpoint of a bare model too, where nothing reads it.
        let reads_pooler =
            self.dialect == Dialect::Bert && matches!(task, TextTask::Sequence { .. });
        let pooler = match encoder.at("pooler.dense") {
            place if reads_pooler || place.holds("weight") => Some(dense(&place, d, d, true)?),
            _ => None,
        };
        Ok(TextEncoder {
            size: self.size(),
            embeddings,
            distances: None,
            layers,
            norm: None,
            head: self.head(scope, task, pooler, &words)?,
        })
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let (d, heads) = (self.hidden, Heads::even(self.hidden, self.heads));
        let norm = |name| Norm::layer(&scope.at(name), d, self.eps);
        Ok(Layer {
            attention: Attention::bind(scope, ATTENTION, d, heads, [true; 2])?,
            attention_norm: norm("attention.output.LayerNorm")?,
            mlp: Mlp::new(
                dense(&scope.at("intermediate.dense"), d, self.intermediate, true)?,
                dense(&scope.at("output.dense"), self.intermediate, d, true)?,
                self.activation,
            )
            .into(),
            mlp_norm: norm("output.LayerNorm")?,
            cross: None,
            order: NormOrder::After,
            scales: None,
        })
    }

    fn head(
        &self,
        scope: &Scope<'_>,
        task: TextTask,
        pooler: Option<Linear>,
        words: &Embedding,
    ) -> Result<TextHead, NnError> {
        let d = self.hidden;
        super::leave_out_heads(scope, task, &["cls", "lm_head", "classifier", "qa_outputs"]);
        let linear = |name, outputs| dense(&scope.at(name), d, outputs, true);
        Ok(match (task, self.dialect) {
            (TextTask::States | TextTask::NextWord | TextTask::Answer, _) => TextHead::None,
            (TextTask::Sequence { classes }, Dialect::Bert) => {
                let pooler = pooler.map(|pooler| (pooler, Some(Activation::Tanh)));
                let classifier = (linear("classifier", classes)?, None);
                TextHead::Sequence(pooler.into_iter().chain([classifier]).collect())
            }
            (TextTask::Sequence { classes }, Dialect::Roberta) => TextHead::Sequence(vec![
                (linear("classifier.dense", d)?, Some(Activation::Tanh)),
                (linear("classifier.out_proj", classes)?, None),
            ]),
            (TextTask::Token { classes }, _) => TextHead::Token(linear("classifier", classes)?),
            (TextTask::Span, _) => TextHead::Token(linear("qa_outputs", 2)?),
            (TextTask::Words, dialect) => {
                super::tied(self.tied)?;
                let (head, dense, norm) = match dialect {
                    Dialect::Bert => ("cls.predictions", "transform.dense", "transform.LayerNorm"),
                    Dialect::Roberta => ("lm_head", "dense", "layer_norm"),
                };
                scope.leave_out("cls.seq_relationship");
                let place = scope.at(head);
                place.leave_out("decoder"); // the table of words and the bias once more
                TextHead::Words {
                    dense: self::dense(&place.at(dense), d, d, true)?,
                    activation: match dialect {
                        Dialect::Bert => self.activation,
                        Dialect::Roberta => Activation::Gelu,
                    },
                    norm: Norm::layer(&place.at(norm), d, self.eps)?,
                    words: Linear::tied(words.weight()),
                    bias: place.tensor("bias", [self.words], Init::Zeros)?,
                }
            }
        })
    }
}
