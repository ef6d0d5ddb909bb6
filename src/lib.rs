//! The rooms of `pipeline`; `src/ARCHITECTURE.md` is their map.

pub mod kinds;
