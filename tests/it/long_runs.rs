//! Long trainings: killed at random, stopped in evaluations, their checkpoints damaged, their memory planned, watched.
//! Knows nothing of networks.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{of_stages, signal, supervisors};
use crate::space::{Ran, Random, Space, contents, names_in, wait_until};

/// A packed text, and a model whose snapshot at step 60 and phase from step 90 on are both in the middle.
const PRETRAIN: &str = "\
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
    needs: { examples: short.examples-24, second: long.examples-64, vocabulary: vocabulary }
    with:
      name: made
      size: tiny
      sizes: { embedding: 32, hidden: 64, layers: 2 }
      steps: 150
      second: { steps: 60, batch: 4 }
      snapshots: [60]
      clip: { every: 4 }
      batch: 8
      learning_rate: 1.0e-3
      warmup_steps: 20
      held_out: 20
      evaluate_every: 40
      log_every: 10
      seed: 1
";

pub(crate) fn text() -> String {
    let subjects = ["the gene", "a protein", "this drug", "the cell"];
    let verbs = ["binds", "blocks", "needs", "moves"];
    let mut text = String::new();
    for i in 0_usize..400 {
        for j in 0..4 {
            let (subject, verb) = (subjects[(i + j) % 4], verbs[(i * 3 + j) % 4]);
            text.push_str(&format!(
                "{subject} {verb} {} .\n",
                subjects[(i / 7 + j) % 4]
            ));
        }
        text.push('\n');
    }
    text
}

/// Tokens with a tag for one word, as files to fine-tune on.
fn tags(space: &Space, n_dev: usize) {
    space.write(
        "vocab.txt",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nfever\ncough\n",
    );
    let sentence = |i: usize| {
        let key = ["fever", "cough"][i / 3 % 2];
        let (before, after) = (["the", "of"][i % 2], ["was", "of", "the"][i % 3]);
        format!("{before} O\n{key} B-Sign\n{after} O\n\n")
    };
    for (split, n) in [("train", 240), ("dev", n_dev)] {
        let text: String = (0..n).map(sentence).collect();
        space.write(&format!("tags/{split}.txt"), text);
    }
}

const FINETUNE: &str = "\
stages:
  data:
    kind: dataset
    needs: { train: tags/train.txt, dev: tags/dev.txt }
    with: { name: tags, reader: conll, separator: space }
  train:
    kind: finetune
    needs: { data: data, vocabulary: ./vocab.txt }
    with:
      name: tags
      size: tiny
      sizes: { embedding: 32, hidden: 64, layers: 4 }
      epochs: 12
      batch: 8
      learning_rate: 1.0e-3
      max_length: 16
      seed: 1
";

fn pretraining() -> Space {
    let space = Space::with(PRETRAIN);
    space.write("text.txt", text());
    space.run(&["vocabulary", "short", "long"]).exits(0);
    space
}

fn finetuning() -> Space {
    let space = Space::with(FINETUNE);
    tags(&space, 40);
    space.run(&["data"]).exits(0);
    space
}

/// Starts a run that keeps a checkpoint after every step.
fn start(space: &Space) -> Child {
    let mut command = space.command(&["run", "p.yaml", "--events", "events.jsonl"]);
    command
        .env("PIPELINE_CHECKPOINT_SECONDS", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("starts")
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a process number")
}

/// What the record of `train` says it made.
fn outputs(space: &Space) -> Value {
    space.records()["train"]["outputs"].clone()
}

/// The folder where the stage at work keeps what survives.
fn scratch(space: &Space) -> Option<PathBuf> {
    let work = space.path("cache/work");
    let entries = fs_err::read_dir(work).ok()?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path().join("scratch")));
    folders.into_iter().find(|folder| folder.is_dir())
}

/// Steps with a checkpoint in place, whole or not.
fn kept(space: &Space) -> Vec<u64> {
    let Some(folder) = scratch(space).map(|folder| folder.join("checkpoints")) else {
        return Vec::new();
    };
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut steps: Vec<u64> = names
        .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
        .collect();
    steps.sort_unstable();
    steps
}

fn kill_everything(space: &Space, child: &mut Child) {
    for target in [supervisors(pid(child)), vec![pid(child)]].concat() {
        signal(target, Signal::KILL);
    }
    for target in of_stages(space.root()) {
        signal(target, Signal::KILL);
    }
    child.wait().expect("ends");
}

/// A space whose training was killed when it was `ready`; one that was done before anybody looked is made again.
pub(crate) fn killed_when(make: impl Fn() -> Space, ready: impl Fn(&[u64]) -> bool) -> Space {
    for _ in 0..20 {
        let space = make();
        let mut child = start(&space);
        wait_until("it is ready or done", || {
            ready(&kept(&space)) || child.try_wait().expect("asked").is_some()
        });
        kill_everything(&space, &mut child);
        if ready(&kept(&space)) && !space.records().contains_key("train") {
            return space;
        }
    }
    panic!("each of 20 trainings was done before it was killed");
}

/// Two checkpoints after the snapshot of [`PRETRAIN`].
fn is_past_the_snapshot(kept: &[u64]) -> bool {
    kept.iter().filter(|step| **step > 60).count() >= 2
}

/// Kills training again and again, each time a little further on; how often.
fn kill_at_random(space: &Space, steps: u64, random: &mut Random) -> usize {
    let (mut reached, mut kills) = (0, 0);
    while reached < steps {
        let mut child = start(space);
        let goal = reached + 1 + random.below(steps / 6);
        let mut has_ended = false;
        wait_until("a checkpoint further on", || {
            has_ended = child.try_wait().expect("asked").is_some();
            has_ended || kept(space).last().is_some_and(|step| *step >= goal)
        });
        if has_ended {
            break;
        }
        // Somewhere in the writes that follow.
        for _ in 0..random.below(40) {
            std::thread::yield_now();
        }
        kill_everything(space, &mut child);
        kills += 1;
        reached = kept(space).last().copied().unwrap_or(reached);
    }
    kills
}

/// What is killed at random comes to what a straight run comes to.
fn comes_to_the_same_bytes(make: impl Fn() -> Space, steps: u64, seed: u64) {
    let straight = make();
    straight.run(&[]).exits(0);
    let mut random = Random(seed);
    // Training that is done before it was killed often enough, on a machine that had other things to do, is made again.
    let killed = (0..20).find_map(|_| {
        let space = make();
        (kill_at_random(&space, steps, &mut random) >= 3).then_some(space)
    });
    let killed = killed.expect("one of 20 trainings is killed three times");
    killed.run(&[]).exits(0);
    assert_eq!(outputs(&straight), outputs(&killed));
    assert_eq!(straight.objects(), killed.objects());
}

#[test]
fn pretraining_killed_at_random_comes_to_the_same_bytes_in_both_phases() {
    comes_to_the_same_bytes(pretraining, 150, 7);
}

#[test]
fn finetuning_killed_at_random_comes_to_the_same_bytes() {
    comes_to_the_same_bytes(finetuning, 360, 11);
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let straight = pretraining();
    straight.run(&[]).exits(0);
    let damaged = killed_when(pretraining, is_past_the_snapshot);
    let steps = kept(&damaged);
    let (before, newest) = (steps[steps.len() - 2], steps[steps.len() - 1]);
    let folder = scratch(&damaged).expect("there").join("checkpoints");
    let file = folder
        .join(format!("step-{newest:012}"))
        .join("second_moments.safetensors");
    let mut bytes = fs_err::read(&file).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs_err::write(&file, bytes).expect("written");
    damaged
        .run(&[])
        .exits(0)
        .says(&format!("the checkpoint of step {newest} cannot be read"))
        .says(&format!("training goes on from step {before}"))
        .says("`second_moments.safetensors` does not match its checksum");
    assert_eq!(outputs(&straight), outputs(&damaged));
}

#[test]
fn going_on_under_another_micro_batch_is_said() {
    let space = killed_when(pretraining, |kept| !kept.is_empty());
    let resources = "  train:\n    resources: { micro_batch: 2 }\n";
    space.write("p.yaml", PRETRAIN.replace("  train:\n", resources));
    space
        .run(&[])
        .exits(0)
        .says("training goes on with `cpu, micro-batch 128 tokens`")
        .says("`cpu, micro-batch 512 tokens`")
        .says("differ by rounding");
}

#[test]
fn without_a_whole_checkpoint_or_its_snapshot_training_begins_anew() {
    let straight = pretraining();
    straight.run(&[]).exits(0);
    let damaged = killed_when(pretraining, is_past_the_snapshot);
    let snapshot = scratch(&damaged).expect("there").join("snapshot-60");
    fs_err::remove_dir_all(snapshot).expect("removed");
    damaged
        .run(&[])
        .exits(0)
        .says("the snapshot of step 60 is gone")
        .says("training begins anew");
    assert_eq!(outputs(&straight), outputs(&damaged));
}

/// Stops a run in its first evaluation, which takes seconds; looks that it had not done the next step.
fn stopped_in_an_evaluation(space: &Space) -> Vec<u64> {
    let mut command = space.command(&["run", "p.yaml", "--events", "events.jsonl"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("starts");
    wait_until("it evaluates", || {
        fs_err::read_to_string(space.path("events.jsonl"))
            .is_ok_and(|text| text.contains("evaluating "))
    });
    signal(pid(&child), Signal::TERM);
    Ran::of(&child.wait_with_output().expect("ends"))
        .exits(143)
        .says("the checkpoint of `train` is kept");
    let log = scratch(space).expect("kept");
    assert!(log.join("checkpoints").is_dir());
    kept(space)
}

/// Whether the events of the last run hold an evaluation that came to its end.
fn evaluations_at(space: &Space) -> Vec<String> {
    let text = fs_err::read_to_string(space.path("events.jsonl")).expect("there");
    let texts = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = line["progress"]["text"].as_str()?;
        text.starts_with("evaluating").then(|| text.to_owned())
    });
    texts.collect()
}

#[test]
fn a_stop_in_an_evaluation_keeps_the_last_step_and_evaluates_again() {
    let long_evaluation = |space: &Space| {
        let text = PRETRAIN
            .replace("held_out: 20", "held_out: 360")
            .replace("steps: 150", "steps: 4")
            .replace(
                "      second: { steps: 60, batch: 4 }\n      snapshots: [60]\n",
                "",
            )
            .replace(", second: long.examples-64", "")
            .replace("warmup_steps: 20", "warmup_steps: 2")
            .replace("evaluate_every: 40", "evaluate_every: 2")
            .replace("layers: 2", "layers: 24")
            .replace(
                "  train:\n",
                "  train:\n    resources: { micro_batch: 2 }\n",
            );
        space.write("p.yaml", text);
    };
    let (straight, stopped) = (pretraining(), pretraining());
    long_evaluation(&straight);
    long_evaluation(&stopped);
    straight.run(&[]).exits(0);
    assert_eq!(stopped_in_an_evaluation(&stopped), [2]);
    // It was given up before its end.
    assert!(evaluations_at(&stopped).len() < 180);
    stopped.run(&[]).exits(0);
    assert_eq!(outputs(&straight), outputs(&stopped));
}

#[test]
fn a_stop_in_a_dev_evaluation_keeps_the_last_step_and_scores_again() {
    let space = || {
        let space = Space::with(
            &FINETUNE
                .replace("layers: 4", "layers: 24")
                .replace("epochs: 12", "epochs: 2")
                .replace("batch: 8", "batch: 80")
                .replace(
                    "  train:\n",
                    "  train:\n    resources: { micro_batch: 2 }\n",
                ),
        );
        tags(&space, 2_000);
        space.run(&["data"]).exits(0);
        space
    };
    let (straight, stopped) = (space(), space());
    straight.run(&[]).exits(0);
    assert_eq!(stopped_in_an_evaluation(&stopped), [3]);
    stopped.run(&[]).exits(0);
    assert_eq!(outputs(&straight), outputs(&stopped));
}

#[test]
fn what_does_not_fit_into_memory_is_said_before_anything_is_trained() {
    let space = pretraining();
    let text = PRETRAIN.replace(
        "  train:\n",
        "  train:\n    resources: { micro_batch: 4000000000 }\n",
    );
    space.write("p.yaml", text);
    let ran = space
        .run(&[])
        .exits(3)
        .says("this machine cannot hold the training: it needs")
        .says("gradients and moments");
    let flat: Vec<&str> = ran.stderr.split_whitespace().collect();
    let at = flat
        .iter()
        .position(|word| *word == "`resources.micro_batch:");
    let number = flat[at.expect("a help") + 1].trim_end_matches('`');
    let fitting: u64 = number.parse().expect("a number");
    assert!((100..4_000_000_000).contains(&fitting), "{fitting}");
    // The same key whatever the micro-batch, and the plan in the stage's log.
    for micro_batch in [1, 3] {
        let resources = format!("  train:\n    resources: {{ micro_batch: {micro_batch} }}\n");
        space.write("p.yaml", PRETRAIN.replace("  train:\n", &resources));
        let executed = [1, 0][usize::from(micro_batch > 1)];
        let ran = space.run(&["train", "--json"]).exits(0);
        assert_eq!(ran.counts()[1], executed);
        let log = space.call(&["log", "p.yaml", "train"]).exits(0).stdout;
        assert!(
            log.contains("plans ") && log.contains("micro-batch 64 tokens"),
            "{log}"
        );
    }
}

#[test]
fn what_is_not_finite_is_named_with_step_tensor_and_examples() {
    let space = Space::with(PRETRAIN);
    space.write("text.txt", text());
    space.run(&[]).exits(0);
    let get = ["get", "p.yaml", "train.model", "--to", "out"];
    space.call(&get).exits(0);
    let place = space.path("out/model/model.safetensors");
    let mut bytes = fs_err::read(&place).expect("there");
    // The last value of the last tensor by name, a weight of the encoder.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut permissions = fs_err::metadata(&place).expect("there").permissions();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "a folder of the test's own"
    )]
    permissions.set_readonly(false);
    fs_err::set_permissions(&place, permissions).expect("set");
    fs_err::write(&place, bytes).expect("written");
    let text = PRETRAIN.replace(
        "second: long.examples-64,",
        "second: long.examples-64, start: ./out/model,",
    );
    space.write("p.yaml", text);
    space
        .run(&[])
        .exits(1)
        .says("engine::not_finite")
        .says("step 0: the loss is NaN, first in the values of `electra.encoder.layer.1.output.dense.weight`")
        .says("the batch is examples 0 to 7 of the file")
        .says("lower `learning_rate`");
}

#[test]
fn a_stage_at_work_is_watched_in_one_folder() {
    let space = killed_when(pretraining, |kept| kept.last() > Some(&30));
    space.run(&[]).exits(0);
    let folder = space.path("reports/p/tensorboard/train");
    let names = names_in(&folder);
    assert_eq!(names.len(), 3, "two attempts and the lines: {names:?}");
    let events = names
        .iter()
        .filter(|name| name.starts_with("events.out.tfevents."));
    assert_eq!(events.count(), 2);
    let lines: Vec<Value> = space
        .lines("reports/p/tensorboard/train/live.jsonl")
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
    assert_eq!(of("start").count(), 2);
    assert!(of("start").next_back().expect("two")["step"].as_u64() > Some(30));
    let last = of("train").next_back().expect("lines");
    for name in [
        "loss",
        "mlm",
        "rtd",
        "learning_rate",
        "gradient_norm",
        "tokens_per_second",
        "seconds",
    ] {
        assert!(last[name].as_f64().is_some(), "{name} in {last}");
    }
    assert_eq!(of("evaluation").next_back().expect("one")["step"], 150);
    // Nothing of it is in what is compared bit by bit.
    let get = ["get", "p.yaml", "train.log", "--to", "out"];
    space.call(&get).exits(0);
    assert!(!space.read("out/log.jsonl").contains("second"));
    // Another training of the stage takes the folder over.
    space.write("p.yaml", PRETRAIN.replace("seed: 1\n", "seed: 2\n"));
    space.run(&[]).exits(0);
    assert_eq!(names_in(&folder).len(), 2);
    assert!(!contents(&folder).is_empty());
}
