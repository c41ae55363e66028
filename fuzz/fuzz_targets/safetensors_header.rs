//! Whole safetensors files: an error, or a checkpoint whose every tensor can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use refit_core::Source;
use refit_io::ckpt::{Checkpoint, parse_header};

fuzz_target!(|file: &[u8]| {
    let parsed = parse_header(file, file.len() as u64);
    let opened = Checkpoint::from_bytes("fuzz.safetensors", file.to_vec());
    assert_eq!(parsed.is_ok(), opened.is_ok());
    let Ok(checkpoint) = opened else {
        // The message is part of what a stranger's bytes can reach.
        assert!(opened.map(|_| ()).unwrap_err().to_string().len() < 5000);
        return;
    };
    let mut bytes = 0;
    for i in 0..checkpoint.tensors().len() {
        let view = checkpoint.view(i).expect("listed");
        assert_eq!(view.bytes.len(), view.meta.size_bytes());
        let _ = checkpoint.tensor_f32(i);
        bytes += view.bytes.len();
    }
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    assert_eq!(
        8 + length as usize + bytes,
        file.len(),
        "values are covered exactly once"
    );
});
