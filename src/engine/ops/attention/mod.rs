//! Attention over sequences of different lengths, without padding and without keeping scores. Spec C.1.
//!
//! `o = dropout(softmax(q kᵀ / sqrt(D))) v` for each sequence and head. Queries, keys and values lie side by side in
//! one row of `3 H`; head `a` has columns `a D .. (a + 1) D` of each third. A batch may have rows behind its last sequence,
//! so that batches of one size can be replayed: they belong to none, and all that is written for them is zeros.

use crate::arena::{Act, Real};
use crate::backend::{DropoutAt, Memory, Sequences};

mod cpu;
pub(crate) mod cuda;

/// How rows are read as heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many (A).
    pub count: usize,
    /// Width of each (D).
    pub size: usize,
}

impl Heads {
    /// Width of all (H).
    #[must_use]
    pub fn width(self) -> usize {
        self.count * self.size
    }
}

/// Bytes between kernels of an accelerator ([`Plan::between`](crate::arena::Plan::between)): a number a query and head.
#[must_use]
pub fn between(tokens: usize, heads: usize) -> usize {
    tokens * heads * 4
}

/// Attention.
pub trait Attention: Memory {
    /// `qkv` (tokens, 3 H) to `context` (tokens, H). Overwrites `context` and `lse` (A, tokens), the logarithm of each
    /// query's sum of exponentials, from which the backward pass finds its probabilities again. The tail is zero.
    fn attention(
        &mut self,
        qkv: Act,
        heads: Heads,
        sequences: Sequences,
        dropout: DropoutAt,
        lse: Real,
        context: Act,
    );

    /// Overwrites `d_qkv` from `d_context`. The tail is zero.
    fn attention_backward(
        &mut self,
        d_context: Act,
        qkv: Act,
        context: Act,
        heads: Heads,
        sequences: Sequences,
        dropout: DropoutAt,
        lse: Real,
        d_qkv: Act,
    );
}
