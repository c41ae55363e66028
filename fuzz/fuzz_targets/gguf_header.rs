//! Whole GGUF files: an error, or a reader whose every weight can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use refit_io::ckpt::{TensorReader, parse_gguf};

fuzz_target!(|file: &[u8]| {
    match parse_gguf(file, file.len() as u64) {
        Err(e) => assert!(e.to_string().len() < 5000),
        Ok(header) => {
            let inside = |end| end <= file.len() as u64;
            assert!(header.tensors.iter().all(|tensor| inside(tensor.range.end)));
            let _ = header.config();
        }
    }
    if !file.starts_with(b"GGUF") {
        return;
    }
    let Ok(reader) = TensorReader::from_bytes("fuzz.gguf", file.to_vec()) else {
        return;
    };
    for (i, meta) in reader.tensors().iter().enumerate() {
        let mut values = vec![0.0; meta.len()];
        let read = reader.read_f32(i, 0..meta.len(), &mut values, &mut Vec::new());
        assert_eq!(read.is_ok(), meta.dtype.is_weight());
    }
});
