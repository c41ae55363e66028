//! Whole npz files, and arrays in an archive with the right checksum: an error, or arrays as long as their shapes say,
//! and perhaps a task.
#![no_main]

#[path = "../src/zip.rs"]
mod zip;

use libfuzzer_sys::fuzz_target;
use refit_io::data::{npz::Npz, task_from_npz};

fuzz_target!(|file: &[u8]| {
    read(file.to_vec());
    // A checksum that is wrong would hide the array behind it from every mutation.
    read(zip::stored(&[("train_y.npy".to_owned(), file.to_vec())]));
});

fn read(file: Vec<u8>) {
    let npz = match Npz::from_bytes(file, "fuzz.npz") {
        Ok(npz) => npz,
        Err(error) => {
            // The message is part of what a stranger's bytes can reach.
            assert!(error.to_string().len() < 100_000);
            return;
        }
    };
    let names: Vec<String> = npz.names().take(16).map(str::to_owned).collect();
    for name in &names {
        assert!(npz.contains(name));
        let Ok(array) = npz.array(name) else { continue };
        let values: usize = array.shape().iter().product();
        assert_eq!(array.bytes().len(), values * array.element().size_bytes());
        let integers = array.integers().map(|values| values.len());
        let floats = array.floats().map(|values| values.len());
        assert_eq!(integers.xor(floats), Some(values), "one of them, and whole");
    }
    let Ok(task) = task_from_npz(&npz) else {
        return;
    };
    for set in [task.train(), task.val(), task.test()] {
        assert_eq!(set.images().len(), set.len() * set.shape().len());
        let classes = set.class_count();
        assert!(set.labels().iter().all(|&label| (label as usize) < classes));
    }
}
