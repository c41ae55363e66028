//! PyTorch checkpoints: what `torch.save` writes is read, and nothing of it is run.

use crate::{
    ckpt_support::save,
    data_files::{Member, zip},
};
use proptest::prelude::*;
use refit_core::DType;
use refit_io::ckpt::{CkptError, TensorReader, TorchError, parse_pickle};

/// `torch.save(torch.nn.Linear(2, 1).state_dict(), ..)` of PyTorch 2.15.0.
const LINEAR: &[u8] = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x06\x00\x00\x00weightq\x02ctorch._utils\n_rebuild_t\
    ensor_v2\nq\x03((X\x07\x00\x00\x00storageq\x04ctorch\nFloatStorage\nq\x05X\x01\x00\x00\x000q\x06X\x03\
    \x00\x00\x00cpuq\x07K\x02tq\x08QK\x00K\x01K\x02\x86q\x09K\x02K\x01\x86q\n\x89h\x00)Rq\x0btq\x0cRq\x0d\
    X\x04\x00\x00\x00biasq\x0eh\x03((h\x04h\x05X\x01\x00\x00\x001q\x0fh\x07K\x01tq\x10QK\x00K\x01\x85q\x11\
    K\x01\x85q\x12\x89h\x00)Rq\x13tq\x14Rq\x15u}q\x16X\x09\x00\x00\x00_metadataq\x17h\x00)Rq\x18X\x00\x00\
    \x00\x00q\x19}q\x1aX\x07\x00\x00\x00versionq\x1bK\x01sssb.";

/// `{"state_dict": {a, at = a.t(), row = a[1], h, p, s, f8, u16}, "epoch": 3, ..}` of PyTorch 2.15.0, where `a` is 3 x 4.
const NESTED: &[u8] = b"\x80\x02}q\x00(X\n\x00\x00\x00state_dictq\x01ccollections\nOrderedDict\nq\x02)Rq\x03(X\x01\x00\x00\x00\
    aq\x04ctorch._utils\n_rebuild_tensor_v2\nq\x05((X\x07\x00\x00\x00storageq\x06ctorch\nFloatStorage\nq\x07\
    X\x01\x00\x00\x000q\x08X\x03\x00\x00\x00cpuq\x09K\x0ctq\nQK\x00K\x03K\x04\x86q\x0bK\x04K\x01\x86q\x0c\
    \x89h\x02)Rq\x0dtq\x0eRq\x0fX\x02\x00\x00\x00atq\x10h\x05((h\x06h\x07h\x08h\x09K\x0ctq\x11QK\x00K\x04\
    K\x03\x86q\x12K\x01K\x04\x86q\x13\x89h\x02)Rq\x14tq\x15Rq\x16X\x03\x00\x00\x00rowq\x17h\x05((h\x06h\x07\
    h\x08h\x09K\x0ctq\x18QK\x04K\x04\x85q\x19K\x01\x85q\x1a\x89h\x02)Rq\x1btq\x1cRq\x1dX\x01\x00\x00\x00h\
    q\x1eh\x05((h\x06ctorch\nBFloat16Storage\nq\x1fX\x01\x00\x00\x001q h\x09K\x02tq!QK\x00K\x02\x85q\"K\x01\
    \x85q#\x89h\x02)Rq$tq%Rq&X\x01\x00\x00\x00pq'ctorch._utils\n_rebuild_parameter\nq(h\x05((h\x06h\x07X\x01\
    \x00\x00\x002q)h\x09K\x01tq*QK\x00K\x01\x85q+K\x01\x85q,\x89h\x02)Rq-tq.Rq/\x88h\x02)Rq0\x87q1Rq2X\x01\
    \x00\x00\x00sq3h\x05((h\x06ctorch\nLongStorage\nq4X\x01\x00\x00\x003q5h\x09K\x01tq6QK\x00))\x89h\x02)\
    Rq7tq8Rq9X\x02\x00\x00\x00f8q:ctorch._utils\n_rebuild_tensor_v3\nq;((h\x06ctorch.storage\nUntypedStor\
    age\nq<X\x01\x00\x00\x004q=h\x09K\x02tq>QK\x00K\x02\x85q?K\x01\x85q@\x89h\x02)RqActorch\nfloat8_e4m3f\
    n\nqBtqCRqDX\x03\x00\x00\x00u16qEh;((h\x06h<X\x01\x00\x00\x005qFh\x09K\x04tqGQK\x00K\x02\x85qHK\x01\x85\
    qI\x89h\x02)RqJctorch\nuint16\nqKtqLRqMuX\x05\x00\x00\x00epochqNK\x03X\x02\x00\x00\x00lrqOG?PbM\xd2\xf1\
    \xa9\xfcX\x01\x00\x00\x00nqPNX\x01\x00\x00\x00bqQ\x88X\x01\x00\x00\x00lqR]qS(K\x01K\x02eX\x03\x00\x00\
    \x00bigqT\x8a\x06\x00\x00\x00\x00\x00\x01u.";

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn archive(pickle: &[u8], storages: &[Vec<u8>]) -> Vec<u8> {
    let mut members = vec![
        Member::stored("m/data.pkl", pickle),
        Member::stored("m/byteorder", b"little"),
    ];
    for (i, bytes) in storages.iter().enumerate() {
        members.push(Member::stored(&format!("m/data/{i}"), bytes));
    }
    zip(&members)
}

fn linear() -> Vec<u8> {
    archive(LINEAR, &[floats([1.5, -2.0]), floats([0.25])])
}

fn nested() -> Vec<u8> {
    let storages = [
        floats((0..12u8).map(f32::from)),
        vec![0x80, 0x3f, 0x80, 0x3f],
        floats([0.0]),
        3i64.to_le_bytes().to_vec(),
        vec![0x38, 0x38],
        vec![1, 0, 1, 0],
    ];
    archive(NESTED, &storages)
}

fn problem(file: Vec<u8>) -> TorchError {
    match TensorReader::from_bytes("m.bin", file) {
        Err(CkptError::Torch { problem, .. }) => problem,
        other => panic!("expected a PyTorch error, found {other:?}"),
    }
}

fn values(reader: &TensorReader, name: &str) -> Vec<f32> {
    let at = reader.locate(name).unwrap();
    let n = reader.tensors()[at].len();
    let mut out = vec![0.0; n];
    reader
        .read_f32(at, 0..n, &mut out, &mut Vec::new())
        .unwrap();
    out
}

#[test]
fn a_state_dict_is_read_by_name() {
    let reader = TensorReader::from_bytes("m.bin", linear()).unwrap();
    let names: Vec<_> = reader.tensors().iter().map(|t| t.path.as_str()).collect();
    assert_eq!(names, ["weight", "bias"]);
    assert_eq!(reader.tensors()[0].shape, [1, 2]);
    assert_eq!(values(&reader, "weight"), [1.5, -2.0]);
    assert_eq!(values(&reader, "bias"), [0.25]);
}

#[test]
fn views_share_a_storage_and_values_that_lie_apart_are_brought_into_order() {
    let reader = TensorReader::from_bytes("m.pt", nested()).unwrap();
    let seen: Vec<_> = reader
        .tensors()
        .iter()
        .map(|t| (t.path.as_str(), t.dtype, t.shape.as_slice()))
        .collect();
    let expected: [(&str, DType, &[usize]); 8] = [
        ("a", DType::F32, &[3, 4]),
        ("at", DType::F32, &[4, 3]),
        ("row", DType::F32, &[4]),
        ("h", DType::BF16, &[2]),
        ("p", DType::F32, &[1]),
        ("s", DType::I64, &[]),
        ("f8", DType::F8E4M3, &[2]),
        ("u16", DType::U16, &[2]),
    ];
    assert_eq!(seen, expected);
    assert_eq!(values(&reader, "row"), [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(values(&reader, "h"), [1.0, 1.0]);
    let transposed = [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0];
    assert_eq!(values(&reader, "at"), transposed);
    let (mut part, mut bytes) = ([0.0; 3], [0; 4]);
    reader
        .read_f32(1, 4..7, &mut part, &mut Vec::new())
        .unwrap();
    assert_eq!(part.to_vec(), transposed[4..7]);
    reader.read_bytes(1, 4..8, &mut bytes).unwrap();
    assert_eq!(f32::from_le_bytes(bytes).to_bits(), 4f32.to_bits());
    assert!(reader.is_stored(1));
    let mut counter = [0; 8];
    reader.read_bytes(5, 0..8, &mut counter).unwrap();
    assert_eq!(i64::from_le_bytes(counter), 3);
}

#[test]
fn shards_are_found_through_their_index() {
    let home = tempfile::tempdir().unwrap();
    let index = br#"{"weight_map":{"weight":"pytorch_model-1.bin","bias":"pytorch_model-1.bin"}}"#;
    save(&home.path().join("pytorch_model.bin.index.json"), index);
    save(&home.path().join("pytorch_model-1.bin"), &linear());
    let reader = TensorReader::open(home.path()).unwrap();
    assert_eq!(values(&reader, "weight"), [1.5, -2.0]);
    assert_eq!(reader.files().count(), 2);
    let outside = br#"{"weight_map":{"weight":"../x.bin"}}"#;
    save(&home.path().join("pytorch_model.bin.index.json"), outside);
    assert!(matches!(
        TensorReader::open(home.path()),
        Err(CkptError::Index { .. })
    ));
    save(&home.path().join("pytorch_model.bin"), &linear());
    assert_eq!(TensorReader::open(home.path()).unwrap().files().count(), 1);
}

#[test]
fn whatever_is_no_tensor_is_refused_by_name() {
    for (pickle, name) in [
        (
            &b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."[..],
            "posix.system",
        ),
        (b"\x80\x02c__builtin__\neval\n.", "__builtin__.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x80\x02ctorch\nload\n.", "torch.load"),
        (
            b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n.",
            "torch._utils._rebuild_sparse_tensor",
        ),
    ] {
        let found = parse_pickle(pickle);
        assert_eq!(found, Err(TorchError::Global { name: name.into() }));
    }
    // Instances, extension codes, other objects' persistent names, slices of the stack.
    for code in [
        b'i', b'o', 0x81, 0x92, 0x82, 0x83, 0x84, b'P', b'0', b'1', b'2', 0x98, b'I', b'V',
    ] {
        let found = parse_pickle(&[0x80, 2, code]);
        assert_eq!(found, Err(TorchError::Opcode { code, at: 2 }));
    }
}

#[test]
fn programs_that_do_not_fit_together_are_refused() {
    for pickle in [
        &b"\x80\x02."[..],
        b"\x80\x01N.",
        b"\x80\x02Nh\x00.",
        b"\x80\x02Nr\xff\xff\xff\xff.",
        b"\x80\x02t.",
        b"\x80\x02(u.",
        b"\x80\x02}(NNs.",
        b"\x80\x02}(Nu.",
        b"\x80\x02Na.",
        b"\x80\x02Nb.",
        b"\x80\x02NNR.",
        b"\x80\x02NQ.",
        b"\x80\x02ccollections\nOrderedDict\nN\x85R.",
        b"\x80\x02N(\x85.",
    ] {
        let found = parse_pickle(pickle);
        assert!(
            matches!(found, Err(TorchError::Malformed { .. })),
            "{pickle:?}: {found:?}"
        );
    }
    let deep = [&[0x80, 2][..], &[b'('; 300]].concat();
    assert!(matches!(
        parse_pickle(&deep),
        Err(TorchError::TooMany { limit: 256, .. })
    ));
    for len in 0..LINEAR.len() {
        assert!(parse_pickle(&LINEAR[..len]).is_err(), "{len}");
    }
    assert_eq!(parse_pickle(b"\x80\x02}."), Err(TorchError::NoTensors));
}

/// The pickle with one integer or text changed.
fn changed(from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = LINEAR.windows(from.len()).position(|w| w == from).unwrap();
    [&LINEAR[..at], to, &LINEAR[at + from.len()..]].concat()
}

#[test]
fn a_tensor_that_leaves_its_storage_is_refused() {
    for (from, to) in [
        (&b"QK\x00K\x01K\x02\x86"[..], &b"QK\x01K\x01K\x02\x86"[..]),
        (b"QK\x00K\x01K\x02\x86", b"QK\x00K\x02K\x02\x86"),
        (b"q\x09K\x02K\x01\x86", b"q\x09K\x02K\x02\x86"),
        (
            b"QK\x00K\x01K\x02\x86",
            b"QK\x00K\x01\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86",
        ),
    ] {
        let found = parse_pickle(&changed(from, to));
        assert!(
            matches!(&found, Err(TorchError::Tensor { tensor, .. }) if tensor == "weight"),
            "{found:?}"
        );
    }
    let negative = changed(b"QK\x00K\x01K\x02\x86", b"QK\x00K\x01J\xff\xff\xff\xff\x86");
    assert!(matches!(
        parse_pickle(&negative),
        Err(TorchError::Malformed { .. })
    ));
    // The pickle believes in more bytes than the archive has.
    let short = archive(LINEAR, &[floats([1.5]), floats([0.25])]);
    assert!(matches!(problem(short), TorchError::Tensor { tensor, .. } if tensor == "weight"));
    let absent = archive(LINEAR, &[floats([1.5, 2.0])]);
    assert!(matches!(problem(absent), TorchError::Tensor { tensor, .. } if tensor == "bias"));
}

#[test]
fn a_tensor_that_repeats_one_value_cannot_outgrow_its_file() {
    // Shape [2^20, 2] with strides [0, 1].
    let wide = changed(
        b"QK\x00K\x01K\x02\x86q\x09K\x02K\x01",
        b"QK\x00J\x00\x00\x10\x00K\x02\x86q\x09K\x00K\x01",
    );
    assert!(parse_pickle(&wide).is_ok());
    let file = archive(&wide, &[floats([1.5, -2.0]), floats([0.25])]);
    assert!(matches!(problem(file), TorchError::Tensor { tensor, .. } if tensor == "weight"));
    // Three rows are no harm.
    let three = changed(
        b"QK\x00K\x01K\x02\x86q\x09K\x02K\x01",
        b"QK\x00K\x03K\x02\x86q\x09K\x00K\x01",
    );
    let file = archive(&three, &[floats([1.5, -2.0]), floats([0.25])]);
    let reader = TensorReader::from_bytes("m.bin", file).unwrap();
    assert_eq!(values(&reader, "weight"), [1.5, -2.0, 1.5, -2.0, 1.5, -2.0]);
}

#[test]
fn other_archives_and_older_files_are_named() {
    assert_eq!(
        problem(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46".to_vec()),
        TorchError::Legacy
    );
    assert_eq!(
        problem(zip(&[Member::stored("m/x", b"")])),
        TorchError::NoPickle
    );
    let script = zip(&[
        Member::stored("m/data.pkl", LINEAR),
        Member::stored("m/constants.pkl", b""),
    ]);
    assert_eq!(problem(script), TorchError::Script);
    let big = zip(&[
        Member::stored("m/data.pkl", LINEAR),
        Member::stored("m/byteorder", b"big"),
    ]);
    assert_eq!(
        problem(big),
        TorchError::ByteOrder {
            found: "big".into()
        }
    );
    let packed = zip(&[Member::deflated("m/data.pkl", LINEAR)]);
    assert!(matches!(problem(packed), TorchError::Compressed { .. }));
    let whole = linear();
    for len in 4..whole.len() {
        assert!(
            TensorReader::from_bytes("cut", whole[..len].to_vec()).is_err(),
            "{len}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_changed_pickle_is_an_error_or_tensors_inside_their_storages(
        edits in prop::collection::vec((0usize..NESTED.len(), any::<u8>()), 1..6),
        cut in 0usize..64,
    ) {
        let mut bytes = NESTED.to_vec();
        for (at, value) in edits {
            bytes[at] = value;
        }
        bytes.truncate(NESTED.len() - cut / 8);
        if let Ok(tensors) = parse_pickle(&bytes) {
            for tensor in tensors {
                let size = tensor.meta.dtype.size_bytes() as u64;
                prop_assert!(tensor.meta.is_empty() || (tensor.offset + 1) * size <= tensor.storage_bytes);
            }
        }
    }

    #[test]
    fn a_changed_archive_is_an_error_or_a_reader_that_reads(
        edits in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..6),
    ) {
        let mut bytes = nested();
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(reader) = TensorReader::from_bytes("m.pt", bytes) {
            for (i, meta) in reader.tensors().iter().enumerate() {
                let mut out = vec![0; meta.size_bytes()];
                prop_assert!(reader.read_bytes(i, 0..out.len(), &mut out).is_ok());
            }
        }
    }
}
