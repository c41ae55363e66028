//! GPT-2 (Radford et al. 2019), in the names of Hugging Face.

use super::{
    TextSize, TextTask,
    decoder::{Places, TextDecoder, head, labels, words},
    settings::Settings,
};
use crate::{
    Init, NnError, Scope,
    blocks::{
        Activation, Attention, DEVIATION, Embedding, Heads, Layer, Linear, Mlp, Norm, NormOrder,
    },
};
use refit_core::ConfigError;

/// What a GPT-2 is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gpt2Config {
    words: usize,
    positions: usize,
    width: usize,
    layers: usize,
    heads: usize,
    inner: usize,
    activation: Activation,
    eps: f64,
    /// Whether a token sees those before it alone.
    pub(super) causal: bool,
    tied: bool,
    /// The word that fills texts up.
    padding: Option<u32>,
}

impl Gpt2Config {
    pub(super) fn read(settings: Settings<'_>) -> Result<Self, ConfigError> {
        settings.only("scale_attn_weights", &true)?;
        settings.only("scale_attn_by_inverse_layer_idx", &false)?;
        settings.only("add_cross_attention", &false)?;
        let width = settings.size("n_embd", 768)?;
        Ok(Self {
            words: settings.size("vocab_size", 50257)?,
            positions: settings.size("n_positions", 1024)?,
            width,
            layers: settings.layers("n_layer", 12)?,
            heads: settings.heads("n_head", 12, width)?,
            inner: settings.size("n_inner", 4 * width)?,
            activation: settings.get("activation_function", Activation::GeluNew)?,
            eps: settings.eps("layer_norm_epsilon", 1e-5)?,
            causal: settings.get("is_causal", true)?,
            tied: settings.get("tie_word_embeddings", true)?,
            padding: settings.padding(None)?,
        })
    }

    pub(super) fn size(&self) -> TextSize {
        TextSize {
            hidden: self.width,
            words: self.words,
            segments: 0,
            longest: self.positions,
        }
    }

    pub(super) fn bind(&self, scope: &Scope<'_>, task: TextTask) -> Result<TextDecoder, NnError> {
        let (place, sizes @ [_, d]) = (scope.inside("transformer"), [self.words, self.width]);
        let (words, shared) = words(scope, &place.at("wte"), sizes, self.tied)?;
        let rows = Embedding::bind(&place.at("wpe"), self.positions, d)?;
        let layers = (0..self.layers)
            .map(|i| self.layer(&place.at("h").at(i)))
            .collect::<Result<_, _>>()?;
        Ok(TextDecoder {
            size: self.size(),
            places: Places::Table { rows, first: 0 },
            widen: None,
            layers,
            norm: Some(Norm::layer(&place.at("ln_f"), d, self.eps)?),
            narrow: None,
            head: head(scope, task, shared, sizes)?,
            labels: labels(scope, task, d, "classifier", self.padding)?,
            words,
            causal: self.causal,
            window: None,
        })
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let d = self.width;
        let turned = |name, inputs, outputs| {
            Linear::bind_turned(&scope.at(name), inputs, outputs, Init::Normal(DEVIATION))
        };
        scope.leave_out("attn.bias"); // masks that old checkpoints hold
        scope.leave_out("attn.masked_bias");
        let attention_norm = Norm::layer(&scope.at("ln_1"), d, self.eps)?;
        let joint = turned("attn.c_attn", d, 3 * d)?;
        let [query, key, value] = [0, 1, 2].map(|part| joint.part(part * d, d));
        let output = turned("attn.c_proj", d, d)?;
        let heads = Heads::even(d, self.heads);
        let mlp_norm = Norm::layer(&scope.at("ln_2"), d, self.eps)?;
        let up = turned("mlp.c_fc", d, self.inner)?;
        let down = turned("mlp.c_proj", self.inner, d)?;
        Ok(Layer {
            attention: Attention::new(query, key, value, output, heads),
            attention_norm,
            mlp: Mlp::new(up, down, self.activation).into(),
            mlp_norm,
            cross: None,
            order: NormOrder::Before,
            scales: None,
        })
    }
}
