//! LIBSVM files: an error with the line, or rows in order and labels that are finite.
#![no_main]

use libfuzzer_sys::fuzz_target;
use refit_io::data::{Features, LibsvmOptions, SparseRows, parse_libsvm};

fuzz_target!(|file: &[u8]| {
    for first_index in [0, 1] {
        read(file, first_index);
    }
});

fn read(file: &[u8], first_index: u8) {
    let options = LibsvmOptions {
        first_index,
        ..LibsvmOptions::default()
    };
    let table = match parse_libsvm(file, "fuzz.txt", &options) {
        Ok(table) => table,
        Err(error) => {
            // The message is part of what a stranger's bytes can reach.
            assert!(error.to_string().len() < 1000);
            return;
        }
    };
    assert!(table.labels().iter().all(|label| label.is_finite()));
    assert_eq!(table.labels().len(), table.features().len());
    // No more memory than a few times the file: a row takes two bytes, an entry four.
    assert!(table.features().size_bytes() <= 8 * (file.len() as u64 + 2));
    match table.features() {
        Features::Dense(rows) => assert!(rows.values().iter().all(|value| value.is_finite())),
        Features::Sparse(rows) => {
            let (mut starts, mut columns) = (vec![0], Vec::new());
            for row in 0..rows.len() {
                columns.extend(rows.row(row).columns);
                starts.push(columns.len());
            }
            let values = rows.values().to_vec();
            let again = SparseRows::new(starts, columns, values, rows.columns());
            assert_eq!(again.as_ref(), Ok(rows));
        }
    }
    if let Ok(classes) = table.classes() {
        assert_eq!(classes.counts().iter().sum::<usize>(), table.len());
    }
}
