//! Rows added up by key, in order: keys are sorted with the rows' numbers, and rows of equal keys are summed. Knows no op.

use bytemuck::{Pod, Zeroable};

use super::driver::{Driver, Grid, Kernel, Pointer, Source};
use super::{Cuda, ROW_THREADS, ROWS_PER_BLOCK, count};

pub(crate) static SOURCE: Source = Source {
    name: "sort",
    text: include_str!("sort.cu"),
};
static COUNT: Kernel = Kernel {
    source: &SOURCE,
    name: "sort_count",
};
static SCAN: Kernel = Kernel {
    source: &SOURCE,
    name: "sort_scan",
};
static MOVE: Kernel = Kernel {
    source: &SOURCE,
    name: "sort_move",
};
static ADD_ROWS: Kernel = Kernel {
    source: &SOURCE,
    name: "sort_add_rows",
};
static JOIN_ROWS: Kernel = Kernel {
    source: &SOURCE,
    name: "sort_join_rows",
};

/// Bits of a key that one pass sorts by, and the values that they have.
const BITS: u32 = 8;
const DIGITS: usize = 1 << BITS;
/// Entries that a block sorts.
const TILE: usize = 1024;
/// Most chunks that sorted entries are cut into, and fewest entries of one.
const MOST_CHUNKS: usize = 2048;
const FEWEST: usize = 64;
/// Columns of a warp.
const COLUMNS: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SortArguments {
    keys: Pointer,
    order: Pointer,
    keys_to: Pointer,
    order_to: Pointer,
    counts: Pointer,
    bases: Pointer,
    n: u32,
    blocks: u32,
    shift: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowsArguments {
    keys: Pointer,
    order: Pointer,
    rows: Pointer,
    table: Pointer,
    parts: Pointer,
    n: u32,
    width: u32,
    entries_of_chunk: u32,
    chunks: u32,
}

/// Parts of the scratch, one behind another.
struct Room {
    at: Pointer,
    bytes: usize,
}

impl Room {
    fn take(&mut self, words: usize) -> Pointer {
        let at = self.at.offset(self.bytes);
        self.bytes += (words * 4).next_multiple_of(256);
        at
    }
}

/// Rows that go to entries of a table.
#[derive(Clone, Copy)]
pub(crate) struct Keyed {
    /// The entry of each row.
    pub(crate) keys: Pointer,
    /// The rows, in the activations' type.
    pub(crate) rows: Pointer,
    /// How many.
    pub(crate) n: usize,
    /// Numbers of a row.
    pub(crate) width: usize,
    /// Entries of the table.
    pub(crate) entries: usize,
}

/// `table[keys[i]] += rows[i]`, in f32; rows of an entry are added in their order, in a grouping that `n` alone decides.
pub(crate) fn add_rows<D: Driver>(device: &mut Cuda<D>, keyed: Keyed, table: Pointer) {
    let Keyed { n, width, .. } = keyed;
    let entries_of_chunk = n.div_ceil(MOST_CHUNKS).max(FEWEST);
    let chunks = n.div_ceil(entries_of_chunk);
    let blocks = n.div_ceil(TILE);
    let mut room = Room {
        at: device.scratch(0),
        bytes: 0,
    };
    let buffers = [(); 2].map(|()| [room.take(n), room.take(n)]);
    let counts = room.take(DIGITS * blocks);
    let bases = room.take(DIGITS);
    let parts = room.take(chunks * 2 * width);
    // So much is there.
    device.scratch(room.bytes);
    let [mut keys, mut order] = [keyed.keys, Pointer::default()];
    // Keys are below the number of entries, so higher bits are 0. One pass at least, which numbers the rows.
    let bits = usize::BITS - keyed.entries.saturating_sub(1).leading_zeros();
    for pass in 0..bits.div_ceil(BITS).max(1) {
        let [keys_to, order_to] = buffers[pass as usize % 2];
        let arguments = SortArguments {
            keys,
            order,
            keys_to,
            order_to,
            counts,
            bases,
            n: count(n),
            blocks: count(blocks),
            shift: pass * BITS,
            unused: 0,
        };
        device.launch(&COUNT, Grid::row(blocks, 256), &arguments);
        device.launch(&SCAN, Grid::row(usize::from(n > 0), 1024), &arguments);
        device.launch(&MOVE, Grid::row(blocks, 256), &arguments);
        (keys, order) = (keys_to, order_to);
    }
    let arguments = RowsArguments {
        keys,
        order,
        rows: keyed.rows,
        table,
        parts,
        n: count(n),
        width: count(width),
        entries_of_chunk: count(entries_of_chunk),
        chunks: count(chunks),
    };
    let groups = width.div_ceil(COLUMNS);
    let grid = Grid::row((chunks * groups).div_ceil(ROWS_PER_BLOCK), ROW_THREADS);
    device.launch(&ADD_ROWS, grid, &arguments);
    let mut grid = Grid::row(chunks, 256);
    grid.blocks[1] = count(groups);
    device.launch(&JOIN_ROWS, grid, &arguments);
}
