//! Embeddings on the CPU.

use rayon::prelude::*;

use super::{Embedding, EmbeddingInputs, EmbeddingWeights};
use crate::arena::Act;
use crate::backend::{DropoutAt, Rows};
use crate::cpu::{Cpu, vectors};
use crate::ops::layernorm::NormSaved;
use crate::ops::layernorm::cpu::{RowDropout, add_gains, backward_row, normalise, statistics};
use crate::ops::linear::cpu::scatter_rows;

/// Rows of one task.
const ROWS: usize = 16;

impl Embedding for Cpu {
    fn embedding(
        &mut self,
        inputs: EmbeddingInputs,
        weights: EmbeddingWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
        y: Act,
    ) {
        #[inline(always)]
        fn sum(token: &[f32], position: &[f32], kind: &[f32], z: &mut [f32]) {
            for (((z, a), b), c) in z.iter_mut().zip(token).zip(position).zip(kind) {
                *z = a + b + c;
            }
        }
        #[inline(always)]
        fn multiply(y: &mut [f32], factors: &[f32]) {
            for (y, f) in y.iter_mut().zip(factors) {
                *y *= f;
            }
        }
        let norm = weights.norm;
        let width = norm.width;
        let dropped = RowDropout::at(&self.dropout, dropout, &self.ints, rows);
        let values = &self.values;
        let tables =
            [weights.tokens, weights.positions, weights.types].map(|table| &values[table.range()]);
        let (gain, bias) = (&values[norm.gain.range()], &values[norm.bias.range()]);
        let ids = self.ints.get(inputs.ids.range());
        let types = self.ints.get(inputs.types.range());
        let positions = self.ints.get(rows.position.range());
        let ([], [z, y]) = self.acts.views([], [saved.z.range(), y.range()]);
        let ([], [mean, rstd]) = self
            .reals
            .views([], [saved.mean.range(), saved.rstd.range()]);
        let task = ROWS * width;
        z.par_chunks_mut(task)
            .zip(y.par_chunks_mut(task))
            .zip(mean.par_chunks_mut(ROWS))
            .zip(rstd.par_chunks_mut(ROWS))
            .enumerate()
            .for_each_init(
                || vec![0.0; width],
                |factors, (task, (((z, y), mean), rstd))| {
                    vectors!({
                        for i in 0..mean.len() {
                            let row = task * ROWS + i;
                            let of = |table: usize, entry: u32| {
                                &tables[table][entry as usize * width..][..width]
                            };
                            let (z, y) =
                                (&mut z[i * width..][..width], &mut y[i * width..][..width]);
                            sum(of(0, ids[row]), of(1, positions[row]), of(2, types[row]), z);
                            (mean[i], rstd[i]) = statistics(z, norm.eps);
                            normalise(z, gain, bias, mean[i], rstd[i], y);
                            if let Some(dropped) = dropped {
                                dropped.factors(row, factors);
                                multiply(y, factors);
                            }
                        }
                    });
                },
            );
    }

    fn embedding_backward(
        &mut self,
        d: Act,
        inputs: EmbeddingInputs,
        weights: EmbeddingWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
    ) {
        #[inline(always)]
        fn multiply(d: &mut [f32], factors: &[f32]) {
            for (d, f) in d.iter_mut().zip(factors) {
                *d *= f;
            }
        }
        let norm = weights.norm;
        let width = norm.width;
        let dropped = RowDropout::at(&self.dropout, dropout, &self.ints, rows);
        let gain = &self.values[norm.gain.range()];
        let ids = self.ints.get(inputs.ids.range());
        let types = self.ints.get(inputs.types.range());
        let positions = self.ints.get(rows.position.range());
        let ([z], [d]) = self.acts.views([saved.z.range()], [d.range()]);
        let ([mean, rstd], []) = self
            .reals
            .views([saved.mean.range(), saved.rstd.range()], []);
        if let Some(dropped) = dropped {
            d.par_chunks_mut(width).enumerate().for_each_init(
                || vec![0.0; width],
                |factors, (row, d)| {
                    vectors!({
                        dropped.factors(row, factors);
                        multiply(d, factors);
                    });
                },
            );
        }
        let ([], [d_tokens, d_positions, d_types, d_gain, d_bias]) = self.gradients.views(
            [],
            [
                weights.tokens.range(),
                weights.positions.range(),
                weights.types.range(),
                norm.gain.range(),
                norm.bias.range(),
            ],
        );
        add_gains(d, z, mean, rstd, d_gain, d_bias);
        let task = ROWS * width;
        d.par_chunks_mut(task)
            .zip(z.par_chunks(task))
            .zip(mean.par_chunks(ROWS))
            .zip(rstd.par_chunks(ROWS))
            .for_each(|(((d, z), mean), rstd)| {
                vectors!({
                    for i in 0..mean.len() {
                        let row = i * width..(i + 1) * width;
                        backward_row(&z[row.clone()], gain, mean[i], rstd[i], &mut d[row]);
                    }
                });
            });
        scatter_rows(d, width, |i| ids[i] as usize, d_tokens);
        scatter_rows(d, width, |i| positions[i] as usize, d_positions);
        scatter_rows(d, width, |i| types[i] as usize, d_types);
    }
}
