//! Whole trainings on an accelerator, emulated, against the CPU: losses step by step, bits twice and after going on.

use std::sync::atomic::{AtomicU32, Ordering};

use engine::backend::{Backend, Precision};
use engine::check::steps::{self, Training};
use engine::cpu::Cpu;
use engine::cuda::Cuda;
use engine::finetune::{Label, Said, TaskTrainer};
use engine::model::heads::HeadKind;
use engine::pretrain::Pretrainer;

use crate::emulated::Emulated;
use crate::tasks;

fn device(seed: u32, precision: Precision) -> Cuda<Emulated> {
    Cuda::new(Emulated::new(seed), precision).expect("kernels compile")
}

fn cpu() -> Cpu {
    steps::like_accelerators(Cpu::new(1).expect("threads"))
}

#[test]
fn gradients_and_losses_of_pretraining_are_the_cpus() {
    let cpu = Cpu::new(1).expect("threads");
    let make = |precision| Ok(device(1, precision));
    let found = steps::against_the_cpu(&Training::tiny(), 6, cpu, &make).expect("finite");
    // Gradients, four numbers a step in two precisions, and what was drawn in one.
    assert!(found.len() > 6 * 9 + 60, "{}", found.len());
    for one in found {
        assert!(one.passed, "{one}");
    }
}

#[test]
fn pretraining_goes_on_to_the_same_bits_in_any_order_of_threads() {
    let folder = tempfile::tempdir().expect("temp");
    // Another order for each device.
    let seed = AtomicU32::new(1);
    let make = |precision| Ok(device(seed.fetch_add(1, Ordering::Relaxed), precision));
    let place = folder.path().join("state");
    let kept = steps::bits(&Training::tiny(), &place, &make, &[]).expect("finite");
    assert_eq!(kept.len(), 2);
    for one in kept {
        assert!(one.passed, "{one:?}");
    }
}

#[test]
fn sizes_beyond_a_device_are_refused() {
    // Micro-batches of more tokens than are counted, and of as many as there are numbers.
    for tokens in [1 << 26, usize::MAX] {
        let device = device(1, Precision::Bf16);
        let made = Pretrainer::new(device, Training::tiny().settings, 64, tokens);
        let text = made.expect_err("too much").to_string();
        assert!(
            text.starts_with("emulation cannot take so much at once"),
            "{text}"
        );
    }
    let mut settings = Training::tiny().settings;
    settings.discriminator.hidden_size = 4096;
    let made = Pretrainer::new(device(1, Precision::Bf16), settings, 64, 64);
    let text = made.expect_err("too wide").to_string();
    assert_eq!(
        text,
        "the model is 4096 wide, and 2048 is the most that is computed on a GPU"
    );
}

#[test]
fn evaluation_is_the_cpus() {
    let (ids, zeros) = (steps::batch(9), [0; 64]);
    let examples = steps::examples(&ids[..5], &zeros);
    let mut on_cpu =
        Pretrainer::new(cpu(), steps::Training::tiny().settings, 64, 100).expect("fits");
    let expected = on_cpu.evaluate(&examples).expect("fits");
    let device = device(1, Precision::F32);
    let mut trainer =
        Pretrainer::new(device, steps::Training::tiny().settings, 64, 100).expect("fits");
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
