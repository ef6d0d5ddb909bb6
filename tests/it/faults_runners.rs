//! Several runners on one cache at once: no double work where there are locks, right results everywhere.

use std::fmt::Write as _;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::space::{Ran, Space};

/// 40 stages in four layers of ten; each execution leaves a line in `ran`, outside its folder.
fn project() -> Space {
    let space = Space::new();
    let ran = space.path("ran");
    let ran = ran.display();
    let mut text = String::from("stages:\n");
    for i in 0..40 {
        let needs = if i < 10 {
            String::new()
        } else {
            format!(
                "    needs: {{ a: s{}, b: s{} }}\n",
                i - 10,
                (i - 10) / 10 * 10 + (i + 3) % 10
            )
        };
        let take = if i < 10 { "" } else { "cat a b >> out; " };
        let _ = write!(
            text,
            "  s{i}:\n    kind: command\n{needs}    with: {{ script: 'echo s{i} >> {ran}; sleep 0.02; {take}echo {i} >> out' }}\n    outputs: {{ out: out }}\n"
        );
    }
    space.write("p.yaml", text);
    space
}

fn start(space: &Space, more: &[&str], locks: Option<&str>) -> Child {
    let mut command = space.command(&[&["run", "p.yaml", "-j", "4", "--json"], more].concat());
    if let Some(locks) = locks {
        command.env("PIPELINE_LOCKS", locks);
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn together(space: &Space, runners: usize, locks: Option<&str>) -> Vec<[u64; 5]> {
    let children: Vec<Child> = (0..runners).map(|_| start(space, &[], locks)).collect();
    children
        .into_iter()
        .map(|child| {
            Ran::of(&child.wait_with_output().expect("ends"))
                .exits(0)
                .counts()
        })
        .collect()
}

fn outputs(space: &Space) -> Vec<(String, Value)> {
    let records = space.records().into_iter();
    records
        .map(|(stage, record)| (stage, record["outputs"].clone()))
        .collect()
}

#[test]
fn two_and_eight_runners_share_the_work_and_do_each_stage_once() {
    let alone = project();
    alone.run(&["-j", "4"]).exits(0);
    for runners in [2, 8] {
        let space = project();
        let counts = together(&space, runners, None);
        let mut ran = space.lines("ran");
        assert_eq!(ran.len(), 40, "{runners} runners");
        ran.sort();
        ran.dedup();
        assert_eq!(ran.len(), 40);
        assert_eq!(
            counts.iter().map(|count| count[1]).sum::<u64>(),
            40,
            "{counts:?}"
        );
        assert!(
            counts.iter().all(|count| count[1] + count[2] == 40),
            "{counts:?}"
        );
        // The scripts name the folder, so keys differ from those of the other project; bytes do not.
        assert_eq!(outputs(&space), outputs(&alone));
        assert_eq!(space.work(), [""; 0]);
    }
}

#[test]
fn without_locks_results_are_right_and_hardly_anything_is_done_twice() {
    let alone = project();
    alone.run(&["-j", "4"]).exits(0);
    let space = project();
    let counts = together(&space, 8, Some("none"));
    assert!(
        counts.iter().all(|count| count[1] + count[2] == 40),
        "{counts:?}"
    );
    assert_eq!(outputs(&space), outputs(&alone));
    let executions = space.lines("ran").len();
    use std::io::Write as _;
    let _ = writeln!(
        std::io::stderr(),
        "8 runners without locks: {executions} executions of 40 stages"
    );
    assert!(executions >= 40);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [40, 0, 40, 0, 0]);
}

#[test]
fn claims_are_said_once_and_a_dead_holder_is_taken_over() {
    let space = project();
    let mut first = space
        .command(&["run", "p.yaml", "-j", "2"])
        .env("PIPELINE_LOCKS", "none")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    crate::space::wait_until("a stage runs", || !space.lines("ran").is_empty());
    let runner = i32::try_from(first.id()).expect("a process number");
    for supervisor in crate::processes::supervisors(runner) {
        crate::processes::signal(supervisor, rustix::process::Signal::KILL);
    }
    crate::processes::signal(runner, rustix::process::Signal::KILL);
    first.wait().expect("ends");
    let ran = space
        .command(&["run", "p.yaml", "-j", "2", "--json"])
        .env("PIPELINE_LOCKS", "none")
        .output()
        .expect("runs");
    let ran = Ran::of(&ran).exits(0).says("keeps no locks");
    assert_eq!(
        ran.stderr.matches("keeps no locks").count(),
        1,
        "{}",
        ran.stderr
    );
    assert_eq!(crate::processes::of_stages(space.root()), [0; 0]);
}

#[test]
fn two_pipelines_share_one_cache_and_each_others_results() {
    let space = Space::new();
    let stage = |name: &str| {
        format!(
            "stages:\n  {name}:\n    kind: command\n    with: {{ script: 'echo x >> {}; echo same > out' }}\n    outputs: {{ out: out }}\n",
            space.path("ran").display()
        )
    };
    space.write("a.yaml", stage("one"));
    space.write("b.yaml", stage("other"));
    let a = space.call(&["run", "a.yaml", "--json"]).exits(0);
    assert_eq!(a.counts(), [1, 1, 0, 0, 0]);
    let b = space.call(&["run", "b.yaml", "--json"]).exits(0);
    assert_eq!(b.counts(), [1, 0, 1, 0, 0], "names do not enter keys");
    assert_eq!(space.lines("ran").len(), 1);
}
