//! Bundles that are rare: of kinds that nobody here knows, of choices, of projects in which several people commit. Forged
//! and hostile ones are in `sharing_forged.rs` and `sharing_hostile.rs`.

use std::process::Command;

use flow::digest::Use;
use serde_json::{Value, json};

use crate::forgery::{edit_json, record_of, retell, seal};
use crate::sharing::{carried, export, rungs};
use crate::space::{Ran, Space, contents, files_below};

/// Two programs that count; the report reads one of them.
const COUNTS: &str = "\
stages:
  told: { kind: command, with: { script: \"echo '{\\\"n\\\": 1}' > n.json\" }, numbers: n.json }
  odd: { kind: command, with: { script: \"echo '{\\\"n\\\": 2}' > n.json\" }, numbers: n.json }
  table: { kind: report, needs: { n: told } }
";

/// Changes a line of the manifest behind a record of a bundle, as if another program had made it: all keys and digests
/// tell the same tale.
fn remake(reader: &Space, stage: &str, line: &str, other: &str, edit: impl Fn(&mut Value)) {
    let path = record_of(reader, stage);
    let record: Value = serde_json::from_str(&reader.read(&path)).expect("JSON");
    let text = |field: &str| record[field].as_str().expect("text").to_owned();
    let old = text("key");
    let manifest = text("manifest").replace(line, other);
    assert_ne!(manifest, text("manifest"));
    let new = Use::Manifest.digest(manifest.as_bytes()).to_string();
    edit_json(reader, &path, |record| {
        record["manifest"] = manifest.as_str().into();
    });
    edit_json(reader, "bundle/bundle.json", |bundle| {
        bundle["program"] = "pipeline 9.0.0".into();
        for entry in bundle["stages"].as_array_mut().expect("a list") {
            if entry["key"] == old.as_str() {
                edit(entry);
            }
        }
    });
    let metadata = "bundle/ro-crate-metadata.json";
    for path in ["bundle/bundle.json", metadata, &path] {
        reader.write(path, reader.read(path).replace(&old, &new));
    }
    let moved = reader.path(&format!("bundle/records/{new}.json"));
    fs_err::rename(reader.path(&path), moved).expect("moved");
    retell(reader);
    seal(&reader.path("bundle"));
}

/// Who says that another version made a report gets no table judged, and none that holds.
#[test]
fn what_another_version_of_a_kind_made_is_named_with_both_and_never_holds() {
    let space = Space::with(COUNTS);
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0);
    let key = space.records()["table"]["key"].clone();
    let key = key.as_str().expect("hex");
    let record = format!("cache/records-v1/{}/{}.json", &key[..2], &key[2..]);
    let record: Value = serde_json::from_str(&space.read(&record)).expect("JSON");
    let manifest = record["manifest"].as_str().expect("text");
    let line = (manifest.lines().find(|line| line.starts_with("kind = "))).expect("a kind");
    let here: u32 = line
        .rsplit(' ')
        .next()
        .expect("a word")
        .parse()
        .expect("a version");
    for (there, to_do) in [
        (
            here - 1,
            "ask the author to run and export it anew, or verify it with the program that wrote it",
        ),
        (here + 1, "verify it with a program that has that version"),
    ] {
        let reader = carried(&space);
        remake(
            &reader,
            "table",
            line,
            &format!("kind = report {there}"),
            |_| (),
        );
        let found = rungs(&reader, &[]);
        assert_eq!(found[&2].0, "unjudged", "{found:?}");
        let said = format!(
            "made by version {there} of the kind `report`, as the bundle says, and this program has version {here}; {to_do}"
        );
        assert!(found[&2].1.contains(&said), "{found:?}");
        let ran = reader.call(&["verify", "bundle"]).exits(0);
        assert!(
            ran.stdout
                .contains(&format!("1 stage cannot be judged here: {said}: `table`")),
            "{}",
            ran.stdout
        );
    }
}

/// What a later version may write: a kind that this one does not have.
#[test]
fn a_kind_that_nobody_knows_is_named_and_judged_by_nobody() {
    let space = Space::with(COUNTS);
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0);
    let reader = carried(&space);
    remake(
        &reader,
        "odd",
        "kind = command 1",
        "kind = oracle 1",
        |entry| {
            entry["stage"]["kind"] = "oracle".into();
        },
    );
    let found = rungs(&reader, &[]);
    let words: Vec<&str> = found.values().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["partly", "holds", "unjudged"], "{found:?}");
    for said in [
        "pipeline 9.0.0 wrote it",
        "has another `odd` than the records",
    ] {
        assert!(found[&1].1.contains(said), "{found:?}");
    }
    let said = "this program does not know its kind or its configuration";
    assert!(found[&3].1.contains(said), "{found:?}");
    assert!(found[&3].1.contains("\"name\":\"odd\""), "{found:?}");
    // Its numbers may be had all the same; nothing of it is run.
    reader.call(&["import", "bundle"]).exits(0);
    let rerun = rungs(&reader, &["--rerun", "odd"]);
    assert_eq!(rerun[&4].0, "unjudged", "{rerun:?}");
}

/// Two settings over two seeds, and the better one.
const CHOICE: &str = "\
stages:
  tune:
    kind: command
    matrix: { rate: [1, 2] }
    replicate: { seed: [1, 2] }
    with:
      params: { rate: '${matrix.rate}', seed: '${replicate.seed}' }
      script: |
        echo '{\"metric\":\"f1\",\"split\":\"dev\",\"value\":0.'$(tr -dc 0-9 < params.json)'}' > n.jsonl
    numbers: n.jsonl
  choose:
    kind: select
    needs: { scores: { all: tune } }
    with: { over: [rate], metric: f1, where: { split: dev } }
  table: { kind: report, needs: { m: choose } }
";

#[test]
fn a_forged_choice_falls_at_the_third_rung() {
    let space = Space::with(CHOICE);
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0);
    let found = rungs(&carried(&space), &[]);
    assert_eq!(found[&3].0, "holds", "{found:?}");
    assert!(
        found[&3]
            .1
            .contains("1 stage comes out with the same bytes"),
        "{found:?}"
    );
    let key = space.records()["choose"]["key"]
        .as_str()
        .expect("hex")
        .to_owned();
    assert_eq!(space.records()["choose"]["choice"]["rate"], "2");
    let record = format!("cache/records-v1/{}/{}.json", &key[..2], &key[2..]);
    edit_json(&space, &record, |record| {
        record["choice"] = json!({ "rate": "1" });
    });
    fs_err::remove_file(space.path("cache/records-v1/index")).expect("removed");
    fs_err::remove_dir_all(space.path("out")).expect("removed");
    export(&space, &[]).exits(0);
    let found = rungs(&carried(&space), &[]);
    let words: Vec<&str> = found.values().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["holds", "holds", "fails"], "{found:?}");
    let said = "it chooses `rate=1` in the bundle, `rate=2` here";
    assert!(found[&3].1.contains(said), "{found:?}");
}

/// The name with its letters as one character each, and apart from their accents.
const WHOLE: &str = "Jos\u{e9} Qu\u{ef}llfeather";
const APART: &str = "Jose\u{301} Qui\u{308}llfeather";

#[test]
fn who_committed_is_in_no_anonymous_bundle_however_the_name_is_written() {
    let space = Space::with(
        "stages:
  note:
    kind: command
    needs: { text: ./note.txt }
    environment: { record: [[git, log, '-1']] }
    with: { script: \"cat text > note; echo '{\\\"n\\\": 1}' > n.json\" }
    outputs: { note: note }
    numbers: n.json
  table: { kind: report, needs: { n: note } }
",
    );
    space.write("note.txt", "nothing\n");
    let git = |words: &[&str]| {
        let name = format!("user.name={WHOLE}");
        let ran = Command::new("git")
            .args(["-c", &name, "-c", "user.email=jose@lab.example"])
            .args(words)
            .current_dir(space.root())
            .output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    if !(git(&["init", "-q"]) && git(&["add", "p.yaml"]) && git(&["commit", "-q", "-m", "x"])) {
        return crate::space::skip("who_committed: there is no git here");
    }
    let anonymous = |out: &str| -> Ran {
        space.call(&["export", "p.yaml", "--anonymous", "--objects", "--out", out])
    };
    space.run(&[]).exits(0);
    // The record knows the commit, and so who made it; a bundle with names does, too.
    let surroundings = space.records()["note"]["environment"].to_string();
    assert!(surroundings.contains("jose@lab.example"), "{surroundings}");
    anonymous("out").exits(0);
    for path in files_below(&space.path("out")) {
        let text = String::from_utf8_lossy(&fs_err::read(&path).expect("read")).to_lowercase();
        let is_there = text.contains("llfeather") || text.contains("lab.example");
        assert!(!is_there, "{}", path.display());
    }
    // As git has it, with accents apart, in capitals, and as Python's JSON has it.
    let upper = APART.to_uppercase();
    for name in [WHOLE, APART, &upper, r"Jos\u00e9 Qu\u00efllfeather"] {
        space.write("note.txt", format!("thanks to {name}\n"));
        space.run(&[]).exits(0);
        anonymous("more")
            .exits(2)
            .says("share::found")
            .says("pipeline/note.txt`: somebody who committed");
        assert!(!space.exists("more"), "{name}");
    }
}

/// A download, and a program that reads it.
const FETCHED: &str = "\
stages:
  corpus: { kind: fetch, with: { url: \"https://data.invalid/c.txt\", licence: CC BY 4.0 } }
  read:
    kind: command
    needs: { corpus: corpus }
    with: { script: wc -l < corpus > lines }
    outputs: { lines: lines }
";

/// The keys are those of the stand-ins: the bundle has the mirrors, and what is printed is enough to find all results.
#[test]
fn what_came_from_a_mirror_is_told_to_who_imports_it() {
    let space = Space::with(FETCHED);
    space.write("copies/c.txt", "a stand-in\n");
    space.write(
        "far.txt",
        "# of another place\nhttps://else.invalid/=https://me:hunter2secret@copy.invalid/\n",
    );
    let copies = format!("https://data.invalid/={}/", space.path("copies").display());
    let mirrors = ["--mirror", &copies, "--mirrors", "far.txt"];
    space.run(&mirrors).exits(0);
    let export = ["export", "p.yaml", "--out", "out"];
    let told = space.call(&[&export, &mirrors[..]].concat()).exits(0);
    assert!(!told.stderr.contains("share::flat"), "{}", told.stderr);
    // A folder of the project is one of the reader's; passwords are nobody's.
    let lines = space.read("out/pipeline/mirrors.txt");
    let lines: Vec<&str> = lines.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "https://data.invalid/=copies",
            "https://else.invalid/=https://***@copy.invalid/"
        ]
    );
    let readme = space.read("out/README.md");
    assert!(
        readme.contains("pipeline run ../mine/p.yaml --mirrors ../mine/mirrors.txt\n"),
        "{readme}"
    );
    assert!(readme.contains("the pipeline was run with mirrors in place of downloads"));
    let reader = carried(&space);
    let found = rungs(&reader, &[]);
    assert_eq!(found[&1].0, "holds", "{found:?}");
    let ran = reader
        .call(&["import", "bundle", "--cache", "mine/cache"])
        .exits(0)
        .says("the pipeline was run with mirrors");
    let words = (ran.stderr.split("and run it there with ").nth(1))
        .and_then(|rest| rest.lines().next())
        .expect("words of a command");
    for (path, bytes) in contents(&reader.path("bundle/pipeline")) {
        reader.write(&format!("mine/{}", path.display()), bytes);
    }
    let run = |words: &str| {
        let mut run = vec!["run", "p.yaml", "--json"];
        run.extend(words.split(' ').filter(|word| !word.is_empty()));
        let mut command = reader.command(&run);
        let ran = command.current_dir(reader.path("mine")).output();
        Ran::of(&ran.expect("starts"))
    };
    assert_eq!(run(words).exits(0).counts(), [2, 0, 2, 0, 0]);
    run("--offline").exits(3);
    // Other mirrors than the keys were made with are found, whoever is said to have written them.
    edit_json(&reader, "bundle/bundle.json", |bundle| {
        bundle["settings"]["mirrors"][0] = "https://data.invalid/=elsewhere".into();
    });
    let text = reader.read("bundle/pipeline/mirrors.txt");
    reader.write(
        "bundle/pipeline/mirrors.txt",
        text.replace("=copies", "=elsewhere"),
    );
    retell(&reader);
    seal(&reader.path("bundle"));
    let ran = reader.call(&["verify", "bundle"]).exits(1);
    ran.says("has another `corpus` than the records");
}

/// What an anonymous bundle says of mirrors is searched like all else, and a file of the author's is not written over.
#[test]
fn mirrors_name_no_home_and_take_no_place_of_the_authors() {
    let space = Space::with(FETCHED);
    space.write("copies/c.txt", "a stand-in\n");
    space.write(
        "m.txt",
        "https://data.invalid/=copies\nhttps://else.invalid/=/home/xquillfeather/copies\n",
    );
    let mirrors = ["--mirrors", "m.txt"];
    space.run(&mirrors).exits(0);
    let export = ["export", "p.yaml", "--out", "out"];
    let anonymous = [&export, &mirrors[..], &["--anonymous"]].concat();
    let mut command = space.command(&anonymous);
    let ran = command.env("USER", "xquillfeather").output();
    Ran::of(&ran.expect("starts"))
        .exits(2)
        .says("share::found")
        .says("`pipeline/mirrors.txt`: the user's name");
    space.write("mirrors.txt", "of the author's\n");
    let reads = FETCHED.replace("needs: { corpus", "needs: { text: ./mirrors.txt, corpus");
    space.write("p.yaml", reads);
    space.run(&mirrors).exits(0);
    space
        .call(&[&export, &mirrors[..]].concat())
        .exits(2)
        .says("share::mirrors");
    assert!(!space.exists("out"));
}
