//! The rooms of `pipeline`; `src/ARCHITECTURE.md` is their map.

pub mod cli;
pub mod console;
pub mod import;
pub mod kinds;
pub mod serve;
pub mod share;
