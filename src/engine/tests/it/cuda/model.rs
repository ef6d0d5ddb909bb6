//! Whole trainings on an accelerator, emulated, against the CPU: losses step by step, bits twice and after going on.

use engine::arena::Granularity;
use engine::backend::{Backend, Precision};
use engine::cpu::Cpu;
use engine::cuda::Cuda;
use engine::finetune::{Label, Said, TaskTrainer};
use engine::model::heads::HeadKind;
use engine::pretrain::{Pretrainer, Pretraining, StepNumbers};
use engine::schedule::Schedule;
use engine::weights::Tensors;

use crate::emulated::Emulated;
use crate::{tasks, training};

fn settings() -> Pretraining {
    let settings = training::settings();
    Pretraining {
        // Every step moves the weights.
        schedule: Schedule {
            warmup: 2,
            ..settings.schedule
        },
        ..settings
    }
}

fn device(seed: u32, precision: Precision) -> Cuda<Emulated> {
    Cuda::new(Emulated::new(seed), precision).expect("kernels compile")
}

fn cpu() -> Cpu {
    // The same samples are drawn whatever the tail is; so sums see as many rows.
    let cpu = Cpu::new(1).expect("threads");
    cpu.with_granularity(Granularity {
        rows: Granularity::ACCELERATOR.rows,
        ..Granularity::PROCESSOR
    })
}

struct Outcome {
    numbers: Vec<StepNumbers>,
    discriminator: Tensors,
}

fn pretrain<B: Backend + Send>(
    trainer: &mut Pretrainer<B>,
    steps: std::ops::Range<u32>,
) -> Outcome {
    let zeros = [0; 64];
    let one = |step| {
        let ids = training::batch(step);
        // A part of the batch: the emulation is slow.
        let examples = training::examples(&ids[..6], &zeros);
        trainer.train(&examples).expect("finite")
    };
    let numbers = steps.map(one).collect();
    Outcome {
        numbers,
        discriminator: trainer.discriminator(),
    }
}

#[test]
fn losses_of_pretraining_are_the_cpus() {
    let steps = 0..6;
    let expected = pretrain(
        &mut Pretrainer::new(cpu(), settings(), 64, 100).expect("fits"),
        steps.clone(),
    );
    for (precision, bound) in [(Precision::F32, 2e-4), (Precision::Bf16, 2e-2)] {
        let device = device(1, precision);
        let mut trainer = Pretrainer::new(device, settings(), 64, 100).expect("fits");
        let found = pretrain(&mut trainer, steps.clone());
        for (expected, found) in expected.numbers.iter().zip(&found.numbers) {
            let step = expected.step;
            let near = |what: &str, expected: f32, found: f32| {
                assert!(
                    (expected - found).abs() <= bound * expected.abs(),
                    "{} {what} of step {}: {found}, on the CPU {expected}",
                    precision.name(),
                    step
                );
            };
            near("loss", expected.loss, found.loss);
            near("mlm", expected.mlm, found.mlm);
            near("rtd", expected.rtd, found.rtd);
            near("norm", expected.gradient_norm, found.gradient_norm);
            if precision == Precision::F32 {
                // The same samples were drawn.
                assert_eq!(expected.replaced, found.replaced);
            }
        }
    }
}

#[test]
fn pretraining_goes_on_to_the_same_bits_in_any_order_of_threads() {
    let make =
        |seed| Pretrainer::new(device(seed, Precision::Bf16), settings(), 64, 100).expect("fits");
    let mut whole = make(1);
    let expected = pretrain(&mut whole, 0..3);
    let folder = tempfile::tempdir().expect("temp");
    let place = folder.path().join("state");
    let mut first = make(2);
    pretrain(&mut first, 0..2);
    first.snapshot().write(&place, b"").expect("written");
    let mut second = make(3);
    second.resume(&place).expect("whole");
    let found = pretrain(&mut second, 2..3);
    assert_eq!(expected.numbers[2], found.numbers[0]);
    assert!(expected.discriminator == found.discriminator);
}

#[test]
fn evaluation_is_the_cpus() {
    let (ids, zeros) = (training::batch(9), [0; 64]);
    let examples = training::examples(&ids[..5], &zeros);
    let mut on_cpu = Pretrainer::new(cpu(), settings(), 64, 100).expect("fits");
    let expected = on_cpu.evaluate(&examples).expect("fits");
    let device = device(1, Precision::F32);
    let mut trainer = Pretrainer::new(device, settings(), 64, 100).expect("fits");
    let found = trainer.evaluate(&examples).expect("fits");
    assert_eq!(expected.disc_accuracy, found.disc_accuracy);
    assert!((expected.masked_lm_loss - found.masked_lm_loss).abs() < 1e-5);
    assert!((expected.disc_loss - found.disc_loss).abs() < 1e-5);
    assert!((expected.disc_auc - found.disc_auc).abs() < 1e-3);
}

#[test]
fn every_head_learns_as_on_the_cpu() {
    type Labels = for<'a> fn(&'a tasks::Made) -> Label<'a>;
    let heads: [(HeadKind, usize, Labels); 4] = [
        (HeadKind::Tokens, 2, |made| Label::Tokens(&made.tags)),
        (HeadKind::Sequence, 4, |made| Label::Class(made.key())),
        (HeadKind::Span, 2, |made| {
            Label::Span(made.place, made.place)
        }),
        (HeadKind::Joint, 1, |made| Label::Answer {
            start: 0,
            end: 0,
            is_impossible: made.key() > 31,
        }),
    ];
    for (head, outputs, label) in heads {
        let expected = fine_tune(cpu(), head, outputs, label);
        let found = fine_tune(device(1, Precision::F32), head, outputs, label);
        for (expected, found) in expected.0.iter().zip(&found.0) {
            assert!(
                (expected - found).abs() <= 2e-4 * expected.abs(),
                "{head:?}"
            );
        }
        for (expected, found) in expected.1.iter().zip(&found.1) {
            match (expected, found) {
                (Said::Logits(expected), Said::Logits(found)) => {
                    assert_eq!(expected.len(), found.len());
                    for (e, f) in expected.iter().zip(found) {
                        assert!((e - f).abs() < 1e-3, "{head:?}: {f}, on the CPU {e}");
                    }
                }
                (Said::Answers(expected), Said::Answers(found)) => {
                    assert_eq!(expected.spans.len(), found.spans.len());
                    assert!((expected.impossible - found.impossible).abs() < 1e-3);
                }
                _ => panic!("{head:?} says something else"),
            }
        }
    }
}

fn fine_tune<B: Backend + Send>(
    device: B,
    head: HeadKind,
    outputs: usize,
    label: for<'a> fn(&'a tasks::Made) -> Label<'a>,
) -> (Vec<f32>, Vec<Said>) {
    let settings = tasks::settings(head, outputs);
    let mut trainer = TaskTrainer::new(device, settings, 32, 90).expect("fits");
    let losses = (0..3).map(|step| {
        let made = tasks::made(step);
        let examples: Vec<_> = (made[..6].iter())
            .map(|made| made.example(label(made)))
            .collect();
        trainer.train(&examples).expect("finite").loss
    });
    let losses = losses.collect();
    let made = tasks::made(7);
    let inputs: Vec<_> = (made[..3].iter())
        .map(|m| (&m.ids[..], &m.types[..]))
        .collect();
    (losses, trainer.predict(&inputs).expect("fits"))
}
