//! Losses over the few outputs of a head, with their gradients. All in f32; sums in order, so equal inputs give equal
//! bits. Each adds to its sums and overwrites its gradient.

use crate::arena::{Ints, Real};
use crate::backend::{Memory, Sequences};

mod cpu;
pub(crate) mod cuda;

/// A label that does not count.
pub const IGNORED: u32 = u32::MAX;

/// What [`Losses::replaced_token`] sums over rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtdSum {
    /// Binary cross-entropy in nats.
    Loss = 0,
    /// Rows judged rightly (`logit > 0` means replaced).
    Correct = 1,
    /// Rows judged replaced.
    Predicted = 2,
    /// Rows that are replaced.
    Replaced = 3,
    /// Rows that are both.
    Both = 4,
}

/// Number of [`RtdSum`]s.
pub const RTD_SUMS: usize = 5;

/// Rows of each sequence of which one is to be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// The sequences.
    pub sequences: Sequences,
    /// By row: 1 where it may be chosen, else 0.
    pub allowed: Ints,
}

/// Losses of heads. `scale` multiplies the sum over rows, in the gradient only.
pub trait Losses: Memory {
    /// Binary cross-entropy of `logits` (rows) against `targets` (rows; 0, 1, or [`IGNORED`]). Spec D.3.
    fn replaced_token(
        &mut self,
        logits: Real,
        targets: Ints,
        gradient: Option<(f32, Real)>,
        sums: Real,
    );

    /// Softmax cross-entropy of `logits` (rows, classes) against `labels` (rows; a class or [`IGNORED`]); `sums` (1).
    fn cross_entropy(
        &mut self,
        logits: Real,
        labels: Ints,
        classes: usize,
        gradient: Option<(f32, Real)>,
        sums: Real,
    );

    /// Half of the cross-entropies of start and end over the rows of each sequence; `logits` (rows, 2), `start` and
    /// `end` (sequences) count from the sequence's first row. `sums` (1). Spec E.5.
    fn span(
        &mut self,
        logits: Real,
        sequences: Sequences,
        start: Ints,
        end: Ints,
        gradient: Option<(f32, Real)>,
        sums: Real,
    );

    /// `weight` times the cross-entropy of `logits` (rows) over the rows of each sequence that may be chosen; `labels`
    /// (sequences) count from the sequence's first row and may be chosen. Other rows have no gradient. `sums` (1).
    /// Spec E.5, native head.
    fn choice(
        &mut self,
        logits: Real,
        choices: Choices,
        labels: Ints,
        weight: f32,
        gradient: Option<(f32, Real)>,
        sums: Real,
    );

    /// Squared differences of `predictions` and `targets` (rows); `sums` (1).
    fn squared_error(
        &mut self,
        predictions: Real,
        targets: Real,
        gradient: Option<(f32, Real)>,
        sums: Real,
    );
}
