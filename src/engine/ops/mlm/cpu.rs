//! The generator's loss on the CPU: logits of some slots by one product, then each slot's row in the cache.

use rayon::prelude::*;

use super::{MaskedLm, MlmSum, OutputWeights, Sampling, slots_at_a_time};
use crate::arena::{Act, Ints, Real};
use crate::backend::Rows;
use crate::cpu::math::{LANES, exp, ln, tree};
use crate::cpu::matmul::{Onto, Weights};
use crate::cpu::{Cpu, vectors};
use crate::ops::linear::cpu::add_columns;
use crate::ops::losses::IGNORED;
use crate::random::{Draw, Purpose, Stream, WORDS_PER_BLOCK, unit};

/// What is found in a slot's row.
#[derive(Clone, Copy, Default)]
struct Found {
    loss: f32,
    is_correct: bool,
    sample: u32,
}

/// Adds the bias, and says which entry is largest; the first of equals.
#[inline(always)]
fn add_bias(row: &mut [f32], bias: &[f32]) -> (f32, u32) {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut at = [0_u32; LANES];
    let whole = row.len() - row.len() % LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let value = row[i + lane] + bias[i + lane];
            row[i + lane] = value;
            let is_more = value > best[lane];
            best[lane] = if is_more { value } else { best[lane] };
            at[lane] = if is_more { (i + lane) as u32 } else { at[lane] };
        }
    }
    for lane in 0..row.len() - whole {
        let value = row[whole + lane] + bias[whole + lane];
        row[whole + lane] = value;
        if value > best[lane] {
            (best[lane], at[lane]) = (value, (whole + lane) as u32);
        }
    }
    first_best(&best, &at)
}

#[inline(always)]
fn first_best(best: &[f32; LANES], at: &[u32; LANES]) -> (f32, u32) {
    let mut found = (best[0], at[0]);
    for lane in 1..LANES {
        if best[lane] > found.0 || (best[lane] == found.0 && at[lane] < found.1) {
            found = (best[lane], at[lane]);
        }
    }
    found
}

/// The entry with the largest `logit / T + g`, `g = -ln(-ln(u + 1e-9) + 1e-9)`, as spec D.2 has it.
///
/// `exp` of that sum is `exp(logit / T) / (-ln(u + 1e-9) + 1e-9)`, which needs one logarithm instead of two.
#[inline(always)]
fn sample(
    row: &[f32],
    top: f32,
    target: u32,
    sampling: &Sampling,
    stream: Stream,
    draw: Draw,
    slot: u32,
) -> u32 {
    let inverse = 1.0 / sampling.temperature;
    let blocks = row.len().div_ceil(WORDS_PER_BLOCK) as u64;
    let first = u64::from(slot) * blocks;
    let mut best = [-1.0_f32; LANES];
    let mut at = [0_u32; LANES];
    for (block, values) in row.chunks(WORDS_PER_BLOCK).enumerate() {
        let words = stream.block(draw, first + block as u64);
        let start = block * WORDS_PER_BLOCK;
        for (word, values) in values.chunks(LANES).enumerate() {
            let from = start + word * LANES;
            for (lane, value) in values.iter().enumerate() {
                let u = unit(words[word][lane]);
                let waiting = 1e-9 - ln(u + 1e-9);
                let i = (from + lane) as u32;
                let penalty = if sampling.disallow_correct && i == target {
                    1000.0
                } else {
                    0.0
                };
                let score = exp((value - top) * inverse - penalty) / waiting;
                let is_more = score > best[lane];
                best[lane] = if is_more { score } else { best[lane] };
                at[lane] = if is_more { i } else { at[lane] };
            }
        }
    }
    first_best(&best, &at).1
}

#[inline(always)]
fn sum_of_exponentials(row: &[f32], top: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += exp(chunk[lane] - top);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        sums[lane] += exp(value - top);
    }
    tree(sums)
}

#[inline(always)]
fn to_gradient(row: &mut [f32], lse: f32, scale: f32) {
    for value in row {
        *value = scale * exp(*value - lse);
    }
}

impl MaskedLm for Cpu {
    fn masked_lm(
        &mut self,
        x: Act,
        weights: OutputWeights,
        targets: Ints,
        slots: Rows,
        sampling: Option<(Sampling, Ints)>,
        gradient: Option<(f32, Act)>,
        sums: Real,
        scratch: Real,
    ) {
        let OutputWeights { entries, width, .. } = weights;
        let dx = gradient.map_or(0..0, |(_, dx)| dx.range());
        let ([x], [dx]) = self.acts.views([x.range()], [dx]);
        let stream = sampling.map(|(s, _)| Stream::new(s.seed, Purpose::Gumbel));
        let mut samples = Vec::new();
        let (mut loss, mut correct, mut sampled) = (0.0_f64, 0_u32, 0_u32);
        let at_a_time = slots_at_a_time(scratch, entries);
        for first in (0..slots.count).step_by(at_a_time) {
            let count = at_a_time.min(slots.count - first);
            let x = &x[first * width..][..count * width];
            let logits = &mut self.reals.get_mut(scratch.range())[..count * entries];
            let table = Weights::new(&self.values, weights.table);
            let shape = [count, width, entries];
            self.products
                .x_w_t(x, table, logits, shape, Onto::Nothing, None);
            let bias = &self.values[weights.bias.range()];
            let part = |ints: Ints| &self.ints.get(ints.range())[first..][..count];
            let (targets, sequence, number) =
                (part(targets), part(slots.sequence), part(slots.position));
            let found: Vec<Found> = logits
                .par_chunks_exact_mut(entries)
                .enumerate()
                .map(|(i, row)| {
                    let target = targets[i];
                    if target == IGNORED {
                        row.fill(0.0);
                        return Found::default();
                    }
                    vectors!({
                        let (top, best) = add_bias(row, bias);
                        let mut found = Found {
                            is_correct: best == target,
                            ..Found::default()
                        };
                        if let (Some((sampling, _)), Some(stream)) = (&sampling, stream) {
                            let draw = Draw {
                                step: sampling.step,
                                sequence: sequence[i],
                            };
                            found.sample =
                                sample(row, top, target, sampling, stream, draw, number[i]);
                        }
                        let lse = top + ln(sum_of_exponentials(row, top));
                        found.loss = lse - row[target as usize];
                        if let Some((scale, _)) = gradient {
                            to_gradient(row, lse, scale);
                            row[target as usize] -= scale;
                        }
                        found
                    })
                })
                .collect();
            for (found, target) in found.iter().zip(targets) {
                loss += f64::from(found.loss);
                correct += u32::from(found.is_correct);
                sampled += u32::from(sampling.is_some() && found.sample == *target);
                samples.push(found.sample);
            }
            if gradient.is_some() {
                let dx = &mut dx[first * width..][..count * width];
                self.products.dy_w(logits, table, dx, shape, Onto::Nothing);
                let ([], [d_table, d_bias]) = self
                    .gradients
                    .views([], [weights.table.range(), weights.bias.range()]);
                self.products.dy_t_x(logits, x, d_table, shape);
                add_columns(logits, entries, d_bias);
            }
        }
        if let Some((_, place)) = sampling {
            self.ints.get_mut(place.range()).copy_from_slice(&samples);
        }
        let sums = self.reals.get_mut(sums.range());
        sums[MlmSum::Loss as usize] += loss as f32;
        sums[MlmSum::Correct as usize] += correct as f32;
        sums[MlmSum::SampledCorrect as usize] += sampled as f32;
    }
}
