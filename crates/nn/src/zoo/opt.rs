//! OPT (Zhang et al. 2022, arXiv:2205.01068), in the names of Hugging Face.

use super::{
    TextSize, TextTask,
    decoder::{Places, TextDecoder, head, labels, words},
    settings::Settings,
};
use crate::{
    Init, NnError, Scope,
    blocks::{
        Activation, Attention, AttentionNames, DEVIATION, Embedding, Heads, Layer, Linear, Mlp,
        Norm, NormOrder, dense,
    },
};
use refit_core::ConfigError;

/// What an OPT is made of.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "as many keys of the file say yes or no"
)]
pub(super) struct OptConfig {
    words: usize,
    /// Width of a word; differs from `hidden` in one of the published sizes.
    word: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    positions: usize,
    activation: Activation,
    order: NormOrder,
    last_norm: bool,
    bias: bool,
    /// Whether a token sees those before it alone.
    pub(super) causal: bool,
    tied: bool,
    /// The word that fills texts up.
    padding: Option<u32>,
}

/// Others share these names.
pub(super) const ATTENTION: AttentionNames = AttentionNames {
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.out_proj",
};
const EPS: f64 = 1e-5;
/// Rows of the table of positions that no token has.
const EMPTY_ROWS: u32 = 2;

impl OptConfig {
    pub(super) fn read(settings: Settings<'_>) -> Result<Self, ConfigError> {
        settings.only("layer_norm_elementwise_affine", &true)?;
        let hidden = settings.size("hidden_size", 768)?;
        let before = settings.get("do_layer_norm_before", true)?;
        Ok(Self {
            words: settings.size("vocab_size", 50272)?,
            word: settings.size("word_embed_proj_dim", hidden)?,
            hidden,
            layers: settings.layers("num_hidden_layers", 12)?,
            heads: settings.heads("num_attention_heads", 12, hidden)?,
            inner: settings.size("ffn_dim", 3072)?,
            positions: settings.size("max_position_embeddings", 2048)?,
            activation: settings.get("activation_function", Activation::Relu)?,
            order: if before {
                NormOrder::Before
            } else {
                NormOrder::After
            },
            last_norm: before && !settings.get("_remove_final_layer_norm", false)?,
            bias: settings.get("enable_bias", true)?,
            causal: settings.get("is_causal", true)?,
            tied: settings.get("tie_word_embeddings", true)?,
            padding: settings.padding(Some(1))?,
        })
    }

    pub(super) fn size(&self) -> TextSize {
        TextSize {
            hidden: self.word,
            words: self.words,
            segments: 0,
            longest: self.positions,
        }
    }

    pub(super) fn bind(&self, scope: &Scope<'_>, task: TextTask) -> Result<TextDecoder, NnError> {
        let (place, d) = (scope.inside("model").at("decoder"), self.hidden);
        let sizes = [self.words, self.word];
        let (words, shared) = words(scope, &place.at("embed_tokens"), sizes, self.tied)?;
        let rows = self.positions + EMPTY_ROWS as usize;
        let rows = Embedding::bind(&place.at("embed_positions"), rows, d)?;
        let between = |name, inputs, outputs| {
            let differ = self.word != d;
            let init = Init::Normal(DEVIATION);
            let map = || Linear::bind_plain(&place.at(name), inputs, outputs, init);
            differ.then(map).transpose()
        };
        let (widen, narrow) = (
            between("project_in", self.word, d)?,
            between("project_out", d, self.word)?,
        );
        let norm = || Norm::layer(&place.at("final_layer_norm"), d, EPS);
        let norm = self.last_norm.then(norm).transpose()?;
        let layers = (0..self.layers)
            .map(|i| self.layer(&place.at("layers").at(i)))
            .collect::<Result<_, _>>()?;
        Ok(TextDecoder {
            size: self.size(),
            places: Places::Table {
                rows,
                first: EMPTY_ROWS,
            },
            widen,
            layers,
            norm,
            narrow,
            head: head(scope, task, shared, sizes)?,
            labels: labels(scope, task, self.word, "score", self.padding)?,
            words,
            causal: self.causal,
            window: None,
        })
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let (d, heads) = (self.hidden, Heads::even(self.hidden, self.heads));
        let norm = |name| Norm::layer(&scope.at(name), d, EPS);
        Ok(Layer {
            attention: Attention::bind(scope, ATTENTION, d, heads, [self.bias; 2])?,
            attention_norm: norm("self_attn_layer_norm")?,
            mlp: Mlp::new(
                dense(&scope.at("fc1"), d, self.inner, self.bias)?,
                dense(&scope.at("fc2"), self.inner, d, self.bias)?,
                self.activation,
            )
            .into(),
            mlp_norm: norm("final_layer_norm")?,
            cross: None,
            order: self.order,
            scales: None,
        })
    }
}
