//! Reading by position: the same values as through the map, from many threads, and no trust in a file that is cut.

use crate::ckpt_support::{bytes_of, entry, meta, raw, save, shard};
use refit_core::{DType, Sink, Source, TensorMeta, TensorRead};
use refit_io::ckpt::{
    Checkpoint, CheckpointWriter, CkptError, ConvertError, TensorReader, WriteOptions,
};
use std::{fs::OpenOptions, path::Path, sync::Arc};

fn write(path: &Path, metas: &[TensorMeta], shard_bytes: Option<u64>) {
    let options = WriteOptions {
        shard_bytes,
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(path, metas.to_vec(), options).unwrap();
    for (i, meta) in metas.iter().enumerate() {
        writer.put(meta, &bytes_of(meta, i as u8)).unwrap();
    }
    writer.finish().unwrap();
}

/// One tensor of every element type, some longer than one block of the reader.
fn every_dtype() -> Vec<TensorMeta> {
    let long = TensorReader::SCRATCH_BYTES / 2 + 77;
    let mut metas: Vec<_> = DType::ALL
        .into_iter()
        .map(|dtype| meta(&format!("block.{dtype}"), dtype, &[3, 5]))
        .collect();
    metas.push(meta("long.f16", DType::F16, &[2, long]));
    metas.push(meta("long.f32", DType::F32, &[long]));
    metas.push(meta("scalar", DType::F64, &[]));
    metas.push(meta("none", DType::F32, &[0, 4]));
    metas
}

#[test]
fn every_range_of_every_tensor_is_what_the_map_holds() {
    let home = tempfile::tempdir().unwrap();
    for (name, shard_bytes) in [("one", None), ("sharded", Some(300))] {
        let folder = home.path().join(name);
        write(&folder, &every_dtype(), shard_bytes);
        let mapped = Checkpoint::open(&folder).unwrap();
        let reader = TensorReader::open(&folder).unwrap();
        assert_eq!(reader.tensors(), mapped.tensors());
        assert_eq!(reader.metadata(), mapped.metadata());
        assert!(reader.files().eq(mapped.files()));
        let mut scratch = Vec::new();
        for (i, meta) in reader.tensors().iter().enumerate() {
            assert_eq!(reader.position(meta.path.as_str()), Some(i));
            let stored = mapped.view(i).unwrap().bytes;
            let mut bytes = vec![0; stored.len()];
            reader.read_bytes(i, 0..stored.len(), &mut bytes).unwrap();
            assert_eq!(bytes, stored);
            if !meta.dtype.is_weight() {
                continue;
            }
            let all = mapped.tensor_f32(i).unwrap();
            let n = all.len();
            for range in [0..n, n / 3..n, 0..n / 2, n / 3..n / 2, n..n] {
                let mut out = vec![0.0; range.len()];
                reader
                    .read_f32(i, range.clone(), &mut out, &mut scratch)
                    .unwrap();
                let same = out
                    .iter()
                    .zip(&all[range.clone()])
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{} {range:?}", meta.path);
            }
        }
        assert!(scratch.len() <= TensorReader::SCRATCH_BYTES);
        reader.check_unchanged().unwrap();
    }
}

#[test]
fn threads_share_one_reader() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("shared.safetensors");
    write(&file, &[meta("w", DType::BF16, &[64, 1024])], None);
    let reader = TensorReader::open(&file).unwrap();
    let expected = Checkpoint::open(&file).unwrap().tensor_f32("w").unwrap();
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (reader, expected) = (&reader, &expected);
            scope.spawn(move || {
                let (mut out, mut scratch) = (vec![0.0; 1024], Vec::new());
                for row in (start..64).step_by(4) {
                    let range = row * 1024..(row + 1) * 1024;
                    reader
                        .read_f32(0, range.clone(), &mut out, &mut scratch)
                        .unwrap();
                    assert!(
                        out.iter()
                            .zip(&expected[range])
                            .all(|(a, b)| a.to_bits() == b.to_bits())
                    );
                }
            });
        }
    });
}

#[test]
fn a_file_that_is_cut_while_it_is_open_is_an_error_and_no_signal() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cut.safetensors");
    write(&file, &[meta("w", DType::F32, &[1 << 16])], None);
    let reader = TensorReader::open(&file).unwrap();
    let opened = OpenOptions::new().write(true).open(&file).unwrap();
    opened.set_len(5000).unwrap();
    let mut out = vec![0.0; 1 << 16];
    let found = reader.read_f32(0, 0..1 << 16, &mut out, &mut Vec::new());
    assert!(matches!(found, Err(CkptError::Changed { .. })), "{found:?}");
    let found = reader.read_bytes(0, 8000..8001, &mut [0]);
    assert!(matches!(found, Err(CkptError::Changed { .. })), "{found:?}");
    assert!(matches!(
        reader.check_unchanged(),
        Err(CkptError::Changed { .. })
    ));
}

#[test]
fn what_is_not_there_is_named() {
    let bytes = shard(&["head.bias"]);
    let reader = TensorReader::from_bytes("tiny.safetensors", bytes.clone()).unwrap();
    let found = reader.read_f32(1, 0..0, &mut [], &mut Vec::new());
    assert!(matches!(
        found,
        Err(CkptError::NoIndex {
            index: 1,
            len: 1,
            ..
        })
    ));
    let found = reader.read_f32(0, 0..4, &mut [0.0; 4], &mut Vec::new());
    let not_a_weight = |found: &Result<(), CkptError>| {
        matches!(found, Err(CkptError::Convert { problem: ConvertError::NotAWeight { tensor, .. }, .. })
            if tensor == "head.bias")
    };
    assert!(not_a_weight(&found));
    for range in [3..5, 5..5] {
        let found = reader.read_bytes(0, range.clone(), &mut vec![0; range.len()]);
        assert!(matches!(found, Err(CkptError::OutOfRange { len: 4, .. })));
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a caller may get it wrong")]
    let found = reader.read_bytes(0, 3..2, &mut []);
    assert!(matches!(found, Err(CkptError::OutOfRange { .. })));
    let found = reader.read_bytes(0, 0..2, &mut [0; 3]);
    assert!(matches!(found, Err(CkptError::Convert { .. })));
    let found = reader.locate("head.bais").unwrap_err();
    assert!(
        matches!(found, CkptError::NoTensor { nearest: Some(name), .. } if name == "head.bias")
    );
}

#[test]
fn a_header_cut_at_any_byte_is_refused() {
    let whole = shard(&["a", "b"]);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cut.safetensors");
    for len in 0..whole.len() {
        save(&file, &whole[..len]);
        let found = TensorReader::open(&file);
        assert!(matches!(found, Err(CkptError::Header { .. })), "{len}");
        assert!(TensorReader::from_bytes("cut", whole[..len].to_vec()).is_err());
    }
}

#[test]
fn a_tensor_of_a_shared_reader_outlives_its_owner_and_reads_the_same() {
    let bytes = raw(entry_json(), 8);
    let reader = Arc::new(TensorReader::from_bytes("tiny.safetensors", bytes).unwrap());
    let tensor = reader.tensor(1).unwrap();
    assert!(matches!(
        reader.tensor(2),
        Err(CkptError::NoIndex { index: 2, .. })
    ));
    drop(reader);
    let tensor: Box<dyn TensorRead> = Box::new(tensor);
    assert_eq!(tensor.meta().path.as_str(), "w");
    assert!(tensor.is_stored());
    tensor.prefetch(); // bytes in memory: nothing to do, and nothing wrong
    let (mut value, mut stored) = ([9.0], [9; 4]);
    tensor.read_f32(0..1, &mut value, &mut Vec::new()).unwrap();
    tensor.read_bytes(0..4, &mut stored).unwrap();
    assert_eq!((value, stored), ([0.0], [0; 4]));
    assert!(tensor.read_bytes(0..5, &mut [0; 5]).is_err());
}

fn entry_json() -> String {
    let (a, b) = (
        entry("b", "U8", "[4]", 0, 4),
        entry("w", "F32", "[1]", 4, 8),
    );
    format!("{{{a},{b}}}")
}

#[test]
fn reading_ahead_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ahead.safetensors");
    let metas = [
        meta("w", DType::BF16, &[300, 100]),
        meta("none", DType::F32, &[0]),
    ];
    write(&file, &metas, None);
    let reader = TensorReader::open(&file).unwrap();
    let mut first = vec![0.0; 30_000];
    reader
        .read_f32(0, 0..30_000, &mut first, &mut Vec::new())
        .unwrap();
    for index in 0..3 {
        reader.prefetch(index); // one of no bytes, one that is not there
    }
    assert_eq!([0, 1, 2].map(|i| reader.is_stored(i)), [true, true, false]);
    let mut again = vec![0.0; 30_000];
    reader
        .read_f32(0, 0..30_000, &mut again, &mut Vec::new())
        .unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&first), bits(&again));
}
