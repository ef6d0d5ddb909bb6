//! A model's numbers for starts and ends back to answers in the words of the context (spec E.5, decoding), as BERT's
//! program for SQuAD does it. Knows no files.

use std::collections::BTreeSet;

use super::{Featuriser, QuestionRows};
use crate::vocabulary::Vocabulary;
use crate::wordpiece::{CONTINUATION, Splitter};

/// How answers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoding {
    /// Best starts and best ends looked at in each window, and answers given at most.
    pub n_best: usize,
    /// Pieces of an answer, at most.
    pub max_answer_length: usize,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            n_best: 20,
            max_answer_length: 30,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its text, in the words of the context with one space between them.
    pub text: String,
    /// Its characters in the context, `start..end`; `None` for the stand-in `empty` where nothing was allowed.
    pub span: Option<(usize, usize)>,
    /// The number of its start.
    pub start_logit: f64,
    /// The number of its end.
    pub end_logit: f64,
    /// Softmax of the sums over the answers given, of this pair alone.
    pub probability: f64,
}

/// A stretch of a row that may be the answer, and how much speaks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// First position of the row.
    pub start: usize,
    /// Last position.
    pub end: usize,
    /// The number of the start.
    pub start_score: f64,
    /// The number of the end.
    pub end_score: f64,
}

/// The best answers of a pair, best first: at least one, each text once.
///
/// `logits` has for each window the numbers of starts and of ends, one a position of its row; those of padding may
/// follow and are looked at too, as BERT's program does, but lead to no answer.
#[must_use]
pub fn n_best(
    featuriser: &mut Featuriser<'_>,
    rows: &QuestionRows,
    context: &str,
    logits: &[(Vec<f32>, Vec<f32>)],
    decoding: &Decoding,
) -> Vec<Candidate> {
    let stretches: Vec<Vec<Stretch>> = logits
        .iter()
        .map(|(starts, ends)| {
            let ends_in_order = best(ends, decoding.n_best);
            let pairs = best(starts, decoding.n_best)
                .into_iter()
                .flat_map(|start| ends_in_order.iter().map(move |end| (start, *end)));
            pairs
                .map(|(start, end)| Stretch {
                    start,
                    end,
                    start_score: f64::from(starts[start]),
                    end_score: f64::from(ends[end]),
                })
                .collect()
        })
        .collect();
    n_best_of(featuriser, rows, context, &stretches, decoding)
}

/// [`n_best`] from stretches that a model gives together, a list a window, in its order. What may not be an answer may
/// be among them.
#[must_use]
pub fn n_best_of(
    featuriser: &mut Featuriser<'_>,
    rows: &QuestionRows,
    context: &str,
    stretches: &[Vec<Stretch>],
    decoding: &Decoding,
) -> Vec<Candidate> {
    struct Found {
        from: usize,
        to: usize,
        start: f64,
        end: f64,
    }
    let mut all = Vec::new();
    for (window, stretches) in rows.windows.iter().zip(stretches) {
        let offset = rows.question_length + 2;
        let in_context = offset..offset + window.length;
        for one in stretches {
            if in_context.contains(&one.start)
                && in_context.contains(&one.end)
                && window.is_max_context[one.start]
                && one.end >= one.start
                && one.end - one.start < decoding.max_answer_length
            {
                all.push(Found {
                    from: window.start + one.start - offset,
                    to: window.start + one.end - offset,
                    start: one.start_score,
                    end: one.end_score,
                });
            }
        }
    }
    all.sort_by(|a, b| (b.start + b.end).total_cmp(&(a.start + a.end)));
    let characters: Vec<char> = context.chars().collect();
    let mut seen = BTreeSet::new();
    let mut answers: Vec<Candidate> = Vec::new();
    for found in all {
        if answers.len() >= decoding.n_best {
            break;
        }
        let (text, span) = text(featuriser, rows, &characters, found.from, found.to);
        if seen.insert(text.clone()) {
            answers.push(Candidate {
                text,
                span: Some(span),
                start_logit: found.start,
                end_logit: found.end,
                probability: 0.0,
            });
        }
    }
    if answers.is_empty() {
        answers.push(Candidate {
            text: "empty".to_owned(),
            span: None,
            start_logit: 0.0,
            end_logit: 0.0,
            probability: 0.0,
        });
    }
    let sums = || answers.iter().map(|one| one.start_logit + one.end_logit);
    let most = sums().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = sums().map(|sum| (sum - most).exp()).collect();
    let all: f64 = weights.iter().sum();
    for (answer, weight) in answers.iter_mut().zip(weights) {
        answer.probability = weight / all;
    }
    answers
}

/// The places of the `n` greatest numbers, greatest first, of equals the first; what is no number comes last.
fn best(logits: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let value = |at: usize| {
        if logits[at].is_nan() {
            f32::NEG_INFINITY
        } else {
            logits[at]
        }
    };
    // -0 and 0 are equal, as they are for who compares with `<`.
    order.sort_by(|a, b| value(*b).partial_cmp(&value(*a)).expect("no NaN is left"));
    order.truncate(n);
    order
}

/// The text of pieces `from..=to`, and its characters in the context.
fn text(
    featuriser: &mut Featuriser<'_>,
    rows: &QuestionRows,
    characters: &[char],
    from: usize,
    to: usize,
) -> (String, (usize, usize)) {
    let spelt = detokenised(
        featuriser.vocabulary,
        rows.pieces[from..=to].iter().map(|piece| piece.0),
    );
    let words = &rows.words[rows.pieces[from].1..=rows.pieces[to].1];
    let mut original = String::new();
    // The place in the context of each character of `original`.
    let mut places = Vec::new();
    for (i, (start, end)) in words.iter().enumerate() {
        if i > 0 {
            original.push(' ');
            places.push(*start);
        }
        original.extend(&characters[*start..*end]);
        places.extend(*start..*end);
    }
    let (start, end) = final_text(&mut featuriser.splitter, &spelt, &original);
    let text: String = original.chars().skip(start).take(end - start).collect();
    (text, (places[start], places[end - 1] + 1))
}

/// Pieces as words: joined by spaces, continuations to what they continue.
fn detokenised(vocabulary: &Vocabulary, ids: impl Iterator<Item = u32>) -> String {
    let mut text = String::new();
    for id in ids {
        let entry = vocabulary.find_entry(id).unwrap_or_default();
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(entry);
    }
    let text = text
        .replace(&format!(" {CONTINUATION}"), "")
        .replace(CONTINUATION, "");
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Which characters of `original`, `start..end`, are meant by `predicted`, which is lower-cased and parted at punctuation.
///
/// BERT's heuristic (`get_final_text`): `predicted` is looked for in the original as the basic tokenizer parts it, and
/// places are matched by counting characters that are no spaces; all of the original where that fails.
#[must_use]
pub fn final_text(splitter: &mut Splitter, predicted: &str, original: &str) -> (usize, usize) {
    let whole = (0, original.chars().count());
    let mut parted = String::new();
    splitter.words(original, &mut |word| {
        if !parted.is_empty() {
            parted.push(' ');
        }
        parted.push_str(word);
    });
    let Some(at) = parted.find(predicted) else {
        return whole;
    };
    let dense = |text: &str| -> Vec<usize> {
        let characters = text.chars().enumerate();
        characters
            .filter(|(_, c)| *c != ' ')
            .map(|(at, _)| at)
            .collect()
    };
    let of_original = dense(original);
    if of_original.len() != dense(&parted).len() {
        return whole;
    }
    let count = |text: &str| text.chars().filter(|c| *c != ' ').count();
    // The first and the last character of a text that was split at spaces are none.
    let first = count(&parted[..at]);
    let n = count(predicted);
    if n == 0 {
        return whole;
    }
    (of_original[first], of_original[first + n - 1] + 1)
}
