//! The ops of the engine, each a folder: what it computes, and how each device does it. Sizes are those at which devices
//! fuse; a model is a sequence of calls.

pub mod adamw;
pub mod attention;
pub mod corrupt;
pub mod embedding;
pub mod layernorm;
pub mod linear;
pub mod losses;
pub mod mixture;
pub mod mlm;
pub mod pairs;
pub mod rows;
