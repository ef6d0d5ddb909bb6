//! Released weights through `checkpoint` into `finetune` and on: what is carried and what begins anew. Knows no numbers.

use std::path::Path;

use engine::weights::{self, Tensors};
use serde_json::json;

use crate::space::Space;

/// A space with weights as PyTorch wrote them in 2020 (`tests/parity/checkpoints.py --freeze`).
fn space() -> Space {
    let space = Space::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/engine/tests/golden/checkpoints/discriminator/released");
    for name in ["pytorch_model.bin", "config.json", "vocab.txt"] {
        let bytes = fs_err::read(golden.join(name)).expect("readable");
        space.write(&format!("released/{name}"), bytes);
    }
    space
}

fn questions(answer: &str) -> String {
    let context = "the fever was seen in a cell";
    let at = context.find(answer).expect("in the context");
    let one = |id: usize| {
        json!({"id": id.to_string(), "question": "the cell",
               "answers": [{"text": answer, "answer_start": at}]})
    };
    let qas: Vec<_> = (0..4).map(one).collect();
    json!({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}).to_string()
}

fn tensors(space: &Space, stage: &str) -> Tensors {
    let (output, to) = (format!("{stage}.model"), format!("got/{stage}"));
    let arguments = ["get", "p.yaml", &output, "--to", &to];
    space.call(&arguments).exits(0);
    weights::read(&space.path(&to).join("model/model.safetensors")).expect("weights")
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

const QUESTIONS: &str = "\
stages:
  released:
    kind: checkpoint
    needs: { weights: ./released }
    with: { name: released }
  squad-data:
    kind: dataset
    needs: { train: ./squad.json }
    with: { name: squad, reader: squad }
  squad:
    kind: finetune
    needs: { data: squad-data, start: released }
    with: { name: squad, epochs: 3, batch: 2, learning_rate: 1.0e-2, max_length: 14, doc_stride: 4, seed: 1 }
  bioasq-data:
    kind: dataset
    needs: { train: ./bioasq.json, test: ./bioasq.json }
    with: { name: bioasq, reader: squad }
  # So slow that nothing moves: what it begins from is what it ends with.
  bioasq:
    kind: finetune
    needs: { data: bioasq-data, start: squad }
    with: { name: bioasq, epochs: 1, batch: 2, learning_rate: 1.0e-12, max_length: 14, doc_stride: 4, seed: 2 }
  again:
    kind: checkpoint
    needs: { weights: bioasq.model }
    with: { name: again }
  predict:
    kind: predict
    needs: { model: again, data: bioasq-data }
    with: { name: bioasq }
";

#[test]
fn from_released_weights_over_one_set_of_questions_to_another_encoder_and_head_are_carried() {
    let space = space();
    space.write("squad.json", questions("seen in"));
    space.write("bioasq.json", questions("fever"));
    space.write("p.yaml", QUESTIONS);
    space.run(&[]).exits(0);
    let (released, squad) = (tensors(&space, "released"), tensors(&space, "squad"));
    let bioasq = tensors(&space, "bioasq");
    assert!(squad.contains_key("qa_outputs.weight"));
    for (name, tensor) in &squad {
        let moved = difference(&tensor.values, &bioasq[name].values);
        assert!(moved < 1e-6, "{name}: {moved}");
        if let Some(first) = released.get(name) {
            assert_eq!(first.shape, tensor.shape);
            // The first set of questions did move it, unless nothing ever reaches it.
            let moved = difference(&tensor.values, &first.values);
            assert!(moved > 0.0 || name.contains("key.bias"), "{name}: {moved}");
        }
    }
    // A fine-tuned model goes through `checkpoint` whole: its weights, its head and what `predict` reads.
    assert_eq!(tensors(&space, "again"), bioasq);
}

const TAGS: &str = "\
stages:
  released:
    kind: checkpoint
    needs: { weights: ./released }
    with: { name: released }
  two-data:
    kind: dataset
    needs: { train: ./two.txt }
    with: { name: two, reader: conll, separator: space }
  two:
    kind: finetune
    needs: { data: two-data, start: released }
    with: { name: two, epochs: 1, batch: 2, learning_rate: 1.0e-4, max_length: 12, seed: 1 }
  four-data:
    kind: dataset
    needs: { train: ./four.txt }
    with: { name: four, reader: conll, separator: space }
  four:
    kind: finetune
    needs: { data: four-data, start: two }
    with: { name: four, epochs: 1, batch: 2, learning_rate: 1.0e-4, max_length: 12, seed: 1 }
";

#[test]
fn a_start_for_other_classes_keeps_its_encoder_and_gets_a_new_head() {
    let space = space();
    space.write("two.txt", "the O\nfever B-Sign\n\na O\ncell O\n");
    space.write(
        "four.txt",
        "the O\nfever B-Sign\nin B-Place\na I-Place\n\na O\ncell O\n",
    );
    space.write("p.yaml", TAGS);
    space
        .run(&["-j1"])
        .exits(0)
        .says("the head of `start` is for other classes: a new one begins at random");
    let rows = |stage: &str| tensors(&space, stage)["classifier.weight"].shape[0];
    assert!(rows("two") < rows("four"));
}
