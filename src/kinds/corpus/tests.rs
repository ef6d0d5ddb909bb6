//! The kind's configuration, and what it leaves, of packed files too.

use super::*;
use crate::kinds::texts::testing::{row, stage};
use serde_json::json;
use std::io::Write as _;

fn config(text: serde_json::Value) -> Corpus {
    serde_json::from_value(text).expect("it decodes")
}

#[test]
fn a_default_equals_its_absence() {
    let short = config(json!({"name": "c", "format": "sentences"}));
    let long = config(json!({
        "name": "c", "format": "sentences", "text_fields": [], "titles": true,
        "section_labels": false, "abstracts_only": false, "lower_case": true, "ascii_only": true,
        "tokens": "treebank", "attach_possessives": true, "deduplicate": false,
        "min_sentence_words": 0, "min_document_words": 0, "on_overlap": "remove",
        "held_out_splits": [], "held_out_min_characters": 40, "max_bad_records": 0,
        "shard_bytes": 100_000_000, "max_document_bytes": 4_194_304,
    }));
    assert_eq!(short.manifest_config(), long.manifest_config());
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let problems = |text| -> Vec<(String, String)> {
        let problems = config(text).check().into_iter();
        problems.map(|p| (p.path.join("."), p.message)).collect()
    };
    let found = problems(json!({
        "name": "", "format": "lines", "titles": false, "text_fields": ["a", "a"],
        "min_document_words": 9, "max_document_words": 8, "max_sentence_words": 0,
        "shard_bytes": 0, "max_document_bytes": 0,
    }));
    let expected = [
        ("name", "`name` is empty"),
        ("text_fields", "`text_fields` means nothing to this format"),
        ("titles", "`titles` means nothing to this format"),
        ("text_fields.1", "the field `a` stands twice"),
        ("max_sentence_words", "no sentence has 1 to 0 words"),
        ("max_document_words", "no document has 9 to 8 words"),
        ("shard_bytes", "no shard is that small"),
        ("max_document_bytes", "0 is out of bounds"),
    ];
    let expected = expected.map(|(path, message)| (path.to_owned(), message.to_owned()));
    assert_eq!(found, expected);
}

const TEXT: &str = "Zinc's role.\nIt rose (Fig. 2).\n\nHeld out words stand here.\n\nIt ROSE.\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut file = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    file.write_all(bytes).expect("packed");
    file.finish().expect("packed")
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, *bytes)
            .expect("packed");
    }
    archive.into_inner().expect("packed")
}

#[test]
fn a_corpus_is_the_same_however_its_files_are_packed() {
    let bytes = TEXT.as_bytes();
    let (first, second) = bytes.split_at(bytes.len() - "It ROSE.\n".len());
    let packed = [
        bytes.to_vec(),
        gzip(bytes),
        [gzip(first), gzip(second)].concat(),
        zstd::encode_all(bytes, 1).expect("packed"),
        gzip(&tar(&[("a/1", first), ("a/2", second)])),
        tar(&[("1", first), ("2", second)]),
    ];
    for (number, bytes) in packed.iter().enumerate() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = "{\"task\":\"tagging\",\"id\":\"d-1\",\"tokens\":[\"Held\",\"out\",\"words\",\"stand\",\"here\",\".\"],\"tags\":[\"O\",\"O\",\"O\",\"O\",\"O\",\"O\"]}\n";
        let files = [
            ("text", "text", ""),
            ("held_out", "held_out/test.jsonl", held),
            ("held_out", "held_out/train.jsonl", "broken, and not read"),
        ];
        let stage = stage(folder.path(), &files);
        fs_err::write(stage.folder.join("text"), bytes).expect("written");
        let corpus = config(json!({
            "name": "c", "format": "sentences", "held_out_min_characters": 20,
        }));
        let report = corpus.run(&stage).expect("sound");
        let made = fs_err::read_to_string(stage.output("corpus").join("00000.txt"));
        assert_eq!(
            made.expect("there"),
            "zinc's role .\nit rose ( fig. 2 ) .\n\nit rose .\n",
            "packing {number}"
        );
        for (metric, class, value) in [
            ("documents", None, 2.0),
            ("sentences", None, 3.0),
            ("words", None, 13.0),
            ("documents_read", None, 3.0),
            ("bytes_read", None, TEXT.len() as f64),
            ("dropped_documents", None, 1.0),
            ("dropped_documents", Some("overlapping"), 1.0),
            ("dropped_documents", Some("duplicate"), 0.0),
            ("held_out_sentences", None, 1.0),
        ] {
            assert_eq!(row(&report, metric, class), value, "{metric} {class:?}");
        }
        assert!(report.warnings.is_empty());
    }
}

#[test]
fn what_is_no_text_or_broken_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = stage(folder.path(), &[("text", "t", "")]);
    let corpus =
        |most: u64| config(json!({"name": "c", "format": "sentences", "max_bad_records": most}));
    let run = |bytes: &[u8], most| {
        fs_err::write(stage.folder.join("t"), bytes).expect("written");
        let _ = fs_err::remove_dir_all(stage.output("corpus"));
        corpus(most).run(&stage)
    };
    let whole = gzip(TEXT.repeat(9).as_bytes());
    for (bytes, message) in [
        (
            &whole[..whole.len() / 2],
            "t: the file cannot be read to its end: ",
        ),
        (
            b"PK\x03\x04rest",
            "t: the file is no text: it is a zip archive",
        ),
        (b"fine\n\xff\n", "t:2: byte 0xff is not UTF-8"),
    ] {
        let error = run(bytes, 0).expect_err("refused").to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let report = run(b"fine\n\xff\n", 1).expect("sound");
    assert_eq!(row(&report, "bad_records", None), 1.0);
    let warning = format!("{:?}", report.warnings);
    assert!(warning.contains("t:2: byte 0xff is not UTF-8"), "{warning}");
}
