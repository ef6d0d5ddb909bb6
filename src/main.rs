//! Starts the program: everything happens in `cli`.

use std::process::ExitCode;

/// Planning makes many small strings on several threads. Without huge pages, which would double the memory of a
/// program that ends before it has used them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pipeline::cli::main()
}
