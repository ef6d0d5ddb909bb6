//! `keep: never` and `keep: until_used`: what goes after a run, and what must not, because somebody still needs it.

use std::process::Stdio;

use crate::space::{Ran, Space, wait_until};

const BYTES: &[u8] = b"the same bytes\n";

fn is_there(space: &Space) -> bool {
    space.objects().values().any(|bytes| bytes == BYTES)
}

fn makes(keep: &str, remark: &str) -> String {
    format!(
        "  makes:
    kind: command
    with: {{ script: 'echo makes >> ../../../../ran; echo the same bytes > out; : {remark}' }}
    outputs: {{ out: {{ path: out, keep: {keep} }} }}
"
    )
}

fn reads(name: &str, script: &str) -> String {
    format!(
        "  {name}:
    kind: command
    needs: {{ in: makes }}
    with: {{ script: '{script}' }}
    outputs: {{ out: out }}
"
    )
}

#[test]
fn what_a_run_at_work_needs_does_not_go() {
    for keep in ["never", "until_used"] {
        let space = Space::new();
        // Made by two pipelines under two keys, and under one key.
        for remark in ["a", "b"] {
            space.write("a.yaml", format!("stages:\n{}", makes(keep, remark)));
            let gate = "touch ../../../../started; while [ ! -e ../../../../go ]; do sleep 0.01; done; cat in > out";
            let text = format!("stages:\n{}{}", makes("always", "b"), reads("last", gate));
            space.write("b.yaml", text);
            let child = space
                .command(&["run", "b.yaml", "--json", "--force", "last"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            wait_until("the reader runs", || space.exists("started"));
            space.call(&["run", "a.yaml"]).exits(0);
            assert!(is_there(&space), "{keep} {remark}");
            space.write("go", "");
            Ran::of(&child.wait_with_output().expect("ends")).exits(0);
            for gone in ["go", "started"] {
                fs_err::remove_file(space.path(gone)).expect("removed");
            }
            // Nobody is at work now, but the other pipeline keeps them.
            space.call(&["run", "a.yaml"]).exits(0);
            assert!(is_there(&space), "{keep} {remark}");
        }
    }
}

#[test]
fn what_goes_goes_although_earlier_results_of_the_stage_name_it() {
    let space = Space::new();
    for remark in ["a", "b"] {
        space.write(
            "p.yaml",
            format!(
                "stages:\n{}{}",
                makes("until_used", remark),
                reads("last", "cat in in > out")
            ),
        );
        space.run(&[]).exits(0);
        assert!(!is_there(&space), "{remark}");
    }
}

#[test]
fn what_was_left_because_of_another_run_goes_with_the_next() {
    let space = Space::new();
    space.write("p.yaml", format!("stages:\n{}", makes("never", "")));
    let gate = "stages:\n  waits:\n    kind: command\n    with: { script: 'touch ../../../../started; while [ ! -e ../../../../go ]; do sleep 0.01; done; echo > out' }\n    outputs: { out: out }\n";
    space.write("other.yaml", gate);
    let child = space
        .command(&["run", "other.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    wait_until("another run is at work", || space.exists("started"));
    space.run(&[]).exits(0);
    assert!(is_there(&space));
    space.write("go", "");
    child.wait_with_output().expect("ends");
    space.run(&[]).exits(0);
    assert!(!is_there(&space));
    assert_eq!(space.lines("ran").len(), 1);
}

#[test]
fn until_used_waits_for_every_reader() {
    let space = Space::with(&format!(
        "stages:\n{}{}{}",
        makes("until_used", ""),
        reads("one", "cat in in > out"),
        reads("two", "cat in in in > out")
    ));
    space.run(&["makes"]).exits(0);
    assert!(is_there(&space));
    space.run(&["one"]).exits(0);
    assert!(is_there(&space), "`two` has not read it");
    space.run(&[]).exits(0);
    assert!(!is_there(&space));
    assert_eq!(space.lines("ran").len(), 1, "nothing was made again");
}
