//! Columns of texts from Parquet files, as data sets are published in.

use super::{
    columns::{MOST_BYTES, TextColumn, TextRows, at_line, too_large},
    text_problem::TextProblem,
};
use crate::data::DataError;
use parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
    schema::types::Type,
};
use refit_core::without_panic;
use std::{path::Path, sync::Arc};

const MAGIC: &[u8] = b"PAR1";

/// Whether the bytes are those of a Parquet file.
pub(super) fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The wanted columns of a file.
pub(super) fn read(
    path: &Path,
    bytes: Vec<u8>,
    wanted: &[TextColumn],
) -> Result<TextRows, DataError> {
    // The reader holds some things true of sizes that a damaged file can say otherwise of, and panics.
    let found = without_panic(|| columns(path, bytes, wanted));
    found.unwrap_or_else(|| Err(DataError::format(path, "Parquet", "it is damaged")))
}

fn columns(path: &Path, bytes: Vec<u8>, wanted: &[TextColumn]) -> Result<TextRows, DataError> {
    let broken = |error: ParquetError| DataError::format(path, "Parquet", error);
    let file = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(broken)?;
    let schema = file
        .metadata()
        .file_metadata()
        .schema_descr()
        .root_schema_ptr();
    let there: Vec<&Arc<Type>> = schema.get_fields().iter().collect();
    let place = |column: &TextColumn| column.place(&there.iter().map(|field| field.name()));
    let mut places = Vec::new();
    for column in wanted {
        let place = place(column);
        if column.needed && place.is_none() {
            let problem = format_args!("it has no column `{}`", column.names[0]);
            return Err(DataError::format(path, "Parquet", problem));
        }
        places.push(place);
    }
    let mut taken: Vec<usize> = places.iter().flatten().copied().collect();
    taken.sort_unstable();
    taken.dedup();
    let fields = taken.iter().map(|&at| Arc::clone(there[at])).collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(fields);
    let projection = projection.build().map_err(broken)?;
    // Where a wanted column stands among those that are read.
    let slots: Vec<Option<usize>> = places
        .iter()
        .map(|place| taken.binary_search(&(*place)?).ok())
        .collect();
    let mut rows = TextRows {
        lines: Vec::new(),
        columns: slots.iter().map(|slot| slot.map(|_| Vec::new())).collect(),
    };
    let mut held = 0;
    for row in file.get_row_iter(Some(projection)).map_err(broken)? {
        let row = row.map_err(broken)?;
        let at = rows.lines.len() as u64 + 1;
        let values: Vec<&Field> = row.get_column_iter().map(|(_, value)| value).collect();
        for ((column, slot), wanted) in rows.columns.iter_mut().zip(&slots).zip(wanted) {
            let (Some(column), Some(slot)) = (column, *slot) else {
                continue;
            };
            let value = values.get(slot).copied().unwrap_or(&Field::Null);
            let value = text(value).ok_or_else(|| {
                let name = wanted.names[0];
                at_line(path, at)(match value {
                    Field::Null => TextProblem::NoColumn { name },
                    _ => TextProblem::Value { name },
                })
            })?;
            held += value.len() as u64;
            column.push(value);
        }
        if held > MOST_BYTES {
            return Err(too_large(path, held));
        }
        rows.lines.push(at);
    }
    Ok(rows)
}

/// A text or a number as it would be written.
fn text(value: &Field) -> Option<String> {
    Some(match value {
        Field::Str(text) => text.clone(),
        Field::Bool(value) => value.to_string(),
        Field::Byte(value) => value.to_string(),
        Field::Short(value) => value.to_string(),
        Field::Int(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::UByte(value) => value.to_string(),
        Field::UShort(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        Field::Float(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        _ => return None,
    })
}
