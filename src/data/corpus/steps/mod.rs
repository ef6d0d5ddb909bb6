//! What is done to a text, one file a step. Knows nothing of files, documents or threads.

pub mod ascii;
pub mod overlap;
pub mod possessive;
pub mod sentences;
pub mod treebank;
pub(super) mod unique;
