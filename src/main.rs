//! Starts the program: everything happens in `cli`.

use std::process::ExitCode;

/// A run of 10,000 stages is many small strings made on several threads; the system's allocator takes a lock and a
/// system call for what this one does in neither.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pipeline::cli::main()
}
