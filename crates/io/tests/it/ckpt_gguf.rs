//! GGUF files: blocks by ranges, names and rows of the Hugging Face model, and no trust in the header.

use proptest::prelude::*;
use refit_core::DType;
use refit_io::ckpt::{CkptError, GgufError, GgufType, GgufValue, TensorReader, parse_gguf};
use serde_json::json;

fn text(bytes: &str) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes.as_bytes()].concat()
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key), &kind.to_le_bytes()[..], value].concat()
}

/// Name, extents innermost first, number of the type, bytes.
type Tensor<'a> = (&'a str, &'a [u64], u32, Vec<u8>);

fn gguf(metadata: &[Vec<u8>], tensors: &[Tensor]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((metadata.len() as u64).to_le_bytes());
    file.extend(metadata.concat());
    let mut values: Vec<u8> = Vec::new();
    for (name, extents, kind, bytes) in tensors {
        file.extend(text(name));
        file.extend((extents.len() as u32).to_le_bytes());
        file.extend(extents.iter().flat_map(|d| d.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend((values.len() as u64).to_le_bytes());
        values.extend(bytes);
        values.resize(values.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    [file, values].concat()
}

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A `Q8_0` block of scale 1 and these integers.
fn eights(values: impl IntoIterator<Item = i8>) -> Vec<u8> {
    let values = values.into_iter().map(i8::cast_unsigned);
    [0x00, 0x3c].into_iter().chain(values).collect()
}

/// Two heads of four rows, so that the file's rows are 0 2 1 3 of each head of the model.
fn llama() -> Vec<u8> {
    let tokens = [
        &8u32.to_le_bytes()[..],
        &2u64.to_le_bytes(),
        &text("a"),
        &text("b"),
    ]
    .concat();
    let metadata = [
        entry("general.architecture", 8, &text("llama")),
        entry("llama.embedding_length", 4, &64u32.to_le_bytes()),
        entry("llama.block_count", 4, &1u32.to_le_bytes()),
        entry("llama.attention.head_count", 4, &2u32.to_le_bytes()),
        entry("llama.attention.head_count_kv", 4, &1u32.to_le_bytes()),
        entry(
            "llama.attention.layer_norm_rms_epsilon",
            6,
            &1e-6f32.to_le_bytes(),
        ),
        entry("llama.rope.freq_base", 6, &500_000f32.to_le_bytes()),
        entry("tokenizer.ggml.tokens", 9, &tokens),
    ];
    // Row r of the file holds 10 r + column / 32.
    let q: Vec<u8> = (0..8i8)
        .flat_map(|r| (0..2i8).flat_map(move |c| eights([10 * r + c; 32])))
        .collect();
    gguf(
        &metadata,
        &[
            ("blk.0.attn_q.weight", &[64, 8], 8, q),
            (
                "blk.0.attn_k.weight",
                &[2, 4],
                0,
                floats((0..8u8).map(f32::from)),
            ),
            (
                "blk.0.attn_v.weight",
                &[2, 4],
                0,
                floats((0..8u8).map(f32::from)),
            ),
            ("output_norm.weight", &[2], 1, vec![0, 0x3c, 0, 0x40]),
            ("rope_freqs.weight", &[1], 0, floats([1.0])),
        ],
    )
}

fn read(reader: &TensorReader, name: &str, range: std::ops::Range<usize>) -> Vec<f32> {
    let mut out = vec![0.0; range.len()];
    let at = reader.locate(name).unwrap();
    reader
        .read_f32(at, range, &mut out, &mut Vec::new())
        .unwrap();
    out
}

#[test]
fn a_llama_model_has_the_names_shapes_and_rows_of_the_hub() {
    let reader = TensorReader::from_bytes("m.gguf", llama()).unwrap();
    let seen: Vec<_> = reader
        .tensors()
        .iter()
        .map(|t| (t.path.as_str(), t.dtype, t.shape.as_slice()))
        .collect();
    let expected: [(&str, DType, &[usize]); 4] = [
        (
            "model.layers.0.self_attn.q_proj.weight",
            DType::F16,
            &[8, 64],
        ),
        (
            "model.layers.0.self_attn.k_proj.weight",
            DType::F32,
            &[4, 2],
        ),
        (
            "model.layers.0.self_attn.v_proj.weight",
            DType::F32,
            &[4, 2],
        ),
        ("model.norm.weight", DType::F16, &[2]),
    ];
    assert_eq!(seen, expected);
    let q = read(&reader, expected[0].0, 0..512);
    let rows: Vec<f32> = q.chunks(64).map(|row| row[0]).collect();
    assert_eq!(rows, [0.0, 20.0, 10.0, 30.0, 40.0, 60.0, 50.0, 70.0]);
    assert_eq!(q[63].to_bits(), 1f32.to_bits());
    // One head of four rows; stored rows can be copied as they are.
    assert_eq!(
        read(&reader, expected[1].0, 0..8),
        [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]
    );
    assert_eq!(
        read(&reader, expected[2].0, 0..8),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    );
    let mut bytes = [0; 8];
    reader.read_bytes(1, 4..12, &mut bytes).unwrap();
    assert_eq!(bytes.to_vec(), floats([1.0, 4.0]));
    assert_eq!(
        [0, 1, 2, 3].map(|i| reader.is_stored(i)),
        [false, true, true, true]
    );
    let found = reader.read_bytes(0, 0..2, &mut [0; 2]);
    assert!(matches!(found, Err(CkptError::Computed { .. })));
    assert_eq!(read(&reader, "model.norm.weight", 0..2), [1.0, 2.0]);
}

#[test]
fn every_range_agrees_with_the_whole() {
    let reader = TensorReader::from_bytes("m.gguf", llama()).unwrap();
    for meta in reader.tensors() {
        let (name, n) = (meta.path.as_str(), meta.len());
        let whole = read(&reader, name, 0..n);
        for start in (0..n).step_by(7) {
            for len in [0, 1, 31, 33, 70, 200] {
                let range = start..(start + len).min(n);
                assert_eq!(read(&reader, name, range.clone()), whole[range], "{name}");
            }
        }
    }
}

#[test]
fn the_configuration_is_told_as_far_as_the_file_knows_it() {
    let reader = TensorReader::from_bytes("m.gguf", llama()).unwrap();
    let expected = json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16",
        "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6, "rope_theta": 500_000.0, "vocab_size": 2, "tie_word_embeddings": true});
    assert_eq!(reader.config(), expected.as_object());
    assert_eq!(reader.metadata()["llama.block_count"], "1");
}

#[test]
fn other_architectures_keep_the_names_of_the_file() {
    let metadata = [entry("general.architecture", 8, &text("bert"))];
    let tensor: Tensor = (
        "blk.0.attn_q.weight",
        &[2, 2],
        0,
        floats([1.0, 2.0, 3.0, 4.0]),
    );
    let reader = TensorReader::from_bytes("m.gguf", gguf(&metadata, &[tensor])).unwrap();
    assert_eq!(reader.config(), None);
    assert_eq!(
        read(&reader, "blk.0.attn_q.weight", 0..4),
        [1.0, 2.0, 3.0, 4.0]
    );
}

#[test]
fn types_lists_and_alignment_of_the_metadata_are_understood() {
    let list = [
        &9u32.to_le_bytes()[..],
        &1u64.to_le_bytes(),
        &4u32.to_le_bytes(),
        &2u64.to_le_bytes(),
        &[0; 8],
    ]
    .concat();
    let metadata = [
        entry("general.alignment", 4, &64u32.to_le_bytes()),
        entry("a", 1, &[0xff]),
        entry("b", 7, &[1]),
        entry("c", 12, &0.5f64.to_le_bytes()),
        entry("d", 9, &list),
    ];
    let mut file = gguf(&metadata, &[("w", &[1], 0, floats([2.0]))]);
    file.resize(file.len() + 64, 0); // the values begin at a multiple of 64
    let header = parse_gguf(&file, file.len() as u64).unwrap();
    assert_eq!(header.metadata["a"], GgufValue::Signed(-1));
    assert_eq!(header.metadata["b"], GgufValue::Bool(true));
    assert_eq!(header.metadata["c"], GgufValue::Float(0.5));
    assert_eq!(header.metadata["d"], GgufValue::List(1));
    assert_eq!(header.tensors[0].kind, GgufType::Plain(DType::F32));
    assert_eq!(header.tensors[0].range.start % 64, 0);
}

#[test]
fn a_header_that_asks_for_too_much_is_refused() {
    let parse = |file: &[u8]| parse_gguf(file, file.len() as u64).unwrap_err();
    let one = |tensor: Tensor| parse(&gguf(&[], &[tensor]));
    assert!(matches!(
        one(("w", &[33], 8, vec![0; 34])),
        GgufError::Tensor { .. }
    ));
    assert!(matches!(
        one(("w", &[1], 9, vec![])),
        GgufError::Type { found: 9, .. }
    ));
    assert!(matches!(
        one(("w", &[1 << 40], 0, vec![])),
        GgufError::OutOfRange { .. }
    ));
    assert!(matches!(
        one(("w", &[1 << 40, 1 << 40], 0, vec![])),
        GgufError::Tensor { .. }
    ));
    assert!(matches!(
        one(("", &[1], 0, vec![])),
        GgufError::Tensor { .. }
    ));
    let w = || -> Tensor<'static> { ("w", &[1], 0, floats([1.0])) };
    assert!(matches!(
        parse(&gguf(&[], &[w(), w()])),
        GgufError::DuplicateName { .. }
    ));
    let twice = [entry("a", 7, &[1]), entry("a", 7, &[1])];
    assert!(matches!(
        parse(&gguf(&twice, &[])),
        GgufError::Metadata { .. }
    ));
    let odd = [entry("general.alignment", 4, &3u32.to_le_bytes())];
    assert!(matches!(
        parse(&gguf(&odd, &[])),
        GgufError::Metadata { .. }
    ));
    let mut counts = gguf(&[], &[]);
    counts[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(
        parse(&counts),
        GgufError::Truncated { .. } | GgufError::Tensor { .. }
    ));
    // Nothing at all, however wide its rows would be.
    let empty: Tensor = ("w", &[1 << 40, 1 << 40, 0], 8, vec![]);
    let reader = TensorReader::from_bytes("m.gguf", gguf(&[], &[empty])).unwrap();
    assert!(reader.tensors()[0].is_empty());
    reader.read_f32(0, 0..0, &mut [], &mut Vec::new()).unwrap();
    let mut old = gguf(&[], &[]);
    old[4] = 1;
    assert_eq!(parse(&old), GgufError::Version { found: 1 });
    let whole = llama();
    let end = whole.len() - 32;
    for len in 0..end {
        assert!(parse_gguf(&whole[..len], len as u64).is_err(), "{len}");
    }
    // Words of a tokenizer behind the first part of the file are read, too.
    let long = [
        &8u32.to_le_bytes()[..],
        &90_000u64.to_le_bytes(),
        &text("four").repeat(90_000),
    ]
    .concat();
    let long = gguf(&[entry("tokenizer.ggml.tokens", 9, &long)], &[w()]);
    assert!(long.len() > 1 << 20);
    let reader = TensorReader::from_bytes("m.gguf", long).unwrap();
    assert_eq!(read(&reader, "w", 0..1), [1.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_changed_header_is_an_error_or_a_reader_that_reads(
        edits in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..6),
    ) {
        let mut bytes = llama();
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let parsed = parse_gguf(&bytes, bytes.len() as u64).is_ok();
        match TensorReader::from_bytes("m.gguf", bytes) {
            Err(e) => {
                let refused = matches!(e, CkptError::Gguf { .. });
                prop_assert!(!parsed || refused);
            }
            Ok(reader) => {
                for (i, meta) in reader.tensors().iter().enumerate() {
                    let mut out = vec![0.0; meta.len()];
                    let found = reader.read_f32(i, 0..meta.len(), &mut out, &mut Vec::new());
                    prop_assert_eq!(found.is_ok(), meta.dtype.is_weight());
                }
            }
        }
    }
}
