//! Settings of the job from a `--config` file: whatever it leaves out stays as in the preset.

use crate::{
    cli::error::{CliError, Exit},
    job::FusionConfig,
    settings::lay_over,
    yaml::read_mapping,
};
use refit_core::Hint;
use serde_json::Value;
use std::path::Path;

/// The keys that a file may hold beside flags.
pub(in crate::cli) fn keys() -> Vec<String> {
    match serde_json::to_value(FusionConfig::demo()) {
        Ok(Value::Object(all)) => all.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

/// Reads a file over a preset; flags in it were taken before.
pub(super) fn over(preset: &FusionConfig, file: &Path) -> Result<FusionConfig, CliError> {
    let known = keys();
    let mut given = read_mapping(file)?;
    given.retain(|key, _| known.contains(key));
    lay_over(preset, given, &[]).map_err(|error| {
        let words = format!("`{}`: {error}", file.display());
        let shown = CliError::plain(Exit::BadInput, words);
        match error.hint() {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FusionConfig, String> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("c.yaml");
        let mode = refit_io::atomic::Overwrite::Refuse;
        refit_io::atomic::write_file(&file, text.as_bytes(), mode).unwrap();
        over(&FusionConfig::quick(), &file)
            .map_err(|e| e.to_string().replace(&file.display().to_string(), "c.yaml"))
    }

    #[test]
    fn what_a_file_leaves_out_stays() {
        let mut expected = FusionConfig::quick();
        expected.base.steps = 7;
        expected.adamerging.steps = 3;
        expected.transductive = true;
        let text = "base: {steps: 7}\nadamerging:\n  steps: 3\ntransductive: true\nseed: 4\n";
        assert_eq!(read(text), Ok(expected));
        let json = serde_json::to_string(&FusionConfig::real()).unwrap();
        assert_eq!(read(&json), Ok(FusionConfig::real()));
    }

    #[test]
    fn an_encoder_is_changed_in_part_or_replaced_by_another_kind() {
        let part = read("encoder: {hidden: [9]}").unwrap().encoder;
        assert_eq!((part.num_labels(), part.num_outputs()), (0, 9));
        let vit = "encoder: {model_type: vit, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, \
                   intermediate_size: 16, image_size: 28, patch_size: 7, num_channels: 1, num_labels: 0}";
        assert_eq!(read(vit).unwrap().encoder.num_outputs(), 8);
        let slip = read("encoder: {model_type: vti}").unwrap_err();
        assert!(slip.contains("did you mean `vit`"), "{slip}");
    }

    #[test]
    fn slips_are_named_with_their_place_and_neighbour() {
        for (text, expected) in [
            (
                "base: {stpes: 7}",
                "error: `c.yaml`: unknown key `base.stpes`\nhint: did you mean `base.steps`?",
            ),
            (
                "expert: {rate: fast}",
                "error: `c.yaml`: `expert.rate` is \"fast\", expected a number",
            ),
            (
                "adamerging: 5",
                "error: `c.yaml`: `adamerging` is 5, expected `key: value` pairs",
            ),
            (
                "adapt-on: trian",
                "error: `c.yaml`: `adapt-on` is `trian`, expected `train` or `val`; did you mean `train`?",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
    }
}
