//! Runs of some steps: they learn, and stop and go on without a trace.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::arena::Plan;
use engine::backend::{Array, Dropout, Memory as _};
use engine::check::steps::{batch, examples, settings};
use engine::checkpoint;
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::model::batch::Sequence;
use engine::model::pretraining::{MaskedSequence, PretrainingModel, Replacements, Scales};
use engine::ops::mlm::Sampling;
use engine::pretrain::{Pretrainer, Pretraining};
use engine::random::Draw;
use engine::weights::{self, Tensors};

const VOCABULARY: u32 = 60;

fn trainer() -> Pretrainer<Cpu> {
    let cpu = Cpu::new(2).expect("threads");
    Pretrainer::new(cpu, settings(), 64, 200).expect("fits")
}

#[test]
fn both_networks_learn() {
    let zeros = [0; 64];
    let mut trainer = trainer();
    let held_out: Vec<Vec<u32>> = (1_000..1_004).flat_map(batch).collect();
    let before = trainer
        .evaluate(&examples(&held_out, &zeros))
        .expect("sound");
    let mut first = None;
    for step in 0..600 {
        let ids = batch(step);
        let numbers = trainer.train(&examples(&ids, &zeros)).expect("sound");
        first.get_or_insert(numbers);
    }
    let after = trainer
        .evaluate(&examples(&held_out, &zeros))
        .expect("sound");
    let first = first.expect("steps");
    assert_eq!(first.learning_rate, 0.0);
    assert!(
        (first.mlm - (VOCABULARY as f32).ln()).abs() < 0.5,
        "{first:?}"
    );
    assert!(before.masked_lm_accuracy < 0.2, "{before:?}");
    assert!(after.masked_lm_accuracy > 0.8, "{after:?}");
    assert!(after.masked_lm_loss < 0.5 * before.masked_lm_loss);
    assert!((before.disc_auc - 0.5).abs() < 0.2, "{before:?}");
    assert!(after.disc_auc > 0.75, "{after:?}");
}

#[test]
fn a_resumed_run_gives_the_same_bits() {
    let zeros = [0; 64];
    let folder = tempfile::tempdir().expect("temp");
    let place = folder.path().join("checkpoint");
    let mut straight = trainer();
    let mut numbers = Vec::new();
    for step in 0..8 {
        let ids = batch(step);
        numbers.push(straight.train(&examples(&ids, &zeros)).expect("sound"));
        if step == 2 || step == 4 {
            straight
                .snapshot()
                .expect("read")
                .write(&place, b"notes")
                .expect("written");
        }
    }
    assert!(checkpoint::exists(&place));
    let mut resumed = trainer();
    assert_eq!(resumed.resume(&place).expect("read"), b"notes");
    assert_eq!(resumed.step(), 5);
    for step in 5..8 {
        let ids = batch(step);
        let again = resumed.train(&examples(&ids, &zeros)).expect("sound");
        assert_eq!(again, numbers[step as usize]);
    }
    assert_eq!(
        straight.discriminator().expect("read"),
        resumed.discriminator().expect("read")
    );
    assert_eq!(
        straight.generator().expect("read"),
        resumed.generator().expect("read")
    );
    fs_err::write(place.join("first_moments.safetensors"), "no").expect("written");
    assert!(trainer().resume(&place).is_err());
}

#[test]
fn what_cannot_be_trained_is_said_with_its_place() {
    let zeros = [0; 200];
    let mut trainer = trainer();
    let bad = [
        (vec![2, 3], "no token between"),
        (vec![2, 99, 3], "id 99 is outside"),
        (vec![7; 65], "it has 65 tokens"),
    ];
    for (ids, part) in bad {
        let ids = vec![vec![2, 9, 3], ids];
        let error = trainer.train(&examples(&ids, &zeros)).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("example 1") && text.contains(part), "{text}");
    }
    let mut tensors = trainer.discriminator().expect("read");
    let name = "electra.encoder.layer.1.output.dense.weight";
    tensors.get_mut(name).expect("there").values[5] = f32::NAN;
    trainer.start_from(&tensors).expect("shapes fit");
    let ids = batch(0);
    let before = trainer.discriminator().expect("read");
    let error = trainer.train(&examples(&ids, &zeros)).expect_err("refused");
    assert!(
        matches!(error, TrainError::NotFinite { step: 0, .. }),
        "{error}"
    );
    let place = format!("first in the values of `{name}`");
    assert!(error.to_string().ends_with(&place), "{error}");
    // Bits, since what is not a number equals nothing.
    for (name, tensor) in trainer.discriminator().expect("read") {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&tensor.values), bits(&before[&name].values), "{name}");
    }
}

/// Clipping in parts as TPUs do it (spec D.3, D.4): the gradient of a part is that of its own means, is clipped to the
/// norm, and the parts are summed. Computed here part by part; Adam's first moments after a step tell the sum.
#[test]
fn a_batch_may_be_clipped_in_parts() {
    const CLIP: f32 = 2.5;
    let zeros = [0; 64];
    let ids = batch(0);
    let examples = examples(&ids, &zeros);
    let run = |clip_every: Option<usize>| {
        let settings = Pretraining {
            clip: Some(CLIP),
            clip_every,
            ..settings()
        };
        let cpu = Cpu::new(2).expect("threads");
        let mut trainer = Pretrainer::new(cpu, settings, 64, 200).expect("fits");
        let numbers = trainer.train(&examples).expect("sound");
        let folder = tempfile::tempdir().expect("temp");
        let place = folder.path().join("checkpoint");
        trainer
            .snapshot()
            .expect("read")
            .write(&place, b"")
            .expect("written");
        let moments = weights::read(&place.join("first_moments.safetensors")).expect("read");
        (numbers, moments)
    };
    let (whole, of_whole) = run(None);
    let (_, of_one_part) = run(Some(16));
    assert_eq!(of_whole, of_one_part);

    let (parts, found) = run(Some(6));
    assert_eq!((parts.loss, parts.tokens), (whole.loss, whole.tokens));
    let settings = settings();
    let model = PretrainingModel::new(&settings.discriminator, &settings.generator);
    let mut plan = Plan::default();
    let room = model.plan(&mut plan, 1_000, 16, 200);
    let mut cpu = Cpu::new(1).expect("threads");
    cpu.allocate(&plan, model.parameters.memory())
        .expect("fits");
    weights::initialise(&mut cpu, &model.parameters, settings.seed);
    cpu.set_dropout(Dropout::Counted {
        seed: settings.seed,
        step: 0,
    });
    let masked: Vec<MaskedSequence<'_>> = (0_u32..)
        .zip(&examples)
        .map(|(index, example)| {
            let draw = Draw {
                step: 0,
                sequence: index,
            };
            let masked = settings.masking.mask(example.ids, settings.seed, draw);
            MaskedSequence {
                original: Sequence {
                    ids: example.ids,
                    types: example.types,
                    index,
                },
                positions: masked.positions,
                keeps: masked.keeps,
            }
        })
        .collect();
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let mut norms = Vec::new();
    for part in masked.chunks(6) {
        let slots = part.iter().map(|sequence| sequence.positions.len()).sum();
        let tokens = part.iter().map(|sequence| sequence.original.ids.len());
        let scales = Scales::new(slots, tokens.sum(), 1.0, 50.0);
        let from = Replacements::Sampled(Sampling {
            seed: settings.seed,
            step: 0,
            temperature: 1.0,
            disallow_correct: false,
        });
        cpu.zero_gradients();
        model.run(&mut cpu, &room, part, 4, from, Some(scales), None);
        let gradients = weights::save(&mut cpu, &model.parameters, Array::Gradient);
        let squares = gradients.values().flat_map(|tensor| &tensor.values);
        let norm = squares.map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        norms.push(norm);
        let scale = CLIP / norm.max(CLIP);
        for (name, tensor) in gradients {
            let n = tensor.values.len();
            let sum = sums.entry(name).or_insert_with(|| vec![0.0; n]);
            for (sum, value) in sum.iter_mut().zip(&tensor.values) {
                *sum += scale * value;
            }
        }
    }
    let mean = norms.iter().sum::<f32>() / 3.0;
    assert!((parts.gradient_norm / mean - 1.0).abs() < 1e-4, "{norms:?}");
    // Some part is clipped, so that the test would see it.
    assert!(norms.iter().any(|norm| *norm > 1.1 * CLIP), "{norms:?}");
    for (name, sum) in &sums {
        for (found, sum) in found[name].values.iter().zip(sum) {
            let expected = 0.1 * sum;
            assert!(
                (found - expected).abs() < 2e-5,
                "{name}: {found} {expected}"
            );
        }
    }
}

/// A temperature near 0 takes the generator's best guess; a large one anything. Without correct samples every masked
/// place is replaced.
#[test]
fn temperature_and_disallowed_originals_decide_what_is_replaced() {
    let zeros = [0; 64];
    let held_out: Vec<Vec<u32>> = (1_000..1_004).flat_map(batch).collect();
    let mut trained = trainer();
    for step in 0..300 {
        let ids = batch(step);
        trained.train(&examples(&ids, &zeros)).expect("sound");
    }
    let tensors: Tensors = {
        let prefixed = trained.generator().expect("read").into_iter();
        let own = prefixed.filter(|(name, _)| !name.starts_with("electra.embeddings."));
        let own = own.map(|(name, tensor)| (format!("generator.{name}"), tensor));
        own.chain(trained.discriminator().expect("read")).collect()
    };
    let evaluate = |temperature: f32, disallow_correct: bool| {
        let settings = Pretraining {
            temperature,
            disallow_correct,
            ..settings()
        };
        let cpu = Cpu::new(2).expect("threads");
        let mut trainer = Pretrainer::new(cpu, settings, 64, 200).expect("fits");
        let unmatched = trainer.start_from(&tensors).expect("fits");
        assert!(unmatched.missing.is_empty(), "{unmatched:?}");
        let ids = examples(&held_out, &zeros);
        trainer.evaluate(&ids).expect("sound")
    };
    let usual = evaluate(1.0, false);
    let cold = evaluate(1e-6, false);
    let hot = evaluate(1e3, false);
    let never = evaluate(1.0, true);
    assert_eq!(usual.masked_lm_loss, cold.masked_lm_loss);
    assert_eq!(cold.sampled_masked_lm_accuracy, cold.masked_lm_accuracy);
    assert!(usual.sampled_masked_lm_accuracy < cold.sampled_masked_lm_accuracy);
    assert!(hot.sampled_masked_lm_accuracy < 0.1, "{hot:?}");
    assert!(usual.sampled_masked_lm_accuracy > 0.15, "{usual:?}");
    assert_eq!(never.sampled_masked_lm_accuracy, 0.0);
}

/// Asked to stop between micro-batches, a step is as if it had never begun.
#[test]
fn a_step_or_an_evaluation_that_is_given_up_leaves_no_trace() {
    let zeros = [0; 64];
    let ids = batch(0);
    let examples = examples(&ids, &zeros);
    let (mut straight, mut stopped) = (trainer(), trainer());
    for _ in 0..3 {
        let calls = AtomicUsize::new(0);
        let go_on = |_: usize| calls.fetch_add(1, Ordering::Relaxed) < 2;
        assert_eq!(stopped.train_while(&examples, &go_on).expect("sound"), None);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        let none = stopped.evaluate_while(&examples, &|done| done == 0);
        assert_eq!(none.expect("sound"), None);
        let again = stopped.train(&examples).expect("sound");
        assert_eq!(again, straight.train(&examples).expect("sound"));
    }
    assert_eq!(
        straight.snapshot().expect("read"),
        stopped.snapshot().expect("read")
    );
}
