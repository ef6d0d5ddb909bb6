//! Weighted means on the CPU: sequences side by side, rows of a sequence in order.

use rayon::prelude::*;

use super::{Mixed, Mixture};
use crate::arena::{Act, Real};
use crate::cpu::Cpu;
use crate::ops::losses::Choices;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

impl Mixture for Cpu {
    fn mixture(
        &mut self,
        x: Act,
        width: usize,
        logits: Real,
        choices: Choices,
        weights: Real,
        y: Act,
    ) {
        let starts = self.ints.get(choices.sequences.starts.range());
        let allowed = self.ints.get(choices.allowed.range());
        let ([logits], [weights]) = self.reals.views([logits.range()], [weights.range()]);
        for bounds in starts[..=choices.sequences.count].windows(2) {
            let rows = bounds[0] as usize..bounds[1] as usize;
            let of = |row: usize| (allowed[row] == 1).then_some(f64::from(logits[row]));
            let top = rows.clone().filter_map(of).fold(f64::MIN, f64::max);
            let all = rows.clone().filter_map(of);
            let sum: f64 = all.map(|logit| (logit - top).exp()).sum();
            for row in rows {
                weights[row] = of(row).map_or(0.0, |logit| ((logit - top).exp() / sum) as f32);
            }
        }
        weights[starts[choices.sequences.count] as usize..].fill(0.0);
        let ([x], [y]) = self.acts.views([x.range()], [y.range()]);
        let weights = &*weights;
        y.par_chunks_mut(width).enumerate().for_each(|(i, y)| {
            y.fill(0.0);
            for row in starts[i] as usize..starts[i + 1] as usize {
                for (y, x) in y.iter_mut().zip(&x[row * width..][..width]) {
                    *y += weights[row] * x;
                }
            }
        });
    }

    fn mixture_backward(
        &mut self,
        dy: Act,
        made: Mixed,
        choices: Choices,
        dx: Act,
        d_logits: Real,
    ) {
        let width = made.width;
        let starts = self.ints.get(choices.sequences.starts.range());
        let ([weights], [d_logits]) =
            (self.reals).views([made.weights.range()], [d_logits.range()]);
        let ([dy, x, y], [dx]) =
            (self.acts).views([dy.range(), made.x.range(), made.y.range()], [dx.range()]);
        for i in 0..choices.sequences.count {
            let rows = starts[i] as usize..starts[i + 1] as usize;
            let at = i * width..(i + 1) * width;
            let (dy, mean) = (&dy[at.clone()], dot(&dy[at.clone()], &y[at]));
            let elements = rows.start * width..rows.end * width;
            dx[elements.clone()]
                .par_chunks_mut(width)
                .zip(x[elements].par_chunks(width))
                .zip(&mut d_logits[rows.clone()])
                .zip(&weights[rows])
                .for_each(|(((dx, x), d_logit), p)| {
                    *d_logit += (f64::from(*p) * (dot(x, dy) - mean)) as f32;
                    for (dx, dy) in dx.iter_mut().zip(dy) {
                        *dx += p * dy;
                    }
                });
        }
    }
}
