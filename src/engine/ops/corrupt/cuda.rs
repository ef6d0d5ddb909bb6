//! Replacement of tokens on an accelerator: a row a thread, then a slot a thread.

use bytemuck::{Pod, Zeroable};

use super::{Corrupt, Drawn};
use crate::arena::Ints;
use crate::cuda::driver::{Driver, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, count};

pub(crate) static SOURCE: Source = Source {
    name: "corrupt",
    text: include_str!("kernel.cu"),
};
static ROWS: Kernel = Kernel {
    source: &SOURCE,
    name: "corrupt_rows",
};
static SLOTS: Kernel = Kernel {
    source: &SOURCE,
    name: "corrupt_slots",
};

const THREADS: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct CorruptArguments {
    original: Pointer,
    real: Pointer,
    slot_rows: Pointer,
    samples: Pointer,
    ids: Pointer,
    labels: Pointer,
    rows: u32,
    slots: u32,
}

impl<D: Driver> Corrupt for Cuda<D> {
    fn corrupt(&mut self, original: Ints, drawn: Drawn, real: Ints, ids: Ints, labels: Ints) {
        let (rows, slots) = (original.len(), drawn.rows.len());
        assert_eq!([real, ids, labels].map(Ints::len), [rows; 3], "by row");
        assert_eq!(drawn.samples.len(), slots, "by slot");
        let arguments = CorruptArguments {
            original: self.int(original),
            real: self.int(real),
            slot_rows: self.int(drawn.rows),
            samples: self.int(drawn.samples),
            ids: self.int(ids),
            labels: self.int(labels),
            rows: count(rows),
            slots: count(slots),
        };
        for (kernel, n) in [(&ROWS, rows), (&SLOTS, slots)] {
            let grid = Grid::row(n.div_ceil(THREADS as usize), THREADS);
            self.launch(kernel, grid, &arguments);
        }
    }
}
