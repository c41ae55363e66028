//! What is written comes back bit by bit, here and in the format's own reader.

use crate::ckpt_support::{bytes_of, meta};
use proptest::prelude::*;
use refit_core::{DType, Hint, Sink, Source, TensorMeta};
use refit_io::{
    atomic::{AtomicError, Overwrite},
    ckpt::{Checkpoint, CheckpointWriter, CkptError, WriteOptions},
};
use std::{collections::BTreeMap, fs, path::Path};

fn write(path: &Path, metas: &[TensorMeta], options: WriteOptions) -> Result<(), CkptError> {
    let mut writer = CheckpointWriter::create(path, metas.to_vec(), options)?;
    for (i, meta) in metas.iter().enumerate() {
        writer.put(meta, &bytes_of(meta, i as u8))?;
    }
    writer.finish()
}

fn sharded(shard_bytes: u64) -> WriteOptions {
    WriteOptions {
        shard_bytes: Some(shard_bytes),
        ..WriteOptions::default()
    }
}

/// Names in `folder`, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Order, shapes and bytes are those of `metas`; so says the reference reader of each file.
fn assert_holds(path: &Path, metas: &[TensorMeta]) {
    let checkpoint = Checkpoint::open(path).unwrap();
    assert_eq!(checkpoint.tensors(), metas);
    for (i, meta) in metas.iter().enumerate() {
        assert_eq!(
            *checkpoint.bytes(i).unwrap(),
            bytes_of(meta, i as u8),
            "{}",
            meta.path
        );
        assert_eq!(checkpoint.position(meta.path.as_str()), Some(i));
    }
    let shards = checkpoint
        .files()
        .filter(|f| f.extension().unwrap() == "safetensors");
    let mut seen = 0;
    for file in shards {
        let bytes = fs::read(file).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, view) in reference.tensors() {
            let i = checkpoint.position(&name).unwrap();
            assert_eq!(view.data(), bytes_of(&metas[i], i as u8));
            assert_eq!(view.shape(), metas[i].shape);
            assert_eq!(view.dtype().to_string(), metas[i].dtype.name());
            let offset = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
            assert_eq!(
                offset % metas[i].dtype.size_bytes(),
                0,
                "{name} is not aligned"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, metas.len());
}

fn any_metas() -> impl Strategy<Value = Vec<TensorMeta>> {
    let one = (
        0..DType::ALL.len(),
        proptest::collection::vec(0usize..5, 0..4),
    );
    proptest::collection::vec(one, 0..12).prop_map(|tensors| {
        let name = |i: usize| format!("block.{}.tensör \"{}\"", i % 3, 97 * (i + 1) % 13);
        let tensor =
            |(i, (d, shape)): (usize, (usize, Vec<usize>))| meta(&name(i), DType::ALL[d], &shape);
        tensors.into_iter().enumerate().map(tensor).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_file_comes_back(metas in any_metas(), keys in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..3)) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("m.safetensors");
        write(&file, &metas, WriteOptions { metadata: keys.clone(), ..WriteOptions::default() }).unwrap();
        assert_holds(&file, &metas);
        let opened = Checkpoint::open(&file).unwrap();
        prop_assert_eq!(opened.metadata(), &keys);
        prop_assert_eq!(names(home.path()), ["m.safetensors"]);
    }

    #[test]
    fn shards_come_back(metas in any_metas(), shard_bytes in 1u64..300) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("model");
        write(&folder, &metas, sharded(shard_bytes)).unwrap();
        assert_holds(&folder, &metas);
        let sizes = Checkpoint::open(&folder).unwrap();
        for file in sizes.files().filter(|f| f.extension().unwrap() == "safetensors") {
            let one = Checkpoint::open(file).unwrap();
            let bytes: usize = one.tensors().iter().map(TensorMeta::size_bytes).sum();
            let giants = one.tensors().iter().filter(|t| t.size_bytes() as u64 > shard_bytes).count();
            prop_assert!(bytes as u64 <= shard_bytes || giants == 1, "{} bytes", bytes);
        }
    }
}

#[test]
fn shards_are_named_and_listed_as_hugging_face_does() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    let metas = [
        meta("z", DType::F32, &[3]),
        meta("a", DType::F32, &[3]),
        meta("m", DType::F32, &[1]),
    ];
    write(&folder, &metas, sharded(12)).unwrap();
    let expected = [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(names(&folder), expected);
    let index = fs::read(folder.join(expected[3])).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], 28);
    assert_eq!(index["weight_map"]["a"], expected[1]);
    assert_eq!(index["weight_map"].as_object().unwrap().len(), 3);
    assert_holds(&folder, &metas);

    let whole = home.path().join("whole");
    write(&whole, &metas, sharded(28)).unwrap();
    assert_eq!(names(&whole), ["model.safetensors"]);
}

#[test]
fn a_file_of_the_reference_writer_is_read_alike() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ref.safetensors");
    let values: Vec<u8> = [1.5f32, -2.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let view =
        |dtype, shape, bytes| safetensors::tensor::TensorView::new(dtype, shape, bytes).unwrap();
    let tensors = [
        ("b", view(safetensors::Dtype::U8, vec![3], &[7, 8, 9])),
        ("a", view(safetensors::Dtype::F32, vec![2, 1], &values)),
    ];
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), &file).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    assert_eq!(checkpoint.tensor_f32("a").unwrap(), [1.5, -2.0]);
    assert_eq!(
        checkpoint.view("a").unwrap().as_f32(),
        Some(&[1.5, -2.0][..])
    );
    assert_eq!(checkpoint.view("b").unwrap().bytes, [7, 8, 9]);
    assert_eq!(
        checkpoint.metadata(),
        &BTreeMap::from([("format".into(), "pt".into())])
    );
}

#[test]
fn an_unfinished_writer_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let w = meta("w", DType::F32, &[2]);
    for target in ["w.safetensors", "folder"] {
        let path = home.path().join(target);
        let new = || {
            let metas = vec![w.clone(), meta("v", DType::U8, &[1])];
            CheckpointWriter::create(&path, metas, sharded_if(target)).unwrap()
        };
        let mut writer = new();
        writer.put(&w, &[0; 8]).unwrap();
        assert_eq!(writer.written(), 1);
        drop(writer);
        assert_eq!(names(home.path()), [""; 0]);
        let mut writer = new();
        writer.put(&w, &[0; 8]).unwrap();
        let error = writer.finish().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expects `v` U8 [1] next, found the end"),
            "{error}"
        );
        assert_eq!(names(home.path()), [""; 0]);
    }
}

fn sharded_if(target: &str) -> WriteOptions {
    if target == "folder" {
        sharded(8)
    } else {
        WriteOptions::default()
    }
}

#[test]
fn a_tensor_off_the_plan_is_refused_and_the_plan_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("m.safetensors");
    let (a, b) = (meta("a", DType::F32, &[1]), meta("b", DType::F32, &[1]));
    let mut writer =
        CheckpointWriter::create(&path, vec![a.clone(), b.clone()], WriteOptions::default())
            .unwrap();
    let refused = |found: Result<(), CkptError>| matches!(found, Err(CkptError::OutOfPlan { .. }));
    assert!(refused(writer.put(&b, &[0; 4])), "order");
    assert!(
        refused(writer.put(&meta("a", DType::F32, &[1, 1]), &[0; 4])),
        "shape"
    );
    assert!(
        refused(writer.put(&meta("a", DType::I32, &[1]), &[0; 4])),
        "element type"
    );
    assert!(matches!(
        writer.put(&a, &[0; 3]),
        Err(CkptError::Convert { .. })
    ));
    writer.put(&a, &bytes_of(&a, 0)).unwrap();
    writer.put(&b, &bytes_of(&b, 1)).unwrap();
    assert!(refused(writer.put(&b, &[0; 4])), "one too many");
    writer.finish().unwrap();
    assert_holds(&path, &[a, b]);
}

#[test]
fn after_a_failed_write_nothing_is_completed() {
    let home = tempfile::tempdir().unwrap();
    let metas = vec![meta("a", DType::U8, &[4]), meta("b", DType::U8, &[4])];
    let folder = home.path().join("model");
    let mut writer = CheckpointWriter::create(&folder, metas.clone(), sharded(4)).unwrap();
    writer.put(&metas[0], &[0; 4]).unwrap();
    // The second shard has nowhere to go.
    fs::remove_dir_all(home.path().join(&names(home.path())[0])).unwrap();
    assert!(matches!(
        writer.put(&metas[1], &[0; 4]),
        Err(CkptError::Output(_))
    ));
    assert!(matches!(
        writer.put(&metas[1], &[0; 4]),
        Err(CkptError::Broken { .. })
    ));
    assert!(matches!(writer.finish(), Err(CkptError::Broken { .. })));
    assert_eq!(names(home.path()), [""; 0]);
}

#[test]
fn an_existing_output_stays_unless_it_may_be_replaced() {
    let home = tempfile::tempdir().unwrap();
    let (old, new) = (
        [meta("old", DType::U8, &[4])],
        [meta("new", DType::U8, &[4])],
    );
    for target in ["m.safetensors", "folder"] {
        let path = home.path().join(target);
        write(&path, &old, WriteOptions::default()).unwrap();
        let error = write(&path, &new, WriteOptions::default()).unwrap_err();
        assert!(
            matches!(&error, CkptError::Output(AtomicError::Exists { .. })),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("--force"));
        assert_holds(&path, &old);
        let mapped = Checkpoint::open(&path).unwrap();
        let replace = WriteOptions {
            overwrite: Overwrite::Replace,
            ..WriteOptions::default()
        };
        write(&path, &new, replace).unwrap();
        assert_holds(&path, &new);
        // A map that was open during the replacement still shows the old file.
        assert_eq!(mapped.view("old").unwrap().bytes, bytes_of(&old[0], 0));
    }
    assert_eq!(names(home.path()), ["folder", "m.safetensors"]);
}

#[test]
fn settings_that_do_not_fit_are_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let metas = [meta("a", DType::U8, &[4]), meta("b", DType::U8, &[4])];
    let file = home.path().join("m.safetensors");
    let two = write(&file, &metas, sharded(4));
    assert!(matches!(two, Err(CkptError::NeedsFolder { shards: 2, .. })));
    let zero = write(&home.path().join("m"), &metas, sharded(0));
    assert!(matches!(zero, Err(CkptError::Config(_))));
    let twice = write(
        &file,
        &[metas[0].clone(), metas[0].clone()],
        WriteOptions::default(),
    );
    assert!(matches!(twice, Err(CkptError::Unwritable { .. })));
    assert_eq!(names(home.path()), [""; 0]);
}
