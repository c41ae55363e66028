//! Which files of a repository are the model.

/// Endings of what describes a model; few bytes each.
const DESCRIPTIONS: [&str; 4] = [".json", ".txt", ".model", ".jinja"];

/// Ending of models that are one file.
const GGUF: &str = ".gguf";

/// Weights once, in the first format that there is, and what describes them; nothing in folders below.
///
/// Of several GGUF files, which are one model in several precisions, none is chosen. Repositories hold the same weights several times (`consolidated.safetensors`, `pytorch_model.bin`, `onnx/`).
pub(super) fn model_files(files: &[String]) -> Vec<String> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let either = |name: &str| has(name) || has(&format!("{name}.index.json"));
    let (start, end) = if either("model.safetensors") {
        ("model", ".safetensors")
    } else if has("adapter_model.safetensors") || either("pytorch_model.bin") {
        ("pytorch_model", ".bin")
    } else if has("adapter_model.bin") {
        ("adapter_model", ".bin")
    } else {
        ("", GGUF)
    };
    let ends = |file: &str, ending: &str| file.len() > ending.len() && file.ends_with(ending);
    let several = files.iter().filter(|file| ends(file, GGUF)).count() > 1;
    let kept = |file: &&String| {
        let weights = file.starts_with(start) && ends(file, end) && !(several && end == GGUF);
        let described = DESCRIPTIONS.iter().any(|ending| file.ends_with(ending));
        let adapter = *file == "adapter_model.safetensors";
        !file.contains('/') && (weights || described || adapter)
    };
    files.iter().filter(kept).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Vec<String> {
        let files: Vec<String> = files.iter().map(|&file| file.into()).collect();
        model_files(&files)
    }

    #[test]
    fn weights_come_once_and_without_what_lies_in_folders() {
        let found = chosen(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "onnx/config.json",
            "pytorch_model.bin",
            "tokenizer.model",
            "vocab.txt",
        ]);
        let expected = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.model",
            "vocab.txt",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn other_formats_serve_where_there_is_no_safetensors() {
        let found = chosen(&["config.json", "pytorch_model.bin", "training_args.bin"]);
        assert_eq!(found, ["config.json", "pytorch_model.bin"]);
        let found = chosen(&["model.Q4_K_M.gguf", "README.md"]);
        assert_eq!(found, ["model.Q4_K_M.gguf"]);
        let several = chosen(&["model.Q4_K_M.gguf", "model.Q8_0.gguf", "config.json"]);
        assert_eq!(several, ["config.json"]);
        let adapter = ["adapter_config.json", "adapter_model.safetensors"];
        assert_eq!(chosen(&adapter), adapter);
        let adapter = ["adapter_config.json", "adapter_model.bin"];
        assert_eq!(chosen(&adapter), adapter);
    }
}
