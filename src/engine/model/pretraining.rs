//! Replaced token detection: a generator proposes, a discriminator tells what was replaced. Spec C, D. One call does
//! the forward and backward passes of a micro-batch.

use crate::arena::{Ints, Plan, Real};
use crate::backend::{Backend, Rows};
use crate::config::ElectraConfig;
use crate::model::batch::{Batch, BatchPlan, Sequence};
use crate::model::encoder::{Encoder, EncoderSaved, EncoderScratch, add_embeddings};
use crate::model::heads::{
    MaskedLmHead, MaskedLmSaved, ReplacedTokenHead, ReplacedTokenSaved, Slots,
};
use crate::ops::corrupt::Drawn;
use crate::ops::losses::{IGNORED, RTD_SUMS};
use crate::ops::mlm::{MLM_SUMS, Sampling};
use crate::parameters::Parameters;
use crate::random::Network;

/// Generator and discriminator over one embeddings module.
#[derive(Clone, Debug)]
pub struct PretrainingModel {
    /// All parameters: `electra.*` and `discriminator_predictions.*` are the discriminator's, `generator.*` the
    /// generator's own.
    pub parameters: Parameters,
    generator: Encoder,
    masked_lm: MaskedLmHead,
    discriminator: Encoder,
    replaced: ReplacedTokenHead,
}

/// Where the generator's own parameters lie.
pub const GENERATOR: &str = "generator.";

/// Room for a micro-batch.
#[derive(Clone, Debug)]
pub struct PretrainingPlan {
    batch: BatchPlan,
    generator: EncoderSaved,
    discriminator: EncoderSaved,
    scratch: EncoderScratch,
    masked_lm: MaskedLmSaved,
    replaced: ReplacedTokenSaved,
    slot_rows: Ints,
    slot_targets: Ints,
    slot_sequence: Ints,
    slot_number: Ints,
    samples: Ints,
    labels: Ints,
    original_ids: Ints,
    real_rows: Ints,
    /// Sums of the masked language model, by [`MlmSum`](crate::ops::mlm::MlmSum).
    pub mlm_sums: Real,
    /// Sums of the discriminator, by [`RtdSum`](crate::ops::losses::RtdSum).
    pub rtd_sums: Real,
    /// Norm of the gradients.
    pub norm: Real,
}

/// A masked sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedSequence<'a> {
    /// As it was.
    pub original: Sequence<'a>,
    /// Positions that are predicted, in order; with `duplicates: average` one may occur more than once.
    pub positions: Vec<u32>,
    /// Which of them keep their token in the generator's input.
    pub keeps: Vec<bool>,
}

/// How a micro-batch counts: normalisers are those of the whole batch (spec D.3; DESIGN: un-padded batches).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Weight of the generator's loss over the batch's slots: `1 / (slots + 1e-6)`.
    pub mlm: f32,
    /// Weight of the discriminator's over the batch's tokens: `50 / (tokens + 1e-6)`.
    pub rtd: f32,
}

impl Scales {
    /// Of a batch with so many slots and tokens; the generator's loss counts `mlm_weight`, the discriminator's
    /// `rtd_weight` (1 and 50).
    #[must_use]
    pub fn new(slots: usize, tokens: usize, mlm_weight: f32, rtd_weight: f32) -> Self {
        Self {
            mlm: mlm_weight / (slots as f32 + 1e-6),
            rtd: rtd_weight / (tokens as f32 + 1e-6),
        }
    }
}

/// Where replacements come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Replacements<'a> {
    /// The generator's samples.
    Sampled(Sampling),
    /// Given, slot by slot: for comparison with another program.
    Given(&'a [u32]),
}

impl PretrainingPlan {
    /// Slots that so many take, with their inert tail.
    fn slots_of(&self, n: usize) -> usize {
        self.batch.granularity().rows_of(n, self.samples.len())
    }
}

impl PretrainingModel {
    /// Lays the parameters out.
    #[must_use]
    pub fn new(discriminator: &ElectraConfig, generator: &ElectraConfig) -> Self {
        let mut parameters = Parameters::default();
        let embeddings = add_embeddings(&mut parameters, "electra.", discriminator);
        let body = Encoder::add(
            &mut parameters,
            "electra.",
            discriminator,
            Network::Discriminator,
            embeddings,
        );
        let replaced = ReplacedTokenHead::add(&mut parameters, discriminator);
        let own = format!("{GENERATOR}electra.");
        let generator_body = Encoder::add(
            &mut parameters,
            &own,
            generator,
            Network::Generator,
            embeddings,
        );
        let masked_lm = MaskedLmHead::add(&mut parameters, GENERATOR, generator, embeddings);
        Self {
            parameters,
            generator: generator_body,
            masked_lm,
            discriminator: body,
            replaced,
        }
    }

    /// Lays out room for micro-batches of at most so many tokens, sequences and slots.
    pub fn plan(
        &self,
        plan: &mut Plan,
        tokens: usize,
        sequences: usize,
        slots: usize,
    ) -> PretrainingPlan {
        let (generator, discriminator) = (self.generator.config(), self.discriminator.config());
        let batch = BatchPlan::new(plan, tokens, sequences);
        let mlm_sums = plan.real(MLM_SUMS);
        let rtd_sums = plan.real(RTD_SUMS);
        let norm = plan.real(1);
        let scratch = EncoderScratch::new(plan, &[generator, discriminator], tokens);
        // The generator is done before the discriminator begins: they use the same room.
        let mark = plan.mark();
        let generator_saved = EncoderSaved::new(plan, generator, tokens);
        let masked_lm = MaskedLmHead::plan(plan, generator, slots);
        plan.reset(mark);
        let discriminator_saved = EncoderSaved::new(plan, discriminator, tokens);
        let replaced = ReplacedTokenHead::plan(plan, discriminator, tokens);
        PretrainingPlan {
            batch,
            generator: generator_saved,
            discriminator: discriminator_saved,
            scratch,
            masked_lm,
            replaced,
            slot_rows: plan.ints(slots),
            slot_targets: plan.ints(slots),
            slot_sequence: plan.ints(slots),
            slot_number: plan.ints(slots),
            samples: plan.ints(slots),
            labels: plan.ints(tokens),
            original_ids: plan.ints(tokens),
            real_rows: plan.ints(tokens),
            mlm_sums,
            rtd_sums,
            norm,
        }
    }

    /// Both passes of both networks for a micro-batch; adds to gradients and sums. Without `scales`, only forward
    /// passes and sums: evaluation. Nothing is read from the device on the way.
    pub fn run<B: Backend>(
        &self,
        backend: &mut B,
        plan: &PretrainingPlan,
        batch: &[MaskedSequence<'_>],
        mask_id: u32,
        replacements: Replacements<'_>,
        scales: Option<Scales>,
        padded_to: Option<usize>,
    ) {
        let masked = masked_ids(batch, mask_id);
        let inputs: Vec<Sequence<'_>> = batch
            .iter()
            .zip(&masked)
            .map(|(sequence, ids)| Sequence {
                ids,
                ..sequence.original
            })
            .collect();
        let on_device = plan.batch.write(backend, &inputs, padded_to);
        let originals = write_originals(backend, plan, batch, on_device.rows.count, padded_to);
        let slots = self.write_slots(backend, plan, batch, padded_to);
        if let Replacements::Given(samples) = replacements {
            backend.write_ints(plan.samples.first(samples.len()), samples);
        }
        backend.begin_step();
        self.generate(backend, plan, &on_device, slots, replacements, scales);
        let n_drawn = batch.iter().map(|one| one.positions.len()).sum();
        let drawn = Drawn {
            rows: slots.rows.first(n_drawn),
            samples: plan.samples.first(n_drawn),
        };
        let labels = plan.labels.first(on_device.rows.count);
        // The generator is done with its ids.
        backend.corrupt(
            originals.ids,
            drawn,
            originals.real,
            on_device.inputs.ids,
            labels,
        );
        self.discriminate(backend, plan, &on_device, labels, scales);
        backend.end_step();
    }

    /// The discriminator's input of the last run, which was of this batch without padding. Waits for the device.
    pub fn corrupted<B: Backend>(
        &self,
        backend: &mut B,
        plan: &PretrainingPlan,
        batch: &[MaskedSequence<'_>],
    ) -> Corrupted {
        let tokens = batch.iter().map(|one| one.original.ids.len()).sum();
        let ids = backend.read_ints(plan.batch.ids(tokens));
        let labels = backend.read_ints(plan.labels.first(tokens));
        let mut corrupted = Corrupted {
            ids: Vec::with_capacity(batch.len()),
            replaced: Vec::with_capacity(batch.len()),
        };
        let mut first = 0;
        for one in batch {
            let rows = first..first + one.original.ids.len();
            first = rows.end;
            corrupted.ids.push(ids[rows.clone()].to_vec());
            let replaced = labels[rows].iter().map(|label| *label == 1);
            corrupted.replaced.push(replaced.collect());
        }
        corrupted
    }

    fn write_slots<B: Backend>(
        &self,
        backend: &mut B,
        plan: &PretrainingPlan,
        batch: &[MaskedSequence<'_>],
        padded_to: Option<usize>,
    ) -> Slots {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        let (mut sequences, mut numbers) = (Vec::new(), Vec::new());
        let mut start = 0_u32;
        for sequence in batch {
            for (number, position) in (0_u32..).zip(&sequence.positions) {
                rows.push(start + position);
                targets.push(sequence.original.ids[*position as usize]);
                sequences.push(sequence.original.index);
                numbers.push(number);
            }
            let length = sequence.original.ids.len().max(padded_to.unwrap_or(0));
            start += u32::try_from(length).expect("batches are small");
        }
        // The tail looks at the last slot's row again, so that rows ascend, and nothing comes of it.
        let n = plan.slots_of(rows.len());
        let last = rows.last().copied().unwrap_or(0);
        for (values, filler) in [
            (&mut rows, last),
            (&mut targets, IGNORED),
            (&mut sequences, u32::MAX),
            (&mut numbers, 0),
        ] {
            values.resize(n, filler);
        }
        let mut put = |place: Ints, values: &[u32]| {
            let place = place.first(n);
            backend.write_ints(place, values);
            place
        };
        Slots {
            rows: put(plan.slot_rows, &rows),
            targets: put(plan.slot_targets, &targets),
            place: Rows {
                count: n,
                sequence: put(plan.slot_sequence, &sequences),
                position: put(plan.slot_number, &numbers),
            },
        }
    }

    fn generate<B: Backend>(
        &self,
        backend: &mut B,
        plan: &PretrainingPlan,
        batch: &Batch,
        slots: Slots,
        replacements: Replacements<'_>,
        scales: Option<Scales>,
    ) {
        let config = self.generator.config();
        let tokens = batch.rows.count;
        self.generator
            .forward(backend, batch, &plan.generator, &plan.scratch);
        let x = plan.generator.output(config, tokens);
        let sampling = match replacements {
            Replacements::Sampled(sampling) => {
                Some((sampling, plan.samples.first(slots.place.count)))
            }
            Replacements::Given(_) => None,
        };
        let dx = plan.scratch.gradient(config, tokens);
        self.masked_lm.run(
            backend,
            x,
            slots,
            plan.masked_lm,
            sampling,
            scales.map(|scales| (scales.mlm, dx)),
            plan.mlm_sums,
        );
        if scales.is_some() {
            self.generator
                .backward(backend, batch, &plan.generator, &plan.scratch);
        }
    }

    fn discriminate<B: Backend>(
        &self,
        backend: &mut B,
        plan: &PretrainingPlan,
        batch: &Batch,
        labels: Ints,
        scales: Option<Scales>,
    ) {
        let config = self.discriminator.config();
        let tokens = batch.rows.count;
        self.discriminator
            .forward(backend, batch, &plan.discriminator, &plan.scratch);
        let x = plan.discriminator.output(config, tokens);
        let saved = plan.replaced;
        self.replaced.forward(backend, x, tokens, saved);
        let logits = saved.logits.first(tokens);
        let d = saved.d_logits.first(tokens);
        let gradient = scales.map(|scales| (scales.rtd, d));
        backend.replaced_token(logits, labels, gradient, plan.rtd_sums);
        if scales.is_some() {
            let dx = plan.scratch.gradient(config, tokens);
            let spare = plan.scratch.spare(config, tokens);
            self.replaced.backward(backend, x, tokens, saved, dx, spare);
            self.discriminator
                .backward(backend, batch, &plan.discriminator, &plan.scratch);
        }
    }

    /// The discriminator's logits of the last run (tokens).
    #[must_use]
    pub fn logits(&self, plan: &PretrainingPlan, tokens: usize) -> Real {
        plan.replaced.logits.first(tokens)
    }
}

/// The discriminator's input and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupted {
    /// Ids of each sequence.
    pub ids: Vec<Vec<u32>>,
    /// Whether each token differs from the original. Spec D.2.
    pub replaced: Vec<Vec<bool>>,
}

fn masked_ids(batch: &[MaskedSequence<'_>], mask_id: u32) -> Vec<Vec<u32>> {
    batch
        .iter()
        .map(|sequence| {
            let mut ids = sequence.original.ids.to_vec();
            for (position, keeps) in sequence.positions.iter().zip(&sequence.keeps) {
                if !keeps {
                    ids[*position as usize] = mask_id;
                }
            }
            ids
        })
        .collect()
}

/// A batch before it was masked, by row.
struct Originals {
    ids: Ints,
    /// 1 on rows of tokens, 0 on those of padding and of the tail.
    real: Ints,
}

fn write_originals<B: Backend>(
    backend: &mut B,
    plan: &PretrainingPlan,
    batch: &[MaskedSequence<'_>],
    rows: usize,
    padded_to: Option<usize>,
) -> Originals {
    let (mut ids, mut real) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for sequence in batch {
        let own = sequence.original.ids;
        ids.extend_from_slice(own);
        real.extend(std::iter::repeat_n(1, own.len()));
        let end = ids.len() + padded_to.unwrap_or(0).saturating_sub(own.len());
        ids.resize(end, 0);
        real.resize(end, 0);
    }
    ids.resize(rows, 0);
    real.resize(rows, 0);
    let written = Originals {
        ids: plan.original_ids.first(rows),
        real: plan.real_rows.first(rows),
    };
    backend.write_ints(written.ids, &ids);
    backend.write_ints(written.real, &real);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    /// Spec C.4, exact, for the vocabulary of SciBERT. `tiny` and `large` are counted by hand from the same formulas.
    #[test]
    fn parameters_are_as_many_as_published() {
        let counts = |size: Size, share: f64| {
            let config = size.config(31_090);
            let model = PretrainingModel::new(&config, &config.generator(share, 1.0));
            let of = |prefix: &str| -> usize {
                let all = model.parameters.list().iter();
                let own = all.filter(|parameter| parameter.name.starts_with(prefix));
                own.map(|parameter| parameter.at.len()).sum()
            };
            let head = of("discriminator_predictions.");
            (of("electra."), head, model.parameters.count())
        };
        let base = counts(Size::Base, Size::Base.generator_share());
        assert_eq!(base, (109_327_872, 591_361, 119_823_219));
        let small = counts(Size::Small, Size::Small.generator_share());
        assert_eq!(small, (13_555_712, 66_049, 14_269_491));
        let wide = counts(Size::Small, 1.0);
        assert_eq!(wide, (13_555_712, 66_049, 23_196_147));
        // A layer of width h and its feed-forward block of 4h: 12 h² + 13 h.
        let layer = |h: usize| 12 * h * h + 13 * h;
        let by_hand = |e: usize, h: usize, n_layers: usize, g: usize| {
            let tables = (31_090 + 512 + 2) * e + 2 * e;
            let project = |to: usize| if to == e { 0 } else { e * to + to };
            let body = tables + project(h) + n_layers * layer(h);
            let head = h * h + h + h + 1;
            let own = project(g) + n_layers * layer(g) + (g * e + e) + 2 * e + 31_090;
            (body, head, body + head + own)
        };
        assert_eq!(base, by_hand(768, 768, 12, 256));
        let tiny = counts(Size::Tiny, Size::Tiny.generator_share());
        assert_eq!(tiny, by_hand(128, 128, 2, 32));
        let large = counts(Size::Large, Size::Large.generator_share());
        assert_eq!(large, by_hand(1024, 1024, 24, 256));
    }
}
