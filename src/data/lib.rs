//! Raw files to canonical examples, and their statistics. Knows nothing of stages, caching or reports.

pub mod error;
pub mod example;
pub mod jsonl;
mod lines;
pub mod readers;
pub mod tags;
