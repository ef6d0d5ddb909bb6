//! The generator's loss on an accelerator: logits of some slots by one product, a block for each slot's row, the gradient in
//! the logits' place, and products for what it goes to.

use bytemuck::{Pod, Zeroable};

use super::{MLM_SUMS, MaskedLm, OutputWeights, Sampling, slots_at_a_time, stride_of};
use crate::arena::{Act, Ints, Real};
use crate::backend::Rows;
use crate::cuda::driver::{Driver, Element, Grid, Kernel, Matrix, Pointer, Product, Source};
use crate::cuda::{Cuda, count, sums};
use crate::random::{Purpose, Stream};

pub(crate) static SOURCE: Source = Source {
    name: "mlm",
    text: include_str!("kernel.cu"),
};
static SLOTS: Kernel = Kernel {
    source: &SOURCE,
    name: "mlm_slots",
};
static COLUMNS: Kernel = Kernel {
    source: &SOURCE,
    name: "mlm_columns",
};
static FOUND: Kernel = Kernel {
    source: &SOURCE,
    name: "mlm_found",
};

/// Threads that take a slot's row: two such blocks on a multiprocessor, so that their rows lie in the cache together.
const THREADS: u32 = 512;
/// Columns of a block that sums them, eight a thread.
const COLUMNS_PER_BLOCK: usize = 8 * 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SlotsArguments {
    logits: Pointer,
    targets: Pointer,
    sequence: Pointer,
    number: Pointer,
    samples: Pointer,
    found: Pointer,
    entries: u32,
    stride: u32,
    inverse: f32,
    penalty: f32,
    scale: f32,
    has_gradient: u32,
    key: [u32; 2],
    step: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ColumnArguments {
    gradient: Pointer,
    parts: Pointer,
    slots: u32,
    rows_of_block: u32,
    stride: u32,
    width: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct FoundArguments {
    found: Pointer,
    sums: Pointer,
    slots: u32,
    unused: u32,
}

/// The products of some slots.
#[derive(Clone, Copy)]
struct Slots {
    weights: OutputWeights,
    count: usize,
    x: Matrix,
    table: Matrix,
    logits: Pointer,
    stride: usize,
}

impl Slots {
    fn logits(&self, bias: Pointer) -> Product {
        Product {
            a: self.x,
            b: Matrix {
                transposed: true,
                ..self.table
            },
            c: Matrix {
                at: self.logits,
                element: Element::F32,
                stride: self.stride,
                transposed: false,
            },
            rows: self.count,
            columns: self.weights.entries,
            inner: self.weights.width,
            adds: false,
            bias: Some(bias),
        }
    }

    /// The gradient of the logits, which lies where they lay.
    fn gradient(&self, element: Element) -> Matrix {
        Matrix {
            at: self.logits,
            element,
            stride: self.stride * Element::F32.size() / element.size(),
            transposed: false,
        }
    }

    fn input_gradient(&self, dx: Pointer) -> Product {
        Product {
            a: self.gradient(self.x.element),
            b: self.table,
            c: Matrix { at: dx, ..self.x },
            rows: self.count,
            columns: self.weights.width,
            inner: self.weights.entries,
            adds: false,
            bias: None,
        }
    }

    fn table_gradient(&self, d_table: Pointer) -> Product {
        Product {
            a: Matrix {
                transposed: true,
                ..self.gradient(self.x.element)
            },
            b: self.x,
            c: Matrix {
                at: d_table,
                element: Element::F32,
                ..self.table
            },
            rows: self.weights.entries,
            columns: self.weights.width,
            inner: self.count,
            adds: true,
            bias: None,
        }
    }
}

impl<D: Driver> Cuda<D> {
    /// `bias gradient += sums over the slots of the logits' gradient`, by blocks and then in order.
    fn add_to_bias(&mut self, slots: &Slots, parts: Pointer) {
        let (rows_of_block, blocks) = sums::split(slots.count);
        let gradient = slots.gradient(slots.x.element);
        let arguments = ColumnArguments {
            gradient: gradient.at,
            parts,
            slots: count(slots.count),
            rows_of_block: count(rows_of_block),
            stride: count(gradient.stride),
            width: count(slots.stride),
        };
        let mut grid = Grid::row(slots.stride.div_ceil(COLUMNS_PER_BLOCK), 256);
        grid.blocks[1] = count(blocks);
        self.launch(&COLUMNS, grid, &arguments);
        let OutputWeights { entries, bias, .. } = slots.weights;
        let to = self.gradient(bias);
        sums::add(self, parts, blocks, slots.stride, entries, to);
    }
}

impl<D: Driver> MaskedLm for Cuda<D> {
    fn masked_lm(
        &mut self,
        x: Act,
        weights: OutputWeights,
        targets: Ints,
        slots: Rows,
        sampling: Option<(Sampling, Ints)>,
        gradient: Option<(f32, Act)>,
        sums: Real,
        scratch: Real,
    ) {
        let OutputWeights { entries, width, .. } = weights;
        let (element, stride) = (self.element(), stride_of(entries));
        let at_a_time = slots_at_a_time(scratch, entries);
        let matrix = |at| Matrix {
            at,
            element,
            stride: width,
            transposed: false,
        };
        // What is found in each slot, then sums of columns.
        let found_bytes = (slots.count * MLM_SUMS * 4).next_multiple_of(256);
        let (_, most) = sums::split(at_a_time.min(slots.count));
        let found = self.scratch(found_bytes + most * stride * 4);
        let drawing = sampling.map(|(sampling, _)| sampling);
        let key = drawing.map_or([0; 2], |drawing| {
            Stream::new(drawing.seed, Purpose::Gumbel).key()
        });
        for first in (0..slots.count).step_by(at_a_time) {
            let n = at_a_time.min(slots.count - first);
            let part = Slots {
                weights,
                count: n,
                x: matrix(self.act(x.part(first * width, n * width))),
                table: matrix(self.rounded(weights.table)),
                logits: self.real(scratch),
                stride,
            };
            let product = part.logits(self.value(weights.bias));
            self.product(&product);
            let of = |ints: Ints| self.int(ints.part(first, n));
            let arguments = SlotsArguments {
                logits: part.logits,
                targets: of(targets),
                sequence: of(slots.sequence),
                number: of(slots.position),
                samples: sampling.map_or(Pointer::default(), |(_, samples)| of(samples)),
                found: found.offset(first * MLM_SUMS * 4),
                entries: count(entries),
                stride: count(stride),
                inverse: drawing.map_or(1.0, |drawing| 1.0 / drawing.temperature),
                penalty: match drawing {
                    Some(drawing) if drawing.disallow_correct => 1000.0,
                    _ => 0.0,
                },
                scale: gradient.map_or(0.0, |(scale, _)| scale),
                has_gradient: u32::from(gradient.is_some()),
                key,
                step: drawing.map_or(0, |drawing| drawing.step),
                unused: 0,
            };
            self.launch(&SLOTS, Grid::row(n, THREADS), &arguments);
            let Some((_, dx)) = gradient else { continue };
            let dx = self.act(dx.part(first * width, n * width));
            let products = [
                part.input_gradient(dx),
                part.table_gradient(self.gradient(weights.table)),
            ];
            for product in products {
                self.product(&product);
            }
            self.add_to_bias(&part, found.offset(found_bytes));
        }
        let arguments = FoundArguments {
            found,
            sums: self.real(sums.first(MLM_SUMS)),
            slots: count(slots.count),
            unused: 0,
        };
        let is_any = usize::from(slots.count > 0);
        self.launch(&FOUND, Grid::row(is_any, 1024), &arguments);
    }
}
