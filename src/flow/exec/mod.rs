//! Carrying out one stage: orders and answers between a run and its supervisors. Knows nothing of plans.

mod attempt;
pub mod environment;
pub mod job;
mod litter;
pub mod output;
pub mod place;
pub mod process;
pub mod sandbox;
pub mod supervisor;
pub mod sweep;
pub mod trace;

pub use attempt::{last_attempt, last_log, live_folder};
