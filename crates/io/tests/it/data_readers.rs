//! IDX, CIFAR binaries, folders of pictures, and folders of tasks.

use crate::data_files::{Room, gzip, idx};
use refit_core::{Hint, Seed};
use refit_io::data::{
    Colour, DataError, FolderOptions, Split, read_cifar_batch, read_cifar_folder, read_idx,
    read_idx_set, read_image_folder, read_suite, read_task,
};
#[cfg(unix)]
use std::path::PathBuf;

#[test]
fn idx_reads_plain_and_gzipped_files() {
    let room = Room::new();
    let file = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    for (name, bytes) in [("a", file.clone()), ("a.gz", gzip(&file))] {
        let array = read_idx(room.file(name, &bytes)).unwrap();
        assert_eq!(
            (array.shape, array.bytes),
            (vec![2, 1, 3], vec![1, 2, 3, 4, 5, 6])
        );
    }
}

#[test]
fn idx_with_absurd_dimensions_allocates_nothing() {
    let room = Room::new();
    let huge = idx(&[u32::MAX, u32::MAX, u32::MAX, u32::MAX], &[0; 10]);
    let long = idx(&[1 << 30, 28, 28], &[0; 10]);
    for (i, bytes) in [huge.clone(), long.clone(), gzip(&huge), gzip(&long)]
        .iter()
        .enumerate()
    {
        let e = read_idx(room.file(&i.to_string(), bytes)).unwrap_err();
        assert!(matches!(e, DataError::TooLarge { .. }), "{e}");
    }
}

#[test]
fn broken_idx_files_are_refused() {
    let room = Room::new();
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", vec![]),
        ("magic", b"PNG and more".to_vec()),
        ("floats", vec![0, 0, 0x0d, 1, 0, 0, 0, 0]),
        ("no axis", vec![0, 0, 8, 0]),
        ("short header", vec![0, 0, 8, 2, 0, 0, 0, 1]),
        ("rest", idx(&[1], &[1, 2])),
    ];
    for (name, bytes) in cases {
        assert!(read_idx(room.file(name, &bytes)).is_err(), "{name}");
    }
    let cut = gzip(&idx(&[100], &[7; 100]));
    assert!(read_idx(room.file("cut.gz", &cut[..cut.len() - 12])).is_err());
    let short = gzip(&idx(&[100], &[7; 60]));
    let e = read_idx(room.file("short.gz", &short)).unwrap_err();
    assert!(
        matches!(
            e,
            DataError::Truncated {
                needed: 100,
                found: 60,
                ..
            }
        ),
        "{e}"
    );
}

#[test]
fn idx_images_need_as_many_labels_and_three_axes() {
    let room = Room::new();
    let images = room.file("images", &idx(&[2, 2, 2], &[0; 8]));
    let labels = room.file("labels", &idx(&[3], &[0, 1, 0]));
    let e = read_idx_set(&images, &labels, "toy").unwrap_err();
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
    let e = read_idx_set(&labels, &images, "toy").unwrap_err();
    assert!(matches!(e, DataError::ArrayShape { .. }), "{e}");
}

#[test]
fn an_idx_folder_is_a_task() {
    let room = Room::new();
    let labels: Vec<u8> = (0..20).map(|i| i % 2).collect();
    room.file(
        "set/train-images-idx3-ubyte.gz",
        &gzip(&idx(&[20, 2, 2], &[9; 80])),
    );
    room.file("set/train-labels-idx1-ubyte", &idx(&[20], &labels));
    room.file("set/t10k-images.idx3-ubyte", &idx(&[2, 2, 2], &[5; 8]));
    let dir = room.path().join("set");
    let e = read_task(&dir, &FolderOptions::default()).unwrap_err();
    assert!(matches!(e, DataError::NothingFound { .. }), "{e}");
    room.file("set/t10k-labels-idx1-ubyte", &idx(&[2], &[1, 0]));
    let task = read_task(&dir, &FolderOptions::default()).unwrap();
    assert_eq!(
        (task.name(), task.train().len(), task.val().len()),
        ("set", 18, 2)
    );
    assert_eq!(task.val().class_counts(), [1, 1]);
    assert_eq!(task.test().labels(), [1, 0]);
}

#[test]
fn cifar_records_are_a_label_and_three_planes() {
    let room = Room::new();
    let record = |label: u8| {
        let mut r = vec![label];
        r.extend([10; 1024].iter().chain(&[20; 1024]).chain(&[30; 1024]));
        r
    };
    let set = read_cifar_batch(room.file("ok.bin", &[record(3), record(9)].concat())).unwrap();
    assert_eq!((set.labels(), set.image(1)[1024]), (&[3, 9][..], 20));
    assert_eq!(set.classes()[9], "truck");
    let e = read_cifar_batch(room.file("bad.bin", &record(10))).unwrap_err();
    assert!(matches!(e, DataError::Label { found: 10, .. }), "{e}");
    let e = read_cifar_batch(room.file("cut.bin", &record(1)[..3000])).unwrap_err();
    assert!(matches!(e, DataError::Truncated { .. }), "{e}");
    assert!(read_cifar_batch(room.file("empty.bin", &[])).is_err());

    let all: Vec<u8> = (0..40).flat_map(|i| record(i % 10)).collect();
    room.file("c10/data_batch_1.bin", &all);
    room.file("c10/data_batch_3.bin", &all);
    room.file("c10/test_batch.bin", &all);
    let task = read_cifar_folder(room.path().join("c10"), &Split::default()).unwrap();
    assert_eq!(
        (task.train().len(), task.val().len(), task.test().len()),
        (70, 10, 40)
    );
}

/// `classes` folders with `count` pictures each.
fn pictures(room: &Room, dir: &str, classes: &[&str], count: u32) {
    for (c, class) in classes.iter().enumerate() {
        for i in 0..count {
            room.picture(
                &format!("{dir}/{class}/{i:02}.png"),
                6,
                (c * 100) as u8 + i as u8,
            );
        }
    }
}

#[test]
fn classes_are_folders_and_parts_are_drawn_class_by_class() {
    let room = Room::new();
    pictures(&room, "pets", &["cat", "dog"], 10);
    room.file("pets/cat/notes.txt", b"ignored");
    room.file("pets/.hidden/x.png", b"ignored");
    let task = read_task(room.path().join("pets"), &FolderOptions::default()).unwrap();
    assert_eq!(task.classes().to_vec(), ["cat", "dog"]);
    assert_eq!(task.train().class_counts(), [7, 7]);
    assert_eq!(task.val().class_counts(), [1, 1]);
    assert_eq!(task.test().class_counts(), [2, 2]);
    // Every picture is in one part, with its own label.
    let mut seen: Vec<u8> = [task.train(), task.val(), task.test()]
        .iter()
        .flat_map(|set| (0..set.len()).map(|i| set.image(i)[0]))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..10).chain(100..110).collect::<Vec<u8>>());
    let wrong =
        (0..14).find(|&i| u32::from(task.train().image(i)[0] >= 100) != task.train().label(i));
    assert_eq!(wrong, None);
}

#[test]
fn given_parts_are_kept() {
    let room = Room::new();
    pictures(&room, "t/train", &["a", "b"], 5);
    pictures(&room, "t/test", &["a", "b"], 2);
    let task = read_image_folder(room.path().join("t"), &FolderOptions::default()).unwrap();
    assert_eq!(
        (task.train().len(), task.val().len(), task.test().len()),
        (8, 2, 4)
    );
    pictures(&room, "t/val", &["a", "b"], 3);
    let task = read_image_folder(room.path().join("t"), &FolderOptions::default()).unwrap();
    assert_eq!(
        (task.train().len(), task.val().len(), task.test().len()),
        (10, 6, 4)
    );
    pictures(&room, "t/val", &["c"], 3);
    let e = read_image_folder(room.path().join("t"), &FolderOptions::default()).unwrap_err();
    assert!(matches!(e, DataError::Classes { .. }), "{e}");
}

#[test]
fn an_empty_class_and_a_lonely_picture_are_refused_before_decoding() {
    let room = Room::new();
    pictures(&room, "d", &["a", "b"], 4);
    room.file("d/a/00.png", b"this would not decode");
    room.folder("d/c");
    let e = read_image_folder(room.path().join("d"), &FolderOptions::default()).unwrap_err();
    assert!(
        matches!(&e, DataError::EmptyClass { class, .. } if class == "c"),
        "{e}"
    );
    room.picture("d/c/only.png", 6, 1);
    let e = read_image_folder(room.path().join("d"), &FolderOptions::default()).unwrap_err();
    assert!(
        matches!(&e, DataError::TooFew { class, found: 1, .. } if class == "c"),
        "{e}"
    );
    assert!(e.hint().is_some());
}

#[test]
fn a_folder_with_one_picture_is_no_task() {
    let room = Room::new();
    room.picture("one/picture.png", 6, 1);
    let e = read_task(room.path().join("one"), &FolderOptions::default()).unwrap_err();
    assert!(matches!(e, DataError::NothingFound { .. }), "{e}");
    assert!(e.hint().unwrap().contains("sub-folder"));
    assert!(read_task(room.folder("none"), &FolderOptions::default()).is_err());
    let e = read_task(room.path().join("missing"), &FolderOptions::default()).unwrap_err();
    assert!(matches!(e, DataError::Io { .. }), "{e}");
}

#[test]
fn unreadable_pictures_and_mixed_sizes_name_the_file() {
    let room = Room::new();
    pictures(&room, "d", &["a", "b"], 4);
    let other = room.picture("d/b/02.png", 9, 1);
    let e = read_image_folder(room.path().join("d"), &FolderOptions::default()).unwrap_err();
    assert!(
        matches!(&e, DataError::ImageSize { what, .. } if *what == other.display().to_string())
    );
    assert!(e.hint().unwrap().contains("size"));
    let sized = FolderOptions {
        size: Some([4, 5]),
        colour: Colour::Rgb,
        ..FolderOptions::default()
    };
    let task = read_image_folder(room.path().join("d"), &sized).unwrap();
    assert_eq!(task.shape().to_string(), "3x4x5");
    let bad = room.file("d/a/01.png", b"\x89PNG\r\n\x1a\nbut then nothing");
    let e = read_image_folder(room.path().join("d"), &sized).unwrap_err();
    assert_eq!(
        e.to_string(),
        format!("cannot decode the image `{}`", bad.display())
    );
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused() {
    let room = Room::new();
    pictures(&room, "d", &["a", "b"], 4);
    // A PGM of 16384 x 65536 pixels, without any.
    room.file("d/a/01.pgm", b"P5\n65536 16384\n255\n");
    let e = read_image_folder(room.path().join("d"), &FolderOptions::default()).unwrap_err();
    assert!(matches!(e, DataError::Image { .. }), "{e}");
}

#[test]
fn settings_out_of_range_are_refused() {
    let room = Room::new();
    pictures(&room, "d", &["a", "b"], 4);
    let read = |options| {
        read_image_folder(room.path().join("d"), &options)
            .unwrap_err()
            .to_string()
    };
    let split = |val, test| Split {
        val,
        test,
        seed: Seed::new(0),
    };
    let at = |split| FolderOptions {
        split,
        ..FolderOptions::default()
    };
    assert_eq!(
        read(at(split(0.0, 0.2))),
        "`val` is 0, expected a share in (0, 1)"
    );
    assert_eq!(
        read(at(split(f64::NAN, 0.2))),
        "`val` is NaN, expected a share in (0, 1)"
    );
    assert_eq!(
        read(at(split(0.5, 0.5))),
        "`val + test` is 1, expected a share in (0, 1)"
    );
    let size = FolderOptions {
        size: Some([0, 5]),
        ..FolderOptions::default()
    };
    assert_eq!(read(size), "`size` is 0x5, expected sides from 1 to 16384");
}

#[test]
fn a_suite_is_a_folder_of_tasks_of_one_shape() {
    let room = Room::new();
    pictures(&room, "suite/b", &["x", "y"], 4);
    pictures(&room, "suite/a", &["x", "y", "z"], 3);
    let dir = room.path().join("suite");
    let names = |tasks: Vec<refit_io::data::Task>| -> Vec<String> {
        tasks.iter().map(|t| t.name().to_owned()).collect()
    };
    assert_eq!(
        names(read_suite(&dir, &FolderOptions::default()).unwrap()),
        ["a", "b"]
    );
    for i in 0..4 {
        room.picture(&format!("suite/c/k/{i}.png"), 8, 1);
    }
    let e = read_suite(&dir, &FolderOptions::default()).unwrap_err();
    assert!(
        matches!(&e, DataError::ImageSize { what, .. } if what == "c"),
        "{e}"
    );
    room.file("suite/img28_usps.npz", b"");
    let e = read_suite(&dir, &FolderOptions::default()).unwrap_err();
    assert!(e.to_string().contains("img28_usps.npz"), "{e}");
    assert!(read_suite(room.folder("void"), &FolderOptions::default()).is_err());
}

#[test]
#[cfg(unix)]
fn devices_and_pipes_are_refused_before_they_are_opened() {
    let room = Room::new();
    let pipe = room.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [PathBuf::from("/dev/zero"), pipe] {
        let (send, receive) = std::sync::mpsc::channel();
        let at = path.clone();
        std::thread::spawn(move || {
            let options = FolderOptions::default();
            send.send([
                read_task(&at, &options).unwrap_err(),
                read_idx(&at).unwrap_err(),
                read_cifar_batch(&at).unwrap_err(),
            ])
            .unwrap();
        });
        let errors = receive.recv_timeout(std::time::Duration::from_secs(20));
        for error in errors.expect("reading a pipe or a device does not end") {
            let words = format!("`{}` is not a regular file", path.display());
            assert_eq!(error.to_string(), words);
        }
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused_before_it_is_read() {
    let room = Room::new();
    let path = room.file("huge.npz", b"PK");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Only a length: nothing is stored.
    if file.set_len(1 << 40).is_err() {
        return; // not every file system has such files
    }
    let error = read_task(&path, &FolderOptions::default()).unwrap_err();
    assert!(
        matches!(error, DataError::TooLarge { bytes, .. } if bytes == 1 << 40),
        "{error}"
    );
}
