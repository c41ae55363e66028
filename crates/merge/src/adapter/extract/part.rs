//! What becomes of a tensor, told from its name and shape.

use super::{super::is_transposed_type, Embeddings, ExtractConfig, Others};
use crate::recipe::{Vocabulary, vocabulary};
use refit_core::{Placement, TensorMeta};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What becomes of a tensor that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It becomes two factors.
    LowRank(Placement),
    /// Its difference goes with the adapter: the bias of a layer that has factors.
    Shift,
    /// It goes with the adapter as it is.
    Whole,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::LowRank(_) => "low-rank",
            Self::Shift => "shift",
            Self::Whole => "whole",
        })
    }
}

/// Heads of tasks, as classes of models call them.
const TASK_HEADS: [&str; 3] = ["classifier", "qa_outputs", "score"];

/// What `config.json` tells of layers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    /// Whether blocks store their weights `[in, out]`.
    transposed: bool,
    /// Whether the head is the embedding; `None` where that is not said.
    pub(super) tied: Option<bool>,
}

impl Traits {
    pub(super) fn of(config: Option<&Value>) -> Self {
        let told = |key: &str| {
            let config = config?;
            config
                .get(key)
                .or_else(|| config.get("text_config")?.get(key))
        };
        let kind = told("model_type").and_then(Value::as_str);
        Self {
            transposed: kind.is_some_and(is_transposed_type),
            tied: told("tie_word_embeddings").and_then(Value::as_bool),
        }
    }

    /// What becomes of the weight `meta`, before biases are brought to their layers; `None` where it is left out.
    pub(super) fn part(self, meta: &TensorMeta, config: &ExtractConfig) -> Option<Part> {
        match self.kind(meta) {
            Kind::Layer(placement) => Some(Part::LowRank(placement)),
            Kind::Table(placement) => match config.embeddings {
                Embeddings::LeaveOut => None,
                // Settings of adapters speak of all layers at once.
                Embeddings::LowRank if !self.transposed || placement != Placement::Linear => {
                    Some(Part::LowRank(placement))
                }
                Embeddings::Whole | Embeddings::LowRank => Some(Part::Whole),
            },
            Kind::Other => (config.others != Others::LeaveOut).then_some(Part::Whole),
        }
    }

    fn kind(self, meta: &TensorMeta) -> Kind {
        let name = meta.path.as_str();
        let Some(module) = name
            .strip_suffix(".weight")
            .filter(|_| meta.shape.len() == 2)
        else {
            return Kind::Other;
        };
        let layer = module.rsplit('.').next().unwrap_or(module);
        match vocabulary(name) {
            Some(Vocabulary::Head) => Kind::Table(Placement::Linear),
            Some(_) => Kind::Table(Placement::Embedding),
            None if is_task_head(module) => Kind::Table(Placement::Linear),
            None if is_embedding(layer) => Kind::Table(Placement::Embedding),
            // A name that speaks of embeddings and is none of theirs may be a table or a layer.
            None if layer.contains("embed") => Kind::Other,
            None if !self.transposed => Kind::Layer(Placement::Linear),
            // The layers of these models have such names; one that is square does not tell how it is stored.
            None if layer.starts_with("c_") => Kind::Layer(Placement::Transposed),
            None => Kind::Other,
        }
    }
}

/// What a tensor is, told from its name and shape.
enum Kind {
    /// The weight of a linear layer inside the model.
    Layer(Placement),
    /// An embedding or a head.
    Table(Placement),
    /// A norm, a bias, a convolution.
    Other,
}

/// Whether a module of this name tells classes or spans apart: trained from nothing, and expected whole by loaders.
fn is_task_head(module: &str) -> bool {
    TASK_HEADS.contains(&module)
}

/// Whether a module of this name looks up rows.
fn is_embedding(layer: &str) -> bool {
    let is_table = |end| layer == end || layer.ends_with(&format!("_{end}"));
    matches!(layer, "wte" | "wpe" | "shared" | "relative_attention_bias")
        || is_table("embedding")
        || is_table("embeddings")
        || matches!(layer, "embed_tokens" | "embed_positions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::DType;
    use serde_json::json;

    fn part(name: &str, shape: &[usize], kind: &str, embeddings: Embeddings) -> Part {
        let meta = TensorMeta {
            path: name.into(),
            dtype: DType::F32,
            shape: shape.to_vec(),
        };
        let config = ExtractConfig {
            embeddings,
            ..Default::default()
        };
        Traits::of(Some(&json!({ "model_type": kind })))
            .part(&meta, &config)
            .unwrap()
    }

    #[test]
    fn layers_tables_and_others_are_told_apart() {
        use Placement::{Embedding, Linear, Transposed};
        for (name, shape, kind, whole, low_rank) in [
            (
                "model.layers.0.mlp.up_proj.weight",
                &[8, 4][..],
                "llama",
                Some(Linear),
                Some(Linear),
            ),
            (
                "model.embed_tokens.weight",
                &[9, 4],
                "llama",
                None,
                Some(Embedding),
            ),
            ("lm_head.weight", &[9, 4], "llama", None, Some(Linear)),
            ("model.norm.weight", &[4], "llama", None, None),
            (
                "vit.patches.projection.weight",
                &[4, 3, 2, 2],
                "vit",
                None,
                None,
            ),
            ("a.A_log", &[4, 3], "mamba", None, None),
            (
                "bert.embeddings.position_embeddings.weight",
                &[9, 4],
                "bert",
                None,
                Some(Embedding),
            ),
            (
                "text_embedding_projection.weight",
                &[9, 4],
                "clip",
                None,
                None,
            ),
            (
                "transformer.h.0.attn.c_attn.weight",
                &[4, 12],
                "gpt2",
                Some(Transposed),
                Some(Transposed),
            ),
            (
                "transformer.h.0.attn.c_attn.weight",
                &[12, 4],
                "gpt_bigcode",
                Some(Linear),
                Some(Linear),
            ),
            (
                "transformer.wpe.weight",
                &[9, 4],
                "gpt2",
                None,
                Some(Embedding),
            ),
            ("lm_head.weight", &[9, 4], "gpt2", None, None),
            ("score.weight", &[2, 4], "gpt2", None, None),
            ("score.weight", &[2, 4], "llama", None, Some(Linear)),
            ("classifier.weight", &[2, 4], "bert", None, Some(Linear)),
            (
                "classifier.dense.weight",
                &[4, 4],
                "roberta",
                Some(Linear),
                Some(Linear),
            ),
        ] {
            let expected = |part: Option<Placement>| part.map_or(Part::Whole, Part::LowRank);
            let found = |embeddings| part(name, shape, kind, embeddings);
            assert_eq!(found(Embeddings::Whole), expected(whole), "{name} {kind}");
            assert_eq!(
                found(Embeddings::LowRank),
                expected(low_rank),
                "{name} {kind}"
            );
        }
    }
}
