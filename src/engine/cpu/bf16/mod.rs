//! Matrix products of operands rounded to bf16, summed in f32: by the processor's own instructions where it has them,
//! else rounded operands in f32. Knows matrices only.

use std::ops::Range;

use rayon::prelude::*;

use super::matmul::{Matrix, MatrixMut, Threads, product};
use super::memory::Numbers;
use super::vectors;
use kept::Kept;

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kept;

#[cfg(not(target_arch = "x86_64"))]
use absent as native;
#[cfg(target_arch = "x86_64")]
use avx512 as native;

/// Room for operands laid out in strips; it grows to the largest product and stays. And weights laid out, where they
/// are asked for again before they change.
#[derive(Default)]
pub(crate) struct Packed {
    left: Numbers<u32>,
    right: Numbers<u32>,
    kept: Kept,
}

impl Packed {
    /// To be called when a weight changes.
    pub(crate) fn weights_changed(&mut self) {
        self.kept.weights_changed();
    }
}

/// Whether this processor sums bf16 products itself.
pub(crate) fn is_native() -> bool {
    native::is_here()
}

/// The bits of the nearest bf16 number, ties to even.
#[inline(always)]
fn nearest(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    // Rounding would carry some values that are no numbers into infinity or zero.
    if x.is_nan() { 0x7fc0 } else { rounded }
}

/// `c = a b`, of operands rounded to bf16 and laid out for the processor, added to `adds` (numbers, and how far apart
/// rows of them are); `a` (m, k), `b` (k, n), `c` (m, n) with columns side by side. `weight` says which weight `b` is, if
/// any. Calls `done` for rows and columns that are done. Says whether the layout of a weight was there already.
///
/// # Safety
/// Where [`is_native`]. The matrices must lie in memory that may be read, and for `c` written, by this call alone.
pub(crate) unsafe fn product_packed(
    shape: [usize; 3],
    a: Matrix,
    (b, weight): (Matrix, Option<usize>),
    c: MatrixMut,
    adds: Option<(*const f32, usize)>,
    done: &(dyn Fn(Range<usize>, Range<usize>) + Sync),
    packed: &mut Packed,
) -> bool {
    let [m, n, k] = shape;
    let Packed { left, right, kept } = packed;
    let key = weight.map(|start| kept::Key {
        start,
        n,
        k,
        column: b.column,
    });
    // SAFETY: the operands may be read, by the caller's promise; so does the rest hold.
    unsafe {
        let left = native::pack_left(a, [m, k], left);
        let (right, was_there) = kept.get(key, right, |to| native::pack_right(b, [n, k], to));
        native::product(shape, left, right, c, adds, done);
        was_there
    }
}

/// A pointer that tasks share: each writes elements of its own.
#[derive(Clone, Copy)]
struct Place<T>(T);

// SAFETY: pointers to numbers; who writes where is settled below.
unsafe impl<T> Send for Place<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Place<T> {}

impl<T: Copy> Place<T> {
    fn get(self) -> T {
        self.0
    }
}

/// `c = a b`, or `c += a b`, by f32 products of rounded operands, for processors without such instructions.
///
/// # Safety
/// As [`product`].
pub(crate) unsafe fn product_rounded(
    [m, n, k]: [usize; 3],
    a: Matrix,
    b: Matrix,
    c: MatrixMut,
    add: bool,
    packed: &mut Packed,
) {
    // SAFETY: the operands may be read, by the caller's promise.
    unsafe {
        round(a, m, k, &mut packed.left);
        round(b.t(), n, k, &mut packed.right);
    }
    let matrix = |bits: &[u32]| Matrix {
        at: bits.as_ptr().cast::<f32>(),
        row: k,
        column: 1,
    };
    let (a, b) = (matrix(&packed.left), matrix(&packed.right));
    // SAFETY: both are `k` wide, bits of f32 numbers are f32 numbers; the result by the caller's promise.
    unsafe { product([m, n, k], 1.0, a, b.t(), c, add, Threads::All) };
}

/// Rows of `k` numbers, each rounded to bf16, as the bits of f32.
///
/// # Safety
/// `rows` rows of `k` numbers may be read.
unsafe fn round(from: Matrix, rows: usize, k: usize, to: &mut Numbers<u32>) {
    let place = Place(from.at);
    to.at_least(rows * k)
        .par_chunks_exact_mut(k.max(1))
        .enumerate()
        .for_each(|(row, to)| {
            vectors!(for (p, to) in to.iter_mut().enumerate() {
                // SAFETY: element `p` of row `row`.
                let value = unsafe { *place.get().add(row * from.row + p * from.column) };
                *to = nearest(value) << 16;
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Draw, Purpose, Stream};

    fn numbers(len: usize, seed: u64) -> Vec<f32> {
        let stream = Stream::new(seed, Purpose::Shuffle);
        let draw = Draw {
            step: 0,
            sequence: 0,
        };
        (0..len as u64)
            .map(|i| f32::from(stream.word(draw, i) as u16) / 32_768.0 - 1.0)
            .collect()
    }

    fn rounded_to_f64(x: f32) -> f64 {
        f64::from(f32::from_bits(nearest(x) << 16))
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_ties_to_even() {
        for (from, to) in [
            (1.0, 0x3f80),
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            (-2.0, 0xc000),
            (f32::MAX, 0x7f80),
            (f32::INFINITY, 0x7f80),
        ] {
            assert_eq!(nearest(from), to, "{from}");
        }
        assert_eq!(nearest(f32::from_bits(0x7fff_ffff)), 0x7fc0);
    }

    /// Each way to lay the operands out, at sizes around tiles and blocks, against f64.
    #[test]
    fn products_are_those_of_rounded_operands() {
        let mut packed = Packed::default();
        for (m, n, k) in [
            (1, 1, 1),
            (14, 32, 2),
            (13, 31, 33),
            (15, 33, 257),
            (29, 70, 513),
            (200, 530, 1_031),
        ] {
            let (a, b, c) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let mut expected = vec![0.0_f64; m * n];
            for i in 0..m {
                for j in 0..n {
                    expected[i * n + j] = (0..k)
                        .map(|p| rounded_to_f64(a[i * k + p]) * rounded_to_f64(b[p * n + j]))
                        .sum();
                }
            }
            let transposed = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns)
                    .map(|i| x[i % rows * columns + i / rows])
                    .collect()
            };
            let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
            let lefts = [Matrix::rows(&a, m, k), Matrix::rows(&a_t, k, m).t()];
            let rights = [Matrix::rows(&b, k, n), Matrix::rows(&b_t, n, k).t()];
            for (way, (left, right)) in lefts
                .into_iter()
                .flat_map(|left| rights.map(|right| (left, right)))
                .enumerate()
            {
                for add in [false, true] {
                    let mut ways = [c.clone(), c.clone()];
                    for (native, values) in ways.iter_mut().enumerate() {
                        let to = MatrixMut::rows(values, m, n);
                        let shape = [m, n, k];
                        let adds = add.then_some((to.at.cast_const(), n));
                        let done = |_, _| {};
                        // SAFETY: the matrices have the shapes, and `values` is borrowed alone.
                        unsafe {
                            if native == 1 && is_native() {
                                let right = (right, None);
                                product_packed(shape, left, right, to, adds, &done, &mut packed);
                            } else {
                                product_rounded(shape, left, right, to, add, &mut packed);
                            }
                        }
                        for i in 0..m * n {
                            let whole = expected[i] + if add { f64::from(c[i]) } else { 0.0 };
                            let error = (f64::from(values[i]) - whole).abs();
                            let bound = 1e-6 * (k as f64).sqrt().max(4.0);
                            assert!(error < bound, "{m} {n} {k}, way {way}: {error}");
                        }
                    }
                }
            }
        }
    }
}
