//! The kind's configuration, and what it leaves.

use super::*;
use crate::kinds::texts::testing::{row, stage};
use data::packed::read::PackedExamples;

fn config(text: serde_json::Value) -> Pack {
    serde_json::from_value(text).expect("it decodes")
}

const ENTRIES: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\n";

#[test]
fn a_default_equals_its_absence_and_every_length_is_an_output() {
    let short = config(serde_json::json!({"name": "c", "lengths": [128, 512], "seed": 1}));
    let long = config(serde_json::json!({
        "name": "c", "lengths": [128, 512], "seed": 1, "flush_documents": true,
        "overflow": "drop", "shuffle": true, "lower_case": true, "max_word_chars": 200,
    }));
    assert_eq!(short.manifest_config(), long.manifest_config());
    let outputs: Vec<String> = short.ports().outputs.into_iter().map(|o| o.0).collect();
    assert_eq!(outputs, ["examples-128", "examples-512"]);
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let problems = |text| {
        let problems = config(text).check().into_iter();
        problems
            .map(|p| (p.path.join("."), p.message))
            .collect::<Vec<_>>()
    };
    let found = problems(serde_json::json!({
        "name": " ", "lengths": [128, 9, 128, 70000], "seed": 1, "max_word_chars": 0,
    }));
    let expected = [
        ("name", "`name` is empty"),
        ("lengths.1", "9 is out of bounds"),
        ("lengths.2", "128 stands twice"),
        ("lengths.3", "70000 is out of bounds"),
        ("max_word_chars", "no word is that short"),
    ];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(p, m)| ((*p).to_owned(), (*m).to_owned()))
        .collect();
    assert_eq!(found, expected);
    let none = problems(serde_json::json!({"name": "c", "lengths": [], "seed": 1}));
    assert_eq!(none[0].1, "there is no length");
}

#[test]
fn a_corpus_becomes_examples_and_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("vocabulary", "vocabulary", ENTRIES),
        (
            "text",
            "text/00000.txt",
            "The cats the cats\nthe\n\ncat\n\n",
        ),
        ("text", "text/00001.txt", "the dog\n"),
    ];
    let stage = stage(folder.path(), &files);
    let pack = config(serde_json::json!({"name": "c", "lengths": [16, 32], "seed": 1}));
    let report = pack.run(&stage).expect("sound");
    let examples = PackedExamples::open(&stage.output("examples-16.packed")).expect("sound");
    examples.check_ids().expect("sound");
    assert_eq!((examples.len(), examples.header().vocabulary_size), (3, 8));
    for (metric, value) in [
        ("documents", 3.0),
        ("lines", 4.0),
        ("pieces", 10.0),
        ("unknown_pieces", 1.0),
    ] {
        assert_eq!(row(&report, metric, None), value, "{metric}");
    }
    let tokens = row(&report, "tokens", Some("16"));
    assert_eq!(
        row(&report, "mean_fill_percent", Some("16")),
        100.0 * tokens / 48.0
    );
    assert_eq!(row(&report, "examples", Some("32")), 3.0);
    assert_eq!(report.warnings.len(), 1, "a tenth is unknown");
    assert!(!stage.scratch.join("buckets").exists());
}

#[test]
fn text_that_is_missing_or_broken_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let pack = config(serde_json::json!({"name": "c", "lengths": [16], "seed": 1}));
    let files = [
        ("vocabulary", "vocabulary", ENTRIES),
        ("text", "text/notes.md", "the\n"),
    ];
    let error = pack
        .run(&stage(folder.path(), &files))
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the input `text` is a folder without text"
    );
    let gzip = "\u{1f}not gzip";
    let mut bytes = gzip.as_bytes().to_vec();
    bytes[1] = 0x8b;
    let stage = stage(
        folder.path(),
        &[("vocabulary", "vocabulary", ENTRIES), ("text", "t", "")],
    );
    fs_err::write(stage.folder.join("t"), &bytes).expect("written");
    let error = pack.run(&stage).expect_err("refused").to_string();
    assert!(
        error.starts_with("t:1: the file cannot be read on: "),
        "{error}"
    );
    fs_err::write(stage.folder.join("t"), b"the\n\xff\n").expect("written");
    let error = pack.run(&stage).expect_err("refused").to_string();
    assert_eq!(error, "t:2: the byte 0xff is no UTF-8");
}
