//! Starts the program: everything happens in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pipeline::cli::main()
}
