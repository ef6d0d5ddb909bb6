//! Checks a machine with a GPU and writes one report: `gpu-check --out report.json`. Knows no stages and no text; what is
//! checked is `engine::check`.
//!
//! Each part runs in a process of its own, so that a fault that a GPU does not recover from, or a part that never ends, costs
//! that part alone. Exit code 0: all passed; 1: a check failed; 2: the command line; 3: no GPU or library.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells what it does"
)]

mod arguments;
mod parts;
mod together;

use std::process::ExitCode;

fn main() -> ExitCode {
    let found = arguments::Arguments::parse(std::env::args().skip(1));
    let arguments = match found {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        println!("{}", arguments::USAGE);
        return ExitCode::SUCCESS;
    }
    match &arguments.part {
        Some(part) => parts::run(part, &arguments),
        None => together::run(&arguments),
    }
}
