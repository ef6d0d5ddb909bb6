//! Pre-training by replaced token detection, as `engine::pretrain` does it. Spec D. Knows not where examples come from.

use std::path::Path;

use dfdx::prelude::*;
use engine::backend::{Dropout, GoOn};
use engine::checkpoint::Snapshot;
use engine::config::ElectraConfig;
use engine::error::TrainError;
use engine::mask::Masking;
use engine::model::batch::Sequence;
use engine::model::pretraining::{MaskedSequence, PretrainingModel, Replacements};
use engine::ops::mlm::Sampling;
use engine::pretrain::{
    EvaluationNumbers, Example, Judged, MlmCounts, Pretraining, StepNumbers, check, masked,
};
use engine::random::{Draw, Network, Purpose, Stream, WORDS_PER_BLOCK, unit};
use engine::weights::{Tensors, Unmatched};
use rayon::ThreadPool;

use crate::model::Net;
use crate::ops::{binary_cross_entropy, cross_entropy};
use crate::optimizer::{Optimizer, Update};
use crate::weights::Weights;

/// What both networks say of a batch.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Sums over masked slots.
    pub mlm: MlmCounts,
    /// Sum over tokens of the discriminator's binary cross-entropy, in nats.
    pub rtd_loss: f64,
    /// The generator's logits of each sequence (slots, V), last axis fastest.
    pub slot_logits: Vec<Vec<f32>>,
    /// The discriminator's logits of each sequence (tokens).
    pub logits: Vec<Vec<f32>>,
    /// Whether each token of each sequence was replaced.
    pub replaced: Vec<Vec<bool>>,
}

/// The networks and what is asked of them.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// Sizes of the generator.
    pub generator: &'a ElectraConfig,
    /// Sizes of the discriminator.
    pub discriminator: &'a ElectraConfig,
    /// Id of `[MASK]`.
    pub mask_id: u32,
    /// Where replacements come from.
    pub replacements: Replacements<'a>,
    /// What is dropped.
    pub dropout: Dropout,
    /// Factors of the summed losses of generator and discriminator; `None` for evaluation.
    pub scales: Option<(f32, f32)>,
}

/// Both networks over a batch, and the gradients of the scaled losses by name where there are scales.
#[must_use]
pub fn replaced_token_detection(
    tensors: &Tensors,
    task: &Task<'_>,
    batch: &[MaskedSequence<'_>],
) -> (Said, Option<Tensors>) {
    replaced_while(tensors, task, batch, &|_| true).expect("nobody asked to stop")
}

/// [`replaced_token_detection`] while `go_on` says so between sequences; else `None`.
fn replaced_while(
    tensors: &Tensors,
    task: &Task<'_>,
    batch: &[MaskedSequence<'_>],
    go_on: GoOn<'_>,
) -> Option<(Said, Option<Tensors>)> {
    let weights = Weights::new(tensors);
    let net = |config, network| Net {
        weights: &weights,
        config,
        network,
        dropout: &task.dropout,
    };
    let generator = net(task.generator, Network::Generator);
    let discriminator = net(task.discriminator, Network::Discriminator);
    let mut said = Said::default();
    let mut sums = task.scales.map(|_| weights.zeros());
    let mut given = match task.replacements {
        Replacements::Given(samples) => samples,
        Replacements::Sampled(_) => &[],
    };
    for (at, sequence) in batch.iter().enumerate() {
        if !go_on(at) {
            return None;
        }
        let original = sequence.original;
        let n = sequence.positions.len();
        let mut ids = original.ids.to_vec();
        for (position, keeps) in sequence.positions.iter().zip(&sequence.keeps) {
            if !keeps {
                ids[*position as usize] = task.mask_id;
            }
        }
        let targets: Vec<u32> = sequence
            .positions
            .iter()
            .map(|position| original.ids[*position as usize])
            .collect();
        let mut samples = Vec::new();
        let mut loss = None;
        if n > 0 {
            let input = Sequence {
                ids: &ids,
                ..original
            };
            let logits = generator.masked_lm(&input, &sequence.positions);
            let values = logits.as_vec();
            let v = task.generator.vocab_size;
            samples = match task.replacements {
                Replacements::Sampled(sampling) => (0_u32..)
                    .zip(values.chunks(v).zip(&targets))
                    .map(|(slot, (row, target))| {
                        sample(row, *target, sampling, original.index, slot)
                    })
                    .collect(),
                Replacements::Given(_) => {
                    let (own, rest) = given.split_at(n);
                    given = rest;
                    own.to_vec()
                }
            };
            for ((row, target), sample) in values.chunks(v).zip(&targets).zip(&samples) {
                said.mlm.correct += f64::from(u8::from(best(row.iter().copied()) == *target));
                said.mlm.sampled_correct += f64::from(u8::from(sample == target));
            }
            said.slot_logits.push(values);
            let sum = cross_entropy(logits, &targets);
            said.mlm.loss += f64::from(sum.array());
            loss = task.scales.map(|(scale, _)| sum * scale);
        }
        let ids = corrupted(original.ids, &sequence.positions, &samples);
        let replaced: Vec<bool> = ids.iter().zip(original.ids).map(|(a, b)| a != b).collect();
        let logits = discriminator.replaced_token(&Sequence {
            ids: &ids,
            ..original
        });
        said.logits.push(logits.as_vec());
        let sum = binary_cross_entropy(logits, &replaced);
        said.rtd_loss += f64::from(sum.array());
        said.replaced.push(replaced);
        if let (Some((_, scale)), Some(sums)) = (task.scales, &mut sums) {
            let mut total = sum * scale;
            if let Some(loss) = loss {
                total = loss + total;
            }
            weights.backward(total, sums);
        }
    }
    Some((said, sums))
}

/// The discriminator's input: samples at their positions; where a position was drawn more than once, the average id, as
/// Google's code has it (spec D.2).
fn corrupted(original: &[u32], positions: &[u32], samples: &[u32]) -> Vec<u32> {
    let mut ids = original.to_vec();
    for position in positions {
        let here: Vec<u32> = positions
            .iter()
            .zip(samples)
            .filter(|(other, _)| *other == position)
            .map(|(_, sample)| *sample)
            .collect();
        let count = u32::try_from(here.len()).expect("few slots");
        ids[*position as usize] = here.iter().sum::<u32>() / count;
    }
    ids
}

/// The number of the largest; the first of equals.
fn best(values: impl Iterator<Item = f32>) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, value) in (0..).zip(values) {
        if value > best.1 {
            best = (i, value);
        }
    }
    best.0
}

/// The entry with the largest `logit / T + g`, `g = -ln(-ln(u + 1e-9) + 1e-9)` (spec D.2), `u` by counters as
/// [`engine::random`] numbers them: a slot's entries begin at block `slot * ceil(V / 64)`.
fn sample(row: &[f32], target: u32, sampling: Sampling, sequence: u32, slot: u32) -> u32 {
    let stream = Stream::new(sampling.seed, Purpose::Gumbel);
    let draw = Draw {
        step: sampling.step,
        sequence,
    };
    let first = u64::from(slot) * row.len().div_ceil(WORDS_PER_BLOCK) as u64;
    let scores = (0_u64..).zip(row).map(|(entry, logit)| {
        let (block, within) = (first + entry / 64, entry % 64);
        let words = stream.words(draw, 16 * block + within % 16);
        let u = unit(words[(within / 16) as usize]);
        let noise = -(-(u + 1e-9).ln() + 1e-9).ln();
        let is_barred = sampling.disallow_correct && entry == u64::from(target);
        let barred = if is_barred { 1000.0 } else { 0.0 };
        logit / sampling.temperature - barred + noise
    });
    best(scores)
}

/// A model in training. Gradients are clipped over the whole batch: `clip_every` is not read.
#[derive(Debug)]
pub struct Pretrainer {
    settings: Pretraining,
    optimizer: Optimizer,
    threads: ThreadPool,
}

/// Threads for the matrix products; they change no result.
pub(crate) fn threads(count: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count.max(1))
        .build()
        .expect("threads start")
}

impl Pretrainer {
    /// First values; matrix products take so many threads.
    ///
    /// # Errors
    /// When sizes do not make a network.
    pub fn new(settings: Pretraining, n_threads: usize) -> Result<Self, TrainError> {
        settings.discriminator.check()?;
        settings.generator.check()?;
        let model = PretrainingModel::new(&settings.discriminator, &settings.generator);
        Ok(Self {
            optimizer: Optimizer::new(model.parameters, settings.seed),
            settings,
            threads: threads(n_threads),
        })
    }

    /// Masks as `masking` says from here on.
    pub fn set_masking(&mut self, masking: Masking) {
        self.settings.masking = masking;
    }

    /// Updates done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.optimizer.step
    }

    /// Begins from given tensors instead of first values.
    ///
    /// # Errors
    /// When a tensor has another shape than the model's.
    pub fn start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError> {
        self.optimizer.start_from(tensors)
    }

    fn run(
        &self,
        batch: &[MaskedSequence<'_>],
        step: u32,
        dropout: Dropout,
        scales: Option<(f32, f32)>,
        go_on: GoOn<'_>,
    ) -> Option<(Said, Option<Tensors>)> {
        let settings = &self.settings;
        let task = Task {
            generator: &settings.generator,
            discriminator: &settings.discriminator,
            mask_id: settings.mask_id,
            replacements: Replacements::Sampled(Sampling {
                seed: settings.seed,
                step,
                temperature: settings.temperature,
                disallow_correct: settings.disallow_correct,
            }),
            dropout,
            scales,
        };
        let values = &self.optimizer.values;
        self.threads
            .install(|| replaced_while(values, &task, batch, go_on))
    }

    /// One update from a batch of examples, in order.
    ///
    /// # Errors
    /// When an example does not fit the model, or a loss or gradient is not finite; then nothing is updated.
    pub fn train(&mut self, examples: &[Example<'_>]) -> Result<StepNumbers, TrainError> {
        let numbers = self.train_while(examples, &|_| true)?;
        Ok(numbers.expect("nobody asked to stop"))
    }

    /// [`train`](Self::train) while `go_on` says so between sequences; else `None`, and nothing is updated.
    ///
    /// # Errors
    /// Those of [`train`](Self::train).
    pub fn train_while(
        &mut self,
        examples: &[Example<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<StepNumbers>, TrainError> {
        let settings = &self.settings;
        check(examples, &settings.discriminator, usize::MAX, self.step())?;
        let step = u32::try_from(self.step()).expect("fewer than 2^32 steps");
        let batch = masked(examples, settings, step);
        let slots: usize = batch.iter().map(|sequence| sequence.positions.len()).sum();
        let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
        // Spec D.3: means over the whole batch's slots and tokens.
        let scales = (
            settings.weights.0 / (slots as f32 + 1e-6),
            settings.weights.1 / (tokens as f32 + 1e-6),
        );
        let dropout = Dropout::Counted {
            seed: settings.seed,
            step,
        };
        let Some((said, gradients)) = self.run(&batch, step, dropout, Some(scales), go_on) else {
            return Ok(None);
        };
        let (mlm, rtd) = (said.mlm.loss as f32, said.rtd_loss as f32);
        let loss = mlm * scales.0 + rtd * scales.1;
        let learning_rate = self.settings.schedule.rate(self.step());
        let update = Update {
            learning_rate,
            layer_decay: None,
            weight_decay: self.settings.weight_decay,
            bias_correction: false,
            betas: self.settings.betas,
            epsilon: self.settings.epsilon,
            clip: self.settings.clip,
        };
        let gradients = gradients.expect("scales were given");
        let gradient_norm = self.optimizer.update(&gradients, loss, &update)?;
        let (slots, n) = (slots.max(1) as f32, tokens as f32);
        let judged = said
            .replaced
            .iter()
            .flatten()
            .zip(said.logits.iter().flatten());
        let right = judged.filter(|(is, logit)| **is == (**logit > 0.0)).count();
        let replaced = said.replaced.iter().flatten().filter(|is| **is).count();
        Ok(Some(StepNumbers {
            step: u64::from(step),
            loss,
            mlm: mlm / slots,
            rtd: rtd / n,
            mlm_accuracy: said.mlm.correct as f32 / slots,
            rtd_accuracy: right as f32 / n,
            replaced: replaced as f32 / n,
            gradient_norm,
            learning_rate,
            tokens,
        }))
    }

    /// What held-out examples say, with masks and samples of step 0.
    ///
    /// # Errors
    /// When an example does not fit the model.
    pub fn evaluate(&mut self, examples: &[Example<'_>]) -> Result<EvaluationNumbers, TrainError> {
        let numbers = self.evaluate_while(examples, &|_| true)?;
        Ok(numbers.expect("nobody asked to stop"))
    }

    /// [`evaluate`](Self::evaluate) while `go_on` says so between sequences; else `None`.
    ///
    /// # Errors
    /// When an example does not fit the model.
    pub fn evaluate_while(
        &mut self,
        examples: &[Example<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<EvaluationNumbers>, TrainError> {
        let settings = &self.settings;
        check(examples, &settings.discriminator, usize::MAX, self.step())?;
        let batch = masked(examples, settings, 0);
        let slots = batch.iter().map(|sequence| sequence.positions.len()).sum();
        let Some((said, _)) = self.run(&batch, 0, Dropout::Off, None, go_on) else {
            return Ok(None);
        };
        let by_sequence = said.logits.iter().zip(&said.replaced).enumerate();
        let judged = by_sequence.flat_map(|(example, (logits, replaced))| {
            logits
                .iter()
                .zip(replaced)
                .map(move |(logit, is_replaced)| Judged {
                    example,
                    logit: *logit,
                    is_replaced: *is_replaced,
                })
        });
        let numbers = EvaluationNumbers::new(said.mlm, slots, judged.collect());
        Ok(Some(numbers))
    }

    /// All tensors by the engine's names: the discriminator's, and the generator's own under `generator.`.
    #[must_use]
    pub fn tensors(&self) -> Tensors {
        self.optimizer.values.clone()
    }

    /// A copy of everything that going on takes, for the engine too.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.optimizer.snapshot()
    }

    /// Goes on where a [`snapshot`](Self::snapshot) was taken and written; the notes beside it.
    ///
    /// # Errors
    /// When the checkpoint is damaged or another model's.
    pub fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError> {
        self.optimizer.resume(folder)
    }
}
