//! The reference against PyTorch and transformers (`shared/oracles/hf`), so that three programs meet. Skips, and says
//! so, where the files are absent.

use std::path::{Path, PathBuf};

use engine::backend::Dropout;
use engine::config::ElectraConfig;
use engine::finetune::{Label, TaskExample};
use engine::model::batch::Sequence;
use engine::model::heads::HeadKind;
use engine::model::pretraining::{MaskedSequence, Replacements};
use engine::ops::losses::IGNORED;
use engine::weights::{self, Tensors};
use reference::finetune::task;
use reference::pretrain::{Task, replaced_token_detection};

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

fn json(path: &Path) -> serde_json::Value {
    let text = fs_err::read_to_string(path).expect("readable");
    serde_json::from_str(&text).expect("JSON")
}

fn ints(tensors: &Tensors, name: &str) -> Vec<u32> {
    tensors[name]
        .values
        .iter()
        .map(|v| if *v < 0.0 { IGNORED } else { *v as u32 })
        .collect()
}

/// A field of a padded batch, cut to the sequences' lengths.
fn cut(tensors: &Tensors, prefix: &str, field: &str) -> Vec<Vec<u32>> {
    let width = tensors[&format!("{prefix}input_ids")].shape[1];
    let attention = ints(tensors, &format!("{prefix}attention_mask"));
    ints(tensors, &format!("{prefix}{field}"))
        .chunks(width)
        .zip(attention.chunks(width))
        .map(|(row, mask)| row[..mask.iter().sum::<u32>() as usize].to_vec())
        .collect()
}

/// Largest difference, as a share of the largest value where that is above 1.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let top = expected.iter().fold(1.0_f32, |top, v| top.max(v.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / top
}

fn compare_gradients(found: &Tensors, expected: &Tensors, prefix: &str) {
    assert!(found.len() > 20);
    for (name, gradient) in found {
        let truth = &expected[&format!("{prefix}{name}")];
        // PyTorch's table of tokens gives [PAD], its first row, no gradient.
        let skipped = if name.contains("word_embeddings") {
            gradient.shape[1]
        } else {
            0
        };
        let apart = difference(&gradient.values[skipped..], &truth.values[skipped..]);
        assert!(apart < 2e-5, "{name}: {apart:e}");
    }
}

/// Questions are left out: the oracle's softmax runs over padding, which the reference does not know. The engine is held
/// against that oracle, and the reference against the engine.
#[test]
fn heads_are_those_of_transformers() {
    let Some(folder) = oracles() else { return };
    let cases = [
        ("token_classification", HeadKind::Tokens),
        ("sequence_classification", HeadKind::Sequence),
        ("sequence_regression", HeadKind::Sequence),
    ];
    for (name, head) in cases {
        let config: ElectraConfig =
            serde_json::from_value(json(&folder.join(name).join("config.json"))).expect("sizes");
        let truth = weights::read(&folder.join(format!("{name}.safetensors"))).expect("read");
        let start = weights::read(&folder.join(name).join("model.safetensors")).expect("read");
        let (ids, types) = (
            cut(&truth, "", "input_ids"),
            cut(&truth, "", "token_type_ids"),
        );
        let labels = match head {
            HeadKind::Tokens => cut(&truth, "", "labels"),
            _ => ints(&truth, "labels").iter().map(|l| vec![*l]).collect(),
        };
        let examples: Vec<TaskExample<'_>> = (0..ids.len())
            .map(|i| TaskExample {
                ids: &ids[i],
                types: &types[i],
                label: match name {
                    "token_classification" => Label::Tokens(&labels[i]),
                    "sequence_regression" => Label::Number(truth["labels"].values[i]),
                    _ => Label::Class(labels[i][0]),
                },
            })
            .collect();
        let (said, gradients) = task(&start, &config, head, &Dropout::Off, &examples, true);
        let apart = (said.loss - truth["loss"].values[0]).abs();
        assert!(apart < 1e-5, "{name}: loss {apart:e}");
        let logits = &truth["logits"].values;
        let row = logits.len() / ids.len();
        for (found, wanted) in said.said.iter().zip(logits.chunks(row)) {
            let found = found.logits();
            let apart = difference(found, &wanted[..found.len()]);
            assert!(apart < 1e-5, "{name}: logits {apart:e}");
        }
        compare_gradients(&gradients.expect("asked for"), &truth, "grad.");
    }
}

#[test]
fn the_first_step_of_pretraining_is_that_of_pytorch() {
    let Some(folder) = oracles() else { return };
    let case = json(&folder.join("rtd.json"));
    let truth = weights::read(&folder.join("rtd.safetensors")).expect("read");
    let config = |which: &str| -> ElectraConfig {
        let mut all = json(&folder.join("pretraining/config.json"));
        for (name, value) in case[which].as_object().expect("an object") {
            all[name] = value.clone();
        }
        serde_json::from_value(all).expect("sizes")
    };
    let of = |prefix: &str| -> Tensors {
        let ours = |name: &str| {
            name.strip_prefix("discriminator.")
                .unwrap_or(name)
                .to_owned()
        };
        let named = truth.iter();
        named
            .filter_map(|(name, t)| Some((ours(name.strip_prefix(prefix)?), t.clone())))
            .collect()
    };
    let (ids, types) = (
        cut(&truth, "step0.", "input_ids"),
        cut(&truth, "step0.", "token_type_ids"),
    );
    let field = |name: &str| ints(&truth, &format!("step0.{name}"));
    let (rows, columns, keeps) = (
        field("slot_rows"),
        field("slot_columns"),
        field("slot_keep"),
    );
    let batch: Vec<MaskedSequence<'_>> = (0_u32..)
        .zip(ids.iter().zip(&types))
        .map(|(index, (ids, types))| {
            let mine = |values: &[u32]| -> Vec<u32> {
                let pairs = rows.iter().zip(values);
                pairs
                    .filter(|(row, _)| **row == index)
                    .map(|(_, v)| *v)
                    .collect()
            };
            MaskedSequence {
                original: Sequence { ids, types, index },
                positions: mine(&columns),
                keeps: mine(&keeps).iter().map(|keep| *keep == 1).collect(),
            }
        })
        .collect();
    let samples = field("samples");
    let tokens: usize = ids.iter().map(Vec::len).sum();
    let (generator, discriminator) = (config("generator"), config("discriminator"));
    let task = Task {
        generator: &generator,
        discriminator: &discriminator,
        mask_id: 104,
        replacements: Replacements::Given(&samples),
        dropout: Dropout::Off,
        scales: Some((
            1.0 / (samples.len() as f32 + 1e-6),
            50.0 / (tokens as f32 + 1e-6),
        )),
    };
    let (said, gradients) = replaced_token_detection(&of("before."), &task, &batch);
    let wanted = &case["losses"][0];
    let near = |found: f64, name: &str| {
        let wanted = wanted[name].as_f64().expect("a number");
        assert!(
            (found - wanted).abs() < 2e-5 * wanted.max(1.0),
            "{name}: {found} {wanted}"
        );
    };
    near(said.mlm.loss / samples.len() as f64, "mlm");
    near(said.rtd_loss / tokens as f64, "rtd");
    let width = truth["step0.input_ids"].shape[1];
    let logits = truth["discriminator_logits"].values.chunks(width);
    for (found, wanted) in said.logits.iter().zip(logits) {
        assert!(difference(found, &wanted[..found.len()]) < 1e-5);
    }
    compare_gradients(&gradients.expect("scales are given"), &of("grad."), "");
}
