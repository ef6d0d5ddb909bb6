//! The mean row of a sequence, weighted by a softmax over some of its rows. Spec E.5, native head. Knows no head.

use crate::arena::{Act, Real};
use crate::backend::Memory;
use crate::ops::losses::Choices;

mod cpu;
pub(crate) mod cuda;

/// Weighted means of rows and their gradients.
pub trait Mixture: Memory {
    /// `p = softmax(logits)` over the rows of each sequence that may be chosen, 0 elsewhere; `y_s = sum of p_i x_i`.
    ///
    /// `x` (rows, `width`), `logits` and `p` (rows), `y` (sequences, `width`). Overwrites `p` and `y`.
    fn mixture(
        &mut self,
        x: Act,
        width: usize,
        logits: Real,
        choices: Choices,
        weights: Real,
        y: Act,
    );

    /// `dx_i += p_i dy_s` and `d_logits_i += p_i (x_i - y_s) · dy_s`, with what [`mixture`](Self::mixture) wrote.
    fn mixture_backward(&mut self, dy: Act, made: Mixed, choices: Choices, dx: Act, d_logits: Real);
}

/// What a mixture was made of, and what it made.
#[derive(Clone, Copy, Debug)]
pub struct Mixed {
    /// The rows.
    pub x: Act,
    /// Their width.
    pub width: usize,
    /// `p`, by row.
    pub weights: Real,
    /// The means, by sequence.
    pub y: Act,
}
