//! What reading a table takes in memory: the table, and one line.
//!
//! Allocations of the whole process are counted, so the measurement runs in a process of its own.

use refit_io::data::{Features, LibsvmOptions, read_libsvm};
use refit_testkit::Counting;
use std::{fs::File, io::Write, process::Command};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_table_is_read_in_its_own_size() {
    let binary = std::env::current_exe().unwrap();
    let output = Command::new(binary)
        .args([
            "--exact",
            "data_memory::measured_in_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    println!("{text}");
}

#[test]
#[ignore = "counts every allocation of its process; the test above runs it alone"]
fn measured_in_a_process_of_its_own() {
    let room = tempfile::tempdir().unwrap();
    // 100 columns are dense, 10 of 10,000 are sparse.
    for (name, rows, step) in [("dense", 40_000, 1), ("sparse", 100_000, 997)] {
        let path = room.path().join(name);
        let mut file = std::io::BufWriter::new(File::create(&path).unwrap());
        let entries = if step == 1 { 100 } else { 10 };
        for row in 0..rows {
            write!(file, "{}", row % 2).unwrap();
            for k in 0..entries {
                write!(file, " {}:{}.25", 1 + k * step + row % step, row % 7).unwrap();
            }
            writeln!(file).unwrap();
        }
        file.into_inner().unwrap();
        let before = Counting::start();
        let table = read_libsvm(&path, &LibsvmOptions::default()).unwrap();
        let peak = (Counting::peak() - before) as f64;
        let dense = matches!(table.features(), Features::Dense(_));
        assert_eq!(dense, name == "dense");
        let size = table.features().size_bytes() as f64;
        println!("{name}: {:.3} times {size} bytes", peak / size);
        // Labels, a buffer of the file and one line beside the rows.
        assert!(peak <= 1.1 * size, "{name}: {peak} of {size}");
    }
}
