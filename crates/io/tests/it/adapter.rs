//! Adapters read from folders, against numbers observed from PEFT 0.21.2 (`get_peft_model`, `merge_and_unload`).

use crate::{
    ckpt_support::{meta, save},
    data_files::{Member, zip},
};
use refit_core::{Adapter, AdapterTensor, Change, DType, LowRank, Placement, Sink, TensorMeta};
use refit_io::{
    adapter::{AdapterError, AdapterOptions, read_adapter, write_adapter},
    atomic::Overwrite,
    ckpt::{CheckpointWriter, TensorReader, WriteOptions, encode_f32},
};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

type Tensors<'a> = [(&'a str, &'a [usize], &'a [f32])];

fn folder(config: &str, tensors: &Tensors<'_>) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    save(&home.path().join("adapter_config.json"), config.as_bytes());
    let metas: Vec<_> = tensors
        .iter()
        .map(|(name, shape, _)| meta(&format!("base_model.model.{name}"), DType::F32, shape))
        .collect();
    let file = home.path().join("adapter_model.safetensors");
    let mut writer =
        CheckpointWriter::create(&file, metas.clone(), WriteOptions::default()).unwrap();
    for (meta, (_, _, values)) in metas.iter().zip(tensors) {
        writer
            .put(meta, &encode_f32(meta, values).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
    home
}

fn error_of(config: &str, tensors: &Tensors<'_>) -> AdapterError {
    read_adapter(folder(config, tensors).path()).unwrap_err()
}

/// The tensors that PEFT wrote for a model of one layer of each kind.
const OBSERVED: &Tensors<'static> = &[
    (
        "conv.lora_A.weight",
        &[2, 2, 1, 2],
        &[-1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25, 0.25],
    ),
    (
        "conv.lora_B.weight",
        &[2, 2, 1, 1],
        &[-0.25, -1.25, 0.5, -0.5],
    ),
    (
        "emb.lora_embedding_A",
        &[2, 4],
        &[0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25],
    ),
    (
        "emb.lora_embedding_B",
        &[3, 2],
        &[0.75, -0.25, -1.25, 0.5, -0.5, 1.25],
    ),
    (
        "gpt.lora_A.weight",
        &[2, 3],
        &[0.25, -0.75, 1.0, 0.0, -1.0, 0.75],
    ),
    ("gpt.lora_B.weight", &[2, 2], &[1.0, 0.0, -1.0, 0.75]),
    ("head.bias", &[2], &[1.25, 0.25]),
    ("head.weight", &[2, 2], &[0.5, -0.5, 1.25, 0.25]),
    ("lin.lora_A.weight", &[1, 3], &[-1.25, 0.5, -0.5]),
    ("lin.lora_B.weight", &[2, 1], &[-0.5, 1.25]),
];

const CONFIG: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "rank_pattern": {"lin": 1},
    "alpha_pattern": {"gpt": 8}, "fan_in_fan_out": true, "init_lora_weights": true}"#;

/// The weights that PEFT started from.
fn base(len: usize, number: usize) -> Vec<f32> {
    let value = |i: usize| (((i * 7 + number * 3) % 11) as f32 - 5.0) / 4.0;
    (0..len).map(value).collect()
}

fn change<'a>(adapter: &'a Adapter, target: &str) -> &'a Change {
    let found = adapter.tensors.iter().find(|t| t.target.as_str() == target);
    &found.unwrap().change
}

fn factors<'a>(adapter: &'a Adapter, target: &str) -> &'a LowRank {
    match change(adapter, target) {
        Change::LowRank { factors, .. } => factors,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kind_of_layer_becomes_what_peft_makes_of_it() {
    let home = folder(CONFIG, OBSERVED);
    let adapter = read_adapter(home.path()).unwrap().adapter;
    let names: Vec<_> = adapter.tensors.iter().map(|t| t.target.as_str()).collect();
    let expected = [
        "conv.weight",
        "emb.weight",
        "gpt.weight",
        "head.bias",
        "head.weight",
        "lin.weight",
    ];
    assert_eq!(names, expected);
    for (target, number, merged) in [
        (
            "conv.weight",
            5,
            &[-1.0, -0.375, -2.5, -0.5, -0.25, 1.5, -2.25, -0.5][..],
        ),
        ("gpt.weight", 3, &[2.0, -1.0, -4.0, 0.75, 3.75, -3.0]),
        (
            "emb.weight",
            0,
            &[
                -0.625, -0.75, -3.625, -0.5, 3.25, 1.5, 2.375, -2.375, -3.0, -0.25, 1.625, 2.125,
            ],
        ),
    ] {
        let delta = factors(&adapter, target).to_dense();
        let sums: Vec<f32> = base(delta.len(), number)
            .iter()
            .zip(&delta)
            .map(|(w, d)| w + d)
            .collect();
        assert_eq!(sums, merged, "{target}");
    }
    // PEFT lets the kind of the layer win over `fan_in_fan_out`; from the file alone it is read as the settings say.
    let lin = factors(&adapter, "lin.weight");
    assert_eq!([lin.rows(), lin.cols(), lin.rank()], [3, 2, 1]);
    let delta = lin.transposed().to_dense();
    let sums: Vec<f32> = base(6, 1).iter().zip(&delta).map(|(w, d)| w + d).collect();
    assert_eq!(sums, [2.0, 0.25, 1.25, -7.0, 3.5, -2.5]);
    let Change::Replace(head) = change(&adapter, "head.weight") else {
        panic!()
    };
    let mut values = [0.0; 4];
    head.read_f32(0..4, &mut values, &mut Vec::new()).unwrap();
    assert_eq!(values.to_vec(), [0.5, -0.5, 1.25, 0.25]);
}

#[test]
fn scales_are_divided_by_the_root_of_the_rank_where_asked() {
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": true}"#;
    let home = folder(config, &OBSERVED[..2]);
    let adapter = read_adapter(home.path()).unwrap().adapter;
    let delta = factors(&adapter, "conv.weight").to_dense();
    let merged = [
        -1.310_660_1,
        -0.012_563_1,
        -3.742_640_5,
        -0.5,
        -0.871_320_2,
        2.017_767,
        -2.871_320_2,
        -1.121_320_2,
    ];
    for ((w, d), merged) in base(8, 5).iter().zip(delta).zip(merged) {
        assert!((w + d - merged).abs() < 1e-6, "{w} + {d} is not {merged}");
    }
}

#[test]
fn damaged_adapters_are_errors_that_name_the_part() {
    let plain = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1}"#;
    let a: (&str, &[usize], &[f32]) = ("q.lora_A.weight", &[1, 2], &[1.0, 2.0]);
    let b: (&str, &[usize], &[f32]) = ("q.lora_B.weight", &[2, 1], &[1.0, 2.0]);
    let text = |config: &str, tensors: &Tensors<'_>| error_of(config, tensors).to_string();
    assert!(
        text(plain, &[a]).contains("`q` in") && text(plain, &[a]).ends_with("no `lora_B.weight`")
    );
    assert!(text(plain, &[b]).ends_with("no `lora_A.weight`"));
    let two = text(r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 1}"#, &[a, b]);
    assert_eq!(two, "`q` has rank 1, its settings say 2");
    let wide = text(plain, &[a, ("q.lora_B.weight", &[1, 2], &[1.0, 2.0])]);
    assert!(
        wide.ends_with("has shape [1, 2], expected a matrix `[out, 1]`"),
        "{wide}"
    );
    let flat = text(plain, &[("q.lora_A.weight", &[1], &[1.0]), b]);
    assert!(
        flat.ends_with("has shape [1], expected a matrix `[rank, in]`"),
        "{flat}"
    );
    let odd = text(plain, &[("q.lora_E", &[1], &[1.0])]);
    assert!(odd.contains("`base_model.model.q.lora_E` in"), "{odd}");
    let magnitude: (&str, &[usize], &[f32]) = ("q.lora_magnitude_vector", &[2], &[1.0, 2.0]);
    assert!(text(plain, &[a, b, magnitude]).ends_with("is there, while `use_dora` is false"));
    let dora = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "use_dora": true}"#;
    assert!(text(dora, &[a, b]).ends_with("no `lora_magnitude_vector`"));
    let short: (&str, &[usize], &[f32]) = ("q.lora_magnitude_vector.weight", &[1], &[1.0]);
    assert!(text(dora, &[a, b, short]).ends_with("expected 2 values"));
    let twice = text(
        plain,
        &[a, b, ("q.lora_A.default.weight", &[1, 2], &[1.0, 2.0])],
    );
    assert!(
        twice.ends_with("is there twice, under two names"),
        "{twice}"
    );
    let both = text(plain, &[a, b, ("q.weight", &[2, 2], &[0.0; 4])]);
    assert!(
        both.contains("`q.weight` in") && both.ends_with("is changed twice"),
        "{both}"
    );
    let empty = tempfile::tempdir().unwrap();
    let missing = read_adapter(empty.path()).unwrap_err();
    assert!(matches!(
        missing,
        AdapterError::NoAdapter {
            missing: "adapter_config.json",
            ..
        }
    ));
}

fn low_rank(placement: Placement, [rows, cols]: [usize; 2], rank: usize, scale: f64) -> Change {
    let values = |n: usize| (0..n).map(|i| (i * 5 % 7) as f32 - 3.0).collect();
    let factors = LowRank::new(
        [rows, cols],
        rank,
        values(rows * rank),
        values(rank * cols),
        scale,
    );
    Change::LowRank {
        factors: factors.unwrap(),
        placement,
        magnitude: None,
    }
}

fn written(tensors: Vec<(&str, Change)>, at: &Path) -> Result<Adapter, AdapterError> {
    let tensors = tensors
        .into_iter()
        .map(|(target, change)| AdapterTensor {
            target: target.into(),
            change,
        })
        .collect();
    let adapter = Adapter {
        name: "a".into(),
        tensors,
    };
    write_adapter(at, &adapter, &AdapterOptions::default())?;
    Ok(read_adapter(at)?.adapter)
}

#[test]
fn what_is_written_is_read_back() {
    let home = tempfile::tempdir().unwrap();
    let tensors = || {
        vec![
            ("0.q.bias", Change::Shift(vec![1.0, -2.0, 4.0])),
            ("0.q.weight", low_rank(Placement::Linear, [3, 2], 2, 0.5)),
            // Its name ends as another module's, whose rank differs.
            ("1.0.q.weight", low_rank(Placement::Linear, [3, 2], 4, 1.0)),
            ("emb.weight", low_rank(Placement::Embedding, [5, 3], 4, 1.0)),
        ]
    };
    let found = written(tensors(), &home.path().join("a")).unwrap();
    assert_eq!(found.tensors.len(), 4);
    for (target, expected) in tensors() {
        match (expected, change(&found, target)) {
            (
                Change::LowRank {
                    factors, placement, ..
                },
                Change::LowRank {
                    factors: read,
                    placement: place,
                    ..
                },
            ) => assert_eq!((&factors, placement), (read, *place), "{target}"),
            (Change::Shift(values), Change::Shift(read)) => assert_eq!(&values, read),
            other => panic!("{other:?}"),
        }
    }
    let gpt = vec![("c.weight", low_rank(Placement::Transposed, [3, 2], 1, 2.0))];
    let found = written(gpt, &home.path().join("b")).unwrap();
    let Change::LowRank { placement, .. } = change(&found, "c.weight") else {
        panic!()
    };
    assert_eq!(*placement, Placement::Transposed);
}

#[test]
fn a_stored_layer_comes_before_what_is_added_to_it() {
    let tensors: &Tensors<'_> = &[
        ("lm_head.lora_A.weight", &[1, 2], &[1.0, 2.0]),
        ("lm_head.lora_B.weight", &[2, 1], &[3.0, 4.0]),
        ("lm_head.base_layer.weight", &[2, 2], &[5.0, 6.0, 7.0, 8.0]),
    ];
    let config = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1}"#;
    let found = read_adapter(folder(config, tensors).path())
        .unwrap()
        .adapter;
    let [first, second] = &found.tensors[..] else {
        panic!("{:?}", found.tensors.len())
    };
    assert_eq!(first.target, second.target);
    assert!(matches!(first.change, Change::Replace(_)));
    assert!(matches!(second.change, Change::LowRank { .. }));
    // Written again it stands where it stood, and no other way of loading it is asked for.
    let home = tempfile::tempdir().unwrap();
    let at = home.path().join("again");
    write_adapter(&at, &found, &AdapterOptions::default()).unwrap();
    let again = read_adapter(&at).unwrap();
    assert_eq!(again.adapter.tensors.len(), 2);
    assert!(
        again
            .config
            .other
            .get("modules_to_save")
            .is_none_or(serde_json::Value::is_null)
    );
    let stored = TensorReader::open(at.join("adapter_model.safetensors")).unwrap();
    let names: Vec<_> = stored
        .tensors()
        .iter()
        .map(|meta| meta.path.as_str())
        .collect();
    assert!(
        names.contains(&"base_model.model.lm_head.base_layer.weight"),
        "{names:?}"
    );
    // Two weights for one layer are one too many.
    let tensors = [tensors, &[("lm_head.weight", &[2, 2], &[0.0; 4])]].concat();
    let text = error_of(config, &tensors).to_string();
    assert!(text.contains("is changed twice"), "{text}");
}

#[test]
fn modules_are_named_once_and_biases_stand_in_their_layers() {
    let home = tempfile::tempdir().unwrap();
    // Tensors to replace others with come from a file.
    let metas = [("a", 3), ("b", 2)].map(|(name, len)| TensorMeta {
        path: name.into(),
        dtype: DType::F32,
        shape: vec![len],
    });
    let file = home.path().join("values.safetensors");
    let mut writer =
        CheckpointWriter::create(&file, metas.to_vec(), WriteOptions::default()).unwrap();
    for meta in &metas {
        writer.put(meta, &vec![0; meta.size_bytes()]).unwrap();
    }
    writer.finish().unwrap();
    let reader = Arc::new(TensorReader::open(&file).unwrap());
    let whole = |at: usize| Change::Replace(Arc::new(reader.tensor(at).unwrap()));
    let tensors = vec![
        ("q.weight", low_rank(Placement::Linear, [3, 2], 1, 1.0)),
        ("q.bias", whole(0)),
        ("table.token", whole(1)),
        ("table.inner.weight", whole(1)),
        ("scale", whole(1)),
    ];
    let at = home.path().join("a");
    let found = written(tensors, &at).unwrap();
    let names: Vec<&str> = found.tensors.iter().map(|t| t.target.as_str()).collect();
    let expected = [
        "q.bias",
        "q.weight",
        "scale",
        "table.inner.weight",
        "table.token",
    ];
    assert_eq!(names, expected);
    let config = read_adapter(&at).unwrap().config.other;
    assert_eq!(
        (&config["bias"], &config["lora_bias"]),
        (&"lora_only".into(), &false.into())
    );
    assert_eq!(config["modules_to_save"], serde_json::json!(["table"]));
    let stored = TensorReader::open(at.join("adapter_model.safetensors")).unwrap();
    let bias = "base_model.model.q.base_layer.bias";
    assert!(
        stored
            .tensors()
            .iter()
            .any(|meta| meta.path.as_str() == bias)
    );
}

#[test]
fn a_folder_is_replaced_only_when_asked_and_only_when_it_is_an_adapter() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path().join("a");
    let one = || vec![("q.weight", low_rank(Placement::Linear, [3, 2], 1, 1.0))];
    written(one(), &at).unwrap();
    assert!(matches!(written(one(), &at), Err(AdapterError::Output(_))));
    let options = AdapterOptions {
        overwrite: Overwrite::Replace,
        dtype: DType::BF16,
        ..Default::default()
    };
    let adapter = read_adapter(&at).unwrap().adapter;
    write_adapter(&at, &adapter, &options).unwrap();
    assert_eq!(
        factors(&read_adapter(&at).unwrap().adapter, "q.weight"),
        factors(&adapter, "q.weight")
    );
}

#[test]
fn what_the_format_cannot_hold_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let shift = vec![("norm.bias", Change::Shift(vec![1.0]))];
    let error = written(shift, &home.path().join("a")).unwrap_err();
    let text = "cannot write the change of `norm.bias`: it is no bias of a module with factors";
    assert_eq!(error.to_string(), text);
    for (rank, scale) in [(0, 1.0), (1, 0.0), (1, f64::NAN)] {
        let change = low_rank(Placement::Linear, [3, 2], rank, scale);
        let error = written(vec![("q.weight", change)], &home.path().join("a"));
        assert!(
            matches!(error, Err(AdapterError::Unwritable { .. })),
            "{rank} {scale}"
        );
    }
    assert!(!home.path().join("a").exists());
}

/// `torch.save` of PyTorch 2.15.0 of a dictionary of `q.lora_A.weight [1, 3]` and `q.lora_B.weight [2, 1]`.
const PICKLED: &[u8] = b"\x80\x02}q\x00(X \x00\x00\x00base_model.model.q.lora_A.weightq\x01ctorch._utils\n_rebuild_tensor_v\
    2\nq\x02((X\x07\x00\x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x03tq\x07QK\
    \x00K\x01K\x03\x86q\x08K\x03K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rX \x00\x00\x00base_model.model.q.\
    lora_B.weightq\x0eh\x02((h\x03h\x04X\x01\x00\x00\x001q\x0fh\x06K\x02tq\x10QK\x00K\x02K\x01\x86q\x11K\x01K\x01\x86q\x12\x89h\n)R\
    q\x13tq\x14Rq\x15u.";

fn rank_one(home: &Path) {
    let config = br#"{"peft_type": "LORA", "r": 1, "lora_alpha": 1}"#;
    save(&home.join("adapter_config.json"), config);
}

fn delta_of(home: &Path) -> Vec<f32> {
    factors(&read_adapter(home).unwrap().adapter, "q.weight").to_dense()
}

#[test]
fn an_adapter_in_a_pickle_is_read() {
    let home = tempfile::tempdir().unwrap();
    rank_one(home.path());
    let floats =
        |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let archive = zip(&[
        Member::stored("archive/data.pkl", PICKLED),
        Member::stored("archive/byteorder", b"little"),
        Member::stored("archive/data/0", &floats(&[1.0, 2.0, -1.0])),
        Member::stored("archive/data/1", &floats(&[2.0, 4.0])),
    ]);
    save(&home.path().join("adapter_model.bin"), &archive);
    assert_eq!(delta_of(home.path()), [2.0, 4.0, -2.0, 4.0, 8.0, -4.0]);
    let found = read_adapter(home.path()).unwrap();
    let names: Vec<_> = found
        .files
        .iter()
        .map(|file| file.file_name().unwrap())
        .collect();
    assert_eq!(names, ["adapter_config.json", "adapter_model.bin"]);
}

#[test]
fn an_adapter_in_shards_is_read() {
    let parts: [(&str, &[usize], &[f32]); 2] = [
        ("q.lora_A.weight", &[1, 3], &[1.0, 2.0, -1.0]),
        ("q.lora_B.weight", &[2, 1], &[2.0, 4.0]),
    ];
    let home = tempfile::tempdir().unwrap();
    rank_one(home.path());
    for (number, part) in parts.into_iter().enumerate() {
        let shard = folder("{}", &[part]);
        let to = home
            .path()
            .join(format!("adapter_model-{number}.safetensors"));
        std::fs::copy(shard.path().join("adapter_model.safetensors"), to).unwrap();
    }
    let index =
        br#"{"weight_map": {"base_model.model.q.lora_A.weight": "adapter_model-0.safetensors",
        "base_model.model.q.lora_B.weight": "adapter_model-1.safetensors"}}"#;
    save(
        &home.path().join("adapter_model.safetensors.index.json"),
        index,
    );
    assert_eq!(delta_of(home.path()), [2.0, 4.0, -2.0, 4.0, 8.0, -4.0]);
    assert_eq!(read_adapter(home.path()).unwrap().files.len(), 4);
    std::fs::remove_file(home.path().join("adapter_model-1.safetensors")).unwrap();
    let text = read_adapter(home.path()).unwrap_err().to_string();
    assert!(text.contains("adapter_model-1.safetensors"), "{text}");
}
