//! Runs of some steps: they learn, and stop and go on without a trace.

use engine::checkpoint;
use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::mask::{Duplicates, Masking};
use engine::pretrain::{Example, Pretrainer, Pretraining};
use engine::random::{Draw, Purpose, Stream, below};
use engine::schedule::{Schedule, Shape};

const VOCABULARY: u32 = 60;

fn settings() -> Pretraining {
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
        weights: (1.0, 50.0),
        masking: Masking::new(0.15, 64, Duplicates::None, vec![2, 3, 4]),
        temperature: 1.0,
        disallow_correct: false,
        mask_id: 4,
        seed: 3,
    }
}

/// One word again and again: the tokens that are seen say all about a masked one.
fn batch(step: u32) -> Vec<Vec<u32>> {
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

fn examples<'a>(ids: &'a [Vec<u32>], zeros: &'a [u32]) -> Vec<Example<'a>> {
    ids.iter()
        .map(|ids| Example {
            ids,
            types: &zeros[..ids.len()],
        })
        .collect()
}

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
            straight.save(&place).expect("written");
        }
    }
    assert!(checkpoint::exists(&place));
    let mut resumed = trainer();
    resumed.resume(&place).expect("read");
    assert_eq!(resumed.step(), 5);
    for step in 5..8 {
        let ids = batch(step);
        let again = resumed.train(&examples(&ids, &zeros)).expect("sound");
        assert_eq!(again, numbers[step as usize]);
    }
    assert_eq!(straight.discriminator(), resumed.discriminator());
    assert_eq!(straight.generator(), resumed.generator());
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
    let mut tensors = trainer.discriminator();
    let name = "electra.encoder.layer.1.output.dense.weight";
    tensors.get_mut(name).expect("there").values[5] = f32::NAN;
    trainer.start_from(&tensors).expect("shapes fit");
    let ids = batch(0);
    let before = trainer.discriminator();
    let error = trainer.train(&examples(&ids, &zeros)).expect_err("refused");
    assert!(
        matches!(error, TrainError::NotFinite { step: 0, .. }),
        "{error}"
    );
    // Bits, since what is not a number equals nothing.
    for (name, tensor) in trainer.discriminator() {
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&tensor.values), bits(&before[&name].values), "{name}");
    }
}
