//! Tokenizers, from the files of a model.

use crate::{TextError, special};
use refit_core::without_panic;
use refit_io::file::read_file;
use serde_json::Value;
use std::{ops::Range, path::Path};
use tokenizers::{
    NormalizerWrapper, PostProcessor, PreTokenizerWrapper, TruncationDirection, TruncationParams,
    TruncationStrategy,
    normalizers::{Lowercase, Sequence},
};

/// More than the largest published vocabularies take.
const LARGEST_FILE: u64 = 256 << 20;

/// More tokens than any model reads.
const MOST_TOKENS: f64 = (1u64 << 32) as f64;

/// Bytes of a text that are looked at first for each token that is wanted: but for runs of one sign tokens are shorter.
const BYTES_OF_TOKEN: usize = 64;
/// Bytes within which a word ends.
const LONGEST_WORD: usize = 4096;

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

    /// A pair in parts of at most `longest` tokens: all of the first text with a window of the second, which shares at most
    /// `shared` tokens with the window before it. Nothing where the first text leaves no room for one.
    #[must_use]
    pub fn windows(&self, longest: usize, shared: usize) -> Vec<Self> {
        let second = |place: &Option<usize>| *place == Some(1);
        let start = self.sequences.iter().position(second);
        let end = self.sequences.iter().rposition(second);
        let (Some(start), Some(end)) = (start, end.map(|end| end + 1)) else {
            let fits = self.ids.len() <= longest;
            return fits.then(|| self.clone()).into_iter().collect();
        };
        let around = self.ids.len() - (end - start);
        let Some(room) = longest.checked_sub(around).filter(|&room| room > 0) else {
            return Vec::new();
        };
        let step = room - shared.min(room / 2);
        let mut windows = Vec::new();
        let mut from = start;
        loop {
            let to = end.min(from + room);
            windows.push(self.without(start..from, to..end));
            if to == end {
                return windows;
            }
            from += step;
        }
    }

    /// Without two stretches of tokens, of which the second lies behind the first.
    fn without(&self, first: Range<usize>, second: Range<usize>) -> Self {
        fn kept<T: Copy>(all: &[T], first: &Range<usize>, second: &Range<usize>) -> Vec<T> {
            [
                &all[..first.start],
                &all[first.end..second.start],
                &all[second.end..],
            ]
            .concat()
        }
        Self {
            ids: kept(&self.ids, &first, &second),
            types: kept(&self.types, &first, &second),
            offsets: kept(&self.offsets, &first, &second),
            words: kept(&self.words, &first, &second),
            sequences: kept(&self.sequences, &first, &second),
        }
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
        // The library holds some things true of a file that a damaged one can say otherwise of, and panics: when it is
        // read, or at the first text.
        let read = without_panic(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
            // The file may say how batches are padded; who makes batches knows better.
            inner.with_padding(None);
            // It may well have no token for these; only whether it can go on is asked.
            let _ = inner.encode("a", true);
            let _ = inner.encode(("a", "b"), true);
            Ok(inner)
        });
        let mut inner = read
            .unwrap_or_else(|| Err("it is damaged".into()))
            .map_err(broken)?;
        let tokens = special::special_tokens(folder)?;
        let pad = tokens.get("pad_token");
        let pad = pad.and_then(|token| inner.token_to_id(token)).unwrap_or(0);
        let settings = special::keys(&folder.join(special::SETTINGS))?.unwrap_or_default();
        let spaced = settings.get("add_prefix_space").and_then(Value::as_bool);
        if let (Some(PreTokenizerWrapper::ByteLevel(bytes)), Some(spaced)) =
            (inner.get_pre_tokenizer(), spaced)
        {
            let bytes = bytes.add_prefix_space(spaced);
            inner.with_pre_tokenizer(Some(bytes));
        }
        Self { inner, pad }.cut_to(longest)
    }

    /// The same tokenizer, which cuts texts to `longest` tokens, added ones included.
    ///
    /// # Errors
    /// A length that leaves no room beside what is added.
    pub fn cut_to(mut self, longest: usize) -> Result<Self, TextError> {
        let marks = self.inner.get_post_processor();
        let added = marks.map_or(0, |marks| marks.added_tokens(true));
        let truncation = TruncationParams {
            max_length: longest,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        if longest <= added || self.inner.with_truncation(Some(truncation)).is_err() {
            return Err(TextError::TooShort { longest, added });
        }
        Ok(self)
    }

    /// The same tokenizer, to which all letters are small.
    ///
    /// # Errors
    /// When the tokens that were added cannot be looked for in small letters.
    pub fn lower(mut self) -> Result<Self, TextError> {
        let mut steps = vec![NormalizerWrapper::from(Lowercase)];
        steps.extend(self.inner.get_normalizer().cloned());
        let steps = Some(Sequence::new(steps));
        self.inner.with_normalizer(steps).map_err(uncuttable)?;
        Ok(self)
    }

    /// Whether the first word of a text is cut as if a space stood before it: not by tokenizers of bytes, unless they say so.
    fn is_spaced(&self) -> bool {
        match self.inner.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::ByteLevel(bytes)) => bytes.add_prefix_space,
            _ => true,
        }
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
        if let (Some(head), None) = (self.head(text), second) {
            let found = self.inner.encode(head, true).map_err(uncuttable)?;
            // Was anything cut off, then the tokens that were not are those of the whole text.
            if !found.get_overflowing().is_empty() {
                return Ok(found.into());
            }
        }
        let found = match second {
            None => self.inner.encode(text, true),
            Some(second) => self.inner.encode((text, second), true),
        };
        found.map(Encoded::from).map_err(uncuttable)
    }

    /// The words with which a text begins of which most is not looked at: cutting a book into tokens for its first page takes
    /// a second and hundreds of bytes for each of them.
    fn head<'t>(&self, text: &'t str) -> Option<&'t str> {
        let longest = self.inner.get_truncation()?.max_length;
        let least = longest.checked_mul(BYTES_OF_TOKEN)?;
        let behind = text.as_bytes().get(least..)?;
        let end = behind
            .iter()
            .take(LONGEST_WORD)
            .position(u8::is_ascii_whitespace)?;
        Some(&text[..least + end])
    }

    /// Cuts words, which [`Encoded::words`] then counts, each as if a space stood before it, and adds what the model expects
    /// around them.
    ///
    /// # Errors
    /// When the tokenizer cannot cut them.
    pub fn encode_words(&self, words: &[String]) -> Result<Encoded, TextError> {
        let whole = |word: &String| format!("{}{word}", if self.is_spaced() { "" } else { " " });
        let words: Vec<String> = words.iter().map(whole).collect();
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
    fn words_are_cut_as_if_a_space_stood_before_them() {
        let home = folder(&Value::Null);
        let bytes = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "post_processor": null, "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "vocab": { "a": 0, "\u{120}": 1, "\u{120}a": 2 }, "merges": [["\u{120}", "a"]],
            },
        });
        let put = |name: &str, value: &Value| {
            let text = value.to_string().into_bytes();
            write_file(home.path().join(name), &text, Overwrite::Replace).unwrap();
        };
        put("tokenizer.json", &bytes);
        put("tokenizer_config.json", &json!({}));
        let words = ["a", "a"].map(str::to_owned);
        let tokenizer = Tokenizer::open(home.path(), 8).unwrap();
        let found = tokenizer.encode_words(&words).unwrap();
        assert_eq!(
            (found.ids(), found.words()),
            (&[2, 2][..], &[Some(0), Some(1)][..])
        );
        assert_eq!(tokenizer.encode("a a", None).unwrap().ids(), [0, 2]);
        // Settings beside the file go before it.
        put(
            "tokenizer_config.json",
            &json!({ "add_prefix_space": true }),
        );
        let tokenizer = Tokenizer::open(home.path(), 8).unwrap();
        let again = tokenizer.encode_words(&words).unwrap();
        assert_eq!((again.ids(), again.words()), (found.ids(), found.words()));
        assert_eq!(tokenizer.encode("a a", None).unwrap().ids(), [2, 2]);
    }

    #[test]
    fn windows_hold_the_first_text_and_every_token_of_the_second() {
        let home = folder(&Value::Null);
        let tokenizer = Tokenizer::open(home.path(), 64).unwrap();
        let whole = tokenizer
            .encode("models", Some("learn from models learn from"))
            .unwrap();
        assert_eq!(whole.ids(), [2, 6, 3, 4, 5, 6, 4, 5, 3]);
        let windows = whole.windows(7, 1);
        let ids: Vec<&[u32]> = windows.iter().map(Encoded::ids).collect();
        assert_eq!(ids, [[2, 6, 3, 4, 5, 6, 3], [2, 6, 3, 6, 4, 5, 3]]);
        assert_eq!(windows[1].offsets()[3..6], whole.offsets()[5..8]);
        assert_eq!(
            (windows[1].types(), windows[1].words().len()),
            (windows[0].types(), 7)
        );
        assert_eq!(whole.windows(64, 8), std::slice::from_ref(&whole));
        // However much is to be shared, windows go on.
        assert_eq!(whole.windows(5, 9).len(), 5);
        assert!(whole.windows(4, 0).is_empty());
        let alone = tokenizer.encode("models", None).unwrap();
        assert!(alone.windows(2, 0).is_empty());
        assert_eq!(alone.windows(3, 0), std::slice::from_ref(&alone));
    }

    #[test]
    fn a_tokenizer_without_an_unknown_token_opens() {
        let home = folder(&Value::Null);
        let words = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": { "red": 0, "fox": 1 }, "unk_token": "[UNK]" },
        });
        let path = home.path().join("tokenizer.json");
        write_file(path, words.to_string().as_bytes(), Overwrite::Replace).unwrap();
        let tokenizer = Tokenizer::open(home.path(), 8).unwrap();
        assert_eq!(tokenizer.encode("red fox", None).unwrap().ids(), [0, 1]);
        assert!(tokenizer.encode("a", None).is_err());
    }

    #[test]
    fn letters_can_be_made_small() {
        let home = folder(&Value::Null);
        let tokenizer = Tokenizer::open(home.path(), 8).unwrap().lower().unwrap();
        assert_eq!(
            tokenizer.encode("LEARN from", None).unwrap().ids(),
            [2, 4, 5, 3]
        );
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
    fn the_first_words_of_a_book_are_those_of_its_first_page() {
        let home = folder(&Value::Null);
        let tokenizer = Tokenizer::open(home.path(), 6).unwrap();
        let book = "learn from ".repeat(500);
        assert!(tokenizer.head(&book).is_some_and(|head| head.len() < 400));
        assert_eq!(
            tokenizer.encode(&book, None).unwrap().ids(),
            [2, 4, 5, 4, 5, 3]
        );
        // Too few words at its beginning.
        let wide = format!("learn{}from models learn", " ".repeat(2000));
        assert!(tokenizer.head(&wide).is_some());
        assert_eq!(
            tokenizer.encode(&wide, None).unwrap().ids(),
            [2, 4, 5, 6, 4, 3]
        );
        assert_eq!(tokenizer.head(&"é".repeat(9000)), None);
        assert_eq!(tokenizer.clone().uncut().head(&book), None);
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
        let mut damaged = tiny_tokenizer();
        damaged["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("[NONE]");
        let path = home.path().join("tokenizer.json");
        write_file(path, damaged.to_string().as_bytes(), Overwrite::Replace).unwrap();
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
