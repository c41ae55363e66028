//! Packed weights: read as the weights they stand for, by ranges; cases worked by hand.

use crate::ckpt_support::{entry, raw, save};
use refit_core::{DType, Hint};
use refit_io::ckpt::{CkptError, TensorReader, refuse_packed};
use tempfile::TempDir;

struct Part<'a> {
    name: &'a str,
    dtype: &'a str,
    shape: &'a str,
    bytes: Vec<u8>,
}

fn part<'a>(name: &'a str, dtype: &'a str, shape: &'a str, bytes: Vec<u8>) -> Part<'a> {
    Part {
        name,
        dtype,
        shape,
        bytes,
    }
}

fn model(config: &str, parts: &[Part]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let (mut entries, mut at) = (Vec::new(), 0);
    for p in parts {
        let end = at + p.bytes.len() as u64;
        entries.push(entry(p.name, p.dtype, p.shape, at, end));
        at = end;
    }
    let mut file = raw(format!("{{{}}}", entries.join(",")), 0);
    file.extend(parts.iter().flat_map(|p| &p.bytes));
    save(&home.path().join("model.safetensors"), &file);
    save(&home.path().join("config.json"), config.as_bytes());
    home
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
        .collect()
}

/// All values, after every range was found to agree with them.
fn values(reader: &TensorReader, name: &str) -> Vec<f32> {
    let at = reader.locate(name).unwrap();
    let n = reader.tensors()[at].len();
    let read = |range: std::ops::Range<usize>| {
        let mut out = vec![0.0; range.len()];
        reader
            .read_f32(at, range, &mut out, &mut Vec::new())
            .unwrap();
        out
    };
    let whole = read(0..n);
    for start in 0..n {
        for end in start..=n {
            assert_eq!(read(start..end), whole[start..end]);
        }
    }
    whole
}

const GPTQ: &str = r#"{"torch_dtype":"float16","quantization_config":{"quant_method":"gptq","bits":4,"group_size":8}}"#;

/// Eight outputs, sixteen inputs in two groups; `q[o, i] = (i + o) mod 16`, zero points 8, scale of group g is g + 1.
fn gptq_parts() -> Vec<Part<'static>> {
    let word = |w: usize, o: usize| {
        (0..8).fold(0u32, |word, l| {
            word | (((8 * w + l + o) % 16) as u32) << (4 * l)
        })
    };
    let q: Vec<u32> = (0..2)
        .flat_map(|w| (0..8).map(move |o| word(w, o)))
        .collect();
    vec![
        part("l.qweight", "I32", "[2,8]", words(&q)),
        part("l.qzeros", "I32", "[2,1]", words(&[0x7777_7777; 2])), // 8, less one
        part(
            "l.scales",
            "F16",
            "[2,8]",
            halves(&[[1.0; 8], [2.0; 8]].concat()),
        ),
        part("l.bias", "F16", "[1]", halves(&[0.5])),
    ]
}

#[test]
fn weights_packed_in_an_unknown_way_are_refused_by_name() {
    let of = |settings: &str| format!(r#"{{"quantization_config":{{{settings}}}}}"#);
    let bytes = |name| vec![part(name, "U8", "[2,1]", vec![1, 2])];
    for (config, parts, said) in [
        (
            of(r#""quant_method":"awq","bits":4"#),
            gptq_parts(),
            "`l.qweight` in `{}` is packed into I32 (`quant_method` `awq`), which cannot be read as weights",
        ),
        (
            of(r#""quant_method":"gptq","bits":3"#),
            gptq_parts(),
            "`l.qweight` in `{}` is packed into I32 (`bits` 3 of GPTQ), which cannot be read as weights",
        ),
        (
            "{}".to_owned(),
            gptq_parts(),
            "`l.qweight` in `{}` is packed into I32, which cannot be read as weights",
        ),
        (
            of(r#""quant_method":"bitsandbytes""#),
            bytes("l.weight"),
            "`l.weight` in `{}` is packed into U8 (`quant_method` `bitsandbytes`), which cannot be read as weights",
        ),
        (
            of(r#""quant_method":"compressed-tensors","format":"mxfp4-pack-quantized""#),
            bytes("l.weight_scale"),
            "`l.weight_scale` in `{}` is packed into U8 (`format` `mxfp4-pack-quantized`), which cannot be read as weights",
        ),
    ] {
        let home = model(&config, &parts);
        let error = TensorReader::open(home.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            said.replace("{}", &home.path().display().to_string())
        );
        assert!(error.hint().is_some());
        assert!(TensorReader::open_stored(home.path()).is_ok());
    }
    // Readers that see through nothing are refused what others can read.
    let home = model(
        &of(r#""quant_method":"compressed-tensors","format":"int-quantized""#),
        &[part("l.weight", "I8", "[2,1]", vec![1, 2])],
    );
    let stored = TensorReader::open_stored(home.path()).unwrap();
    let said = refuse_packed(home.path(), stored.tensors())
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("packed into I8 (`quant_method` `compressed-tensors`)"),
        "{said}"
    );
    // Masks of old models are no packed weights.
    let home = model("{}", &bytes("attn.bias"));
    assert!(TensorReader::open(home.path()).is_ok());
}

#[test]
fn gptq_is_transposed_and_scaled_by_groups() {
    let home = model(GPTQ, &gptq_parts());
    let reader = TensorReader::open(home.path()).unwrap();
    let names: Vec<_> = reader.tensors().iter().map(|t| t.path.as_str()).collect();
    assert_eq!(names, ["l.weight", "l.bias"]);
    assert_eq!(
        (
            reader.tensors()[0].dtype,
            reader.tensors()[0].shape.as_slice()
        ),
        (DType::F16, &[8, 16][..])
    );
    let expected: Vec<f32> = (0..8u8)
        .flat_map(|o| {
            (0..16u8).map(move |i| f32::from(i / 8 + 1) * (f32::from((i + o) % 16) - 8.0))
        })
        .collect();
    assert_eq!(values(&reader, "l.weight"), expected);
    assert_eq!([0, 1].map(|i| reader.is_stored(i)), [false, true]);
    assert!(matches!(
        reader.read_bytes(0, 0..1, &mut [0]),
        Err(CkptError::Computed { .. })
    ));
    let mut bias = [0; 2];
    reader.read_bytes(1, 0..2, &mut bias).unwrap();
    assert_eq!(bias.to_vec(), halves(&[0.5]));
    assert_eq!(
        TensorReader::open_stored(home.path())
            .unwrap()
            .tensors()
            .len(),
        4
    );
}

#[test]
fn gptq_takes_the_group_of_an_input_from_its_list() {
    let mut parts = gptq_parts();
    let order: Vec<u32> = (0..16).map(|i| 1 - i % 2).collect();
    parts.push(part("l.g_idx", "I32", "[16]", words(&order)));
    let home = model(GPTQ, &parts);
    let reader = TensorReader::open(home.path()).unwrap();
    let row = &values(&reader, "l.weight")[..4];
    assert_eq!(row, [2.0 * -8.0, -7.0, 2.0 * -6.0, -5.0]);
    parts[4].bytes[0] = 2; // a third group
    let home = model(GPTQ, &parts);
    let reader = TensorReader::open(home.path()).unwrap();
    let found = reader.read_f32(0, 0..1, &mut [0.0], &mut Vec::new());
    assert!(matches!(found, Err(CkptError::Packed { tensor, .. }) if &*tensor == "l.g_idx"));
}

#[test]
fn the_second_version_of_gptq_stores_zero_points_as_they_are() {
    let config = GPTQ.replace("\"bits\"", "\"checkpoint_format\":\"gptq_v2\",\"bits\"");
    let home = model(&config, &gptq_parts());
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(values(&reader, "l.weight")[..3], [-7.0, -6.0, -5.0]);
}

#[test]
fn parts_that_do_not_fit_are_refused_when_the_model_is_opened() {
    for (at, shape, len) in [
        (1, "[1,1]", 4),
        (1, "[1,2]", 8),
        (2, "[2,7]", 28),
        (2, "[4,8]", 64),
        (2, "[16]", 32),
    ] {
        let mut parts = gptq_parts();
        parts[at].shape = shape;
        parts[at].bytes = vec![0; len];
        let found = TensorReader::open(model(GPTQ, &parts).path());
        assert!(
            matches!(found, Err(CkptError::Packed { .. })),
            "{shape}: {found:?}"
        );
    }
    let mut parts = gptq_parts();
    parts.remove(2);
    let found = TensorReader::open(model(GPTQ, &parts).path());
    assert!(matches!(
        found,
        Err(CkptError::Packed {
            problem: "has no scales",
            ..
        })
    ));
}

const PACKED: &str = r#"{"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",
    "config_groups":{"group_0":{"weights":{"num_bits":4,"group_size":2,"symmetric":true}}}}}"#;

/// One output, four inputs in groups of two: integers -8, 7, 0, 1, stored with 8 added.
fn packed_parts() -> Vec<Part<'static>> {
    let shape = [1i64, 4].iter().flat_map(|n| n.to_le_bytes()).collect();
    vec![
        part("l.weight_packed", "I32", "[1,1]", words(&[0x98f0])),
        part(
            "l.weight_scale",
            "BF16",
            "[1,2]",
            vec![0x80, 0x3f, 0x00, 0x3f],
        ), // 1, 0.5
        part("l.weight_shape", "I64", "[2]", shape),
    ]
}

#[test]
fn words_along_the_inputs_are_read_with_and_without_zero_points() {
    let home = model(PACKED, &packed_parts());
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(reader.tensors().len(), 1);
    assert_eq!(reader.tensors()[0].dtype, DType::BF16);
    assert_eq!(values(&reader, "l.weight"), [-8.0, 7.0, 0.0, 0.5]);
    // Zero points -8 and 1, packed down the outputs with 8 added.
    let mut parts = packed_parts();
    parts.push(part("l.weight_zero_point", "I32", "[1,2]", words(&[0, 9])));
    let home = model(PACKED, &parts);
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(values(&reader, "l.weight"), [0.0, 15.0, -0.5, 0.0]);
    // The same, one to a byte.
    parts[3] = part("l.weight_zero_point", "I8", "[1,2]", vec![0xf8, 1]);
    let home = model(PACKED, &parts);
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(values(&reader, "l.weight"), [0.0, 15.0, -0.5, 0.0]);
}

#[test]
fn a_shape_that_lies_is_refused() {
    for [rows, columns] in [[1i64, 9], [2, 4], [-1, 4], [i64::MAX, i64::MAX]] {
        let mut parts = packed_parts();
        parts[2].bytes = [rows, columns]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        let found = TensorReader::open(model(PACKED, &parts).path());
        assert!(matches!(found, Err(CkptError::Packed { .. })), "{found:?}");
    }
}

#[test]
fn a_byte_per_value_is_scaled_by_output() {
    let int8 = vec![
        part("l.weight", "I8", "[2,3]", vec![1, 0xff, 2, 3, 0x80, 0x7f]),
        part(
            "l.weight_scale",
            "F32",
            "[2,1]",
            [0.5f32, 2.0].iter().flat_map(|s| s.to_le_bytes()).collect(),
        ),
    ];
    let home = model(PACKED, &int8);
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(reader.tensors()[0].dtype, DType::F32);
    assert_eq!(
        values(&reader, "l.weight"),
        [0.5, -0.5, 1.0, 6.0, -256.0, 254.0]
    );
    // Nobody says that these integers are weights.
    let reader_of_plain = TensorReader::open(model("{}", &int8).path()).unwrap();
    assert_eq!(reader_of_plain.tensors().len(), 2);
}

#[test]
fn eight_bit_floats_are_exact_and_scaled_by_blocks() {
    // 1, -448 (the largest), 2^-9 (the smallest), 0 in one row; 240 four times in the other two.
    let bytes = [[0x38, 0xfe, 0x01, 0x00], [0x77; 4], [0x77; 4]].concat();
    let scale: Vec<u8> = [1f32, 2.0, 4.0, 8.0]
        .iter()
        .flat_map(|s| s.to_le_bytes())
        .collect();
    let parts = [
        part("l.weight", "F8_E4M3", "[3,4]", bytes),
        part("l.weight_scale_inv", "F32", "[2,2]", scale),
    ];
    let config = r#"{"torch_dtype":"bfloat16","quantization_config":{"quant_method":"fp8","weight_block_size":[2,2]}}"#;
    let home = model(config, &parts);
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(reader.tensors().len(), 1);
    assert_eq!(reader.tensors()[0].dtype, DType::BF16);
    let expected = [
        [1.0, -448.0, 2.0 * 2f32.powi(-9), 0.0],
        [240.0, 240.0, 480.0, 480.0],
        [960.0, 960.0, 1920.0, 1920.0],
    ];
    assert_eq!(values(&reader, "l.weight"), expected.concat());
    let five = [
        part("l.weight", "F8_E5M2", "[1,2]", vec![0x3c, 0xc0]),
        part("l.weight_scale", "F16", "[1]", halves(&[2.0])),
    ];
    let home = model("{}", &five);
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(values(&reader, "l.weight"), [2.0, -4.0]);
}

#[test]
fn a_float_without_scale_stays_as_it_is_stored() {
    let home = model(
        "{}",
        &[part("l.weight", "F8_E4M3", "[1,2]", vec![0x38, 0x38])],
    );
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(reader.tensors()[0].dtype, DType::F8E4M3);
    assert!(reader.is_stored(0));
}
