//! The kind's configuration, its key, and what it leaves.

use super::*;
use crate::kinds::texts::testing::{row, stage};

fn config(text: serde_json::Value) -> Vocab {
    serde_json::from_value(text).expect("it decodes")
}

const ENTRIES: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##s\n\nA\n0.\n";

#[test]
fn a_default_equals_its_absence() {
    let short = config(serde_json::json!({"name": "v", "train": {"size": 300}}));
    let long = config(serde_json::json!({
        "name": "v", "lower_case": true, "max_word_chars": 200,
        "train": {
            "size": 300, "min_frequency": 2, "alphabet": 1000, "reserved": 100, "max_words": 5_000_000
        },
    }));
    assert_eq!(short.manifest_config(), long.manifest_config());
    assert_eq!(
        short.manifest_config(),
        serde_json::json!({"name": "v", "train": {"size": 300}})
    );
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
        "name": "", "max_word_chars": 0, "train": {"size": 105, "alphabet": 0, "max_words": 9},
    }));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "name",
        "max_word_chars",
        "train.size",
        "train.alphabet",
        "train.max_words",
    ];
    assert_eq!(paths, expected);
    assert_eq!(
        found[2].1,
        "105 entries leave no room beside 105 reserved ones"
    );
    assert_eq!(
        problems(serde_json::json!({"name": "v", "train": {"size": 106}})),
        []
    );
}

#[test]
fn a_loaded_vocabulary_is_kept_measured_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("vocabulary", "vocabulary", ENTRIES),
        ("text", "text/a.txt", "The cats\n\nthe dog\n"),
        ("text", "text/README", "not text\n"),
        (
            "other",
            "other",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ndog\n",
        ),
    ];
    let stage = stage(folder.path(), &files);
    let report = config(serde_json::json!({"name": "v"}))
        .run(&stage)
        .expect("sound");
    assert_eq!(
        fs_err::read_to_string(stage.output("vocab.txt")).expect("there"),
        ENTRIES
    );
    let json = fs_err::read(stage.output("tokenizer.json")).expect("there");
    let (again, stated) = Vocabulary::parse(&json, "t").expect("sound");
    assert_eq!(
        (again.to_text().as_str(), stated.is_some()),
        (ENTRIES, true)
    );
    let table = fs_err::read_to_string(stage.output("unreachable.tsv")).expect("there");
    assert_eq!(
        table,
        "id\tentry\treason\n8\t\tempty\n9\tA\tupper_case\n10\t0.\tpunctuation\n"
    );
    let value = |metric| row(&report, metric, None);
    assert_eq!(
        (value("entries"), value("unreachable_entries")),
        (11.0, 3.0)
    );
    assert_eq!(
        (value("fertility"), value("unknown_words_percent")),
        (1.25, 25.0)
    );
    assert_eq!(row(&report, "longest_split_pieces", Some("cats")), 2.0);
    assert_eq!(
        (value("overlap_percent"), value("overlap_of_other_percent")),
        (20.0, 50.0)
    );
    let help = report.warnings[0].help.as_deref().unwrap_or_default();
    assert!(help.starts_with("they are `text/README`;"), "{help}");
}

#[test]
fn what_a_tokenizer_file_states_must_be_what_the_stage_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vocabulary, _) = Vocabulary::parse(ENTRIES.as_bytes(), "v").expect("sound");
    let json = vocabulary.to_json(Settings::default());
    let stage = stage(folder.path(), &[("vocabulary", "vocabulary", &json)]);
    config(serde_json::json!({"name": "v"}))
        .run(&stage)
        .expect("they agree");
    for (text, message) in [
        (
            serde_json::json!({"name": "v", "lower_case": false, "strip_accents": true}),
            "the vocabulary's file states `lower_case: true`, the stage says `false`",
        ),
        (
            serde_json::json!({"name": "v", "strip_accents": false}),
            "the vocabulary's file states `strip_accents: true`, the stage says `false`",
        ),
        (
            serde_json::json!({"name": "v", "max_word_chars": 100}),
            "the vocabulary's file states `max_word_chars: 200`, the stage says `100`",
        ),
    ] {
        assert_eq!(
            config(text).run(&stage).expect_err("refused").to_string(),
            message
        );
    }
}

#[test]
fn a_vocabulary_is_learned_from_the_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "neuritis neurology cardiology carditis\n".repeat(50);
    let stage = stage(folder.path(), &[("text", "text", &text)]);
    let train = serde_json::json!({"name": "v", "train": {"size": 60, "reserved": 2}});
    let report = config(train).run(&stage).expect("sound");
    let made = fs_err::read_to_string(stage.output("vocab.txt")).expect("there");
    assert!(
        made.starts_with("[PAD]\n[unused0]\n[unused1]\n[UNK]\n[CLS]\n"),
        "{made}"
    );
    assert_eq!(row(&report, "learned_from_words", None), 200.0);
    assert_eq!(row(&report, "unknown_words_percent", None), 0.0);
    assert!(row(&report, "fertility", None) < 2.0);
    // Four words give fewer than sixty pieces.
    assert_eq!(report.warnings.len(), 1, "{made}");
}
