//! Tensors whose rows are tokens, tensors that are no weights of the model, and which end of it a tensor is at.

/// What a tensor with a row for each token does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// Tokens into vectors.
    Embedding,
    /// Vectors into tokens. A model without one uses its embedding.
    Head,
    /// Added to what the head gives.
    Bias,
}

/// Ends of names of embeddings.
const EMBEDDINGS: &[&str] = &[
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
    "token_embedding.weight",
    "backbone.embeddings.weight",
    "backbone.embedding.weight",
];
/// Ends of names of heads.
const HEADS: &[&str] = &[
    "lm_head.weight",
    "lm_head.linear.weight",
    "lm_head.decoder.weight",
    "embed_out.weight",
    "cls.predictions.decoder.weight",
    "vocab_projector.weight",
    "transformer.output_layer.weight",
];
/// Ends of names of what is added to the output of heads.
const BIASES: &[&str] = &[
    "lm_head.bias",
    "lm_head.linear.bias",
    "lm_head.decoder.bias",
    "cls.predictions.bias",
    "cls.predictions.decoder.bias",
    "vocab_projector.bias",
];
/// Ends of names of tensors that are computed from `config.json` and only sometimes stored.
const BUFFERS: &[&str] = &[
    "rotary_emb.inv_freq",
    "rotary_pos_emb.inv_freq",
    "attention.masked_bias",
    "attn.masked_bias",
    "embeddings.position_ids",
];

/// Whether `name` is `end`, or ends in it behind a dot.
fn ends_in(name: &str, end: &str) -> bool {
    let head = name.strip_suffix(end);
    head.is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

/// What the tensor called `name` does with tokens, if its rows are tokens.
pub(crate) fn vocabulary(name: &str) -> Option<Vocabulary> {
    let any = |ends: &[&str]| ends.iter().any(|end| ends_in(name, end));
    match name {
        "shared.weight" => Some(Vocabulary::Embedding), // T5
        "output.weight" => Some(Vocabulary::Head),      // InternLM2
        _ if any(EMBEDDINGS) => Some(Vocabulary::Embedding),
        _ if any(HEADS) => Some(Vocabulary::Head),
        _ if any(BIASES) => Some(Vocabulary::Bias),
        _ => None,
    }
}

/// Whether the tensor called `name` is computed from `config.json`: never merged, and no loss where it is not stored.
pub(crate) fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|end| ends_in(name, end)) || is_causal_mask(name)
}

/// GPT-2 stores its causal mask as `h.{i}.attn.bias`, where others have a true bias.
fn is_causal_mask(name: &str) -> bool {
    let name = name.strip_prefix("transformer.").unwrap_or(name);
    let layer = name
        .strip_prefix("h.")
        .and_then(|rest| rest.split_once('.'));
    layer.is_some_and(|(_, rest)| rest == "attn.bias")
}

/// Whether a tensor outside all layers comes before them: embeddings and what makes inputs, as opposed to final norms
/// and heads.
pub(in crate::recipe) fn is_early(name: &str) -> bool {
    const PARTS: &[&str] = &[
        "wte",
        "wpe",
        "shared",
        "conv1",
        "conv2",
        "rotary_emb",
        "rotary_pos_emb",
        "pre_layrnorm",
        "ln_pre",
        "layernorm_pre",
        "cls_token",
        "class_token",
        "class_embedding",
    ];
    if let Some(kind) = vocabulary(name) {
        return kind == Vocabulary::Embedding;
    }
    name.split('.')
        .any(|part| part.contains("embed") || PARTS.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_tokens_are_known_by_name() {
        for (name, kind) in [
            ("model.embed_tokens.weight", Some(Vocabulary::Embedding)),
            (
                "bert.embeddings.word_embeddings.weight",
                Some(Vocabulary::Embedding),
            ),
            ("backbone.embeddings.weight", Some(Vocabulary::Embedding)),
            ("language_model.lm_head.weight", Some(Vocabulary::Head)),
            ("embed_out.weight", Some(Vocabulary::Head)),
            ("output.weight", Some(Vocabulary::Head)),
            ("cls.predictions.bias", Some(Vocabulary::Bias)),
            ("encoder.layer.0.output.weight", None),
            ("bert.embeddings.position_embeddings.weight", None),
            ("my_lm_head.weight", None),
        ] {
            assert_eq!(vocabulary(name), kind, "{name}");
        }
    }

    #[test]
    fn embeddings_are_early_and_norms_and_heads_are_late() {
        for name in [
            "transformer.wpe.weight",
            "model.embed_tokens.weight",
            "embeddings.LayerNorm.bias",
            "pos_embed",
        ] {
            assert!(is_early(name), "{name}");
        }
        for name in [
            "model.norm.weight",
            "lm_head.weight",
            "embed_out.weight",
            "pooler.dense.bias",
            "score.weight",
        ] {
            assert!(!is_early(name), "{name}");
        }
    }

    #[test]
    fn buffers_are_no_weights() {
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "transformer.h.3.attn.bias",
            "h.0.attn.masked_bias",
        ] {
            assert!(is_buffer(name), "{name}");
        }
        for name in [
            "transformer.h.3.attn.c_attn.bias",
            "visual.blocks.0.attn.bias",
            "model.norm.weight",
        ] {
            assert!(!is_buffer(name), "{name}");
        }
    }
}
