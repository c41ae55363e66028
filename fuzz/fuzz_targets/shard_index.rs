//! Index files: an error, or tensors whose files lie in the folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use refit_io::ckpt::parse_index;
use std::path::{Component, Path};

fuzz_target!(|json: &[u8]| match parse_index(json) {
    Err(e) => assert!(e.to_string().len() < 5000),
    Ok(index) => {
        for (_, file) in index.iter() {
            let mut parts = Path::new(file).components();
            assert!(matches!(parts.next(), Some(Component::Normal(part)) if part == file));
            assert!(parts.next().is_none());
        }
        let listed: usize = index.shards().map(|(_, tensors)| tensors.len()).sum();
        assert_eq!(listed, index.len());
    }
});
