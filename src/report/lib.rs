//! Metric rows to tables, charts and self-contained pages. Knows nothing of how rows came about.

pub mod claims;
pub mod error;
pub mod frame;
pub mod input;
pub mod measure;
pub mod number;
pub mod options;
pub mod stats;
pub mod table;
