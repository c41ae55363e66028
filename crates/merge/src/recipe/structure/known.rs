//! Families of models by the names they give their layers.

/// A numbered list of layers: `{prefix}.0.`, `{prefix}.1.`, ..
pub(super) struct Known {
    /// What stands before the number.
    pub(super) prefix: &'static str,
    /// How recipes call the module where a model has several.
    pub(super) module: &'static str,
    /// Keys of `config.json` that may hold the number of layers, dots leading into nested objects.
    pub(super) counts: &'static [&'static str],
}

/// Where the number of layers stands when a model has one list.
pub(super) const COUNTS: &[&str] = &[
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "text_config.num_hidden_layers",
];
const ENCODER: &[&str] = &["encoder_layers", "num_layers", "num_hidden_layers"];
const DECODER: &[&str] = &["num_decoder_layers", "decoder_layers", "num_hidden_layers"];
const TEXT: &[&str] = &["text_config.num_hidden_layers", "num_hidden_layers"];
const VISION: &[&str] = &[
    "vision_config.num_hidden_layers",
    "vision_config.depth",
    "num_hidden_layers",
];

const fn known(
    prefix: &'static str,
    module: &'static str,
    counts: &'static [&'static str],
) -> Known {
    Known {
        prefix,
        module,
        counts,
    }
}

/// Every list that is known. A model may have several of them.
pub(super) const KNOWN: &[Known] = &[
    // Llama, Mistral, Mixtral, Qwen, Gemma, Phi, Granite, OLMo, Cohere, InternLM2, StarCoder2, ..
    known("model.layers", "text_decoder", COUNTS),
    // GPT-2, Falcon, EXAONE, Qwen 1, Jais
    known("transformer.h", "text_decoder", COUNTS),
    known("h", "text_decoder", COUNTS),
    known("transformer.blocks", "text_decoder", COUNTS), // MPT
    known("gpt_neox.layers", "text_decoder", COUNTS),    // Pythia
    known("backbone.layers", "text_decoder", COUNTS),    // Mamba
    known("transformer.encoder.layers", "text_decoder", COUNTS), // ChatGLM
    // Sequence to sequence
    known("encoder.block", "encoder", ENCODER), // T5
    known("decoder.block", "decoder", DECODER),
    known("model.encoder.layers", "encoder", ENCODER), // BART, Whisper
    known("model.decoder.layers", "decoder", DECODER), // and OPT, which has no encoder
    // Encoders
    known("bert.encoder.layer", "encoder", COUNTS),
    known("roberta.encoder.layer", "encoder", COUNTS),
    known("distilbert.transformer.layer", "encoder", COUNTS),
    known("vit.encoder.layer", "encoder", COUNTS),
    known("encoder.layer", "encoder", COUNTS),
    // Text and images
    known("language_model.model.layers", "text_decoder", TEXT),
    known("model.language_model.layers", "text_decoder", TEXT),
    known("text_model.encoder.layers", "text_model", TEXT), // CLIP
    known("vision_model.encoder.layers", "vision_model", VISION),
    known("vision_model.model.layers", "vision_model", VISION), // Llama 4
    known(
        "vision_tower.vision_model.encoder.layers",
        "vision_tower",
        VISION,
    ),
    known(
        "model.vision_tower.vision_model.encoder.layers",
        "vision_tower",
        VISION,
    ),
    known("vision_tower.transformer.layers", "vision_tower", VISION), // Pixtral
    known(
        "model.vision_tower.transformer.layers",
        "vision_tower",
        VISION,
    ),
    known("visual.blocks", "vision_tower", VISION), // Qwen VL
    known("model.visual.blocks", "vision_tower", VISION),
];

/// To which module a tensor outside all layers belongs when a model has several: the longest beginning decides; what
/// begins otherwise belongs to [`SHARED`].
pub(super) const ROOTS: &[(&str, &str)] = &[
    ("encoder.", "encoder"),
    ("decoder.", "decoder"),
    ("model.encoder.", "encoder"),
    ("model.decoder.", "decoder"),
    ("model.embed_tokens.", "text_decoder"),
    ("model.norm.", "text_decoder"),
    ("model.language_model.", "text_decoder"),
    ("language_model.", "text_decoder"),
    ("lm_head.", "text_decoder"),
    ("text_model.", "text_model"),
    ("text_projection.", "text_model"),
    ("vision_model.", "vision_model"),
    ("visual_projection.", "vision_model"),
    ("vision_tower.", "vision_tower"),
    ("model.vision_tower.", "vision_tower"),
    ("visual.", "vision_tower"),
    ("model.visual.", "vision_tower"),
    ("visual.merger.", PROJECTOR),
    ("model.visual.merger.", PROJECTOR),
    ("model.visual.deepstack_merger_list.", PROJECTOR),
    ("multi_modal_projector.", PROJECTOR),
    ("model.multi_modal_projector.", PROJECTOR),
];

/// The module between images and text.
pub(super) const PROJECTOR: &str = "multi_modal_projector";
/// The module of what no other owns.
pub(super) const SHARED: &str = "shared";
/// The only module of a model that has no others.
pub(super) const DEFAULT: &str = "default";
