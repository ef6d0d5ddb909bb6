//! Pipelines of other tools to pipeline files. Knows nothing of running either.

pub mod dvc;
