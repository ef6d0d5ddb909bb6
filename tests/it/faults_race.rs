//! Two runners on one cache, one of them killed at a random instant: the other finishes with the right bytes.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::processes::{of_stages, signal, supervisors};
use crate::space::{Ran, Random, Space, wait_at_most, wait_until};

fn project() -> Space {
    let mut text = String::from("stages:\n");
    for i in 0..24 {
        let needs = if i < 8 {
            String::new()
        } else {
            format!("    needs: {{ a: s{} }}\n", i - 8)
        };
        let take = if i < 8 { "" } else { "cat a >> out; " };
        text += &format!(
            "  s{i}:\n    kind: command\n{needs}    with: {{ script: 'sleep 300 & p=$!; {take}sleep 0.02; echo {i} >> out; kill $p' }}\n    outputs: {{ out: out }}\n"
        );
    }
    Space::with(&text)
}

fn start(space: &Space, locks: &str) -> Child {
    space
        .command(&["run", "p.yaml", "-j", "4", "--json"])
        .env("PIPELINE_LOCKS", locks)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

#[test]
fn a_runner_finishes_beside_one_that_is_killed() {
    let alone = project();
    alone.run(&["-j", "4"]).exits(0);
    let outputs = |space: &Space| -> Vec<_> {
        let records = space.records().into_iter();
        records
            .map(|(stage, record)| (stage, record["outputs"].clone()))
            .collect()
    };
    let expected = outputs(&alone);
    let mut random = Random(7);
    for round in 0..8 {
        let locks = if round % 2 == 0 { "kernel" } else { "none" };
        let space = project();
        let mut killed = start(&space, locks);
        let other = start(&space, locks);
        let instant = Duration::from_millis(random.below(300));
        wait_at_most(instant, || killed.try_wait().expect("waits").is_some());
        let runner = i32::try_from(killed.id()).expect("a process number");
        // Sometimes the keepers die with it, so that stages go on under a lock that is free.
        let mut targets = if round % 4 < 2 {
            supervisors(runner)
        } else {
            Vec::new()
        };
        targets.push(runner);
        if killed.try_wait().expect("waits").is_none() {
            for target in targets {
                signal(target, Signal::KILL);
            }
        }
        killed.wait().expect("ends");
        let ran = Ran::of(&other.wait_with_output().expect("ends")).exits(0);
        let [total, executed, cached, failed, skipped] = ran.counts();
        assert_eq!(
            (total, failed, skipped),
            (24, 0, 0),
            "round {round}: {}",
            ran.stderr
        );
        assert_eq!(executed + cached, 24);
        assert_eq!(outputs(&space), expected, "round {round}");
        assert_eq!(space.run(&["--json"]).exits(0).counts(), [24, 0, 24, 0, 0]);
        wait_until("no process of a stage is left", || {
            of_stages(space.root()).is_empty()
        });
        assert_eq!(space.work(), [""; 0], "round {round}");
    }
}

#[test]
fn an_idle_supervisor_that_is_killed_costs_no_stage() {
    // Two supervisors are started; then one idles while a stage waits for this test.
    let space = Space::new();
    let root = space.root().display().to_string();
    space.write("p.yaml", format!("stages:\n  a:\n    kind: command\n    with: {{ script: 'touch {root}/a; while [ ! -e {root}/go ]; do sleep 0.01; done; echo a > out' }}\n    outputs: {{ out: out }}\n  b:\n    kind: command\n    with: {{ script: 'while [ ! -e {root}/a ]; do sleep 0.01; done; echo b > out' }}\n    outputs: {{ out: out }}\n  c:\n    kind: command\n    needs: {{ a: a }}\n    with: {{ argv: [cp, a, out] }}\n    outputs: {{ out: out }}\n  d:\n    kind: command\n    needs: {{ a: a, b: b }}\n    with: {{ argv: [cp, b, out] }}\n    outputs: {{ out: out }}\n"));
    let runner = space
        .command(&["run", "p.yaml", "-j", "2", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("a stage is done", || {
        space.exists("cache/records-v1") && space.records().len() == 1
    });
    let pid = i32::try_from(runner.id()).expect("a process number");
    // The idle one is the one without children.
    let parents: Vec<i32> = crate::processes::all()
        .iter()
        .map(|process| process.parent)
        .collect();
    let idle: Vec<i32> = supervisors(pid)
        .into_iter()
        .filter(|pid| !parents.contains(pid))
        .collect();
    assert_eq!(idle.len(), 1);
    signal(idle[0], Signal::KILL);
    space.write("go", "");
    let ran = Ran::of(&runner.wait_with_output().expect("ends")).exits(0);
    assert_eq!(ran.counts(), [4, 4, 0, 0, 0]);
}
