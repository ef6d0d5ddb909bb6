//! `y = dropout(LN(token + position + type))`: what a sequence enters the encoder as. Spec C.1.

use crate::arena::{Act, Ints, Weight};
use crate::backend::{DropoutAt, Memory, Rows};
use crate::ops::layernorm::{NormSaved, NormWeights};

mod cpu;
pub(crate) mod cuda;

/// The three tables and their normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingWeights {
    /// Token table (V, E).
    pub tokens: Weight,
    /// Position table (positions, E).
    pub positions: Weight,
    /// Segment table (segments, E).
    pub types: Weight,
    /// Normalisation of their sum.
    pub norm: NormWeights,
}

/// What goes in, by row.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingInputs {
    /// Token ids.
    pub ids: Ints,
    /// Segments.
    pub types: Ints,
}

/// Bytes between kernels of an accelerator ([`Plan::between`](crate::arena::Plan::between)): ids and their order, twice, and
/// counts of a quarter of them, which ops on sequences and masked slots stay below.
#[must_use]
pub fn between(tokens: usize) -> usize {
    tokens * 20
}

/// Embeddings.
pub trait Embedding: Memory {
    /// Overwrites `y` (rows, E) and what is saved.
    fn embedding(
        &mut self,
        inputs: EmbeddingInputs,
        weights: EmbeddingWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
        y: Act,
    );

    /// Adds to the gradients of tables, gain and bias, rows in order. `d` comes as `dy` and is spoilt.
    fn embedding_backward(
        &mut self,
        d: Act,
        inputs: EmbeddingInputs,
        weights: EmbeddingWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
    );
}
