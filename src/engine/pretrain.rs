//! Pre-training by replaced token detection, step by step. Spec D. Knows no files but its checkpoints, and not where
//! examples come from.

use std::ops::Range;
use std::path::Path;

use self::evaluation::judge;
use crate::arena::{Footprint, Granularity, MOST_TOKENS, Plan};
use crate::backend::{Array, Backend, Dropout, GoOn};
use crate::checkpoint::{self, Snapshot, State};
use crate::collective::{Collective, Seat};
use crate::config::ElectraConfig;
use crate::error::TrainError;
use crate::finite;
use crate::mask::Masking;
use crate::model::batch::parts;
use crate::model::pretraining::{
    GENERATOR, MaskedSequence, PretrainingModel, PretrainingPlan, Replacements, Scales,
};
use crate::ops::adamw::{Group, Update};
use crate::ops::losses::RtdSum;
use crate::ops::mlm::{MlmSum, Sampling};
use crate::parameters::Parameters;
use crate::schedule::{Schedule, groups};
use crate::weights::{self, Tensors, Unmatched};

mod evaluation;
mod examples;

pub use evaluation::{EvaluationNumbers, Judged, MlmCounts};
pub use examples::{Example, check, masked};

/// What decides the result of pre-training, examples aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Pretraining {
    /// Sizes of the discriminator.
    pub discriminator: ElectraConfig,
    /// Sizes of the generator.
    pub generator: ElectraConfig,
    /// Learning rates.
    pub schedule: Schedule,
    /// Weight decay.
    pub weight_decay: f32,
    /// Decay of Adam's first and second moments.
    pub betas: (f64, f64),
    /// What is added to the root of the second moment.
    pub epsilon: f32,
    /// Largest norm of the gradients of both networks together.
    pub clip: Option<f32>,
    /// Sequences whose gradients are clipped together before they are summed, each such part with its own means, as
    /// the cores of a TPU do it (spec D.3, 32 there); the whole batch where it is absent.
    pub clip_every: Option<usize>,
    /// Weight of the generator's loss (1) and of the discriminator's (50).
    pub weights: (f32, f32),
    /// Which positions are predicted.
    pub masking: Masking,
    /// What the generator's logits are divided by when replacements are drawn.
    pub temperature: f32,
    /// Whether a replacement is never the original.
    pub disallow_correct: bool,
    /// Id of `[MASK]`.
    pub mask_id: u32,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct StepNumbers {
    /// Steps done before this one.
    pub step: u64,
    /// `mlm + 50 rtd`.
    pub loss: f32,
    /// Generator's loss in nats a slot.
    pub mlm: f32,
    /// Discriminator's loss in nats a token.
    pub rtd: f32,
    /// Share of the slots whose best entry is the target.
    pub mlm_accuracy: f32,
    /// Share of the tokens judged rightly.
    pub rtd_accuracy: f32,
    /// Share of the tokens that were replaced.
    pub replaced: f32,
    /// Norm of the gradients before clipping; the mean over parts that are clipped apart.
    pub gradient_norm: f32,
    /// The rate of this update.
    pub learning_rate: f64,
    /// Real tokens.
    pub tokens: usize,
}

/// What of a batch a process computes.
struct Clipped {
    /// This process's parts that are clipped apart: their scales and micro-batches.
    parts: Vec<(Scales, Vec<Range<usize>>)>,
    /// Such parts in all processes.
    count: usize,
}

/// A model in training on a device.
#[derive(Debug)]
pub struct Pretrainer<B: Backend> {
    backend: B,
    settings: Pretraining,
    model: PretrainingModel,
    room: PretrainingPlan,
    groups: Vec<Group>,
    micro_tokens: usize,
    micro_sequences: usize,
    step: u64,
    group: Option<Box<dyn Collective>>,
}

impl<B: Backend + Send> Pretrainer<B> {
    /// Lays everything out for micro-batches of at most `micro_tokens` tokens (at least one sequence of `longest`), and
    /// fills in first values.
    ///
    /// # Errors
    /// When sizes do not make a network, or the device has too little memory.
    pub fn new(
        mut backend: B,
        settings: Pretraining,
        longest: usize,
        micro_tokens: usize,
    ) -> Result<Self, TrainError> {
        settings.discriminator.check()?;
        settings.generator.check()?;
        for config in [&settings.discriminator, &settings.generator] {
            let widths = [config.hidden_size, config.embedding_size];
            backend.granularity().admit(&widths)?;
        }
        let (model, plan, room) = lay_out(&settings, longest, micro_tokens, backend.granularity());
        let (micro_tokens, micro_sequences) = micro_sizes(longest, micro_tokens);
        backend.allocate(&plan, model.parameters.memory())?;
        weights::initialise(&mut backend, &model.parameters, settings.seed);
        let layers = settings.discriminator.num_hidden_layers;
        Ok(Self {
            groups: groups(&model.parameters, layers, settings.weight_decay, None),
            backend,
            settings,
            model,
            room,
            micro_tokens,
            micro_sequences,
            step: 0,
            group: None,
        })
    }

    /// The same as one of a group, whose processes are given the same batches: each computes its share.
    #[must_use]
    pub fn in_group(mut self, group: Box<dyn Collective>) -> Self {
        self.group = Some(group);
        self
    }

    fn seat(&self) -> Seat {
        self.group.as_ref().map_or(Seat::ALONE, |group| Seat {
            rank: group.rank(),
            size: group.size(),
        })
    }

    /// Masks as `masking` says from here on: sequences of another length have another largest number of predictions.
    pub fn set_masking(&mut self, masking: Masking) {
        self.settings.masking = masking;
    }

    /// The device.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Updates done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The model's parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.model.parameters
    }

    /// Begins from given tensors instead of first values: a discriminator's, with or without `generator.*`.
    ///
    /// # Errors
    /// When a tensor has another shape than the model's.
    pub fn start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError> {
        Ok(weights::load(
            &mut self.backend,
            &self.model.parameters,
            tensors,
        )?)
    }

    fn check(&self, examples: &[Example<'_>]) -> Result<(), TrainError> {
        let config = &self.settings.discriminator;
        check(examples, config, self.micro_tokens, self.step)
    }

    /// Micro-batches of some of the examples.
    fn parts(&self, examples: &[Example<'_>], of: Range<usize>) -> Vec<Range<usize>> {
        let first = of.start;
        let lengths = examples[of].iter().map(|example| example.ids.len());
        parts(lengths, self.micro_tokens, self.micro_sequences)
            .into_iter()
            .map(|part| first + part.start..first + part.end)
            .collect()
    }

    /// Examples whose gradients are clipped together, their micro-batches that are this process's, and what they are
    /// divided by. Of one part processes share the examples, of several the parts.
    fn clipped(&self, examples: &[Example<'_>], batch: &[MaskedSequence<'_>]) -> Clipped {
        let n = examples.len();
        let every = self.settings.clip_every.unwrap_or(n).clamp(1, n.max(1));
        let count = n.div_ceil(every);
        let (own, within) = match count {
            0 | 1 => (0..count, self.seat()),
            _ => (self.seat().share(count), Seat::ALONE),
        };
        let parts = own
            .map(|i| {
                let of = i * every..((i + 1) * every).min(n);
                let scales = self.scales(&batch[of.clone()]);
                let share = within.share(of.len());
                (
                    scales,
                    self.parts(examples, of.start + share.start..of.start + share.end),
                )
            })
            .collect();
        Clipped { parts, count }
    }

    fn scales(&self, batch: &[MaskedSequence<'_>]) -> Scales {
        let tokens = batch.iter().map(|sequence| sequence.original.ids.len());
        let slots = batch.iter().map(|sequence| sequence.positions.len());
        let (mlm_weight, rtd_weight) = self.settings.weights;
        Scales::new(slots.sum(), tokens.sum(), mlm_weight, rtd_weight)
    }

    fn sampling(&self, step: u32) -> Replacements<'static> {
        Replacements::Sampled(Sampling {
            seed: self.settings.seed,
            step,
            temperature: self.settings.temperature,
            disallow_correct: self.settings.disallow_correct,
        })
    }

    /// One update from a batch of examples, in order: an example's place is part of what is drawn for it.
    ///
    /// # Errors
    /// When an example does not fit the model, or a loss or gradient is not finite; then nothing is updated.
    pub fn train(&mut self, examples: &[Example<'_>]) -> Result<StepNumbers, TrainError> {
        let numbers = self.train_while(examples, &|_| true)?;
        Ok(numbers.expect("nobody asked to stop"))
    }

    /// [`train`](Self::train) while `go_on` says so between micro-batches; else `None`, and nothing is updated.
    ///
    /// # Errors
    /// Those of [`train`](Self::train).
    pub fn train_while(
        &mut self,
        examples: &[Example<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<StepNumbers>, TrainError> {
        self.check(examples)?;
        let step = u32::try_from(self.step).expect("fewer than 2^32 steps");
        let settings = &self.settings;
        let batch = self
            .backend
            .on_threads(|_| masked(examples, settings, step));
        let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
        let slots: usize = batch.iter().map(|sequence| sequence.positions.len()).sum();
        let scales = self.scales(&batch);
        let from = self.sampling(step);
        let clipped = self.clipped(examples, &batch);
        let held_clip = self.settings.clip.filter(|_| clipped.count > 1);
        let (model, room, mask_id) = (&self.model, &self.room, self.settings.mask_id);
        let learning_rate = self.settings.schedule.rate(self.step);
        let update = Update {
            learning_rate: learning_rate as f32,
            beta1: self.settings.betas.0,
            beta2: self.settings.betas.1,
            epsilon: self.settings.epsilon,
            correction: 1.0,
            clip: self.settings.clip.filter(|_| held_clip.is_none()),
        };
        let groups = &self.groups;
        let group = &mut self.group;
        self.backend.set_dropout(Dropout::Counted {
            seed: self.settings.seed,
            step,
        });
        let sums = self.backend.on_threads(|backend| {
            backend.zero_reals(room.mlm_sums);
            backend.zero_reals(room.rtd_sums);
            let mut norms = 0.0;
            backend.zero_gradients();
            for (i, (own, parts)) in clipped.parts.iter().enumerate() {
                if i > 0 && held_clip.is_some() {
                    backend.zero_gradients();
                }
                for part in parts {
                    if !go_on(part.start) {
                        return None;
                    }
                    let part = &batch[part.clone()];
                    model.run(backend, room, part, mask_id, from, Some(*own), None);
                }
                if let Some(clip) = held_clip {
                    backend.gradient_norm(room.norm);
                    norms += backend.read_reals(room.norm)[0];
                    backend.hold_gradients(clip, room.norm, i == 0);
                }
            }
            if held_clip.is_some() && !clipped.parts.is_empty() {
                backend.take_held_gradients();
            }
            if let Some(group) = group {
                let mut sum = [norms];
                let summed = backend
                    .sum_over(group.as_mut(), &[room.mlm_sums, room.rtd_sums])
                    .and_then(|()| group.sum(&mut sum));
                if let Err(error) = summed {
                    return Some(Err(error));
                }
                norms = sum[0];
            }
            backend.begin_step();
            // Nothing is updated where the norm is not finite, so nobody has to wait for it.
            backend.gradient_norm(room.norm);
            backend.adamw(groups, update, room.norm);
            backend.end_step();
            let sums = [room.mlm_sums, room.rtd_sums].map(|sums| backend.read_reals(sums));
            let norm = match held_clip {
                Some(_) => norms / clipped.count as f32,
                None => backend.read_reals(room.norm)[0],
            };
            Some(backend.finish().map(|()| (sums, norm)))
        });
        let Some(sums) = sums else {
            return Ok(None);
        };
        let ([mlm_sums, rtd_sums], norm) = sums?;
        let (slots, n) = (slots.max(1) as f32, tokens as f32);
        let numbers = StepNumbers {
            step: self.step,
            loss: mlm_sums[MlmSum::Loss as usize] * scales.mlm
                + rtd_sums[RtdSum::Loss as usize] * scales.rtd,
            mlm: mlm_sums[MlmSum::Loss as usize] / slots,
            rtd: rtd_sums[RtdSum::Loss as usize] / n,
            mlm_accuracy: mlm_sums[MlmSum::Correct as usize] / slots,
            rtd_accuracy: rtd_sums[RtdSum::Correct as usize] / n,
            replaced: rtd_sums[RtdSum::Replaced as usize] / n,
            gradient_norm: norm,
            learning_rate,
            tokens,
        };
        let parameters = &self.model.parameters;
        finite::check(&mut self.backend, parameters, self.step, numbers.loss, norm)?;
        self.step += 1;
        Ok(Some(numbers))
    }

    /// What held-out examples say: no dropout, masks and samples drawn as for step 0 of this seed, so that evaluations
    /// of one run see the same masks.
    ///
    /// # Errors
    /// When an example does not fit the model.
    pub fn evaluate(&mut self, examples: &[Example<'_>]) -> Result<EvaluationNumbers, TrainError> {
        let numbers = self.evaluate_while(examples, &|_| true)?;
        Ok(numbers.expect("nobody asked to stop"))
    }

    /// [`evaluate`](Self::evaluate) while `go_on` says so between micro-batches; else `None`.
    ///
    /// # Errors
    /// When an example does not fit the model.
    pub fn evaluate_while(
        &mut self,
        examples: &[Example<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<EvaluationNumbers>, TrainError> {
        self.check(examples)?;
        let batch = masked(examples, &self.settings, 0);
        let from = self.sampling(0);
        let parts = self.parts(examples, 0..examples.len());
        let (model, room, mask_id) = (&self.model, &self.room, self.settings.mask_id);
        self.backend.set_dropout(Dropout::Off);
        let found = self.backend.on_threads(|backend| {
            backend.zero_reals(room.mlm_sums);
            backend.zero_reals(room.rtd_sums);
            let mut judged = Vec::new();
            for part in parts {
                if !go_on(part.start) {
                    return None;
                }
                let part = &batch[part];
                model.run(backend, room, part, mask_id, from, None, None);
                let corrupted = model.corrupted(backend, room, part);
                let tokens = corrupted.ids.iter().map(Vec::len).sum();
                let logits = backend.read_reals(model.logits(room, tokens));
                judge(&corrupted, &logits, &mut judged);
            }
            let sums = backend.read_reals(room.mlm_sums);
            Some(backend.finish().map(|()| (sums, judged)))
        });
        let found = found.transpose()?;
        let slots: usize = batch.iter().map(|sequence| sequence.positions.len()).sum();
        Ok(found.map(|(mlm_sums, judged)| {
            let sum = |what: MlmSum| f64::from(mlm_sums[what as usize]);
            let mlm = MlmCounts {
                loss: sum(MlmSum::Loss),
                correct: sum(MlmSum::Correct),
                sampled_correct: sum(MlmSum::SampledCorrect),
            };
            EvaluationNumbers::new(mlm, slots, judged)
        }))
    }

    /// The discriminator as `transformers` names it.
    ///
    /// # Errors
    /// When the device failed.
    pub fn discriminator(&mut self) -> Result<Tensors, TrainError> {
        let mut all = weights::save(&mut self.backend, &self.model.parameters, Array::Value);
        self.backend.finish()?;
        all.retain(|name, _| !name.starts_with(GENERATOR));
        Ok(all)
    }

    /// The generator as `transformers` names it, with its copy of the shared embeddings.
    ///
    /// # Errors
    /// When the device failed.
    pub fn generator(&mut self) -> Result<Tensors, TrainError> {
        let all = weights::save(&mut self.backend, &self.model.parameters, Array::Value);
        self.backend.finish()?;
        let own = all
            .into_iter()
            .filter_map(|(name, tensor)| match name.strip_prefix(GENERATOR) {
                Some(own) => Some((own.to_owned(), tensor)),
                None => name
                    .starts_with("electra.embeddings.")
                    .then_some((name, tensor)),
            })
            .collect();
        Ok(own)
    }

    /// Gradients of the last step, before they were clipped.
    pub fn gradients(&mut self) -> Tensors {
        weights::save(&mut self.backend, &self.model.parameters, Array::Gradient)
    }

    /// A copy of everything that going on takes: parameters, moments, the step.
    ///
    /// # Errors
    /// When the device failed.
    pub fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        let state = State {
            step: self.step,
            seed: self.settings.seed,
        };
        let taken = Snapshot::take(&mut self.backend, &self.model.parameters, state);
        Ok(taken?)
    }

    /// Goes on where a [`snapshot`](Self::snapshot) was taken and written, to the same bits; the notes beside it.
    ///
    /// # Errors
    /// When the checkpoint is damaged or another model's.
    pub fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError> {
        let (state, notes) = checkpoint::load(&mut self.backend, &self.model.parameters, folder)?;
        self.step = state.step;
        Ok(notes)
    }
}

/// Bytes that [`Pretrainer::new`] takes with these arguments.
#[must_use]
pub fn footprint(
    settings: &Pretraining,
    longest: usize,
    micro_tokens: usize,
    granularity: Granularity,
) -> Footprint {
    let (model, plan, _) = lay_out(settings, longest, micro_tokens, granularity);
    Footprint::new(&plan, model.parameters.memory())
}

/// Most tokens and sequences of a micro-batch.
fn micro_sizes(longest: usize, micro_tokens: usize) -> (usize, usize) {
    let tokens = micro_tokens.min(MOST_TOKENS).max(longest);
    // The shortest example has two specials and a token.
    (tokens, tokens / 3 + 1)
}

fn lay_out(
    settings: &Pretraining,
    longest: usize,
    micro_tokens: usize,
    granularity: Granularity,
) -> (PretrainingModel, Plan, PretrainingPlan) {
    let model = PretrainingModel::new(&settings.discriminator, &settings.generator);
    let (tokens, sequences) = micro_sizes(longest, micro_tokens);
    // Rounding adds at most half a slot to a sequence's share, and each has at least one.
    let slots = (tokens as f64 * settings.masking.share) as usize + sequences;
    let mut plan = Plan::new(granularity);
    if settings.clip.is_some() && settings.clip_every.is_some() {
        plan.hold_gradients();
    }
    let room = model.plan(&mut plan, tokens, sequences, slots);
    (model, plan, room)
}
