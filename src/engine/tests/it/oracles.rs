//! Whole networks against PyTorch and transformers (`shared/oracles/hf`, computed in f64): logits, losses, every
//! gradient by name, ten steps of training. Skips, and says so, where the files are absent.

use std::path::{Path, PathBuf};

use engine::arena::{Plan, Real};
use engine::backend::{Array, Memory};
use engine::config::ElectraConfig;
use engine::cpu::Cpu;
use engine::model::batch::{BatchPlan, Sequence};
use engine::model::heads::{HeadKind, TaskModel};
use engine::ops::losses::{IGNORED, Losses};
use engine::weights::{self, Tensors};

use crate::steps::{Case, follow};

#[expect(
    clippy::print_stderr,
    reason = "a test that proves nothing must say so"
)]
fn oracles() -> Option<PathBuf> {
    let data = std::env::var_os("PIPELINE_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = data.join("../oracles/hf");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no oracles at `{}`", folder.display());
    None
}

pub(crate) fn config(path: &Path) -> ElectraConfig {
    let text = fs_err::read_to_string(path).expect("readable");
    serde_json::from_str(&text).expect("a configuration")
}

pub(crate) fn ints(tensors: &Tensors, name: &str) -> Vec<u32> {
    tensors[name]
        .values
        .iter()
        .map(|v| if *v < 0.0 { IGNORED } else { *v as u32 })
        .collect()
}

/// The sequences of a padded batch of the oracle.
pub(crate) struct Padded {
    pub(crate) ids: Vec<Vec<u32>>,
    pub(crate) types: Vec<Vec<u32>>,
    pub(crate) width: usize,
}

pub(crate) fn padded(tensors: &Tensors, prefix: &str) -> Padded {
    let width = tensors[&format!("{prefix}input_ids")].shape[1];
    let attention = ints(tensors, &format!("{prefix}attention_mask"));
    let cut = |name: &str| -> Vec<Vec<u32>> {
        let all = ints(tensors, &format!("{prefix}{name}"));
        all.chunks(width)
            .zip(attention.chunks(width))
            .map(|(row, mask)| {
                let length = mask.iter().sum::<u32>() as usize;
                row[..length].to_vec()
            })
            .collect()
    };
    Padded {
        ids: cut("input_ids"),
        types: cut("token_type_ids"),
        width,
    }
}

impl Padded {
    pub(crate) fn sequences(&self) -> Vec<Sequence<'_>> {
        (0_u32..)
            .zip(self.ids.iter().zip(&self.types))
            .map(|(index, (ids, types))| Sequence { ids, types, index })
            .collect()
    }
}

/// Largest difference, as a share of the largest value where that is above 1.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let top = expected.iter().fold(1.0_f32, |top, v| top.max(v.abs()));
    found
        .iter()
        .zip(expected)
        .fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()))
        / top
}

fn compare_gradients(found: &Tensors, expected: &Tensors, prefix: &str, bound: f32) {
    let mut compared = 0;
    for (name, gradient) in found {
        let Some(truth) = expected.get(&format!("{prefix}{name}")) else {
            panic!("no gradient of `{name}`");
        };
        // PyTorch's table of tokens gives [PAD], its first row, no gradient; ours has none to give without padding.
        let skipped = match name.contains("word_embeddings") {
            true => gradient.shape[1],
            false => 0,
        };
        let difference = difference(&gradient.values[skipped..], &truth.values[skipped..]);
        assert!(difference < bound, "{name}: {difference:e}");
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn heads_give_the_logits_losses_and_gradients_of_transformers() {
    let Some(folder) = oracles() else { return };
    let cases = [
        ("token_classification", HeadKind::Tokens, 5),
        ("sequence_classification", HeadKind::Sequence, 3),
        ("sequence_regression", HeadKind::Sequence, 1),
        ("question_answering", HeadKind::Span, 2),
    ];
    for (name, kind, outputs) in cases {
        let config = config(&folder.join(name).join("config.json"));
        config.check().expect("sound");
        let model = TaskModel::new(&config, kind, outputs);
        let truth = weights::read(&folder.join(format!("{name}.safetensors"))).expect("read");
        let start = weights::read(&folder.join(name).join("model.safetensors")).expect("read");
        let input = padded(&truth, "");
        let (n, tokens) = (input.ids.len(), input.ids.len() * input.width);
        let mut plan = Plan::default();
        let batch = BatchPlan::new(&mut plan, tokens, n);
        let room = model.plan(&mut plan, tokens, n);
        let labels = plan.ints(tokens);
        let ends = plan.ints(n);
        let targets = plan.real(n);
        let sum = plan.real(1);
        for threads in [1, 2] {
            let mut cpu = Cpu::new(threads).expect("threads");
            cpu.allocate(&plan, model.parameters.memory())
                .expect("fits");
            let unmatched = weights::load(&mut cpu, &model.parameters, &start).expect("fits");
            assert!(unmatched.missing.is_empty(), "{unmatched:?}");
            assert!(unmatched.unused.is_empty(), "{unmatched:?}");
            let (loss, logits, gradients) = cpu.on_threads(|cpu| {
                let on_device = batch.write(cpu, &input.sequences(), Some(input.width));
                let logits = model.forward(cpu, &on_device, &room);
                let rows = model.rows(&on_device);
                let d = room.head.d_logits.first(rows * outputs);
                let class_loss = |cpu: &mut Cpu, d: Real| {
                    let values = ints(&truth, "labels");
                    let counted = values.iter().filter(|l| **l != IGNORED).count() as f32;
                    let labels = labels.first(rows);
                    cpu.write_ints(labels, &values);
                    let gradient = Some((1.0 / counted, d));
                    cpu.cross_entropy(logits, labels, outputs, gradient, sum);
                    counted
                };
                let counted = match name {
                    "sequence_regression" => {
                        cpu.write_reals(targets, &truth["labels"].values);
                        let gradient = Some((1.0 / n as f32, d));
                        cpu.squared_error(logits, targets, gradient, sum);
                        n as f32
                    }
                    "question_answering" => {
                        let starts = labels.first(n);
                        cpu.write_ints(starts, &ints(&truth, "start_positions"));
                        cpu.write_ints(ends, &ints(&truth, "end_positions"));
                        let gradient = Some((1.0 / n as f32, d));
                        cpu.span(logits, on_device.sequences, starts, ends, gradient, sum);
                        n as f32
                    }
                    _ => class_loss(cpu, d),
                };
                model.backward(cpu, &on_device, &room);
                let loss = cpu.read_reals(sum)[0] / counted;
                let logits = cpu.read_reals(logits);
                let gradients = weights::save(cpu, &model.parameters, Array::Gradient);
                (loss, logits, gradients)
            });
            assert!(
                (loss - truth["loss"].values[0]).abs() < 1e-5,
                "{name} {loss}"
            );
            let expected = match name {
                "question_answering" => {
                    let (a, b) = (&truth["start_logits"].values, &truth["end_logits"].values);
                    a.iter().zip(b).flat_map(|(a, b)| [*a, *b]).collect()
                }
                _ => truth["logits"].values.clone(),
            };
            let difference = difference(&logits, &expected);
            assert!(difference < 1e-5, "{name}: logits {difference:e}");
            compare_gradients(&gradients, &truth, "grad.", 2e-5);
        }
    }
}

/// What `to_diff_dict` leaves out, filled from a saved configuration.
fn filled(folder: &Path, difference: &serde_json::Value) -> ElectraConfig {
    let text = fs_err::read_to_string(folder.join("pretraining/config.json")).expect("readable");
    let mut all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (name, value) in difference.as_object().expect("an object") {
        all[name] = value.clone();
    }
    serde_json::from_value(all).expect("a configuration")
}

#[test]
fn ten_steps_of_pretraining_are_those_of_pytorch() {
    let Some(folder) = oracles() else { return };
    let case = Case::read(&folder);
    let configs = [&case.discriminator, &case.generator].map(|of| filled(&folder, of));
    for is_padded in [false, true] {
        let found = follow(&folder, &case, &configs, is_padded);
        assert_eq!(found.losses.len(), 10);
        for (step, losses) in found.losses.iter().enumerate() {
            assert!(losses.mlm < 2e-5, "step {step}: {losses:?}");
            assert!(losses.rtd < 2e-5, "step {step}: {losses:?}");
            assert!(losses.norm < 2e-4, "step {step}: {losses:?}");
        }
        compare_gradients(&found.gradients, &case.of("grad."), "", 2e-5);
        let mut wanted = case.tensors["discriminator_logits"].values.clone();
        if !is_padded {
            let input = padded(&case.tensors, "step0.");
            let rows = wanted.chunks(input.width).zip(&input.ids);
            wanted = rows
                .flat_map(|(row, ids)| row[..ids.len()].to_vec())
                .collect();
        }
        let logits = difference(&found.logits, &wanted);
        assert!(logits < 1e-5, "logits {logits:e}");
        for (name, expected) in case.of("after.") {
            let difference = difference(&found.after[&name].values, &expected.values);
            assert!(difference < 2e-4, "after ten steps, {name}: {difference:e}");
        }
    }
}
