//! The optimizer on the CPU.

use rayon::prelude::*;

use super::{AdamW, Group, Update};
use crate::arena::Real;
use crate::cpu::math::{LANES, tree};
use crate::cpu::{Cpu, vectors};

/// Elements of one task; also the parts whose sums are added in order.
const TASK: usize = 1 << 15;

#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] = chunk[lane].mul_add(chunk[lane], sums[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        sums[lane] = value.mul_add(*value, sums[lane]);
    }
    tree(sums)
}

#[inline(always)]
fn kernel(
    group: &Group,
    update: &Update,
    scale: f32,
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let rate = update.learning_rate * group.multiplier;
    let (b1, b2) = (update.beta1, update.beta2);
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g * scale;
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        let step = update.correction * *m / (v.sqrt() + update.epsilon) + group.decay * *p;
        *p -= rate * step;
    }
}

impl AdamW for Cpu {
    fn gradient_norm(&mut self, norm: Real) {
        let all = self.gradients.get(0..self.gradients.len());
        let parts: Vec<f32> = all
            .par_chunks(TASK)
            .map(|part| vectors!(sum_of_squares(part)))
            .collect();
        let sum: f64 = parts.iter().map(|part| f64::from(*part)).sum();
        self.reals.get_mut(norm.range())[0] = sum.sqrt() as f32;
    }

    fn adamw(&mut self, groups: &[Group], update: Update, norm: Real) {
        let norm = self.reals.get(norm.range())[0];
        let scale = update.clip.map_or(1.0, |clip| clip / norm.max(clip));
        for group in groups {
            let range = group.at.range();
            let p = &mut self.values[range.clone()];
            let g = self.gradients.get(range.clone());
            let (m, v) = (&mut self.first[range.clone()], &mut self.second[range]);
            p.par_chunks_mut(TASK)
                .zip(g.par_chunks(TASK))
                .zip(m.par_chunks_mut(TASK))
                .zip(v.par_chunks_mut(TASK))
                .for_each(|(((p, g), m), v)| {
                    vectors!(kernel(group, &update, scale, p, g, m, v));
                });
        }
    }
}
