//! ELECTRA once more, on dfdx's autodiff: short, slow, and made to be read beside the specification. Of `engine` it
//! takes sizes, names, first values, what is drawn by counters and the layout of checkpoints, but no arithmetic;
//! [`compare`] alone runs both.
//!
//! Sequences go through the networks one by one, so there is no padding and no mask that could be wrong; gradients are
//! dfdx's. Only the erf-GELU is ours (see `ops`).

pub mod compare;
pub mod finetune;
mod joint;
mod model;
mod ops;
mod optimizer;
pub mod pretrain;
mod weights;
