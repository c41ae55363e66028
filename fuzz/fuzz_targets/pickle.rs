//! Pickles, alone and in an archive: an error, or tensors inside their storages. Nothing of them is run.
#![no_main]

#[path = "../src/zip.rs"]
mod zip;

use libfuzzer_sys::fuzz_target;
use refit_io::ckpt::{TensorReader, parse_pickle};

fuzz_target!(|pickle: &[u8]| {
    match parse_pickle(pickle) {
        // The message is part of what a stranger's bytes can reach.
        Err(e) => assert!(e.to_string().len() < 5000),
        Ok(tensors) => {
            for tensor in tensors {
                let size = tensor.meta.dtype.size_bytes() as u64;
                assert_eq!(tensor.strides.len(), tensor.meta.shape.len());
                assert!(
                    tensor.meta.is_empty() || (tensor.offset + 1) * size <= tensor.storage_bytes
                );
            }
        }
    }
    let members = [("m/data.pkl", pickle.to_vec()), ("m/data/0", vec![0; 64])];
    let members = members.map(|(name, bytes)| (name.to_owned(), bytes));
    let Ok(reader) = TensorReader::from_bytes("fuzz.bin", zip::stored(&members)) else {
        return;
    };
    for (i, meta) in reader.tensors().iter().enumerate().take(64) {
        let mut bytes = vec![0; meta.size_bytes()];
        reader
            .read_bytes(i, 0..bytes.len(), &mut bytes)
            .expect("inside the file");
    }
});
