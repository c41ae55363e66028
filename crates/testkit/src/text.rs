//! A tokenizer of a few words.

use serde_json::{Map, Value, json};

/// The words of [`tiny_tokenizer`] and their numbers, in order.
pub const TINY_WORDS: [&str; 9] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "learn", "from", "models", "##s", "model",
];

/// The `tokenizer.json` of a tokenizer that knows [`TINY_WORDS`], lowers letters, and marks texts and pairs as BERT
/// does.
pub fn tiny_tokenizer() -> Value {
    let words = TINY_WORDS.iter().zip(0..);
    let vocabulary: Map<String, Value> = words
        .map(|(word, at)| ((*word).into(), at.into()))
        .collect();
    let added = |id: usize| {
        json!({
            "id": id, "content": TINY_WORDS[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let mark = |name: &str, kind| json!({ "SpecialToken": { "id": name, "type_id": kind } });
    let text = |id: &str, kind| json!({ "Sequence": { "id": id, "type_id": kind } });
    let tokens = |name: &str, at| json!({ "id": name, "ids": [at], "tokens": [name] });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": {
            "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": [added(0), added(1), added(2), added(3)],
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [mark("[CLS]", 0), text("A", 0), mark("[SEP]", 0)],
            "pair": [
                mark("[CLS]", 0), text("A", 0), mark("[SEP]", 0), text("B", 1), mark("[SEP]", 1),
            ],
            "special_tokens": { "[CLS]": tokens("[CLS]", 2), "[SEP]": tokens("[SEP]", 3) },
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
}
