//! The workflow core: text to stages, stages to keys, keys to results. Knows no machine learning, no Polars, no CUDA.

pub mod diagnostic;
pub mod digest;
pub mod event;
pub mod graph;
pub mod kind;
pub mod metric;
pub mod render;
pub mod select;
pub mod source;
pub mod spec;
