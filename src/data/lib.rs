//! Raw files to canonical examples, and their statistics. Knows nothing of stages, caching or reports.

pub mod error;
pub mod example;
pub mod jsonl;
pub mod labels;
mod lines;
pub mod packed;
pub mod prepare;
pub mod readers;
pub mod statistics;
pub mod tags;
pub mod texts;
pub mod vocabulary;
pub mod wordpiece;
