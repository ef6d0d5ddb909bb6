//! Options of `pretrain`: each changes what comes out, none its key where it is left out. Knows nothing of networks.

use serde_json::Value;

use crate::space::Space;

const PIPELINE: &str = "\
stages:
  vocabulary:
    kind: vocab
    needs: { text: ./text.txt }
    with: { name: made, train: { size: 60, alphabet: 30, reserved: 0 } }
  short:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: made, lengths: [24], seed: 1 }
  long:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: made, lengths: [64], seed: 1 }
  train:
    kind: pretrain
    needs: { examples: short.examples-24, vocabulary: vocabulary }
    with:
      name: made
      size: tiny
      sizes: { embedding: 32, hidden: 64, layers: 1 }
      steps: 12
      batch: 8
      learning_rate: 1.0e-2
      warmup_steps: 2
      held_out: 20
      log_every: 1
      seed: 1
";

fn space() -> Space {
    let mut text = String::new();
    let subjects = ["the gene", "a protein", "this drug", "the cell"];
    for i in 0_usize..200 {
        for j in 0..4 {
            let (a, b) = (subjects[(i + j) % 4], subjects[(i / 7 + j) % 4]);
            text.push_str(&format!("{a} binds {b} .\n"));
        }
        text.push('\n');
    }
    let space = Space::with(PIPELINE);
    space.write("text.txt", text);
    space
}

/// The lines of a stage's log of this event.
fn lines(space: &Space, stage: &str, event: &str) -> Vec<Value> {
    let output = format!("{stage}.log");
    let ran = space.call(&["path", "p.yaml", &output]).exits(0);
    let text = fs_err::read_to_string(ran.stdout.trim()).expect("there");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line["event"] == event).collect()
}

fn with(more: &str) -> String {
    PIPELINE.replace("      seed: 1\n", &format!("      seed: 1\n{more}"))
}

/// Bytes of the model that a stage's output holds.
fn model(space: &Space, output: &str) -> Vec<u8> {
    let to = format!(
        "taken/{}",
        fs_err::read_dir(space.path("taken")).map_or(0, Iterator::count)
    );
    space.call(&["get", "p.yaml", output, "--to", &to]).exits(0);
    let name = output.split_once('.').map_or(output, |(_, name)| name);
    fs_err::read(space.path(&to).join(name).join("model.safetensors")).expect("there")
}

#[test]
fn what_is_stated_as_it_is_anyway_changes_no_key() {
    let space = space();
    assert_eq!(space.run(&["--json"]).exits(0).counts()[1], 4);
    space.write(
        "p.yaml",
        with("      clip: { norm: 1 }\n      temperature: 1\n      disallow_correct: false\n      snapshots: []\n"),
    );
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [4, 0, 4, 0, 0]);
}

#[test]
fn each_option_changes_what_comes_out() {
    let space = space();
    space.run(&[]).exits(0);
    let usual = lines(&space, "train", "step");
    let last = |lines: &[Value], name: &str| lines[11][name].as_f64().expect("a number");
    let norms: Vec<f64> = (usual.iter().map(|line| &line["gradient_norm"]))
        .map(|norm| norm.as_f64().expect("a number"))
        .collect();
    assert!(norms.iter().any(|norm| *norm > 1.0), "{norms:?}");
    for option in [
        "      clip: null\n",
        "      clip: { norm: 0.5 }\n",
        "      clip: { every: 4 }\n",
        "      temperature: 0.5\n",
    ] {
        space.write("p.yaml", with(option));
        space.run(&[]).exits(0);
        let lines = lines(&space, "train", "step");
        // The first update has a rate of 0: until the third nothing is different but what is sampled.
        assert_eq!(lines[0]["mlm"], usual[0]["mlm"], "{option}");
        assert_ne!(last(&lines, "mlm"), last(&usual, "mlm"), "{option}");
    }
    // In parts, losses are those of the whole batch, and the norm is a mean of norms.
    space.write("p.yaml", with("      clip: { every: 4 }\n"));
    let parts = lines(&space, "train", "step");
    assert_eq!(parts[0]["loss"], usual[0]["loss"]);
    assert_ne!(parts[0]["gradient_norm"], usual[0]["gradient_norm"]);
    // All masked places are replaced: more of them than where the original may be drawn.
    space.write("p.yaml", with("      disallow_correct: true\n"));
    space.run(&[]).exits(0);
    let never = lines(&space, "train", "step");
    let sum = |lines: &[Value]| -> f64 {
        let all = lines.iter().map(|line| line["replaced"].as_f64());
        all.map(|share| share.expect("a number")).sum()
    };
    assert!(sum(&never) > sum(&usual), "{} {}", sum(&never), sum(&usual));
    let evaluation = &lines(&space, "train", "evaluation")[0];
    assert_eq!(evaluation["sampled_masked_lm_accuracy"], 0.0);
}

#[test]
fn a_second_phase_reads_longer_examples_under_one_schedule() {
    let space = space();
    space.run(&[]).exits(0);
    let usual = lines(&space, "train", "step");
    let text = with("      second: { steps: 4, batch: 3 }\n      evaluate_every: 4\n").replace(
        "needs: { examples: short.examples-24,",
        "needs: { examples: short.examples-24, second: long.examples-64,",
    );
    space.write("p.yaml", &text);
    space.run(&[]).exits(0);
    let phases = lines(&space, "train", "step");
    for (a, b) in usual.iter().zip(&phases) {
        assert_eq!(a["learning_rate"], b["learning_rate"]);
    }
    assert_eq!(usual[..8], phases[..8]);
    let tokens = |line: &Value| line["tokens"].as_u64().expect("a number");
    assert!(phases[..8].iter().all(|line| tokens(line) <= 8 * 24));
    assert!(
        phases[8..].iter().any(|line| tokens(line) > 3 * 24),
        "{phases:?}"
    );
    assert!(phases[8..].iter().all(|line| tokens(line) <= 3 * 64));
    let steps: Vec<u64> = lines(&space, "train", "evaluation")
        .iter()
        .map(|line| line["step"].as_u64().expect("a number"))
        .collect();
    assert_eq!(steps, [4, 8, 12]);
    // The port is there with the phase, and only then.
    space.write("p.yaml", text.replace("second: long.examples-64, ", ""));
    space.call(&["check", "p.yaml"]).exits(2).says("second");
    space.write(
        "p.yaml",
        text.replace("      second: { steps: 4, batch: 3 }\n", ""),
    );
    space.call(&["check", "p.yaml"]).exits(2).says("second");
}

#[test]
fn snapshots_are_models_of_their_step_and_something_to_begin_from() {
    let space = space();
    space.write(
        "vocab.txt",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nfever\n",
    );
    for split in ["train", "dev"] {
        space.write(
            &format!("tags/{split}.txt"),
            "the O\ngene B-Gene\n\nthe O\ncell O\n\n",
        );
    }
    let more = "  data:
    kind: dataset
    needs: { train: tags/train.txt, dev: tags/dev.txt }
    with: { name: tags, reader: conll, separator: space }
  tune:
    kind: finetune
    needs: { data: data, start: train.snapshot-5 }
    with: { name: tags, epochs: 1, batch: 2, learning_rate: 1.0e-3, seed: 1 }
  again:
    kind: pretrain
    needs: { examples: short.examples-24, vocabulary: vocabulary, start: train, start_generator: train }
    with: { name: made, size: tiny, sizes: { embedding: 32, hidden: 64, layers: 1 }, steps: 1, batch: 8, learning_rate: 1.0e-2, warmup_steps: 1, held_out: 20, log_every: 1, seed: 1 }
";
    let text = with("      snapshots: [5, 9]\n");
    space.write("p.yaml", format!("{text}{more}"));
    space.run(&[]).exits(0).says_not("begin at random");
    // The rate of the first update is 0: what was begun from comes out.
    assert_eq!(model(&space, "again.model"), model(&space, "train.model"));
    assert_eq!(
        model(&space, "again.generator"),
        model(&space, "train.generator")
    );
    let (five, nine) = (
        model(&space, "train.snapshot-5"),
        model(&space, "train.snapshot-9"),
    );
    assert_ne!(five, nine);
    assert_ne!(nine, model(&space, "train.model"));
    // Ports are known before anything runs.
    space.write(
        "p.yaml",
        format!("{text}{more}").replace("train.snapshot-5", "train.snapshot-6"),
    );
    space
        .call(&["check", "p.yaml"])
        .exits(2)
        .says("stage `train` has no output `snapshot-6`");
    // A snapshot is the model that a training of so many steps with the same schedule would have: another seed's is not.
    space.write("p.yaml", with("      snapshots: [5]\n"));
    space.run(&["train"]).exits(0);
    assert_eq!(five, model(&space, "train.snapshot-5"));
}

#[test]
fn a_generator_alone_brings_the_shared_embeddings() {
    let space = space();
    let more = "  again:
    kind: pretrain
    needs: { examples: short.examples-24, vocabulary: vocabulary, start_generator: train }
    with: { name: made, size: tiny, sizes: { embedding: 32, hidden: 64, layers: 1 }, steps: 1, batch: 8, learning_rate: 1.0e-2, warmup_steps: 1, held_out: 20, log_every: 1, seed: 7 }
";
    space.write("p.yaml", format!("{PIPELINE}{more}"));
    space.run(&[]).exits(0).says_not("begin at random");
    assert_eq!(
        model(&space, "again.generator"),
        model(&space, "train.generator")
    );
    assert_ne!(model(&space, "again.model"), model(&space, "train.model"));
    // A discriminator is no generator.
    let wrong = more.replace("start_generator: train", "start_generator: train.model");
    space.write("p.yaml", format!("{PIPELINE}{wrong}"));
    space.run(&[]).exits(1).says("has shape");
}

#[test]
fn wrong_options_are_all_said_at_once() {
    let space = space();
    space.write(
        "p.yaml",
        with("      clip: { norm: 0 }\n      temperature: 0\n      second: { steps: 12 }\n      snapshots: [9, 5, 12]\n")
            .replace("needs: { examples: short.examples-24,", "needs: { examples: short.examples-24, second: long.examples-64,"),
    );
    space
        .call(&["check", "p.yaml"])
        .exits(2)
        .says("`norm` is not above 0")
        .says("`temperature` of stage `train`: it is not above 0")
        .says("its `steps` are not a part of all `steps`")
        .says("they are not in order")
        .says("one is not between the first and the last update");
}
