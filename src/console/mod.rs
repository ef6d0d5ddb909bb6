//! Everything that prints, and nothing that decides.

pub mod clock;
pub mod diagnostic;
mod excerpt;
pub mod format;
pub mod terminal;
