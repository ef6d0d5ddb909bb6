//! Several processes (threads here, over the same sockets) train as one does.

use std::path::Path;

use engine::check::steps::{batch, examples, settings};
use engine::collective::{Collective, Meeting, Processes};
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::pretrain::{Pretrainer, Pretraining, StepNumbers};
use engine::weights::Tensors;

const WORD: u32 = 77;

/// The seats of a group, the first of which waits for the others.
fn seats(at: &Path, size: usize) -> Vec<Option<Meeting>> {
    let meeting = (size > 1).then(|| Meeting::open(at, size, WORD).expect("a socket"));
    let others = (1..size).map(|_| None);
    std::iter::once(meeting).chain(others).collect()
}

fn join(at: &Path, rank: usize, size: usize, meeting: Option<Meeting>) -> Box<dyn Collective> {
    let joined = match meeting {
        Some(meeting) => meeting.wait(|| true),
        None => Processes::join(at, rank, size, WORD),
    };
    Box::new(joined.expect("all come"))
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
    let (socket, checkpoint) = (folder.join(format!("{size}.socket")), folder.join("state"));
    let resumes = steps.start > 0;
    std::thread::scope(|scope| {
        let all: Vec<_> = (seats(&socket, size).into_iter().enumerate())
            .map(|(rank, meeting)| {
                let (socket, checkpoint) = (&socket, &checkpoint);
                scope.spawn(move || {
                    let mut trainer = trainer(settings);
                    if size > 1 {
                        trainer = trainer.in_group(join(socket, rank, size, meeting));
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
fn who_goes_away_or_does_not_belong_is_named() {
    let folder = tempfile::tempdir().expect("temp");
    let at = folder.path().join("socket");
    let error = std::thread::scope(|scope| {
        let meeting = seats(&at, 2).swap_remove(0);
        let other = scope.spawn(|| drop(join(&at, 1, 2, None)));
        let group = join(&at, 0, 2, meeting);
        other.join().expect("no panic");
        let mut trainer = trainer(&settings()).in_group(group);
        let (ids, zeros) = (batch(0), [0; 64]);
        trainer.train(&examples(&ids, &zeros)).expect_err("alone")
    });
    assert!(matches!(error, TrainError::Device(_)));
    let text = error.to_string();
    assert!(
        text.starts_with("the group of processes failed: process 1"),
        "{text}"
    );
    let at = folder.path().join("another");
    let text = std::thread::scope(|scope| {
        let meeting = Meeting::open(&at, 2, WORD).expect("a socket");
        let other = scope.spawn(|| Processes::join(&at, 1, 2, WORD + 1));
        let refused = meeting.wait(|| true).expect_err("another configuration");
        drop(other.join().expect("no panic"));
        refused.to_string()
    });
    assert!(
        text.contains("process 1 of 2 does not belong to this group"),
        "{text}"
    );
    let at = folder.path().join("nobody");
    let meeting = Meeting::open(&at, 2, WORD).expect("a socket");
    let text = meeting
        .wait(|| false)
        .expect_err("nobody comes")
        .to_string();
    assert!(text.contains("it ended before it came"), "{text}");
}
