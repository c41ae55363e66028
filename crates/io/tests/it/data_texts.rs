//! Labelled texts from files.

use flate2::{Compression, write::GzEncoder};
use parquet::basic::Compression as Packing;
use proptest::prelude::*;
use refit_io::{
    atomic::{Overwrite, write_file},
    data::{
        DataError, Header, LabelledTexts, TextColumn, TextProblem, read_columns, read_tagged,
        read_texts,
    },
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
    // A label may be called as columns are.
    let found = read(
        b"premise\tall men are mortal\nclaim\tso is he\n",
        "train",
        None,
    )
    .unwrap();
    assert_eq!(found.labels, ["claim", "premise"]);
}

#[test]
fn lines_that_are_no_rows_are_told_by_number() {
    for (bytes, line, expected) in [
        (
            &b"a\tx\nb\n"[..],
            2,
            TextProblem::Plain {
                expected: "label<TAB>text".into(),
            },
        ),
        (b"a\tx\n\nb\t\xff\n", 3, TextProblem::NotText),
        (b"a\tx\n\ty\n", 2, TextProblem::Empty { name: "label" }),
        (b"a\tx\nb\t  \n", 2, TextProblem::Empty { name: "text" }),
        // A header that lacks something is no row.
        (
            b"sentence\tclass\na\tx\n",
            1,
            TextProblem::Header {
                missing: "label".into(),
            },
        ),
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
    let (line, found) = problem(b"{\"text\": \"x\", \"label\": 1}\n{\"label\": 1}\n");
    assert!(
        line == 2 && found == TextProblem::NoColumn { name: "text" },
        "{found}"
    );
}

#[test]
fn objects_have_the_columns_of_the_first_one() {
    let pair = r#"{"label": 1, "text": "x", "text_b": "y"}"#;
    let single = r#"{"label": 2, "text": "x", "text_b": null}"#;
    let lines = |lines: &[&str]| lines.join("\n").into_bytes();
    let late = TextProblem::LateColumn { name: "text_b" };
    assert_eq!(problem(&lines(&[single, single, pair])), (3, late));
    let missing = TextProblem::NoColumn { name: "text_b" };
    assert_eq!(problem(&lines(&[pair, single])), (2, missing));
    // A part that some rows name is not guessed for the others.
    let part = r#"{"label": 1, "text": "x", "split": "test"}"#;
    let late = TextProblem::LateColumn { name: "split" };
    assert_eq!(problem(&lines(&[single, part])), (2, late));
    let missing = TextProblem::NoColumn { name: "split" };
    assert_eq!(problem(&lines(&[part, single])), (2, missing));
}

#[test]
fn names_of_columns_are_known_in_any_case() {
    let table = b"Label\tSENTENCE\na\tx\nb\ty\n";
    let objects =
        b"{\"Label\": \"a\", \"SENTENCE\": \"x\"}\n{\"LABEL\": \"b\", \"Sentence\": \"y\"}\n";
    let found = read(objects, "train", None).unwrap();
    assert_eq!(found, read(table, "train", None).unwrap());
    // The name as it is asked for goes before one in another case.
    let both = b"{\"Text\": \"no\", \"text\": \"x\", \"label\": \"a\"}\n{\"text\": \"y\", \"label\": \"b\"}\n";
    assert_eq!(read(both, "train", None).unwrap().texts, ["x", "y"]);
}

#[test]
fn a_mark_of_byte_order_is_no_text() {
    let marked = |bytes: &[u8]| [b"\xef\xbb\xbf", bytes].concat();
    let plain = read(ROWS, "train", None).unwrap();
    assert_eq!(read(&marked(ROWS), "train", None).unwrap(), plain);
    let objects = b"{\"label\": 10, \"text\": \"one\"}\n{\"label\": 9, \"text\": \"three\"}\n";
    assert_eq!(read(&marked(objects), "train", None).unwrap(), plain);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&marked(ROWS)).unwrap();
    let packed = packed.finish().unwrap();
    assert_eq!(read(&packed, "train", None).unwrap(), plain);
    // One mark goes, and only in front.
    let twice = read(&marked(&marked(b"a\tx\nb\ty\n")), "train", None).unwrap();
    assert_eq!(twice.labels, ["b", "\u{feff}a"]);
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

/// A Parquet file of texts, whole numbers, and a column that no text reader understands.
fn parquet_file(texts: &[&str], labels: &[i64]) -> Vec<u8> {
    parquet_packed(texts, labels, Packing::SNAPPY)
}

fn parquet_packed(texts: &[&str], labels: &[i64], packing: Packing) -> Vec<u8> {
    use parquet::{
        data_type::{ByteArray, ByteArrayType, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let schema = "message rows { REQUIRED INT64 label; REQUIRED BYTE_ARRAY sentence (UTF8); REQUIRED BYTE_ARRAY raw; }";
    let schema = std::sync::Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_compression(packing);
    let properties = std::sync::Arc::new(properties.build());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int64Type>()
        .write_batch(labels, None, None)
        .unwrap();
    column.close().unwrap();
    let texts: Vec<ByteArray> = texts.iter().map(|text| (*text).into()).collect();
    for _ in 0..2 {
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<ByteArrayType>()
            .write_batch(&texts, None, None)
            .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn pages_are_unpacked_or_their_packing_is_named() {
    let expected = read(ROWS, "train", None).unwrap();
    for packing in [
        Packing::UNCOMPRESSED,
        Packing::GZIP(parquet::basic::GzipLevel::default()),
        Packing::ZSTD(parquet::basic::ZstdLevel::default()),
    ] {
        let file = parquet_packed(&["one", "three"], &[10, 9], packing);
        assert_eq!(read(&file, "train", None).unwrap(), expected, "{packing:?}");
    }
}

#[test]
fn a_data_set_in_parquet_reads_like_its_table() {
    let found = read(&parquet_file(&["one", "three"], &[10, 9]), "train", None).unwrap();
    assert_eq!(found, read(ROWS, "train", None).unwrap());
    let (row, found) = problem(&parquet_file(&["one", " "], &[1, 2]));
    assert_eq!((row, found), (2, TextProblem::Empty { name: "text" }));
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("rows.parquet");
    write_file(&path, &parquet_file(&["a"], &[1]), Overwrite::Refuse).unwrap();
    let of = |name: &'static [&'static str]| {
        read_columns(&path, "train", &[TextColumn::needed(name)], Header::Needed)
    };
    let missing = of(&["answer"]).unwrap_err().to_string();
    assert!(missing.contains("no column `answer`"), "{missing}");
    write_file(&path, ROWS, Overwrite::Replace).unwrap();
    let missing = of(&["answer"]).unwrap_err().to_string();
    assert!(
        missing.contains("line 1") && missing.ends_with("is no header with `answer`"),
        "{missing}"
    );
    for names in [&["text", "label"], &["label", "text"]] {
        assert_eq!(of(names).unwrap(), of(&names[..1]).unwrap());
    }
    write_file(&path, &parquet_file(&["a"], &[1]), Overwrite::Replace).unwrap();
    // Of two columns that there are the name that is wished for first is read, wherever it stands.
    for names in [&["Sentence", "label"], &["label", "Sentence"]] {
        assert_eq!(of(names).unwrap(), of(&names[..1]).unwrap());
    }
    let raw = of(&["raw"]).unwrap_err().to_string();
    assert!(raw.contains("neither a text nor a number"), "{raw}");
}

#[test]
fn pairs_have_a_second_text() {
    let pairs = b"label\tpremise\thypothesis\n1\tit rains\tit is wet\n0\tit rains\tit is dry\n";
    let found = read(pairs, "train", None).unwrap();
    assert_eq!(found.seconds.unwrap(), ["it is wet", "it is dry"]);
    let json =
        b"{\"label\": 1, \"text\": \"a\", \"text_pair\": \"b\"}\n{\"label\": 0, \"text\": \"a\"}\n";
    assert_eq!(problem(json), (2, TextProblem::NoColumn { name: "text_b" }));
}

#[test]
fn tagged_words_are_sentences() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("words");
    let tagged = |bytes: &[u8]| {
        write_file(&path, bytes, Overwrite::Replace).unwrap();
        read_tagged(&path)
    };
    let text = b"-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\r\nrejects VBZ B-VP O\n\n\nA b\tO\n";
    let found = tagged(text).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        (&found[0].words[..], &found[0].tags[..]),
        (
            &["EU".to_owned(), "rejects".into()][..],
            &["B-ORG".to_owned(), "O".into()][..]
        )
    );
    assert_eq!(found[1].words, ["A b"]); // a tab goes before spaces
    let error = tagged(b"EU B-ORG\nalone\n").unwrap_err().to_string();
    assert!(
        error.starts_with("line 2 of `") && error.contains("word<TAB>tag"),
        "{error}"
    );
    assert!(tagged(b"\n\n").is_err());
}

#[test]
fn remarks_between_sentences_are_no_words() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("words");
    let words = |text: &str| {
        write_file(&path, text.as_bytes(), Overwrite::Replace).unwrap();
        let found = read_tagged(&path).unwrap();
        let words = found.into_iter().map(|sentence| sentence.words.join(" "));
        words.collect::<Vec<_>>()
    };
    let tabs =
        "# id 1\n#\n# text = Ada # sleeps\nAda\tO\n#\tO\nsleeps\tO\n\n# id 2\n#tag\tO\nHi\tO\n";
    assert_eq!(words(tabs), ["Ada # sleeps", "#tag Hi"]);
    let spaces = "# id = 1\nAda O\n# O\n\n# O\nHi O\n";
    assert_eq!(words(spaces), ["Ada #", "# Hi"]); // what is built as a row is one
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_damage_to_a_parquet_file_stops_the_program(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = parquet_file(&["one", "two", "three"], &[1, 2, 3]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(&bytes, "train", None);
    }
}
