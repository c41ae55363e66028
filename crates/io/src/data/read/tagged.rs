//! Tagged words: a word and its tag on every line, an empty line between sentences (`CoNLL`).

use super::columns::{TextProblem, at_line, read_unpacked};
use crate::data::DataError;
use std::path::Path;

/// The line that begins a document in some files.
const DOCUMENT: &str = "-DOCSTART-";

/// A sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedSentence {
    /// The words.
    pub words: Vec<String>,
    /// The tag of each.
    pub tags: Vec<String>,
}

/// Reads sentences of tagged words, plain or gzipped: the first column of a line is a word, the last one its tag,
/// between them tabs or, where a line has none, spaces.
///
/// # Errors
/// A line of one column, or that is not UTF-8, with its number; no sentence at all; a file beyond 2 GiB.
///
/// # Example
/// ```
/// use refit_io::{atomic, data::read_tagged};
/// let home = tempfile::tempdir()?;
/// let path = home.path().join("toy.conll");
/// atomic::write_file(&path, b"Ada\tB-person\nsleeps\tO\n\nHi\tO\n", atomic::Overwrite::Refuse)?;
/// let found = read_tagged(&path)?;
/// assert_eq!((found.len(), &found[0].tags[0][..]), (2, "B-person"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_tagged(path: impl AsRef<Path>) -> Result<Vec<TaggedSentence>, DataError> {
    let path = path.as_ref();
    let bytes = read_unpacked(path)?;
    let mut sentences = vec![TaggedSentence::default()];
    for (line, at) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        let failed = at_line(path, at);
        let line = std::str::from_utf8(line).map_err(|_| failed(TextProblem::NotText))?;
        let line = line.trim_end_matches(['\r', ' ']);
        if line.trim().is_empty() || line.starts_with(DOCUMENT) {
            if sentences.last().is_some_and(|last| !last.words.is_empty()) {
                sentences.push(TaggedSentence::default());
            }
            continue;
        }
        let separator = if line.contains('\t') { '\t' } else { ' ' };
        let fields: Vec<&str> = line
            .split(separator)
            .filter(|field| !field.is_empty())
            .collect();
        let ([word, .., tag], Some(sentence)) = (&fields[..], sentences.last_mut()) else {
            return Err(failed(TextProblem::Plain {
                expected: "word<TAB>tag".into(),
            }));
        };
        sentence.words.push((*word).to_owned());
        sentence.tags.push((*tag).to_owned());
    }
    sentences.retain(|sentence| !sentence.words.is_empty());
    if sentences.is_empty() {
        return Err(DataError::format(path, "text", "it holds no sentence"));
    }
    Ok(sentences)
}
