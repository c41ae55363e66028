//! Rows of texts and tagged words: an error with the line, or columns of one length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use refit_io::data::{Header, TextColumn, parse_columns, parse_tagged};
use std::path::Path;

fuzz_target!(|file: &[u8]| {
    if file.starts_with(b"PAR1") {
        return; // Parquet has a reader of its own, whose panics and errors are told as one
    }
    let path = Path::new("fuzz.txt");
    let wanted = [
        TextColumn::needed(&["label"]),
        TextColumn::needed(&["text", "sentence"]),
        TextColumn::optional(&["text_b"]),
    ];
    for header in [Header::Needed, Header::Optional] {
        match parse_columns(file.to_vec(), path, "train", &wanted, header) {
            Ok(rows) => {
                assert!(!rows.lines.is_empty() && rows.columns.len() == wanted.len());
                assert!(rows.columns[..2].iter().all(Option::is_some));
                let mut columns = rows.columns.iter().flatten();
                assert!(columns.all(|column| column.len() == rows.lines.len()));
                assert!(rows.lines.is_sorted_by(|a, b| a < b));
            }
            // The message is part of what a stranger's bytes can reach.
            Err(error) => assert!(error.to_string().len() < 2000),
        }
    }
    match parse_tagged(file.to_vec(), path) {
        Ok(sentences) => assert!(sentences.iter().all(|sentence| {
            !sentence.words.is_empty() && sentence.words.len() == sentence.tags.len()
        })),
        Err(error) => assert!(error.to_string().len() < 2000),
    }
});
