//! Signals to the runner, closed streams, checkpoints. Knows nothing of what stages make.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::processes::{of_stages, signal};
use crate::space::{Ran, Space, wait_until};

/// A stage that counts to 5, a step each time the file `ROOT/step` allows it, and saves each step.
fn counting() -> Space {
    let space = Space::new();
    let root = space.root().display().to_string();
    space.write(
        "p.yaml",
        format!(
            "stages:
  counts:
    kind: command
    checkpoint: {{ dir: state, grace: 60s }}
    with:
      script: |
        trap 'echo asked >> {root}/log; cp step \"$PIPELINE_CHECKPOINT/step\"; exit 9' TERM
        echo resume=$PIPELINE_RESUME >> {root}/log
        cp \"$PIPELINE_CHECKPOINT/step\" step 2>/dev/null || echo 0 > step
        while [ \"$(cat step)\" -lt 5 ]; do
          if [ \"$(cat step)\" -ge 2 ] && [ ! -e {root}/go ]; then echo at $(cat step) >> {root}/log; while [ ! -e {root}/go ]; do sleep 0.01; done; fi
          echo $(($(cat step) + 1)) > step
        done
        cp step out
    outputs: {{ out: out }}
  after:
    kind: command
    needs: {{ in: counts }}
    with: {{ argv: [cp, in, out] }}
    outputs: {{ out: out }}
"
        ),
    );
    space
}

fn start(space: &Space) -> Child {
    start_command(space.command(&["run", "p.yaml"]))
}

fn start_command(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a process number")
}

#[test]
fn each_polite_signal_lets_stages_save_and_the_next_run_resumes() {
    for (name, code) in [
        (Signal::INT, 130),
        (Signal::TERM, 143),
        (Signal::HUP, 143),
        (Signal::USR1, 143),
    ] {
        let space = counting();
        let child = start(&space);
        wait_until("step 2", || space.lines("log").contains(&"at 2".to_owned()));
        signal(pid(&child), name);
        let ran = Ran::of(&child.wait_with_output().expect("ends")).exits(code);
        ran.says("the checkpoint of `counts` is kept")
            .says("interrupt once more");
        assert!(space.records().is_empty());
        assert!(space.lines("log").contains(&"asked".to_owned()));
        space.write("go", "");
        let ran = space.run(&["--json"]).exits(0);
        assert_eq!(ran.counts(), [2, 2, 0, 0, 0]);
        assert_eq!(
            space.lines("log").last().map(String::as_str),
            Some("resume=1")
        );
        let record = &space.records()["counts"];
        let ends: Vec<&str> = record["attempts"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|attempt| attempt["end"].as_str().expect("an end"))
            .collect();
        assert_eq!(ends, ["stopped", "done"]);
        assert_eq!(space.work(), [""; 0]);
    }
}

#[test]
fn a_second_interrupt_kills_what_ignores_the_first() {
    let space = Space::new();
    let root = space.root().display().to_string();
    space.write(
        "p.yaml",
        format!("stages:\n  it:\n    kind: command\n    checkpoint: {{ dir: state, grace: 600s }}\n    with:\n      script: |\n        trap 'echo asked >> {root}/log' TERM INT\n        echo started >> {root}/log\n        while true; do sleep 0.01; done\n    outputs: {{ out: out }}\n"),
    );
    let child = start(&space);
    wait_until("it runs", || !space.lines("log").is_empty());
    signal(pid(&child), Signal::INT);
    wait_until("it was asked", || space.lines("log").len() > 1);
    signal(pid(&child), Signal::INT);
    Ran::of(&child.wait_with_output().expect("ends")).exits(130);
    assert_eq!(of_stages(space.root()), [0; 0]);
}

#[test]
fn a_checkpoint_survives_kill_9_of_everything() {
    let space = counting();
    let mut child = start(&space);
    wait_until("step 2", || space.lines("log").contains(&"at 2".to_owned()));
    // The stage saves when asked only; put a checkpoint where it looks, as one killed later would have.
    let state = crate::space::files_below(&space.path("cache/work"));
    let step = state
        .iter()
        .find(|path| path.ends_with("1/step"))
        .expect("it counts");
    let saved = step.with_file_name("state").join("step");
    fs_err::write(saved, "4\n").expect("saved");
    let targets = [
        crate::processes::supervisors(pid(&child)),
        vec![pid(&child)],
    ]
    .concat();
    for target in targets {
        signal(target, Signal::KILL);
    }
    child.wait().expect("ends");
    space.write("go", "");
    space.run(&[]).exits(0);
    assert!(space.lines("log").contains(&"resume=1".to_owned()));
    let record = &space.records()["counts"];
    assert_eq!(record["attempts"][0]["end"], "lost");
    assert_eq!(record["attempts"][1]["resumed"], true);
}

#[test]
fn what_a_killed_run_left_dies_with_the_next_run_of_any_key() {
    let space = Space::new();
    let root = space.root().display().to_string();
    let text = |word: &str| {
        format!(
            "stages:\n  it:\n    kind: command\n    with: {{ script: 'if [ {word} = one ]; then echo x > {root}/started; sleep 600; fi; echo {word} > out' }}\n    outputs: {{ out: out }}\n"
        )
    };
    space.write("p.yaml", text("one"));
    let mut child = start(&space);
    wait_until("it runs", || space.exists("started"));
    for target in [
        crate::processes::supervisors(pid(&child)),
        vec![pid(&child)],
    ]
    .concat()
    {
        signal(target, Signal::KILL);
    }
    child.wait().expect("ends");
    assert!(!of_stages(space.root()).is_empty());
    space.write("p.yaml", text("other"));
    space
        .run(&[])
        .exits(0)
        .says("an earlier run was killed and left");
    assert_eq!(of_stages(space.root()), [0; 0]);
    space.run(&[]).exits(0).says_not("earlier run");
}

#[test]
fn a_hang_up_that_is_ignored_stays_ignored() {
    let space = counting();
    let mut command = Command::new("nohup");
    command
        .arg(env!("CARGO_BIN_EXE_pipeline"))
        .args(["run", "p.yaml"])
        .current_dir(space.root());
    let child = start_command(command);
    wait_until("step 2", || space.lines("log").contains(&"at 2".to_owned()));
    signal(pid(&child), Signal::HUP);
    // The hang-up is delivered before the stage can end: it waits for this file.
    space.write("go", "");
    let ran = Ran::of(&child.wait_with_output().expect("ends"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!space.lines("log").contains(&"asked".to_owned()));
}

#[test]
fn closed_streams_are_no_panic_and_no_failure() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    matrix: { n: [1, 2, 3, 4] }\n    with: { script: 'echo x > out', params: { n: '${matrix.n}' } }\n    outputs: { out: out }\n",
    );
    let program = env!("CARGO_BIN_EXE_pipeline");
    let script = format!("{{ '{program}' run p.yaml --json 2>&1; echo $? > code; }} | true");
    let shell = |script: &str| {
        Command::new("sh")
            .args(["-c", script])
            .current_dir(space.root())
            .output()
            .expect("sh")
    };
    shell(&script);
    assert_eq!(space.read("code").trim(), "0");
    let records = crate::space::files_below(&space.path("cache/records-v1"));
    let records = records.iter().filter(|path| path.extension().is_some());
    assert_eq!(records.count(), 4, "the run went on to its end");
    shell(&format!(
        "'{program}' run p.yaml --json --force it >&- 2>&-; echo $? > code"
    ));
    assert_eq!(space.read("code").trim(), "0");
    let ran = shell(&format!(
        "'{program}' run p.yaml --json --force it > /dev/full; echo $? > code"
    ));
    assert_eq!(
        space.read("code").trim(),
        "3",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [4, 0, 4, 0, 0]);
}

#[test]
fn an_interrupt_at_the_terminal_reaches_stages_through_the_run_alone() {
    // The whole foreground group gets the signal; the stage must see one request, from its supervisor.
    let space = counting();
    let mut command = space.command(&["run", "p.yaml"]);
    command.process_group(0);
    let child = start_command(command);
    wait_until("step 2", || space.lines("log").contains(&"at 2".to_owned()));
    let group = rustix::process::Pid::from_raw(pid(&child)).expect("not zero");
    rustix::process::kill_process_group(group, Signal::INT).expect("sent");
    Ran::of(&child.wait_with_output().expect("ends"))
        .exits(130)
        .says("the checkpoint of `counts` is kept");
    assert_eq!(
        space
            .lines("log")
            .iter()
            .filter(|line| *line == "asked")
            .count(),
        1
    );
}

#[test]
fn an_interrupt_also_ends_what_comes_before_the_stage() {
    let space = Space::new();
    let root = space.root().display().to_string();
    space.write("p.yaml", format!("stages:\n  it:\n    kind: command\n    environment: {{ record: [[sh, -c, 'touch {root}/asked; sleep 600; true']] }}\n    with: {{ script: 'echo x > out' }}\n    outputs: {{ out: out }}\n"));
    let child = start(&space);
    wait_until("its surroundings are asked for", || space.exists("asked"));
    signal(pid(&child), Signal::INT);
    Ran::of(&child.wait_with_output().expect("ends"))
        .exits(130)
        .says("`it` was stopped");
    assert_eq!(of_stages(space.root()), [0; 0]);
    assert!(space.records().is_empty());
}

#[test]
fn a_run_that_waits_for_another_ends_when_asked() {
    let space = counting();
    let holder = start(&space);
    wait_until("step 2", || space.lines("log").contains(&"at 2".to_owned()));
    let waiter = start_command(space.command(&["run", "p.yaml", "--events", "events.jsonl"]));
    wait_until("it waits", || {
        fs_err::read_to_string(space.path("events.jsonl"))
            .is_ok_and(|text| text.contains("stage_waiting"))
    });
    signal(pid(&waiter), Signal::TERM);
    Ran::of(&waiter.wait_with_output().expect("ends")).exits(143);
    space.write("go", "");
    Ran::of(&holder.wait_with_output().expect("ends")).exits(0);
    assert!(!space.lines("log").contains(&"asked".to_owned()));
}
