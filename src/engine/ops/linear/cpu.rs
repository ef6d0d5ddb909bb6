//! Dense layers on the CPU: products by `gemm`, everything else in passes over rows.

use std::ops::Range;

use rayon::prelude::*;

use super::{Linear, LinearWeights};
use crate::arena::{Act, Real};
use crate::backend::Write;
use crate::cpu::math::{gelu, gelu_and_slope};
use crate::cpu::matmul::{Onto, Weights};
use crate::cpu::{Cpu, Shared, vectors};

/// Elements that one task of an elementwise pass takes.
const TASK: usize = 1 << 14;
/// Columns that one task sums.
const COLUMNS: usize = 128;

/// `sums += the sum of each column`, rows in order.
pub(crate) fn add_columns(values: &[f32], width: usize, sums: &mut [f32]) {
    #[inline(always)]
    fn kernel(values: &[f32], width: usize, first: usize, sums: &mut [f32]) {
        for row in values.chunks_exact(width) {
            let row = &row[first..first + sums.len()];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
    sums.par_chunks_mut(COLUMNS)
        .enumerate()
        .for_each(|(i, sums)| vectors!(kernel(values, width, i * COLUMNS, sums)));
}

fn onto(write: Write) -> Onto<'static> {
    match write {
        Write::Over => Onto::Nothing,
        Write::Add => Onto::Result,
    }
}

impl Linear for Cpu {
    fn linear(&mut self, x: Act, layer: LinearWeights, y: Act, rows: usize) {
        let ([x], [y]) = self.acts.views([x.range()], [y.range()]);
        let onto = Onto::Rows(&self.values[layer.bias.range()]);
        let shape = [rows, layer.inputs, layer.outputs];
        let weight = Weights::new(&self.values, layer.weight);
        self.products.x_w_t(x, weight, y, shape, onto, None);
    }

    fn linear_gelu(&mut self, x: Act, layer: LinearWeights, u: Act, g: Act, rows: usize) {
        #[inline(always)]
        fn kernel(bias: &[f32], u: &mut [f32], g: &mut [f32]) {
            for ((u, g), bias) in u.iter_mut().zip(g).zip(bias) {
                *u += bias;
                *g = gelu(*u);
            }
        }
        let ([x], [u, g]) = self.acts.views([x.range()], [u.range(), g.range()]);
        let shape = [rows, layer.inputs, layer.outputs];
        let bias = &self.values[layer.bias.range()];
        assert_eq!(g.len(), rows * layer.outputs, "as many as `u`");
        let g = Shared::new(g);
        // While a part of the sums is in the cache.
        let done = |u: Shared<'_>, rows: Range<usize>, columns: Range<usize>| {
            vectors!(for row in rows {
                let (start, width) = (row * layer.outputs + columns.start, columns.len());
                // SAFETY: parts are apart, and so are these elements of both.
                let (u, g) = unsafe { (u.row(start, width), g.row(start, width)) };
                kernel(&bias[columns.clone()], u, g);
            });
        };
        let weight = Weights::new(&self.values, layer.weight);
        self.products
            .x_w_t(x, weight, u, shape, Onto::Nothing, Some(&done));
    }

    fn gelu_backward(&mut self, u: Act, d: Act, g: Option<Act>) {
        #[inline(always)]
        fn both(u: &[f32], d: &mut [f32], g: &mut [f32]) {
            for ((u, d), g) in u.iter().zip(d).zip(g) {
                let (value, slope) = gelu_and_slope(*u);
                *g = value;
                *d *= slope;
            }
        }
        #[inline(always)]
        fn slope_only(u: &[f32], d: &mut [f32]) {
            for (u, d) in u.iter().zip(d) {
                *d *= gelu_and_slope(*u).1;
            }
        }
        if let Some(g) = g {
            let ([u], [d, g]) = self.acts.views([u.range()], [d.range(), g.range()]);
            u.par_chunks(TASK)
                .zip(d.par_chunks_mut(TASK))
                .zip(g.par_chunks_mut(TASK))
                .for_each(|((u, d), g)| vectors!(both(u, d, g)));
        } else {
            let ([u], [d]) = self.acts.views([u.range()], [d.range()]);
            u.par_chunks(TASK)
                .zip(d.par_chunks_mut(TASK))
                .for_each(|(u, d)| vectors!(slope_only(u, d)));
        }
    }

    fn linear_input_gradient(&mut self, dy: Act, layer: LinearWeights, dx: Act, rows: usize) {
        let ([dy], [dx]) = self.acts.views([dy.range()], [dx.range()]);
        let weight = Weights::new(&self.values, layer.weight);
        let shape = [rows, layer.inputs, layer.outputs];
        self.products.dy_w(dy, weight, dx, shape, Onto::Nothing);
    }

    fn linear_backward(
        &mut self,
        dy: Act,
        x: Act,
        layer: LinearWeights,
        dx: Option<(Act, Write)>,
        rows: usize,
    ) {
        let shape = [rows, layer.inputs, layer.outputs];
        if let Some((dx, write)) = dx {
            let ([dy], [dx]) = self.acts.views([dy.range()], [dx.range()]);
            let weight = Weights::new(&self.values, layer.weight);
            self.products.dy_w(dy, weight, dx, shape, onto(write));
        }
        let ([dy, x], []) = self.acts.views([dy.range(), x.range()], []);
        let ([], [dw, db]) = self
            .gradients
            .views([], [layer.weight.range(), layer.bias.range()]);
        self.products.dy_t_x(dy, x, dw, shape);
        add_columns(dy, layer.outputs, db);
    }

    fn logits(&mut self, x: Act, layer: LinearWeights, y: Real, rows: usize) {
        let x = self.acts.get(x.range());
        let y = self.reals.get_mut(y.range());
        let onto = Onto::Rows(&self.values[layer.bias.range()]);
        let shape = [rows, layer.inputs, layer.outputs];
        let weight = Weights::new(&self.values, layer.weight);
        self.products.x_w_t(x, weight, y, shape, onto, None);
    }

    fn logits_backward(
        &mut self,
        dy: Real,
        x: Act,
        layer: LinearWeights,
        (dx, write): (Act, Write),
        rows: usize,
    ) {
        let dy = self.reals.get(dy.range());
        let ([x], [dx]) = self.acts.views([x.range()], [dx.range()]);
        let weight = Weights::new(&self.values, layer.weight);
        let shape = [rows, layer.inputs, layer.outputs];
        self.products.dy_w(dy, weight, dx, shape, onto(write));
        let ([], [dw, db]) = self
            .gradients
            .views([], [layer.weight.range(), layer.bias.range()]);
        self.products.dy_t_x(dy, x, dw, shape);
        add_columns(dy, layer.outputs, db);
    }
}

/// Adds rows of `values` to rows of a table that several of them may share, columns in tasks, rows in order.
pub(crate) fn scatter_rows(
    values: &[f32],
    width: usize,
    row_of: impl Fn(usize) -> usize + Sync,
    table: &mut [f32],
) {
    scatter_parts(values, width, 0..width, row_of, table);
}

/// The same with the columns `part` of rows of `stride`; the table's rows are as wide as the part.
pub(crate) fn scatter_parts(
    values: &[f32],
    stride: usize,
    part: std::ops::Range<usize>,
    row_of: impl Fn(usize) -> usize + Sync,
    table: &mut [f32],
) {
    #[inline(always)]
    fn add(values: &[f32], sums: &mut [f32]) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    let (rows, width) = (values.len() / stride, part.len());
    let table = Shared::new(table);
    (0..width.div_ceil(COLUMNS))
        .into_par_iter()
        .for_each(|task| {
            let first = task * COLUMNS;
            let columns = COLUMNS.min(width - first);
            vectors!({
                for i in 0..rows {
                    // SAFETY: this task alone writes these columns.
                    let sums = unsafe { table.row(row_of(i) * width + first, columns) };
                    add(&values[i * stride + part.start + first..][..columns], sums);
                }
            });
        });
}
