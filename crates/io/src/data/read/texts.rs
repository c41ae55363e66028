//! Labelled texts: lines of `label<TAB>text`, with or without a header, or of JSON objects.

use super::DataError;
use crate::file::read_file;
use flate2::read::MultiGzDecoder;
use refit_core::Hint;
use serde::Deserialize;
use std::{
    borrow::Cow,
    io::{self, Read},
    path::Path,
};

/// Most bytes of a file, packed and unpacked: some ten million sentences.
const MOST_BYTES: u64 = 2 << 30;
/// Most different labels; more are no classes.
const MOST_LABELS: usize = 10_000;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Texts with a class each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledTexts {
    /// The texts.
    pub texts: Vec<String>,
    /// The class of each, a place in `labels`.
    pub classes: Vec<u32>,
    /// The label of each class, as it was written: ascending as numbers where all are whole numbers, else as text.
    pub labels: Vec<String>,
}

/// What is wrong with a line of labelled texts, as the rest of a sentence that begins with the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProblem {
    /// Bytes that are no text.
    #[error("is not UTF-8")]
    NotText,
    /// A line without a tab.
    #[error("has no tab, expected `label<TAB>text`")]
    NoTab,
    /// Another number of columns than the header.
    #[error("has {found} columns, expected {expected} as in the header")]
    Columns {
        /// Columns it has.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A label of nothing.
    #[error("has an empty label")]
    NoLabel,
    /// A text of nothing.
    #[error("has an empty text")]
    NoText,
    /// A line that is not the JSON object it should be.
    #[error("is no object with the keys `text` and `label`: {problem}")]
    Json {
        /// What its reader says.
        problem: String,
    },
    /// A label that the texts to fit do not have.
    #[error("has the label `{found}`, which no text to fit has")]
    NewLabel {
        /// The label.
        found: String,
    },
    /// More labels than classes can be.
    #[error("has a label more than {MOST_LABELS}, which are the most")]
    TooManyLabels,
}

impl Hint for TextProblem {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotText => "convert the file to UTF-8".into(),
            Self::NoTab => "separate label and text by one tab, the label first".into(),
            Self::NoText => "leave out rows without a text".into(),
            _ => return None,
        })
    }
}

/// One row, and where it stands.
struct Row {
    line: u64,
    label: String,
    text: String,
}

/// Reads labelled texts, plain or gzipped.
///
/// A file whose first line begins with `{` has an object with `text` and `label`, a text or a whole number, on every
/// line. Any other has `label<TAB>text`; a first line that names columns `label` and `text` is a header, and then there
/// may be others. Of a column `split`, rows of `part` are taken, and all rows where there is no such column. Empty lines
/// are passed over. `known` are the labels that there may be, in the order of the classes; without, they are those found.
///
/// # Errors
/// The first line that is no row, with its number; a label that is not `known`; no row at all; fewer than two labels
/// where none are known; a file beyond 2 GiB.
///
/// # Example
/// ```
/// use refit_io::{atomic, data::read_texts};
/// let home = tempfile::tempdir()?;
/// let path = home.path().join("toy.tsv");
/// atomic::write_file(&path, b"good\ta fine film\nbad\ttoo long\n", atomic::Overwrite::Refuse)?;
/// let found = read_texts(&path, "train", None)?;
/// assert_eq!(found.labels, ["bad", "good"]);
/// assert_eq!(found.classes, [1, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_texts(
    path: impl AsRef<Path>,
    part: &str,
    known: Option<&[String]>,
) -> Result<LabelledTexts, DataError> {
    let path = path.as_ref();
    let rows = rows(path, &unpacked(path)?, part)?;
    let at_line = |line, problem| DataError::Text {
        at: path.into(),
        line,
        problem,
    };
    if rows.is_empty() {
        let problem = format_args!("it holds no row of the part `{part}`");
        return Err(DataError::format(path, "text", problem));
    }
    let labels = match known {
        Some(known) => known.to_vec(),
        None => labels(&rows).map_err(|line| at_line(line, TextProblem::TooManyLabels))?,
    };
    if let [label] = &labels[..] {
        return Err(DataError::OneLabel {
            at: path.into(),
            label: label.clone(),
        });
    }
    let (mut texts, mut classes) = (Vec::new(), Vec::new());
    for row in rows {
        let class = labels.iter().position(|label| *label == row.label);
        let class = class.ok_or_else(|| {
            let found = shown(&row.label);
            at_line(row.line, TextProblem::NewLabel { found })
        })?;
        classes.push(class as u32);
        texts.push(row.text);
    }
    Ok(LabelledTexts {
        texts,
        classes,
        labels,
    })
}

fn unpacked(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = read_file(path, MOST_BYTES)?;
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    let packed = MultiGzDecoder::new(&bytes[..]);
    match packed.take(MOST_BYTES + 1).read_to_end(&mut out) {
        Ok(_) if out.len() as u64 <= MOST_BYTES => Ok(out),
        Ok(_) => Err(DataError::TooLarge {
            at: path.into(),
            what: "unpacked content".into(),
            bytes: out.len() as u64,
            limit: MOST_BYTES,
        }),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(DataError::io(path)(error)),
        Err(_) => Err(DataError::format(path, "gzip", "it does not unpack")),
    }
}

/// The rows of the part that is asked for.
fn rows(path: &Path, bytes: &[u8], part: &str) -> Result<Vec<Row>, DataError> {
    let mut layout = None;
    let mut rows = Vec::new();
    for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let number = at as u64 + 1;
        let failed = |problem| DataError::Text {
            at: path.into(),
            line: number,
            problem,
        };
        let line = std::str::from_utf8(line).map_err(|_| failed(TextProblem::NotText))?;
        let layout = match &layout {
            Some(layout) => layout,
            None => {
                let (found, is_row) = Layout::of(line);
                let found = layout.insert(found);
                if !is_row {
                    continue;
                }
                found
            }
        };
        let Some([label, text]) = layout.row(line, part).map_err(failed)? else {
            continue;
        };
        if label.trim().is_empty() {
            return Err(failed(TextProblem::NoLabel));
        }
        if text.trim().is_empty() {
            return Err(failed(TextProblem::NoText));
        }
        rows.push(Row {
            line: number,
            label: label.trim().to_owned(),
            text: text.into_owned(),
        });
    }
    Ok(rows)
}

/// The different labels in order, or the line with one too many.
fn labels(rows: &[Row]) -> Result<Vec<String>, u64> {
    let mut labels: Vec<&str> = Vec::new();
    for row in rows {
        if let Err(at) = labels.binary_search(&row.label.as_str()) {
            if labels.len() == MOST_LABELS {
                return Err(row.line);
            }
            labels.insert(at, &row.label);
        }
    }
    let numbers: Option<Vec<i64>> = labels.iter().map(|label| label.parse().ok()).collect();
    if numbers.is_some() {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    Ok(labels.into_iter().map(str::to_owned).collect())
}

/// What the lines of a file are.
enum Layout {
    /// `label<TAB>text`.
    Plain,
    /// Columns by a header: how many, and where they stand.
    Header {
        columns: usize,
        label: usize,
        text: usize,
        split: Option<usize>,
    },
    /// An object.
    Json,
}

#[derive(Deserialize)]
struct Object {
    text: String,
    label: Label,
    split: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Number(i64),
    Text(String),
}

impl Layout {
    /// The layout by the first line, and whether that is a row already.
    fn of(line: &str) -> (Self, bool) {
        if line.trim_start().starts_with('{') {
            return (Self::Json, true);
        }
        let names: Vec<&str> = line.split('\t').map(str::trim).collect();
        let find = |name: &str| names.iter().position(|n| n.eq_ignore_ascii_case(name));
        match (find("label"), find("text")) {
            (Some(label), Some(text)) => {
                let layout = Self::Header {
                    columns: names.len(),
                    label,
                    text,
                    split: find("split"),
                };
                (layout, false)
            }
            _ => (Self::Plain, true),
        }
    }

    /// Label and text of a line; `None` for a row of another part.
    fn row<'l>(&self, line: &'l str, part: &str) -> Result<Option<[Cow<'l, str>; 2]>, TextProblem> {
        match *self {
            Self::Plain => {
                let (label, text) = line.split_once('\t').ok_or(TextProblem::NoTab)?;
                Ok(Some([label.into(), text.into()]))
            }
            Self::Header {
                columns,
                label,
                text,
                split,
            } => {
                let fields: Vec<&str> = line.split('\t').collect();
                if fields.len() != columns {
                    return Err(TextProblem::Columns {
                        found: fields.len(),
                        expected: columns,
                    });
                }
                let wanted = split.is_none_or(|split| fields[split].trim() == part);
                Ok(wanted.then(|| [fields[label].into(), fields[text].into()]))
            }
            Self::Json => {
                let row: Object =
                    serde_json::from_str(line).map_err(|error| TextProblem::Json {
                        problem: error.to_string(),
                    })?;
                let wanted = row.split.is_none_or(|split| split == part);
                let label = match row.label {
                    Label::Number(label) => label.to_string(),
                    Label::Text(label) => label,
                };
                Ok(wanted.then(|| [label.into(), row.text.into()]))
            }
        }
    }
}

/// A label as messages show it.
fn shown(label: &str) -> String {
    let mut text: String = label.chars().take(40).collect();
    if text.len() < label.len() {
        text += "..";
    }
    text.escape_debug().to_string()
}
