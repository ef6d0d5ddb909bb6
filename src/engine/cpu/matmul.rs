//! Matrix products: in f32 through the `gemm` crate, of which this is the one door, or of operands rounded to bf16.

use gemm::Parallelism;

use super::bf16::{Packed, product_bf16};
use crate::backend::Precision;

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
pub(crate) unsafe fn product(
    m: usize,
    n: usize,
    k: usize,
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

/// Products of dense layers, on all threads of the pool they run on.
#[derive(Default)]
pub(crate) struct Products {
    precision: Precision,
    packed: Packed,
}

impl Products {
    pub(crate) fn new(precision: Precision) -> Self {
        Self {
            precision,
            packed: Packed::default(),
        }
    }

    /// # Safety
    /// As [`product`].
    unsafe fn product(&mut self, shape: [usize; 3], a: Matrix, b: Matrix, c: MatrixMut, add: bool) {
        let [m, n, k] = shape;
        // SAFETY: by the caller's promise.
        unsafe {
            match self.precision {
                Precision::F32 => product(m, n, k, 1.0, a, b, c, add, Threads::All),
                Precision::Bf16 => product_bf16(shape, a, b, c, add, &mut self.packed),
            }
        }
    }

    /// `y (rows, outputs) = x (rows, inputs) wᵀ (inputs, outputs)`, or added to `y`.
    pub(crate) fn x_w_t(
        &mut self,
        x: &[f32],
        w: &[f32],
        y: &mut [f32],
        [rows, inputs, outputs]: [usize; 3],
        add: bool,
    ) {
        let (x, w) = (
            Matrix::rows(x, rows, inputs),
            Matrix::rows(w, outputs, inputs),
        );
        let y = MatrixMut::rows(y, rows, outputs);
        // SAFETY: the slices have the shapes, as asserted, and `y` is borrowed alone.
        unsafe {
            self.product([rows, outputs, inputs], x, w.t(), y, add);
        }
    }

    /// `dx (rows, inputs) = dy (rows, outputs) w (outputs, inputs)`, or added to `dx`.
    pub(crate) fn dy_w(
        &mut self,
        dy: &[f32],
        w: &[f32],
        dx: &mut [f32],
        [rows, inputs, outputs]: [usize; 3],
        add: bool,
    ) {
        let (dy, w) = (
            Matrix::rows(dy, rows, outputs),
            Matrix::rows(w, outputs, inputs),
        );
        let dx = MatrixMut::rows(dx, rows, inputs);
        // SAFETY: the slices have the shapes, as asserted, and `dx` is borrowed alone.
        unsafe {
            self.product([rows, inputs, outputs], dy, w, dx, add);
        }
    }

    /// `dw (outputs, inputs) += dyᵀ (outputs, rows) x (rows, inputs)`.
    pub(crate) fn dy_t_x(
        &mut self,
        dy: &[f32],
        x: &[f32],
        dw: &mut [f32],
        [rows, inputs, outputs]: [usize; 3],
    ) {
        let (dy, x) = (
            Matrix::rows(dy, rows, outputs),
            Matrix::rows(x, rows, inputs),
        );
        let dw = MatrixMut::rows(dw, outputs, inputs);
        // SAFETY: the slices have the shapes, as asserted, and `dw` is borrowed alone.
        unsafe {
            self.product([outputs, inputs, rows], dy.t(), x, dw, true);
        }
    }
}
