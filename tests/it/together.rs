//! Pre-training by several processes: the same steps as by one, killed and stopped, gone on with by another number of
//! them. Knows nothing of networks.

use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::long_runs::text;
use crate::processes::{all, of_stages, signal, supervisors};
use crate::space::{Ran, Space, wait_until};

const PIPELINE: &str = "\
stages:
  vocabulary:
    kind: vocab
    needs: { text: ./text.txt }
    with: { name: made, train: { size: 60, alphabet: 30, reserved: 0 } }
  pack:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: made, lengths: [24], seed: 1 }
  train:
    kind: pretrain
    needs: { examples: pack.examples-24, vocabulary: vocabulary }
    resources: { processes: 3, cores: 2 }
    with:
      name: made
      size: tiny
      sizes: { embedding: 32, hidden: 64, layers: 2 }
      steps: 40
      snapshots: [20]
      batch: 8
      learning_rate: 1.0e-3
      warmup_steps: 20
      held_out: 20
      evaluate_every: 20
      log_every: 1
      seed: 1
";

fn set(space: &Space, processes: usize, steps: usize) {
    let text = PIPELINE
        .replace("processes: 3", &format!("processes: {processes}"))
        .replace("steps: 40", &format!("steps: {steps}"));
    space.write("p.yaml", text);
}

fn prepared(processes: usize, steps: usize) -> Space {
    let space = Space::with(PIPELINE);
    set(&space, processes, steps);
    space.write("text.txt", text());
    space.run(&["vocabulary", "pack"]).exits(0);
    space
}

fn log(space: &Space) -> Vec<Value> {
    let ran = space.call(&["path", "p.yaml", "train.log"]).exits(0);
    let text = fs_err::read_to_string(ran.stdout.trim()).expect("there");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Steps after which rounding, which decides what is drawn, may have led to other numbers.
const ALIKE: usize = 40;

/// The same steps of the same examples, numbers up to rounding as long as they are alike.
#[track_caller]
fn same(one: &[Value], other: &[Value]) {
    assert_eq!(one.len(), other.len());
    for (i, (one, other)) in one.iter().zip(other).enumerate() {
        for (name, value) in one.as_object().expect("an object") {
            let (Some(a), Some(b)) = (value.as_f64(), other[name].as_f64()) else {
                assert_eq!(*value, other[name]);
                continue;
            };
            let near = match name.as_str() {
                "step" | "tokens" => a == b,
                "learning_rate" => a == b,
                _ if i >= ALIKE => b.is_finite(),
                _ => (a - b).abs() <= 2e-3 * a.abs().max(1.0),
            };
            assert!(near, "{name}: {one} {other}");
        }
    }
}

/// Starts a run that keeps a checkpoint after every step.
fn start(space: &Space) -> Child {
    let mut command = space.command(&["run", "p.yaml", "--json"]);
    command
        .env("PIPELINE_CHECKPOINT_SECONDS", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("starts")
}

/// Processes of the training by rank, the first at 0; none before all of them are what they will be.
fn ranks(space: &Space) -> Vec<i32> {
    let own = of_stages(space.root());
    let mut found: Vec<(u32, i32)> = all()
        .into_iter()
        .filter(|process| own.contains(&process.pid) && process.arguments.contains(" exec "))
        .map(|process| {
            let rank = process.arguments.split("--rank ").nth(1);
            let rank = rank.and_then(|text| text.split(' ').next()?.parse().ok());
            (rank.unwrap_or(0), process.pid)
        })
        .collect();
    found.sort_unstable();
    // One that was only just started still looks like the one that starts it.
    if !(0..).zip(&found).all(|(i, (rank, _))| i == *rank) {
        return Vec::new();
    }
    found.into_iter().map(|(_, pid)| pid).collect()
}

/// Steps with a checkpoint, and what else lies beside them.
fn kept(space: &Space) -> (Vec<u64>, Vec<String>) {
    let mut steps = Vec::new();
    let mut others = Vec::new();
    let work = fs_err::read_dir(space.path("cache/work"));
    for folder in work.into_iter().flatten().filter_map(Result::ok) {
        let inside = fs_err::read_dir(folder.path().join("scratch/checkpoints"));
        for entry in inside.into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name().into_string().expect("text");
            match name.strip_prefix("step-").and_then(|n| n.parse().ok()) {
                Some(step) => steps.push(step),
                None => others.push(name),
            }
        }
    }
    steps.sort_unstable();
    (steps, others)
}

/// A run of three processes that has kept a step.
fn under_way(space: &Space) -> (Child, Vec<i32>) {
    let child = start(space);
    let mut found = Vec::new();
    wait_until("three processes train", || {
        found = ranks(space);
        found.len() == 3 && !kept(space).0.is_empty()
    });
    (child, found)
}

#[track_caller]
fn nobody_is_left(space: &Space) {
    wait_until("all processes have ended", || {
        of_stages(space.root()).is_empty()
    });
}

#[test]
fn any_number_of_processes_takes_the_same_steps() {
    let alone = prepared(1, 40);
    alone.run(&["--json"]).exits(0);
    for processes in [2, 3] {
        let space = prepared(processes, 40);
        space.run(&["--json"]).exits(0);
        nobody_is_left(&space);
        same(&log(&alone), &log(&space));
        let records = space.records();
        assert_eq!(records["train"]["notes"]["processes"], processes);
        // A number of processes is in no key.
        set(&space, 1, 40);
        assert_eq!(space.run(&["--json"]).exits(0).counts(), [3, 0, 3, 0, 0]);
    }
    assert!(alone.records()["train"]["notes"]["processes"].is_null());
}

#[test]
fn who_of_them_is_killed_ends_all_and_another_number_goes_on() {
    const STEPS: usize = 400;
    let straight = prepared(1, STEPS);
    straight.run(&["--json"]).exits(0);
    let space = prepared(3, STEPS);
    for rank in [1, 2] {
        let (child, found) = under_way(&space);
        signal(found[rank], Signal::KILL);
        let ran = Ran::of(&child.wait_with_output().expect("ends"));
        ran.exits(1).says(&format!(
            "`train`: process {} of 3 was killed by SIGKILL",
            rank + 1
        ));
        nobody_is_left(&space);
    }
    // The first of them, and what started it.
    let (child, found) = under_way(&space);
    signal(found[0], Signal::KILL);
    let ran = Ran::of(&child.wait_with_output().expect("ends"));
    ran.exits(1).says("`train` was killed by SIGKILL");
    nobody_is_left(&space);
    let (mut child, found) = under_way(&space);
    let runner = i32::try_from(child.id()).expect("a process number");
    for target in [supervisors(runner), vec![runner, found[0]]].concat() {
        signal(target, Signal::KILL);
    }
    child.wait().expect("ends");
    nobody_is_left(&space);
    let (steps, _) = kept(&space);
    assert!(!steps.is_empty());
    set(&space, 2, STEPS);
    space
        .run(&[])
        .exits(0)
        .says("training goes on with `cpu, micro-batch 192 tokens, 2 processes`")
        .says("it was `cpu, micro-batch 192 tokens, 3 processes`");
    nobody_is_left(&space);
    same(&log(&straight), &log(&space));
}

#[test]
fn an_interruption_keeps_the_step_and_comes_to_the_same_bytes() {
    const STEPS: usize = 200;
    let straight = prepared(2, STEPS);
    straight.run(&[]).exits(0);
    let space = prepared(2, STEPS);
    let child = start(&space);
    wait_until("a step is kept", || !kept(&space).0.is_empty());
    signal(
        i32::try_from(child.id()).expect("a process number"),
        Signal::INT,
    );
    let ran = Ran::of(&child.wait_with_output().expect("ends"));
    ran.exits(130);
    nobody_is_left(&space);
    let (steps, others) = kept(&space);
    assert!(!steps.is_empty() && others.is_empty(), "{others:?}");
    space.run(&[]).exits(0);
    let outputs = |space: &Space| space.records()["train"]["outputs"].clone();
    assert_eq!(outputs(&straight), outputs(&space));
}

#[test]
fn processes_are_for_what_can_use_them() {
    let space = prepared(2, 40);
    space.write(
        "p.yaml",
        PIPELINE.replace(
            "    kind: pack\n",
            "    kind: pack\n    resources: { processes: 2 }\n",
        ),
    );
    space
        .call(&["check", "p.yaml"])
        .exits(2)
        .says("stages of kind `pack` compute in one process");
    set(&space, 2, 40);
    space
        .run(&["--device", "reference"])
        .exits(1)
        .says("`device: reference` computes in one process");
    space
        .run(&["--device", "cuda"])
        .exits(3)
        .says("--device cpu");
}
