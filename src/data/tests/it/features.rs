//! Rows and answers against what transformers makes of the same texts (`tests/parity/features.py`), and properties that
//! hold for any text.

use std::io::{BufRead as _, BufReader};

use data::example::{Answer, Question, Tagging, Task, slice};
use data::features::{
    ClassificationOptions, Decoding, Featuriser, IGNORED, LabelNumbers, QuestionOptions, Row,
    TaggingOptions, TagsTooLong, TooLong, n_best, tags_of,
};
use data::labels::LabelSet;
use data::vocabulary::{SPECIALS, Vocabulary};
use data::wordpiece::WordPiece;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;

use crate::parity::files;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Case {
    Vocabulary {
        entries: Vec<String>,
    },
    Question {
        question: String,
        context: String,
        answer: String,
        start: usize,
        options: Options,
        seed: i64,
        windows: Vec<Window>,
        candidates: Vec<(String, f64)>,
    },
    Tagging {
        tokens: Vec<String>,
        max_length: usize,
        ids: Vec<u32>,
        words: Vec<Option<usize>>,
        first: Vec<bool>,
    },
    Texts {
        texts: Vec<String>,
        max_length: usize,
        ids: Vec<u32>,
        segments: Vec<u8>,
    },
}

#[derive(Deserialize)]
struct Options {
    max_length: usize,
    stride: usize,
    max_question: usize,
}

#[derive(Deserialize)]
struct Window {
    ids: Vec<u32>,
    segments: Vec<u8>,
    max_context: Vec<bool>,
    answer: (usize, usize),
}

fn tags() -> LabelSet {
    LabelSet {
        task: Task::Tagging,
        labels: vec!["O".to_owned()],
        negative: Vec::new(),
        relations: Vec::new(),
        texts: None,
    }
}

fn sentence(tokens: Vec<String>) -> Tagging {
    Tagging {
        id: "1".to_owned(),
        tags: vec!["O".to_owned(); tokens.len()],
        tokens,
    }
}

/// As `number` in the script.
fn number(seed: i64, window: usize, place: usize, which: i64) -> f32 {
    let (window, place) = (window as i64, place as i64);
    let n = (seed * 7919 + window * 104_729 + place * 1_299_709 + which * 15_485_863) % 401 - 200;
    n as f32 / 16.0
}

fn judge(featuriser: &mut Featuriser<'_>, case: Case) {
    match case {
        Case::Vocabulary { .. } => unreachable!("it comes first"),
        Case::Tagging {
            tokens,
            max_length,
            ids,
            words,
            first,
        } => {
            let options = TaggingOptions {
                max_length,
                too_long: TagsTooLong::Truncate,
                segment: 0,
            };
            let (set, shown) = (tags(), tokens.join(" "));
            let sentence = sentence(tokens);
            let rows = featuriser
                .tagging(&sentence, &LabelNumbers::new(&set), &options)
                .expect("sound");
            let row = &rows.rows[0];
            assert_eq!(row.row.ids, ids, "{shown}");
            assert_eq!(row.tokens, words, "{shown}");
            let judged: Vec<bool> = row.labels.iter().map(|label| *label != IGNORED).collect();
            assert_eq!(judged, first, "{shown}");
        }
        Case::Texts {
            texts,
            max_length,
            ids,
            segments,
        } => {
            let options = ClassificationOptions {
                max_length,
                too_long: TooLong::Truncate,
            };
            let found = featuriser.texts(&texts, &options).expect("sound");
            assert_eq!(found.row.ids, ids, "{texts:?}");
            assert_eq!(found.row.segments, segments, "{texts:?}");
        }
        Case::Question {
            question,
            context,
            answer,
            start,
            options,
            seed,
            windows,
            candidates,
        } => {
            let pair = Question {
                id: "q".to_owned(),
                question,
                context,
                answers: vec![Answer {
                    text: answer,
                    start,
                }],
            };
            let options = QuestionOptions {
                max_length: options.max_length,
                stride: options.stride,
                max_question: options.max_question,
            };
            let rows = featuriser.question(&pair, &options).expect("sound");
            // The program it is held against leaves such a pair out before it makes windows.
            if rows.answer.is_err() && windows.is_empty() {
                return;
            }
            assert_eq!(rows.windows.len(), windows.len(), "{pair:?}");
            let mut logits = Vec::new();
            for (i, (window, expected)) in rows.windows.iter().zip(&windows).enumerate() {
                assert_eq!(window.row.ids, expected.ids, "{pair:?} {i}");
                assert_eq!(window.row.segments, expected.segments, "{pair:?} {i}");
                assert_eq!(window.is_max_context, expected.max_context, "{pair:?} {i}");
                assert_eq!(window.answer, expected.answer, "{pair:?} {i}");
                let of = |which| {
                    (0..options.max_length)
                        .map(|place| number(seed, i, place, which))
                        .collect()
                };
                logits.push((of(0), of(1)));
            }
            let found = n_best(
                featuriser,
                &rows,
                &pair.context,
                &logits,
                &Decoding::default(),
            );
            let texts: Vec<&str> = found.iter().map(|one| one.text.as_str()).collect();
            let expected: Vec<&str> = candidates.iter().map(|one| one.0.as_str()).collect();
            assert_eq!(texts, expected, "{pair:?}");
            for (one, (_, probability)) in found.iter().zip(&candidates) {
                assert!((one.probability - probability).abs() < 1e-9, "{pair:?}");
                if let Some((from, to)) = one.span {
                    let there = slice(&pair.context, from, to).expect("inside");
                    let words: Vec<&str> =
                        there.split([' ', '\t', '\r', '\n', '\u{202f}']).collect();
                    let words: Vec<&str> =
                        words.into_iter().filter(|word| !word.is_empty()).collect();
                    assert_eq!(words.join(" "), one.text);
                }
            }
        }
    }
}

#[test]
#[expect(
    clippy::print_stderr,
    reason = "the script shows how many were compared"
)]
fn parity_of_features() {
    let paths = files("features.jsonl");
    assert!(
        !paths.is_empty(),
        "the frozen cases are part of the repository"
    );
    for path in paths {
        let mut lines = BufReader::new(fs_err::File::open(path).expect("there")).lines();
        let mut next = || -> Option<Case> {
            let line = lines.next()?.expect("text");
            Some(serde_json::from_str(&line).expect("a case"))
        };
        let Some(Case::Vocabulary { entries }) = next() else {
            panic!("the vocabulary comes first");
        };
        let vocabulary = Vocabulary::new(entries, "parity").expect("sound");
        let compiled = WordPiece::new(&vocabulary, Featuriser::settings());
        let mut featuriser = Featuriser::new(&vocabulary, &compiled);
        let mut n = 0_u64;
        while let Some(case) = next() {
            judge(&mut featuriser, case);
            n += 1;
        }
        assert!(n >= 40);
        eprintln!("features: {n} cases without a difference");
    }
}

fn small() -> Vocabulary {
    let mut entries: Vec<String> = SPECIALS.map(str::to_owned).into();
    for c in ('a'..='e').chain("@$.é漢".chars()) {
        entries.extend([c.to_string(), format!("##{c}")]);
    }
    Vocabulary::new(entries, "test").expect("sound")
}

/// Offsets lie in the text and in order, and a piece that is no `[UNK]` stands for some of it.
fn check_offsets(row: &Row, texts: &[&str]) {
    for (segment, offset) in row.segments.iter().zip(&row.offsets) {
        if let Some((start, end)) = offset {
            let found = slice(texts[usize::from(*segment)], *start, *end);
            assert!(found.is_some_and(|text| !text.is_empty()));
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    "([a-fé漢@$.\u{1}\u{301}A\t \u{a0}]|@A\\$ ){0,60}"
}

proptest! {
    #[test]
    fn every_token_is_judged_exactly_once(
        tokens in vec("[a-f\u{1}é.]{1,12}", 1..40), max_length in 3_usize..40, overlap in 0_usize..50,
    ) {
        let (vocabulary, set) = (small(), tags());
        let compiled = WordPiece::new(&vocabulary, Featuriser::settings());
        let mut featuriser = Featuriser::new(&vocabulary, &compiled);
        let options = TaggingOptions { max_length, too_long: TagsTooLong::Windows { overlap }, segment: 1 };
        let n = tokens.len();
        let sentence = sentence(tokens);
        let rows = featuriser.tagging(&sentence, &LabelNumbers::new(&set), &options).expect("sound");
        let mut judged = vec![0; n];
        for row in &rows.rows {
            prop_assert!(row.row.ids.len() <= max_length);
            for ((label, token), offset) in row.labels.iter().zip(&row.tokens).zip(&row.row.offsets) {
                if let (Some(token), Some((start, end))) = (token, offset) {
                    prop_assert!(slice(&sentence.tokens[*token], *start, *end).is_some());
                    judged[*token] += usize::from(*label != IGNORED);
                }
            }
        }
        let empty = judged.iter().filter(|times| **times == 0).count();
        prop_assert_eq!((empty, rows.lost_tokens), (rows.empty_tokens, 0));
        prop_assert!(judged.iter().all(|times| *times <= 1));
        let predicted: Vec<Vec<usize>> = rows.rows.iter().map(|row| vec![7; row.row.ids.len()]).collect();
        let found = tags_of(&rows, &predicted, n);
        prop_assert_eq!(found.iter().filter(|tag| **tag == Some(7)).count(), n - empty);
    }

    #[test]
    fn markers_stay_where_there_is_room(text in text(), max_length in 3_usize..60) {
        let vocabulary = small();
        let compiled = WordPiece::new(&vocabulary, Featuriser::settings());
        let mut featuriser = Featuriser::new(&vocabulary, &compiled);
        let too_long = TooLong::KeepMarkers(vec!["@A$".to_owned()]);
        let found = featuriser.texts(&[&text], &ClassificationOptions { max_length, too_long }).expect("sound");
        prop_assert!(found.row.ids.len() <= max_length);
        check_offsets(&found.row, &[&text]);
        let n_markers = text.matches("@A$").count();
        let all = featuriser.texts(&[&text], &ClassificationOptions { max_length: 1000, too_long: TooLong::Truncate });
        let all = all.expect("sound").row.ids.len();
        prop_assert_eq!(found.row.ids.len() + found.lost_pieces, all);
        // Two markers of three pieces each, half of the room for each.
        if n_markers <= 2 && max_length >= 8 {
            prop_assert_eq!(found.lost_markers, 0);
        }
    }

    #[test]
    fn no_answer_is_lost_uncounted(
        context in text(), start in 0_usize..60, length in 1_usize..20,
        question in "[a-f ]{1,20}", max_length in 12_usize..40, stride in 1_usize..40,
    ) {
        let n = context.chars().count();
        prop_assume!(start + length <= n);
        let answer = slice(&context, start, start + length).expect("inside").to_owned();
        let pair = Question {
            id: "1".to_owned(),
            question,
            context: context.clone(),
            answers: vec![Answer { text: answer.clone(), start }],
        };
        let vocabulary = small();
        let compiled = WordPiece::new(&vocabulary, Featuriser::settings());
        let mut featuriser = Featuriser::new(&vocabulary, &compiled);
        let options = QuestionOptions { max_length, stride, max_question: 8 };
        let rows = featuriser.question(&pair, &options).expect("sound");
        let mut covered = Vec::new();
        let mut best = std::collections::BTreeMap::<usize, usize>::new();
        for window in &rows.windows {
            prop_assert!(window.row.ids.len() <= max_length);
            check_offsets(&window.row, &[&pair.question, &context]);
            covered.extend(window.start..window.start + window.length);
            for at in 0..window.length {
                let is_best = window.is_max_context[rows.question_length + 2 + at];
                *best.entry(window.start + at).or_default() += usize::from(is_best);
            }
            if window.has_answer {
                let (from, to) = window.answer;
                let first = window.row.offsets[from].expect("a piece").0;
                let last = window.row.offsets[to].expect("a piece").1;
                // The answer is looked for in its words and may stand in them twice; spaces belong to the word before.
                let characters: Vec<char> = context.chars().collect();
                let parts = |c: &char| matches!(c, ' ' | '\t');
                let word = characters[..=start].iter().rposition(|c| !parts(c)).unwrap_or(0);
                let from = characters[..word].iter().rposition(parts).map_or(0, |at| at + 1);
                let to = start + length;
                let to = characters[to..].iter().position(parts).map_or(n, |at| to + at);
                prop_assert!(first >= from && last <= to, "{first}..{last} in {from}..{to}");
            }
        }
        prop_assert!(best.values().all(|times| *times == 1));
        covered.sort_unstable();
        covered.dedup();
        prop_assert_eq!(covered.len(), best.len());
        let held = rows.windows.iter().filter(|window| window.has_answer).count();
        prop_assert_eq!(held > 0, rows.answer.is_ok() && !rows.is_lost());
        let logits: Vec<(Vec<f32>, Vec<f32>)> = rows.windows.iter()
            .map(|window| (vec![0.5; window.row.ids.len()], vec![-0.5; window.row.ids.len()]))
            .collect();
        for one in n_best(&mut featuriser, &rows, &context, &logits, &Decoding::default()) {
            prop_assert!(one.span.is_none_or(|(from, to)| slice(&context, from, to).is_some()));
        }
    }
}
