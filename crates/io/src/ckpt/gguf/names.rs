//! Names and orders of llama.cpp, and those of the Hugging Face model they came from.
//! Source: the tensor names that llama.cpp's converter writes for models of the Llama family.

use super::{GgufHeader, GgufTensor};

/// Architectures whose names are known. Others keep the names of the file.
pub(super) const FAMILY: [&str; 3] = ["llama", "qwen2", "qwen3"];

/// The order of the rows of a tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ckpt) enum RowOrder {
    /// That of the model.
    Same,
    /// Rotary pairs side by side: row `2 i + j` of a head of `head` rows is the model's row `j head/2 + i`.
    Paired {
        /// Rows of a head.
        head: usize,
    },
}

impl RowOrder {
    /// Where the model's row lies in the file.
    pub(in crate::ckpt) fn stored(self, row: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Paired { head } => {
                let (start, row) = (row - row % head, row % head);
                start + 2 * (row % (head / 2)) + row / (head / 2)
            }
        }
    }
}

/// The name of `tensor` in the Hugging Face model, and the order of its rows. `None` where the model has no such
/// tensor: the factors of long rotary embeddings stand in its configuration.
pub(in crate::ckpt) fn hub_tensor(
    header: &GgufHeader,
    tensor: &GgufTensor,
) -> Option<(String, RowOrder)> {
    let architecture = header.architecture();
    if !FAMILY.contains(&architecture) {
        return Some((tensor.name.to_string(), RowOrder::Same));
    }
    if &*tensor.name == "rope_freqs.weight" {
        return None;
    }
    let name = hub_name(&tensor.name).unwrap_or_else(|| tensor.name.to_string());
    // Only this architecture is written with its pairs side by side.
    let order = if architecture == "llama" {
        row_order(header, tensor)
    } else {
        RowOrder::Same
    };
    Some((name, order))
}

fn row_order(header: &GgufHeader, tensor: &GgufTensor) -> RowOrder {
    let of = |key: &str| header.count(&format!("llama.attention.{key}"));
    let heads = match part_of(&tensor.name) {
        Some("attn_q.weight" | "attn_q.bias") => of("head_count"),
        Some("attn_k.weight" | "attn_k.bias") => of("head_count_kv").or_else(|| of("head_count")),
        _ => None,
    };
    let rows = tensor.shape.first().copied().unwrap_or(1);
    match heads.map(|heads| heads as usize) {
        Some(heads) if heads > 0 && rows > 0 && rows.is_multiple_of(2 * heads) => {
            RowOrder::Paired { head: rows / heads }
        }
        _ => RowOrder::Same,
    }
}

/// The part of the name behind `blk.N.`.
fn part_of(name: &str) -> Option<&str> {
    name.strip_prefix("blk.")?
        .split_once('.')
        .map(|(_, part)| part)
}

fn hub_name(name: &str) -> Option<String> {
    let whole = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => {
            let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
            let (module, kind) = part.rsplit_once('.')?;
            let module = match module {
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "attn_q_norm" => "self_attn.q_norm",
                "attn_k_norm" => "self_attn.k_norm",
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            return Some(format!("model.layers.{layer}.{module}.{kind}"));
        }
    };
    Some(whole.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_family_are_those_of_the_hub() {
        for (file, hub) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("output.weight", "lm_head.weight"),
            (
                "blk.12.attn_q.weight",
                "model.layers.12.self_attn.q_proj.weight",
            ),
            ("blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"),
            (
                "blk.0.ffn_norm.weight",
                "model.layers.0.post_attention_layernorm.weight",
            ),
            (
                "blk.0.ffn_down.weight",
                "model.layers.0.mlp.down_proj.weight",
            ),
        ] {
            assert_eq!(hub_name(file).as_deref(), Some(hub));
        }
        assert_eq!(hub_name("blk.0.ffn_gate_exps.weight"), None);
        assert_eq!(hub_name("rope_freqs.weight"), None);
    }

    #[test]
    fn pairs_side_by_side_become_halves() {
        // One head of six rows: the file holds rows 0 3 1 4 2 5 of the model.
        let order = RowOrder::Paired { head: 6 };
        let rows: Vec<_> = (0..12).map(|row| order.stored(row)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
