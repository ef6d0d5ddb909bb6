//! The engine's CPU against the reference: logits, losses, every gradient by name, ten steps.

use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::pretrain::{Example, Pretrainer};
use reference::compare::{self, Difference, What};

fn worst(found: &[Difference], what: What) -> &Difference {
    let of = found.iter().filter(|d| d.what == what);
    of.max_by(|a, b| a.error.total_cmp(&b.error)).expect("some")
}

#[test]
fn every_tensor_is_within_its_bound() {
    for threads in [1, 2] {
        let found = compare::all::<_, TrainError>(&mut || Ok(Cpu::new(threads).expect("threads")))
            .expect("sound");
        for difference in &found {
            assert!(difference.is_within(), "{difference:?}");
        }
        // Two pre-training models of 2 x 16 tensors a layer and more, eight heads, ten steps.
        let count = |what: What| found.iter().filter(|d| d.what == what).count();
        assert_eq!(count(What::Logits), 10);
        assert_eq!(count(What::Loss), 2 * 2 + 8 + 10);
        assert!(count(What::Gradient) > 300, "{}", count(What::Gradient));
        for what in [What::Logits, What::Loss, What::Gradient] {
            let worst = worst(&found, what);
            // Bounds that are far off would hold nothing.
            assert!(worst.error > what.bound() / 1e4, "{worst:?}");
        }
    }
}

/// The comparison must be able to fail: an engine with one weight moved is caught, and named.
#[test]
fn a_wrong_gradient_is_found() {
    let settings = compare::pretraining();
    let cpu = Cpu::new(1).expect("threads");
    let mut engine = Pretrainer::new(cpu, settings.clone(), 48, 100).expect("fits");
    let mut tensors = compare::tensors(engine.parameters(), 3);
    engine.start_from(&tensors).expect("fits");
    let mut reference = reference::pretrain::Pretrainer::new(settings, 1).expect("fits");
    let name = "electra.encoder.layer.1.attention.self.value.weight";
    tensors.get_mut(name).expect("there").values[7] += 0.05;
    reference.start_from(&tensors).expect("fits");
    let ids = [2, 9, 40, 41, 42, 77, 3];
    let example = Example::new(&ids, &[0; 7]);
    let (a, b) = (engine.train(&[example]), reference.train(&[example]));
    let (a, b) = (a.expect("sound"), b.expect("sound"));
    assert!(
        f64::from((a.loss - b.loss).abs() / b.loss) > What::Loss.bound(),
        "{a:?} {b:?}"
    );
}

/// A checkpoint of one is a checkpoint of the other.
#[test]
fn checkpoints_are_the_same() {
    let folder = tempfile::tempdir().expect("temp");
    let place = folder.path().join("checkpoint");
    let settings = compare::pretraining();
    let made = || Pretrainer::new(Cpu::new(1).expect("threads"), settings.clone(), 48, 100);
    let mut engine = made().expect("fits");
    let mut reference = reference::pretrain::Pretrainer::new(settings.clone(), 1).expect("fits");
    assert_eq!(reference.tensors().len(), engine.parameters().list().len());
    let ids: Vec<u32> = [2].into_iter().chain(20..44).chain([3]).collect();
    let zeros = vec![0; ids.len()];
    let example = Example::new(&ids, &zeros);
    for _ in 0..3 {
        reference.train(&[example, example]).expect("sound");
    }
    let notes = b"notes";
    (reference.snapshot())
        .write(&place, notes)
        .expect("written");
    let next = reference.train(&[example, example]).expect("sound");
    // The reference goes on to the same bits, the engine to the same numbers up to rounding.
    let mut again = reference::pretrain::Pretrainer::new(settings.clone(), 2).expect("fits");
    assert_eq!(again.resume(&place).expect("read"), notes);
    assert_eq!(again.train(&[example, example]).expect("sound"), next);
    assert_eq!(again.tensors(), reference.tensors());
    engine.resume(&place).expect("read");
    assert_eq!(engine.step(), 3);
    let ours = engine.train(&[example, example]).expect("sound");
    assert!(
        (ours.loss - next.loss).abs() < 1e-4 * next.loss,
        "{ours:?} {next:?}"
    );
    engine
        .snapshot()
        .expect("read")
        .write(&place, notes)
        .expect("written");
    again.resume(&place).expect("read");
    assert_eq!(again.step(), 4);
    let numbers = (engine.evaluate(&[example]), again.evaluate(&[example]));
    let (a, b) = (numbers.0.expect("sound"), numbers.1.expect("sound"));
    assert!((a.disc_loss - b.disc_loss).abs() < 1e-5, "{a:?} {b:?}");
    assert!(
        (a.masked_lm_loss - b.masked_lm_loss).abs() < 1e-5,
        "{a:?} {b:?}"
    );
    assert_eq!(a.masked_lm_accuracy, b.masked_lm_accuracy);
    assert_eq!(a.sampled_masked_lm_accuracy, b.sampled_masked_lm_accuracy);
}
