//! Labelled sets of every task through `finetune`, `predict` and `score`. Knows nothing of networks.

use serde_json::Value;

use crate::space::Space;

/// Sentences in which one word, out of a few that occur nowhere else, decides everything.
fn sentence(i: usize) -> (Vec<&'static str>, usize, usize) {
    const WORDS: [&str; 8] = ["the", "of", "was", "in", "seen", "with", "and", "cell"];
    const KEYS: [&str; 4] = ["fever", "cough", "aspirin", "heparin"];
    let n = 4 + i % 5;
    let mut words: Vec<&str> = (0..n).map(|j| WORDS[(i * 7 + j * 3 + i / 8) % 8]).collect();
    let (place, key) = (1 + (i / 3) % (n - 1), (i / 2) % 4);
    words[place] = KEYS[key];
    (words, place, key)
}

fn write(space: &Space, name: &str, line: impl Fn(usize) -> String) {
    for (split, range) in [("train", 0..600), ("dev", 600..640), ("test", 700..740)] {
        let text: String = range.map(&line).collect();
        space.write(&format!("{name}/{split}.txt"), text);
    }
}

const HEAD: &str = "\
stages:
  vocabulary:
    kind: vocab
    needs: { vocabulary: ./vocab.txt }
    with: { name: made }
";

fn stages(name: &str, reader: &str, metric: &str) -> String {
    format!(
        "  {name}-data:
    kind: dataset
    needs: {{ train: {name}/train.txt, dev: {name}/dev.txt, test: {name}/test.txt }}
    with: {{ name: {name}, {reader} }}
  {name}:
    kind: finetune
    needs: {{ data: {name}-data, vocabulary: vocabulary }}
    with:
      name: {name}
      size: tiny
      sizes: {{ embedding: 32, hidden: 64, layers: 2, heads: 2 }}
      epochs: 15
      batch: 8
      learning_rate: 1.0e-3
      layer_decay: 1
      max_length: 32
      seed: 1
  {name}-predict:
    kind: predict
    needs: {{ model: {name}.model, data: {name}-data }}
    with: {{ name: {name}, splits: [dev, test] }}
  {name}-score:
    kind: score
    needs: {{ data: {name}-data, predictions: {name}-predict }}
    with: {{ name: {name}, metric: {metric} }}
"
    )
}

/// The same stages with products in bf16.
fn in_bf16(stages: &str) -> String {
    stages
        .replace("seed: 1", "seed: 1\n      precision: bf16")
        .replace("[dev, test]", "[dev, test], precision: bf16")
}

fn number(space: &Space, output: &str, split: &str, metric: &str) -> f64 {
    let ran = space.call(&["path", "p.yaml", output]).exits(0);
    let text = fs_err::read_to_string(ran.stdout.trim()).expect("there");
    let row = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|row| row["metric"] == metric && row["split"] == split && row["class"].is_null());
    row.expect(metric)["value"].as_f64().expect("a number")
}

#[test]
fn every_task_is_learned_and_dev_tells_what_was_predicted() {
    let space = Space::new();
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nin\nseen\nwith\nand\ncell\nfever\ncough\naspirin\nhepa\n##rin\n.\n";
    space.write("vocab.txt", words);
    write(&space, "tags", |i| {
        let (words, place, key) = sentence(i);
        let tag = if key < 2 { "B-Sign" } else { "B-Drug" };
        let lines = words
            .iter()
            .enumerate()
            .map(|(j, word)| format!("{word} {}\n", if j == place { tag } else { "O" }));
        lines.collect::<String>() + "\n"
    });
    write(&space, "classes", |i| {
        let (words, _, key) = sentence(i);
        let label = ["none", "sign", "old", "new"][key];
        let header = if [0, 600, 700].contains(&i) {
            "sentence\tlabel\n"
        } else {
            ""
        };
        format!("{header}{}\t{label}\n", words.join(" "))
    });
    let pipeline = [
        HEAD,
        &stages("tags", "reader: conll, separator: space", "span_f1"),
        &in_bf16(&stages("classes", "reader: tsv", "accuracy")),
    ]
    .concat();
    space.write("p.yaml", pipeline);
    space.run(&[]).exits(0);
    for (name, metric) in [("tags", "f1"), ("classes", "accuracy")] {
        let test = number(&space, &format!("{name}-score.metrics"), "test", metric);
        assert!(test >= 90.0, "{name}: {test}");
        // The score on dev by which the epoch was chosen is that of the predictions of the model that was kept.
        let chosen = number(&space, &format!("{name}.metrics"), "dev", metric);
        let text = fs_err::read_to_string(space.path("p.yaml")).expect("there");
        let dev = text.replace(
            &format!("with: {{ name: {name}, metric: "),
            &format!("with: {{ name: {name}, split: dev, metric: "),
        );
        space.write("p.yaml", dev);
        space.run(&[]).exits(0);
        let again = number(&space, &format!("{name}-score.metrics"), "dev", metric);
        assert_eq!(chosen, again, "{name}");
    }
    assert_eq!(space.run(&["--json"]).exits(0).counts()[1], 0);
}

#[test]
fn without_a_size_a_model_to_begin_from_is_asked_for() {
    let space = Space::new();
    space.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n");
    write(&space, "classes", |i| {
        let header = if [0, 600, 700].contains(&i) {
            "sentence\tlabel\n"
        } else {
            ""
        };
        format!("{header}the\tx\n")
    });
    let text = [HEAD, &stages("classes", "reader: tsv", "accuracy")].concat();
    let bare = text.replace("      size: tiny\n", "");
    space.write("p.yaml", bare);
    // Before any work, at its place.
    space.call(&["check", "p.yaml"]).exits(2).says("start");
}
