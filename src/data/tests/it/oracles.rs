//! The answers of the authors' programs, kept beside the repository; each test says so on standard error and passes where they are absent.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use data::packed::builder::{Builder, Draws, Example, Overflow};
use data::vocabulary::Vocabulary;
use data::vocabulary::measure::{by_reason, unreachable};
use data::wordpiece::{Encoder, Settings, WordPiece};

use crate::real_files::shared;

fn oracles(test: &str) -> Option<(PathBuf, Vocabulary)> {
    let shared = shared(test)?;
    let bytes = fs_err::read(shared.join("vocab/scivocab.txt")).expect("it is there");
    let (vocabulary, _) = Vocabulary::parse(&bytes, "scivocab.txt").expect("sound");
    Some((shared.join("../oracles"), vocabulary))
}

fn unpack(path: &Path) -> String {
    let file = fs_err::File::open(path).expect("it is there");
    let mut text = String::new();
    let mut reader = flate2::read::MultiGzDecoder::new(file);
    reader.read_to_string(&mut text).expect("a whole file");
    text
}

fn numbers(value: &Value) -> Vec<u32> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|n| n.as_u64().expect("an id") as u32).collect()
}

#[test]
fn ids_are_those_of_the_authors_tokenizer() {
    let Some((oracles, vocabulary)) = oracles("ids_are_those_of_the_authors_tokenizer") else {
        return;
    };
    let compiled = WordPiece::new(&vocabulary, Settings::default());
    let mut encoder = Encoder::new(&compiled);
    let text = unpack(&oracles.join("tokenization/wordpiece_200.jsonl.gz"));
    let mut n = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let text = case["text"].as_str().expect("a text");
        let mut ids = Vec::new();
        encoder.ids(text, &mut ids);
        assert_eq!(ids, numbers(&case["ids"]), "{text:?}");
        n += 1;
    }
    assert_eq!(n, 9286);
}

/// What the authors' builder drew for each example, in order.
struct Replay {
    examples: Vec<Vec<f64>>,
    now: std::vec::IntoIter<f64>,
}

impl Draws for Replay {
    fn begin(&mut self, example: u64) {
        assert_eq!(
            self.now.len(),
            0,
            "draws left over before example {example}"
        );
        let draws = std::mem::take(&mut self.examples[example as usize]);
        self.now = draws.into_iter();
    }
    fn fraction(&mut self) -> f64 {
        self.now.next().expect("a draw")
    }
    fn length(&mut self, _: u32) -> u32 {
        self.now.next().expect("a draw") as u32
    }
}

fn replay(length: u32, flush: bool) {
    let test = format!("examples of {length} positions");
    let Some((oracles, vocabulary)) = oracles(&test) else {
        return;
    };
    let folder = oracles.join("example_builder");
    let way = if flush { "flush" } else { "noflush" };
    let answers = unpack(&folder.join(format!("examples_{length}_{way}.jsonl.gz")));
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let draws = |case: &Value| {
        let draws = case["draws"].as_array().expect("a list").iter();
        draws.map(|draw| draw.as_f64().expect("a number")).collect()
    };
    let replay = Replay {
        examples: answers.iter().map(draws).collect(),
        now: Vec::new().into_iter(),
    };
    let specials = vocabulary.specials();
    let (start, separator) = (specials.start, specials.separator);
    let mut builder = Builder::new(replay, length, start, separator, Overflow::Drop);
    let compiled = WordPiece::new(&vocabulary, Settings::default());
    let mut encoder = Encoder::new(&compiled);
    let mut expected = answers.iter();
    let mut emit = |example: Example<'_>| {
        let answer = expected.next().expect("no more examples than the authors'");
        assert_eq!(example.ids, numbers(&answer["ids"]));
        assert_eq!(
            u64::from(example.segment_b),
            answer["segment_b"].as_u64().expect("a number")
        );
        Ok::<(), ()>(())
    };
    let input = unpack(&folder.join("input.txt.gz"));
    let mut ids = Vec::new();
    for line in input.lines().map(str::trim) {
        if line.is_empty() {
            if flush {
                builder.boundary(&mut emit).expect("it takes all");
            }
        } else {
            ids.clear();
            encoder.ids(line, &mut ids);
            builder.sentence(&ids, &mut emit).expect("it takes all");
        }
    }
    builder.boundary(&mut emit).expect("it takes all");
    assert_eq!(builder.built().examples, answers.len() as u64);
    assert!(answers.len() > 1000, "{}", answers.len());
    assert!(expected.next().is_none());
}

#[test]
fn the_authors_examples_come_from_the_authors_draws() {
    replay(128, true);
    replay(512, true);
    replay(128, false);
    replay(512, false);
}

/// Spec B.3; the paper's figures for the vocabulary that its models use.
#[test]
fn the_papers_vocabulary_has_the_entries_that_the_specification_counts() {
    let Some((_, vocabulary)) = oracles("the_papers_vocabulary") else {
        return;
    };
    assert_eq!(vocabulary.size(), 31_090);
    let specials = vocabulary.specials();
    let ids = [
        specials.padding,
        specials.unknown,
        specials.start,
        specials.separator,
        specials.mask,
    ];
    assert_eq!(ids, [0, 101, 102, 103, 104]);
    assert_eq!(vocabulary.find_entry(30_106), Some(""));
    assert_eq!(
        vocabulary
            .entries()
            .filter(|entry| entry.starts_with("##"))
            .count(),
        10_491
    );
    let unreachable = unreachable(&vocabulary, Settings::default());
    let counts = by_reason(&unreachable);
    let counts: Vec<(&str, u64)> = counts
        .iter()
        .map(|(reason, n)| (reason.name(), *n))
        .collect();
    let expected = [
        ("empty", 1),
        ("control", 34),
        ("ideograph", 208),
        ("upper_case", 154),
        ("accent", 372),
        ("punctuation", 3015),
    ];
    assert_eq!(counts, expected);
}
