//! How fast a device trains: whole steps by the clock, after steps that do not count, and what that is of the device's best.
//! Knows no kernels; operations are those of `cost`.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Make;
use super::steps::words;
use crate::backend::Precision;
use crate::config::{ElectraConfig, Size};
use crate::cost;
use crate::cuda::driver::{Driver, Element, Matrix, Product};
use crate::error::{DeviceError, TrainError};
use crate::finetune::{Finetuning, Label, TaskExample, TaskTrainer};
use crate::mask::{Duplicates, Masking};
use crate::model::heads::HeadKind;
use crate::pretrain::{Example, Pretrainer, Pretraining, footprint};
use crate::random::below;
use crate::schedule::{Schedule, Shape};

/// Entries of the vocabularies of published models, as this project makes them.
const VOCABULARY: usize = 31_090;
/// Share of the free memory that a micro-batch may be planned for.
const SHARE: f64 = 0.85;
/// Steps that do not count: kernels are loaded, products chosen, graphs made.
const WARM: usize = 3;
/// Most steps that count.
const MOST: usize = 30;
/// Batches that are made before the clock runs, and taken in turn.
const BATCHES: u32 = 4;

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Updates by replaced token detection.
    PreTraining,
    /// Updates of a classifier of sequences.
    FineTuning,
    /// The classifier's logits.
    Prediction,
}

/// Lengths of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lengths {
    /// All the longest: what a padded batch computes.
    Padded,
    /// As in texts: some are cut at the longest, the others are of any length. At 512 the mean is 370.
    Real,
}

impl Lengths {
    fn draw(self, word: u32, longest: usize) -> usize {
        /// Of 100 sequences, so many are cut.
        const CUT: u32 = 43;
        let most = u32::try_from(longest).expect("short");
        let length = match self {
            Self::Real if below(word, 100) >= CUT => {
                let least = (most / 32).max(3);
                least + below(word.rotate_left(13), most + 1 - least)
            }
            _ => most,
        };
        length as usize
    }
}

/// A measurement that can be taken.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// How it is called.
    pub name: &'static str,
    /// What is done.
    pub work: Work,
    /// Sequences of a step.
    pub sequences: u32,
    /// Longest sequence.
    pub longest: usize,
    /// Lengths of sequences.
    pub lengths: Lengths,
    /// Sizes of the (larger) network.
    #[serde(skip)]
    pub config: ElectraConfig,
}

/// What is measured on a GPU: base size, as in the paper.
#[must_use]
pub fn tasks() -> Vec<Task> {
    let config = Size::Base.config(VOCABULARY);
    let task = |name, work, sequences, longest, lengths| Task {
        name,
        work,
        sequences,
        longest,
        lengths,
        config: config.clone(),
    };
    vec![
        task(
            "pre-training, padded",
            Work::PreTraining,
            256,
            512,
            Lengths::Padded,
        ),
        task(
            "pre-training, un-padded",
            Work::PreTraining,
            256,
            512,
            Lengths::Real,
        ),
        task("fine-tuning", Work::FineTuning, 32, 128, Lengths::Padded),
        task("prediction", Work::Prediction, 32, 128, Lengths::Padded),
    ]
}

/// The best that a device is said to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// Operations a second with operands of bf16 and no sparsity.
    pub flop: f64,
    /// Bytes a second of its memory.
    pub bytes: f64,
}

/// What data sheets say of a device, by its name.
#[must_use]
pub fn peak(name: &str) -> Option<Peak> {
    // Longer names first: those below are parts of them.
    let known = [
        ("H200 NVL", 835e12, 4.8e12),
        ("H200", 989e12, 4.8e12),
        ("H100 NVL", 835e12, 3.9e12),
        ("H100 PCIe", 756e12, 2.0e12),
        ("H100", 989e12, 3.35e12),
        ("A100-SXM4-80GB", 312e12, 2.039e12),
        ("A100 80GB PCIe", 312e12, 1.935e12),
        ("A100", 312e12, 1.555e12),
        ("L40S", 362e12, 0.864e12),
    ];
    let found = known.iter().find(|(part, ..)| name.contains(part));
    found.map(|(_, flop, bytes)| Peak {
        flop: *flop,
        bytes: *bytes,
    })
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Of what.
    #[serde(flatten)]
    pub task: Task,
    /// Steps that count.
    pub steps: usize,
    /// Seconds of a step: the median, and the fastest.
    pub seconds: f64,
    /// The fastest.
    pub fastest: f64,
    /// Steps a second, by the median.
    pub steps_per_second: f64,
    /// Tokens of a step, on average.
    pub tokens: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Operations of a step, by `cost`, for the lengths that were taken.
    pub flop: f64,
    /// Those a second.
    pub flop_per_second: f64,
    /// As a share of the data sheet's.
    pub mfu: Option<f64>,
    /// As a share of what products reach here.
    pub share_of_products: Option<f64>,
    /// Most tokens of a micro-batch.
    pub micro_tokens: usize,
    /// Bytes of the device that were in use.
    pub bytes: Option<u64>,
}

fn schedule() -> Schedule {
    Schedule {
        peak: 2e-4,
        steps: 10_000,
        warmup: 100,
        shape: Shape::Product,
    }
}

/// Pre-training of a task, as the paper has it.
#[must_use]
pub fn pretraining(task: &Task) -> Pretraining {
    let mask_id = 104.min(task.config.vocab_size as u32 / 4);
    Pretraining {
        generator: task.config.generator(Size::Base.generator_share(), 1.0),
        discriminator: task.config.clone(),
        schedule: schedule(),
        weight_decay: 0.01,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: Some(1.0),
        clip_every: None,
        weights: (1.0, 50.0),
        masking: Masking::new(0.15, task.longest, Duplicates::None, vec![mask_id]),
        temperature: 1.0,
        disallow_correct: false,
        mask_id,
        seed: 1,
    }
}

fn finetuning(task: &Task) -> Finetuning {
    Finetuning {
        config: task.config.clone(),
        head: HeadKind::Sequence,
        outputs: 2,
        schedule: schedule(),
        layer_decay: Some(0.8),
        weight_decay: 0.0,
        bias_correction: false,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: Some(1.0),
        seed: 1,
    }
}

/// The batches that are taken in turn.
#[must_use]
pub fn batches(task: &Task) -> Vec<Vec<Vec<u32>>> {
    let length = |word| task.lengths.draw(word, task.longest);
    (0..BATCHES)
        .map(|step| words(step, task.sequences, &length, task.config.vocab_size))
        .collect()
}

/// Operations of a step, on average over the batches.
fn flop(task: &Task, batches: &[Vec<Vec<u32>>]) -> f64 {
    let settings = pretraining(task);
    let one = |ids: &Vec<u32>| {
        let n = ids.len() as f64;
        let share = settings.masking.most as f64 / task.longest as f64;
        let token = match task.work {
            Work::PreTraining => {
                let small = cost::generator(&settings.generator, n, share);
                cost::TRAINING * (small + cost::discriminator(&task.config, n))
            }
            Work::FineTuning => cost::TRAINING * cost::encoder(&task.config, n),
            Work::Prediction => cost::encoder(&task.config, n),
        };
        token * n
    };
    batches.iter().flatten().map(one).sum::<f64>() / batches.len() as f64
}

/// Tokens of the largest micro-batch that fits into `free` bytes: the whole batch, or halves of halves of it.
#[must_use]
pub fn fitting(task: &Task, free: u64) -> usize {
    let mut tokens = task.sequences as usize * task.longest;
    let settings = pretraining(task);
    let wanted = |tokens| {
        let all = footprint(
            &settings,
            task.longest,
            tokens,
            crate::arena::Granularity::ACCELERATOR,
        );
        let all = all.with_precision(Precision::Bf16);
        all.total() - all.copy
    };
    while tokens > task.longest && wanted(tokens) as f64 > SHARE * free as f64 {
        tokens = tokens.div_ceil(2);
    }
    tokens
}

/// Seconds of steps, sorted: some that do not count, then as many as there is time for, at least three.
pub(crate) fn timed(
    limit: Duration,
    mut step: impl FnMut(usize) -> Result<(), TrainError>,
) -> Result<Vec<f64>, TrainError> {
    let begun = Instant::now();
    for i in 0..WARM {
        step(i)?;
    }
    let mut seconds = Vec::new();
    while seconds.len() < 3 || (seconds.len() < MOST && begun.elapsed() < limit) {
        let start = Instant::now();
        step(WARM + seconds.len())?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// Takes a task for at most about `limit`, in bf16. `products` are the operations a second that products reach.
///
/// # Errors
/// Faults of the device, and losses that are not finite.
pub fn measure<D: Driver>(
    task: &Task,
    limit: Duration,
    products: Option<f64>,
    make: Make<'_, D>,
) -> Result<Speed, TrainError> {
    let batches = batches(task);
    let zeros = vec![0; task.longest];
    let device = make(Precision::Bf16)?;
    let peak = peak(&device.driver().facts().name);
    let free = device.driver().free_bytes()?;
    let micro_tokens = fitting(task, free);
    let taken = |now: Result<u64, DeviceError>| now.ok().map(|now| free.saturating_sub(now));
    let (seconds, bytes) = match task.work {
        Work::PreTraining => {
            let settings = pretraining(task);
            let mut trainer = Pretrainer::new(device, settings, task.longest, micro_tokens)?;
            let seconds = timed(limit, |i| {
                let ids = &batches[i % batches.len()];
                let examples: Vec<Example<'_>> = super::steps::examples(ids, &zeros);
                trainer.train(&examples).map(drop)
            })?;
            (seconds, taken(trainer.backend().driver().free_bytes()))
        }
        Work::FineTuning => {
            let settings = finetuning(task);
            let mut trainer = TaskTrainer::new(device, settings, task.longest, micro_tokens)?;
            let seconds = timed(limit, |i| {
                let ids = batches[i % batches.len()].iter();
                let examples: Vec<TaskExample<'_>> = ids
                    .map(|ids| TaskExample {
                        ids,
                        types: &zeros[..ids.len()],
                        label: Label::Class(ids[0] % 2),
                    })
                    .collect();
                trainer.train(&examples).map(drop)
            })?;
            (seconds, taken(trainer.backend().driver().free_bytes()))
        }
        Work::Prediction => {
            let settings = finetuning(task);
            let mut trainer =
                TaskTrainer::for_prediction(device, settings, task.longest, micro_tokens)?;
            let seconds = timed(limit, |i| {
                let ids = batches[i % batches.len()].iter();
                let inputs: Vec<(&[u32], &[u32])> =
                    ids.map(|ids| (&ids[..], &zeros[..ids.len()])).collect();
                trainer.predict(&inputs).map(drop)
            })?;
            (seconds, taken(trainer.backend().driver().free_bytes()))
        }
    };
    let tokens: usize = batches.iter().flatten().map(Vec::len).sum();
    let tokens = tokens as f64 / batches.len() as f64;
    let flop = flop(task, &batches);
    let median = seconds[seconds.len() / 2];
    Ok(Speed {
        task: task.clone(),
        steps: seconds.len(),
        seconds: median,
        fastest: seconds[0],
        steps_per_second: 1.0 / median,
        tokens,
        tokens_per_second: tokens / median,
        flop,
        flop_per_second: flop / median,
        mfu: peak.map(|peak| flop / median / peak.flop),
        share_of_products: products.map(|products| flop / median / products),
        micro_tokens,
        bytes,
    })
}

/// Operations a second of a product of square matrices in bf16, the median of some rounds.
///
/// # Errors
/// Faults of the device.
pub fn product_rate<D: Driver>(
    driver: &mut D,
    size: usize,
    rounds: usize,
) -> Result<f64, DeviceError> {
    /// Products between two looks at the clock.
    const EACH: usize = 8;
    let bytes = size * size * 2;
    let mut matrices = Vec::new();
    for seed in 0..3 {
        let at = driver.allocate(bytes)?;
        // Numbers that are not all the same: products of zeros take less power, and so less time.
        let values: Vec<u16> = (super::numbers(seed, (1 << 16).min(size * size)).iter())
            .map(|value| (value.to_bits() >> 16) as u16)
            .collect();
        let values: &[u8] = bytemuck::cast_slice(&values);
        for first in (0..bytes).step_by(values.len()) {
            let len = values.len().min(bytes - first);
            driver.write(at.offset(first), &values[..len]);
        }
        matrices.push(Matrix {
            at,
            element: Element::Bf16,
            stride: size,
            transposed: seed == 1,
        });
    }
    let product = Product {
        a: matrices[0],
        b: matrices[1],
        c: matrices[2],
        rows: size,
        columns: size,
        inner: size,
        adds: false,
        bias: None,
    };
    let mut seconds = Vec::new();
    for round in 0..=rounds {
        driver.finish()?;
        let start = Instant::now();
        for _ in 0..EACH {
            // SAFETY: the matrices were allocated here in these sizes.
            unsafe { driver.product(&product) };
        }
        driver.finish()?;
        if round > 0 {
            seconds.push(start.elapsed().as_secs_f64() / EACH as f64);
        }
    }
    for matrix in matrices {
        driver.release(matrix.at);
    }
    seconds.sort_by(f64::total_cmp);
    let flop = 2.0 * (size as f64).powi(3);
    Ok(flop / seconds[seconds.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_lengths_are_those_of_texts() {
        let task = &tasks()[1];
        let lengths: Vec<usize> = batches(task).iter().flatten().map(Vec::len).collect();
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        assert!((mean - 370.0).abs() < 12.0, "{mean}");
        assert!(lengths.iter().all(|n| (3..=512).contains(n)));
        assert!(lengths.iter().any(|n| *n < 100) && lengths.contains(&512));
    }

    #[test]
    fn operations_of_the_padded_step_are_those_of_the_specification() {
        let task = &tasks()[0];
        let found = flop(task, &batches(task));
        assert!((found / 8.765e13 - 1.0).abs() < 1e-3, "{found:e}");
    }

    #[test]
    fn devices_are_known_by_their_names() {
        assert_eq!(peak("NVIDIA H200").map(|p| p.flop), Some(989e12));
        assert_eq!(peak("NVIDIA H100 PCIe").map(|p| p.flop), Some(756e12));
        assert_eq!(
            peak("NVIDIA A100-SXM4-80GB").map(|p| p.bytes),
            Some(2.039e12)
        );
        assert!(peak("NVIDIA H20").is_none());
    }

    #[test]
    fn a_micro_batch_fits() {
        let task = &tasks()[0];
        let all = fitting(task, 130 << 30);
        let few = fitting(task, 20 << 30);
        assert!(few < all && few >= 512, "{few} {all}");
        assert_eq!(fitting(task, 0), 512);
    }
}
