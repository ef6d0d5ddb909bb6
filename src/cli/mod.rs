//! The command line: what was asked for, and who does it.

pub mod args;
pub mod values;
