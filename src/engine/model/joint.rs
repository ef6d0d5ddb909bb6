//! ELECTRA's own head for questions: a start, an end judged together with that start, and whether there is an answer at
//! all. Spec E.5, `qa_tasks.py` of Google's code. Knows no texts and no examples.
//!
//! With `x` (tokens, H), what the encoder says: start logits `s_i = Linear H -> 1` of `x_i`; end logits for a start `k`
//! `Linear 512 -> 1 (GELU (Linear 2H -> 512 [x_k, x_i]))`; and for "there is no answer" `Linear 512 -> 1 (GELU (Linear
//! 2H -> 512 [x_0, sum of p_i x_i]))` with `p = softmax(s)`. An answer is a row of segment 1 or `[CLS]`; other rows get
//! -1000 in Google's code, here they are left out, which is the same in f32.
//!
//! In training `k` is the start that is right; in prediction it is each of the best [`BEAM`] starts.

use crate::arena::{Act, Ints, Plan, Real};
use crate::backend::{Backend, Write};
use crate::config::ElectraConfig;
use crate::model::batch::{Batch, Sequence};
use crate::model::encoder::add_linear;
use crate::ops::linear::LinearWeights;
use crate::ops::losses::Choices;
use crate::ops::mixture::Mixed;
use crate::ops::pairs::Half;
use crate::parameters::{Init, Parameters};

/// Starts that are looked at in each sequence, and ends for each of them (`beam_size`).
pub const BEAM: usize = 20;
/// Width of the hidden layers.
const HIDDEN: usize = 512;
/// Share of the loss of "there is no answer" (`answerable_weight`).
pub const ANSWERABLE_WEIGHT: f32 = 0.5;
/// Where its tensors are.
const PREFIX: &str = "joint.";

/// What stands beside the start's logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JointHead {
    end_hidden: LinearWeights,
    end: LinearWeights,
    answer_hidden: LinearWeights,
    answer: LinearWeights,
}

/// What the head needs beside the room of every head.
#[derive(Clone, Copy, Debug)]
pub struct JointSaved {
    /// By row: 1 where an answer may begin or end.
    allowed: Ints,
    /// The numbers of rows, from 0.
    own: Ints,
    /// By row: where a start is.
    starts: Ints,
    pairs: Act,
    d_pairs: Act,
    u: Act,
    g: Act,
    d_g: Act,
    weights: Real,
    end_logits: Real,
    d_end: Real,
    means: Act,
    d_means: Act,
    answer: AnswerRoom,
}

#[derive(Clone, Copy, Debug)]
struct AnswerRoom {
    pairs: Act,
    d_pairs: Act,
    u: Act,
    g: Act,
    d_g: Act,
    logits: Real,
    d_logits: Real,
    /// What is right, by sequence.
    first: Ints,
    last: Ints,
    impossible: Ints,
}

/// What is right for the sequences of a batch; rows count from each sequence's first.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// The sequences.
    pub sequences: &'a [Sequence<'a>],
    /// First row of each answer.
    pub starts: &'a [u32],
    /// Last row of each answer.
    pub ends: &'a [u32],
    /// 1 where there is no answer, else 0.
    pub impossible: &'a [u32],
    /// That of the batch.
    pub padded_to: Option<usize>,
}

/// A first and a last row and how likely each is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// First row of the sequence.
    pub start: u32,
    /// Last row.
    pub end: u32,
    /// Logarithm of the start's probability.
    pub start_score: f32,
    /// Logarithm of the end's, given the start.
    pub end_score: f32,
}

/// What a model says of a sequence's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Beams {
    /// The best ends of the best starts: best start first, then best end first.
    pub spans: Vec<Span>,
    /// The logit of "there is no answer".
    pub impossible: f32,
}

/// Whether a row may be an answer's first or last.
#[must_use]
pub fn is_choice(sequence: &[u32], row: usize) -> bool {
    row == 0 || sequence.get(row) == Some(&1)
}

impl JointHead {
    /// The layer of start logits, which every head has as its output, and the rest.
    pub(crate) fn add(
        parameters: &mut Parameters,
        config: &ElectraConfig,
        depth: u32,
    ) -> (LinearWeights, Self) {
        let h = config.hidden_size;
        let mut linear = |name: &str, shape: [usize; 2]| {
            let name = format!("{PREFIX}{name}");
            add_linear(parameters, &name, shape, Init::GlorotUniform, depth)
        };
        let start = linear("start", [h, 1]);
        let head = Self {
            end_hidden: linear("end_hidden", [2 * h, HIDDEN]),
            end: linear("end", [HIDDEN, 1]),
            answer_hidden: linear("answerable_hidden", [2 * h, HIDDEN]),
            answer: linear("answerable", [HIDDEN, 1]),
        };
        (start, head)
    }

    pub(crate) fn plan(plan: &mut Plan, h: usize, tokens: usize, sequences: usize) -> JointSaved {
        JointSaved {
            allowed: plan.ints(tokens),
            own: plan.ints(tokens),
            starts: plan.ints(tokens),
            pairs: plan.act(tokens * 2 * h),
            d_pairs: plan.act(tokens * 2 * h),
            u: plan.act(tokens * HIDDEN),
            g: plan.act(tokens * HIDDEN),
            d_g: plan.act(tokens * HIDDEN),
            weights: plan.real(tokens),
            end_logits: plan.real(tokens),
            d_end: plan.real(tokens),
            means: plan.act(sequences * h),
            d_means: plan.act(sequences * h),
            answer: AnswerRoom {
                pairs: plan.act(sequences * 2 * h),
                d_pairs: plan.act(sequences * 2 * h),
                u: plan.act(sequences * HIDDEN),
                g: plan.act(sequences * HIDDEN),
                d_g: plan.act(sequences * HIDDEN),
                logits: plan.real(sequences),
                d_logits: plan.real(sequences),
                first: plan.ints(sequences),
                last: plan.ints(sequences),
                impossible: plan.ints(sequences),
            },
        }
    }

    fn choices(saved: &JointSaved, batch: &Batch) -> Choices {
        Choices {
            sequences: batch.sequences,
            allowed: saved.allowed.first(batch.rows.count),
        }
    }

    /// From `x` and the start logits: whether there is an answer. `x` is (tokens, H).
    pub(crate) fn answerable<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        saved: &JointSaved,
        x: Act,
        starts: Real,
    ) -> Real {
        let (n, h) = (batch.sequences.count, self.end_hidden.inputs / 2);
        let rows = batch.rows.count;
        let means = saved.means.first(n * h);
        let choices = Self::choices(saved, batch);
        backend.mixture(x, h, starts, choices, saved.weights.first(rows), means);
        let room = saved.answer;
        let (pairs, u) = (room.pairs.first(n * 2 * h), room.u.first(n * HIDDEN));
        let g = room.g.first(n * HIDDEN);
        backend.put_half(x, batch.first_rows, h, Half::First, pairs);
        backend.put_half(means, saved.own.first(n), h, Half::Second, pairs);
        backend.linear_gelu(pairs, self.answer_hidden, u, g, n);
        let logits = room.logits.first(n);
        backend.logits(g, self.answer, logits, n);
        logits
    }

    /// Fills the end logits of `rows` pairs of rows: a start's and that of a token beside it.
    fn ends<B: Backend>(
        &self,
        backend: &mut B,
        saved: &JointSaved,
        x: Act,
        (starts, tokens): (Ints, Ints),
    ) -> Real {
        let (n, h) = (starts.len(), self.end_hidden.inputs / 2);
        let (pairs, u) = (saved.pairs.first(n * 2 * h), saved.u.first(n * HIDDEN));
        let g = saved.g.first(n * HIDDEN);
        backend.put_half(x, starts, h, Half::First, pairs);
        backend.put_half(x, tokens, h, Half::Second, pairs);
        backend.linear_gelu(pairs, self.end_hidden, u, g, n);
        let logits = saved.end_logits.first(n);
        backend.logits(g, self.end, logits, n);
        logits
    }

    /// Half of the start's and half of the end's cross-entropy added to the first of `sums` (1), that of "there is no
    /// answer" to the second (`RTD_SUMS`); it counts [`ANSWERABLE_WEIGHT`] times. `starts` are the start logits and
    /// where their gradient goes, and `scale` multiplies all gradients.
    pub(crate) fn loss<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        saved: &JointSaved,
        x: Act,
        (starts, d_starts): (Real, Real),
        scale: f32,
        sums: [Real; 2],
    ) {
        let rows = batch.rows.count;
        let pairs = (saved.starts.first(rows), saved.own.first(rows));
        let ends = self.ends(backend, saved, x, pairs);
        let logits = self.answerable(backend, batch, saved, x, starts);
        let choices = Self::choices(saved, batch);
        let d_end = saved.d_end.first(rows);
        let (n, room) = (batch.sequences.count, saved.answer);
        let to = |d: Real| Some((scale, d));
        let (first, last) = (room.first.first(n), room.last.first(n));
        backend.choice(starts, choices, first, 0.5, to(d_starts), sums[0]);
        backend.choice(ends, choices, last, 0.5, to(d_end), sums[0]);
        let to = Some((ANSWERABLE_WEIGHT * scale, room.d_logits.first(n)));
        backend.replaced_token(logits, room.impossible.first(n), to, sums[1]);
    }

    /// From the gradients that [`loss`](Self::loss) wrote to that of `x`, which is overwritten, and to `d_starts`, to
    /// which is added.
    pub(crate) fn backward<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        saved: &JointSaved,
        (x, dx): (Act, Act),
        d_starts: Real,
    ) {
        let (rows, h) = (batch.rows.count, self.end_hidden.inputs / 2);
        let n = batch.sequences.count;
        backend.zero_acts(dx);
        let pairs = saved.pairs.first(rows * 2 * h);
        let d_pairs = saved.d_pairs.first(rows * 2 * h);
        let (u, g) = (saved.u.first(rows * HIDDEN), saved.g.first(rows * HIDDEN));
        let d_g = saved.d_g.first(rows * HIDDEN);
        let d_end = saved.d_end.first(rows);
        backend.logits_backward(d_end, g, self.end, (d_g, Write::Over), rows);
        backend.gelu_backward(u, d_g, None);
        let to = Some((d_pairs, Write::Over));
        backend.linear_backward(d_g, pairs, self.end_hidden, to, rows);
        let starts = saved.starts.first(rows);
        backend.take_half(d_pairs, starts, h, Half::First, dx);
        backend.take_half(d_pairs, saved.own.first(rows), h, Half::Second, dx);
        let room = saved.answer;
        let (pairs, d_pairs) = (room.pairs.first(n * 2 * h), room.d_pairs.first(n * 2 * h));
        let (u, g) = (room.u.first(n * HIDDEN), room.g.first(n * HIDDEN));
        let d_g = room.d_g.first(n * HIDDEN);
        let d_answer = room.d_logits.first(n);
        backend.logits_backward(d_answer, g, self.answer, (d_g, Write::Over), n);
        backend.gelu_backward(u, d_g, None);
        let to = Some((d_pairs, Write::Over));
        backend.linear_backward(d_g, pairs, self.answer_hidden, to, n);
        backend.take_half(d_pairs, batch.first_rows, h, Half::First, dx);
        let d_means = saved.d_means.first(n * h);
        backend.zero_acts(d_means);
        backend.take_half(d_pairs, saved.own.first(n), h, Half::Second, d_means);
        let made = Mixed {
            x,
            width: h,
            weights: saved.weights.first(rows),
            y: saved.means.first(n * h),
        };
        let choices = Self::choices(saved, batch);
        backend.mixture_backward(d_means, made, choices, dx, d_starts);
    }

    /// The best ends of the best starts of each sequence, with the whole batch's start logits.
    pub(crate) fn beams<B: Backend>(
        &self,
        backend: &mut B,
        saved: &JointSaved,
        x: Act,
        sequences: &[Sequence<'_>],
        starts: &[f32],
        impossible: &[f32],
    ) -> Vec<Beams> {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let mut found = Vec::with_capacity(sequences.len());
        let mut first = 0;
        for sequence in sequences {
            let n = sequence.ids.len();
            let may_be = |row: &u32| is_choice(sequence.types, *row as usize);
            let rows: Vec<u32> = (0..small(n)).filter(may_be).collect();
            let scores = log_softmax(rows.iter().map(|row| starts[first + *row as usize]));
            let best = best(&scores);
            for i in &best {
                let start = small(first) + rows[*i];
                pairs.extend(rows.iter().map(|row| (start, small(first) + row)));
            }
            found.push((rows, scores, best));
            first += n;
        }
        let mut ends: Vec<f32> = Vec::with_capacity(pairs.len());
        for part in pairs.chunks(saved.starts.len()) {
            let (left, right): (Vec<u32>, Vec<u32>) = part.iter().copied().unzip();
            let places = (
                saved.starts.first(part.len()),
                saved.allowed.first(part.len()),
            );
            backend.write_ints(places.0, &left);
            backend.write_ints(places.1, &right);
            let logits = self.ends(backend, saved, x, places);
            ends.extend(backend.read_reals(logits));
        }
        let mut rest = &ends[..];
        let each = found.into_iter().zip(impossible);
        each.map(|((rows, scores, starts), impossible)| {
            let mut spans = Vec::new();
            for i in starts {
                let (own, others) = rest.split_at(rows.len());
                rest = others;
                let of_ends = log_softmax(own.iter().copied());
                spans.extend(best(&of_ends).into_iter().map(|j| Span {
                    start: rows[i],
                    end: rows[j],
                    start_score: scores[i],
                    end_score: of_ends[j],
                }));
            }
            Beams {
                spans,
                impossible: *impossible,
            }
        })
        .collect()
    }
}

impl JointSaved {
    /// Writes what is right, which rows may be chosen and, by row, the start that its end is judged with.
    pub(crate) fn write<B: Backend>(&self, backend: &mut B, rows: usize, answers: &Answers<'_>) {
        let (mut allowed, mut by_row) = (Vec::new(), Vec::new());
        for (sequence, start) in answers.sequences.iter().zip(answers.starts) {
            let first = small(allowed.len());
            let n = sequence.ids.len().max(answers.padded_to.unwrap_or(0));
            allowed.extend((0..n).map(|row| u32::from(is_choice(sequence.types, row))));
            by_row.extend(std::iter::repeat_n(first + start, n));
        }
        // The tail may be chosen by nobody.
        allowed.resize(rows, 0);
        by_row.resize(rows, 0);
        let own: Vec<u32> = (0..small(allowed.len())).collect();
        let room = &self.answer;
        for (place, values) in [
            (self.allowed, &allowed[..]),
            (self.starts, &by_row),
            (self.own, &own),
            (room.first, answers.starts),
            (room.last, answers.ends),
            (room.impossible, answers.impossible),
        ] {
            backend.write_ints(place.first(values.len()), values);
        }
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("batches are small")
}

/// Logarithms of the shares that logits stand for.
pub fn log_softmax(logits: impl Iterator<Item = f32> + Clone) -> Vec<f32> {
    let top = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    let top = f64::from(top);
    let sum: f64 = logits.clone().map(|l| (f64::from(l) - top).exp()).sum();
    let lse = top + sum.ln();
    logits.map(|l| (f64::from(l) - lse) as f32).collect()
}

/// The places of the [`BEAM`] greatest, greatest first, of equals the first.
#[must_use]
pub fn best(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(BEAM);
    order
}
