//! What independent programs answered, frozen under `golden/` and, with `PIPELINE_PARITY`, asked anew by the scripts of
//! `tests/parity`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use data::example::Example;
use data::metrics::{Options, Work, find_metric, score};
use data::predictions::{Prediction, Predictions};
use data::vocabulary::Vocabulary;
use data::wordpiece::{Encoder, Settings, WordPiece};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    metric: String,
    options: Options,
    examples: Vec<Example>,
    predictions: Vec<Prediction>,
    expected: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    metric: String,
    class: Option<String>,
    value: f64,
}

pub(crate) fn files(name: &str) -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let asked = std::env::var_os("PIPELINE_PARITY").map(|folder| PathBuf::from(folder).join(name));
    [Some(golden.join(name)), asked]
        .into_iter()
        .flatten()
        .filter(|path| path.exists())
        .collect()
}

#[test]
fn parity_of_scores() {
    let files = files("metrics.jsonl");
    assert!(
        !files.is_empty(),
        "the frozen cases are part of the repository"
    );
    let (mut cases, mut numbers) = (0, 0);
    for path in files {
        for line in BufReader::new(fs_err::File::open(path).expect("there")).lines() {
            let case: Case = serde_json::from_str(&line.expect("text")).expect("a case");
            let mut predictions = Predictions::new();
            for one in case.predictions {
                predictions
                    .entry(one.example_id.clone())
                    .or_default()
                    .push(one);
            }
            let work = Work {
                examples: &case.examples,
                predictions: &predictions,
                golden: None,
                options: &case.options,
            };
            let metric = find_metric(&case.metric).expect("a metric");
            let outcome = score(metric, &work).expect("it scores");
            for row in &case.expected {
                let found = outcome
                    .scores
                    .iter()
                    .find(|one| one.metric == row.metric && one.class == row.class);
                // A class without any item of ours is 0 in all programs.
                let found = found.map_or(0.0, |one| one.value);
                assert!(
                    (found - row.value).abs() < 1e-9,
                    "case {cases}, {} {:?}: {found} is not {row:?}",
                    case.metric,
                    case.options
                );
                numbers += 1;
            }
            cases += 1;
        }
    }
    assert!(
        cases >= 12 && numbers >= 90,
        "{cases} cases, {numbers} numbers"
    );
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    tokens: String,
    imported: String,
    steps: String,
}

/// Tokens by both lists of rules, and all steps of NCBI-BERT's text on a given sentence, as NLTK 3.4 and Python have
/// them.
#[test]
fn parity_of_treebank() {
    use data::corpus::steps::treebank::{Rules, tokenize};
    use data::corpus::steps::{ascii, possessive};

    let files = files("treebank.jsonl");
    assert!(
        !files.is_empty(),
        "the frozen cases are part of the repository"
    );
    let mut cases = 0;
    for path in files {
        for line in BufReader::new(fs_err::File::open(path).expect("there")).lines() {
            let case: Sentence = serde_json::from_str(&line.expect("text")).expect("a case");
            for (rules, expected) in [
                (Rules::Class, &case.tokens),
                (Rules::Imported, &case.imported),
            ] {
                let mut tokens = Vec::new();
                tokenize(&case.text, rules, &mut tokens);
                let tokens = String::from_utf8_lossy(&tokens);
                assert_eq!(&tokens, expected, "{rules:?} of {:?}", case.text);
            }
            let mut narrowed = String::new();
            ascii::to_ascii(&case.text.to_lowercase(), &mut narrowed);
            let mut steps = Vec::new();
            tokenize(&narrowed, Rules::Class, &mut steps);
            possessive::attach(&mut steps, 0);
            assert_eq!(
                String::from_utf8_lossy(&steps),
                case.steps,
                "steps of {:?}",
                case.text
            );
            cases += 1;
        }
    }
    assert!(cases >= 400, "{cases}");
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Spelling {
    /// The lines that follow are spelt with this.
    Vocabulary {
        vocabulary: Vec<String>,
        max_word_chars: usize,
    },
    Line {
        text: String,
        ids: Vec<u32>,
    },
}

#[test]
fn parity_of_pieces() {
    let mut lines = 0;
    let mut different = Vec::new();
    for path in files("wordpiece.jsonl") {
        let mut encoder = None;
        for line in BufReader::new(fs_err::File::open(path).expect("there")).lines() {
            match serde_json::from_str(&line.expect("text")).expect("a case") {
                Spelling::Vocabulary {
                    vocabulary,
                    max_word_chars,
                } => {
                    let vocabulary = Vocabulary::new(vocabulary, "v").expect("sound");
                    let settings = Settings {
                        max_word_chars,
                        ..Settings::default()
                    };
                    // The encoder outlives this line; a few vocabularies are never given back.
                    let compiled = Box::leak(Box::new(WordPiece::new(&vocabulary, settings)));
                    encoder = Some(Encoder::new(compiled));
                }
                Spelling::Line { text, ids } => {
                    let encoder = encoder.as_mut().expect("a vocabulary comes first");
                    let mut found = Vec::new();
                    encoder.ids(&text, &mut found);
                    if found != ids {
                        different.push((text, found, ids));
                    }
                    lines += 1;
                }
            }
        }
    }
    assert!(lines >= 20, "{lines} lines");
    let first: Vec<_> = different.iter().take(20).collect();
    assert!(
        different.is_empty(),
        "{} of {lines} lines differ (text, ours, theirs): {first:#?}",
        different.len()
    );
}

#[test]
fn parity_of_word_characters() {
    let mut n_asked = 0;
    for path in files("word_characters.txt") {
        let text = fs_err::read_to_string(&path).expect("there");
        let ranges = |name: &str| -> Vec<(u32, u32)> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let hex = |digits: &str| u32::from_str_radix(digits, 16).expect("digits");
            (line.expect("a line").split_whitespace())
                .map(|range| range.split_once('-').expect("a range"))
                .map(|(first, last)| (hex(first), hex(last)))
                .collect()
        };
        let holds = |ranges: &[(u32, u32)], c: char| {
            let at = ranges.partition_point(|(first, _)| *first <= c as u32);
            at > 0 && c as u32 <= ranges[at - 1].1
        };
        let (words, unassigned) = (ranges("word "), ranges("unassigned "));
        let mut younger = 0;
        for c in '\0'..=char::MAX {
            // What Python's edition has not assigned may have become a letter since.
            match data::wordpiece::is_word(c) {
                true if holds(&unassigned, c) => younger += 1,
                is_word => assert_eq!(is_word, holds(&words, c), "{c:?}"),
            }
            n_asked += 1;
        }
        // Ideographs and scripts of Unicode 15 to 18.
        assert!(younger < 40_000, "{younger}");
    }
    assert!(n_asked >= 0x0010_f800, "every code point was asked for");
}
