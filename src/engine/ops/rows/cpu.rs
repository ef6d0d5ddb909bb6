//! Rows on the CPU.

use rayon::prelude::*;

use super::RowOps;
use crate::arena::{Act, Ints};
use crate::backend::{DropoutAt, Rows};
use crate::cpu::{Cpu, vectors};
use crate::ops::layernorm::cpu::RowDropout;
use crate::ops::linear::cpu::scatter_rows;

impl RowOps for Cpu {
    fn gather(&mut self, x: Act, index: Ints, width: usize, y: Act) {
        let index = self.ints.get(index.range());
        let ([x], [y]) = self.acts.views([x.range()], [y.range()]);
        y.par_chunks_mut(width)
            .zip(index)
            .for_each(|(y, i)| y.copy_from_slice(&x[*i as usize * width..][..width]));
    }

    fn gather_backward(&mut self, dy: Act, index: Ints, width: usize, dx: Act) {
        let index = self.ints.get(index.range());
        let ([dy], [dx]) = self.acts.views([dy.range()], [dx.range()]);
        scatter_rows(dy, width, |i| index[i] as usize, dx);
    }

    fn dropout(&mut self, x: Act, width: usize, at: DropoutAt, rows: Rows, y: Act) {
        #[inline(always)]
        fn multiply(x: &[f32], factors: &[f32], y: &mut [f32]) {
            for ((y, x), f) in y.iter_mut().zip(x).zip(factors) {
                *y = x * f;
            }
        }
        let dropped = RowDropout::at(&self.dropout, at, &self.ints, rows);
        let ([x], [y]) = self.acts.views([x.range()], [y.range()]);
        let Some(dropped) = dropped else {
            y.copy_from_slice(x);
            return;
        };
        y.par_chunks_mut(width)
            .zip(x.par_chunks(width))
            .enumerate()
            .for_each_init(
                || vec![0.0; width],
                |factors, (row, (y, x))| {
                    vectors!({
                        dropped.factors(row, factors);
                        multiply(x, factors, y);
                    });
                },
            );
    }
}
