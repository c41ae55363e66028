//! Tagged words: a word and its tag on every line, an empty line between sentences (`CoNLL`).

use super::{
    columns::{MOST_BYTES, at_line, unpacked},
    text_problem::TextProblem,
};
use crate::{data::DataError, file::read_file};
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
/// between them tabs or, where a line has none, spaces. Remarks between sentences, lines that begin with `# ` and are
/// not built as rows are, are passed over.
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
    parse_tagged(read_file(path, MOST_BYTES)?, path)
}

/// [`read_tagged`] of the bytes of a file, which messages call `path`.
///
/// # Errors
/// Those of [`read_tagged`], but for what reading a file can do.
pub fn parse_tagged(bytes: Vec<u8>, path: &Path) -> Result<Vec<TaggedSentence>, DataError> {
    let bytes = unpacked(bytes, path)?;
    let rows = shape_of_rows(&bytes);
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
        let fields = fields(line);
        let begins = sentences.last().is_some_and(|last| last.words.is_empty());
        if begins && is_remark(line) && Some(shape(line)) != rows {
            continue;
        }
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

/// The columns of a line.
fn fields(line: &str) -> Vec<&str> {
    let separator = if line.contains('\t') { '\t' } else { ' ' };
    let fields = line.split(separator);
    fields.filter(|field| !field.is_empty()).collect()
}

/// Whether a line may be one: no word of a table between tabs has a space behind its `#`.
fn is_remark(line: &str) -> bool {
    line == "#" || line.starts_with("# ")
}

/// Whether tabs stand between the columns of a line, and how many there are.
fn shape(line: &str) -> (bool, usize) {
    (line.contains('\t'), fields(line).len())
}

/// The shape of the first line that is sure to be a row.
fn shape_of_rows(bytes: &[u8]) -> Option<(bool, usize)> {
    let lines = bytes.split(|&byte| byte == b'\n');
    let mut lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
    let row = lines.find(|line| {
        !line.trim().is_empty() && !line.starts_with(DOCUMENT) && !line.starts_with('#')
    })?;
    Some(shape(row.trim_end_matches(['\r', ' '])))
}
