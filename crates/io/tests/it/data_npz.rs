//! `.npz` tasks: what is read, and what is refused.

use crate::data_files::{Member, Room, npy, zip};
use refit_core::Hint;
use refit_io::data::{DataError, npz::Npz, read_npz_task, task_from_npz};

/// The arrays of a valid task: two classes, 2 x 2 pixels, 3 / 2 / 2 images; `edit` changes one of them.
fn task(edit: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    zip(&members(edit))
}

fn members(edit: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<Member> {
    let parts = [("train", 3), ("val", 2), ("test", 2)];
    let arrays = parts.into_iter().flat_map(|(part, n)| {
        let x: Vec<u8> = (0..n * 4).collect();
        let y: Vec<u8> = (0..n).map(|i| i % 2).collect();
        [
            (format!("{part}_x"), npy("|u1", &format!("({n}, 2, 2)"), &x)),
            (format!("{part}_y"), npy("|u1", &format!("({n},)"), &y)),
        ]
    });
    arrays
        .map(|(key, bytes)| {
            let bytes = edit(&key).unwrap_or(bytes);
            let name = format!("{key}.npy");
            // Both ways of storing are exercised.
            if key.ends_with('y') {
                Member::stored(&name, &bytes)
            } else {
                Member::deflated(&name, &bytes)
            }
        })
        .collect()
}

fn read(bytes: Vec<u8>) -> Result<refit_io::data::Task, DataError> {
    task_from_npz(&Npz::from_bytes(bytes, "dir/img28_toy.npz")?)
}

#[test]
fn a_task_is_named_after_its_file_and_keeps_its_values() {
    let task = read(task(|_| None)).unwrap();
    assert_eq!(task.name(), "toy");
    assert_eq!(task.classes().to_vec(), ["0", "1"]);
    assert_eq!(
        (task.train().len(), task.val().len(), task.test().len()),
        (3, 2, 2)
    );
    assert_eq!(task.train().image(2), [8, 9, 10, 11]);
    assert_eq!(task.train().labels(), [0, 1, 0]);
}

#[test]
fn stored_class_names_are_used() {
    let named = |names: &[u8]| {
        let text = npy("|u1", &format!("({},)", names.len()), names);
        let mut members = members(|_| None);
        members.push(Member::stored("class_names_utf8.npy", &text));
        read(zip(&members))
    };
    assert_eq!(
        named(b"cat\ndog").unwrap().classes().to_vec(),
        ["cat", "dog"]
    );
    let e = named(b"cat").unwrap_err();
    assert!(
        matches!(
            e,
            DataError::Label {
                found: 1,
                classes: 1,
                ..
            }
        ),
        "{e}"
    );
    let e = named(b"cat\ndog\nemu").unwrap_err();
    assert!(
        matches!(&e, DataError::EmptyClass { class, .. } if class == "emu"),
        "{e}"
    );
    assert!(matches!(
        named(b"\xff").unwrap_err(),
        DataError::Format { .. }
    ));
}

#[test]
fn labels_of_every_integer_type_are_read() {
    for (descr, width) in [("|u1", 1), ("<i2", 2), ("<i4", 4), ("<u4", 4), ("<i8", 8)] {
        let y: Vec<u8> = [1i64, 0, 1]
            .iter()
            .flat_map(|v| v.to_le_bytes()[..width].to_vec())
            .collect();
        let bytes = task(|key| (key == "train_y").then(|| npy(descr, "(3,)", &y)));
        assert_eq!(read(bytes).unwrap().train().labels(), [1, 0, 1], "{descr}");
    }
}

#[test]
fn colour_images_have_their_channels_first() {
    let bytes = task(|key| {
        let n: u8 = match key {
            "train_x" => 3,
            "val_x" | "test_x" => 2,
            _ => return None,
        };
        Some(npy(
            "|u1",
            &format!("({n}, 3, 1, 2)"),
            &(0..n * 6).collect::<Vec<_>>(),
        ))
    });
    let task = read(bytes).unwrap();
    assert_eq!(task.shape().to_string(), "3x1x2");
}

#[test]
fn floats_are_read_as_stored() {
    let values: Vec<u8> = [0.5f32, -1.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let npz = Npz::from_bytes(
        zip(&[Member::stored("w.npy", &npy("<f4", "(2,)", &values))]),
        "w",
    );
    let array = npz.unwrap().array("w").unwrap();
    assert_eq!(array.floats().unwrap(), [0.5, -1.0]);
    assert_eq!(array.integers(), None);
}

#[test]
fn every_shorter_file_is_an_error() {
    let whole = task(|_| None);
    for len in 0..whole.len() {
        assert!(
            read(whole[..len].to_vec()).is_err(),
            "{len} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn no_changed_byte_is_believed_or_panics() {
    let whole = task(|_| None);
    for i in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[i] ^= change;
            // Times and versions carry no data; whatever is read must be the data that was written.
            if let Ok(task) = read(bytes) {
                assert_eq!(task.train().image(2), [8, 9, 10, 11], "byte {i}");
            }
        }
    }
}

#[test]
fn a_missing_file_and_a_missing_array_are_named() {
    let e = read_npz_task("no/such/file.npz").unwrap_err();
    assert!(matches!(e, DataError::Io { .. }));
    assert_eq!(e.to_string(), "cannot read `no/such/file.npz`");
    assert!(e.hint().unwrap().contains("spelling"));

    let room = Room::new();
    let lone = zip(&[Member::stored(
        "train_x.npy",
        &npy("|u1", "(1, 2, 2)", &[0; 4]),
    )]);
    let e = read_npz_task(room.file("lone.npz", &lone)).unwrap_err();
    assert!(
        matches!(&e, DataError::MissingArray { key, .. } if key == "train_y"),
        "{e}"
    );
    assert_eq!(e.hint().unwrap(), "the file holds: train_x");
}

#[test]
fn other_element_types_are_refused() {
    for (key, descr, n) in [
        ("train_x", "<f4", 48),
        ("train_y", "<f4", 12),
        ("val_y", "<f8", 16),
    ] {
        let shape = if key.ends_with('x') {
            "(3, 2, 2)"
        } else {
            "(3,)"
        };
        let shape = if key == "val_y" { "(2,)" } else { shape };
        let e = read(task(|k| (k == key).then(|| npy(descr, shape, &vec![0; n])))).unwrap_err();
        assert!(
            matches!(&e, DataError::ElementType { key: k, .. } if k == key),
            "{e}"
        );
    }
}

#[test]
fn pickles_strings_and_big_endian_numbers_are_refused() {
    for descr in ["|O", "<U5", ">i4", "|S3", "<f8", "<c8"] {
        let e = read(task(|k| {
            (k == "test_y").then(|| npy(descr, "(2,)", &[0; 8]))
        }))
        .unwrap_err();
        assert!(
            matches!(&e, DataError::ElementType { found, .. } if found == descr),
            "{e}"
        );
    }
    let e = read(task(|k| {
        (k == "test_y").then(|| npy("|O", "(2,)", b"\x80\x04"))
    }))
    .unwrap_err();
    assert!(e.hint().unwrap().contains("pickles"));
}

#[test]
fn wrong_shapes_are_refused() {
    for shape in ["(12,)", "(3, 4)", "(3, 2, 2, 1)", "(0, 2, 2)"] {
        let values = if shape.starts_with("(0") { 0 } else { 12 };
        let e = read(task(|k| {
            (k == "train_x").then(|| npy("|u1", shape, &vec![0; values]))
        }));
        assert!(
            matches!(e, Err(DataError::ArrayShape { .. })),
            "{shape}: {e:?}"
        );
    }
    let e = read(task(|k| {
        (k == "val_x").then(|| npy("|u1", "(2, 1, 4)", &[0; 8]))
    }))
    .unwrap_err();
    assert_eq!(
        e.to_string(),
        "`toy/val` has images of 1x1x4, expected 1x2x2"
    );
}

#[test]
fn announced_sizes_are_compared_with_the_bytes_before_anything_is_allocated() {
    for shape in [
        "(3000000000000000000, 2, 2)",
        "(18446744073709551615, 18446744073709551615, 2)",
        "(4, 2, 2)",
        "(2, 2, 2)",
    ] {
        let e = read(task(|k| {
            (k == "train_x").then(|| npy("|u1", shape, &[0; 12]))
        }))
        .unwrap_err();
        assert!(matches!(e, DataError::Truncated { .. }), "{shape}: {e}");
    }
    // No byte is needed for no image, however large it would be.
    let shape = "(0, 9223372036854775807, 9223372036854775807)";
    let e = read(task(|k| (k == "train_x").then(|| npy("|u1", shape, &[])))).unwrap_err();
    assert!(matches!(e, DataError::ArrayShape { .. }), "{e}");
}

#[test]
fn labels_and_images_differ_in_number() {
    let e = read(task(|k| {
        (k == "test_y").then(|| npy("|u1", "(3,)", &[0, 1, 0]))
    }))
    .unwrap_err();
    assert!(
        matches!(
            e,
            DataError::Lengths {
                images: 2,
                labels: 3,
                ..
            }
        ),
        "{e}"
    );
    assert!(e.to_string().contains("test_x"), "{e}");
}

#[test]
fn negative_and_absurd_labels_are_refused() {
    let y = |v: i32| [v.to_le_bytes(), 0i32.to_le_bytes()].concat();
    for label in [-1, i32::MAX] {
        let e = read(task(|k| {
            (k == "val_y").then(|| npy("<i4", "(2,)", &y(label)))
        }))
        .unwrap_err();
        let expected = i64::from(label);
        assert!(
            matches!(e, DataError::Label { index: 0, found, .. } if found == expected),
            "{e}"
        );
    }
}

#[test]
fn a_class_without_training_image_is_named() {
    let e = read(task(|k| {
        (k == "test_y").then(|| npy("|u1", "(2,)", &[2, 0]))
    }))
    .unwrap_err();
    assert!(
        matches!(&e, DataError::EmptyClass { class, .. } if class == "2"),
        "{e}"
    );
    assert!(e.hint().is_some());
}

#[test]
fn a_bomb_is_refused_by_its_announced_size() {
    let unpack = |member| {
        Npz::from_bytes(zip(&[member]), "bomb")
            .unwrap()
            .array("x")
            .unwrap_err()
    };
    let n = 64 << 20;
    let bomb = npy("|u1", &format!("({n},)"), &vec![0; n]);
    let e = unpack(Member::deflated("x.npy", &bomb));
    assert!(matches!(e, DataError::TooLarge { .. }), "{e}");
    // A directory that lies about the size stops the unpacking after one byte too many.
    let mut member = Member::deflated("x.npy", &bomb);
    member.unpacked = 1000;
    let e = unpack(member);
    assert!(
        e.to_string().contains("another length than announced"),
        "{e}"
    );
}

#[test]
fn a_name_occurs_once() {
    let member = || Member::stored("train_x.npy", &npy("|u1", "(1, 2, 2)", &[0; 4]));
    let e = read(zip(&[member(), member()])).unwrap_err();
    assert!(e.to_string().contains("occurs twice"), "{e}");
}

#[test]
fn text_is_no_archive() {
    let e = read(b"not an archive at all, but long enough to hold an end record".to_vec());
    assert!(e.unwrap_err().to_string().contains("no zip directory"));
}
