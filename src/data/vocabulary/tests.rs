//! Vocabularies read, refused and written again.

use super::*;
use crate::wordpiece::Settings;

const HEAD: &str = "[PAD]\n[unused0]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";

fn refused(text: &str) -> (String, String) {
    let error = Vocabulary::parse(text.as_bytes(), "v").expect_err("refused");
    (
        error.to_string(),
        error.help().unwrap_or_default().to_owned(),
    )
}

#[test]
fn an_empty_line_keeps_its_id_and_the_file_comes_out_as_it_was() {
    let text = format!("{HEAD}a\n\n##b\n");
    let (vocabulary, stated) = Vocabulary::parse(text.as_bytes(), "v").expect("sound");
    assert_eq!((vocabulary.size(), stated), (9, None));
    assert_eq!(vocabulary.find_id("##b"), Some(8));
    assert_eq!(vocabulary.find_id(""), None);
    assert_eq!(vocabulary.find_entry(7), Some(""));
    assert_eq!(vocabulary.specials().unknown, 2);
    assert_eq!(vocabulary.to_text(), text);
    let (without, _) = Vocabulary::parse(text.trim_end().as_bytes(), "v").expect("sound");
    assert_eq!(without, vocabulary);

    let settings = Settings {
        max_word_chars: 100,
        ..Settings::default()
    };
    let json = vocabulary.to_json(settings);
    let (again, stated) = Vocabulary::parse(json.as_bytes(), "t").expect("sound");
    assert_eq!(again, vocabulary);
    let stated = stated.expect("JSON says it");
    assert_eq!(stated.max_word_chars, Some(100));
    assert_eq!(
        (stated.lower_case, stated.strip_accents),
        (Some(true), Some(true))
    );
}

#[test]
fn faults_have_a_line_and_a_next_action() {
    for (text, message) in [
        (
            format!("{HEAD}a\nb\na\n"),
            "v:9: the entry `a` stands twice, first in line 7",
        ),
        (
            format!("{HEAD}a \n"),
            "v:7: the entry `a ` has white space around it",
        ),
        (
            HEAD.replace('\n', "\r\n"),
            "v:1: the entry `[PAD]` ends in a carriage return",
        ),
        (
            format!("{HEAD}a\n\nb\n\n"),
            "v:10: the entry is empty, as the one of line 8 is",
        ),
        (
            HEAD.replace("[CLS]\n", ""),
            "v: the vocabulary has no entry `[CLS]`",
        ),
        (
            HEAD.replace("[CLS]", "[CLS"),
            "v: the vocabulary has no entry `[CLS]`",
        ),
        (
            format!("\u{feff}{HEAD}"),
            "v:1: the vocabulary begins with a byte order mark",
        ),
        (
            r#"{"model": {"type": "BPE", "vocab": {}}}"#.to_owned(),
            "v: the model is `BPE`, not `WordPiece`",
        ),
        (
            r#"{"model": 1}"#.to_owned(),
            "v: the JSON holds no `model.vocab`",
        ),
        (
            r#"{"model": {"vocab": {"a": 1}}}"#.to_owned(),
            "v: no entry has the id 0",
        ),
        (
            r#"{"model": {"vocab": {"a": 0, "b": 0}}}"#.to_owned(),
            "v: the id 0 of `b` stands twice",
        ),
        (
            r#"{"model": {"vocab": {"a": -1}}}"#.to_owned(),
            "v: the entry `a` has no whole number as its id",
        ),
    ] {
        let (found, help) = refused(&text);
        assert_eq!(found, message);
        assert!(!help.is_empty(), "{message}");
    }
    let (_, help) = refused(&HEAD.replace("[CLS]", "[CLS"));
    assert_eq!(help, "`[CLS` is near; name it `[CLS]`");
    let error = Vocabulary::parse(b"[PAD]\n\xff\n", "v").expect_err("refused");
    assert_eq!(error.to_string(), "v:2: the vocabulary is not UTF-8");
}

#[test]
fn entries_that_no_text_reaches_are_found_with_the_reason() {
    use measure::{Unreachable, find_unreachable};
    let settings = Settings::default();
    for (entry, reason) in [
        ("", Some(Unreachable::Empty)),
        ("a\u{ad}", Some(Unreachable::Control)),
        ("##a\u{2028}b", Some(Unreachable::Control)),
        ("漢字", Some(Unreachable::Ideograph)),
        ("##漢", Some(Unreachable::Ideograph)),
        ("漢", None),
        ("DNA", Some(Unreachable::UpperCase)),
        ("é", Some(Unreachable::Accent)),
        ("0.", Some(Unreachable::Punctuation)),
        ("##.", Some(Unreachable::Punctuation)),
        (".", None),
        ("##", Some(Unreachable::Punctuation)),
        ("##β", None),
        ("±", None),
    ] {
        assert_eq!(find_unreachable(entry, settings), reason, "{entry:?}");
    }
    let cased = Settings {
        lower_case: false,
        strip_accents: false,
        ..settings
    };
    assert_eq!(find_unreachable("DNÉ", cased), None);
}

/// A text in a folder of its own.
fn texts(folder: &std::path::Path, text: &str) -> crate::texts::Texts {
    let path = folder.join("text");
    fs_err::write(&path, text).expect("written");
    let name = "text".to_owned();
    crate::texts::Texts::plain(vec![crate::texts::TextFile { name, path }])
}

#[test]
fn a_text_is_measured_by_words_and_pieces() {
    let entries = format!("{HEAD}un\n##do\n##ing\n.\nbase\n");
    let (vocabulary, _) = Vocabulary::parse(entries.as_bytes(), "v").expect("sound");
    let folder = tempfile::tempdir().expect("a folder");
    let texts = texts(folder.path(), "Undoing base.\nundo undoing Undoing x\n");
    let measure = |threads| {
        measure::fit(
            &texts,
            &vocabulary,
            Settings::default(),
            threads,
            &mut |_| {},
        )
        .expect("sound")
    };
    let fit = measure(1);
    assert_eq!(measure(3), fit);
    assert_eq!(
        (fit.words, fit.pieces, fit.unknown, fit.whole),
        (7, 14, 1, 2)
    );
    assert_eq!(fit.used, 6);
    let longest: Vec<(&str, u64)> = fit.longest.iter().map(|(w, n)| (w.as_str(), *n)).collect();
    assert_eq!(longest, [("Undoing", 3), ("undoing", 3), ("undo", 2)]);

    let other = format!("{HEAD}un\n##ing\nother\n");
    let (other, _) = Vocabulary::parse(other.as_bytes(), "v").expect("sound");
    assert_eq!(measure::overlap(&vocabulary, &other), [2, 5, 3]);
}

const TRAINING: train::Training = train::Training {
    size: 100,
    reserved: 3,
    min_frequency: 2,
    alphabet: 26,
    max_words: 1000,
};

/// Words of a few roots and endings, more often the earlier.
fn sentences() -> String {
    let mut text = String::new();
    for (i, root) in ["cardi", "neur", "hepat", "gastr", "oste"]
        .iter()
        .enumerate()
    {
        for (j, end) in ["itis", "ology", "opathy", "oma", "ξ"].iter().enumerate() {
            for _ in 0..40 / (1 + i + j) {
                text.push_str(&format!("The {}{end} of\n", root.to_uppercase()));
            }
        }
    }
    text
}

#[test]
fn a_vocabulary_is_learned_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = texts(folder.path(), &sentences());
    let learn = |threads, training| {
        train::train(&texts, Settings::default(), &training, threads, &mut |_| {}).expect("sound")
    };
    let one = learn(1, TRAINING);
    assert_eq!(one.vocabulary.size(), 100);
    let entries: Vec<&str> = one.vocabulary.entries().collect();
    let head = [
        "[PAD]",
        "[unused0]",
        "[unused1]",
        "[unused2]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ];
    assert_eq!(entries[..8], head);
    for piece in ["the", "of", "##itis", "##ology", "cardi"] {
        assert!(entries.contains(&piece), "{piece}: {entries:?}");
    }
    // The library's maps have another order each time.
    for threads in [1, 2, 3, 4] {
        assert_eq!(learn(threads, TRAINING), one);
    }

    let narrow = train::Training {
        alphabet: 15,
        ..TRAINING
    };
    let narrow = learn(2, narrow);
    assert_eq!(narrow.letters, 15);
    assert!(narrow.left_out > 0);
    assert_eq!(narrow.vocabulary.find_id("ξ"), None);

    let small = train::Training {
        max_words: 12,
        ..TRAINING
    };
    let small = learn(2, small);
    assert!(small.distinct <= 12 && small.forgotten > 0, "{small:?}");
    assert_eq!(small.words, one.words);

    let tight = train::Training {
        size: 40,
        ..TRAINING
    };
    let error = train::train(&texts, Settings::default(), &tight, 1, &mut |_| {});
    let error = error.expect_err("refused");
    assert!(
        error
            .to_string()
            .starts_with("a vocabulary of 40 entries has no room"),
        "{error}"
    );
}
