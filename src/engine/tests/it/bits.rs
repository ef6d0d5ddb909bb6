//! Equal inputs give equal bits: on any number of threads, in any split into micro-batches of the same draws.

use engine::arena::Plan;
use engine::backend::{Array, Dropout, Memory, Precision};
use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::mask::{Duplicates, Masking};
use engine::model::batch::Sequence;
use engine::model::pretraining::{MaskedSequence, PretrainingModel, Replacements, Scales};
use engine::ops::adamw::{AdamW, Update};
use engine::ops::mlm::Sampling;
use engine::random::{Draw, Purpose, Stream, below};
use engine::schedule::groups;
use engine::weights::{Tensors, initialise, save};

const STEPS: u32 = 3;
const LENGTHS: [usize; 7] = [130, 3, 64, 65, 17, 200, 31];

fn config() -> ElectraConfig {
    let text = r#"{"vocab_size": 1003, "embedding_size": 48, "hidden_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 3, "intermediate_size": 200, "max_position_embeddings": 256}"#;
    serde_json::from_str(text).expect("a configuration")
}

struct Outcome {
    values: Vec<u32>,
    /// Gradients of the first step, before anything is updated.
    gradients: Tensors,
    sums: Vec<f32>,
    replaced: Vec<Vec<bool>>,
}

/// Some steps of training, with dropout and sampling, in micro-batches of `micro` sequences.
fn train(threads: usize, micro: usize, precision: Precision) -> Outcome {
    let config = config();
    let model = PretrainingModel::new(&config, &config.generator(1.0 / 3.0, 1.0));
    let masking = Masking::new(0.15, 256, Duplicates::None, vec![2, 3, 4]);
    let mut plan = Plan::default();
    let room = model.plan(&mut plan, LENGTHS.iter().sum(), LENGTHS.len(), 300);
    let mut cpu = Cpu::new(threads)
        .expect("threads")
        .with_precision(precision);
    cpu.allocate(&plan, model.parameters.memory())
        .expect("fits");
    initialise(&mut cpu, &model.parameters, 5);
    let groups = groups(&model.parameters, 3, 0.01, None);
    let text = Stream::new(9, Purpose::Shuffle);
    let mut replaced = Vec::new();
    let mut gradients = Tensors::new();
    for step in 0..STEPS {
        let data: Vec<(Vec<u32>, Vec<u32>)> = (0_u32..)
            .zip(LENGTHS)
            .map(|(sequence, length)| {
                let draw = Draw { step, sequence };
                let ids = (0..length as u64).map(|i| 5 + below(text.word(draw, i), 990));
                let types = (0..length).map(|i| u32::from(i > length / 2));
                (ids.collect(), types.collect())
            })
            .collect();
        let batch: Vec<MaskedSequence<'_>> = (0_u32..)
            .zip(&data)
            .map(|(index, (ids, types))| {
                let draw = Draw {
                    step,
                    sequence: index,
                };
                let masked = masking.mask(ids, 5, draw);
                MaskedSequence {
                    original: Sequence { ids, types, index },
                    positions: masked.positions,
                    keeps: masked.keeps,
                }
            })
            .collect();
        let slots = batch.iter().map(|b| b.positions.len()).sum();
        let scales = Scales::new(slots, LENGTHS.iter().sum(), 1.0, 50.0);
        let from = Replacements::Sampled(Sampling {
            seed: 5,
            step,
            temperature: 1.0,
            disallow_correct: false,
        });
        let update = Update {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            correction: 1.0,
            clip: Some(1.0),
        };
        cpu.set_dropout(Dropout::Counted { seed: 5, step });
        cpu.on_threads(|cpu| {
            cpu.zero_gradients();
            for part in batch.chunks(micro) {
                model.run(cpu, &room, part, 4, from, Some(scales), None);
                replaced.extend(model.corrupted(cpu, &room, part).replaced);
            }
            if step == 0 {
                gradients = save(cpu, &model.parameters, Array::Gradient);
            }
            cpu.gradient_norm(room.norm);
            cpu.adamw(&groups, update, room.norm);
        });
    }
    let values = save(&mut cpu, &model.parameters, Array::Value);
    Outcome {
        values: values
            .values()
            .flat_map(|tensor| tensor.values.iter().map(|v| v.to_bits()))
            .collect(),
        gradients,
        sums: [cpu.read_reals(room.mlm_sums), cpu.read_reals(room.rtd_sums)].concat(),
        replaced,
    }
}

#[test]
fn threads_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        let one = train(1, LENGTHS.len(), precision);
        for threads in [2, 3, 8] {
            let several = train(threads, LENGTHS.len(), precision);
            let what = format!("{} on {threads} threads", precision.name());
            assert!(one.values == several.values, "{what}");
            assert_eq!(one.sums, several.sums, "{what}");
            assert_eq!(one.replaced, several.replaced, "{what}");
        }
        // The losses.
        assert!(one.sums[0] > 1.0 && one.sums[3] > 1.0, "{:?}", one.sums);
    }
}

/// Operands with eight bits of mantissa: the losses of three steps stay within a hundredth, and are others.
#[test]
fn bf16_stays_near_f32() {
    let [exact, rounded] =
        [Precision::F32, Precision::Bf16].map(|precision| train(2, LENGTHS.len(), precision));
    for which in [0, 3] {
        let (exact, rounded) = (exact.sums[which], rounded.sums[which]);
        assert!(exact.to_bits() != rounded.to_bits(), "{exact}");
        assert!((exact - rounded).abs() < 0.01 * exact, "{exact} {rounded}");
    }
}

/// Draws hang on the step and the sequence alone, and losses are divided by the counts of the whole batch: cut into
/// micro-batches of unequal lengths, three steps come to the same model up to rounding.
#[test]
fn micro_batches_change_nothing_but_rounding() {
    let whole = train(2, LENGTHS.len(), Precision::F32);
    for micro in [1, 2, 3] {
        let parts = train(2, micro, Precision::F32);
        assert_eq!(whole.replaced, parts.replaced, "micro-batches of {micro}");
        // Accumulated over batches of unequal lengths, each gradient is that of the large batch.
        for (name, tensor) in &whole.gradients {
            let scale = tensor.values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (a, b) in tensor.values.iter().zip(&parts.gradients[name].values) {
                let bound = 2e-5 * scale + 1e-7;
                assert!(
                    (a - b).abs() <= bound,
                    "{name}, micro-batches of {micro}: {a} {b}"
                );
            }
        }
        let most = whole
            .values
            .iter()
            .zip(&parts.values)
            .map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs())
            .fold(0.0, f32::max);
        // Adam's first steps turn rounding of tiny gradients into steps of the learning rate's size.
        assert!(most < 5e-4, "micro-batches of {micro}: {most:e}");
        for (a, b) in whole.sums.iter().zip(&parts.sums) {
            assert!((a - b).abs() <= 1e-4 * a.abs(), "{a} {b}");
        }
    }
}
