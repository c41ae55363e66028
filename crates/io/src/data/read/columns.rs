//! Columns of texts: tables with or without a header, lines of JSON objects, Parquet files.

use super::{parquet, text_problem::TextProblem};
use crate::{data::DataError, file::read_file};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    io::{self, Read},
    path::Path,
};

/// Most bytes of a file, packed and unpacked: some ten million sentences.
pub(super) const MOST_BYTES: u64 = 2 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// What some editors put in front of UTF-8; no part of the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A column that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextColumn {
    /// What it may be called, in any case; the first is its name in messages.
    pub names: &'static [&'static str],
    /// Whether rows make no sense without it.
    pub needed: bool,
}

impl TextColumn {
    /// A column that has to be there.
    pub const fn needed(names: &'static [&'static str]) -> Self {
        Self {
            names,
            needed: true,
        }
    }

    /// A column that may be there.
    pub const fn optional(names: &'static [&'static str]) -> Self {
        Self {
            names,
            needed: false,
        }
    }

    /// Where the column stands: of several that it may be called by, the name that comes first here.
    pub(super) fn place<'n>(
        &self,
        names: &(impl Iterator<Item = &'n str> + Clone),
    ) -> Option<usize> {
        let of = |known: &&str| {
            let mut names = names.clone();
            names.position(|name| known.eq_ignore_ascii_case(name))
        };
        self.names.iter().find_map(of)
    }
}

/// Whether a table has to begin with the names of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It has to: a table without is refused.
    Needed,
    /// Without any of them the needed columns stand in the order in which they are asked for, and the last one keeps its
    /// tabs.
    Optional,
}

/// The column that says to which part of the data a row belongs.
const SPLIT: TextColumn = TextColumn::optional(&["split"]);

/// Rows of texts, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRows {
    /// Where each row stands: its line, or its number in a Parquet file; counted from 1.
    pub lines: Vec<u64>,
    /// One for each column that was asked for; `None` where the file does not have it.
    pub columns: Vec<Option<Vec<String>>>,
}

/// Reads columns of texts from a file, plain or gzipped.
///
/// A file whose first line begins with `{` has an object on every line, with the columns of the first one. A Parquet file is known by its first bytes. Any
/// other is a table of columns between tabs; a first line that names all needed columns is a header. Of a column `split`, rows of `part` are taken, and all rows where there is no such column. Empty lines are passed over. Numbers
/// are taken as they are written.
///
/// # Errors
/// The first line that is no row, with its number; no row at all; a file beyond 2 GiB, packed or not.
///
/// # Example
/// ```
/// use refit_io::{atomic, data::{Header, TextColumn, read_columns}};
/// let home = tempfile::tempdir()?;
/// let path = home.path().join("pairs.tsv");
/// atomic::write_file(&path, b"score\tfirst\tsecond\n0.5\ta cat\ta dog\n", atomic::Overwrite::Refuse)?;
/// let wanted = [TextColumn::needed(&["first", "text_a"]), TextColumn::optional(&["note"])];
/// let rows = read_columns(&path, "test", &wanted, Header::Needed)?;
/// assert_eq!(rows.lines, [2]);
/// assert_eq!(rows.columns, [Some(vec!["a cat".to_owned()]), None]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_columns(
    path: impl AsRef<Path>,
    part: &str,
    wanted: &[TextColumn],
    header: Header,
) -> Result<TextRows, DataError> {
    let path = path.as_ref();
    parse_columns(read_file(path, MOST_BYTES)?, path, part, wanted, header)
}

/// [`read_columns`] of the bytes of a file, which messages call `path`.
///
/// # Errors
/// Those of [`read_columns`], but for what reading a file can do.
pub fn parse_columns(
    bytes: Vec<u8>,
    path: &Path,
    part: &str,
    wanted: &[TextColumn],
    header: Header,
) -> Result<TextRows, DataError> {
    let bytes = unpacked(bytes, path)?;
    let mut wanted = wanted.to_vec();
    wanted.push(SPLIT);
    let mut rows = if parquet::is_parquet(&bytes) {
        parquet::read(path, bytes, &wanted)?
    } else {
        lines(path, &bytes, &wanted, header)?
    };
    if let Some(split) = rows.columns.pop().flatten() {
        let keep: Vec<bool> = split.iter().map(|split| split.trim() == part).collect();
        retain(&mut rows.lines, &keep);
        rows.columns
            .iter_mut()
            .flatten()
            .for_each(|column| retain(column, &keep));
    }
    if rows.lines.is_empty() {
        let problem = format_args!("it holds no row of the part `{part}`");
        return Err(DataError::format(path, "text", problem));
    }
    Ok(rows)
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    values.retain(|_| keep.next() == Some(&true));
}

/// The bytes of a file of text, unpacked where they are gzip, without a mark of byte order in front.
///
/// # Errors
/// A file that cannot be read or does not unpack, or is larger than 2 GiB, packed or not.
pub fn read_unpacked(path: &Path) -> Result<Vec<u8>, DataError> {
    unpacked(read_file(path, MOST_BYTES)?, path)
}

pub(super) fn unpacked(bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>, DataError> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(unmarked(bytes));
    }
    let mut out = Vec::new();
    let packed = MultiGzDecoder::new(&bytes[..]);
    match packed.take(MOST_BYTES + 1).read_to_end(&mut out) {
        Ok(_) if out.len() as u64 <= MOST_BYTES => Ok(unmarked(out)),
        Ok(_) => Err(too_large(path, out.len() as u64)),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => Err(DataError::io(path)(error)),
        Err(_) => Err(DataError::format(path, "gzip", "it does not unpack")),
    }
}

fn unmarked(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    bytes
}

pub(super) fn too_large(path: &Path, bytes: u64) -> DataError {
    DataError::TooLarge {
        at: path.into(),
        what: "unpacked content".into(),
        bytes,
        limit: MOST_BYTES,
    }
}

pub(super) fn at_line(path: &Path, line: u64) -> impl Fn(TextProblem) -> DataError {
    move |problem| DataError::Text {
        at: path.into(),
        line,
        problem,
    }
}

/// Lines with their numbers, without what breaks them; empty ones are left out.
fn numbered<'b>(
    path: &'b Path,
    bytes: &'b [u8],
) -> impl Iterator<Item = Result<(u64, &'b str), DataError>> {
    let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
    let lines = lines.map(|(line, at)| (line.strip_suffix(b"\r").unwrap_or(line), at));
    let full = lines.filter(|(line, _)| !line.is_empty());
    full.map(move |(line, at)| {
        let text = std::str::from_utf8(line).map_err(|_| at_line(path, at)(TextProblem::NotText));
        Ok((at, text?))
    })
}

fn lines(
    path: &Path,
    bytes: &[u8],
    wanted: &[TextColumn],
    header: Header,
) -> Result<TextRows, DataError> {
    let mut rows = TextRows::default();
    let mut layout = None;
    for line in numbered(path, bytes) {
        let (at, line) = line?;
        let failed = at_line(path, at);
        let layout = match &layout {
            Some(layout) => layout,
            None => {
                let (found, is_row) = Layout::of(line, wanted, header).map_err(&failed)?;
                rows.columns = found
                    .has(wanted.len())
                    .map(|has| has.then(Vec::new))
                    .collect();
                let found = layout.insert(found);
                if !is_row {
                    continue;
                }
                found
            }
        };
        let fields = layout.row(line, wanted).map_err(&failed)?;
        rows.lines.push(at);
        let there = rows.columns.iter_mut().zip(fields);
        for (column, field) in there.filter_map(|(column, field)| column.as_mut().zip(field)) {
            column.push(field.into_owned());
        }
    }
    rows.columns.resize(wanted.len(), None);
    Ok(rows)
}

/// What the lines of a file are.
enum Layout {
    /// The needed columns, which stand at these places of those that are wanted.
    Plain(Vec<Option<usize>>),
    /// Columns by a header: how many, and where the wanted ones stand.
    Header(usize, Vec<Option<usize>>),
    /// An object; which columns the first one has.
    Json(Vec<bool>),
}

impl Layout {
    /// The layout by the first line, and whether that is a row already.
    fn of(line: &str, wanted: &[TextColumn], header: Header) -> Result<(Self, bool), TextProblem> {
        if line.trim_start().starts_with('{') {
            let object = object(line)?;
            let has = wanted
                .iter()
                .map(|column| column.needed || find(&object, column).is_some());
            return Ok((Self::Json(has.collect()), true));
        }
        let names: Vec<&str> = line.split('\t').map(str::trim).collect();
        let place = |column: &TextColumn| column.place(&names.iter().copied());
        let places: Vec<Option<usize>> = wanted.iter().map(place).collect();
        if wanted
            .iter()
            .zip(&places)
            .all(|(column, place)| !column.needed || place.is_some())
        {
            return Ok((Self::Header(names.len(), places), false));
        }
        // A row of names is one of single words; a label may be called `text`, but few texts are one word.
        let are_words = !names.iter().any(|name| name.contains(char::is_whitespace));
        let are_names = are_words && names.len() > 1 && places.iter().any(Option::is_some);
        if header == Header::Needed || are_names {
            let names = wanted
                .iter()
                .zip(&places)
                .filter(|(column, _)| column.needed);
            let missing = names.filter(|(_, place)| place.is_none());
            let missing: Vec<&str> = missing.map(|(column, _)| column.names[0]).collect();
            return Err(TextProblem::Header {
                missing: missing.join("`, `"),
            });
        }
        let mut next = 0;
        let places = wanted.iter().map(|column| {
            column.needed.then(|| {
                next += 1;
                next - 1
            })
        });
        Ok((Self::Plain(places.collect()), true))
    }

    /// Whether the file has each of the columns.
    fn has(&self, wanted: usize) -> impl Iterator<Item = bool> {
        (0..wanted).map(move |at| match self {
            Self::Plain(places) | Self::Header(_, places) => places[at].is_some(),
            Self::Json(has) => has[at],
        })
    }

    /// The wanted columns of a line.
    fn row<'l>(
        &self,
        line: &'l str,
        wanted: &[TextColumn],
    ) -> Result<Vec<Option<Cow<'l, str>>>, TextProblem> {
        let take = |fields: &[&'l str], places: &[Option<usize>]| {
            let field = |place: &Option<usize>| place.map(|place| Cow::Borrowed(fields[place]));
            places.iter().map(field).collect()
        };
        match self {
            Self::Plain(places) => {
                let needed = places.iter().flatten().count();
                let fields: Vec<&str> = line.splitn(needed.max(1), '\t').collect();
                if fields.len() < needed {
                    let names = wanted.iter().filter(|column| column.needed);
                    let names: Vec<&str> = names.map(|column| column.names[0]).collect();
                    return Err(TextProblem::Plain {
                        expected: names.join("<TAB>"),
                    });
                }
                Ok(take(&fields, places))
            }
            Self::Header(columns, places) => {
                let fields: Vec<&str> = line.split('\t').collect();
                if fields.len() != *columns {
                    return Err(TextProblem::Columns {
                        found: fields.len(),
                        expected: *columns,
                    });
                }
                Ok(take(&fields, places))
            }
            Self::Json(has) => {
                let object = object(line)?;
                let field = |(column, has): (&TextColumn, &bool)| {
                    let name = column.names[0];
                    let found = find(&object, column);
                    if !has {
                        return found.map_or(Ok(None), |_| Err(TextProblem::LateColumn { name }));
                    }
                    match found {
                        Some(Value::String(text)) => Ok(Some(Cow::Owned(text.clone()))),
                        Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
                        Some(Value::Bool(truth)) => Ok(Some(Cow::Owned(truth.to_string()))),
                        Some(_) => Err(TextProblem::Value { name }),
                        None => Err(TextProblem::NoColumn { name }),
                    }
                };
                wanted.iter().zip(has).map(field).collect()
            }
        }
    }
}

fn object(line: &str) -> Result<Map<String, Value>, TextProblem> {
    serde_json::from_str(line).map_err(|error| TextProblem::Json {
        problem: error.to_string(),
    })
}

fn find<'o>(object: &'o Map<String, Value>, column: &TextColumn) -> Option<&'o Value> {
    let there = |name: &&str| {
        let exact = object.get(*name);
        let any_case = || {
            let mut all = object.iter();
            all.find(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        let value = exact.or_else(|| any_case().map(|(_, value)| value));
        value.filter(|value| !value.is_null())
    };
    column.names.iter().find_map(there)
}
