//! DistilBERT (Sanh et al. 2019, arXiv:1910.01108), in the names of Hugging Face.

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

/// What a DistilBERT is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DistilBertConfig {
    words: usize,
    dim: usize,
    layers: usize,
    heads: usize,
    hidden_dim: usize,
    activation: Activation,
    positions: usize,
    tied: bool,
}

const ATTENTION: AttentionNames = AttentionNames {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
};
const EPS: f64 = 1e-12;

/// Tensors of the heads.
const HEADS: [&str; 6] = [
    "vocab_transform",
    "vocab_layer_norm",
    "vocab_projector",
    "pre_classifier",
    "classifier",
    "qa_outputs",
];

impl DistilBertConfig {
    pub(super) fn read(settings: Settings<'_>) -> Result<Self, ConfigError> {
        let dim = settings.size("dim", 768)?;
        Ok(Self {
            words: settings.size("vocab_size", 30522)?,
            dim,
            layers: settings.layers("n_layers", 6)?,
            heads: settings.heads("n_heads", 12, dim)?,
            hidden_dim: settings.size("hidden_dim", 3072)?,
            activation: settings.get("activation", Activation::Gelu)?,
            positions: settings.size("max_position_embeddings", 512)?,
            tied: settings.get("tie_word_embeddings", true)?,
        })
    }

    pub(super) fn size(&self) -> TextSize {
        TextSize {
            hidden: self.dim,
            words: self.words,
            segments: 0,
            longest: self.positions,
        }
    }

    pub(super) fn bind(&self, scope: &Scope<'_>, task: TextTask) -> Result<TextEncoder, NnError> {
        let encoder = scope.inside("distilbert");
        let (place, d) = (encoder.at("embeddings"), self.dim);
        let embeddings = TextEmbeddings {
            words: Embedding::bind(&place.at("word_embeddings"), self.words, d)?,
            positions: Some(Embedding::bind(
                &place.at("position_embeddings"),
                self.positions,
                d,
            )?),
            segments: None,
            norm: Some(Norm::layer(&place.at("LayerNorm"), d, EPS)?),
            first: 0,
        };
        let layers = (0..self.layers)
            .map(|i| self.layer(&encoder.at("transformer.layer").at(i)))
            .collect::<Result<_, _>>()?;
        let head = self.head(scope, task, &embeddings.words)?;
        Ok(TextEncoder {
            size: self.size(),
            embeddings,
            distances: None,
            layers,
            norm: None,
            head,
        })
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let (d, heads) = (self.dim, Heads::even(self.dim, self.heads));
        let norm = |name| Norm::layer(&scope.at(name), d, EPS);
        Ok(Layer {
            attention: Attention::bind(scope, ATTENTION, d, heads, [true; 2])?,
            attention_norm: norm("sa_layer_norm")?,
            mlp: Mlp::new(
                dense(&scope.at("ffn.lin1"), d, self.hidden_dim, true)?,
                dense(&scope.at("ffn.lin2"), self.hidden_dim, d, true)?,
                self.activation,
            )
            .into(),
            mlp_norm: norm("output_layer_norm")?,
            cross: None,
            order: NormOrder::After,
            scales: None,
        })
    }

    fn head(
        &self,
        scope: &Scope<'_>,
        task: TextTask,
        words: &Embedding,
    ) -> Result<TextHead, NnError> {
        let d = self.dim;
        super::leave_out_heads(scope, task, &HEADS);
        let linear = |name, outputs| dense(&scope.at(name), d, outputs, true);
        Ok(match task {
            TextTask::States | TextTask::NextWord | TextTask::Answer => TextHead::None,
            TextTask::Sequence { classes } => TextHead::Sequence(vec![
                (linear("pre_classifier", d)?, Some(Activation::Relu)),
                (linear("classifier", classes)?, None),
            ]),
            TextTask::Token { classes } => TextHead::Token(linear("classifier", classes)?),
            TextTask::Span => TextHead::Token(linear("qa_outputs", 2)?),
            TextTask::Words => {
                super::tied(self.tied)?;
                scope.leave_out("vocab_projector.weight"); // the table of words once more
                TextHead::Words {
                    dense: linear("vocab_transform", d)?,
                    activation: self.activation,
                    norm: Norm::layer(&scope.at("vocab_layer_norm"), d, EPS)?,
                    words: Linear::tied(words.weight()),
                    bias: scope
                        .at("vocab_projector")
                        .tensor("bias", [self.words], Init::Zeros)?,
                }
            }
        })
    }
}
