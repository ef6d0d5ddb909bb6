//! Every head learns its task from random first values, predicts what it learned, and goes on to the same bits.

use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::finetune::{Begun, Finetuning, Label, TaskExample, TaskTrainer};
use engine::model::heads::HeadKind;
use engine::ops::losses::IGNORED;
use engine::random::{Draw, Purpose, Stream, below};
use engine::schedule::{Schedule, Shape};

const STEPS: u32 = 300;

pub(crate) fn settings(head: HeadKind, outputs: usize) -> Finetuning {
    let text = r#"{"vocab_size": 40, "embedding_size": 32, "hidden_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 3, "intermediate_size": 96, "max_position_embeddings": 32}"#;
    let config: ElectraConfig = serde_json::from_str(text).expect("a configuration");
    Finetuning {
        config,
        head,
        outputs,
        schedule: Schedule {
            peak: 1e-3,
            steps: u64::from(STEPS),
            warmup: 30,
            shape: Shape::Product,
        },
        layer_decay: Some(0.9),
        weight_decay: 0.01,
        bias_correction: false,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: Some(1.0),
        seed: 2,
    }
}

/// Made sentences: words 5 to 39, one of which, 30 or above, is the word that matters.
pub(crate) struct Made {
    pub(crate) ids: Vec<u32>,
    pub(crate) types: Vec<u32>,
    pub(crate) place: u32,
    pub(crate) tags: Vec<u32>,
    pub(crate) classes: Vec<u32>,
}

pub(crate) fn made(step: u32) -> Vec<Made> {
    let stream = Stream::new(1, Purpose::Shuffle);
    (0..16)
        .map(|sequence| {
            let draw = Draw { step, sequence };
            let n = 4 + below(stream.word(draw, 0), 10);
            let place = 1 + below(stream.word(draw, 1), n);
            let key = 30 + below(stream.word(draw, 2), 4);
            let mut ids = vec![2];
            ids.extend((0..n).map(|i| 5 + below(stream.word(draw, 3 + u64::from(i)), 25)));
            ids.push(3);
            ids[place as usize] = key;
            // Specials have no tag.
            let tags = ids.iter().map(|id| match id {
                2 | 3 => IGNORED,
                _ => u32::from(*id >= 30),
            });
            Made {
                tags: tags.collect(),
                types: vec![0; ids.len()],
                classes: vec![key % 2, u32::from(key >= 32)],
                place,
                ids,
            }
        })
        .collect()
}

impl Made {
    pub(crate) fn key(&self) -> u32 {
        self.ids[self.place as usize] - 30
    }

    pub(crate) fn example<'a>(&'a self, label: Label<'a>) -> TaskExample<'a> {
        TaskExample {
            ids: &self.ids,
            types: &self.types,
            label,
        }
    }
}

fn best(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

/// Trains, resumes half way in another trainer, and returns the share of held-out sequences predicted rightly.
fn learn(
    settings: &Finetuning,
    label: impl for<'a> Fn(&'a Made) -> Label<'a>,
    is_right: impl Fn(&Made, &[f32]) -> bool,
) -> f64 {
    let folder = tempfile::tempdir().expect("temp");
    let place = folder.path().join("checkpoint");
    let trainer = || {
        let cpu = Cpu::new(2).expect("threads");
        TaskTrainer::new(cpu, settings.clone(), 32, 90).expect("fits")
    };
    let mut straight = trainer();
    let mut first = None;
    let mut last = 0.0;
    for step in 0..STEPS {
        if step == STEPS - 3 {
            straight
                .snapshot()
                .expect("read")
                .write(&place, b"")
                .expect("written");
        }
        let data = made(step);
        let examples: Vec<TaskExample<'_>> = data.iter().map(|m| m.example(label(m))).collect();
        let numbers = straight.train(&examples).expect("sound");
        first.get_or_insert(numbers.loss);
        last = numbers.loss;
    }
    assert!(last < 0.5 * first.expect("steps"), "{first:?} to {last}");
    let mut resumed = trainer();
    resumed.resume(&place).expect("read");
    for step in STEPS - 3..STEPS {
        let data = made(step);
        let examples: Vec<TaskExample<'_>> = data.iter().map(|m| m.example(label(m))).collect();
        resumed.train(&examples).expect("sound");
    }
    assert_eq!(
        straight.tensors().expect("read"),
        resumed.tensors().expect("read")
    );
    // What was written is a start for another trainer.
    let mut other = trainer();
    let begun = other
        .start_from(&straight.tensors().expect("read"))
        .expect("fits");
    assert_eq!(begun, Begun::default());
    let held_out: Vec<Made> = (1_000..1_004).flat_map(made).collect();
    let inputs: Vec<(&[u32], &[u32])> = held_out
        .iter()
        .map(|m| (&m.ids[..], &m.types[..]))
        .collect();
    let logits = other.predict(&inputs).expect("sound");
    let right = held_out
        .iter()
        .zip(&logits)
        .filter(|(m, said)| is_right(m, said.logits()));
    right.count() as f64 / held_out.len() as f64
}

#[test]
fn tokens_with_and_without_dropout() {
    for head in [HeadKind::Tokens, HeadKind::TokensPlain] {
        let share = learn(
            &settings(head, 2),
            |m| Label::Tokens(&m.tags),
            |m, logits| {
                let found = logits.chunks(2).map(|row| best(row) as u32);
                m.tags
                    .iter()
                    .zip(found)
                    .all(|(t, f)| *t == IGNORED || *t == f)
            },
        );
        assert!(share > 0.95, "{head:?}: {share}");
    }
}

#[test]
fn sequences_with_and_without_a_hidden_layer() {
    for head in [HeadKind::Sequence, HeadKind::SequencePlain] {
        let share = learn(
            &settings(head, 4),
            |m| Label::Class(m.key()),
            |m, logits| best(logits) as u32 == m.key(),
        );
        assert!(share > 0.9, "{head:?}: {share}");
    }
}

#[test]
fn several_classes_at_once() {
    let share = learn(
        &settings(HeadKind::Sequence, 2),
        |m| Label::Classes(&m.classes),
        |m, logits| {
            let found = logits.iter().map(|logit| u32::from(*logit > 0.0));
            found.eq(m.classes.iter().copied())
        },
    );
    assert!(share > 0.9, "{share}");
}

#[test]
fn numbers() {
    let share = learn(
        &settings(HeadKind::Sequence, 1),
        |m| Label::Number(m.key() as f32 - 1.5),
        |m, logits| (logits[0] - (m.key() as f32 - 1.5)).abs() < 0.5,
    );
    assert!(share > 0.75, "{share}");
}

#[test]
fn spans() {
    let share = learn(
        &settings(HeadKind::Span, 2),
        |m| Label::Span(m.place, m.place),
        |m, logits| {
            let side = |side: usize| {
                let column: Vec<f32> = logits.iter().skip(side).step_by(2).copied().collect();
                best(&column) as u32
            };
            side(0) == m.place && side(1) == m.place
        },
    );
    assert!(share > 0.9, "{share}");
}

#[test]
fn labels_of_another_task_are_refused() {
    let cpu = Cpu::new(1).expect("threads");
    let settings = settings(HeadKind::Tokens, 2);
    let mut trainer = TaskTrainer::new(cpu, settings, 32, 90).expect("fits");
    let data = made(0);
    for label in [Label::Class(0), Label::Tokens(&[0, 1]), Label::Span(1, 2)] {
        let error = trainer
            .train(&[data[0].example(label)])
            .expect_err("refused");
        assert!(matches!(error, TrainError::Example { index: 0, .. }));
    }
    let wrong = vec![9; data[0].ids.len()];
    let example = data[0].example(Label::Tokens(&wrong));
    assert!(trainer.train(&[example]).is_err());
    assert!(trainer.predict(&[(&[2, 77, 3], &[0, 0, 0])]).is_err());
    assert!(trainer.predict(&[]).expect("nothing to do").is_empty());
}

#[test]
fn a_head_for_other_classes_begins_anew_and_another_size_is_an_error() {
    let trainer = |settings: Finetuning| {
        let cpu = Cpu::new(1).expect("threads");
        TaskTrainer::new(cpu, settings, 32, 90).expect("fits")
    };
    let five = trainer(settings(HeadKind::Sequence, 5))
        .tensors()
        .expect("read");
    let other_seed = Finetuning {
        seed: 99,
        ..settings(HeadKind::Sequence, 2)
    };
    let mut two = trainer(other_seed);
    let before = two.tensors().expect("read");
    let begun = two.start_from(&five).expect("the encoder fits");
    assert!(begun.has_other_head);
    for (name, tensor) in two.tensors().expect("read") {
        // All of the head is new, its hidden layer too, which would have fitted.
        let from = if name.starts_with("electra.") {
            &five
        } else {
            &before
        };
        assert_eq!(tensor, from[&name], "{name}");
    }
    let mut wide = settings(HeadKind::Sequence, 5);
    wide.config.intermediate_size *= 2;
    let said = trainer(wide).start_from(&five).expect_err("another size");
    assert!(said.to_string().contains("has shape"), "{said}");
}
