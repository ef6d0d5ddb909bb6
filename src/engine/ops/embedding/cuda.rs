//! Embeddings on an accelerator: a row a warp; gradients of the tables by sorted keys, so that they are added in order.

use bytemuck::{Pod, Zeroable};

use super::{Embedding, EmbeddingInputs, EmbeddingWeights};
use crate::arena::Act;
use crate::backend::{DropoutAt, Rows};
use crate::cuda::driver::{Driver, Kernel, Pointer, Source};
use crate::cuda::{Cuda, DropoutArguments, count, places, row_grid, sort};
use crate::ops::layernorm::NormSaved;
use crate::ops::layernorm::cuda::{by_width, widths};

pub(crate) static SOURCE: Source = Source {
    name: "embedding",
    text: include_str!("kernel.cu"),
};
static FORWARD: [Kernel; 5] = widths!(SOURCE, "embedding");

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct EmbeddingArguments {
    tokens: Pointer,
    positions: Pointer,
    types: Pointer,
    gain: Pointer,
    bias: Pointer,
    z: Pointer,
    y: Pointer,
    mean: Pointer,
    rstd: Pointer,
    token: Pointer,
    kind: Pointer,
    sequence: Pointer,
    position: Pointer,
    rows: u32,
    width: u32,
    eps: f32,
    unused: u32,
    dropout: DropoutArguments,
}

impl<D: Driver> Embedding for Cuda<D> {
    fn embedding(
        &mut self,
        inputs: EmbeddingInputs,
        weights: EmbeddingWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
        y: Act,
    ) {
        let norm = weights.norm;
        let [sequence, position] = places(self, rows);
        let arguments = EmbeddingArguments {
            tokens: self.value(weights.tokens),
            positions: self.value(weights.positions),
            types: self.value(weights.types),
            gain: self.value(norm.gain),
            bias: self.value(norm.bias),
            z: self.act(saved.z),
            y: self.act(y),
            mean: self.real(saved.mean),
            rstd: self.real(saved.rstd),
            token: self.int(inputs.ids),
            kind: self.int(inputs.types),
            sequence,
            position,
            rows: count(rows.count),
            width: count(norm.width),
            eps: norm.eps,
            unused: 0,
            dropout: self.dropout_arguments(dropout),
        };
        let kernel = by_width(&FORWARD, norm.width);
        self.launch(kernel, row_grid(rows.count), &arguments);
    }

    fn embedding_backward(
        &mut self,
        d: Act,
        inputs: EmbeddingInputs,
        weights: EmbeddingWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
    ) {
        self.norm_dropout_backward(d, saved, weights.norm, dropout, rows);
        let width = weights.norm.width;
        for (table, keys) in [
            (weights.tokens, inputs.ids),
            (weights.positions, rows.position),
            (weights.types, inputs.types),
        ] {
            let keyed = sort::Keyed {
                keys: self.int(keys),
                rows: self.act(d),
                n: rows.count,
                width,
                entries: table.len() / width,
            };
            let table = self.gradient(table);
            sort::add_rows(self, keyed, table);
        }
    }
}
