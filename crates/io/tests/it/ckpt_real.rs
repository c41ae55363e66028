//! Real checkpoints, read as they were published.

use refit_core::{DType, Silent, Sink, Source};
use refit_io::ckpt::{
    Checkpoint, CheckpointWriter, TensorReader, WriteOptions, health, sha256_file,
};
use refit_testkit::real_folder;

/// What is known about a file from elsewhere.
struct Published {
    name: &'static str,
    tensors: usize,
    /// From the data's own README; running statistics are not learnt.
    learnt_values: Option<usize>,
    /// One weight and its shape, from the architecture.
    weight: (&'static str, &'static [usize]),
    /// From the data's own README.
    sha256: &'static str,
}

const FILES: [Published; 3] = [
    Published {
        name: "ckpt_cifar10_resnet20.safetensors",
        tensors: 97,
        learnt_values: Some(269_722),
        weight: ("layer3.2.conv2.weight", &[64, 64, 3, 3]),
        sha256: "e70eac5ac84577561a5aac0fef81300cc604a403c20a750c00bb7807c7dced17",
    },
    Published {
        name: "ckpt_cifar10_resnet56.safetensors",
        tensors: 277,
        learnt_values: None,
        weight: ("linear.weight", &[10, 64]),
        sha256: "420f9b2b86f20fcdda5b6d4bbc70d41a892cd94273597d0cdb9b417a8bcca791",
    },
    Published {
        name: "ckpt_mnist_cnn_bn.safetensors",
        tensors: 18,
        learnt_values: None,
        weight: ("conv2.weight", &[16, 8, 3, 3]),
        sha256: "7931323c21f68e92f22fd9328c4c7c11668bf8b5cfb577bf3eb968b73f400c42",
    },
];

#[test]
fn published_checkpoints_open_are_finite_and_survive_a_copy_in_shards() {
    let Some(data) = real_folder() else { return };
    for Published {
        name,
        tensors,
        learnt_values,
        weight: (weight, shape),
        sha256,
    } in FILES
    {
        let file = data.join(name);
        assert_eq!(sha256_file(&file).unwrap(), sha256, "{name}");
        let checkpoint = Checkpoint::open(&file).unwrap();
        assert_eq!(checkpoint.tensors().len(), tensors, "{name}");
        assert!(checkpoint.metadata().contains_key("arch"), "{name}");
        let view = checkpoint.view(weight).unwrap();
        assert_eq!(
            (view.meta.dtype, &view.meta.shape[..]),
            (DType::F32, shape),
            "{name}"
        );
        assert_eq!(
            view.as_f32().unwrap(),
            checkpoint.tensor_f32(weight).unwrap(),
            "{name}"
        );

        let found = health(&TensorReader::open(&file).unwrap(), &Silent).unwrap();
        assert_eq!(found.non_finite(), 0, "{name}");
        assert_eq!(found.bytes, 4 * found.parameters, "{name}");
        if let Some(learnt) = learnt_values {
            let is_learnt = |name: &str| !name.contains("running_");
            let metas = checkpoint
                .tensors()
                .iter()
                .filter(|t| is_learnt(t.path.as_str()));
            assert_eq!(
                metas.map(refit_core::TensorMeta::len).sum::<usize>(),
                learnt,
                "{name}"
            );
        }
        copies_in_shards(&checkpoint);
    }
}

fn copies_in_shards(source: &Checkpoint) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("copy");
    let options = WriteOptions {
        metadata: source.metadata().clone(),
        shard_bytes: Some(200_000),
        ..WriteOptions::default()
    };
    let metas = source.tensors().to_vec();
    let mut writer = CheckpointWriter::create(&folder, metas, options).unwrap();
    for (i, meta) in source.tensors().iter().enumerate() {
        writer.put(meta, &source.bytes(i).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let copy = Checkpoint::open(&folder).unwrap();
    assert!(copy.files().count() > 2);
    assert_eq!(copy.tensors(), source.tensors());
    assert_eq!(copy.metadata(), source.metadata());
    for i in 0..copy.tensors().len() {
        assert_eq!(copy.bytes(i).unwrap(), source.bytes(i).unwrap());
    }
}
