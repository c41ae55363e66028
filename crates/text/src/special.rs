//! Tokens with a part, such as the one that begins a text.

use crate::TextError;
use refit_io::file::read_file;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, path::Path};

/// More than any published file of settings takes: some describe each of a hundred thousand tokens.
pub(crate) const LARGEST_FILE: u64 = 64 << 20;
/// Where models name such tokens; the first file that names one is meant.
const FILES: [&str; 2] = [SETTINGS, "special_tokens_map.json"];
pub(crate) const SETTINGS: &str = "tokenizer_config.json";

/// The tokens that the files in `folder` name, by their part, such as `bos_token`.
pub(crate) fn special_tokens(folder: &Path) -> Result<BTreeMap<String, String>, TextError> {
    let mut found = BTreeMap::new();
    for file in FILES {
        for (part, value) in keys(&folder.join(file))?.unwrap_or_default() {
            // Either the token itself or an object that describes it.
            let token = value.get("content").unwrap_or(&value).as_str();
            if let Some(token) = token.filter(|_| part.ends_with("_token")) {
                found.entry(part).or_insert_with(|| token.to_owned());
            }
        }
    }
    Ok(found)
}

/// The keys of a file of settings; `None` where there is none.
pub(crate) fn keys(path: &Path) -> Result<Option<Map<String, Value>>, TextError> {
    let bytes = match read_file(path, LARGEST_FILE) {
        Err(error) if error.is_not_found() => return Ok(None),
        bytes => bytes?,
    };
    let keys = serde_json::from_slice(&bytes).map_err(|error| TextError::NotJson {
        path: path.into(),
        problem: error.to_string(),
    })?;
    Ok(Some(keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::{Overwrite, write_file};

    #[test]
    fn the_first_file_that_names_a_token_is_meant() {
        let home = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| {
            write_file(home.path().join(name), text, Overwrite::Replace).unwrap();
        };
        assert!(special_tokens(home.path()).unwrap().is_empty());
        put(
            "special_tokens_map.json",
            br#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "additional_special_tokens": ["x"]}"#,
        );
        put(
            SETTINGS,
            br#"{"eos_token": "<end>", "bos_token": null, "model_max_length": 512}"#,
        );
        let found = special_tokens(home.path()).unwrap();
        let expected = [("bos_token", "<s>"), ("eos_token", "<end>")];
        let expected = expected.map(|(part, token)| (part.to_owned(), token.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
        put("special_tokens_map.json", b"[");
        let error = special_tokens(home.path()).unwrap_err().to_string();
        assert!(
            error.contains("special_tokens_map.json` is no JSON object"),
            "{error}"
        );
    }
}
