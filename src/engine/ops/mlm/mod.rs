//! The generator's loss, its gradients and its samples in one pass over the vocabulary. Spec D.2, D.3.
//!
//! Logits are `x Tᵀ + b` for the masked slots alone, some slots at a time; nothing of the size of slots times
//! vocabulary is kept, noise included.

use crate::arena::{Act, Ints, Real, Weight};
use crate::backend::{Memory, Rows};

mod cpu;
pub(crate) mod cuda;

/// Numbers from one slot's logits to the next: rows begin where vector loads and products like it.
#[must_use]
pub fn stride_of(entries: usize) -> usize {
    entries.next_multiple_of(8)
}

/// Slots whose logits some scratch holds.
fn slots_at_a_time(scratch: Real, entries: usize) -> usize {
    let n = scratch.len() / stride_of(entries);
    assert!(n > 0, "the scratch holds a slot's logits");
    n
}

/// The token table (V, E) as output matrix, and its bias (V).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputWeights {
    /// The shared token table.
    pub table: Weight,
    /// A bias for each entry.
    pub bias: Weight,
    /// Entries (V).
    pub entries: usize,
    /// Width (E).
    pub width: usize,
}

/// How replacements are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step.
    pub step: u32,
    /// What logits are divided by before noise is added.
    pub temperature: f32,
    /// Takes 1000 from the true entry's logit, so that a replacement is never the original.
    pub disallow_correct: bool,
}

/// What the op says, summed over slots: added to, not overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlmSum {
    /// Cross-entropy in nats.
    Loss = 0,
    /// Slots whose best entry is the target.
    Correct = 1,
    /// Slots whose sample is the target.
    SampledCorrect = 2,
}

/// Number of [`MlmSum`]s.
pub const MLM_SUMS: usize = 3;

/// Masked language modelling.
pub trait MaskedLm: Memory {
    /// `x` (slots, E), `targets` (slots; [`IGNORED`](super::losses::IGNORED) in the tail, whose gradients and samples are
    /// zero). `slots` gives each slot's sequence and its number among that sequence's slots. Adds to `sums`
    /// ([`MLM_SUMS`]). Overwrites `samples` (slots) if sampling is asked for. With `gradient` `(scale, dx)`, multiplies the
    /// summed loss by `scale`, overwrites `dx` and adds to the gradients of table and bias. `scratch` holds a row of
    /// [`stride_of`] V for each slot that is taken at a time.
    fn masked_lm(
        &mut self,
        x: Act,
        weights: OutputWeights,
        targets: Ints,
        slots: Rows,
        sampling: Option<(Sampling, Ints)>,
        gradient: Option<(f32, Act)>,
        sums: Real,
        scratch: Real,
    );
}
