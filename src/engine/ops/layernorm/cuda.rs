//! Layer normalisation on an accelerator: a row a warp; gains' and biases' gradients by block, then added up in order.

use bytemuck::{Pod, Zeroable};

use super::{LayerNorm, NormSaved, NormWeights};
use crate::arena::Act;
use crate::backend::{DropoutAt, Rows};
use crate::cuda::driver::{Driver, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, DropoutArguments, ROW_THREADS, WIDEST_ROW, count, places, row_grid, sums};

/// The kernels of a source for rows of 1, 2, 3, 4 and 8 times 256 numbers.
macro_rules! widths {
    ($source:ident, $name:literal) => {
        $crate::ops::layernorm::cuda::widths!($source, $name, "1", "2", "3", "4", "8")
    };
    ($source:ident, $name:literal, $($chunks:literal),*) => {
        [$(Kernel { source: &$source, name: concat!($name, "_", $chunks) }),*]
    };
}
pub(crate) use widths;

pub(crate) static SOURCE: Source = Source {
    name: "layernorm",
    text: include_str!("kernel.cu"),
};
static FORWARD: [Kernel; 5] = widths!(SOURCE, "layernorm_forward");
static BACKWARD: [Kernel; 5] = widths!(SOURCE, "layernorm_backward");

/// Which of the kernels takes rows of `width`.
pub(crate) fn by_width(kernels: &'static [Kernel; 5], width: usize) -> &'static Kernel {
    assert!(width <= WIDEST_ROW, "rows are at most {WIDEST_ROW} wide");
    &kernels[width.div_ceil(256).clamp(1, 5) - 1]
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormArguments {
    h: Pointer,
    residual: Pointer,
    gain: Pointer,
    bias: Pointer,
    z: Pointer,
    y: Pointer,
    mean: Pointer,
    rstd: Pointer,
    sequence: Pointer,
    position: Pointer,
    rows: u32,
    width: u32,
    eps: f32,
    unused: u32,
    dropout: DropoutArguments,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormBackwardArguments {
    d: Pointer,
    z: Pointer,
    gain: Pointer,
    mean: Pointer,
    rstd: Pointer,
    dh: Pointer,
    parts: Pointer,
    sequence: Pointer,
    position: Pointer,
    rows: u32,
    width: u32,
    rows_of_block: u32,
    drops_dy: u32,
    dropout: DropoutArguments,
}

/// What stands before the normalisation, or what is dropped behind it.
#[derive(Clone, Copy)]
struct Before {
    h: Pointer,
    residual: Pointer,
    places: [Pointer; 2],
    dropout: DropoutArguments,
    drops_dy: bool,
}

impl Before {
    const NOTHING: Self = Self {
        h: Pointer(0),
        residual: Pointer(0),
        places: [Pointer(0); 2],
        dropout: DropoutArguments::NOTHING,
        drops_dy: false,
    };
}

impl<D: Driver> Cuda<D> {
    fn normalise(
        &mut self,
        before: Before,
        norm: NormWeights,
        rows: usize,
        saved: NormSaved,
        y: Act,
    ) {
        let [sequence, position] = before.places;
        let arguments = NormArguments {
            h: before.h,
            residual: before.residual,
            gain: self.value(norm.gain),
            bias: self.value(norm.bias),
            z: self.act(saved.z),
            y: self.act(y),
            mean: self.real(saved.mean),
            rstd: self.real(saved.rstd),
            sequence,
            position,
            rows: count(rows),
            width: count(norm.width),
            eps: norm.eps,
            unused: 0,
            dropout: before.dropout,
        };
        self.launch(by_width(&FORWARD, norm.width), row_grid(rows), &arguments);
    }

    fn normalise_backward(
        &mut self,
        d: Act,
        saved: NormSaved,
        norm: NormWeights,
        before: Before,
        rows: usize,
        dh: Pointer,
    ) {
        let width = norm.width;
        let (rows_of_block, blocks) = sums::split(rows);
        let parts = self.scratch(blocks * 2 * width * 4);
        let [sequence, position] = before.places;
        let arguments = NormBackwardArguments {
            d: self.act(d),
            z: self.act(saved.z),
            gain: self.value(norm.gain),
            mean: self.real(saved.mean),
            rstd: self.real(saved.rstd),
            dh,
            parts,
            sequence,
            position,
            rows: count(rows),
            width: count(width),
            rows_of_block: count(rows_of_block),
            drops_dy: u32::from(before.drops_dy),
            dropout: before.dropout,
        };
        self.launch(
            by_width(&BACKWARD, width),
            Grid::row(blocks, ROW_THREADS),
            &arguments,
        );
        let (gain, bias) = (self.gradient(norm.gain), self.gradient(norm.bias));
        sums::add(self, parts, blocks, 2 * width, width, gain);
        sums::add(
            self,
            parts.offset(width * 4),
            blocks,
            2 * width,
            width,
            bias,
        );
    }
}

impl<D: Driver> Cuda<D> {
    /// The gradient of `y = dropout(LN(z))`: `d` comes as `dy` and leaves as `dz`; gradients of gain and bias are added to.
    pub(crate) fn norm_dropout_backward(
        &mut self,
        d: Act,
        saved: NormSaved,
        norm: NormWeights,
        dropout: DropoutAt,
        rows: Rows,
    ) {
        let before = Before {
            places: places(self, rows),
            dropout: self.dropout_arguments(dropout),
            drops_dy: true,
            ..Before::NOTHING
        };
        self.normalise_backward(d, saved, norm, before, rows.count, Pointer::default());
    }
}

impl<D: Driver> LayerNorm for Cuda<D> {
    fn residual_norm(
        &mut self,
        h: Act,
        residual: Act,
        norm: NormWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
        y: Act,
    ) {
        let before = Before {
            h: self.act(h),
            residual: self.act(residual),
            places: places(self, rows),
            dropout: self.dropout_arguments(dropout),
            drops_dy: false,
        };
        self.normalise(before, norm, rows.count, saved, y);
    }

    fn residual_norm_backward(
        &mut self,
        d: Act,
        saved: NormSaved,
        norm: NormWeights,
        dropout: DropoutAt,
        rows: Rows,
        dh: Act,
    ) {
        let before = Before {
            places: places(self, rows),
            dropout: self.dropout_arguments(dropout),
            ..Before::NOTHING
        };
        let dh = self.act(dh);
        self.normalise_backward(d, saved, norm, before, rows.count, dh);
    }

    fn norm(&mut self, norm: NormWeights, rows: usize, saved: NormSaved, y: Act) {
        self.normalise(Before::NOTHING, norm, rows, saved, y);
    }

    fn norm_backward(&mut self, d: Act, saved: NormSaved, norm: NormWeights, rows: usize) {
        self.normalise_backward(d, saved, norm, Before::NOTHING, rows, Pointer::default());
    }
}
