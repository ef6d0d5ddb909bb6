//! The workflow core: text to stages, stages to keys, keys to results. Knows no machine learning, no Polars, no CUDA.

pub mod amounts;
pub mod clock;
pub mod content;
pub mod cost;
pub mod diagnostic;
pub mod digest;
pub mod event;
pub mod exec;
pub mod graph;
pub mod hashing;
pub mod key;
pub mod kind;
mod layered;
pub mod made_by;
pub mod metric;
pub mod notes;
pub mod numbers;
pub mod plan;
pub mod plan_cache;
pub mod render;
pub mod restate;
pub mod results;
pub mod run;
pub mod select;
pub mod signals;
pub mod source;
pub mod spec;
pub mod store;

#[cfg(test)]
mod test_support;
