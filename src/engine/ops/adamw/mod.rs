//! The norm of all gradients, and the update of all parameters. Spec D.4, E.2.

use crate::arena::{Real, Weight};
use crate::backend::Memory;

mod cpu;

/// Parameters that are updated alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Which.
    pub at: Weight,
    /// What the learning rate is multiplied with (layer-wise decay).
    pub multiplier: f32,
    /// Weight decay.
    pub decay: f32,
}

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The scheduled learning rate.
    pub learning_rate: f32,
    /// Decay of the first moments; in f64, since `1 - beta` of an f32 is off by a hundred-thousandth of itself.
    pub beta1: f64,
    /// Decay of the second moments.
    pub beta2: f64,
    /// What is added to the root of the second moment.
    pub epsilon: f32,
    /// Factor of the learning rate that undoes the moments' bias towards zero:
    /// `sqrt(1 - beta2^t) / (1 - beta1^t)`, or 1 (Google's code, spec D.4).
    pub correction: f32,
    /// Largest norm of the gradients; those with a larger one are scaled down to it.
    pub clip: Option<f32>,
}

/// AdamW over many tensors at once.
pub trait AdamW: Memory {
    /// Overwrites `norm` (1) with the square root of the sum of squares of all gradients.
    fn gradient_norm(&mut self, norm: Real);

    /// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g²`, `p -= lr multiplier (correction m / (sqrt v + eps) + decay p)`
    /// with `g` clipped by `norm`. Where `norm` is not finite everything stays as it is: whoever asks need not read the
    /// norm before. A loss that is not finite makes gradients so.
    fn adamw(&mut self, groups: &[Group], update: Update, norm: Real);

    /// Adds the gradients, clipped to `clip` by `norm`, to those that are held; `is_first` overwrites those. Where a
    /// batch is clipped in parts (spec D.3: each core of a TPU clips its own 32 sequences before they are summed).
    /// The plan must have asked for the room.
    fn hold_gradients(&mut self, clip: f32, norm: Real, is_first: bool);

    /// Overwrites the gradients with those that are held.
    fn take_held_gradients(&mut self);
}
