//! Text to a pre-trained model through the kinds, stopped and gone on with. Knows nothing of networks.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::space::{Ran, Space, files_below, wait_until};

const PIPELINE: &str = "\
params: { steps: 600 }
stages:
  vocabulary:
    kind: vocab
    needs: { text: ./text.txt }
    with: { name: made, train: { size: 60, alphabet: 30, reserved: 0 } }
  pack:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: made, lengths: [32], seed: 1 }
  pretrain:
    kind: pretrain
    needs: { examples: pack.examples-32, vocabulary: vocabulary }
    with:
      name: tiny
      size: tiny
      sizes: { embedding: 48, hidden: 64, layers: 2, heads: 2 }
      generator_share: 0.5
      steps: ${params.steps}
      batch: 8
      learning_rate: 1.0e-3
      warmup_steps: 60
      held_out: 40
      evaluate_every: 200
      log_every: 50
      seed: 1
";

/// Sentences of few words, so that a small network has something to learn.
fn text() -> String {
    let subjects = ["the gene", "a protein", "this drug", "the cell"];
    let verbs = ["binds", "blocks", "needs", "moves"];
    let objects = ["iron", "the wall", "salt", "a signal"];
    let mut text = String::new();
    for i in 0_usize..300 {
        for j in 0..3 {
            let pick = |list: &[&'static str; 4], by: usize| list[(i * by + j * 7 + i / 5) % 4];
            text.push_str(&format!(
                "{} {} {} .\n",
                pick(&subjects, 3),
                pick(&verbs, 1),
                pick(&objects, 5)
            ));
        }
        text.push('\n');
    }
    text
}

fn space() -> Space {
    let space = Space::with(PIPELINE);
    space.write("text.txt", text());
    space
}

fn outputs(space: &Space) -> Value {
    let records = space.records();
    let record = records
        .values()
        .find(|record| record["stage"] == "pretrain")
        .expect("a record");
    record["outputs"].clone()
}

#[test]
fn a_model_is_trained_once_and_an_interrupted_one_is_the_same() {
    let straight = space();
    assert_eq!(straight.run(&["--json"]).exits(0).counts(), [3, 3, 0, 0, 0]);
    assert_eq!(straight.run(&["--json"]).exits(0).counts(), [3, 0, 3, 0, 0]);
    let path = |output: &str| {
        let ran = straight.call(&["path", "p.yaml", output]).exits(0);
        std::path::PathBuf::from(ran.stdout.trim())
    };
    let log = fs_err::read_to_string(path("pretrain.log")).expect("there");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
    assert_eq!(of("step").count(), 12);
    let evaluations: Vec<&Value> = of("evaluation").collect();
    assert_eq!(evaluations.len(), 3);
    let number = |line: &Value, name: &str| line[name].as_f64().expect("a number");
    let (first, last) = (evaluations[0], evaluations[2]);
    assert!(
        number(last, "masked_lm_loss") < number(first, "masked_lm_loss"),
        "{log}"
    );
    assert!(number(last, "masked_lm_accuracy") > 0.2, "{log}");
    let numbers = fs_err::read_to_string(path("pretrain.metrics")).expect("there");
    assert!(numbers.contains("\"disc_auc\""), "{numbers}");
    for (output, class) in [
        ("model", "ElectraForPreTraining"),
        ("generator", "ElectraForMaskedLM"),
    ] {
        let name = format!("pretrain.{output}");
        let get = ["get", "p.yaml", &name, "--to", output];
        straight.call(&get).exits(0);
        let folder = straight.path(output).join(output);
        let config = fs_err::read_to_string(folder.join("config.json")).expect("there");
        let config: BTreeMap<String, Value> = serde_json::from_str(&config).expect("JSON");
        assert_eq!(config["architectures"][0], class);
        for file in ["model.safetensors", "vocab.txt", "tokenizer_config.json"] {
            assert!(folder.join(file).is_file(), "{file}");
        }
    }

    // Stopped in the middle, in another cache: it keeps its last step and comes to the same bits.
    let stopped = space();
    stopped.run(&["vocabulary", "pack"]).exits(0);
    let mut command = stopped.command(&["run", "p.yaml", "--events", "events.jsonl"]);
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("starts");
    wait_until("some steps are done", || {
        fs_err::read_to_string(stopped.path("events.jsonl"))
            .is_ok_and(|text| text.contains("stage_progress"))
    });
    let id = Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("not zero");
    kill_process(id, Signal::INT).expect("sent");
    Ran::of(&child.wait_with_output().expect("ends"))
        .exits(130)
        .says("the checkpoint of `pretrain` is kept");
    stopped.run(&[]).exits(0);
    let record = stopped.records();
    let record = record
        .values()
        .find(|record| record["stage"] == "pretrain")
        .expect("a record");
    let attempts = record["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[1]["resumed"], true);
    assert_eq!(outputs(&straight), outputs(&stopped));
}

/// Thirty steps of the same stage by the engine and by the reference: masks, samples and dropout are drawn alike, so the
/// losses are the same up to rounding, and the reference stops and goes on like the engine.
#[test]
fn the_reference_follows_the_engine_step_by_step() {
    let space = space();
    let text = PIPELINE
        .replace("steps: 600", "steps: 30")
        .replace("warmup_steps: 60", "warmup_steps: 5")
        .replace("log_every: 50", "log_every: 1");
    space.write("p.yaml", text);
    space.run(&[]).exits(0);
    let log = |more: &[&str]| -> Vec<Value> {
        let path = [&["path", "p.yaml", "pretrain.log"], more].concat();
        let ran = space.call(&path).exits(0);
        let text = fs_err::read_to_string(ran.stdout.trim()).expect("there");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let engine = log(&[]);
    // Its results are its own: what was trained on the processor is no hit.
    let ran = space.run(&["--json", "--device", "reference"]).exits(0);
    assert_eq!(ran.counts(), [3, 1, 2, 0, 0]);
    let ran = space.run(&["--json", "--device", "reference"]).exits(0);
    assert_eq!(ran.counts(), [3, 0, 3, 0, 0]);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [3, 0, 3, 0, 0]);
    let reference = log(&["--device", "reference"]);
    assert_eq!((engine.len(), reference.len()), (31, 31));
    for (ours, theirs) in engine.iter().zip(&reference) {
        let fields = ours.as_object().expect("an object");
        for (name, value) in fields {
            let Some(value) = value.as_f64() else {
                assert_eq!(*value, theirs[name]);
                continue;
            };
            let other = theirs[name].as_f64().expect("a number");
            let apart = (value - other).abs() / value.abs().max(1.0);
            assert!(apart < 1e-4, "{name}: {ours} {theirs}");
        }
    }
    // Both results of the one stage, by the device they state.
    let records: BTreeMap<String, Value> = files_below(&space.path("cache/records-v1"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| -> Value {
            let text = fs_err::read(path).expect("readable");
            serde_json::from_slice(&text).expect("JSON")
        })
        .filter(|record| record["stage"] == "pretrain")
        .map(|record| (record["device"].as_str().expect("text").to_owned(), record))
        .collect();
    let devices: Vec<&String> = records.keys().collect();
    assert_eq!(devices, ["cpu", "reference"]);
    let manifest = records["reference"]["manifest"].as_str().expect("text");
    assert!(manifest.contains("device = \"reference\""), "{manifest}");
}

#[test]
fn a_device_that_is_not_there_is_said_with_what_to_do() {
    let space = space();
    space
        .run(&["--device", "cuda:1"])
        .exits(3)
        .says("`cuda:1` cannot be computed on: ")
        .says("--device cpu");
    // Where a folder is named, nothing else is looked into: this is so with a GPU and without.
    fs_err::create_dir(space.path("no-libraries")).expect("made");
    space
        .run(&["--device", "cuda", "--cuda-libs", "no-libraries"])
        .exits(3)
        .says("`cuda` cannot be computed on: ")
        .says("is not on this machine: no `lib")
        .says("/no-libraries/lib64")
        .says("--device cpu");
    space
        .run(&["--device", "tpu"])
        .exits(2)
        .says("expected `auto`");
    let text = PIPELINE
        .replace("steps: 600", "steps: 2")
        .replace("warmup_steps: 60", "warmup_steps: 1");
    let of = |more: &str| text.replace("      seed: 1\n", &format!("      seed: 1\n{more}"));
    space.write(
        "p.yaml",
        of("      precision: bf16\n    resources: { device: reference }\n"),
    );
    space.run(&[]).exits(1).says("computes in f32, not in bf16");
    space.write(
        "p.yaml",
        of("      clip: { every: 4 }\n    resources: { device: reference }\n"),
    );
    (space.run(&[]).exits(1))
        .says("`device: reference` clips over the whole batch")
        .says("leave `clip.every` out");
    // `auto` is the processor here, and what was made on another device is made again where it is not accepted.
    space.write("p.yaml", of("    resources: { device: auto }\n"));
    let without = ["--json", "--cuda-libs", "no-libraries"];
    assert_eq!(space.run(&without).exits(0).counts(), [3, 1, 2, 0, 0]);
    let log = space.call(&["log", "p.yaml", "pretrain"]).exits(0).stdout;
    let said = log.matches("computes on the processor: ").count();
    assert_eq!(said, 1, "{log}");
    let accept = |device| {
        space
            .run(&[
                "--json",
                "--cuda-libs",
                "no-libraries",
                "--accept-device",
                device,
            ])
            .exits(0)
            .counts()
    };
    assert_eq!(accept("cpu"), [3, 0, 3, 0, 0]);
    assert_eq!(accept("cuda"), [3, 1, 2, 0, 0]);
}

#[test]
fn examples_of_another_vocabulary_are_refused() {
    let space = space();
    let text = PIPELINE.replace(
        "needs: { examples: pack.examples-32, vocabulary: vocabulary }",
        "needs: { examples: pack.examples-32, vocabulary: other }",
    );
    let other = "  other:\n    kind: vocab\n    needs: { text: ./text.txt }\n    with: { name: other, train: { size: 50, alphabet: 30, reserved: 0 } }\n";
    space.write("p.yaml", format!("{text}{other}"));
    space
        .run(&[])
        .exits(1)
        .says("the input `examples` was packed with another vocabulary");
}

#[test]
fn what_cannot_be_trained_is_said_before_any_work() {
    let space = space();
    let text = PIPELINE
        .replace("steps: ${params.steps}", "steps: 0")
        .replace("heads: 2", "heads: 3")
        .replace("learning_rate: 1.0e-3", "learning_rate: 2");
    space.write("p.yaml", text);
    space
        .call(&["check", "p.yaml"])
        .exits(2)
        .says("there is no step")
        .says("is no multiple of")
        .says("it is not between 0 and 1");
}
