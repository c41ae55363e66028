//! Text that grows token by token.

use crate::{TextError, Tokenizer};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    tokenizer::DecodeStream,
};

type Stream<'a> = DecodeStream<
    'a,
    ModelWrapper,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// What a model writes, as text, up to the first of some words that stop it.
///
/// Text is held back while more may follow that belongs to a character, or makes it one of the words that stop.
pub struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    stream: Stream<'a>,
    tokens: Vec<u32>,
    stops: &'a [String],
    text: String,
    /// Bytes that were given out.
    given: usize,
    stopped: bool,
}

impl<'a> Answer<'a> {
    /// Nothing so far.
    pub fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Self {
            tokenizer,
            tokens: Vec::new(),
            stream: tokenizer.inner().decode_stream(true),
            stops,
            text: String::new(),
            given: 0,
            stopped: false,
        }
    }

    /// Adds a token; the text that has become certain, which may be none.
    ///
    /// # Errors
    /// When the tokenizer cannot join it.
    pub fn push(&mut self, token: u32) -> Result<&str, TextError> {
        self.tokens.push(token);
        let piece = self.stream.step(token).map_err(|error| TextError::Decode {
            problem: error.to_string(),
        })?;
        if let Some(piece) = piece {
            self.add(&piece);
        }
        let end = if self.stopped {
            self.text.len()
        } else {
            self.certain()
        };
        Ok(self.give(end))
    }

    /// The rest of the text, when no token follows. Bytes that are no whole character stand there as U+FFFD.
    ///
    /// # Errors
    /// When the tokenizer cannot join the tokens.
    pub fn finish(&mut self) -> Result<&str, TextError> {
        if !self.stopped {
            // The stream waits for the rest of a character that will not come.
            let whole = self.tokenizer.decode(&self.tokens)?;
            if let Some(rest) = whole.strip_prefix(&self.text) {
                self.add(rest);
            }
        }
        Ok(self.give(self.text.len()))
    }

    /// Adds text, up to the first of the words that stop.
    fn add(&mut self, piece: &str) {
        if self.stopped {
            return;
        }
        let known = self.text.len();
        self.text += piece;
        let stop = self.stops.iter().filter(|stop| !stop.is_empty());
        let found = stop.filter_map(|stop| {
            let mut from = known.saturating_sub(stop.len());
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            Some(from + self.text[from..].find(stop.as_str())?)
        });
        if let Some(at) = found.min() {
            self.text.truncate(at);
            self.stopped = true;
        }
    }

    /// Whether one of the words that stop has come.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// All text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn give(&mut self, end: usize) -> &str {
        let from = self.given.min(end);
        self.given = from.max(end);
        &self.text[from..end]
    }

    /// Bytes that cannot become part of a word that stops.
    fn certain(&self) -> usize {
        let starts = |from: usize, stop: &String| stop.starts_with(&self.text[from..]);
        let open = |&from: &usize| self.stops.iter().any(|stop| starts(from, stop));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let first = self.text.len().saturating_sub(longest);
        let places = (first..self.text.len()).filter(|&from| self.text.is_char_boundary(from));
        places.clone().find(open).unwrap_or(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::{Overwrite, write_file};
    use refit_testkit::tiny_tokenizer;

    fn tokenizer() -> Tokenizer {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokenizer.json");
        write_file(
            path,
            tiny_tokenizer().to_string().as_bytes(),
            Overwrite::Refuse,
        )
        .unwrap();
        Tokenizer::open(home.path(), 16).unwrap()
    }

    /// Pieces as they are given out, and the whole.
    fn pieces(tokens: &[u32], stops: &[&str]) -> (Vec<String>, String, bool) {
        let tokenizer = tokenizer();
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut answer = Answer::new(&tokenizer, &stops);
        let mut given: Vec<String> = tokens
            .iter()
            .map(|&token| answer.push(token).unwrap().to_owned())
            .collect();
        given.push(answer.finish().unwrap().to_owned());
        assert_eq!(given.concat(), answer.text());
        (given, answer.text().to_owned(), answer.stopped())
    }

    #[test]
    fn pieces_make_up_the_text() {
        // learn from models [SEP] model ##s
        let (given, text, stopped) = pieces(&[4, 5, 6, 3, 8, 7], &[]);
        assert_eq!(given[..3], ["learn", " from", " models"]);
        assert_eq!(text, "learn from models models");
        assert!(!stopped);
    }

    #[test]
    fn text_ends_before_a_word_that_stops_wherever_it_is_cut() {
        assert_eq!(pieces(&[4, 5, 6, 4], &["from models"]).1, "learn ");
        assert_eq!(pieces(&[4, 5, 6, 4], &["zebra", "n f"]).1, "lear");
        // Held back while it might stop, given out when it does not.
        let (given, text, stopped) = pieces(&[4, 5, 8, 4], &["from models"]);
        assert_eq!(given, ["learn", " ", "", "from model learn", ""]);
        assert!(text == "learn from model learn" && !stopped);
        // What is held back at the end belongs to the text.
        assert_eq!(pieces(&[4, 5], &["from models"]).0, ["learn", " ", "from"]);
        // An empty word stops nothing.
        assert!(!pieces(&[4], &[""]).2);
    }

    #[test]
    fn a_character_that_was_cut_stands_as_what_is_left_of_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tokenizer.json");
        // Bytes 0xC3 and 0xA9 are one character; the third token ends in half of it.
        let bytes = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
            "model": { "type": "BPE", "vocab": { "Ã": 0, "©": 1, "abÃ": 2, "c": 3 }, "merges": [] },
        });
        write_file(path, bytes.to_string().as_bytes(), Overwrite::Refuse).unwrap();
        let tokenizer = Tokenizer::open(home.path(), 16).unwrap();
        let written = |tokens: &[u32], stops: &[String]| {
            let mut answer = Answer::new(&tokenizer, stops);
            let mut text = String::new();
            for &token in tokens {
                text += answer.push(token).unwrap();
            }
            text + answer.finish().unwrap()
        };
        assert_eq!(written(&[0, 1, 3], &[]), "éc");
        assert_eq!(written(&[3, 2], &[]), "cab\u{fffd}");
        assert_eq!(written(&[3, 2], &["b".to_owned()]), "ca");
        assert_eq!(written(&[3, 2, 1], &[]), "cabé");
    }
}
