//! Metric rows to tables, charts and self-contained pages. Knows nothing of how rows came about.
//!
//! [`build`] makes a report, [`render_run`] the page of one run. Between this room and the others stand JSON lines:
//! rows `{dataset, split, metric, class, value, n}` and an index of the instances they come from.

pub mod assemble;
pub mod card;
pub mod cell;
pub mod chart;
pub mod claims;
pub mod equivalence;
pub mod error;
pub mod frame;
pub mod input;
pub mod measure;
pub mod names;
pub mod number;
pub mod options;
pub mod outcome;
pub mod page;
pub mod paired;
pub mod paper;
mod parts;
pub mod published;
pub mod render;
pub mod run_page;
pub mod sections;
pub mod sheet;
pub mod stats;
mod strip;
pub mod table;
pub mod verdicts;

pub use assemble::{CLAIMS_FILE, Report, build};
pub use error::ReportError;
pub use input::{INDEX_FILE, Instance, load_index};
pub use options::{Claim, Options};
pub use run_page::{RunSummary, RunTotals, ShowSeconds, StageLine, render_run};
