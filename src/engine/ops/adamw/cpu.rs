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
    let (b1, b2) = (update.beta1 as f32, update.beta2 as f32);
    let (new1, new2) = ((1.0 - update.beta1) as f32, (1.0 - update.beta2) as f32);
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = g * scale;
        *m = b1 * *m + new1 * g;
        *v = b2 * *v + new2 * g * g;
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
        if !norm.is_finite() {
            return;
        }
        let scale = update.clip.map_or(1.0, |clip| clip / norm.max(clip));
        self.products.weights_changed();
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

    fn hold_gradients(&mut self, clip: f32, norm: Real, is_first: bool) {
        let norm = self.reals.get(norm.range())[0];
        let scale = clip / norm.max(clip);
        let all = self.gradients.get(0..self.gradients.len());
        let held = self.held.par_chunks_mut(TASK).zip(all.par_chunks(TASK));
        held.for_each(|(held, g)| {
            if is_first {
                held.fill(0.0);
            }
            for (held, g) in held.iter_mut().zip(g) {
                *held += scale * g;
            }
        });
    }

    fn take_held_gradients(&mut self) {
        let all = 0..self.gradients.len();
        self.gradients.get_mut(all).copy_from_slice(&self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{Plan, Weight};
    use crate::backend::{Array, Memory as _};

    fn update(clip: Option<f32>) -> Update {
        Update {
            learning_rate: 1.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            correction: 1.0,
            clip,
        }
    }

    fn device(n: usize) -> (Cpu, Real, Weight) {
        let mut plan = Plan::default();
        let norm = plan.real(1);
        plan.hold_gradients();
        let mut cpu = Cpu::new(1).expect("threads");
        cpu.allocate(&plan, n).expect("fits");
        (cpu, norm, Weight::new(0, n))
    }

    /// The golden check of the specification: from zeros with g = 1 and lr = 1 the update is 0.1 / (sqrt(0.001) + 1e-6).
    #[test]
    fn the_first_step_is_not_corrected_for_bias() {
        let (mut cpu, norm, at) = device(40);
        cpu.write_weights(Array::Gradient, at, &[1.0; 40]);
        let group = Group {
            at,
            multiplier: 1.0,
            decay: 0.0,
        };
        cpu.gradient_norm(norm);
        cpu.adamw(&[group], update(None), norm);
        let expected = 0.1 / (0.001_f64.sqrt() + 1e-6);
        assert!((expected - 3.1622).abs() < 1e-4);
        for value in cpu.read_weights(Array::Value, at) {
            assert!((f64::from(value) / expected + 1.0).abs() < 2e-7, "{value}");
        }
        // Clipped to 1, each of the 40 is 1 / sqrt(40); its root scales both moments alike.
        let (mut cpu, norm, at) = device(40);
        cpu.write_weights(Array::Gradient, at, &[1.0; 40]);
        cpu.gradient_norm(norm);
        assert!((cpu.read_reals(norm)[0] - 40.0_f32.sqrt()).abs() < 1e-6);
        cpu.adamw(&[group], update(Some(1.0)), norm);
        let g = 1.0 / 40.0_f64.sqrt();
        let expected = 0.1 * g / ((0.001 * g * g).sqrt() + 1e-6);
        for value in cpu.read_weights(Array::Value, at) {
            assert!((f64::from(value) / expected + 1.0).abs() < 5e-7, "{value}");
        }
    }

    #[test]
    fn held_gradients_are_the_sum_of_clipped_ones() {
        let (mut cpu, norm, at) = device(2);
        for (gradient, is_first) in [([3.0, 4.0], true), ([0.3, 0.4], false)] {
            cpu.write_weights(Array::Gradient, at, &gradient);
            cpu.gradient_norm(norm);
            cpu.hold_gradients(1.0, norm, is_first);
        }
        cpu.take_held_gradients();
        // (3, 4) has norm 5 and becomes (0.6, 0.8); (0.3, 0.4) stays.
        let sum = cpu.read_weights(Array::Gradient, at);
        assert!(
            (sum[0] - 0.9).abs() < 1e-6 && (sum[1] - 1.2).abs() < 1e-6,
            "{sum:?}"
        );
        cpu.write_weights(Array::Gradient, at, &[0.1, 0.1]);
        cpu.gradient_norm(norm);
        cpu.hold_gradients(1.0, norm, true);
        cpu.take_held_gradients();
        assert_eq!(cpu.read_weights(Array::Gradient, at), [0.1, 0.1]);
    }
}
