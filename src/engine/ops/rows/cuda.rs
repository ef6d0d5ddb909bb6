//! Rows on an accelerator. Those that several indices name are summed by one warp, or one block where they are many.

use bytemuck::{Pod, Zeroable};

use super::RowOps;
use crate::arena::{Act, Ints};
use crate::backend::{DropoutAt, Rows};
use crate::cuda::driver::{Driver, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, DropoutArguments, count, places, row_grid};

pub(crate) static SOURCE: Source = Source {
    name: "rows",
    text: include_str!("kernel.cu"),
};
static GATHER: Kernel = Kernel {
    source: &SOURCE,
    name: "rows_gather",
};
static ORDER: Kernel = Kernel {
    source: &SOURCE,
    name: "rows_order",
};
static SCATTER: Kernel = Kernel {
    source: &SOURCE,
    name: "rows_scatter",
};
static DROPOUT: Kernel = Kernel {
    source: &SOURCE,
    name: "rows_dropout",
};

/// Threads of the block that looks whether an index ascends.
const ORDER_THREADS: u32 = 1024;
/// Columns of a block that puts rows back.
const COLUMNS_PER_BLOCK: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct GatherArguments {
    x: Pointer,
    index: Pointer,
    y: Pointer,
    n: u32,
    width: u32,
    stride: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OrderArguments {
    index: Pointer,
    descents: Pointer,
    n: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ScatterArguments {
    dy: Pointer,
    index: Pointer,
    descents: Pointer,
    dx: Pointer,
    n: u32,
    width: u32,
    stride: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowDropoutArguments {
    x: Pointer,
    y: Pointer,
    sequence: Pointer,
    position: Pointer,
    rows: u32,
    width: u32,
    dropout: DropoutArguments,
}

/// Columns of rows that are wider than what is taken of them.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) of: Act,
    /// Width of its rows.
    pub(crate) stride: usize,
    /// Which column is the first that is taken.
    pub(crate) first: usize,
}

impl<D: Driver> Cuda<D> {
    /// The address of the first element of the part; asserts that `n` rows are there.
    fn columns(&self, part: Columns, n: usize, width: usize) -> Pointer {
        assert!(part.first + width <= part.stride, "columns lie inside rows");
        let whole = self.act(part.of.first(n * part.stride));
        whole.offset(part.first * self.element().size())
    }

    /// `y[i] = x[index[i]]`, where `y` may be a part of wider rows.
    pub(crate) fn pick(&mut self, x: Act, index: Ints, width: usize, y: Columns) {
        let n = index.len();
        let arguments = GatherArguments {
            x: self.act(x),
            index: self.int(index),
            y: self.columns(y, n, width),
            n: count(n),
            width: count(width),
            stride: count(y.stride),
            unused: 0,
        };
        self.launch(&GATHER, row_grid(n), &arguments);
    }

    /// `dx[index[i]] += dy[i]`, where `dy` may be a part of wider rows.
    pub(crate) fn put_back(&mut self, dy: Columns, index: Ints, width: usize, dx: Act) {
        let n = index.len();
        let descents = self.scratch(4);
        let order = OrderArguments {
            index: self.int(index),
            descents,
            n: count(n),
            unused: 0,
        };
        self.launch(&ORDER, Grid::row(1, ORDER_THREADS), &order);
        let arguments = ScatterArguments {
            dy: self.columns(dy, n, width),
            index: self.int(index),
            descents,
            dx: self.act(dx),
            n: count(n),
            width: count(width),
            stride: count(dy.stride),
            unused: 0,
        };
        let mut grid = row_grid(n);
        grid.blocks[1] = count(width.div_ceil(COLUMNS_PER_BLOCK));
        self.launch(&SCATTER, grid, &arguments);
    }
}

impl<D: Driver> RowOps for Cuda<D> {
    fn gather(&mut self, x: Act, index: Ints, width: usize, y: Act) {
        let y = Columns {
            of: y,
            stride: width,
            first: 0,
        };
        self.pick(x, index, width, y);
    }

    fn gather_backward(&mut self, dy: Act, index: Ints, width: usize, dx: Act) {
        let dy = Columns {
            of: dy,
            stride: width,
            first: 0,
        };
        self.put_back(dy, index, width, dx);
    }

    fn dropout(&mut self, x: Act, width: usize, at: DropoutAt, rows: Rows, y: Act) {
        let n = rows.count * width;
        let [sequence, position] = places(self, rows);
        let arguments = RowDropoutArguments {
            x: self.act(x.first(n)),
            y: self.act(y.first(n)),
            sequence,
            position,
            rows: count(rows.count),
            width: count(width),
            dropout: self.dropout_arguments(at),
        };
        self.launch(&DROPOUT, row_grid(rows.count), &arguments);
    }
}
