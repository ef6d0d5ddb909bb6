//! Results as a bundle: written, verified elsewhere, taken over. Forged and hostile ones are in `sharing_hostile.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::space::{Ran, Space, contents, files_below, names_in};

/// Two seeds of a tiny model of tags, scored, and a table of the scores. `TERMS` stands in the fetch.
const PIPELINE: &str = "\
doc: Signs and drugs.
about:
  title: Signs
  licence: CC BY 4.0
  authors: [Zebediah Quillfeather, { name: B. Two, orcid: 0000-0002-1825-0097, email: two@example.org }]
stages:
  files:
    kind: fetch
    with:
      TERMS
      files:
        train: { manual: made for this test, put: data/train.txt }
        test: { manual: made for this test, put: data/test.txt }
  data:
    kind: dataset
    needs: { train: files.train, dev: files.train, test: files.test }
    with: { name: signs, reader: conll, separator: space }
  model:
    kind: finetune
    replicate: { seed: [1, 2] }
    needs: { data: data, vocabulary: ./vocab.txt }
    with:
      name: signs
      size: tiny
      sizes: { embedding: 16, hidden: 32, layers: 1, heads: 2 }
      epochs: 1
      batch: 2
      learning_rate: 1.0e-3
      max_length: 16
      seed: '${replicate.seed}'
  predict:
    kind: predict
    matrix: { from: model }
    needs: { model: model.model, data: data }
    with: { name: signs }
  score:
    kind: score
    matrix: { from: model }
    needs: { data: data, predictions: predict }
    with: { name: signs, metric: span_f1 }
  lines:
    kind: command
    needs: { text: ./vocab.txt }
    with: { script: \"printf '{\\\"lines\\\": %d}' $(wc -l < text) > n.json\" }
    numbers: n.json
  table:
    kind: report
    needs: { scores: { all: score }, lines: lines }
";

/// The author's project after a run.
pub(crate) fn author(terms: &str) -> Space {
    let space = Space::new();
    space.write(
        "vocab.txt",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nfever\naspirin\ncell\nwas\nseen\n",
    );
    let signs =
        "the O\nfever B-Sign\nwas O\nseen O\n\nthe O\naspirin B-Drug\nwas O\n\nthe O\ncell O\n";
    space.write("data/train.txt", signs);
    space.write(
        "data/test.txt",
        "fever B-Sign\n\nthe O\nfever B-Sign\nwas O\n\naspirin B-Drug\nseen O\n\ncell O\n",
    );
    space.write("p.yaml", PIPELINE.replace("TERMS", terms));
    space.run(&[]).exits(0);
    space
}

pub(crate) fn export(space: &Space, more: &[&str]) -> Ran {
    space.call(&[&["export", "p.yaml", "--out", "out"], more].concat())
}

/// A bundle in a folder of its own, far from its author.
pub(crate) fn carried(from: &Space) -> Space {
    let reader = Space::new();
    for (path, bytes) in contents(&from.path("out")) {
        reader.write(&format!("bundle/{}", path.display()), bytes);
    }
    reader
}

/// The rungs of `verify --json`: level to verdict and what was found.
pub(crate) fn rungs(space: &Space, more: &[&str]) -> BTreeMap<u64, (String, String)> {
    let ran = space.call(&[&["verify", "bundle", "--json"], more].concat());
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    let line = ran.stdout.lines().next().unwrap_or_default();
    let rungs: Vec<Value> =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr));
    let fails = rungs.iter().any(|rung| rung["verdict"] == "fails");
    assert_eq!(ran.code, Some(i32::from(fails)), "{}", ran.stderr);
    let of = |rung: &Value| {
        let verdict = rung["verdict"].as_str().expect("a word").to_owned();
        let found = format!("{}\n{}\n{}", rung["found"], rung["gaps"], ran.stderr);
        (rung["level"].as_u64().expect("a number"), (verdict, found))
    };
    rungs.iter().map(of).collect()
}

fn verdicts(rungs: &BTreeMap<u64, (String, String)>) -> Vec<&str> {
    rungs
        .values()
        .map(|(verdict, _)| verdict.as_str())
        .collect()
}

/// A second configuration that saw the test set is told on the page of a run that has the first one alone.
#[test]
fn what_was_tested_under_other_settings_stands_on_the_page_of_a_run() {
    let space = author("licence: CC BY 4.0");
    // Logs are in no bundle, so only this report reads them.
    let with = "lines: lines, logs: { all: model, output: log } }
    with:
      checklist: true
      sections: [{ settings: { title: Settings, from: [logs], rows: [{ key: learning_rate, stated: 1.0e-3 }, { key: adam_beta1, stated: 0.9 }, { key: dropout, stated: 0.1 }, { key: attention_dropout, stated: 0.1 }, { key: max_length, stated: 128 }] } }]";
    space.write(
        "p.yaml",
        space.read("p.yaml").replace("lines: lines }", with),
    );
    space.run(&[]).exits(0);
    let tested = |space: &Space| -> Value {
        let text = space.read("reports/p/latest/run.json");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        page["tested"].clone()
    };
    let first = tested(&space);
    assert_eq!(first["lines"].as_array().map(Vec::len), Some(1), "{first}");
    assert_eq!(first["lines"][0]["runs"], 2);
    let text = space.read("p.yaml");
    let other = text.replace("learning_rate: 1.0e-3\n", "learning_rate: 2.0e-3\n");
    assert_ne!(other, text);
    space.write("p.yaml", other);
    space.run(&[]).exits(0);
    space.write("p.yaml", text);
    space.run(&[]).exits(0);
    let both = tested(&space);
    let lines = both["lines"].as_array().expect("lines");
    let told = |line: &Value| (line["settings"].clone(), line["is_of_this_run"].clone());
    let told: Vec<(Value, Value)> = lines.iter().map(told).collect();
    let setting = |rate: &str| Value::from(format!("learning_rate = {rate}"));
    assert_eq!(
        told,
        [
            (setting("0.001"), true.into()),
            (setting("0.002"), false.into())
        ]
    );
    let sentence = both["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.starts_with("4 scores with 2 configurations of settings (seeds apart) on 1 test set of this run stand in this cache; 1 of the configurations is no part"),
        "{sentence}"
    );
    let page = space.read("reports/p/latest/run.html");
    for part in [
        "id=\"graph\"",
        "id=\"compute\"",
        "id=\"tested\"",
        "id=\"text\"",
        "Tokens/s",
        "learning_rate: 0.001",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let report = space.read("reports/p/latest/report.md");
    assert!(
        report.contains("| learning rate | 1e-3 (Paper 1e-3, as stated) |"),
        "{report}"
    );
    assert!(
        report.contains("| adam beta1 | 0.9 (by default; Paper 0.9, as stated) |"),
        "{report}"
    );
    // What hangs on the model that training begins from, the stage notes.
    for line in [
        "| dropout | 0.1 (Paper 0.1, as stated) |",
        "| attention dropout | 0.1 (Paper 0.1, as stated) |",
        "| max length | 16 (Paper 128, differs) |",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
}

#[test]
fn a_bundle_holds_elsewhere_and_a_run_after_import_executes_nothing() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[])
        .exits(0)
        .says("next: pipeline verify out");
    // The same once more, byte for byte; and nothing is written over.
    let first = contents(&space.path("out"));
    export(&space, &[]).exits(2).says("share::exists");
    fs_err::remove_dir_all(space.path("out")).expect("removed");
    export(&space, &[]).exits(0);
    assert_eq!(contents(&space.path("out")), first);
    let top = [
        "B3SUMS",
        "README.md",
        "SHA256SUMS",
        "bundle.json",
        "original",
        "pipeline",
        "records",
        "reports",
        "results",
        "ro-crate-metadata.json",
        "trees",
    ];
    assert_eq!(names_in(&space.path("out")), top);

    let reader = carried(&space);
    fs_err::remove_dir_all(space.root()).expect("the author is gone");
    // Every link of the report that leads to a page of a run leads somewhere.
    let report = reader.read("bundle/reports/table/report/index.html");
    let page = reader.read("bundle/reports/table/report/run.html");
    let links = report.split("href=\"run.html").skip(1);
    let marks: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
    assert!(marks.len() > 1, "{report}");
    for mark in marks {
        let id = mark.trim_start_matches('#');
        let is_there = mark.is_empty() || page.contains(&format!("id=\"{id}\""));
        assert!(is_there, "{mark}: {page}");
    }
    let records = page.split("href=\"../../../records/").skip(1);
    let records: Vec<&str> = records.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(records.len(), 10, "{page}");
    for record in records {
        assert!(
            reader.exists(&format!("bundle/records/{record}")),
            "{record}"
        );
    }
    // Outside programs agree about the lists.
    let sums = std::process::Command::new("sha256sum")
        .args(["--quiet", "--strict", "-c", "SHA256SUMS"])
        .current_dir(reader.path("bundle"))
        .status();
    assert!(sums.is_ok_and(|status| status.success()));
    fs_err::create_dir(reader.path("tmp")).expect("a folder");
    let ran = reader
        .command(&[
            "verify", "bundle", "--json", "--rerun", "2", "lines", "table", "data",
        ])
        .env("TMPDIR", reader.path("tmp"))
        .output()
        .expect("starts");
    let ran = Ran::of(&ran).exits(0);
    for says in [
        "\"level\":4",
        "`lines`: bit-exact",
        "make the same again: `table`",
        "`data`: bit-exact",
    ] {
        assert!(ran.stdout.contains(says), "{says}: {}", ran.stdout);
    }
    assert_eq!(names_in(&reader.path("tmp")), [""; 0], "nothing is left");
    // Of the stages that no rung makes again the inputs of two are here; nothing else takes the place of the others.
    let chosen = rungs(&reader, &["--rerun", "9"]);
    let (verdict, said) = &chosen[&4];
    assert_eq!(verdict, "partly", "{said}");
    for says in [
        "2 of the 9 stages asked for",
        "`--objects`",
        "{\"name\":\"model[seed=2]\",\"detail\":\"its input `data`\"}",
        "`data`: bit-exact",
        "`lines`: bit-exact",
    ] {
        assert!(said.contains(says), "{says}: {said}");
    }
    assert!(
        !said.contains("`table`") && !said.contains("`score"),
        "{said}"
    );
    // What the second rung makes is no proof of a fourth one.
    let repeated = rungs(&reader, &["--rerun", "table"]);
    assert_eq!(repeated[&4].0, "unjudged", "{repeated:?}");
    let rungs = rungs(&reader, &[]);
    assert_eq!(verdicts(&rungs), ["holds", "holds", "holds"], "{rungs:?}");
    assert!(rungs[&3].1.contains("2 stages come out"), "{rungs:?}");

    fs_err::create_dir(reader.path("mine")).expect("a folder");
    for (path, bytes) in contents(&reader.path("bundle/pipeline")) {
        reader.write(&format!("mine/{}", path.display()), bytes);
    }
    let import = ["import", "bundle", "--cache", "mine/cache"];
    reader.call(&import).exits(0).says("0 known here");
    reader.call(&import).exits(0).says("0 records new");
    let run = |more: &[&str]| {
        reader
            .call(&[&["run", "mine/p.yaml", "--json"], more].concat())
            .exits(0)
    };
    assert_eq!(run(&[]).counts(), [10, 0, 10, 0, 0]);
    assert!(reader.exists("mine/reports/p/latest/index.html"));
    let page = reader.read("mine/reports/p/latest/run.html");
    assert!(page.contains("imported from bundle"), "{page}");
    let status = reader.call(&["status", "mine/p.yaml", "--json"]).exits(0);
    assert!(
        status.stdout.contains("imported from bundle"),
        "{}",
        status.stdout
    );
    let why = reader.call(&["why", "mine/p.yaml", "score[1]"]).exits(0);
    assert!(
        why.stdout
            .contains("of Zebediah Quillfeather and others, `Signs`"),
        "{}",
        why.stdout
    );
    // One cell is there, another is made with what it needs and nothing else.
    let get = |what: &str| reader.call(&["get", "mine/p.yaml", what, "--to", "got"]);
    get("score[1].metrics").exits(0);
    get("model[1].model")
        .exits(3)
        .says("its bytes are not in the cache");
    let [total, executed, ..] = run(&["model[1]", "--force", "model[1]"]).counts();
    assert_eq!((total, executed), (3, 2), "the data for it, and itself");
    get("model[1].model").exits(0);
    // What verify looks at is as it was.
    assert_eq!(contents(&reader.path("bundle")), first);
}

#[test]
fn what_must_not_be_passed_on_stays_behind_and_is_named() {
    let space = author("licence: for members only\n      redistribute: false");
    export(&space, &[])
        .exits(0)
        .says("share::restricted")
        .says("`data.examples`");
    let page = space.read("out/README.md");
    assert!(
        page.contains("its terms forbid to pass it on: for members only"),
        "{page}"
    );
    let all: Vec<u8> = contents(&space.path("out"))
        .into_values()
        .flatten()
        .collect();
    for text in ["aspirin B-Drug", "\"fever\""] {
        let is_there = all.windows(text.len()).any(|at| at == text.as_bytes());
        assert!(!is_there, "{text}");
    }
    let reader = carried(&space);
    let found = rungs(&reader, &[]);
    assert_eq!(
        verdicts(&found),
        ["holds", "holds", "unjudged"],
        "the tables follow from the numbers, which may be passed on: {found:?}"
    );
    assert!(
        found[&3]
            .1
            .contains("neither in the bundle nor in a cache here"),
        "{found:?}"
    );
    // One line a reason with two examples; all of them on request, and always as data.
    let shown = reader.call(&["verify", "bundle"]).exits(0).stdout;
    let line = "    2 stages cannot be judged here: an input is neither in the bundle nor in a cache here: `score[seed=1]`, `score[seed=2]`\n";
    assert!(shown.contains(line), "{shown}");
    let all = reader.call(&["verify", "bundle", "-v"]).exits(0).stdout;
    for seed in [1, 2] {
        let line = format!("\n      `score[seed={seed}]`: what it reads of `data`\n");
        assert!(all.contains(&line), "{all}");
    }
    let json = reader.call(&["verify", "bundle", "--json"]).exits(0).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[2]["gaps"][0]["of"][1]["name"], "score[seed=2]");
    // Who has the data can judge.
    let cache = space.path("cache").display().to_string();
    let found = rungs(&reader, &["--cache", &cache]);
    assert_eq!(verdicts(&found), ["holds", "holds", "holds"], "{found:?}");
    fs_err::remove_dir_all(space.path("out")).expect("removed");
    export(&space, &["--include-restricted", "--objects"]).exits(0);
    let found = rungs(&carried(&space), &["--rerun", "10"]);
    assert_eq!(
        verdicts(&found),
        ["holds", "holds", "holds", "holds"],
        "{found:?}"
    );
    assert!(
        found[&4].1.contains("`model[seed=2]`: bit-exact"),
        "{found:?}"
    );
}

/// A log holds numbers alone, so that a report of restricted data can be made again by who has none of it.
#[test]
fn numbers_of_what_must_not_be_passed_on_come_along() {
    let space = author("licence: for members only\n      redistribute: false");
    let with = "lines: lines, logs: { all: model, output: log } }
    with:
      sections: [{ settings: { title: Settings, from: [logs], rows: [{ key: learning_rate, stated: 1.0e-3 }] } }]";
    let text = space.read("p.yaml").replace("lines: lines }", with);
    space.write("p.yaml", text);
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0).says("`data.examples`");
    assert!(space.exists("out/results/model/seed=1/log.jsonl"));
    let found = rungs(&carried(&space), &[]);
    assert_eq!(
        verdicts(&found),
        ["holds", "holds", "unjudged"],
        "{found:?}"
    );
}

/// A file that is run with a profile is, as one file, still that of the records: a reader is told so and can hold them
/// against each other.
#[test]
fn with_a_profile_the_one_file_has_the_stages_of_the_records() {
    let space = author("licence: CC BY 4.0");
    let shrunk = "profiles: { short: { stages: { model: { with: { batch: 1 } } } } }\nstages:\n";
    let text = space.read("p.yaml").replacen("stages:\n", shrunk, 1);
    space.write("p.yaml", text);
    space.run(&["--profile", "short"]).exits(0);
    let told = export(&space, &["--profile", "short"])
        .exits(0)
        .stderr
        .clone();
    assert!(!told.contains("share::flat"), "{told}");
    let found = rungs(&carried(&space), &[]);
    assert_eq!(verdicts(&found), ["holds", "holds", "holds"], "{found:?}");
    assert!(
        !found[&1].1.contains("not compared: `pipeline/"),
        "{found:?}"
    );
}

/// Files below a folder that hold a text, in any case.
fn holding(top: &Path, text: &str) -> Vec<PathBuf> {
    let text = text.to_lowercase();
    let mut files = files_below(top);
    files.retain(|path| {
        let bytes = fs_err::read(path).expect("readable").to_ascii_lowercase();
        bytes.windows(text.len()).any(|at| at == text.as_bytes())
    });
    files
}

#[test]
fn an_anonymous_bundle_names_no_person_and_no_machine() {
    let space = author("licence: CC BY 4.0");
    let home = space.root().display().to_string();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let anonymous = |out: &str| {
        let command = ["export", "p.yaml", "--anonymous", "--out", out];
        let mut command = space.command(&command);
        command.env("USER", "xquillfeather").env("HOME", &home);
        Ran::of(&command.output().expect("starts"))
    };
    anonymous("out").exits(0).says("and found none");
    for text in [
        &home,
        &host,
        "xquillfeather",
        "Quillfeather",
        "B. Two",
        "0000-0002-1825-0097",
        "example.org",
    ] {
        assert_eq!(
            holding(&space.path("out"), text),
            Vec::<PathBuf>::new(),
            "{text}"
        );
    }
    // As anybody would look.
    let grep = std::process::Command::new("grep")
        .args(["-r", "-i", "-e", &host, "-e", "quillfeather", "-e", &home])
        .arg(space.path("out"))
        .output()
        .expect("grep");
    assert_eq!(
        grep.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&grep.stdout)
    );
    let found = rungs(&carried(&space), &[]);
    assert_eq!(verdicts(&found), ["holds", "holds", "holds"], "{found:?}");
    assert!(space.read("out/README.md").starts_with("# Signs\n"));
    // A name in a file that a stage reads is found, and nothing is left behind.
    space.write("vocab.txt", space.read("vocab.txt") + "xquillfeather\n");
    space.run(&[]).exits(0);
    let before = names_in(space.root());
    anonymous("again")
        .exits(2)
        .says("share::found")
        .says("`pipeline/vocab.txt`: the user's name");
    assert_eq!(names_in(space.root()), before);
}

#[test]
fn settings_and_layers_are_in_the_one_file_and_secrets_in_none() {
    let space = Space::new();
    space.write(
        "stages/say.yaml",
        "kind: command\nwith: { script: 'cat params.json > said', params: { a: 0 } }\noutputs: { said: said }\n",
    );
    space.write(
        "base.yaml",
        "params: { a: 1, b: [x, y] }\nprofiles: { loud: { params: { a: 2 } } }\nstages:\n  say:\n    use: stages/say.yaml\n    matrix: { b: '${params.b}' }\n    env: { KEY: { from: environment, secret: true } }\n    with: { params: { a: '${params.a}', b: '${matrix.b}', text: \"one\\ntwo: #3\\n\" } }\n",
    );
    space.write("p.yaml", "extends: base.yaml\ndoc: 'Says: it'\n");
    let settings = ["--profile", "loud", "--set", "b=[x, 'yes', 08]"];
    let call = |words: &[&str]| {
        let mut command = space.command(&[words, &settings].concat());
        Ran::of(
            &command
                .env("KEY", "hunter2secret")
                .output()
                .expect("starts"),
        )
    };
    call(&["run", "p.yaml"]).exits(0);
    call(&["export", "p.yaml", "--out", "out"]).exits(0);
    assert_eq!(
        holding(&space.path("out"), "hunter2secret"),
        Vec::<PathBuf>::new()
    );
    for file in ["p.yaml", "base.yaml", "stages/say.yaml"] {
        assert_eq!(
            space.read(&format!("out/original/{file}")),
            space.read(file)
        );
    }
    let reader = carried(&space);
    reader
        .call(&["import", "bundle", "--cache", "cache"])
        .exits(0);
    let run = [
        "run",
        "bundle/pipeline/p.yaml",
        "--cache",
        "cache",
        "--json",
    ];
    let run = [&run[..], &settings].concat();
    let ran = Ran::of(
        &reader
            .command(&run)
            .env("KEY", "another")
            .output()
            .expect("starts"),
    );
    assert_eq!(ran.exits(0).counts(), [3, 0, 3, 0, 0]);
    assert!(space.read("out/resolved.yaml").contains("\n  a: 2\n"));
    assert!(
        space
            .read("out/README.md")
            .contains("mine/p.yaml --profile 'loud' --set 'b=[x, '\\''yes'\\'', 08]'")
    );
    // A secret that stands in the file itself cannot be handed out.
    let text = space
        .read("base.yaml")
        .replace("from: environment", "value: hunter2secret");
    space.write("base.yaml", text);
    call(&["run", "p.yaml"]).exits(0);
    call(&["export", "p.yaml", "--out", "more"])
        .exits(2)
        .says("share::found")
        .says("original/base.yaml");
    assert!(!space.exists("more"));
}

#[test]
fn a_stage_comes_out_bit_exact_metric_stable_or_unstable() {
    let script = |numbers: &str| {
        format!(
            "'cat /proc/sys/kernel/random/uuid > id; {numbers}; printf \"{{\\\"f1\\\": %s}}\" $n > n.json'"
        )
    };
    let (same, other) = (script("n=5"), script("n=$(od -An -N4 -tu4 /dev/urandom)"));
    let space = Space::with(&format!(
        "stages:\n  stable: {{ kind: command, with: {{ script: {same} }}, outputs: {{ id: id }}, numbers: n.json }}\n  unstable: {{ kind: command, with: {{ script: {other} }}, outputs: {{ id: id }}, numbers: n.json }}\n"
    ));
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0);
    let reader = carried(&space);
    let found = rungs(&reader, &["--rerun", "stable"]);
    let said = &found[&4];
    if said.1.contains("there is none here") {
        return crate::space::skip("a_stage_comes_out: no sandbox for programs here");
    }
    assert_eq!(said.0, "holds", "{said:?}");
    assert!(said.1.contains("`stable`: metric-stable"), "{said:?}");
    let found = rungs(&reader, &["--rerun", "unstable"]);
    assert_eq!(found[&4].0, "fails");
    assert!(
        found[&4].1.contains("`unstable`: unstable: `f1` is"),
        "{found:?}"
    );
    assert_eq!(found[&3].0, "unjudged", "no score: {found:?}");
    let unknown = reader
        .call(&["verify", "bundle", "--rerun", "stabel"])
        .exits(2);
    unknown.says("did you mean `stable`?");
}
