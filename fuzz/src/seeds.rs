//! Writes the first inputs of every target: `seeds CORPUS_FOLDER`. Made by code, so that no binary file is kept.

mod zip;

use refit_core::{DType, Sink, TensorMeta};
use refit_io::{
    atomic::{Overwrite, write_file},
    ckpt::{CheckpointWriter, WriteOptions},
};
use std::{collections::BTreeMap, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = std::env::args_os()
        .nth(1)
        .ok_or("usage: seeds CORPUS_FOLDER")?;
    let corpus = Path::new(&corpus);
    let (header, index) = (
        corpus.join("safetensors_header"),
        corpus.join("shard_index"),
    );
    fs::create_dir_all(&header)?;
    fs::create_dir_all(&index)?;

    write_checkpoint(&header.join("empty.safetensors"), &[], None)?;
    for dtype in DType::ALL {
        let one = TensorMeta {
            path: "w".into(),
            dtype,
            shape: vec![2, 1],
        };
        write_checkpoint(&header.join(format!("{dtype}.safetensors")), &[one], None)?;
    }
    write_checkpoint(&header.join("many.safetensors"), &every_dtype(), None)?;

    // The writer's own index, taken out of a model in shards.
    let model = corpus.join("model");
    write_checkpoint(&model, &every_dtype(), Some(16))?;
    let json = fs::read(model.join("model.safetensors.index.json"))?;
    fs::remove_dir_all(&model)?;
    write_file(index.join("sharded.json"), &json, Overwrite::Replace)?;
    write_file(
        index.join("empty.json"),
        br#"{"weight_map":{}}"#,
        Overwrite::Replace,
    )?;
    let outside = br#"{"weight_map":{"a":"../x.safetensors","b":"/etc/passwd"}}"#;
    write_file(index.join("outside.json"), outside, Overwrite::Replace)?;
    write_recipes(&corpus.join("recipe"))?;
    write_pickles(&corpus.join("pickle"))?;
    write_gguf(&corpus.join("gguf_header"))?;
    write_libsvm(&corpus.join("libsvm"))?;
    write_text_rows(&corpus.join("text_rows"))?;
    write_archives(&corpus.join("npz"))
}

/// Rows with all that the format allows, dense ones, and mistakes.
fn write_libsvm(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let files = [
        ("sparse", "+1 1:0.5 300:2\n-1 2:1e-3 # remark\n\n3\n"),
        ("dense", "1 1:1 2:2\n2 1:3 2:-4\n"),
        ("zero", "1 0:1 1:nan\n"),
        ("query", "1 qid:1 3:1 2:1 2:1\n"),
    ];
    for (name, text) in files {
        let file = folder.join(name).with_extension("txt");
        write_file(file, text.as_bytes(), Overwrite::Replace)?;
    }
    Ok(())
}

/// Every layout of rows, and mistakes.
fn write_text_rows(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let files = [
        ("plain", "good\ta fine film\nbad\ttoo\tlong\n"),
        ("header", "\u{feff}split\tLabel\tsentence\r\ntrain\t1\tx\n\ntest\t2\ty\n"),
        ("objects", "{\"label\": 1, \"text\": \"x\"}\n{\"label\": null, \"text\": \"y\", \"text_b\": \"z\"}\n"),
        ("tagged", "# id 1\nAda\tB-person\n# O\n\n-DOCSTART- O\nHi O\n"),
    ];
    for (name, text) in files {
        let file = folder.join(name).with_extension("txt");
        write_file(file, text.as_bytes(), Overwrite::Replace)?;
    }
    Ok(())
}

/// One recipe of every form, as the parser hands them over.
fn write_recipes(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let forms = [
        (
            "models",
            r#"{"merge_method":"ties","base_model":"a","models":[{"model":"b+l","parameters":{"weight":[0,1],"density":0.5}}],"dtype":"bfloat16"}"#,
        ),
        (
            "slices",
            r#"{"merge_method":"passthrough","slices":[{"sources":[{"model":"a","layer_range":[0,2]}]},{"sources":[{"model":"b","layer_range":[1,2],"parameters":{"scale":[{"filter":"mlp","value":0},{"value":1}]}}]}]}"#,
        ),
        (
            "steps",
            r#"{"name":"x","merge_method":"linear","models":[{"model":"a","parameters":{"weight":1}}]}{"merge_method":"slerp","base_model":"x","models":[{"model":"x"},{"model":"b"}],"parameters":{"t":0.5},"tokenizer":{"source":"union","tokens":{"t":{"source":"a","force":true}}}}"#,
        ),
    ];
    for (name, text) in forms {
        write_file(
            folder.join(name).with_extension("json"),
            text.as_bytes(),
            Overwrite::Replace,
        )?;
    }
    Ok(())
}

/// The pickle of a state dict of one tensor, as `torch.save` writes it.
fn write_pickles(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let one = b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03\
        ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x02tq\x07QK\x00K\x01K\x02\x86q\x08K\x02K\x01\
        \x86q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.";
    write_file(folder.join("one.pkl"), one, Overwrite::Replace)?;
    let call = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.";
    Ok(write_file(
        folder.join("call.pkl"),
        call,
        Overwrite::Replace,
    )?)
}

/// Headers with one metadata entry of every type, and one tensor.
fn write_gguf(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut entries = Vec::new();
    for kind in 0..13u32 {
        let value = match kind {
            8 => text("llama"),
            9 => [&4u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[0; 4]].concat(),
            _ => vec![0; [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind as usize]],
        };
        let entry = [
            text(&format!("k{kind}")),
            kind.to_le_bytes().to_vec(),
            value,
        ];
        entries.push(entry.concat());
    }
    let counts = [1u64, entries.len() as u64].map(u64::to_le_bytes).concat();
    let info = [1u32.to_le_bytes().to_vec(), 32u64.to_le_bytes().to_vec()].concat();
    let place = [8u32.to_le_bytes().to_vec(), vec![0; 8]].concat();
    let mut file = [
        b"GGUF\x03\0\0\0".to_vec(),
        counts,
        entries.concat(),
        text("w"),
        info,
        place,
    ]
    .concat();
    file.resize(file.len().next_multiple_of(32) + 34, 0);
    Ok(write_file(
        folder.join("every_type.gguf"),
        &file,
        Overwrite::Replace,
    )?)
}

/// A task of two classes, its arrays, and an archive of nothing.
fn write_archives(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut members = Vec::new();
    for (part, n) in [("train", 3), ("val", 2), ("test", 2)] {
        let labels = [0, 1, 0][..n].iter().flat_map(|&l: &i64| l.to_le_bytes());
        let labels = npy("<i8", &format!("({n},)"), &labels.collect::<Vec<u8>>());
        let pixels = npy("|u1", &format!("({n}, 2, 2)"), &vec![7; 4 * n]);
        write_file(
            folder.join(format!("{part}_y.npy")),
            &labels,
            Overwrite::Replace,
        )?;
        write_file(
            folder.join(format!("{part}_x.npy")),
            &pixels,
            Overwrite::Replace,
        )?;
        members.push((format!("{part}_x.npy"), pixels));
        members.push((format!("{part}_y.npy"), labels));
    }
    for descr in ["<i2", "<i4", "<u4", "<f4", "|O"] {
        let array = npy(descr, "(2, 1)", &[0; 8]);
        let name = format!("{}.npy", descr.trim_start_matches(['<', '|']));
        write_file(folder.join(name), &array, Overwrite::Replace)?;
    }
    write_file(
        folder.join("task.npz"),
        &zip::stored(&members),
        Overwrite::Replace,
    )?;
    write_file(
        folder.join("empty.npz"),
        &zip::stored(&[]),
        Overwrite::Replace,
    )?;
    Ok(())
}

/// A `.npy` file of version 1.0.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [
        b"\x93NUMPY\x01\x00".as_slice(),
        &length,
        header.as_bytes(),
        values,
    ]
    .concat()
}

/// One tensor of each element type, shapes of rank 0 to 2, one of them empty.
fn every_dtype() -> Vec<TensorMeta> {
    let shape = |i: usize| match i % 4 {
        0 => vec![],
        1 => vec![3],
        2 => vec![0, 5],
        _ => vec![2, 2],
    };
    let meta = |(i, dtype)| TensorMeta {
        path: format!("block.{i}.w").into(),
        dtype,
        shape: shape(i),
    };
    DType::ALL.into_iter().enumerate().map(meta).collect()
}

fn write_checkpoint(
    path: &Path,
    metas: &[TensorMeta],
    shard_bytes: Option<u64>,
) -> Result<(), Box<dyn Error>> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let options = WriteOptions {
        metadata,
        shard_bytes,
        overwrite: Overwrite::Replace,
    };
    let mut writer = CheckpointWriter::create(path, metas.to_vec(), options)?;
    for meta in metas {
        writer.put(meta, &vec![0x3c; meta.size_bytes()])?;
    }
    Ok(writer.finish()?)
}
