//! An inert tail, which an accelerator's batches have, changes nothing but rounding: products split their sums by the
//! number of rows.

use engine::arena::Granularity;
use engine::check::steps;
use engine::cpu::Cpu;
use engine::finetune::{Label, Said, TaskTrainer};
use engine::model::heads::HeadKind;
use engine::pretrain::Pretrainer;
use engine::weights::Tensors;

use crate::tasks;

fn devices() -> [Cpu; 2] {
    let cpu = || Cpu::new(2).expect("threads");
    // Odd, so that rows behind the tail would show too.
    let other = Granularity {
        rows: 37,
        ..Granularity::PROCESSOR
    };
    [cpu(), cpu().with_granularity(other)]
}

#[track_caller]
fn near(what: &str, plain: f32, tailed: f32) {
    let bound = 2e-5 * plain.abs().max(1.0);
    assert!(
        (plain - tailed).abs() <= bound,
        "{what}: {plain}, with a tail {tailed}"
    );
}

#[track_caller]
fn same_tensors(plain: &Tensors, tailed: &Tensors) {
    assert_eq!(plain.len(), tailed.len());
    for ((name, plain), tailed) in plain.iter().zip(tailed.values()) {
        for (plain, tailed) in plain.values.iter().zip(&tailed.values) {
            near(name, *plain, *tailed);
        }
    }
}

#[test]
fn a_tail_changes_nothing_but_rounding_in_pretraining() {
    let [plain, tailed] = devices().map(|cpu| {
        let mut trainer = Pretrainer::new(cpu, steps::settings(), 64, 200).expect("fits");
        let numbers: Vec<_> = (0..3)
            .map(|step| {
                let (ids, zeros) = (steps::batch(step), [0; 64]);
                let examples = steps::examples(&ids, &zeros);
                trainer.train(&examples).expect("finite")
            })
            .collect();
        let (ids, zeros) = (steps::batch(9), [0; 64]);
        let held_out = trainer.evaluate(&steps::examples(&ids, &zeros));
        (
            numbers,
            held_out.expect("fits"),
            [
                trainer.discriminator().expect("read"),
                trainer.generator().expect("read"),
            ],
        )
    });
    for (plain, tailed) in plain.0.iter().zip(&tailed.0) {
        near("loss", plain.loss, tailed.loss);
        near("norm", plain.gradient_norm, tailed.gradient_norm);
        assert_eq!(plain.replaced, tailed.replaced);
        assert_eq!(plain.rtd_accuracy, tailed.rtd_accuracy);
    }
    assert_eq!(plain.1.disc_auc, tailed.1.disc_auc);
    for (plain, tailed) in plain.2.iter().zip(&tailed.2) {
        same_tensors(plain, tailed);
    }
}

#[test]
fn a_tail_changes_nothing_but_rounding_in_any_head() {
    type Labels = for<'a> fn(&'a tasks::Made) -> Label<'a>;
    let heads: [(HeadKind, usize, Labels); 5] = [
        (HeadKind::Tokens, 2, |made| Label::Tokens(&made.tags)),
        (HeadKind::Sequence, 4, |made| Label::Class(made.key())),
        (HeadKind::Sequence, 2, |made| Label::Classes(&made.classes)),
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
        let [plain, tailed] = devices().map(|cpu| {
            let settings = tasks::settings(head, outputs);
            let mut trainer = TaskTrainer::new(cpu, settings, 32, 90).expect("fits");
            let numbers: Vec<_> = (0..3)
                .map(|step| {
                    let made = tasks::made(step);
                    let examples: Vec<_> =
                        made.iter().map(|made| made.example(label(made))).collect();
                    trainer.train(&examples).expect("finite")
                })
                .collect();
            let made = tasks::made(7);
            let inputs: Vec<_> = made.iter().map(|m| (&m.ids[..], &m.types[..])).collect();
            let said = trainer.predict(&inputs).expect("fits");
            (numbers, said, trainer.tensors().expect("read"))
        });
        for (plain, tailed) in plain.0.iter().zip(&tailed.0) {
            near("loss", plain.loss, tailed.loss);
            near("norm", plain.gradient_norm, tailed.gradient_norm);
        }
        for (plain, tailed) in plain.1.iter().zip(&tailed.1) {
            if let (Said::Logits(plain), Said::Logits(tailed)) = (plain, tailed) {
                assert_eq!(plain.len(), tailed.len(), "{head:?}");
                let pairs = plain.iter().zip(tailed);
                pairs.for_each(|(plain, tailed)| near("logit", *plain, *tailed));
            }
        }
        same_tensors(&plain.2, &tailed.2);
    }
}
