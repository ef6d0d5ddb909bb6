//! Runs that share the work on one cache (`--cooperate`) while one after another of them is killed. Knows no claims.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{of_stages, signal};
use crate::space::{Ran, Random, Space, names_in, wait_until};

const STAGES: usize = 60;
const RUNNERS: usize = 8;

/// 60 stages in six layers of ten; each start and each end leaves a line outside its folder. One of each layer keeps a
/// checkpoint.
fn project() -> Space {
    let space = Space::new();
    let (began, ended) = (space.path("began"), space.path("ended"));
    let (began, ended) = (began.display(), ended.display());
    let mut text = String::from("stages:\n");
    for i in 0..STAGES {
        let (mut needs, mut take) = (String::new(), "");
        if i >= 10 {
            let (a, b) = (i - 10, (i - 10) / 10 * 10 + (i + 3) % 10);
            needs = format!("    needs: {{ a: s{a}, b: s{b} }}\n");
            take = "cat a b >> out; ";
        }
        let work = match i % 10 {
            0 => {
                needs.push_str("    checkpoint: { dir: state }\n");
                "step=$(cat $PIPELINE_CHECKPOINT/step 2>/dev/null || echo 0); while [ $step -lt 4 ]; do sleep 0.05; step=$((step + 1)); echo $step > $PIPELINE_CHECKPOINT/new; mv $PIPELINE_CHECKPOINT/new $PIPELINE_CHECKPOINT/step; done; echo $step >> out; "
            }
            _ => "sleep 0.05; ",
        };
        let _ = write!(
            text,
            "  s{i}:\n    kind: command\n{needs}    with: {{ script: 'echo s{i} >> {began}; {work}{take}echo {i} >> out; echo s{i} >> {ended}' }}\n    outputs: {{ out: out }}\n"
        );
    }
    space.write("p.yaml", text);
    space
}

fn start(space: &Space, locks: Option<&str>) -> Child {
    let mut command = space.command(&["run", "p.yaml", "-j", "1", "--cooperate", "--json"]);
    if let Some(locks) = locks {
        command.env("PIPELINE_LOCKS", locks);
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn outputs(space: &Space) -> BTreeMap<String, Value> {
    let records = space.records().into_iter();
    // Scripts name the folder, so keys differ from project to project; bytes do not.
    records
        .map(|(stage, record)| (stage, record["outputs"].clone()))
        .collect()
}

/// How often each stage was brought to its end by some run, as their logs say.
fn executions(space: &Space) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let runs = space.path("cache/runs-v1");
    for name in names_in(&runs) {
        if !name.ends_with(".jsonl") {
            continue;
        }
        let text = fs_err::read_to_string(runs.join(name)).expect("a log");
        // The last line of a killed run may be cut off.
        for event in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            if event["event"] == "stage_finished" && event["end"] == "executed" {
                let stage = event["stage"].as_str().expect("a name").to_owned();
                *found.entry(stage).or_insert(0) += 1;
            }
        }
    }
    found
}

fn share_while_killed(locks: Option<&str>) {
    let alone = project();
    alone.run(&["-j", "4"]).exits(0);
    let space = project();
    let mut random = Random(7);
    let mut runners: Vec<Child> = (0..RUNNERS).map(|_| start(&space, locks)).collect();
    let mut kills = 0;
    // One dies for every six stages that begin, and another takes its place, as a scheduler would have it.
    for round in 1..=8 {
        wait_until("stages begin", || space.lines("began").len() >= 6 * round);
        let victim = usize::try_from(random.below(RUNNERS as u64)).expect("small");
        let mut killed = std::mem::replace(&mut runners[victim], start(&space, locks));
        if killed.try_wait().expect("asks").is_none() {
            kills += 1;
            signal(i32::try_from(killed.id()).expect("a number"), Signal::KILL);
        }
        killed.wait().expect("ends");
    }
    assert!(kills >= 5, "{kills} were alive to be killed");
    let mut counts = Vec::new();
    for runner in runners {
        let ran = Ran::of(&runner.wait_with_output().expect("ends")).exits(0);
        counts.push(ran.counts());
    }
    assert!(
        counts
            .iter()
            .all(|count| count[1] + count[2] == STAGES as u64),
        "{counts:?}"
    );
    assert_eq!(outputs(&space), outputs(&alone));
    let executions = executions(&space);
    // Killed between a stage's record and its word of it, a run leaves no line.
    assert!(executions.len() + kills >= STAGES, "{executions:?}");
    assert!(
        executions.values().all(|count| *count == 1),
        "{executions:?}"
    );
    let (began, ended) = (space.lines("began").len(), space.lines("ended").len());
    assert!(began <= STAGES + kills, "{began} beginnings, {kills} kills");
    assert!(ended <= STAGES + kills, "{ended} ends, {kills} kills");
    // Nobody did it all.
    assert!(
        counts.iter().filter(|count| count[1] > 0).count() >= RUNNERS / 2,
        "{counts:?}"
    );
    assert_eq!(of_stages(space.root()), [0; 0]);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [60, 0, 60, 0, 0]);
}

#[test]
fn eight_runs_of_which_one_after_another_is_killed_do_each_stage_once() {
    share_while_killed(None);
}

#[test]
fn so_they_do_where_locks_are_refused() {
    share_while_killed(Some("none"));
}

/// A stage that a killed run left goes on from its checkpoint in another.
#[test]
fn what_a_killed_run_left_goes_on_elsewhere() {
    let space = Space::new();
    let (gate, seen) = (space.path("gate"), space.path("seen"));
    space.write("p.yaml", format!(
        "stages:\n  long:\n    kind: command\n    checkpoint: {{ dir: state }}\n    with:\n      script: |\n        step=$(cat $PIPELINE_CHECKPOINT/step 2>/dev/null || echo 0)\n        echo from $step >> {}\n        echo 3 > $PIPELINE_CHECKPOINT/step\n        while ! [ -e {} ]; do sleep 0.02; done\n        echo done > out\n    outputs: {{ out: out }}\n",
        seen.display(), gate.display()
    ));
    let mut first = start(&space, None);
    wait_until("it works", || space.lines("seen").len() == 1);
    let second = start(&space, None);
    signal(i32::try_from(first.id()).expect("a number"), Signal::KILL);
    first.wait().expect("ends");
    wait_until("the other takes it over", || space.lines("seen").len() == 2);
    space.write("gate", "");
    let ran = Ran::of(&second.wait_with_output().expect("ends")).exits(0);
    assert_eq!(ran.counts(), [1, 1, 0, 0, 0]);
    assert_eq!(space.lines("seen"), ["from 0", "from 3"]);
}

#[test]
fn it_cannot_be_told_to_do_over_what_another_did() {
    let space = project();
    for word in ["--force=s1", "--refresh"] {
        space
            .run(&["--cooperate", word])
            .exits(2)
            .says("cannot be used with");
    }
}
