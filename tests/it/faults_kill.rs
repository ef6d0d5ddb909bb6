//! `kill -9` at random instants: of the runner, of supervisors, of stages. `PIPELINE_FAULT_ROUNDS` rounds, 20 by default.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{of_stages, signal, supervisors};
use crate::space::{Random, Space, contents, names_in, wait_at_most, wait_until};

/// 60 stages: 20 that start from a file, 20 that checkpoint or fork, 20 that join two and publish.
fn pipeline() -> String {
    let mut text = String::from("stages:\n");
    for i in 0..20 {
        let _ = write!(
            text,
            "  first{i}:\n    kind: command\n    needs: {{ text: ./words.txt }}\n    with: {{ script: 'sleep 0.03; echo printed; tr a-z b-za < text > out; echo {i} >> out' }}\n    outputs: {{ out: out }}\n"
        );
    }
    for i in 0..10 {
        let _ = write!(
            text,
            "  forks{i}:\n    kind: command\n    needs: {{ a: first{i} }}\n    with:\n      script: |\n        sleep 300 &\n        waits=$!\n        setsid sleep 300 &\n        other=$!\n        sleep 0.03\n        mkdir -p out/deep; cat a > out/a; echo {i} > out/deep/b\n        kill $waits $other\n    outputs: {{ out: out }}\n"
        );
    }
    for i in 10..20 {
        let _ = write!(
            text,
            "  saves{i}:\n    kind: command\n    needs: {{ a: first{i} }}\n    checkpoint: {{ dir: state }}\n    with:\n      script: |\n        step=$(cat \"$PIPELINE_CHECKPOINT/step\" 2>/dev/null || echo 0)\n        while [ \"$step\" -lt 4 ]; do\n          sleep 0.01\n          step=$((step + 1))\n          echo $step > \"$PIPELINE_CHECKPOINT/new\"; mv \"$PIPELINE_CHECKPOINT/new\" \"$PIPELINE_CHECKPOINT/step\"\n        done\n        (cat a; echo $step {i}) > out\n    outputs: {{ out: out }}\n"
        );
    }
    for i in 0..20 {
        let (a, b) = (i % 10, 10 + (i * 7) % 10);
        let _ = write!(
            text,
            "  joins{i}:\n    kind: command\n    needs: {{ a: forks{a}, b: saves{b} }}\n    with: {{ script: 'sleep 0.03; cat a/a a/deep/b b > joined{i}.txt; echo {i} >> joined{i}.txt' }}\n    outputs: {{ out: joined{i}.txt }}\n    publish: results/\n"
        );
    }
    text
}

fn project() -> Space {
    let space = Space::with(&pipeline());
    space.write("words.txt", "some words\nto turn\n");
    space
}

/// What a finished project holds: outputs by stage, objects, published files.
type Holdings = (
    BTreeMap<String, Value>,
    BTreeMap<PathBuf, Vec<u8>>,
    BTreeMap<PathBuf, Vec<u8>>,
);

fn holdings(space: &Space) -> Holdings {
    let outputs = space
        .records()
        .into_iter()
        .map(|(stage, record)| (stage, record["outputs"].clone()))
        .collect();
    (outputs, space.objects(), contents(&space.path("results")))
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Runner,
    RunnerAndSupervisors,
    Supervisor,
    Supervisors,
    Stage,
    Everything,
}

const VICTIMS: [Victim; 6] = [
    Victim::Runner,
    Victim::RunnerAndSupervisors,
    Victim::Supervisor,
    Victim::Supervisors,
    Victim::Stage,
    Victim::Everything,
];

/// Kills; how many processes were hit.
fn strike(victim: Victim, space: &Space, runner: &Child, random: &mut Random) -> usize {
    let runner = i32::try_from(runner.id()).expect("a process number");
    let mut pick = |from: Vec<i32>| -> Vec<i32> {
        if from.is_empty() {
            return from;
        }
        let index = random.below(from.len() as u64);
        vec![from[usize::try_from(index).expect("small")]]
    };
    let targets = match victim {
        Victim::Runner => vec![runner],
        Victim::RunnerAndSupervisors => [supervisors(runner), vec![runner]].concat(),
        Victim::Supervisor => pick(supervisors(runner)),
        Victim::Supervisors => supervisors(runner),
        Victim::Stage => pick(of_stages(space.root())),
        // Stages last: those that outlive both keepers are what is to be found.
        Victim::Everything => [
            vec![runner],
            supervisors(runner),
            pick(of_stages(space.root())),
        ]
        .concat(),
    };
    for pid in &targets {
        signal(*pid, Signal::KILL);
    }
    targets.len()
}

/// How many records there are, read or not.
fn recorded(space: &Space) -> usize {
    let records = space.path("cache/records-v1");
    let folders = fs_err::read_dir(records)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    folders
        .filter_map(|folder| Some(fs_err::read_dir(folder.path()).ok()?.count()))
        .sum()
}

#[test]
fn whatever_is_killed_the_next_run_completes_with_the_same_bytes() {
    let rounds: u64 = std::env::var("PIPELINE_FAULT_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(20);
    let reference = project();
    let started = Instant::now();
    reference.run(&["-j", "8"]).exits(0);
    let usual = started.elapsed();
    let expected = holdings(&reference);
    assert_eq!(expected.0.len(), 60);
    assert_eq!(expected.2.len(), 20);

    let seed = std::env::var("PIPELINE_FAULT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let mut random = Random(seed);
    let (mut hits, mut in_flight, mut resumed) = (0, 0, 0);
    for round in 0..rounds {
        let victim = VICTIMS[usize::try_from(round).expect("small") % VICTIMS.len()];
        let space = project();
        let mut runner = space
            .command(&["run", "p.yaml", "-j", "8"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        // By what is done, not by the clock: a busy machine must not move every kill to the end. The moment inside a
        // stage is random by itself, since eight of them are under way.
        let instant = usize::try_from(random.below(56)).expect("small");
        let reached = wait_at_most(Duration::from_secs(120), || {
            recorded(&space) >= instant || runner.try_wait().expect("waits").is_some()
        });
        assert!(
            reached,
            "round {round}: {} stages in two minutes",
            recorded(&space)
        );
        let struck = if runner.try_wait().expect("waits").is_some() {
            0
        } else {
            strike(victim, &space, &runner, &mut random)
        };
        runner.wait().expect("ends");
        hits += u64::from(struck > 0);
        let done = if space.exists("cache/records-v1") {
            space.records().len()
        } else {
            0
        };
        in_flight += u64::from(done > 0 && done < 60);
        space.run(&["-j", "8"]).exits(0);
        let context = format!("round {round}, {victim:?} after {instant} stages, {done} were done");
        let found = holdings(&space);
        assert_eq!(found.0, expected.0, "{context}");
        assert!(found.1 == expected.1, "objects differ: {context}");
        assert!(found.2 == expected.2, "published files differ: {context}");
        resumed += u64::from(space.records().values().any(|record| {
            record["attempts"]
                .as_array()
                .is_some_and(|attempts| attempts.len() > 1)
        }));
        // A supervisor that was recording when its runner died may be at it for a moment yet.
        wait_until(&format!("no process of a stage is left: {context}"), || {
            of_stages(space.root()).is_empty()
        });
        let second = space.run(&["-j", "8", "--json"]).exits(0);
        assert_eq!(second.counts(), [60, 0, 60, 0, 0], "{context}");
        assert_eq!(space.work(), [""; 0], "{context}");
        assert_eq!(
            names_in(&space.path("cache/quarantine")),
            [""; 0],
            "{context}"
        );
    }
    use std::io::Write as _;
    let _ = writeln!(
        std::io::stderr(),
        "{rounds} rounds, {hits} hit a process, {in_flight} in the middle, {resumed} left attempts to take up; undisturbed {usual:?}"
    );
    assert!(
        hits > rounds / 2,
        "the kills came too late: {hits} of {rounds}"
    );
}
