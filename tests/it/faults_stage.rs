//! Stages that misbehave: inputs they write, daemons they leave, floods they print, ends they come to.

use std::process::Stdio;

use crate::processes::of_stages;
use crate::space::{Ran, Space, wait_until};

fn one(script: &str, more: &str) -> Space {
    let script = script.replace('\n', "\n        ");
    Space::with(&format!(
        "stages:\n  it:\n    kind: command\n    with:\n      script: |\n        {script}\n{more}    outputs: {{ out: out }}\n"
    ))
}

#[test]
fn a_copied_input_is_the_stages_own_to_delete_and_edit() {
    for script in [
        "rm in.txt; echo done > out",
        "echo more >> in.txt; cp in.txt out",
    ] {
        let space = one(script, "    needs: { in: {file: ./in.txt, as: in.txt} }\n");
        space.write("in.txt", "given\n");
        space.run(&[]).exits(0);
        assert_eq!(space.read("in.txt"), "given\n");
        assert_eq!(space.run(&["--json"]).exits(0).counts(), [1, 0, 1, 0, 0]);
    }
}

/// A file from the size on where inputs are linked, and cheap to make: a hole.
fn big_input(space: &Space) {
    let file = fs_err::File::create(space.path("big")).expect("made");
    file.set_len(64 << 20).expect("grown");
}

#[test]
fn a_linked_input_may_be_unlinked_but_writing_through_it_taints() {
    let space = one("rm big; echo gone > out", "    needs: { big: ./big }\n");
    big_input(&space);
    space.run(&[]).exits(0);
    assert!(space.exists("big"));

    let space = one(
        "echo more >> big; echo done > out",
        "    needs: { big: ./big }\n",
    );
    big_input(&space);
    space
        .run(&[])
        .exits(1)
        .says("inputs of `it` changed while it ran: its result is not recorded")
        .says("folder kept:");
    assert!(space.records().is_empty());
}

#[test]
fn an_object_written_through_its_link_is_quarantined_and_remade() {
    let space = Space::with(
        "stages:
  makes:
    kind: command
    with: { script: 'head -c 2000000 /dev/zero > out' }
    outputs: { out: out }
  harms:
    kind: command
    needs: { data: makes }
    with: { script: 'if [ -e ../../../../harm ]; then chmod u+w \"$(readlink data)\"; echo x >> data; fi; wc -c < data > out' }
    outputs: { out: out }
",
    );
    space.write("harm", "");
    let ran = space.run(&[]).exits(1);
    ran.says("`harms` wrote into object")
        .says("changed while it ran");
    assert_eq!(space.records().keys().collect::<Vec<_>>(), ["makes"]);
    fs_err::remove_file(space.path("harm")).expect("removed");
    let ran = space.run(&["--json"]).exits(0);
    assert_eq!(ran.counts(), [2, 2, 0, 0, 0], "{}", ran.stderr);
    let out = space
        .call(&["get", "p.yaml", "harms", "--to", "got"])
        .exits(0);
    drop(out);
    assert_eq!(space.read("got/out").trim(), "2000000");
}

#[test]
fn an_input_edited_by_its_owner_meanwhile_taints_the_result() {
    let space = one(
        "touch ../../../../started\nwhile [ ! -e ../../../../go ]; do sleep 0.01; done\ncp in.txt out",
        "    needs: { in: {file: ./in.txt, as: in.txt} }\n",
    );
    space.write("in.txt", "before\n");
    let child = space
        .command(&["run", "p.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    wait_until("the stage runs", || space.exists("started"));
    space.write("in.txt", "after, and longer\n");
    space.write("go", "");
    Ran::of(&child.wait_with_output().expect("ends"))
        .exits(1)
        .says("inputs of `it` changed while it ran")
        .says("in: ")
        .says("run again");
    assert!(space.records().is_empty());
    let ran = space.run(&["--json"]).exits(0);
    assert_eq!(ran.counts(), [1, 1, 0, 0, 0]);
    space.call(&["get", "p.yaml", "it", "--to", "got"]).exits(0);
    assert_eq!(space.read("got/out"), "after, and longer\n");
}

#[test]
fn writing_outside_is_allowed_without_a_sandbox() {
    let space = one("echo x > ../../../../outside; echo y > out", "");
    space.run(&[]).exits(0);
    assert!(space.exists("outside"));
}

#[test]
fn a_daemon_that_holds_the_output_open_is_killed_and_said() {
    let space = one("setsid sh -c 'sleep 600; echo late' &\necho y > out", "");
    space
        .run(&[])
        .exits(0)
        .says("of its processes running; they were killed");
    assert_eq!(of_stages(space.root()), [0; 0]);
    let space = one("sleep 600 &\necho y > out", "");
    space
        .run(&[])
        .exits(0)
        .says("processes running; they were killed");
    assert_eq!(of_stages(space.root()), [0; 0]);
}

#[test]
fn background_processes_that_ended_by_themselves_are_no_strays() {
    let space = one(
        "(true &)\n(true &)\n(echo a > side &)\nwhile [ ! -s side ]; do sleep 0.01; done\nsleep 0.3\necho y > out",
        "",
    );
    space.run(&[]).exits(0).says_not("killed");
}

#[test]
fn a_gigabyte_of_output_is_bounded_on_disk_and_in_memory() {
    // The stage's parent is its supervisor: its peak memory is what the flood may have filled.
    let script = "head -c 1000000000 /dev/zero | tr '\\0' '\\n'\nfor i in $(seq 30); do echo line $i; done\ngrep VmHWM /proc/$PPID/status | tr -dc 0-9 > ../../../../peak_kib\nexit 3";
    let space = one(script, "");
    let ran = space
        .run(&[])
        .exits(1)
        .says("failed with exit code 3")
        .says("last 20 lines of output:");
    assert!(
        ran.stderr.contains("line 11\n") && ran.stderr.contains("line 30\n"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("line 10\n"), "{}", ran.stderr);
    let log = space.call(&["log", "p.yaml", "it"]).exits(0).stdout;
    assert!(
        log.len() < 10 << 20 && log.ends_with("line 30\n"),
        "{}",
        log.len()
    );
    assert!(log.contains("bytes left out"));
    let peak_kib: u64 = space.read("peak_kib").parse().expect("a number");
    assert!(peak_kib < 60 << 10, "{peak_kib} KiB");
}

#[test]
fn a_signal_its_name_and_the_last_lines_are_told() {
    let space = one("echo last words; kill -9 $$", "");
    space
        .run(&[])
        .exits(1)
        .says("`it` was killed by SIGKILL")
        .says("last words")
        .says("out-of-memory")
        .says("folder kept:")
        .says("to repeat by hand: cd ");
    let space = one("kill -SEGV $$", "");
    space.run(&[]).exits(1).says("`it` was killed by SIGSEGV");
}

#[test]
fn the_command_to_repeat_by_hand_repeats() {
    let space = one(
        "cat in.txt; echo here; exit 7",
        "    needs: { in: {file: ./in.txt, as: in.txt} }\n",
    );
    space.write("in.txt", "given\n");
    let ran = space.run(&[]).exits(1);
    let flat: String = ran.stderr.replace("\n", " ");
    let at = flat.find("to repeat by hand: ").expect("said") + "to repeat by hand: ".len();
    let words: Vec<&str> = flat[at..].split_whitespace().take(7).collect();
    let again = std::process::Command::new("sh")
        .args(["-c", &words.join(" ")])
        .output()
        .expect("sh");
    assert_eq!(again.status.code(), Some(7), "{words:?}");
    assert_eq!(String::from_utf8_lossy(&again.stdout), "given\nhere\n");
}

#[test]
fn a_time_limit_stops_a_stage_that_ignores_being_asked() {
    let space = one(
        "trap '' TERM\nwhile true; do sleep 0.05; done",
        "    resources: { time: 1s }\n    checkpoint: { dir: state, grace: 1s }\n",
    );
    space
        .run(&[])
        .exits(1)
        .says("stopped after its time limit of 1 s")
        .says("resources.time");
    assert_eq!(of_stages(space.root()), [0; 0]);
}

#[test]
fn a_retry_gets_what_may_pass_and_says_so() {
    let space = one(
        "echo x >> ../../../../tries\n[ \"$(wc -l < ../../../../tries)\" -ge 2 ]\necho y > out",
        "    retries: 2\n",
    );
    let ran = space.run(&["--json"]).exits(0);
    assert_eq!(ran.counts(), [1, 1, 0, 0, 0]);
    assert_eq!(space.lines("tries").len(), 2);
    let attempts = space.records()["it"]["attempts"]
        .as_array()
        .expect("a list")
        .len();
    assert_eq!(attempts, 2);
}

#[test]
fn a_program_that_is_not_there_is_told_apart_from_one_that_fails() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    with: { argv: [no-such-program] }\n    outputs: { out: out }\n",
    );
    space
        .run(&[])
        .exits(1)
        .says("cannot start `no-such-program`")
        .says("PATH");
}

#[test]
fn each_start_that_is_said_is_followed_by_a_retry_or_an_end() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    needs: { in: ./in.txt }\n    with: { argv: [cp, in, out] }\n    outputs: { out: out }\n",
    );
    space.write("in.txt", "0");
    let child = space
        .command(&["run", "p.yaml", "--events", "events"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // An input that never stands still, by a rename so that it is always there.
        scope.spawn(|| {
            let mut count = 0_u64;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                count += 1;
                space.write("next", count.to_string());
                fs_err::rename(space.path("next"), space.path("in.txt")).expect("renamed");
            }
        });
        child.wait_with_output().expect("ends");
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let (mut open, mut starts) = (false, 0);
    for line in space.lines("events") {
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        match event["event"].as_str().expect("named") {
            "stage_started" => {
                assert!(!open, "{line}");
                (open, starts) = (true, starts + 1);
                assert_eq!(event["attempt"], starts, "{line}");
            }
            "stage_retried" | "stage_finished" => {
                assert!(open, "{line}");
                open = false;
            }
            _ => {}
        }
    }
    assert!(starts > 0 && !open, "{starts}");
}
