//! A Python training as a stage: `pipelines/python.yaml`. Skips, aloud, where there is no `python3`.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{of_stages, signal};
use crate::shipped::Shipped;
use crate::space::{Space, files_below, skip, wait_until};

const FILE: &str = "pipelines/python.yaml";
/// Long enough to be killed in the middle.
const LONG: [&str; 8] = [
    "run",
    FILE,
    "fit",
    "--json",
    "--set",
    "epochs=60",
    "--set",
    "seeds=[1]",
];

fn has_python(test: &str) -> bool {
    let python = Command::new("python3").arg("--version").output();
    let is_there = python.is_ok_and(|output| output.status.success());
    if !is_there {
        skip(&format!("{test}: no `python3`"));
    }
    is_there
}

fn outputs(space: &Space) -> [String; 2] {
    ["model", "history"].map(|output| {
        let name = format!("fit[1].{output}");
        let path = [
            "path",
            FILE,
            &name,
            "--set",
            "epochs=60",
            "--set",
            "seeds=[1]",
        ];
        let path = space.call(&path).exits(0).stdout;
        fs_err::read_to_string(path.trim()).expect("an object")
    })
}

/// The last epoch that a checkpoint below `cache/work` holds.
fn saved_epoch(space: &Space) -> u64 {
    let states = files_below(&space.path("cache/work")).into_iter();
    states
        .filter(|path| path.ends_with("state.json"))
        .filter_map(|path| serde_json::from_slice::<Value>(&fs_err::read(path).ok()?).ok())
        .filter_map(|state| state["epoch"].as_u64())
        .max()
        .unwrap_or(0)
}

#[test]
fn it_is_cached_and_its_numbers_are_rows() {
    if !has_python("it_is_cached_and_its_numbers_are_rows") {
        return;
    }
    let shipped = Shipped::new();
    let space = &shipped.space;
    let run = || space.call(&["run", FILE, "--json", "--strict"]).exits(0);
    let first = run().says_not("taint").says_not("changed while");
    assert_eq!(first.counts(), [8, 8, 0, 0, 0]);
    assert_eq!(run().counts(), [8, 0, 8, 0, 0]);
    let report = shipped.report("python", "report.md");
    assert!(report.contains("| Test | 99.5 % ± 0.5"), "{report}");
    let pycache = |path: &std::path::PathBuf| path.to_string_lossy().contains("__pycache__");
    assert!(!files_below(&space.path("examples")).iter().any(pycache));

    // Python's own leavings in the folder change nothing, a line of the package does.
    space.write(
        "examples/python/src/tiny/__pycache__/model.cpython-311.pyc",
        "old",
    );
    assert_eq!(run().counts(), [8, 0, 8, 0, 0]);
    shipped.edit(
        "examples/python/src/tiny/__init__.py",
        "imported by",
        "used by",
    );
    assert_eq!(run().counts(), [8, 6, 2, 0, 0]);
}

#[test]
fn killed_in_mid_training_it_goes_on_to_the_same_bytes() {
    if !has_python("killed_in_mid_training_it_goes_on_to_the_same_bytes") {
        return;
    }
    let undisturbed = Shipped::new();
    undisturbed.space.call(&LONG).exits(0);
    let expected = outputs(&undisturbed.space);

    let shipped = Shipped::new();
    let space = &shipped.space;
    let start = || {
        let mut command = space.command(&LONG);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    };
    // First the runner, with which its stages die; then, a few epochs on, the stage alone.
    let mut runner = start();
    wait_until("the first epochs", || saved_epoch(space) >= 3);
    runner.kill().expect("it lives");
    runner.wait().expect("it is gone");
    wait_until("the stage's end", || of_stages(space.root()).is_empty());
    let saved = saved_epoch(space);
    assert!((3..60).contains(&saved), "killed after {saved}");

    let mut runner = start();
    wait_until("some more epochs", || saved_epoch(space) >= saved + 3);
    for pid in of_stages(space.root()) {
        signal(pid, Signal::KILL);
    }
    let status = runner.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "the stage failed");
    let again = saved_epoch(space);
    assert!((saved + 3..60).contains(&again), "killed after {again}");

    space.call(&LONG).exits(0);
    assert_eq!(outputs(space), expected);
    let log = [
        "log",
        FILE,
        "fit[1]",
        "--set",
        "epochs=60",
        "--set",
        "seeds=[1]",
    ];
    let log = space.call(&log).exits(0).stdout;
    assert!(log.contains("going on after epoch "), "{log}");
    assert!(
        !log.contains("epoch 1: "),
        "nothing is trained twice:\n{log}"
    );
}
