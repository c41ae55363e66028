//! Labelled texts from files.

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use refit_io::{
    atomic::{Overwrite, write_file},
    data::{DataError, LabelledTexts, TextProblem, read_texts},
};
use std::io::Write;

fn read(bytes: &[u8], part: &str, known: Option<&[String]>) -> Result<LabelledTexts, DataError> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("rows");
    write_file(&path, bytes, Overwrite::Refuse).unwrap();
    read_texts(&path, part, known)
}

fn problem(bytes: &[u8]) -> (u64, TextProblem) {
    match read(bytes, "train", None).unwrap_err() {
        DataError::Text { line, problem, .. } => (line, problem),
        error => panic!("{error}"),
    }
}

const ROWS: &[u8] = b"split\tlabel\ttext\ntrain\t10\tone\r\n\ntest\t9\ttwo\ntrain\t9\tthree\n";

#[test]
fn rows_of_a_part_are_taken_in_every_layout() {
    let found = read(ROWS, "train", None).unwrap();
    // As numbers: 9 before 10.
    assert_eq!(found.labels, ["9", "10"]);
    assert_eq!(found.classes, [1, 0]);
    assert_eq!(found.texts, ["one", "three"]);
    let lines =
        b"{\"label\": 10, \"text\": \"one\"}\n{\"text\": \"three\", \"label\": \"9\", \"id\": 4}\n";
    assert_eq!(read(lines, "train", None).unwrap(), found);
    let plain = b"10\tone\n9\tthree";
    assert_eq!(read(plain, "train", None).unwrap(), found);
    let turned = b"text\tlabel\none\t10\nthree\t9\n";
    assert_eq!(read(turned, "train", None).unwrap(), found);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(ROWS).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(read(&packed, "train", None).unwrap(), found);
    let test = read(ROWS, "test", Some(&found.labels)).unwrap();
    assert_eq!(
        (test.texts, test.classes),
        (vec!["two".to_owned()], vec![0])
    );
    let damaged = read(&packed[..packed.len() / 2], "train", None).unwrap_err();
    assert!(damaged.to_string().contains("does not unpack"), "{damaged}");
}

#[test]
fn a_text_without_header_keeps_its_tabs() {
    let found = read(b"a\tone\ttwo\nb\tx\n", "train", None).unwrap();
    assert_eq!(found.texts[0], "one\ttwo");
}

#[test]
fn lines_that_are_no_rows_are_told_by_number() {
    for (bytes, line, expected) in [
        (&b"a\tx\nb\n"[..], 2, TextProblem::NoTab),
        (b"a\tx\n\nb\t\xff\n", 3, TextProblem::NotText),
        (b"a\tx\n\ty\n", 2, TextProblem::NoLabel),
        (b"a\tx\nb\t  \n", 2, TextProblem::NoText),
        (
            b"label\ttext\na\tx\ty\n",
            2,
            TextProblem::Columns {
                found: 3,
                expected: 2,
            },
        ),
    ] {
        assert_eq!(problem(bytes), (line, expected));
    }
    let (line, found) = problem(b"{\"text\": \"x\", \"label\": 1}\n{\"text\": 3, \"label\": 1}\n");
    assert!(
        line == 2 && matches!(found, TextProblem::Json { .. }),
        "{found}"
    );
}

#[test]
fn classes_that_cannot_be_fitted_are_refused() {
    let one = read(b"a\tx\na\ty\n", "train", None).unwrap_err();
    assert!(
        one.to_string()
            .ends_with("has the label `a` alone, expected two labels or more"),
        "{one}"
    );
    let none = read(ROWS, "dev", None).unwrap_err();
    assert!(
        none.to_string()
            .ends_with("it holds no row of the part `dev`"),
        "{none}"
    );
    assert!(read(b"", "train", None).is_err());
    let known = ["a".to_owned(), "b".to_owned()];
    let error = read(b"a\tx\nc\ty\n", "test", Some(&known)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the label `c`, which no text to fit has"),
        "{error}"
    );
    // One of the known labels is enough to test on.
    assert_eq!(read(b"b\tx\n", "test", Some(&known)).unwrap().classes, [1]);
}

proptest! {
    #[test]
    fn no_file_stops_the_program(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, "train", None);
    }
}
