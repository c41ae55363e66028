//! Settings of the job from a `--config` file: whatever it leaves out stays as in the preset.

use crate::{
    cli::error::{CliError, Exit},
    job::FusionConfig,
    recipe::wrong_value,
    yaml::read_mapping,
};
use refit_core::{ConfigError, Hint};
use serde_json::{Map, Value};
use std::path::Path;

/// The keys that a file may hold beside flags.
pub(in crate::cli) fn keys() -> Vec<String> {
    let all = as_json(&FusionConfig::demo());
    let keys = all.as_object().into_iter().flat_map(Map::keys);
    keys.cloned().collect()
}

/// Reads a file over a preset; flags in it were taken before.
pub(super) fn over(preset: &FusionConfig, file: &Path) -> Result<FusionConfig, CliError> {
    let known = keys();
    let mut given = read_mapping(file)?;
    given.retain(|key, _| known.contains(key));
    lay_over(preset, given).map_err(|error| {
        let words = format!("`{}`: {error}", file.display());
        let shown = CliError::plain(Exit::BadInput, words);
        match error.hint() {
            Some(hint) => shown.hint(hint),
            None => shown,
        }
    })
}

fn as_json(config: &FusionConfig) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

fn lay_over(preset: &FusionConfig, given: Map<String, Value>) -> Result<FusionConfig, ConfigError> {
    let mut whole = as_json(preset);
    set_all(&mut whole, "", given)?;
    serde_json::from_value(whole).map_err(|e| ConfigError::conflict("config", e.to_string()))
}

/// Sets every value below the JSON pointer `at`. Each is tried alone, so that an error can name its key.
fn set_all(whole: &mut Value, at: &str, given: Map<String, Value>) -> Result<(), ConfigError> {
    for (key, value) in given {
        let here = whole.pointer(at).and_then(Value::as_object);
        let known = here.into_iter().flat_map(Map::keys);
        let place = format!("{at}/{key}");
        match (here.and_then(|here| here.get(&key)), value) {
            (None, _) => {
                let known: Vec<String> = known.map(|k| dotted(&format!("{at}/{k}"))).collect();
                let known = known.iter().map(String::as_str);
                return Err(ConfigError::unknown("key", dotted(&place), known));
            }
            (Some(Value::Object(_)), Value::Object(inner)) => set_all(whole, &place, inner)?,
            (Some(_), value) => set(whole, &place, &value)?,
        }
    }
    Ok(())
}

fn set(whole: &mut Value, place: &str, value: &Value) -> Result<(), ConfigError> {
    let mut changed = whole.clone();
    if let Some(slot) = changed.pointer_mut(place) {
        slot.clone_from(value);
    }
    serde_json::from_value::<FusionConfig>(changed.clone())
        .map_err(|error| wrong_value(dotted(place), value, &error))?;
    *whole = changed;
    Ok(())
}

/// `base.steps` for `/base/steps`.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
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
    fn slips_are_named_with_their_place_and_neighbour() {
        for (text, expected) in [
            (
                "base: {stpes: 7}",
                "error: `c.yaml`: unknown key `base.stpes`\nhint: did you mean `base.steps`?",
            ),
            (
                "expert: {rate: fast}",
                "error: `c.yaml`: `expert.rate` is \"fast\", expected f64",
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
