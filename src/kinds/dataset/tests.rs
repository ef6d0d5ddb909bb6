//! The kind from outside: its configuration, its key, its messages and what it writes.

use std::path::Path;

use flow::digest::Use;
use flow::kind::{InputItem, StageInput};

use super::*;

fn config(text: serde_json::Value) -> Dataset {
    serde_json::from_value(text).expect("it decodes")
}

fn problems(text: serde_json::Value) -> Vec<(String, String, String)> {
    let problems = config(text).check();
    let line = |problem: ConfigProblem| {
        (
            problem.path.join("."),
            problem.message,
            problem.help.unwrap_or_default(),
        )
    };
    problems.into_iter().map(line).collect()
}

/// A stage in a folder of its own, with files as inputs: port, path inside the folder, text.
fn stage(folder: &Path, files: &[(&str, &str, &str)]) -> StageContext {
    let mut inputs = BTreeMap::new();
    for (port, path, text) in files {
        let full = folder.join(path);
        fs_err::create_dir_all(full.parent().expect("it has one")).expect("made");
        fs_err::write(&full, text).expect("written");
        let place = path.split('/').next().expect("a path").to_owned();
        let item = InputItem {
            path: place.clone(),
            axes: Vec::new(),
            digest: Use::File.digest(text.as_bytes()),
            key: None,
            device: None,
            notes: BTreeMap::new(),
            made_by: None,
        };
        inputs.insert(
            (*port).to_owned(),
            StageInput {
                place,
                items: vec![item],
                many: false,
            },
        );
    }
    StageContext::in_folder(folder, inputs)
}

fn find(report: &StageReport, split: Option<&str>, metric: &str, class: Option<&str>) -> f64 {
    let row = report.numbers.iter().find(|row| {
        row.split.as_deref() == split && row.metric == metric && row.class.as_deref() == class
    });
    row.unwrap_or_else(|| panic!("no row {split:?} {metric} {class:?}"))
        .value
}

#[test]
fn reads_splits_and_leaves_examples_labels_and_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = stage(
        folder.path(),
        &[
            (
                "train",
                "train",
                "breast B-Disease\ncancer I-Disease\n\nno O\n",
            ),
            ("test", "test", "breast I-Disease\ncancer I-Disease\n"),
        ],
    );
    let kind = config(serde_json::json!({"reader": "conll", "name": "toy"}));
    assert!(kind.check().is_empty());
    let report = kind.run(&stage).expect("it runs");
    assert_eq!(find(&report, Some("train"), "sentences", None), 2.0);
    assert_eq!(find(&report, None, "entities", Some("Disease")), 2.0);
    assert_eq!(
        find(&report, Some("test"), "shared_examples", Some("train")),
        1.0
    );
    assert_eq!(find(&report, Some("test"), "irregular_tags", None), 1.0);
    assert_eq!(
        report.warnings[0].details,
        [
            "irregular_tags 1: tags that break the rules of the encoding, read as conlleval does (first: test:1)"
        ]
    );
    let read = |name: &str| fs_err::read_to_string(folder.path().join("examples").join(name));
    assert_eq!(
        read("test.jsonl").expect("written"),
        "{\"task\":\"tagging\",\"id\":\"test-1\",\"tokens\":[\"breast\",\"cancer\"],\"tags\":[\"B-Disease\",\"I-Disease\"]}\n"
    );
    assert_eq!(
        read("labels.json").expect("written"),
        "{\n  \"task\": \"tagging\",\n  \"labels\": [\n    \"B-Disease\",\n    \"I-Disease\",\n    \"O\"\n  ]\n}\n"
    );
    assert!(read("dev.jsonl").is_err());
}

#[test]
fn picks_files_from_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = stage(
        folder.path(),
        &[
            ("a", "a/sub/2.tsv", "sentence\tlabel\nx\tadvise\n"),
            ("a", "a/1.tsv", "sentence\tlabel\ny\tnone\n"),
            ("b", "b/1.tsv", "sentence\tlabel\nz\tnone\n"),
            ("b", "b/README", "not a table"),
        ],
    );
    let kind = config(serde_json::json!({
        "reader": "tsv", "name": "toy", "splits": ["b", "a"], "files": {"b": "1.tsv"},
        "rename_labels": {"advise": "advice"}, "negative_labels": ["none", "never"],
    }));
    assert!(kind.check().is_empty());
    let report = kind.run(&stage).expect("it runs");
    assert_eq!(find(&report, Some("a"), "examples", None), 2.0);
    assert_eq!(find(&report, Some("a"), "relations", Some("advice")), 1.0);
    assert_eq!(find(&report, Some("b"), "relations", None), 0.0);
    assert_eq!(report.numbers[0].split.as_deref(), Some("b"));
    assert_eq!(
        report.warnings[0].message,
        "`negative_labels: never` met no label of `toy`"
    );
    let text = fs_err::read_to_string(folder.path().join("examples/a.jsonl")).expect("written");
    assert!(text.starts_with("{\"task\":\"classification\",\"id\":\"a-1\",\"text\":\"y\""));
    let kind = config(serde_json::json!({
        "reader": "tsv", "name": "toy", "splits": ["b", "a"], "files": {"b": "2.tsv"},
    }));
    let error = kind.run(&stage).expect_err("no such file");
    assert_eq!(
        error.diagnostic.message,
        "the input `b` holds no file `2.tsv`"
    );
    assert_eq!(
        error.diagnostic.help.as_deref(),
        Some("it holds `1.tsv`, `README`")
    );
}

#[test]
fn says_which_inputs_are_missing_or_strange() {
    let folder = tempfile::tempdir().expect("a folder");
    let message = |kind: serde_json::Value, ports: &[&str]| {
        let files: Vec<_> = ports.iter().map(|port| (*port, *port, "a O\n")).collect();
        let error = config(kind)
            .run(&stage(folder.path(), &files))
            .expect_err("a fault");
        format!(
            "{}; {}",
            error.diagnostic.message,
            error.diagnostic.help.unwrap_or_default()
        )
    };
    let plain = serde_json::json!({"reader": "conll", "name": "toy"});
    assert_eq!(
        message(plain.clone(), &[]),
        "`toy` has no input to read; add `train: FILE`, `dev: FILE` or `test: FILE` to `needs`"
    );
    let batches =
        serde_json::json!({"reader": "conll", "name": "toy", "splits": ["test1", "test2"]});
    assert_eq!(
        message(batches.clone(), &["test1"]),
        "the split `test2` of `toy` has no input; add `test2: FILE` to `needs`, or take it out of `with.splits`"
    );
    assert_eq!(
        message(batches, &["test1", "test2", "tset3"]),
        "the input `tset3` is no split of `toy`; add it to `with.splits`, now `test1`, `test2`, or rename it in `needs`"
    );
    let tsv = serde_json::json!({"reader": "tsv", "name": "toy"});
    assert_eq!(
        message(tsv, &["train"]),
        "split `train` has no examples in `train`; the reader `tsv` expects a table with a text and its class a line; is it the right file?"
    );
}

#[test]
fn explains_options_that_mean_nothing() {
    let found = problems(serde_json::json!({
        "reader": "conll", "name": "toy", "quoting": "none", "columns": {"text": 1, "token": "form"},
        "labels": ["Disease", "O", "O"], "splits": ["Train"],
    }));
    let expected = [
        (
            "columns.text",
            "`columns.text` means nothing to the reader `conll`",
            "remove it; `conll` knows `columns.token`, `columns.label`, `separator`, `header`, `encoding`, `entity_type`, `comment`, `tags`, `labels`, `rename_labels`",
        ),
        (
            "quoting",
            "`quoting` means nothing to the reader `conll`",
            "remove it; `conll` knows `columns.token`, `columns.label`, `separator`, `header`, `encoding`, `entity_type`, `comment`, `tags`, `labels`, `rename_labels`",
        ),
        (
            "columns.token",
            "the token column `form` has a name, but the files have no header",
            "set `header: true`, or give the column's index",
        ),
        (
            "labels.0",
            "`Disease` is not a tag",
            "list tags, such as `B-Disease`, `I-Disease`, `O`",
        ),
        ("labels.2", "`O` stands twice in `labels`", "remove one"),
        (
            "splits.0",
            "`Train` is not a name",
            "names match `[a-z][a-z0-9_-]*`",
        ),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(found, expected);
    let found = problems(serde_json::json!({
        "reader": "conl", "name": " ", "files": {"train": "../x", "tset": "y"},
    }));
    let messages: Vec<_> = found
        .iter()
        .map(|(_, message, _)| message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "there is no reader `conl`",
            "`name` is empty",
            "`../x` is not a path inside the input's folder",
            "there is no split `tset`",
        ]
    );
    assert_eq!(found[0].2, "did you mean `conll`?");
    let found = problems(serde_json::json!({
        "reader": "tsv", "name": "x", "separator": "whitespace", "header": false,
    }));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_default_that_is_given_equals_one_that_is_not() {
    let context = BindContext {
        root: Path::new("/"),
        stage: "read",
        mirrors: &[],
        locked: None,
        claims: &serde_json::Value::Null,
    };
    let manifest = |text: serde_json::Value| {
        let mut kind = config(text);
        kind.complete(&context);
        kind.manifest_config()
    };
    let plain = serde_json::json!({"reader": "tsv", "name": "toy"});
    let given = serde_json::json!({
        "reader": "tsv", "name": "toy", "separator": "\t", "header": true, "quoting": "csv",
        "columns": {"text": "sentence", "label": "label"}, "encoding": "iob2", "tags": "bio", "labels": [],
    });
    assert_eq!(manifest(plain.clone()), plain);
    assert_eq!(manifest(given), plain);
    let other = serde_json::json!({"reader": "tsv", "name": "toy", "columns": {"id": -1}, "separator": ","});
    assert_eq!(manifest(other.clone()), other);
}

#[test]
fn refuses_unknown_fields_and_lists_readers_in_its_schema() {
    let text = serde_json::json!({"reader": "tsv", "name": "toy", "qouting": "csv"});
    let error = serde_json::from_value::<Dataset>(text).expect_err("a misspelt key");
    assert!(error.to_string().starts_with("unknown field `qouting`"));
    let schema = serde_json::to_value(schemars::schema_for!(Dataset)).expect("a schema");
    let readers = schema["properties"]["reader"]["oneOf"]
        .as_array()
        .expect("a list");
    assert_eq!(readers.len(), READERS.len());
    assert_eq!(schema["additionalProperties"], serde_json::json!(false));
}

#[test]
fn an_input_is_divided_by_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: String = (0..20)
        .map(|i| format!("{}.{i}\ttext {i}\tx\n", i / 2))
        .collect();
    let stage = stage(folder.path(), &[("train", "train", &rows)]);
    let mut text = serde_json::json!({
        "reader": "tsv", "name": "toy", "header": false, "columns": {"id": 0, "text": 1, "label": 2},
        "document_id_end": ".", "duplicates": "refuse",
        "divide": {"split": "train", "into": {"train": 0.8, "dev": 0.2}, "seed": 1},
    });
    let kind = config(text.clone());
    assert!(kind.check().is_empty(), "{:?}", kind.check());
    let report = kind.run(&stage).expect("it runs");
    assert_eq!(find(&report, Some("train"), "examples", None), 16.0);
    assert_eq!(find(&report, Some("dev"), "examples", None), 4.0);
    assert_eq!(
        find(&report, Some("dev"), "shared_documents", Some("train")),
        0.0
    );

    text["divide"]["into"] = serde_json::json!({"train": 1.2, "test": 0.2});
    let found: Vec<String> = problems(text.clone())
        .into_iter()
        .map(|one| one.1)
        .collect();
    assert_eq!(
        found,
        ["the share of `train` is 1.2", "the 2 shares sum to 1.4",]
    );
    text["divide"] = serde_json::json!({"split": "all", "into": {"train": 0.5, "dev": 0.5}});
    assert_eq!(problems(text)[0].1, "there is no split `all` to divide");
}
