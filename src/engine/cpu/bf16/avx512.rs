//! Products in bf16 by the dot products of AVX512-BF16. Knows matrices only.
//!
//! Both operands are rounded and laid out in strips once, then tiles of the result are summed in registers. Tiles are
//! cut by the shape alone, and each is summed in one order, so that threads change no bit.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_cvtne2ps_pbh,
    _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_epi32, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;
use std::ops::Range;

use rayon::prelude::*;

use super::Place;
use crate::cpu::matmul::{Matrix, MatrixMut};
use crate::cpu::memory::Numbers;

/// Rows of a tile: with [`COLUMNS`] two vectors wide, its sums take 28 of the 32 registers.
const ROWS: usize = 14;
/// Columns of a tile.
const COLUMNS: usize = 32;
/// Most pairs along the summed axis taken at a time: a strip of the right operand then fits into the nearest cache.
const PAIRS: usize = 256;
/// Strips of rows and of columns that a task takes: its rows then stay in the second cache.
const TASK_ROWS: usize = 12;
const TASK_COLUMNS: usize = 8;
/// Numbers of a vector.
const LANES: usize = 16;

/// Whether this processor has the instructions.
pub(super) fn is_here() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
}

/// Lays out a left operand (m, k).
///
/// # Safety
/// It may be read, where [`is_here`].
pub(super) unsafe fn pack_left(a: Matrix, [m, k]: [usize; 2], to: &mut Numbers<u32>) -> &[u32] {
    // SAFETY: by the caller's promise.
    unsafe { pack::<ROWS>(a, [m, k], to) }
}

/// Lays out a right operand (k, n).
///
/// # Safety
/// It may be read, where [`is_here`].
pub(super) unsafe fn pack_right(b: Matrix, [n, k]: [usize; 2], to: &mut Numbers<u32>) {
    // SAFETY: by the caller's promise.
    unsafe { pack::<COLUMNS>(b.t(), [n, k], to) };
}

/// `c = a b`, added to `adds` (numbers, and how far apart rows of them are), of operands laid out; `c` (m, n) with
/// columns side by side. Calls `done` for rows and columns that are done, apart from each other.
///
/// # Safety
/// As [`super::product_packed`], where [`is_here`], with operands of this shape.
pub(super) unsafe fn product(
    [m, n, k]: [usize; 3],
    left: &[u32],
    right: &[u32],
    c: MatrixMut,
    adds: Option<(*const f32, usize)>,
    done: &(dyn Fn(Range<usize>, Range<usize>) + Sync),
) {
    assert_eq!(c.column, 1, "columns of the result lie side by side");
    let pairs = k.div_ceil(2);
    let block = pairs.div_ceil(pairs.div_ceil(PAIRS).max(1)).max(1);
    let down = m.div_ceil(TASK_ROWS * ROWS);
    let across = n.div_ceil(TASK_COLUMNS * COLUMNS);
    let place = Place(c.at);
    let adds = Place(adds);
    (0..across * down).into_par_iter().for_each(|task| {
        let first_row = task % down * TASK_ROWS * ROWS;
        let first_column = task / down * TASK_COLUMNS * COLUMNS;
        let last_row = m.min(first_row + TASK_ROWS * ROWS);
        let last_column = n.min(first_column + TASK_COLUMNS * COLUMNS);
        for start in (0..pairs.max(1)).step_by(block) {
            let count = block.min(pairs - start);
            for column in (first_column..last_column).step_by(COLUMNS) {
                let right = &right[column * pairs + start * COLUMNS..][..count * COLUMNS];
                for row in (first_row..last_row).step_by(ROWS) {
                    let left = &left[row * pairs + start * ROWS..][..count * ROWS];
                    let inside = [ROWS.min(m - row), COLUMNS.min(n - column)];
                    // SAFETY: the tile lies inside the result, which no other task touches; the strips are as long as
                    // `count` pairs of `ROWS` and `COLUMNS`; the processor was asked.
                    unsafe {
                        let to = place.get().add(row * c.row + column);
                        let adds = match adds.get() {
                            _ if start > 0 => Some((to.cast_const(), c.row)),
                            Some((from, stride)) => Some((from.add(row * stride + column), stride)),
                            None => None,
                        };
                        tile(left, right, to, c.row, inside, adds);
                    }
                }
            }
        }
        done(first_row..last_row, first_column..last_column);
    });
}

/// The product of a strip of rows and one of columns, added to `adds` and written to `to`, whose rows lie `stride` apart,
/// as far as it lies `inside` (rows, columns).
///
/// # Safety
/// `left` holds `ROWS` and `right` `COLUMNS` elements for each pair; `to` may be written and `adds` read where inside.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile(
    left: &[u32],
    right: &[u32],
    to: *mut f32,
    stride: usize,
    inside: [usize; 2],
    adds: Option<(*const f32, usize)>,
) {
    // The result's rows arrive while sums are taken; fetching is only a hint, also where it is outside.
    for i in 0..ROWS {
        for half in 0..2 {
            _mm_prefetch::<_MM_HINT_T0>(to.wrapping_add(i * stride + LANES * half).cast());
        }
    }
    let mut sums: [[__m512; 2]; ROWS] = [[_mm512_setzero_ps(); 2]; ROWS];
    let (left, right) = (left.as_chunks::<ROWS>().0, right.as_chunks::<COLUMNS>().0);
    for (rows, columns) in left.iter().zip(right) {
        // SAFETY: vectors of pairs have the bits of vectors of bf16.
        unsafe {
            let columns = columns.as_ptr();
            let b0: __m512bh = transmute(_mm512_loadu_si512(columns.cast()));
            let b1: __m512bh = transmute(_mm512_loadu_si512(columns.add(LANES).cast()));
            for (sums, pair) in sums.iter_mut().zip(rows) {
                let a: __m512bh = transmute(_mm512_set1_epi32(pair.cast_signed()));
                sums[0] = _mm512_dpbf16_ps(sums[0], a, b0);
                sums[1] = _mm512_dpbf16_ps(sums[1], a, b1);
            }
        }
    }
    let mask = (1_u64 << inside[1]) - 1;
    let masks = [(mask & 0xffff) as u16, (mask >> LANES) as u16];
    for (i, sums) in sums.iter().enumerate().take(inside[0]) {
        for (half, sum) in sums.iter().enumerate() {
            // SAFETY: row `i` lies inside, and so do the columns of the mask.
            unsafe {
                let at = to.add(i * stride).wrapping_add(LANES * half);
                let sum = match adds {
                    Some((from, stride)) => {
                        let from = from.add(i * stride).wrapping_add(LANES * half);
                        _mm512_add_ps(_mm512_maskz_loadu_ps(masks[half], from), *sum)
                    }
                    None => *sum,
                };
                _mm512_mask_storeu_ps(at, masks[half], sum);
            }
        }
    }
}

/// Lays the rows of a matrix (lanes, k) out in strips of `W` of them, as pairs along `k`: strip, pair, lane. What is
/// past the end is 0.
///
/// # Safety
/// The matrix may be read, where [`is_here`].
unsafe fn pack<const W: usize>(
    from: Matrix,
    [lanes, k]: [usize; 2],
    to: &mut Numbers<u32>,
) -> &[u32] {
    let pairs = k.div_ceil(2);
    let len = lanes.div_ceil(W) * pairs * W;
    let place = Place(from.at);
    let to = to.at_least(len);
    to.par_chunks_exact_mut((pairs * W).max(1))
        .enumerate()
        .for_each(|(strip, to)| {
            let count = W.min(lanes - strip * W);
            // SAFETY: `count` lanes from lane `strip * W` on exist; the processor was asked.
            unsafe {
                let from = Matrix {
                    at: place.get().add(strip * W * from.row),
                    ..from
                };
                if from.row == 1 {
                    pack_across::<W>(from, [count, k], to);
                } else {
                    assert_eq!(from.column, 1, "one axis lies side by side");
                    pack_along::<W>(from, [count, k], to);
                }
            }
        });
    to
}

/// A mask of the first `count` of 16 lanes.
fn first(count: usize) -> u16 {
    ((1_u32 << count.min(LANES)) - 1) as u16
}

/// Two neighbours in each element, from two vectors.
const INTERLEAVE: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 16 {
        order[2 * i] = i as u16;
        order[2 * i + 1] = i as u16 + 16;
        i += 1;
    }
    order
};

/// One strip whose lanes lie side by side.
///
/// # Safety
/// `count` lanes of `k` numbers may be read, and `to` holds `W` elements for each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_across<const W: usize>(from: Matrix, [count, k]: [usize; 2], to: &mut [u32]) {
    // SAFETY: an array of 64 bytes.
    let order: __m512i = unsafe { transmute(INTERLEAVE) };
    for (p, to) in to.chunks_exact_mut(W).enumerate() {
        for lane in (0..W).step_by(LANES) {
            let inside = first(count.saturating_sub(lane));
            // SAFETY: masks leave out lanes and numbers that do not exist.
            unsafe {
                let at = from.at.add(2 * p * from.column).wrapping_add(lane);
                let one = _mm512_maskz_loadu_ps(inside, at);
                let other = if 2 * p + 1 < k {
                    _mm512_maskz_loadu_ps(inside, at.wrapping_add(from.column))
                } else {
                    _mm512_setzero_ps()
                };
                let both: __m512i = transmute(_mm512_cvtne2ps_pbh(other, one));
                let pairs = _mm512_permutexvar_epi16(order, both);
                let to = to.as_mut_ptr().add(lane).cast();
                _mm512_mask_storeu_epi32(to, first(W - lane), pairs);
            }
        }
    }
}

/// One strip whose numbers lie side by side along `k`: 16 pairs of 16 lanes at a time.
///
/// # Safety
/// `count` lanes of `k` numbers may be read, and `to` holds `W` elements for each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_along<const W: usize>(from: Matrix, [count, k]: [usize; 2], to: &mut [u32]) {
    let pairs = k.div_ceil(2);
    for start in (0..pairs).step_by(LANES) {
        let masks = [
            first(k - 2 * start),
            first(k.saturating_sub(2 * start + LANES)),
        ];
        for lane in (0..W).step_by(LANES) {
            let mut block = [_mm512_setzero_si512(); LANES];
            let inside = count.saturating_sub(lane);
            for (i, row) in block.iter_mut().enumerate().take(inside) {
                // SAFETY: lane `lane + i` exists, and masks leave out numbers that do not.
                unsafe {
                    let at = from.at.add((lane + i) * from.row + 2 * start);
                    let low = _mm512_maskz_loadu_ps(masks[0], at);
                    let high = _mm512_maskz_loadu_ps(masks[1], at.wrapping_add(LANES));
                    *row = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                }
            }
            let block = transposed(block);
            for (p, row) in block.iter().enumerate().take(pairs - start) {
                // SAFETY: pair `start + p` lies inside, and so do the lanes of the mask.
                unsafe {
                    let to = to.as_mut_ptr().add((start + p) * W + lane).cast();
                    _mm512_mask_storeu_epi32(to, first(W - lane), *row);
                }
            }
        }
    }
}

/// Rows and columns of 16 by 16 elements, exchanged: within blocks of four by four, then the blocks.
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    let mut small = rows;
    for four in small.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *four;
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    // Now block `b` of vector `4 i + j` holds column `4 b + j` of rows `4 i..4 i + 4`.
    let mut columns = rows;
    for j in 0..4 {
        let [a, b, c, d] = [small[j], small[4 + j], small[8 + j], small[12 + j]];
        let (ab, cd) = (
            _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
        );
        let (ab_odd, cd_odd) = (
            _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
        );
        columns[j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd);
        columns[8 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd);
        columns[4 + j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_odd, cd_odd);
        columns[12 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_odd, cd_odd);
    }
    columns
}
