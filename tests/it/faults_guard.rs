//! What holds a run back and what lets it go on: protect, consent, targets, force, counts and exit codes.

use serde_json::Value;

use crate::space::Space;

fn guarded(word: &str, protect: bool) -> String {
    format!(
        "stages:
  costly:
    kind: command
    protect: {protect}
    with: {{ script: 'echo {word} > out; echo x >> ../../../../ran' }}
    outputs: {{ out: out }}
  after:
    kind: command
    needs: {{ in: costly }}
    with: {{ argv: [cp, in, out] }}
    outputs: {{ out: out }}
"
    )
}

#[test]
fn what_is_protected_is_not_remade_without_a_word() {
    let space = Space::with(&guarded("one", true));
    space.run(&[]).exits(0);
    space.write("p.yaml", guarded("two", true));
    let ran = space
        .run(&[])
        .exits(2)
        .says("`costly` would be remade, and it is protected");
    ran.says("1 stage depends on it")
        .says("--yes 'costly'")
        .says("--keep-old 'costly'")
        .says("echo two");
    assert_eq!(space.lines("ran").len(), 1);

    let ran = space.run(&["--keep-old", "costly", "--json"]).exits(0);
    assert_eq!(ran.counts(), [2, 0, 2, 0, 0]);
    ran.says("its result of");
    // Keeping it once is not for good.
    space.run(&[]).exits(2);
    let ran = space.run(&["--yes", "costly", "--json"]).exits(0);
    assert_eq!(ran.counts(), [2, 2, 0, 0, 0]);
    // Back to the first text: there is a record under that key.
    space.write("p.yaml", guarded("one", true));
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 0, 2, 0, 0]);
}

#[test]
fn accepting_the_old_result_is_for_good_and_visible() {
    let space = Space::with(&guarded("one", true));
    space.run(&[]).exits(0);
    space.write("p.yaml", guarded("two", true));
    space.run(&[]).exits(2);
    space
        .call(&["accept", "p.yaml", "costly", "--reason", "a comment moved"])
        .exits(0);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 0, 2, 0, 0]);
    assert_eq!(space.lines("ran").len(), 1);
    let accepted: Vec<Value> = crate::space::files_below(&space.path("cache/records-v1"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| serde_json::from_slice(&fs_err::read(path).expect("read")).expect("JSON"))
        .filter(|record: &Value| !record["accepted"].is_null())
        .collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["accepted"]["reason"], "a comment moved");
}

#[test]
fn a_result_that_took_long_asks_before_it_is_remade() {
    let space = Space::with(&guarded("one", false));
    space.run(&[]).exits(0);
    space.write("p.yaml", guarded("two", false));
    space
        .run(&["--confirm-over", "0s"])
        .exits(2)
        .says("it was costly");
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 2, 0, 0, 0]);
}

/// Removes the object of `costly`'s output.
fn lose(space: &Space) {
    let digest = space.records()["costly"]["outputs"]["out"]["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let object = format!("cache/objects-v1/{}/{}", &digest[..2], &digest[2..]);
    fs_err::remove_file(space.path(&object)).expect("removed");
}

#[test]
fn lost_bytes_of_what_is_precious_are_not_remade_without_a_word() {
    for (protect, confirm) in [(true, "1h"), (false, "0s")] {
        let space = Space::with(&guarded("one", protect));
        space.run(&[]).exits(0);
        lose(&space);
        let ran = space
            .run(&["--confirm-over", confirm, "--json"])
            .exits(0)
            .says_not("warning");
        assert_eq!(ran.counts(), [2, 0, 2, 0, 0], "a hit needs no bytes");
        let text = guarded("one", protect).replace("cp, in, out", "cp, -v, in, out");
        space.write("p.yaml", text);
        space
            .run(&["--confirm-over", confirm, "--yes", "after"])
            .exits(2)
            .says("`costly` would be remade")
            .says("its bytes are gone, and `after` needs them")
            .says("--yes 'costly'")
            .says_not("--keep-old");
        assert_eq!(space.lines("ran").len(), 1);
        let yes = ["--yes", "after", "--yes", "costly", "--json"];
        let ran = space.run(&[&yes[..], &["--confirm-over", confirm]].concat());
        assert_eq!(ran.exits(0).counts(), [2, 2, 0, 0, 0]);
    }
}

#[test]
fn bytes_found_lost_in_the_middle_of_a_run_are_asked_for_as_well() {
    let more = "  first:
    kind: command
    with: { script: 'rm -rf ../../../objects-v1; echo 1 > out' }
    outputs: { out: out }
  late:
    kind: command
    needs: { in: costly, first: first }
    with: { argv: [cp, in, out] }
    outputs: { out: out }
";
    let space = Space::with(&guarded("one", true));
    space.run(&[]).exits(0);
    space.write("p.yaml", guarded("one", true) + more);
    space
        .run(&[])
        .exits(2)
        .says("its bytes are gone, and `late` needs them");
    assert_eq!(space.lines("ran").len(), 1);
    space.run(&["--yes", "costly"]).exits(0);
    assert_eq!(space.lines("ran").len(), 2);
}

#[test]
fn a_precious_result_is_not_remade_for_its_published_copy() {
    let text = guarded("one", true).replace("    protect", "    publish: got\n    protect");
    let space = Space::with(&text);
    space.run(&[]).exits(0);
    lose(&space);
    fs_err::remove_file(space.path("got/out")).expect("removed");
    let ran = space
        .run(&["--json"])
        .exits(0)
        .says("its bytes are gone, and they are to be published");
    assert_eq!(ran.counts(), [2, 0, 2, 0, 0]);
    assert_eq!(space.lines("ran").len(), 1);
    let ran = space.run(&["--json", "--yes", "costly"]).exits(0);
    assert_eq!(ran.counts(), [2, 1, 1, 0, 0]);
    assert_eq!(space.read("got/out"), "one\n");
}

fn forked() -> Space {
    let stage = |name: &str, needs: &str, script: &str| {
        format!(
            "  {name}:\n    kind: command\n{needs}    with: {{ script: '{script}; echo {name} >> ../../../../ran; echo {name} > out' }}\n    outputs: {{ out: out }}\n"
        )
    };
    let mut text = String::from("stages:\n");
    text += &stage("bad", "", "echo oh no; exit 5");
    text += &stage("below", "    needs: { in: bad }\n", "true");
    text += &stage("lower", "    needs: { in: below }\n", "true");
    text += &stage("good", "", "true");
    text += &stage("fine", "    needs: { in: good }\n", "true");
    Space::with(&text)
}

#[test]
fn a_failure_stops_the_run_or_with_keep_going_only_what_hangs_on_it() {
    let space = forked();
    let ran = space
        .run(&["-j", "1", "--json"])
        .exits(1)
        .says("`bad` failed with exit code 5")
        .says("oh no");
    assert_eq!(ran.counts(), [5, 0, 0, 1, 4]);
    let ran = space.run(&["-j", "1", "--json", "--keep-going"]).exits(1);
    assert_eq!(ran.counts(), [5, 2, 0, 1, 2]);
    let ran = space.run(&["-j", "1", "--json", "--keep-going"]).exits(1);
    assert_eq!(ran.counts(), [5, 0, 2, 1, 2]);
}

#[test]
fn targets_take_what_they_need_and_force_runs_what_is_cached() {
    let space = forked();
    assert_eq!(
        space.run(&["fine", "--json"]).exits(0).counts(),
        [2, 2, 0, 0, 0]
    );
    assert_eq!(
        space.run(&["fine", "--json"]).exits(0).counts(),
        [2, 0, 2, 0, 0]
    );
    let ran = space.run(&["fine", "--json", "--force", "good"]).exits(0);
    assert_eq!(
        ran.counts(),
        [2, 1, 1, 0, 0],
        "the same bytes: nothing below runs"
    );
    assert_eq!(space.lines("ran"), ["good", "fine", "good"]);
    space.run(&["no-such-stage"]).exits(2).says("no-such-stage");
    space
        .run(&["--kind", "dataset"])
        .exits(2)
        .says("no selected stage is of kind `dataset`");
    space
        .run(&["--kind", "comand"])
        .exits(2)
        .says("did you mean `command`");
    assert_eq!(
        space
            .run(&["--kind", "command", "--json", "good"])
            .exits(0)
            .counts(),
        [1, 0, 1, 0, 0]
    );
}

#[test]
fn a_forced_stage_that_gives_other_bytes_is_said() {
    let space = Space::with(
        "stages:\n  it:\n    kind: command\n    with: { script: 'echo x >> ../../../../ran; cp ../../../../ran out' }\n    outputs: { out: out }\n",
    );
    space.run(&[]).exits(0);
    space
        .run(&["--force", "it"])
        .exits(0)
        .says("`it` was made again and gave other bytes: `out`");
}

#[test]
fn events_are_json_lines_from_begin_to_end() {
    let space = forked();
    space.run(&["fine", "--events", "events.jsonl"]).exits(0);
    let events: Vec<Value> = space
        .lines("events.jsonl")
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().expect("named"))
        .collect();
    assert_eq!(names.first(), Some(&"run_started"));
    assert_eq!(names.last(), Some(&"run_finished"));
    assert_eq!(
        names
            .iter()
            .filter(|name| **name == "stage_finished")
            .count(),
        2
    );
    space
        .run(&["fine", "--events", "no/such/folder/x"])
        .exits(3)
        .says("cannot write the events");
}

#[test]
fn strict_is_not_satisfied_by_claims_that_nothing_judged() {
    let space = Space::with(
        "stages:
  it:
    kind: command
    with: { argv: [sh, -c, \"echo '{\\\"f1\\\": 0.5}' > n.json\"] }
    outputs: { n: n.json }
    numbers: n.json
  table: { kind: report, needs: { it: it } }
expect:
  - { metric: f1, value: 0.9 }
",
    );
    space
        .run(&["it", "--strict"])
        .exits(1)
        .says("nothing in this run judged the claims of `expect`");
    space
        .run(&["--strict"])
        .exits(1)
        .says("1 of the claims in `table` is not met");
    space.run(&["it"]).exits(0);
}
