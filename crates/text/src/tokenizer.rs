//! Tokenizers, from the files of a model.

use crate::{TextError, special};
use refit_io::file::read_file;
use serde_json::Value;
use std::path::Path;
use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

/// More than the largest published vocabularies take.
const LARGEST_FILE: u64 = 256 << 20;

/// More tokens than any model reads.
const MOST_TOKENS: f64 = (1u64 << 32) as f64;

/// Cuts texts into the tokens of a model and joins them again.
///
/// ```no_run
/// let tokenizer = refit_text::Tokenizer::open("models/minilm", 256)?;
/// let words = tokenizer.encode("learn from models", None)?;
/// assert_eq!(tokenizer.decode(words.ids())?, "learn from models");
/// # Ok::<(), refit_text::TextError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pad: u32,
}

/// A text as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    ids: Vec<u32>,
    types: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    words: Vec<Option<u32>>,
    sequences: Vec<Option<usize>>,
}

impl From<tokenizers::Encoding> for Encoded {
    fn from(found: tokenizers::Encoding) -> Self {
        Self {
            ids: found.get_ids().to_vec(),
            types: found.get_type_ids().to_vec(),
            offsets: found.get_offsets().to_vec(),
            words: found.get_word_ids().to_vec(),
            sequences: found.get_sequence_ids(),
        }
    }
}

impl Encoded {
    /// The tokens.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The segment of each token: 1 for those of a second text.
    pub fn types(&self) -> &[u32] {
        &self.types
    }

    /// Where in the text each token comes from, in bytes; nothing for what was added.
    pub fn offsets(&self) -> &[(usize, usize)] {
        &self.offsets
    }

    /// Which word of the text each token belongs to; `None` for what was added.
    pub fn words(&self) -> &[Option<u32>] {
        &self.words
    }

    /// Which of the texts each token comes from, 0 or 1; `None` for what was added.
    pub fn sequences(&self) -> &[Option<usize>] {
        &self.sequences
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` in the folder of a model. Texts are cut to `longest` tokens, added ones included.
    ///
    /// # Errors
    /// A missing, unreadable or damaged file; a `longest` that leaves no room beside what is added.
    pub fn open(folder: impl AsRef<Path>, longest: usize) -> Result<Self, TextError> {
        let folder = folder.as_ref();
        let path = folder.join("tokenizer.json");
        let bytes = match read_file(&path, LARGEST_FILE) {
            Err(error) if error.is_not_found() => {
                let folder = folder.into();
                return Err(TextError::NoTokenizer { folder });
            }
            bytes => bytes?,
        };
        let broken = |error: tokenizers::Error| TextError::Tokenizer {
            path: path.clone(),
            problem: error.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(broken)?;
        // The file may say how batches are padded; who makes batches knows better.
        inner.with_padding(None);
        let added = inner
            .get_post_processor()
            .map_or(0, |marks| marks.added_tokens(true));
        if longest <= added {
            return Err(TextError::TooShort { longest, added });
        }
        let truncation = TruncationParams {
            max_length: longest,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        inner.with_truncation(Some(truncation)).map_err(broken)?;
        let tokens = special::special_tokens(folder)?;
        let pad = tokens.get("pad_token");
        let pad = pad.and_then(|token| inner.token_to_id(token)).unwrap_or(0);
        Ok(Self { inner, pad })
    }

    /// The most tokens of a text by the tokenizer's own settings in the folder of a model; `None` where it names none, or a
    /// number so large that it stands for none.
    ///
    /// # Errors
    /// A damaged file.
    pub fn longest(folder: impl AsRef<Path>) -> Result<Option<usize>, TextError> {
        let keys = special::keys(&folder.as_ref().join(special::SETTINGS))?.unwrap_or_default();
        // Some files write what stands for no limit as a whole number, others as a float.
        let longest = keys.get("model_max_length").and_then(Value::as_f64);
        Ok(longest
            .filter(|longest| (1.0..=MOST_TOKENS).contains(longest))
            .map(|longest| longest as usize))
    }

    /// The same tokenizer, which cuts no text short.
    #[must_use]
    pub fn uncut(mut self) -> Self {
        // Taking a limit away cannot fail; only setting one can.
        let _ = self.inner.with_truncation(None);
        self
    }

    pub(crate) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The token that fills up short texts; 0 where the model's files name none.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Number of tokens, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The number of a token that means something and writes nothing, such as the end of a turn.
    pub fn special_id(&self, token: &str) -> Option<u32> {
        let id = self.id(token)?;
        let added = self.inner.get_added_tokens_decoder();
        added.get(&id).filter(|added| added.special).map(|_| id)
    }

    /// Cuts a text, or a pair of them, and adds what the model expects around it.
    ///
    /// # Errors
    /// When the tokenizer cannot cut it.
    pub fn encode(&self, text: &str, second: Option<&str>) -> Result<Encoded, TextError> {
        let found = match second {
            None => self.inner.encode(text, true),
            Some(second) => self.inner.encode((text, second), true),
        };
        found.map(Encoded::from).map_err(uncuttable)
    }

    /// Cuts words, which [`Encoded::words`] then counts, and adds what the model expects around them.
    ///
    /// # Errors
    /// When the tokenizer cannot cut them.
    pub fn encode_words(&self, words: &[String]) -> Result<Encoded, TextError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let found = self.inner.encode(&words[..], true);
        found.map(Encoded::from).map_err(uncuttable)
    }

    /// The tokens of a text that already has what the model expects around it.
    ///
    /// # Errors
    /// When the tokenizer cannot cut it.
    pub fn encode_marked(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let found = self.inner.encode(text, false).map_err(uncuttable)?;
        Ok(found.get_ids().to_vec())
    }

    /// Joins tokens to a text, without those that were added.
    ///
    /// # Errors
    /// When the tokenizer cannot join them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.inner
            .decode(ids, true)
            .map_err(|error| TextError::Decode {
                problem: error.to_string(),
            })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn uncuttable(error: tokenizers::Error) -> TextError {
    let problem = error.to_string();
    TextError::Encode { problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use refit_io::atomic::{Overwrite, write_file};
    use refit_testkit::tiny_tokenizer;
    use serde_json::json;
    use tempfile::TempDir;

    fn folder(pad: &Value) -> TempDir {
        let home = tempfile::tempdir().unwrap();
        let put = |name: &str, value: &Value| {
            let bytes = value.to_string().into_bytes();
            write_file(home.path().join(name), &bytes, Overwrite::Refuse).unwrap();
        };
        put("tokenizer.json", &tiny_tokenizer());
        put("tokenizer_config.json", &json!({ "pad_token": pad }));
        home
    }

    #[test]
    fn texts_are_cut_marked_and_joined_again() {
        let home = folder(&json!("[SEP]"));
        let tokenizer = Tokenizer::open(home.path(), 16).unwrap();
        let found = tokenizer.encode("Learn  from models", None).unwrap();
        assert_eq!(found.ids(), [2, 4, 5, 6, 3]);
        assert_eq!(found.offsets(), [(0, 0), (0, 5), (7, 11), (12, 18), (0, 0)]);
        assert_eq!(found.words(), [None, Some(0), Some(1), Some(2), None]);
        assert_eq!(tokenizer.decode(found.ids()).unwrap(), "learn from models");
        let pair = tokenizer.encode("models", Some("learn")).unwrap();
        assert_eq!(
            (pair.ids(), pair.types()),
            (&[2, 6, 3, 4, 3][..], &[0, 0, 0, 1, 1][..])
        );
        assert_eq!((tokenizer.len(), tokenizer.pad()), (9, 3));
        assert_eq!(
            (tokenizer.special_id("[SEP]"), tokenizer.special_id("learn")),
            (Some(3), None)
        );
        assert_eq!(tokenizer.encode("", None).unwrap().ids(), [2, 3]);
    }

    #[test]
    fn long_texts_lose_their_end_and_keep_their_marks() {
        let home = folder(&json!({ "content": "[PAD]" }));
        let tokenizer = Tokenizer::open(home.path(), 4).unwrap();
        assert_eq!(
            tokenizer.encode("learn from models", None).unwrap().ids(),
            [2, 4, 5, 3]
        );
        assert_eq!(tokenizer.pad(), 0);
    }

    #[test]
    fn a_length_that_stands_for_none_is_none() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Tokenizer::longest(home.path()).unwrap(), None);
        for (text, expected) in [
            (r#"{"model_max_length": 512}"#, Some(512)),
            (
                r#"{"model_max_length": 1000000000000000019884624838656}"#,
                None,
            ),
            (r#"{"model_max_length": 1e30}"#, None),
            (r#"{"model_max_length": null}"#, None),
        ] {
            let path = home.path().join("tokenizer_config.json");
            write_file(path, text.as_bytes(), Overwrite::Replace).unwrap();
            assert_eq!(Tokenizer::longest(home.path()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn missing_and_damaged_files_are_named() {
        let home = tempfile::tempdir().unwrap();
        let error = Tokenizer::open(home.path(), 4).unwrap_err();
        assert!(
            error.to_string().ends_with("has no tokenizer.json"),
            "{error}"
        );
        write_file(home.path().join("tokenizer.json"), b"{}", Overwrite::Refuse).unwrap();
        let error = Tokenizer::open(home.path(), 4).unwrap_err();
        assert!(matches!(error, TextError::Tokenizer { .. }), "{error}");
        let error = Tokenizer::open(folder(&Value::Null).path(), 3).unwrap_err();
        assert!(
            matches!(
                error,
                TextError::TooShort {
                    longest: 3,
                    added: 3
                }
            ),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_too_strange(text in any::<String>(), longest in 4usize..9) {
            let home = folder(&Value::Null);
            let tokenizer = Tokenizer::open(home.path(), longest).unwrap();
            let found = tokenizer.encode(&text, None).unwrap();
            prop_assert!(found.ids().len() <= longest);
            prop_assert!(found.offsets().iter().all(|&(start, end)| text.get(start..end).is_some()));
        }
    }
}
