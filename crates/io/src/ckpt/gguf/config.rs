//! The `config.json` of a Hugging Face model, as far as the metadata of its GGUF file tells it.

use super::{GgufHeader, GgufType, GgufValue, names::FAMILY};
use refit_core::DType;
use serde_json::{Map, Value, json};

impl GgufHeader {
    /// `config.json` as far as the metadata tells it: architecture, sizes, heads, rotary base, epsilon. `None` for
    /// architectures whose tensors keep the names of the file.
    pub fn config(&self) -> Option<Map<String, Value>> {
        let architecture = self.architecture();
        if !FAMILY.contains(&architecture) {
            return None;
        }
        let class = match architecture {
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            _ => "LlamaForCausalLM",
        };
        let mut config = Map::new();
        config.insert("architectures".into(), json!([class]));
        config.insert("model_type".into(), json!(architecture));
        // Blocks are read as half precision; vectors are in single precision in every file.
        let dtype = match self.tensors.iter().find(|t| t.shape.len() > 1) {
            Some(t) if t.kind == GgufType::Plain(DType::F32) => "float32",
            Some(t) if t.kind == GgufType::Plain(DType::BF16) => "bfloat16",
            _ => "float16",
        };
        config.insert("torch_dtype".into(), json!(dtype));
        let tied = self.tensors.iter().all(|t| &*t.name != "output.weight");
        config.insert("tie_word_embeddings".into(), json!(tied));
        for (key, place) in [
            ("hidden_size", "embedding_length"),
            ("num_hidden_layers", "block_count"),
            ("intermediate_size", "feed_forward_length"),
            ("num_attention_heads", "attention.head_count"),
            ("num_key_value_heads", "attention.head_count_kv"),
            ("head_dim", "attention.key_length"),
            ("max_position_embeddings", "context_length"),
            ("vocab_size", "vocab_size"),
        ] {
            if let Some(n) = self.count(&format!("{architecture}.{place}")) {
                config.insert(key.into(), json!(n));
            }
        }
        for (key, place) in [
            ("rope_theta", "rope.freq_base"),
            ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
        ] {
            if let Some(x) = self.number(&format!("{architecture}.{place}")) {
                // As short as the single-precision number that was stored: 1e-6 and not 9.99999997e-7.
                let short = (x as f32).to_string().parse::<f64>().unwrap_or(x);
                config.insert(key.into(), json!(short));
            }
        }
        for (key, place) in [
            ("bos_token_id", "tokenizer.ggml.bos_token_id"),
            ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ] {
            if let Some(n) = self.count(place) {
                config.insert(key.into(), json!(n));
            }
        }
        if let (None, Some(&GgufValue::List(n))) = (
            config.get("vocab_size"),
            self.metadata.get("tokenizer.ggml.tokens"),
        ) {
            config.insert("vocab_size".into(), json!(n));
        }
        Some(config)
    }
}
