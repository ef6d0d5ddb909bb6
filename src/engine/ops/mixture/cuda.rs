//! Weighted means on an accelerator: a sequence a block, its rows by warps whose sums are added up in order.

use bytemuck::{Pod, Zeroable};

use super::{Mixed, Mixture};
use crate::arena::{Act, Real};
use crate::cuda::driver::{Driver, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, ROW_THREADS, count};
use crate::ops::losses::Choices;

pub(crate) static SOURCE: Source = Source {
    name: "mixture",
    text: include_str!("kernel.cu"),
};
static FORWARD: Kernel = Kernel {
    source: &SOURCE,
    name: "mixture_forward",
};
static BACKWARD: Kernel = Kernel {
    source: &SOURCE,
    name: "mixture_backward",
};

/// Threads that make one mean.
const THREADS: u32 = 512;
/// Blocks that share the rows of a sequence.
const SHARES: u32 = 8;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct MixtureArguments {
    x: Pointer,
    logits: Pointer,
    starts: Pointer,
    allowed: Pointer,
    weights: Pointer,
    y: Pointer,
    rows: u32,
    sequences: u32,
    width: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct MixtureBackwardArguments {
    dy: Pointer,
    x: Pointer,
    y: Pointer,
    starts: Pointer,
    weights: Pointer,
    dx: Pointer,
    d_logits: Pointer,
    sequences: u32,
    width: u32,
}

impl<D: Driver> Mixture for Cuda<D> {
    fn mixture(
        &mut self,
        x: Act,
        width: usize,
        logits: Real,
        choices: Choices,
        weights: Real,
        y: Act,
    ) {
        let sequences = choices.sequences;
        let arguments = MixtureArguments {
            x: self.act(x),
            logits: self.real(logits),
            starts: self.int(sequences.starts),
            allowed: self.int(choices.allowed),
            weights: self.real(weights),
            y: self.act(y),
            rows: count(weights.len()),
            sequences: count(sequences.count),
            width: count(width),
            unused: 0,
        };
        let grid = Grid::row(sequences.count + 1, THREADS);
        self.launch(&FORWARD, grid, &arguments);
    }

    fn mixture_backward(
        &mut self,
        dy: Act,
        made: Mixed,
        choices: Choices,
        dx: Act,
        d_logits: Real,
    ) {
        let sequences = choices.sequences;
        let arguments = MixtureBackwardArguments {
            dy: self.act(dy),
            x: self.act(made.x),
            y: self.act(made.y),
            starts: self.int(sequences.starts),
            weights: self.real(made.weights),
            dx: self.act(dx),
            d_logits: self.real(d_logits),
            sequences: count(sequences.count),
            width: count(made.width),
        };
        let mut grid = Grid::row(sequences.count, ROW_THREADS);
        grid.blocks[1] = SHARES;
        self.launch(&BACKWARD, grid, &arguments);
    }
}
