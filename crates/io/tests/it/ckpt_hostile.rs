//! Files made to mislead: each gets its own error, none a panic.

use crate::ckpt_support::{entry, open_bytes, raw, save, shard};
use rand::{Rng, RngCore};
use refit_core::{Hint, Seed, Source};
use refit_io::ckpt::{
    Checkpoint, CkptError, HeaderError, IndexError, MAX_HEADER_BYTES, parse_header, parse_index,
};
use std::path::Path;
use tempfile::TempDir;

fn header_error(bytes: &[u8]) -> HeaderError {
    match open_bytes(bytes) {
        Err(CkptError::Header { problem, .. }) => problem,
        other => panic!("expected a header error, found {other:?}"),
    }
}

/// A valid file with the variety that mutations should meet.
fn valid() -> Vec<u8> {
    let json = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{},{},{},{}}}"#,
        entry("w", "F32", "[2,3]", 0, 24),
        entry("none", "F16", "[0,9]", 24, 24),
        entry("h", "BF16", "[3]", 24, 30),
        entry("mask", "BOOL", "[2]", 30, 32)
    );
    raw(json, 32)
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let whole = valid();
    assert!(open_bytes(&whole).is_ok());
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cut.safetensors");
    for len in 0..whole.len() {
        let error = header_error(&whole[..len]);
        let named = matches!(
            error,
            HeaderError::TooShort { .. }
                | HeaderError::Truncated { .. }
                | HeaderError::OutOfRange { .. }
        );
        assert!(named, "{len}: {error}");
        assert!(error.hint().unwrap().contains("incomplete"));
        save(&file, &whole[..len]);
        assert!(Checkpoint::open(&file).is_err(), "mapped, {len}");
    }
}

#[test]
fn one_byte_too_many_is_refused() {
    let mut bytes = valid();
    bytes.push(0);
    assert_eq!(header_error(&bytes), HeaderError::Trailing { bytes: 1 });
}

#[test]
fn a_header_longer_than_the_limit_or_the_file_is_refused_before_it_is_read() {
    for length in [MAX_HEADER_BYTES + 1, u64::MAX, u64::MAX - 7, 1 << 63] {
        let found = header_error(&length.to_le_bytes());
        assert_eq!(found, HeaderError::TooLarge { found: length });
    }
    let mut bytes = valid();
    bytes[..8].copy_from_slice(&MAX_HEADER_BYTES.to_le_bytes());
    let expected = MAX_HEADER_BYTES + 8;
    assert!(
        matches!(header_error(&bytes), HeaderError::Truncated { expected: e, .. } if e == expected)
    );
}

#[test]
fn offsets_must_tile_the_values() {
    let two = |a: (u64, u64), b: (u64, u64), data_len| {
        let shape = |(begin, end): (u64, u64)| format!("[{}]", end - begin);
        let json = format!(
            "{{{},{}}}",
            entry("a", "U8", &shape(a), a.0, a.1),
            entry("b", "U8", &shape(b), b.0, b.1)
        );
        raw(json, data_len)
    };
    let name = |n: &str| n.to_owned();
    assert!(open_bytes(&two((0, 4), (4, 8), 8)).is_ok());
    assert!(open_bytes(&two((4, 8), (0, 4), 8)).is_ok());
    for (a, b) in [((0, 4), (3, 8)), ((0, 8), (2, 4)), ((0, 8), (0, 8))] {
        let found = header_error(&two(a, b, 8));
        assert!(matches!(found, HeaderError::Overlap { .. }), "{found}");
    }
    // An empty tensor inside another one covers nothing twice, but no writer places it there.
    let inside = header_error(&two((0, 8), (4, 4), 8));
    assert_eq!(
        inside,
        HeaderError::Overlap {
            tensor: name("b"),
            other: name("a")
        }
    );
    let hole = header_error(&two((0, 4), (5, 8), 8));
    assert_eq!(
        hole,
        HeaderError::Hole {
            tensor: name("b"),
            bytes: 1
        }
    );
    let at_start = header_error(&two((1, 4), (4, 8), 8));
    assert_eq!(
        at_start,
        HeaderError::Hole {
            tensor: name("a"),
            bytes: 1
        }
    );
    let outside = header_error(&two((0, 4), (4, 9), 8));
    assert_eq!(
        outside,
        HeaderError::OutOfRange {
            tensor: name("b"),
            end: 9,
            data_len: 8
        }
    );
    let short = header_error(&two((0, 4), (4, 7), 8));
    assert_eq!(short, HeaderError::Trailing { bytes: 1 });
}

#[test]
fn shape_and_element_type_must_agree_with_the_offsets() {
    let one =
        |dtype, shape, begin, end| raw(format!("{{{}}}", entry("w", dtype, shape, begin, end)), 8);
    let tensor = || "w".to_owned();
    let size = HeaderError::Size {
        tensor: tensor(),
        expected: 12,
        found: 8,
    };
    assert_eq!(header_error(&one("F32", "[3]", 0, 8)), size);
    let reversed = HeaderError::ReversedOffsets {
        tensor: tensor(),
        begin: 8,
        end: 0,
    };
    assert_eq!(header_error(&one("F32", "[2]", 8, 0)), reversed);
    for shape in [
        "[18446744073709551615,2]",
        "[4294967296,4294967296]",
        "[18446744073709551615]",
    ] {
        let found = header_error(&one("F32", shape, 0, 8));
        assert_eq!(found, HeaderError::Overflow { tensor: tensor() }, "{shape}");
    }
    // 2^64 / 4 values: the product wraps to a small number if nobody looks.
    let wrapped = header_error(&one("F32", "[4611686018427387906]", 0, 8));
    assert_eq!(wrapped, HeaderError::Overflow { tensor: tensor() });
    let far = header_error(&one("U8", "[18446744073709551615]", 0, u64::MAX));
    assert!(matches!(far, HeaderError::OutOfRange { .. }), "{far}");
}

#[test]
fn a_name_given_twice_is_refused() {
    let json = format!(
        "{{{},{}}}",
        entry("w", "U8", "[4]", 0, 4),
        entry("w", "U8", "[4]", 4, 8)
    );
    assert_eq!(
        header_error(&raw(json, 8)),
        HeaderError::DuplicateName { tensor: "w".into() }
    );
    let escaped = format!(
        "{{{},{}}}",
        entry("w", "U8", "[4]", 0, 4),
        entry("\\u0077", "U8", "[4]", 4, 8)
    );
    assert_eq!(
        header_error(&raw(escaped, 8)),
        HeaderError::DuplicateName { tensor: "w".into() }
    );
}

#[test]
fn what_is_not_a_json_object_in_utf8_is_refused() {
    for text in ["", " {}", "[]", "null", "3", "\"{}\"", "\u{feff}{}"] {
        assert_eq!(
            header_error(&raw(text, 0)),
            HeaderError::NotAnObject,
            "{text:?}"
        );
    }
    for text in [
        "{",
        "{}}",
        "{} x",
        "{]",
        "{\"a\"}",
        "{\"a\":{}}",
        "{,}",
        "{}\0",
    ] {
        let found = header_error(&raw(text, 0));
        assert!(
            matches!(found, HeaderError::Json { .. }),
            "{text:?}: {found}"
        );
    }
    assert_eq!(
        header_error(&raw(b"{\"\xff\":0}", 0)),
        HeaderError::Utf8 { at: 2 }
    );
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let deep = "[".repeat(200_000);
    let objects = r#"{"a":"#.repeat(200_000);
    for text in [
        format!(r#"{{"w":{deep}"#),
        format!(r#"{{"w":{{"dtype":"U8","shape":{deep}"#),
        format!(r#"{{"__metadata__":{{"a":{deep}"#),
        objects.clone(),
    ] {
        let found = header_error(&raw(&text, 0));
        assert!(matches!(found, HeaderError::Json { .. }), "{found}");
        assert!(found.to_string().len() < 1000);
    }
    for text in [
        format!(r#"{{"metadata":{deep}"#),
        format!(r#"{{"weight_map":{objects}"#),
        objects,
    ] {
        assert!(matches!(
            parse_index(text.as_bytes()),
            Err(IndexError::Json { .. })
        ));
    }
}

#[test]
fn a_message_never_repeats_megabytes_or_control_characters() {
    let long = "x".repeat(1 << 20);
    for json in [
        format!("{{{}}}", entry(&long, "U8", "[1]", 0, 1)),
        format!("{{{}}}", entry("w", &long, "[1]", 0, 1)),
        format!("{{{}}}", entry("w", "\\u001b[2J", "[1]", 0, 1)),
        format!(r#"{{"w":{{"{long}":1}}}}"#),
        format!(r#"{{"w":"{long}"}}"#),
        format!(r#"{{"__metadata__":{{"{long}":"","{long}":""}}}}"#),
    ] {
        let text = header_error(&raw(json, 1)).to_string();
        assert!(
            text.len() < 400 && !text.contains('\u{1b}'),
            "{} bytes",
            text.len()
        );
    }
}

/// Ten thousand damaged copies of a valid file: an error or a checkpoint whose every tensor can be read, and nothing
/// is accepted that the format's own reader refuses.
#[test]
fn random_damage_never_panics() {
    let (whole, mut rng) = (valid(), Seed::new(2).fork("damage").rng());
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..=6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.next_u32() as u8,
                1 => bytes[at] ^= 1 << rng.random_range(0..8),
                2 => bytes[at] = b"0123456789{}[],:\"\\ "[rng.random_range(0..19)],
                _ => drop(bytes.remove(at)),
            }
        }
        let Ok(checkpoint) = open_bytes(&bytes) else {
            continue;
        };
        accepted += 1;
        for i in 0..checkpoint.tensors().len() {
            let view = checkpoint.view(i).unwrap();
            assert_eq!(view.bytes.len(), view.meta.size_bytes());
            let _ = checkpoint.tensor_f32(i);
        }
        assert!(
            safetensors::SafeTensors::deserialize(&bytes).is_ok(),
            "{bytes:?}"
        );
    }
    assert!(
        accepted > 100,
        "damage to values alone goes unnoticed, found {accepted}"
    );
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Seed::new(2).fork("noise").rng();
    for _ in 0..10_000 {
        let mut bytes = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut bytes);
        let claimed = rng.next_u64() >> rng.random_range(0..64);
        assert!(parse_header(&bytes, claimed).is_err());
        assert!(parse_index(&bytes).is_err());
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused() {
    let refused = Checkpoint::open("/dev/zero");
    assert!(
        matches!(refused, Err(CkptError::NotAFile { .. })),
        "{refused:?}"
    );
    let missing = Checkpoint::open("/nowhere/at/all.safetensors").unwrap_err();
    assert!(missing.hint().unwrap().contains("check the path"));
}

/// A folder with two shards and an index that says `weight_map`.
fn folder(weight_map: &serde_json::Value) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    save(&home.path().join("1.safetensors"), &shard(&["a", "b"]));
    save(&home.path().join("2.safetensors"), &shard(&["c"]));
    let index = serde_json::json!({ "metadata": { "total_size": 12 }, "weight_map": weight_map });
    save(&index_of(&home), index.to_string().as_bytes());
    home
}

fn index_of(home: &TempDir) -> std::path::PathBuf {
    home.path().join("model.safetensors.index.json")
}

fn open_folder(weight_map: &serde_json::Value) -> Result<Vec<String>, CkptError> {
    let home = folder(weight_map);
    let by_index = Checkpoint::open(index_of(&home)).map(|c| c.tensors().to_vec());
    let opened = Checkpoint::open(home.path());
    assert_eq!(
        by_index.ok(),
        opened.as_ref().ok().map(|c| c.tensors().to_vec())
    );
    opened.map(|c| c.tensors().iter().map(|t| t.path.to_string()).collect())
}

#[test]
fn an_index_and_its_shards_must_agree() {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let good = json(r#"{"c":"2.safetensors","a":"1.safetensors","b":"1.safetensors"}"#);
    assert_eq!(open_folder(&good).unwrap(), ["a", "b", "c"]);

    let unlisted = open_folder(&json(r#"{"c":"2.safetensors","a":"1.safetensors"}"#));
    assert!(matches!(unlisted, Err(CkptError::UnlistedTensor { tensor, .. }) if tensor == "b"));
    let listed_elsewhere = json(r#"{"c":"1.safetensors","a":"1.safetensors","b":"1.safetensors"}"#);
    let found = open_folder(&listed_elsewhere);
    assert!(matches!(found, Err(CkptError::MissingTensor { tensor, .. }) if tensor == "c"));
    let absent = json(r#"{"c":"3.safetensors"}"#);
    let found = open_folder(&absent);
    assert!(
        matches!(found, Err(CkptError::MissingShard { shard, .. }) if shard == "3.safetensors")
    );
}

#[test]
fn an_index_cannot_point_outside_its_folder() {
    for file in [
        "../x.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        "sub\\x.safetensors",
    ] {
        let found = open_folder(&serde_json::json!({ "a": file }));
        let refused = matches!(
            &found,
            Err(CkptError::Index { problem: IndexError::FileName { tensor, .. }, .. }) if tensor == "a"
        );
        assert!(refused, "{file}: {found:?}");
    }
}

#[test]
fn a_damaged_shard_is_named() {
    let home = folder(
        &serde_json::json!({ "a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors" }),
    );
    let file = home.path().join("2.safetensors");
    save(&file, &shard(&["c"])[..20]);
    let error = Checkpoint::open(home.path()).unwrap_err();
    assert!(error.to_string().contains("2.safetensors"), "{error}");
}

#[test]
fn a_folder_without_a_checkpoint_suggests_what_it_holds() {
    let home = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(home.path()).unwrap_err();
    assert!(matches!(
        &error,
        CkptError::NoCheckpoint { other: None, .. }
    ));
    save(&home.path().join("adapter.safetensors"), &shard(&["a"]));
    let error = Checkpoint::open(home.path()).unwrap_err();
    assert!(error.hint().unwrap().contains("adapter.safetensors"));
}

#[test]
fn a_file_that_changes_while_mapped_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("w.safetensors");
    save(&file, &shard(&["a"]));
    let checkpoint = Checkpoint::open(&file).unwrap();
    checkpoint.check_unchanged().unwrap();
    save(Path::new(&file), &shard(&["a", "longer"]));
    assert!(matches!(
        checkpoint.check_unchanged(),
        Err(CkptError::Changed { .. })
    ));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(
        checkpoint.check_unchanged(),
        Err(CkptError::Changed { .. })
    ));
}
