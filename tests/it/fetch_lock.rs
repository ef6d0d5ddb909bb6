//! What an unpinned download turned out to be, and the lock file that keeps it: runs, refusals, refreshes, mirrors.

use serde_json::Value;

use crate::origin::Origin;
use crate::space::{Ran, Space};

/// A fetch, and a stage that counts each time it works.
fn project(origin: &Origin, path: &str) -> Space {
    Space::with(&format!(
        "stages:
  corpus:
    kind: fetch
    with: {{ url: '{}' }}
  upper:
    kind: command
    needs: {{ text: corpus }}
    with: {{ argv: [sh, -c, 'tr a-z A-Z < text > out'] }}
    outputs: {{ out: out }}
",
        origin.url(path)
    ))
}

fn locked(space: &Space) -> Value {
    serde_json::from_str(&space.read("p.lock")).expect("the lock is JSON")
}

fn digest(text: &str) -> String {
    format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex())
}

#[track_caller]
fn executed(ran: Ran) -> u64 {
    ran.exits(0).counts()[1]
}

#[track_caller]
fn out(space: &Space, place: &str) -> String {
    let to = format!("got-{place}");
    space
        .call(&["get", "p.yaml", "upper", "--to", &to])
        .exits(0);
    crate::space::files_below(&space.path(&to))
        .iter()
        .map(|file| fs_err::read_to_string(file).expect("readable"))
        .collect()
}

#[test]
fn the_first_run_locks_and_the_second_executes_nothing_whatever_the_origin_holds() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    assert_eq!(executed(space.run(&["--json"])), 2);
    let lock = locked(&space);
    assert_eq!(lock["version"], 1);
    let entry = &lock["stages"]["corpus"];
    assert_eq!(entry["url"], origin.url("/c.txt"));
    assert_eq!(entry["digest"], digest("one\n"));
    assert_eq!(entry["bytes"], 4);
    assert_eq!(origin.take_asked().len(), 1);
    assert_eq!(executed(space.run(&["--json"])), 0);
    origin.holds("/c.txt", "two\n");
    assert_eq!(executed(space.run(&["--json"])), 0);
    assert_eq!(executed(space.run(&["--json", "--locked", "--offline"])), 0);
    assert_eq!(origin.take_asked(), []);
    assert_eq!(out(&space, "a"), "ONE\n");
}

#[test]
fn a_refresh_names_both_digests_and_an_update_lets_downstream_run() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    space.run(&[]).exits(0);
    // Unchanged: fetched again, the same bytes, and nothing downstream.
    assert_eq!(executed(space.run(&["--json", "--refresh"])), 1);
    let before = space.read("p.lock");
    origin.holds("/c.txt", "three\n");
    space
        .run(&["--refresh"])
        .exits(1)
        .says("has changed since it was locked")
        .says(&digest("one\n"))
        .says(&digest("three\n"))
        .says("`pipeline lock FILE --update corpus` accepts the new file");
    assert_eq!(space.read("p.lock"), before);
    // The refusal spoilt nothing.
    assert_eq!(executed(space.run(&["--json"])), 0);
    space
        .call(&["lock", "p.yaml", "--update", "corpus"])
        .exits(0)
        .says("locked 1 download in p.lock");
    assert_eq!(
        locked(&space)["stages"]["corpus"]["digest"],
        digest("three\n")
    );
    assert_eq!(executed(space.run(&["--json"])), 1);
    assert_eq!(out(&space, "b"), "THREE\n");
    assert_eq!(executed(space.run(&["--json"])), 0);
}

#[test]
fn an_update_that_fails_leaves_the_lock_as_it_was() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    space.run(&[]).exits(0);
    let before = space.read("p.lock");
    origin.remove("/c.txt");
    let ran = space.call(&["lock", "p.yaml", "--update", "corpus"]);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(space.read("p.lock"), before);
    assert_eq!(executed(space.run(&["--json", "--locked"])), 0);
}

#[test]
fn lock_alone_fetches_what_is_not_locked_and_nothing_else() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    space
        .call(&["lock", "p.yaml"])
        .exits(0)
        .says("locked 1 download");
    assert_eq!(executed(space.run(&["--json"])), 1);
    origin.take_asked();
    space
        .call(&["lock", "p.yaml"])
        .exits(0)
        .says("nothing to add");
    assert_eq!(origin.take_asked(), []);
    space
        .call(&["lock", "p.yaml", "--update", "upper"])
        .exits(2)
        .says("`upper` is not an unpinned fetch");
}

#[test]
fn what_a_setting_leaves_out_stays_locked_and_is_named() {
    let origin = Origin::start();
    origin.holds("/a.txt", "a\n");
    origin.holds("/b.txt", "b\n");
    let space = Space::with(&format!(
        "params: {{ which: a }}
stages:
  first:
    kind: fetch
    when: {{ which: a }}
    with: {{ url: '{}' }}
  second:
    kind: fetch
    with: {{ url: '{}' }}
",
        origin.url("/a.txt"),
        origin.url("/b.txt")
    ));
    space.call(&["lock", "p.yaml"]).exits(0);
    let both = locked(&space);
    assert!(both["stages"]["first"].is_object());
    let other = ["--set", "which=b"];
    space
        .call(&[&["lock", "p.yaml", "--update", "second"][..], &other].concat())
        .exits(0);
    assert_eq!(locked(&space)["stages"]["first"], both["stages"]["first"]);
    space
        .call(&[&["lock", "p.yaml", "--update", "first"][..], &other].concat())
        .exits(2)
        .says("the stage `first` is left out by its `when`");
    // Only what is named is fetched.
    fs_err::remove_file(space.path("p.lock")).expect("removed");
    origin.take_asked();
    space
        .call(&["lock", "p.yaml", "--update", "second"])
        .exits(0);
    assert_eq!(origin.take_asked().len(), 1);
}

#[test]
fn locked_refuses_an_unlocked_download_before_any_work() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    space
        .run(&["--locked"])
        .exits(2)
        .says("`corpus` is not in `p.lock`")
        .says("`pipeline lock FILE` adds it");
    assert_eq!(origin.take_asked(), []);
    assert!(!space.exists("p.lock"));
    assert!(space.records().is_empty());
}

#[test]
fn a_locked_download_into_an_empty_cache_must_be_the_same_bytes() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    space.run(&[]).exits(0);
    assert_eq!(executed(space.run(&["--json", "--cache", "other"])), 2);
    origin.holds("/c.txt", "two\n");
    space
        .run(&["--cache", "third", "--locked"])
        .exits(1)
        .says("has changed since it was locked");
    assert!(
        crate::space::files_below(&space.path("third/records-v1"))
            .iter()
            .all(|path| path.extension().is_none_or(|ending| ending != "json"))
    );
}

#[test]
fn a_stand_in_is_never_locked_and_never_a_hit_without_its_mirror() {
    let origin = Origin::start();
    origin.holds("/c.txt", "the true one\n");
    let space = project(&origin, "/c.txt");
    space.write("copies/c.txt", "a stand-in\n");
    let mirror = format!("{}=copies/", origin.url("/"));
    let with = ["--json", "--mirror", &mirror];
    assert_eq!(executed(space.run(&with)), 2);
    assert!(!space.exists("p.lock"));
    assert_eq!(origin.take_asked(), []);
    let stand_in = &space.records()["corpus"]["notes"]["stand_in"];
    assert!(stand_in.to_string().contains("copies/c.txt"), "{stand_in}");
    assert_eq!(executed(space.run(&with)), 0);
    // Without the mirror it is another download, and that one is locked.
    assert_eq!(executed(space.run(&["--json"])), 2);
    assert_eq!(origin.take_asked().len(), 1);
    let lock = space.read("p.lock");
    assert_eq!(
        locked(&space)["stages"]["corpus"]["digest"],
        digest("the true one\n")
    );
    assert_eq!(out(&space, "c"), "THE TRUE ONE\n");
    // The lock speaks of the true origin only: the stand-in still counts with its mirror, and changes no lock.
    assert_eq!(executed(space.run(&with)), 0);
    assert_eq!(space.read("p.lock"), lock);
}

#[test]
fn a_collection_between_the_first_run_and_the_second_keeps_what_was_locked() {
    let origin = Origin::start();
    origin.holds("/c.txt", "one\n");
    let space = project(&origin, "/c.txt");
    space.run(&[]).exits(0);
    space.call(&["cache", "gc", "--keep-runs", "1"]).exits(0);
    origin.remove("/c.txt");
    assert_eq!(executed(space.run(&["--json", "--locked"])), 0);
}

#[test]
fn a_file_put_there_by_hand_is_looked_at_each_time() {
    let space = Space::with(
        "stages:
  corpus:
    kind: fetch
    with: { manual: register at https://example.org, put: data/c.txt }
  upper:
    kind: command
    needs: { text: corpus }
    with: { argv: [sh, -c, 'tr a-z A-Z < text > out'] }
    outputs: { out: out }
    publish: got
",
    );
    space
        .run(&[])
        .exits(3)
        .says("`data/c.txt` must be put there by hand")
        .says("register at https://example.org");
    let door = "`corpus` wants `data/c.txt`: register at https://example.org";
    let plan = |more: &[&str]| space.call(&[&["plan", "p.yaml"], more].concat()).exits(0);
    plan(&[]).says(door);
    plan(&["--offline"]).says(door);
    space.write("data/c.txt", "one\n");
    let ran = plan(&[]);
    assert!(!ran.stderr.contains("wants"), "{}", ran.stderr);
    assert_eq!(executed(space.run(&["--json"])), 2);
    assert_eq!(executed(space.run(&["--json"])), 0);
    space.write("data/c.txt", "two\n");
    space
        .run(&[])
        .exits(1)
        .says("`data/c.txt` has changed since it was locked");
    space
        .call(&["lock", "p.yaml", "--update", "corpus"])
        .exits(0);
    space.run(&[]).exits(0);
    assert_eq!(space.read("got/out"), "TWO\n");
    assert_eq!(executed(space.run(&["--json"])), 0);
}
