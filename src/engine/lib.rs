//! ELECTRA training: replaced token detection, fine-tuning, prediction. Knows numbers and shapes only; no files but
//! those of tensors, no stages, no text.

pub mod arena;
pub mod backend;
pub mod check;
pub mod checkpoint;
pub mod collective;
pub mod config;
pub mod cost;
pub mod cpu;
pub mod cuda;
pub mod error;
pub mod finetune;
mod finite;
pub mod mask;
pub mod model;
pub mod ops;
pub mod parameters;
pub mod pretrain;
pub mod random;
pub mod schedule;
pub mod weights;
