//! T5 (Raffel et al. 2020, arXiv:1910.10683) and Flan-T5 (arXiv:2210.11416), in the names of Hugging Face.

use super::{
    Seq2Seq, TextEncoder, TextModel, TextSize, TextTask,
    decoder::{Places, TextDecoder},
    encoder::{TextEmbeddings, TextHead},
    settings::Settings,
};
use crate::{
    NnError, Scope,
    blocks::{
        Activation, Attention, AttentionNames, Embedding, Heads, Layer, Linear, Mlp, Norm,
        NormOrder, RelativeBias, dense,
    },
};
use refit_core::ConfigError;

/// What a T5 is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct T5Config {
    words: usize,
    hidden: usize,
    /// Layers of the encoder and of the decoder.
    layers: [usize; 2],
    heads: Heads,
    inner: usize,
    activation: Activation,
    gated: bool,
    buckets: usize,
    reach: usize,
    eps: f64,
    /// Whether states are scaled down before words are scored, as goes with a table that is used twice.
    scaled: bool,
    start: u32,
}

/// Nothing in a T5 limits how long a text is; what limits it here is that work grows with the square. Memory does not on a
/// CPU, where scores for distances are added within the attention; on other devices, in other types than f32, with a
/// tangent, and where padding stands between the tokens of a memory, there is a score for every head and pair of tokens,
/// for one layer at a time.
const LONGEST: usize = 1 << 14;

const ATTENTION: AttentionNames = AttentionNames {
    query: "q",
    key: "k",
    value: "v",
    output: "o",
};

impl T5Config {
    pub(super) fn read(settings: Settings<'_>) -> Result<Self, ConfigError> {
        settings.only("is_causal", &true)?;
        let layers = settings.layers("num_layers", 6)?;
        let heads = settings.size("num_heads", 8)?;
        let buckets = settings.size("relative_attention_num_buckets", 32)?;
        if buckets < 4 || !buckets.is_multiple_of(2) {
            let key = "relative_attention_num_buckets";
            return Err(ConfigError::range(
                key,
                buckets,
                "an even number of at least 4",
            ));
        }
        let reach = settings.size("relative_attention_max_distance", 128)?;
        if reach <= buckets / 2 {
            let expected = format!("more than half the {buckets} buckets");
            let key = "relative_attention_max_distance";
            return Err(ConfigError::range(key, reach, expected));
        }
        let curve: String = settings.get("feed_forward_proj", "relu".to_owned())?;
        let (activation, gated) = match curve.as_str() {
            "relu" => (Activation::Relu, false),
            "gelu" => (Activation::Gelu, false),
            "gated-gelu" => (Activation::GeluNew, true),
            "gated-silu" => (Activation::Silu, true),
            _ => {
                let known = ["relu", "gelu", "gated-gelu", "gated-silu"];
                return Err(ConfigError::unknown("feed_forward_proj", curve, known));
            }
        };
        let start = settings.find("decoder_start_token_id")?;
        Ok(Self {
            words: settings.size("vocab_size", 32128)?,
            hidden: settings.size("d_model", 512)?,
            layers: [layers, settings.layers("num_decoder_layers", layers)?],
            heads: Heads {
                queries: heads,
                keys: heads,
                width: settings.size("d_kv", 64)?,
            },
            inner: settings.size("d_ff", 2048)?,
            activation,
            gated,
            buckets,
            reach,
            eps: settings.eps("layer_norm_epsilon", 1e-6)?,
            // Older files say it by whether the table of words is used twice.
            scaled: match settings.find("scale_decoder_outputs")? {
                Some(scaled) => scaled,
                None => settings.get("tie_word_embeddings", true)?,
            },
            start: match start {
                Some(start) => start,
                None => settings.padding(Some(0))?.unwrap_or(0),
            },
        })
    }

    pub(super) fn size(&self) -> TextSize {
        TextSize {
            hidden: self.hidden,
            words: self.words,
            segments: 0,
            longest: LONGEST,
        }
    }

    pub(super) fn bind(&self, scope: &Scope<'_>, task: TextTask) -> Result<TextModel, NnError> {
        let d = self.hidden;
        let alone = scope.at("encoder.embed_tokens");
        let words = if alone.holds("weight") && !scope.holds("shared.weight") {
            Embedding::bind(&alone, self.words, d)?
        } else {
            for copy in ["encoder.embed_tokens", "decoder.embed_tokens"] {
                scope.leave_out(copy); // the table of words once more
            }
            Embedding::bind(&scope.at("shared"), self.words, d)?
        };
        let encoder = self.encoder(&scope.at("encoder"), words.clone())?;
        if task != TextTask::Answer {
            super::leave_out_heads(scope, task, &["decoder", "lm_head"]);
            return Ok(TextModel::Encoder(encoder));
        }
        let decoder = self.decoder(scope, words)?;
        Ok(TextModel::Answerer(Seq2Seq {
            encoder,
            decoder,
            start: self.start,
        }))
    }

    fn encoder(&self, place: &Scope<'_>, words: Embedding) -> Result<TextEncoder, NnError> {
        Ok(TextEncoder {
            size: self.size(),
            embeddings: TextEmbeddings {
                words,
                positions: None,
                segments: None,
                norm: None,
                first: 0,
            },
            distances: Some(self.distances(place, true)?),
            layers: self.stack(place, self.layers[0], false)?,
            norm: Some(self.norm(&place.at("final_layer_norm"))?),
            head: TextHead::None,
        })
    }

    fn decoder(&self, scope: &Scope<'_>, words: Embedding) -> Result<TextDecoder, NnError> {
        let (place, d) = (scope.at("decoder"), self.hidden);
        // A map that this model never reads stands in the first files.
        place.leave_out("block.0.layer.1.EncDecAttention.relative_attention_bias");
        // A file that holds a head of its own means it, whatever the configuration says.
        let head = match scope.at("lm_head") {
            own if own.holds("weight") => dense(&own, d, self.words, false)?,
            _ => Linear::tied(words.weight()),
        };
        let factor = if self.scaled {
            (d as f64).sqrt().recip()
        } else {
            1.0
        };
        Ok(TextDecoder {
            size: self.size(),
            words,
            places: Places::Distance(self.distances(&place, false)?),
            widen: None,
            layers: self.stack(&place, self.layers[1], true)?,
            norm: Some(self.norm(&place.at("final_layer_norm"))?.times(factor)),
            narrow: None,
            head: Some(head),
            labels: None,
            causal: true,
            window: None,
        })
    }

    fn distances(&self, place: &Scope<'_>, both_ways: bool) -> Result<RelativeBias, NnError> {
        let place = place.at("block.0.layer.0.SelfAttention.relative_attention_bias");
        RelativeBias::bind(
            &place,
            self.buckets,
            self.heads.queries,
            self.reach,
            both_ways,
        )
    }

    fn norm(&self, place: &Scope<'_>) -> Result<Norm, NnError> {
        Norm::rms(place, self.hidden, self.eps)
    }

    fn stack(&self, place: &Scope<'_>, count: usize, crosses: bool) -> Result<Vec<Layer>, NnError> {
        let layer = |i| self.layer(&place.at("block").at(i).at("layer"), crosses);
        (0..count).map(layer).collect()
    }

    fn layer(&self, scope: &Scope<'_>, crosses: bool) -> Result<Layer, NnError> {
        let (d, last) = (self.hidden, if crosses { 2 } else { 1 });
        let attention = |at: usize, name| {
            let place = scope.at(at);
            let maps = place.at(name);
            let attention = Attention::bind(&maps, ATTENTION, d, self.heads, [false; 2])?;
            let norm = self.norm(&place.at("layer_norm"))?;
            Ok::<_, NnError>((attention.unscaled(), norm))
        };
        let (own, own_norm) = attention(0, "SelfAttention")?;
        let cross = crosses
            .then(|| attention(1, "EncDecAttention"))
            .transpose()?;
        let place = scope.at(last).at("DenseReluDense");
        let map = |name, inputs, outputs| dense(&place.at(name), inputs, outputs, false);
        let down = map("wo", self.inner, d)?;
        let mlp = if self.gated {
            let gate = map("wi_0", d, self.inner)?;
            Mlp::new(map("wi_1", d, self.inner)?, down, self.activation).gated(gate)
        } else {
            Mlp::new(map("wi", d, self.inner)?, down, self.activation)
        };
        Ok(Layer {
            attention: own,
            attention_norm: own_norm,
            cross,
            mlp: mlp.into(),
            mlp_norm: self.norm(&scope.at(last).at("layer_norm"))?,
            order: NormOrder::Before,
            scales: None,
        })
    }
}
