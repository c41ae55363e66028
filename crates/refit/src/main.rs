//! The `refit` program.

/// A training step asks for megabytes a hundred times and gives them back; the system's allocator returns such memory to
/// the kernel each time and faults it in anew, a sixth of the time of a demonstration.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    refit::cli::main()
}
