//! Raw files to canonical examples and their statistics, predictions to scores. Knows nothing of stages, caching or reports.

pub mod corpus;
pub mod divide;
pub mod error;
pub mod example;
pub mod features;
pub mod jsonl;
pub mod labels;
mod lines;
pub mod metrics;
pub mod packed;
pub mod passages;
pub mod predictions;
pub mod prepare;
pub mod readers;
pub mod statistics;
pub mod tags;
pub mod texts;
pub mod vocabulary;
pub mod wordpiece;
mod xml;

#[cfg(test)]
pub(crate) mod testing {
    //! What tests of several files share.

    use std::path::{Path, PathBuf};

    /// The folder of real data; `None`, with a word about it, where there is none.
    #[expect(
        clippy::print_stderr,
        reason = "a test that proves nothing must say so"
    )]
    pub(crate) fn shared(test: &str) -> Option<PathBuf> {
        let folder = std::env::var_os("PIPELINE_SHARED_DATA").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
            PathBuf::from,
        );
        if folder.join("README.md").is_file() {
            return Some(folder);
        }
        eprintln!(
            "{test}: skipped, no real data at `{}`; set PIPELINE_SHARED_DATA",
            folder.display()
        );
        None
    }
}
