//! Attention on an accelerator: on tensor cores where elements and heads allow it, else a row a warp. No length is known
//! here: blocks find their rows by themselves, so that a launch fits every batch of as many tokens and sequences.

use bytemuck::{Pod, Zeroable};

use super::{Attention, Heads, between};
use crate::arena::{Act, Real};
use crate::backend::{DropoutAt, Sequences};
use crate::cuda::driver::{Driver, Element, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, DropoutArguments, count};

pub(crate) static FORWARD: Source = Source {
    name: "attention_forward",
    text: concat!(
        include_str!("common.cuh"),
        include_str!("tiles.cuh"),
        include_str!("forward.cu")
    ),
};
pub(crate) static BACKWARD: Source = Source {
    name: "attention_backward",
    text: concat!(
        include_str!("common.cuh"),
        include_str!("tiles.cuh"),
        include_str!("backward.cu")
    ),
};
pub(crate) static PLAIN: Source = Source {
    name: "attention_plain",
    text: concat!(include_str!("common.cuh"), include_str!("plain.cu")),
};

/// The kernels of a way to compute it.
struct Kernels {
    forward: Kernel,
    d_queries: Kernel,
    d_keys: Kernel,
}

/// Those on tensor cores, for heads of at most so many columns.
struct Tiled {
    size: usize,
    kernels: Kernels,
}

macro_rules! kernel {
    ($source:ident, $name:expr) => {
        Kernel {
            source: &$source,
            name: $name,
        }
    };
}

macro_rules! tiled {
    ($size:literal) => {
        Tiled {
            size: $size,
            kernels: Kernels {
                forward: kernel!(FORWARD, concat!("attention_forward_", $size)),
                d_queries: kernel!(BACKWARD, concat!("attention_d_queries_", $size)),
                d_keys: kernel!(BACKWARD, concat!("attention_d_keys_", $size)),
            },
        }
    };
}

static TILED: [Tiled; 4] = [tiled!(16), tiled!(32), tiled!(64), tiled!(128)];
static ROW_A_WARP: Kernels = Kernels {
    forward: kernel!(PLAIN, "attention_plain_forward"),
    d_queries: kernel!(PLAIN, "attention_plain_d_queries"),
    d_keys: kernel!(PLAIN, "attention_plain_d_keys"),
};

/// Rows of a block on tensor cores: `ROWS` of `common.cuh`.
const ROWS: usize = 128;
/// Rows of a tile in shared memory: `TILE` of `tiles.cuh`.
const TILE: usize = 64;
/// Bytes of shared memory, at most, that kernels on tensor cores have beside tiles.
const DECLARED: usize = 4 << 10;
/// Columns that are copied at once.
const PIECE: usize = 8;
/// Most warps of a block where each takes a row.
const MOST_WARPS: usize = 8;

/// `AttentionArguments` of `common.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Arguments {
    qkv: Pointer,
    context: Pointer,
    lse: Pointer,
    d_context: Pointer,
    delta: Pointer,
    d_qkv: Pointer,
    starts: Pointer,
    keys: Pointer,
    index: Pointer,
    tokens: u32,
    count: u32,
    heads: u32,
    size: u32,
    by: f32,
    by_of_two: f32,
    dropout: DropoutArguments,
}

/// Bytes of shared memory of a warp that takes a row: `room_of_warp` of `plain.cu`.
fn room_of_warp(heads: Heads) -> usize {
    (4 * heads.size + 2 * 32) * 4
}

/// Warps of a block that have room in so many bytes, one at least; what a row's numbers are does not hang on them.
fn warps(heads: Heads, shared: u32) -> usize {
    let room = shared as usize / room_of_warp(heads);
    room.clamp(1, MOST_WARPS)
}

/// How a kernel for these rows and heads is launched on a device whose blocks may have so many bytes of shared memory.
fn way(
    element: Element,
    shared: u32,
    heads: Heads,
    tokens: usize,
    sequences: usize,
) -> (&'static Kernels, Grid) {
    // Kernels for heads of 64 are for those alone.
    let fits = |tiled: &&Tiled| match tiled.size {
        64 => heads.size == 64,
        most => heads.size <= most,
    };
    // Two tiles, twice.
    let tiles = |tiled: &Tiled| 4 * TILE * (tiled.size + PIECE) * element.size();
    let tiled = TILED.iter().find(fits);
    match tiled.filter(|tiled| tiles(tiled) + DECLARED <= shared as usize) {
        Some(tiled) if element == Element::Bf16 && heads.size.is_multiple_of(PIECE) => {
            // Each sequence may begin and end inside of 128 rows, and what lies behind the last counts as one.
            let blocks = (tokens / ROWS + sequences + 1) * heads.count;
            let mut grid = Grid::row(blocks, if tiled.size <= 64 { 128 } else { 256 });
            grid.shared = count(tiles(tiled));
            (&tiled.kernels, grid)
        }
        _ => {
            let warps = warps(heads, shared);
            let blocks = (tokens * heads.count).div_ceil(warps);
            let mut grid = Grid::row(blocks, count(warps * 32));
            grid.shared = count(warps * room_of_warp(heads));
            (&ROW_A_WARP, grid)
        }
    }
}

impl<D: Driver> Cuda<D> {
    fn attention_arguments(
        &self,
        qkv: Act,
        context: Act,
        heads: Heads,
        sequences: Sequences,
        dropout: DropoutAt,
        lse: Real,
    ) -> (Arguments, usize) {
        let tokens = context.len() / heads.width();
        assert_eq!(context.len(), tokens * heads.width(), "whole rows");
        assert_eq!(qkv.len(), 3 * context.len(), "queries, keys and values");
        assert_eq!(lse.len(), tokens * heads.count, "a number a query");
        let by = 1.0 / (heads.size as f32).sqrt();
        let arguments = Arguments {
            qkv: self.act(qkv),
            context: self.act(context),
            lse: self.real(lse),
            d_context: Pointer::default(),
            delta: Pointer::default(),
            d_qkv: Pointer::default(),
            starts: self.int(sequences.starts.first(sequences.count + 1)),
            keys: self.int(sequences.keys.first(sequences.count)),
            index: self.int(sequences.index.first(sequences.count)),
            tokens: count(tokens),
            count: count(sequences.count),
            heads: count(heads.count),
            size: count(heads.size),
            by,
            by_of_two: by * std::f32::consts::LOG2_E,
            dropout: self.dropout_arguments(dropout),
        };
        (arguments, tokens)
    }
}

impl<D: Driver> Attention for Cuda<D> {
    fn attention(
        &mut self,
        qkv: Act,
        heads: Heads,
        sequences: Sequences,
        dropout: DropoutAt,
        lse: Real,
        context: Act,
    ) {
        let (arguments, tokens) =
            self.attention_arguments(qkv, context, heads, sequences, dropout, lse);
        let shared = self.driver().facts().shared_per_block;
        let (kernels, grid) = way(self.element(), shared, heads, tokens, sequences.count);
        self.launch(&kernels.forward, grid, &arguments);
    }

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
    ) {
        let (arguments, tokens) =
            self.attention_arguments(qkv, context, heads, sequences, dropout, lse);
        assert_eq!(d_context.len(), context.len(), "as much as there is output");
        assert_eq!(d_qkv.len(), qkv.len(), "as much as there is input");
        let arguments = Arguments {
            d_context: self.act(d_context),
            delta: self.scratch(between(tokens, heads.count)),
            d_qkv: self.act(d_qkv),
            ..arguments
        };
        let shared = self.driver().facts().shared_per_block;
        let (kernels, grid) = way(self.element(), shared, heads, tokens, sequences.count);
        // In this order: the first leaves `delta` to the second.
        self.launch(&kernels.d_queries, grid, &arguments);
        self.launch(&kernels.d_keys, grid, &arguments);
    }
}
