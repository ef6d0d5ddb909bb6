//! Matrix products: in f32 through the `gemm` crate, of which this is the one door, or of operands rounded to bf16.

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

use super::Shared;
use super::bf16::{self, Packed};
use super::recorder::{Begins, ProductShape, Recorder};
use crate::arena::Weight;
use crate::backend::Precision;

/// Elements that one task of an elementwise pass takes.
const TASK: usize = 1 << 14;

/// A matrix in memory: where it begins and how far apart its rows and columns are.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) at: *const f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// The same for one that is written.
#[derive(Clone, Copy)]
pub(crate) struct MatrixMut {
    pub(crate) at: *mut f32,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl Matrix {
    /// Rows of `width` elements side by side.
    pub(crate) fn rows(values: &[f32], rows: usize, width: usize) -> Self {
        assert_eq!(values.len(), rows * width, "a matrix of this shape");
        Self {
            at: values.as_ptr(),
            row: width,
            column: 1,
        }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            at: self.at,
            row: self.column,
            column: self.row,
        }
    }
}

impl MatrixMut {
    /// Rows of `width` elements side by side.
    pub(crate) fn rows(values: &mut [f32], rows: usize, width: usize) -> Self {
        assert_eq!(values.len(), rows * width, "a matrix of this shape");
        Self {
            at: values.as_mut_ptr(),
            row: width,
            column: 1,
        }
    }
}

/// How many threads a product may use: all of the pool it runs on, or the calling one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    All,
    One,
}

/// `c = alpha * a b`, or `c += alpha * a b`; `a` (m, k), `b` (k, n), `c` (m, n).
///
/// # Safety
/// The matrices must lie in memory that may be read, and for `c` written, by this call alone.
pub(super) unsafe fn product(
    [m, n, k]: [usize; 3],
    alpha: f32,
    a: Matrix,
    b: Matrix,
    c: MatrixMut,
    add: bool,
    threads: Threads,
) {
    let parallelism = match threads {
        Threads::All => Parallelism::Rayon(0),
        Threads::One => Parallelism::None,
    };
    let signed = |stride: usize| isize::try_from(stride).expect("strides are small");
    // SAFETY: by the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.at,
            signed(c.column),
            signed(c.row),
            add,
            a.at,
            signed(a.column),
            signed(a.row),
            b.at,
            signed(b.column),
            signed(b.row),
            1.0_f32,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Onto<'a> {
    /// Nothing: the result is overwritten.
    Nothing,
    /// What the result holds.
    Result,
    /// These numbers in each row; the result is overwritten.
    Rows(&'a [f32]),
}

/// A weight as right operand: its numbers, and which it is, so that what is made of it can be kept.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    values: &'a [f32],
    at: Weight,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(all: &'a [f32], at: Weight) -> Self {
        Self {
            values: &all[at.range()],
            at,
        }
    }
}

/// Called for parts of a result that are done, by rows and columns; parts are apart and cover it.
pub(crate) type Done<'a> = &'a (dyn Fn(Shared<'_>, Range<usize>, Range<usize>) + Sync);

/// Writes `row` into each row, for a product to be added to.
fn spread(row: &[f32], y: &mut [f32]) {
    let rows = (TASK / row.len()).max(1);
    y.par_chunks_mut(rows * row.len()).for_each(|rows| {
        for to in rows.chunks_exact_mut(row.len()) {
            to.copy_from_slice(row);
        }
    });
}

/// Products of a device.
#[derive(Default)]
pub(crate) struct Products {
    precision: Precision,
    packed: Packed,
    recorder: Recorder,
}

impl Products {
    pub(crate) fn new(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// Whether operands are laid out for the processor's own instructions.
    fn is_packed(&self) -> bool {
        self.precision == Precision::Bf16 && bf16::is_native()
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// Forgets what was made of weights. To be called when one changes.
    pub(crate) fn weights_changed(&mut self) {
        self.packed.weights_changed();
    }

    pub(crate) fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    /// `c = alpha * a b`, or `c += alpha * a b`, in f32 on the calling thread: what tasks of an op take.
    ///
    /// # Safety
    /// As [`product`].
    pub(crate) unsafe fn inside(
        &self,
        shape: [usize; 3],
        alpha: f32,
        a: Matrix,
        b: Matrix,
        c: MatrixMut,
        add: bool,
    ) {
        let begins = if add { Begins::Result } else { Begins::Nothing };
        self.recorder
            .note(|| ProductShape::new(shape, a, b, c, begins).on_one_thread());
        // SAFETY: by the caller's promise.
        unsafe { product(shape, alpha, a, b, c, add, Threads::One) };
    }

    /// A product on all threads of the pool it runs on. `weight`: which one the right operand is.
    ///
    /// # Safety
    /// As [`product`]; `done` touches the result where it is told to.
    pub(super) unsafe fn on_all(
        &mut self,
        shape: [usize; 3],
        a: Matrix,
        (b, weight): (Matrix, Option<usize>),
        c: &mut [f32],
        onto: Onto<'_>,
        done: Option<Done<'_>>,
    ) {
        let [m, n, _] = shape;
        let to = MatrixMut::rows(c, m, n);
        if m == 0 || n == 0 {
            return;
        }
        if self.is_packed() {
            let adds = match onto {
                Onto::Nothing => None,
                Onto::Result => Some((to.at.cast_const(), n)),
                Onto::Rows(row) => {
                    assert_eq!(row.len(), n, "as wide as the result");
                    Some((row.as_ptr(), 0))
                }
            };
            let c = Shared::new(c);
            let done = |rows: Range<usize>, columns: Range<usize>| {
                if let Some(done) = done {
                    done(c, rows, columns);
                }
            };
            // SAFETY: by the caller's promise.
            let is_kept = unsafe {
                bf16::product_packed(shape, a, (b, weight), to, adds, &done, &mut self.packed)
            };
            self.recorder.note(|| {
                let shape = ProductShape::new(shape, a, b, to, Begins::of(onto));
                if is_kept { shape.of_kept() } else { shape }
            });
            return;
        }
        self.recorder
            .note(|| ProductShape::new(shape, a, b, to, Begins::of(onto)));
        if let Onto::Rows(row) = onto {
            spread(row, c);
        }
        let add = !matches!(onto, Onto::Nothing);
        // SAFETY: by the caller's promise.
        unsafe {
            match self.precision {
                Precision::F32 => product(shape, 1.0, a, b, to, add, Threads::All),
                Precision::Bf16 => bf16::product_rounded(shape, a, b, to, add, &mut self.packed),
            }
        }
        if let Some(done) = done {
            let c = Shared::new(c);
            let rows = (TASK / n).max(1);
            (0..m.div_ceil(rows)).into_par_iter().for_each(|task| {
                done(c, task * rows..m.min((task + 1) * rows), 0..n);
            });
        }
    }

    /// `y (rows, outputs) = x (rows, inputs) wᵀ (inputs, outputs)`, added to something; `done` is told of parts of `y`.
    pub(crate) fn x_w_t(
        &mut self,
        x: &[f32],
        w: Weights<'_>,
        y: &mut [f32],
        [rows, inputs, outputs]: [usize; 3],
        onto: Onto<'_>,
        done: Option<Done<'_>>,
    ) {
        let x = Matrix::rows(x, rows, inputs);
        let matrix = Matrix::rows(w.values, outputs, inputs);
        let right = (matrix.t(), Some(w.at.range().start));
        // SAFETY: the slices have the shapes, as asserted, and `y` is borrowed alone.
        unsafe { self.on_all([rows, outputs, inputs], x, right, y, onto, done) };
    }

    /// `dx (rows, inputs) = dy (rows, outputs) w (outputs, inputs)`, or added to `dx`.
    pub(crate) fn dy_w(
        &mut self,
        dy: &[f32],
        w: Weights<'_>,
        dx: &mut [f32],
        [rows, inputs, outputs]: [usize; 3],
        onto: Onto<'_>,
    ) {
        let dy = Matrix::rows(dy, rows, outputs);
        let matrix = Matrix::rows(w.values, outputs, inputs);
        let right = (matrix, Some(w.at.range().start));
        // SAFETY: the slices have the shapes, as asserted, and `dx` is borrowed alone.
        unsafe { self.on_all([rows, inputs, outputs], dy, right, dx, onto, None) };
    }

    /// `dw (outputs, inputs) += dyᵀ (outputs, rows) x (rows, inputs)`.
    pub(crate) fn dy_t_x(
        &mut self,
        dy: &[f32],
        x: &[f32],
        dw: &mut [f32],
        [rows, inputs, outputs]: [usize; 3],
    ) {
        let dy = Matrix::rows(dy, rows, outputs);
        let x = Matrix::rows(x, rows, inputs);
        let shape = [outputs, inputs, rows];
        // SAFETY: the slices have the shapes, as asserted, and `dw` is borrowed alone.
        unsafe { self.on_all(shape, dy.t(), (x, None), dw, Onto::Result, None) };
    }
}
