//! Several processes (threads here, over the same sockets) train as one does.

use std::os::unix::net::UnixStream;
use std::path::Path;

use engine::check::steps::{batch, examples, settings};
use engine::collective::{Collective as _, Processes};
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::pretrain::{Pretrainer, Pretraining, StepNumbers};
use engine::weights::Tensors;

/// The members of a group.
fn group(size: usize) -> Vec<Processes> {
    let pairs = (1..size).map(|_| UnixStream::pair().expect("sockets"));
    let (firsts, others): (Vec<_>, Vec<_>) = pairs.unzip();
    let first = Processes::first(firsts).expect("sockets");
    let others = (1..).zip(others);
    let others = others.map(|(rank, socket)| Processes::other(rank, size, socket));
    std::iter::once(first)
        .chain(others.map(|other| other.expect("a socket")))
        .collect()
}

fn trainer(settings: &Pretraining) -> Pretrainer<Cpu> {
    let cpu = Cpu::new(1).expect("threads");
    Pretrainer::new(cpu, settings.clone(), 64, 100).expect("fits")
}

fn train(trainer: &mut Pretrainer<Cpu>, steps: std::ops::Range<u32>) -> Vec<StepNumbers> {
    let zeros = [0; 64];
    let one = |step| {
        let ids = batch(step);
        trainer.train(&examples(&ids, &zeros)).expect("finite")
    };
    steps.map(one).collect()
}

/// Some steps in `size` processes, from a checkpoint where there is one; what each says in the end. The first leaves a
/// checkpoint.
fn together(
    settings: &Pretraining,
    size: usize,
    steps: &std::ops::Range<u32>,
    folder: &Path,
) -> Vec<(Vec<StepNumbers>, Tensors)> {
    let checkpoint = folder.join("state");
    let resumes = steps.start > 0;
    std::thread::scope(|scope| {
        let all: Vec<_> = (group(size).into_iter())
            .map(|member| {
                let (rank, checkpoint) = (member.rank(), &checkpoint);
                scope.spawn(move || {
                    let mut trainer = trainer(settings);
                    if size > 1 {
                        trainer = trainer.in_group(Box::new(member));
                    }
                    if resumes {
                        trainer.resume(checkpoint).expect("whole");
                    }
                    let numbers = train(&mut trainer, steps.clone());
                    // Nobody reads what is written meanwhile: all are done with it when a step is.
                    if rank == 0 {
                        trainer
                            .snapshot()
                            .expect("read")
                            .write(checkpoint, b"")
                            .expect("written");
                    }
                    (numbers, trainer.discriminator().expect("read"))
                })
            })
            .collect();
        let ends = all.into_iter().map(|one| one.join().expect("no panic"));
        ends.collect()
    })
}

#[track_caller]
fn same(alone: &[StepNumbers], group: &[StepNumbers]) {
    assert_eq!(alone.len(), group.len());
    for (alone, group) in alone.iter().zip(group) {
        let near = |a: f32, b: f32| assert!((a - b).abs() <= 2e-4 * a.abs(), "{alone:?} {group:?}");
        near(alone.loss, group.loss);
        near(alone.gradient_norm, group.gradient_norm);
        assert_eq!(alone.tokens, group.tokens);
        assert_eq!(alone.replaced, group.replaced);
    }
}

#[test]
fn a_group_takes_the_steps_of_one() {
    for clip_every in [None, Some(5)] {
        let mut settings = settings();
        settings.clip_every = clip_every;
        let alone = train(&mut trainer(&settings), 0..4);
        for size in [2, 3] {
            let folder = tempfile::tempdir().expect("temp");
            let all = together(&settings, size, &(0..4), folder.path());
            for (numbers, tensors) in &all {
                same(&alone, numbers);
                assert!(*tensors == all[0].1, "processes have the same bits");
            }
        }
    }
}

#[test]
fn another_number_of_processes_goes_on_with_the_same_examples() {
    let settings = settings();
    let alone = train(&mut trainer(&settings), 0..4);
    let folder = tempfile::tempdir().expect("temp");
    together(&settings, 3, &(0..2), folder.path());
    let two = together(&settings, 2, &(2..3), folder.path());
    same(&alone[2..3], &two[0].0);
    let one = together(&settings, 1, &(3..4), folder.path());
    same(&alone[3..], &one[0].0);
}

#[test]
fn who_goes_away_or_is_out_of_step_is_named() {
    let mut members = group(3);
    drop(members.pop());
    let other = members.pop().expect("of three");
    let first = members.pop().expect("of three");
    let (ids, zeros) = (batch(0), [0; 64]);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut trainer = trainer(&settings()).in_group(Box::new(other));
            trainer.train(&examples(&ids, &zeros)).expect_err("alone");
        });
        let mut trainer = trainer(&settings()).in_group(Box::new(first));
        trainer.train(&examples(&ids, &zeros)).expect_err("alone")
    });
    assert!(matches!(error, TrainError::Device(_)));
    let text = error.to_string();
    assert!(
        text.starts_with("the group of processes failed: process 2"),
        "{text}"
    );
    let mut members = group(2);
    let mut other = members.pop().expect("of two");
    let text = std::thread::scope(|scope| {
        scope.spawn(move || {
            other
                .sum(&mut [0.0; 3])
                .expect_err("more than the first has")
        });
        let refused = members[0].sum(&mut [0.0; 2]).expect_err("fewer");
        drop(members);
        refused.to_string()
    });
    assert!(
        text.contains("process 1: it is out of step: it has 3 numbers where 2 are"),
        "{text}"
    );
}
