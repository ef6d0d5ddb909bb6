//! Steps of pre-training on an accelerator against the CPU's: gradients by name, losses, and bits that stay the same.
//! Knows no program and no clock.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::{Difference, Make, Outputs, caught, compare};
use crate::arena::Granularity;
use crate::backend::{Backend, Precision};
use crate::config::{ElectraConfig, Size};
use crate::cpu::Cpu;
use crate::cuda::Cuda;
use crate::cuda::driver::Driver;
use crate::error::TrainError;
use crate::mask::{Duplicates, Masking};
use crate::pretrain::{Example, Pretrainer, Pretraining, StepNumbers};
use crate::random::{Draw, Purpose, Stream, below};
use crate::schedule::{Schedule, Shape};

/// A model that learns something in few steps, and its data.
#[must_use]
pub fn settings() -> Pretraining {
    let text = r#"{"vocab_size": 60, "embedding_size": 32, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 128, "max_position_embeddings": 64}"#;
    let config: ElectraConfig = serde_json::from_str(text).expect("a configuration");
    Pretraining {
        generator: config.generator(0.5, 1.0),
        discriminator: config,
        schedule: Schedule {
            peak: 2e-3,
            steps: 600,
            warmup: 15,
            shape: Shape::Product,
        },
        weight_decay: 0.01,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: Some(1.0),
        clip_every: None,
        weights: (1.0, 50.0),
        masking: Masking::new(0.15, 64, Duplicates::None, vec![2, 3, 4]),
        temperature: 1.0,
        disallow_correct: false,
        mask_id: 4,
        seed: 3,
    }
}

/// One word again and again: the tokens that are seen say all about a masked one.
#[must_use]
pub fn batch(step: u32) -> Vec<Vec<u32>> {
    let stream = Stream::new(1, Purpose::Shuffle);
    (0..16)
        .map(|sequence| {
            let draw = Draw { step, sequence };
            let length = 12 + below(stream.word(draw, 0), 20);
            let word = 5 + below(stream.word(draw, 1), 40);
            let words = (0..length).map(|_| word);
            [2].into_iter().chain(words).chain([3]).collect()
        })
        .collect()
}

/// Examples of one segment.
#[must_use]
pub fn examples<'a>(ids: &'a [Vec<u32>], zeros: &'a [u32]) -> Vec<Example<'a>> {
    ids.iter()
        .map(|ids| Example::new(ids, &zeros[..ids.len()]))
        .collect()
}

/// A small training that is taken on several devices.
#[derive(Clone, Debug)]
pub struct Training {
    /// How it is called in reports.
    pub name: &'static str,
    /// What is trained.
    pub settings: Pretraining,
    /// Longest example.
    pub longest: usize,
    /// Tokens of a micro-batch, of which a step has several.
    pub micro_tokens: usize,
    /// The batch of a step.
    pub batch: fn(u32) -> Vec<Vec<u32>>,
    /// How far losses may lie from the CPU's, as a share of them.
    pub losses: super::Bounds,
    /// How far gradients may, as a share of the largest of their tensor.
    pub gradients: f32,
}

impl Training {
    /// Small enough for an emulation.
    #[must_use]
    pub fn tiny() -> Self {
        let settings = settings();
        Self {
            name: "tiny",
            settings: Pretraining {
                // Every step moves the weights.
                schedule: Schedule {
                    warmup: 2,
                    ..settings.schedule
                },
                ..settings
            },
            longest: 64,
            micro_tokens: 100,
            batch: |step| batch(step)[..6].to_vec(),
            losses: super::Bounds {
                f32: 2e-4,
                bf16: 2e-2,
            },
            gradients: 2e-4,
        }
    }

    /// ELECTRA-Small with its vocabulary, for GPUs: 12 layers, heads of 64, products with odd ends.
    #[must_use]
    pub fn small() -> Self {
        const VOCABULARY: usize = 31_090;
        let discriminator = Size::Small.config(VOCABULARY);
        Self {
            name: "small",
            settings: Pretraining {
                generator: discriminator.generator(Size::Small.generator_share(), 1.0),
                discriminator,
                schedule: Schedule {
                    peak: 5e-4,
                    steps: 600,
                    warmup: 4,
                    shape: Shape::Product,
                },
                masking: Masking::new(0.15, 128, Duplicates::None, vec![102, 103, 104]),
                mask_id: 104,
                ..settings()
            },
            longest: 128,
            micro_tokens: 700,
            batch: |step| words(step, 16, &|draw| 20 + below(draw, 109) as usize, VOCABULARY),
            losses: super::Bounds {
                // One sample that differs is one token of about a thousand.
                f32: 5e-3,
                bf16: 5e-2,
            },
            gradients: 2e-3,
        }
    }

    fn trainer<B: Backend + Send>(&self, device: B) -> Result<Pretrainer<B>, TrainError> {
        Pretrainer::new(
            device,
            self.settings.clone(),
            self.longest,
            self.micro_tokens,
        )
    }

    fn take<B: Backend + Send>(
        &self,
        trainer: &mut Pretrainer<B>,
        steps: Range<u32>,
    ) -> Result<Vec<StepNumbers>, TrainError> {
        let zeros = vec![0; self.longest];
        let one = |step| {
            let ids = (self.batch)(step);
            trainer.train(&examples(&ids, &zeros))
        };
        steps.map(one).collect()
    }
}

/// Ids below this are special in BERT's vocabularies.
const SPECIAL: u32 = 105;

/// Ids anywhere in a vocabulary, some of them often, of sequences whose lengths `length` makes of a drawn word.
pub(crate) fn words(
    step: u32,
    sequences: u32,
    length: &dyn Fn(u32) -> usize,
    vocabulary: usize,
) -> Vec<Vec<u32>> {
    let stream = Stream::new(1, Purpose::Shuffle);
    let entries = u32::try_from(vocabulary).expect("a vocabulary");
    let first = SPECIAL.min(entries / 2);
    let entries = entries - first;
    let one = |sequence| {
        let draw = Draw { step, sequence };
        let n = length(stream.word(draw, 1 << 20));
        let id = |i: u64| {
            let word = stream.word(draw, i);
            // Small ids are frequent, as in real vocabularies.
            first + below(word, 1 + below(word.rotate_left(16), entries))
        };
        (0..n as u64).map(id).collect()
    };
    (0..sequences).map(one).collect()
}

/// The CPU as it is compared with: it lays rows out as accelerators do, so that both draw the same samples.
#[must_use]
pub fn like_accelerators(cpu: Cpu) -> Cpu {
    cpu.with_granularity(Granularity {
        rows: Granularity::ACCELERATOR.rows,
        ..Granularity::PROCESSOR
    })
}

fn losses(numbers: &[StepNumbers]) -> Outputs {
    let one = |numbers: &StepNumbers| {
        let named = [
            ("loss", numbers.loss),
            ("mlm", numbers.mlm),
            ("rtd", numbers.rtd),
            ("gradient norm", numbers.gradient_norm),
        ];
        named.map(|(name, value)| (format!("{name} of step {}", numbers.step), vec![value]))
    };
    numbers.iter().flat_map(one).collect()
}

/// Shares of tokens that were replaced: the same where the same samples were drawn.
fn replaced(numbers: &[StepNumbers]) -> Outputs {
    let one = |numbers: &StepNumbers| {
        let name = format!("replaced of step {}", numbers.step);
        (name, vec![numbers.replaced])
    };
    numbers.iter().map(one).collect()
}

fn gradients<B: Backend + Send>(trainer: &mut Pretrainer<B>) -> Outputs {
    let all = trainer.gradients().into_iter();
    all.map(|(name, tensor)| (name, tensor.values)).collect()
}

/// Gradients smaller than this share of the largest of all are compared as if they were as large: some are zero but for
/// rounding, as those of the biases of keys.
const QUIET: f32 = 1e-3;

/// Every gradient of the first step in f32, and losses of `steps` steps in f32 and bf16, against the CPU's.
///
/// # Errors
/// Faults of a device, and losses that are not finite.
pub fn against_the_cpu<D: Driver>(
    training: &Training,
    steps: u32,
    cpu: Cpu,
    make: Make<'_, D>,
) -> Result<Vec<Difference>, TrainError> {
    let mut on_cpu = training.trainer(like_accelerators(cpu))?;
    let mut expected = training.take(&mut on_cpu, 0..1)?;
    let expected_gradients = gradients(&mut on_cpu);
    expected.extend(training.take(&mut on_cpu, 1..steps)?);
    drop(on_cpu);
    let largest = |most: f32, values: &[f32]| values.iter().fold(most, |most, v| most.max(v.abs()));
    let all = expected_gradients.iter();
    let floor = QUIET * all.fold(0.0, |most, (_, values)| largest(most, values));
    let mut made = Vec::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let mut trainer = training.trainer(make(precision)?)?;
        let mut found = training.take(&mut trainer, 0..1)?;
        if precision == Precision::F32 {
            let found = gradients(&mut trainer);
            let bound = training.gradients;
            made.extend(compare(
                precision,
                bound,
                floor,
                &expected_gradients,
                &found,
            ));
        }
        found.extend(training.take(&mut trainer, 1..steps)?);
        let bound = training.losses.of(precision);
        let (e, f) = (losses(&expected), losses(&found));
        made.extend(compare(precision, bound, 0.0, &e, &f));
        if precision == Precision::F32 {
            // The first step draws the same samples; later ones may differ in a draw that was nearly even.
            let (e, f) = (replaced(&expected), replaced(&found));
            let (first, others) = (
                |all: &Outputs| all[..1].to_vec(),
                |all: &Outputs| all[1..].to_vec(),
            );
            made.extend(compare(precision, 0.0, 1.0, &first(&e), &first(&f)));
            made.extend(compare(precision, bound, 1.0, &others(&e), &others(&f)));
        }
    }
    Ok(made)
}

/// Whether bits stay the same in some respect.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// In which.
    pub what: &'static str,
    /// Whether they do.
    pub passed: bool,
    /// What does not.
    pub fault: Option<String>,
}

type Took = (Vec<StepNumbers>, Outputs);

/// Three steps in bf16: twice, with a snapshot and a new trainer before the third, and on devices made in another way by
/// `otherwise` (with graphs or without).
///
/// # Errors
/// When the first run itself fails.
pub fn bits<D: Driver>(
    training: &Training,
    folder: &Path,
    make: Make<'_, D>,
    otherwise: &[(&'static str, Make<'_, D>)],
) -> Result<Vec<Kept>, TrainError> {
    let new = |make: Make<'_, D>| -> Result<Pretrainer<Cuda<D>>, TrainError> {
        training.trainer(make(Precision::Bf16)?)
    };
    let whole = |make: Make<'_, D>| -> Result<Took, TrainError> {
        let mut trainer = new(make)?;
        let numbers = training.take(&mut trainer, 0..3)?;
        Ok((numbers, tensors(&mut trainer)?))
    };
    let expected = whole(make)?;
    let resumed = || -> Result<Took, TrainError> {
        let mut first = new(make)?;
        let mut numbers = training.take(&mut first, 0..2)?;
        first.snapshot()?.write(folder, b"")?;
        drop(first);
        let mut second = new(make)?;
        second.resume(folder)?;
        numbers.extend(training.take(&mut second, 2..3)?);
        Ok((numbers, tensors(&mut second)?))
    };
    let mut made = vec![
        kept("twice", &expected, || whole(make)),
        kept("snapshot and resumed", &expected, resumed),
    ];
    for (what, make) in otherwise {
        made.push(kept(what, &expected, || whole(make)));
    }
    Ok(made)
}

fn tensors<B: Backend + Send>(trainer: &mut Pretrainer<B>) -> Result<Outputs, TrainError> {
    let generator = trainer.generator()?.into_iter();
    let generator = generator.map(|(name, tensor)| (format!("generator {name}"), tensor.values));
    let own = trainer.discriminator()?.into_iter();
    let own = own.map(|(name, tensor)| (name, tensor.values));
    Ok(generator.chain(own).collect())
}

fn kept(
    what: &'static str,
    expected: &Took,
    run: impl FnOnce() -> Result<Took, TrainError>,
) -> Kept {
    let found = caught(run).and_then(|found| found.map_err(|error| error.to_string()));
    let fault = match found {
        Err(fault) => Some(fault),
        Ok((numbers, tensors)) => {
            let apart = numbers.iter().zip(&expected.0).find(|(a, b)| a != b);
            let step = apart.map(|(found, _)| format!("other numbers at step {}", found.step));
            step.or_else(|| super::other_bits(&expected.1, &tensors))
        }
    };
    Kept {
        what,
        passed: fault.is_none(),
        fault,
    }
}
