//! LIBSVM files: what is read, what is refused, and where.

use crate::data_files::Room;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use rand::{Rng, RngCore};
use refit_core::{Hint, Seed};
use refit_io::data::{
    DataError, Features, LibsvmOptions, LineProblem, SparseRows, Table, parse_libsvm, read_libsvm,
};
use refit_testkit::real_data;
use std::io::Write;

fn parse(text: &str) -> Result<Table, DataError> {
    parse_libsvm(text.as_bytes(), "dir/toy.txt", &LibsvmOptions::default())
}

/// Rows as lists of all numbers, whatever the layout.
fn numbers(features: &Features) -> Vec<Vec<f32>> {
    let of_row = |i: usize| match features {
        Features::Dense(rows) => rows.row(i).to_vec(),
        Features::Sparse(rows) => {
            let mut all = vec![0.0; rows.columns()];
            let row = rows.row(i);
            for (&column, &value) in row.columns.iter().zip(row.values) {
                all[column as usize] = value;
            }
            all
        }
    };
    (0..features.len()).map(of_row).collect()
}

/// The line and the problem of a file that has a mistake.
fn problem(text: &str) -> (u64, LineProblem) {
    match parse(text).unwrap_err() {
        DataError::Line { line, problem, .. } => (line, problem),
        other => panic!("{other}"),
    }
}

#[test]
fn rows_labels_and_zeros_are_those_of_the_file() {
    let table = parse("+1 1:0.5 3:2\n\n# a remark\n-1 2:1 # another\n").unwrap();
    assert_eq!(table.name(), "toy");
    assert_eq!(table.labels(), [1.0, -1.0]);
    assert_eq!(
        numbers(table.features()),
        [[0.5, 0.0, 2.0], [0.0, 1.0, 0.0]]
    );
    assert_eq!(table.classes().unwrap().of_rows(), [1, 0]);
}

#[test]
fn the_smaller_layout_is_taken() {
    // 3 x 3 dense takes 36 bytes; sparse takes 32 for the starts and 8 for each entry.
    let dense = parse("1 1:1\n1 2:1\n1 3:1\n").unwrap();
    assert!(matches!(dense.features(), Features::Dense(_)));
    let sparse = parse("1 1:1\n1 2:1\n1 100:1\n").unwrap();
    let Features::Sparse(rows) = sparse.features() else {
        panic!("{:?}", sparse.features());
    };
    assert_eq!((rows.columns(), rows.values()), (100, &[1.0; 3][..]));
    assert_eq!(sparse.features().size_bytes(), 4 * 8 + 3 * 8);
}

#[test]
fn the_number_of_features_can_be_given() {
    let with = |features| LibsvmOptions {
        features: Some(features),
        ..LibsvmOptions::default()
    };
    let table = parse_libsvm(b"1 2:1\n", "t", &with(5)).unwrap();
    assert_eq!(table.features().columns(), 5);
    let e = parse_libsvm(b"1 1:1\n1 2:1\n", "t", &with(1)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "line 2 of `t` has index 2, expected at most 1"
    );
    assert!(e.hint().unwrap().contains("training file"));
    let e = parse_libsvm(b"1 1:1\n", "t", &with(1 << 40)).unwrap_err();
    assert!(matches!(e, DataError::Config(_)), "{e}");
}

#[test]
fn files_that_count_from_zero_are_read_when_told() {
    let zero = LibsvmOptions {
        first_index: 0,
        ..LibsvmOptions::default()
    };
    let table = parse_libsvm(b"1 0:5 1:6\n", "t", &zero).unwrap();
    assert_eq!(numbers(table.features()), [[5.0, 6.0]]);
    let e = parse("1 0:5 1:6\n").unwrap_err();
    assert_eq!(
        e.to_string(),
        "line 1 of `dir/toy.txt` has index 0, expected indices from 1"
    );
    assert!(e.hint().unwrap().contains("first index is 0"));
    let two = LibsvmOptions {
        first_index: 2,
        ..zero
    };
    let e = parse_libsvm(b"1 2:5\n", "t", &two).unwrap_err();
    assert_eq!(e.to_string(), "`first-index` is 2, expected 0 or 1");
}

#[test]
fn mistakes_are_told_with_their_line() {
    use LineProblem::{Duplicate, Entry, IndexZero, Label, NotFinite, Order};
    // Not the width that the last index of the only row tells.
    let unsorted = Order {
        index: 2,
        before: 300,
    };
    assert_eq!(problem("1 300:1 2:1"), (1, unsorted.clone()));
    assert_eq!(problem("1 1:1\n1 2:1 300:1 2:1"), (2, unsorted));
    let before = "1 1:1\n\n# remark\n";
    for (line, expected) in [
        ("x 1:1", Label { found: "x".into() }),
        ("1 1:1 2", Entry { found: "2".into() }),
        ("1 0:1", IndexZero),
        ("1 2:1 2:1", Duplicate { index: 2 }),
        (
            "1 3:1 2:1",
            Order {
                index: 2,
                before: 3,
            },
        ),
        (
            "1 4:-inf",
            NotFinite {
                index: 4,
                found: "-inf".into(),
            },
        ),
    ] {
        assert_eq!(problem(&format!("{before}{line}\n1 9:1")), (4, expected));
    }
}

#[test]
fn words_in_messages_are_short_and_printable() {
    let (_, problem) = problem(&format!("1 {}\x1b[2J\n", "y".repeat(5_000_000)));
    let LineProblem::Entry { found } = problem else {
        panic!("{problem}");
    };
    assert!(found.len() < 100 && found.ends_with(".."), "{found}");
    let e = parse("1 \x1b[2J\n").unwrap_err().to_string();
    assert!(!e.contains('\x1b'), "{e}");
}

#[test]
fn an_index_cannot_ask_for_memory() {
    let (line, problem) = problem("1 1:1\n1 4294967296:1\n");
    assert_eq!(line, 2);
    assert!(matches!(problem, LineProblem::TooManyFeatures { .. }));
    let small = LibsvmOptions {
        most_bytes: 10,
        ..LibsvmOptions::default()
    };
    let e = parse_libsvm(b"1 1:1 2:1 3:1\n", "t", &small).unwrap_err();
    assert!(
        matches!(
            e,
            DataError::TooLarge {
                bytes: 12,
                limit: 10,
                ..
            }
        ),
        "{e}"
    );
}

#[test]
fn a_file_without_rows_is_refused() {
    for text in ["", "\n\n", "# only a remark\n"] {
        let e = parse(text).unwrap_err();
        assert!(e.to_string().contains("holds no row"), "{e}");
    }
    let table = parse("1").unwrap();
    assert_eq!((table.len(), table.features().columns()), (1, 0));
}

#[test]
fn packed_files_are_read_like_plain_ones() {
    let room = Room::new();
    let text = b"1 1:1 2:2\n2 2:3\n";
    let pack = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let options = LibsvmOptions::default();
    let plain = read_libsvm(room.file("a/toy.txt", text), &options).unwrap();
    // Two members one after the other are one file.
    let packed = [pack(&text[..4]), pack(&text[4..])].concat();
    let table = read_libsvm(room.file("b/toy.txt", &packed), &options).unwrap();
    assert_eq!(table, plain);
    let cut = room.file("c/toy.txt", &packed[..packed.len() - 9]);
    let e = read_libsvm(cut, &options).unwrap_err();
    assert!(e.to_string().contains("does not unpack"), "{e}");
    let e = read_libsvm(room.folder("d"), &options).unwrap_err();
    assert!(matches!(e, DataError::NotAFile { .. }), "{e}");
    let e = read_libsvm("no/such.txt", &options).unwrap_err();
    assert!(e.hint().unwrap().contains("spelling"), "{e}");
}

/// A file of a few rows with all that the format allows.
const SAMPLE: &str =
    "+1 1:0.5 3:2 17:-1e-3\n-1 2:1 # remark\n\n0.25 5:1e30\n3\n1 1:1 2:2 3:3 4:4 20:5\n";

#[test]
fn no_mutation_panics_and_what_is_read_is_a_table() {
    let mut rng = Seed::new(0).fork("libsvm/mutations").rng();
    let alphabet = b"0123456789:.-+eE #\n\r\tnaifqd,\xff\0";
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len() as u32) as usize;
            let byte = alphabet[rng.next_u32() as usize % alphabet.len()];
            match rng.next_u32() % 3 {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let result = parse_libsvm(&bytes, "mutation", &LibsvmOptions::default());
        match result {
            Ok(table) => {
                accepted += 1;
                assert!(table.labels().iter().all(|label| label.is_finite()));
                if let Features::Sparse(rows) = table.features() {
                    check(rows);
                }
            }
            Err(error) => assert!(error.to_string().len() < 1000),
        }
    }
    println!("{accepted} of 10000 mutations are files");
    assert!((100..9_900).contains(&accepted), "{accepted}");
}

/// Builds the rows once more, with every check.
fn check(rows: &SparseRows) {
    let (mut starts, mut columns) = (vec![0], Vec::new());
    for i in 0..rows.len() {
        columns.extend(rows.row(i).columns);
        starts.push(columns.len());
    }
    let again = SparseRows::new(starts, columns, rows.values().to_vec(), rows.columns());
    assert_eq!(&again.unwrap(), rows);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec(
            (-9i8..9, prop::collection::btree_map(1u32..60, prop::num::f32::NORMAL, 0..9)),
            1..20,
        ),
        wide in any::<bool>(),
    ) {
        let mut text = String::new();
        for (label, entries) in &rows {
            text += &label.to_string();
            for (index, value) in entries {
                text += &format!(" {}:{value:e}", if wide { index * 1000 } else { *index });
            }
            text.push('\n');
        }
        let table = parse(&text).unwrap();
        let found = numbers(table.features());
        prop_assert_eq!(table.len(), rows.len());
        for ((found, label), (expected_label, entries)) in found.iter().zip(table.labels()).zip(&rows) {
            prop_assert_eq!(label.to_bits(), f32::from(*expected_label).to_bits());
            prop_assert_eq!(found.iter().filter(|v| **v != 0.0).count(), entries.len());
            for (&index, value) in entries {
                let index = if wide { index * 1000 } else { index };
                prop_assert_eq!(found[index as usize - 1].to_bits(), value.to_bits());
            }
        }
    }
}

#[test]
fn a9a_has_the_size_and_balance_of_its_readme() {
    let Some(path) = real_data("libsvm_a9a.txt.gz") else {
        return;
    };
    let table = read_libsvm(path, &LibsvmOptions::default()).unwrap();
    let Features::Sparse(rows) = table.features() else {
        panic!("sparse takes less");
    };
    assert_eq!((rows.len(), rows.columns()), (32_561, 123));
    let classes = table.classes().unwrap();
    assert_eq!(classes.labels(), [-1.0, 1.0]);
    let share = classes.counts()[1] as f64 / 32_561.0;
    assert!((share - 0.241).abs() < 5e-4, "{share}");
}
