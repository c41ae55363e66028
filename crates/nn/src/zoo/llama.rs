//! Llama (Touvron et al. 2023, arXiv:2302.13971), Mistral (arXiv:2310.06825), Mixtral (arXiv:2401.04088), Qwen2
//! (arXiv:2407.10671) and Qwen3 (arXiv:2505.09388), in the names of Hugging Face.

use super::{
    TextSize, TextTask,
    decoder::{Places, TextDecoder, head, labels, words},
    mixtral, rope,
    settings::Settings,
};
use crate::{
    NnError, Scope,
    blocks::{
        Activation, Attention, AttentionNames, FeedForward, Heads, Layer, Mlp, Norm, NormOrder,
        Rotary, dense,
    },
};
use refit_core::ConfigError;

/// Which of the models that share these layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen3,
}

/// What a Llama is made of.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "as many keys of the file say yes or no"
)]
pub(super) struct LlamaConfig {
    words: usize,
    hidden: usize,
    layers: usize,
    heads: Heads,
    intermediate: usize,
    activation: Activation,
    positions: usize,
    eps: f64,
    rotary: Rotary,
    /// Whether queries, keys and values have biases, and whether the output has.
    attention_bias: [bool; 2],
    mlp_bias: bool,
    head_norms: bool,
    window: Option<usize>,
    /// Whether a token sees those before it alone.
    pub(super) causal: bool,
    tied: bool,
    /// How many perceptrons there are, and how many read a token, in a mixture of them.
    experts: Option<[usize; 2]>,
    /// The word that fills texts up.
    padding: Option<u32>,
}

/// What a file means that says nothing.
struct Defaults {
    words: usize,
    intermediate: usize,
    positions: usize,
    eps: f64,
    base: f64,
    /// Heads of keys; as many as of queries without a number.
    keys: Option<usize>,
}

impl Variant {
    fn defaults(self) -> Defaults {
        let llama = Defaults {
            words: 32000,
            intermediate: 11008,
            positions: 2048,
            eps: 1e-6,
            base: 1e4,
            keys: None,
        };
        match self {
            Self::Llama => llama,
            Self::Mistral => Defaults {
                intermediate: 14336,
                positions: 131_072,
                keys: Some(8),
                ..llama
            },
            Self::Mixtral => Defaults {
                eps: 1e-5,
                base: 1e6,
                ..Self::Mistral.defaults()
            },
            Self::Qwen2 | Self::Qwen3 => Defaults {
                words: 151_936,
                intermediate: 22016,
                positions: 32768,
                keys: Some(32),
                ..llama
            },
        }
    }
}

const ATTENTION: AttentionNames = AttentionNames {
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.o_proj",
};

impl LlamaConfig {
    pub(super) fn read(settings: Settings<'_>, variant: Variant) -> Result<Self, ConfigError> {
        let plain = variant.defaults();
        let hidden = settings.size("hidden_size", 4096)?;
        let queries = settings.size("num_attention_heads", 32)?;
        let keys = match plain.keys {
            Some(keys) if !settings.0.contains_key("num_key_value_heads") => keys,
            _ => queries,
        };
        let keys = settings.heads("num_key_value_heads", keys, queries)?;
        let width = match settings.find::<usize>("head_dim")? {
            Some(width) => width,
            None if variant == Variant::Qwen3 => 128,
            None => {
                super::divides("num_attention_heads", queries, hidden)?;
                hidden / queries
            }
        };
        super::size("head_dim", width)?;
        if !width.is_multiple_of(2) {
            return Err(ConfigError::range("head_dim", width, "an even number"));
        }
        let positions = settings.length("max_position_embeddings", plain.positions)?;
        // What a family does not read means nothing to it.
        let (attention_bias, mlp_bias) = match variant {
            Variant::Llama => {
                let own = settings.get("attention_bias", false)?;
                ([own; 2], settings.get("mlp_bias", false)?)
            }
            Variant::Qwen3 => ([settings.get("attention_bias", false)?; 2], false),
            Variant::Qwen2 => ([true, false], false),
            Variant::Mistral | Variant::Mixtral => ([false; 2], false),
        };
        let window = match variant {
            // Without the key a Mistral has the window of the first one; null means none.
            Variant::Mistral if settings.0.contains_key("sliding_window") => {
                settings.find("sliding_window")?
            }
            Variant::Mistral => Some(4096),
            Variant::Mixtral => settings.find("sliding_window")?,
            Variant::Llama => None,
            Variant::Qwen2 | Variant::Qwen3 => {
                settings.only("use_sliding_window", &false)?;
                None
            }
        };
        if let Some(window) = window {
            super::length("sliding_window", window)?;
        }
        let (rotary, longest) = rope::read(settings, width, positions, plain.base)?;
        Ok(Self {
            words: settings.size("vocab_size", plain.words)?,
            hidden,
            layers: settings.layers("num_hidden_layers", 32)?,
            heads: Heads {
                queries,
                keys,
                width,
            },
            intermediate: settings.size("intermediate_size", plain.intermediate)?,
            activation: settings.get("hidden_act", Activation::Silu)?,
            positions: longest,
            eps: settings.eps("rms_norm_eps", plain.eps)?,
            rotary,
            attention_bias,
            mlp_bias,
            head_norms: variant == Variant::Qwen3,
            window,
            causal: settings.get("is_causal", true)?,
            tied: settings.get("tie_word_embeddings", false)?,
            experts: match variant {
                Variant::Mixtral => Some(experts(settings)?),
                _ => None,
            },
            padding: settings.padding(None)?,
        })
    }

    pub(super) fn size(&self) -> TextSize {
        TextSize {
            hidden: self.hidden,
            words: self.words,
            segments: 0,
            longest: self.positions,
        }
    }

    pub(super) fn bind(&self, scope: &Scope<'_>, task: TextTask) -> Result<TextDecoder, NnError> {
        let (place, sizes @ [_, d]) = (scope.inside("model"), [self.words, self.hidden]);
        let (words, shared) = words(scope, &place.at("embed_tokens"), sizes, self.tied)?;
        let layers = (0..self.layers)
            .map(|i| self.layer(&place.at("layers").at(i)))
            .collect::<Result<_, _>>()?;
        Ok(TextDecoder {
            size: self.size(),
            places: Places::Turn(self.rotary.clone()),
            widen: None,
            layers,
            norm: Some(Norm::rms(&place.at("norm"), d, self.eps)?),
            narrow: None,
            head: head(scope, task, shared, sizes)?,
            labels: labels(scope, task, d, "score", self.padding)?,
            words,
            causal: self.causal,
            window: self.window,
        })
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let d = self.hidden;
        let norm = |name| Norm::rms(&scope.at(name), d, self.eps);
        scope.leave_out("self_attn.rotary_emb.inv_freq");
        let mut attention = Attention::bind(scope, ATTENTION, d, self.heads, self.attention_bias)?;
        if self.head_norms {
            let norm = |name| Norm::rms(&scope.at(name), self.heads.width, self.eps);
            attention = attention.with_norms(norm("self_attn.q_norm")?, norm("self_attn.k_norm")?);
        }
        Ok(Layer {
            attention,
            attention_norm: norm("input_layernorm")?,
            mlp: self.mlp(scope)?,
            mlp_norm: norm("post_attention_layernorm")?,
            cross: None,
            order: NormOrder::Before,
            scales: None,
        })
    }

    fn mlp(&self, scope: &Scope<'_>) -> Result<FeedForward, NnError> {
        let (d, wide, bias) = (self.hidden, self.intermediate, self.mlp_bias);
        if let Some(experts) = self.experts {
            let experts = mixtral::experts(scope, [d, wide], experts, self.activation)?;
            return Ok(FeedForward::Experts(experts));
        }
        let map = |name, inputs, outputs| dense(&scope.at(name), inputs, outputs, bias);
        let (gate, up) = (map("mlp.gate_proj", d, wide)?, map("mlp.up_proj", d, wide)?);
        let down = map("mlp.down_proj", wide, d)?;
        Ok(Mlp::new(up, down, self.activation).gated(gate).into())
    }
}

/// How many perceptrons a mixture has, and how many read a token.
fn experts(settings: Settings<'_>) -> Result<[usize; 2], ConfigError> {
    let all = settings.size("num_local_experts", 8)?;
    super::layers("num_local_experts", all)?; // as many are too many
    let chosen = settings.size("num_experts_per_tok", 2)?;
    if chosen > all {
        let expected = format!("at most `num_local_experts` {all}");
        return Err(ConfigError::range("num_experts_per_tok", chosen, expected));
    }
    Ok([all, chosen])
}
