//! Layer normalisation on the CPU: a task takes some rows, and each row stays in the nearest cache.

use rayon::prelude::*;

use super::{LayerNorm, NormSaved, NormWeights};
use crate::arena::Act;
use crate::backend::{Dropout, DropoutAt, Rows};
use crate::cpu::math::{LANES, tree};
use crate::cpu::{Block, Cpu, vectors};
use crate::random::{Draw, HALVES_PER_BLOCK, Rate, Stream};

/// Rows of one task.
const ROWS: usize = 16;
/// Columns of one task of the sums over rows.
const COLUMNS: usize = 64;

/// Factors of a row's units at a place: for the row at `position` of a sequence, from block `position * blocks` on.
#[derive(Clone, Copy)]
pub(crate) struct RowDropout<'a> {
    pub(crate) rate: Rate,
    pub(crate) stream: Stream,
    pub(crate) step: u32,
    pub(crate) sequence: &'a [u32],
    pub(crate) position: &'a [u32],
}

impl<'a> RowDropout<'a> {
    /// Dropout of rows at a place; `None` where nothing is dropped.
    pub(crate) fn at(
        dropout: &Dropout,
        at: DropoutAt,
        ints: &'a Block<u32>,
        rows: Rows,
    ) -> Option<Self> {
        let (stream, step) = dropout.stream(at)?;
        Some(Self {
            rate: at.rate,
            stream,
            step,
            sequence: ints.get(rows.sequence.range()),
            position: ints.get(rows.position.range()),
        })
    }

    /// The factors of row `row`, of `factors.len()` units.
    #[inline(always)]
    pub(crate) fn factors(&self, row: usize, factors: &mut [f32]) {
        let blocks = factors.len().div_ceil(HALVES_PER_BLOCK) as u64;
        let draw = Draw {
            step: self.step,
            sequence: self.sequence[row],
        };
        let first = u64::from(self.position[row]) * blocks;
        self.rate.factors(self.stream, draw, first, factors);
    }
}

/// Mean and `1 / sqrt(var + eps)` of a row, in two passes: the variance of what is left when the mean is taken away.
#[inline(always)]
pub(crate) fn statistics(z: &[f32], eps: f32) -> (f32, f32) {
    let n = z.len() as f32;
    let (chunks, rest) = z.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane];
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value;
    }
    let mean = tree(sums) / n;
    let mut squares = [0.0_f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            let d = chunk[lane] - mean;
            squares[lane] = d.mul_add(d, squares[lane]);
        }
    }
    for (sum, value) in squares.iter_mut().zip(rest) {
        let d = value - mean;
        *sum = d.mul_add(d, *sum);
    }
    (mean, 1.0 / (tree(squares) / n + eps).sqrt())
}

#[inline(always)]
pub(crate) fn normalise(
    z: &[f32],
    gain: &[f32],
    bias: &[f32],
    mean: f32,
    rstd: f32,
    y: &mut [f32],
) {
    for (((y, z), gain), bias) in y.iter_mut().zip(z).zip(gain).zip(bias) {
        *y = ((z - mean) * rstd).mul_add(*gain, *bias);
    }
}

/// `d`: in `dy`, out `dz = rstd * (g - mean(g) - xhat * mean(g * xhat))` with `g = dy * gain`.
#[inline(always)]
pub(crate) fn backward_row(z: &[f32], gain: &[f32], mean: f32, rstd: f32, d: &mut [f32]) {
    let n = z.len();
    let mut sums = [0.0_f32; LANES];
    let mut products = [0.0_f32; LANES];
    let whole = n - n % LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let g = d[i + lane] * gain[i + lane];
            sums[lane] += g;
            products[lane] = g.mul_add((z[i + lane] - mean) * rstd, products[lane]);
        }
    }
    for lane in 0..n - whole {
        let g = d[whole + lane] * gain[whole + lane];
        sums[lane] += g;
        products[lane] = g.mul_add((z[whole + lane] - mean) * rstd, products[lane]);
    }
    let (a, b) = (tree(sums) / n as f32, tree(products) / n as f32);
    for ((d, gain), z) in d.iter_mut().zip(gain).zip(z) {
        let xhat = (z - mean) * rstd;
        *d = rstd * (*d * gain - a - xhat * b);
    }
}

/// `d_gain += sum of dy * xhat`, `d_bias += sum of dy`, rows in order.
pub(crate) fn add_gains(
    dy: &[f32],
    z: &[f32],
    mean: &[f32],
    rstd: &[f32],
    d_gain: &mut [f32],
    d_bias: &mut [f32],
) {
    #[inline(always)]
    fn kernel(
        dy: &[f32],
        z: &[f32],
        mean: &[f32],
        rstd: &[f32],
        width: usize,
        first: usize,
        d_gain: &mut [f32],
        d_bias: &mut [f32],
    ) {
        let columns = d_gain.len();
        for (i, (mean, rstd)) in mean.iter().zip(rstd).enumerate() {
            let dy = &dy[i * width + first..][..columns];
            let z = &z[i * width + first..][..columns];
            for j in 0..columns {
                d_gain[j] = dy[j].mul_add((z[j] - mean) * rstd, d_gain[j]);
                d_bias[j] += dy[j];
            }
        }
    }
    let width = d_gain.len();
    d_gain
        .par_chunks_mut(COLUMNS)
        .zip(d_bias.par_chunks_mut(COLUMNS))
        .enumerate()
        .for_each(|(i, (d_gain, d_bias))| {
            vectors!(kernel(
                dy,
                z,
                mean,
                rstd,
                width,
                i * COLUMNS,
                d_gain,
                d_bias
            ));
        });
}

impl LayerNorm for Cpu {
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
        #[inline(always)]
        fn kernel(
            first: usize,
            h: &[f32],
            residual: &[f32],
            gain: &[f32],
            bias: &[f32],
            eps: f32,
            dropout: Option<RowDropout<'_>>,
            z: &mut [f32],
            y: &mut [f32],
            mean: &mut [f32],
            rstd: &mut [f32],
            factors: &mut [f32],
        ) {
            let width = gain.len();
            for i in 0..mean.len() {
                let row = i * width..(i + 1) * width;
                let (h, residual) = (&h[row.clone()], &residual[row.clone()]);
                let z = &mut z[row.clone()];
                if let Some(dropout) = dropout {
                    dropout.factors(first + i, factors);
                    for (((z, h), x), f) in z.iter_mut().zip(h).zip(residual).zip(&*factors) {
                        *z = h.mul_add(*f, *x);
                    }
                } else {
                    for ((z, h), x) in z.iter_mut().zip(h).zip(residual) {
                        *z = h + x;
                    }
                }
                (mean[i], rstd[i]) = statistics(z, eps);
                normalise(z, gain, bias, mean[i], rstd[i], &mut y[row]);
            }
        }
        let width = norm.width;
        let dropped = RowDropout::at(&self.dropout, dropout, &self.ints, rows);
        let (gain, bias) = (
            &self.values[norm.gain.range()],
            &self.values[norm.bias.range()],
        );
        let ([h, residual], [z, y]) = self
            .acts
            .views([h.range(), residual.range()], [saved.z.range(), y.range()]);
        let ([], [mean, rstd]) = self
            .reals
            .views([], [saved.mean.range(), saved.rstd.range()]);
        let task = ROWS * width;
        h.par_chunks(task)
            .zip(residual.par_chunks(task))
            .zip(z.par_chunks_mut(task))
            .zip(y.par_chunks_mut(task))
            .zip(mean.par_chunks_mut(ROWS))
            .zip(rstd.par_chunks_mut(ROWS))
            .enumerate()
            .for_each_init(
                || vec![0.0; width],
                |factors, (i, (((((h, residual), z), y), mean), rstd))| {
                    vectors!({
                        kernel(
                            i * ROWS,
                            h,
                            residual,
                            gain,
                            bias,
                            norm.eps,
                            dropped,
                            z,
                            y,
                            mean,
                            rstd,
                            factors,
                        );
                    });
                },
            );
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
        #[inline(always)]
        fn kernel(
            first: usize,
            z: &[f32],
            gain: &[f32],
            mean: &[f32],
            rstd: &[f32],
            dropout: Option<RowDropout<'_>>,
            d: &mut [f32],
            dh: &mut [f32],
            factors: &mut [f32],
        ) {
            let width = gain.len();
            for i in 0..mean.len() {
                let row = i * width..(i + 1) * width;
                let (d, dh) = (&mut d[row.clone()], &mut dh[row.clone()]);
                backward_row(&z[row], gain, mean[i], rstd[i], d);
                if let Some(dropout) = dropout {
                    dropout.factors(first + i, factors);
                    for ((dh, d), f) in dh.iter_mut().zip(&*d).zip(&*factors) {
                        *dh = d * f;
                    }
                } else {
                    dh.copy_from_slice(d);
                }
            }
        }
        let width = norm.width;
        let dropped = RowDropout::at(&self.dropout, dropout, &self.ints, rows);
        let gain = &self.values[norm.gain.range()];
        let ([z], [d, dh]) = self.acts.views([saved.z.range()], [d.range(), dh.range()]);
        let ([mean, rstd], []) = self
            .reals
            .views([saved.mean.range(), saved.rstd.range()], []);
        let ([], [d_gain, d_bias]) = self
            .gradients
            .views([], [norm.gain.range(), norm.bias.range()]);
        add_gains(d, z, mean, rstd, d_gain, d_bias);
        let task = ROWS * width;
        z.par_chunks(task)
            .zip(d.par_chunks_mut(task))
            .zip(dh.par_chunks_mut(task))
            .zip(mean.par_chunks(ROWS))
            .zip(rstd.par_chunks(ROWS))
            .enumerate()
            .for_each_init(
                || vec![0.0; width],
                |factors, (i, ((((z, d), dh), mean), rstd))| {
                    vectors!({
                        kernel(i * ROWS, z, gain, mean, rstd, dropped, d, dh, factors);
                    });
                },
            );
    }

    fn norm(&mut self, norm: NormWeights, rows: usize, saved: NormSaved, y: Act) {
        #[inline(always)]
        fn kernel(
            z: &[f32],
            gain: &[f32],
            bias: &[f32],
            eps: f32,
            y: &mut [f32],
            mean: &mut [f32],
            rstd: &mut [f32],
        ) {
            let width = gain.len();
            for i in 0..mean.len() {
                let row = i * width..(i + 1) * width;
                (mean[i], rstd[i]) = statistics(&z[row.clone()], eps);
                let y = &mut y[row.clone()];
                normalise(&z[row], gain, bias, mean[i], rstd[i], y);
            }
        }
        let (gain, bias) = (
            &self.values[norm.gain.range()],
            &self.values[norm.bias.range()],
        );
        let ([z], [y]) = self.acts.views([saved.z.range()], [y.range()]);
        let ([], [mean, rstd]) = self
            .reals
            .views([], [saved.mean.range(), saved.rstd.range()]);
        debug_assert_eq!(mean.len(), rows);
        let task = ROWS * norm.width;
        z.par_chunks(task)
            .zip(y.par_chunks_mut(task))
            .zip(mean.par_chunks_mut(ROWS))
            .zip(rstd.par_chunks_mut(ROWS))
            .for_each(|(((z, y), mean), rstd)| {
                vectors!(kernel(z, gain, bias, norm.eps, y, mean, rstd));
            });
    }

    fn norm_backward(&mut self, d: Act, saved: NormSaved, norm: NormWeights, rows: usize) {
        #[inline(always)]
        fn kernel(z: &[f32], gain: &[f32], mean: &[f32], rstd: &[f32], d: &mut [f32]) {
            let width = gain.len();
            for i in 0..mean.len() {
                let row = i * width..(i + 1) * width;
                backward_row(&z[row.clone()], gain, mean[i], rstd[i], &mut d[row]);
            }
        }
        let gain = &self.values[norm.gain.range()];
        let ([z], [d]) = self.acts.views([saved.z.range()], [d.range()]);
        let ([mean, rstd], []) = self
            .reals
            .views([saved.mean.range(), saved.rstd.range()], []);
        debug_assert_eq!(mean.len(), rows);
        let ([], [d_gain, d_bias]) = self
            .gradients
            .views([], [norm.gain.range(), norm.bias.range()]);
        add_gains(d, z, mean, rstd, d_gain, d_bias);
        let task = ROWS * norm.width;
        z.par_chunks(task)
            .zip(d.par_chunks_mut(task))
            .zip(mean.par_chunks(ROWS))
            .zip(rstd.par_chunks(ROWS))
            .for_each(|(((z, d), mean), rstd)| vectors!(kernel(z, gain, mean, rstd, d)));
    }
}
