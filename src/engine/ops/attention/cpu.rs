//! Attention on the CPU: a task is one head of one sequence; scores of some queries at a time stay in the nearest cache.

use rayon::prelude::*;
use std::cell::RefCell;

use super::{Attention, Heads};
use crate::arena::{Act, Real};
use crate::backend::{DropoutAt, Sequences};
use crate::cpu::math::{LANES, exp, largest, ln, tree};
use crate::cpu::matmul::{Matrix, MatrixMut};
use crate::cpu::{Cpu, Shared, vectors};
use crate::random::{Draw, HALVES_PER_BLOCK, Rate, Stream};

/// Queries whose scores are held at a time.
const QUERIES: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Dropout of the probabilities of one sequence.
#[derive(Clone, Copy)]
struct Dropped {
    rate: Rate,
    stream: Stream,
    draw: Draw,
}

impl Dropped {
    /// Factors of a query's row of probabilities: rows are numbered head by head, and begin at a block.
    #[inline(always)]
    fn factors(self, head: usize, query: usize, length: usize, factors: &mut [f32]) {
        let blocks = length.div_ceil(HALVES_PER_BLOCK);
        let first = (head * length + query) * blocks;
        self.rate
            .factors(self.stream, self.draw, first as u64, factors);
    }
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Task {
    head: usize,
    /// First row, rows, and how many of them are keys.
    start: usize,
    length: usize,
    keys: usize,
    dropped: Option<Dropped>,
}

/// Exponentials of a row in place, and their sum: `(largest, sum)`.
#[inline(always)]
fn exponentials(row: &mut [f32]) -> (f32, f32) {
    let top = largest(row);
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - top);
            sums[lane] += chunk[lane];
        }
    }
    for (lane, value) in rest.iter_mut().enumerate() {
        *value = exp(*value - top);
        sums[lane] += *value;
    }
    (top, tree(sums))
}

#[inline(always)]
fn probabilities(row: &mut [f32], lse: f32) {
    for value in row {
        *value = exp(*value - lse);
    }
}

#[inline(always)]
fn scale(row: &mut [f32], by: f32) {
    for value in row {
        *value *= by;
    }
}

#[inline(always)]
fn multiply(row: &mut [f32], factors: &[f32]) {
    for (value, f) in row.iter_mut().zip(factors) {
        *value *= f;
    }
}

/// `d = p * (d - delta)`.
#[inline(always)]
fn score_gradients(d: &mut [f32], p: &[f32], delta: f32) {
    for (d, p) in d.iter_mut().zip(p) {
        *d = p * (*d - delta);
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] = a.mul_add(*b, sums[lane]);
    }
    tree(sums)
}

impl Cpu {
    /// The tasks of a batch, longest sequences first so that threads end together.
    fn tasks(&self, heads: Heads, sequences: Sequences, dropout: DropoutAt) -> Vec<Task> {
        let starts = self.ints.get(sequences.starts.range());
        let keys = self.ints.get(sequences.keys.range());
        let index = self.ints.get(sequences.index.range());
        let stream = self.dropout.stream(dropout);
        let mut order: Vec<usize> = (0..sequences.count).collect();
        order.sort_by_key(|i| std::cmp::Reverse(starts[i + 1] - starts[*i]));
        order
            .into_iter()
            .flat_map(|i| {
                let dropped = stream.map(|(stream, step)| Dropped {
                    rate: dropout.rate,
                    stream,
                    draw: Draw {
                        step,
                        sequence: index[i],
                    },
                });
                (0..heads.count).map(move |head| Task {
                    head,
                    start: starts[i] as usize,
                    length: (starts[i + 1] - starts[i]) as usize,
                    keys: keys[i] as usize,
                    dropped,
                })
            })
            .collect()
    }
}

/// The rows of a head in a matrix whose rows are `stride` wide, from column `column`.
fn part(
    all: &[f32],
    row: usize,
    column: usize,
    rows: usize,
    width: usize,
    stride: usize,
) -> Matrix {
    let start = row * stride + column;
    if rows > 0 {
        assert!(start + (rows - 1) * stride + width <= all.len(), "inside");
    }
    Matrix {
        at: all[start.min(all.len())..].as_ptr(),
        row: stride,
        column: 1,
    }
}

impl Attention for Cpu {
    fn attention(
        &mut self,
        qkv: Act,
        heads: Heads,
        sequences: Sequences,
        dropout: DropoutAt,
        lse: Real,
        context: Act,
    ) {
        let tasks = self.tasks(heads, sequences, dropout);
        let (size, width) = (heads.size, heads.width());
        let (stride, by) = (3 * width, 1.0 / (size as f32).sqrt());
        let ([qkv], [context]) = self.acts.views([qkv.range()], [context.range()]);
        let n = context.len() / width;
        let end = self.ints.get(sequences.starts.range())[sequences.count] as usize;
        let lse = self.reals.get_mut(lse.range());
        context[end * width..].fill(0.0);
        for lse in lse.chunks_exact_mut(n.max(1)) {
            lse[end..].fill(0.0);
        }
        let (context, lse) = (Shared::new(context), Shared::new(lse));
        let products = &self.products;
        tasks.par_iter().for_each(|task| {
            let column = task.head * size;
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.resize((QUERIES + 1) * task.keys, 0.0);
                let (scores, factors) = scratch.split_at_mut(QUERIES * task.keys);
                let keys = part(qkv, task.start, width + column, task.keys, size, stride);
                let values = part(qkv, task.start, 2 * width + column, task.keys, size, stride);
                for first in (0..task.length).step_by(QUERIES) {
                    let count = QUERIES.min(task.length - first);
                    let row = task.start + first;
                    let scores = &mut scores[..count * task.keys];
                    let queries = part(qkv, row, column, count, size, stride);
                    let s = MatrixMut::rows(scores, count, task.keys);
                    // SAFETY: the parts lie inside, as asserted; `scores` is this task's own.
                    unsafe {
                        let shape = [count, task.keys, size];
                        products.inside(shape, by, queries, keys.t(), s, false);
                    }
                    // SAFETY: no other task has this head of these rows.
                    let lse = unsafe { lse.row(task.head * n + row, count) };
                    vectors!({
                        for (i, (scores, lse)) in
                            scores.chunks_exact_mut(task.keys).zip(lse).enumerate()
                        {
                            let (top, sum) = exponentials(scores);
                            *lse = top + ln(sum);
                            if let Some(dropped) = task.dropped {
                                dropped.factors(task.head, first + i, task.length, factors);
                                multiply(scores, factors);
                            }
                            scale(scores, 1.0 / sum);
                        }
                    });
                    let o = MatrixMut {
                        at: context.pointer(row * width + column, count, size, width),
                        row: width,
                        column: 1,
                    };
                    let p = Matrix::rows(scores, count, task.keys);
                    // SAFETY: no other task has this head of these rows.
                    unsafe {
                        let shape = [count, size, task.keys];
                        products.inside(shape, 1.0, p, values, o, false);
                    }
                }
            });
        });
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
        let tasks = self.tasks(heads, sequences, dropout);
        let (size, width) = (heads.size, heads.width());
        let (stride, by) = (3 * width, 1.0 / (size as f32).sqrt());
        let ([d_context, qkv, context], [d_qkv]) = self.acts.views(
            [d_context.range(), qkv.range(), context.range()],
            [d_qkv.range()],
        );
        let n = context.len() / width;
        let lse = self.reals.get(lse.range());
        let end = self.ints.get(sequences.starts.range())[sequences.count] as usize;
        d_qkv[end * stride..].fill(0.0);
        let d_qkv = Shared::new(d_qkv);
        let products = &self.products;
        tasks.par_iter().for_each(|task| {
            let column = task.head * size;
            let d_part = |third: usize, row: usize, rows: usize| MatrixMut {
                at: d_qkv.pointer(row * stride + third * width + column, rows, size, stride),
                row: stride,
                column: 1,
            };
            // Rows that are no keys get no gradient as keys and values.
            for row in task.keys..task.length {
                for third in [1, 2] {
                    let start = (task.start + row) * stride + third * width + column;
                    // SAFETY: no other task has this head of these rows.
                    unsafe { d_qkv.row(start, size) }.fill(0.0);
                }
            }
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.resize((3 * QUERIES) * task.keys, 0.0);
                let (probability, rest) = scratch.split_at_mut(QUERIES * task.keys);
                let (gradient, factors) = rest.split_at_mut(QUERIES * task.keys);
                let keys = part(qkv, task.start, width + column, task.keys, size, stride);
                let values = part(qkv, task.start, 2 * width + column, task.keys, size, stride);
                for first in (0..task.length).step_by(QUERIES) {
                    let count = QUERIES.min(task.length - first);
                    let row = task.start + first;
                    let p = &mut probability[..count * task.keys];
                    let d = &mut gradient[..count * task.keys];
                    let f = &mut factors[..count * task.keys];
                    let queries = part(qkv, row, column, count, size, stride);
                    let d_out = part(d_context, row, column, count, size, width);
                    let (m, k) = (count, task.keys);
                    // SAFETY: the parts lie inside, as asserted; `p` and `d` are this task's own.
                    unsafe {
                        let s = MatrixMut::rows(p, m, k);
                        products.inside([m, k, size], by, queries, keys.t(), s, false);
                        let s = MatrixMut::rows(d, m, k);
                        products.inside([m, k, size], 1.0, d_out, values.t(), s, false);
                    }
                    vectors!({
                        for i in 0..count {
                            let (p, d) = (&mut p[i * k..][..k], &mut d[i * k..][..k]);
                            probabilities(p, lse[task.head * n + row + i]);
                            let at = (row + i) * width + column;
                            let delta = dot(&d_context[at..][..size], &context[at..][..size]);
                            if let Some(dropped) = task.dropped {
                                let f = &mut f[i * k..][..k];
                                dropped.factors(task.head, first + i, task.length, f);
                                multiply(d, f);
                                score_gradients(d, p, delta);
                                multiply(p, f);
                            } else {
                                score_gradients(d, p, delta);
                            }
                        }
                    });
                    let (p, d) = (Matrix::rows(p, m, k), Matrix::rows(d, m, k));
                    let add = first > 0;
                    // SAFETY: no other task has this head of these rows.
                    unsafe {
                        let d_values = d_part(2, task.start, k);
                        products.inside([k, size, m], 1.0, p.t(), d_out, d_values, add);
                        let d_queries = d_part(0, row, m);
                        products.inside([m, size, k], by, d, keys, d_queries, false);
                        let d_keys = d_part(1, task.start, k);
                        products.inside([k, size, m], by, d.t(), queries, d_keys, add);
                    }
                }
            });
        });
    }
}
