//! Entity-level precision, recall and F1: a chunk is right where start, end and type all agree.
//!
//! The numbers are those of seqeval 1.2.2, in its default mode and in `mode="strict"`.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::{self, Counts};
use super::{Mark, Metric, Mode, Options, Outcome, Sample, Work};
use crate::error::{DataError, excerpt};
use crate::example::{Example, Tagging, Task, slice};
use crate::predictions::Prediction;
use crate::tags::{Encoding, Tag, TokenSpan, decode, decode_strict, encode};

/// See the head of this file.
pub(super) struct SpanF1;

/// What can be wrong with a span, in the order of the rows.
const ERRORS: [&str; 5] = [
    "boundary",
    "boundary_and_type",
    "missed",
    "spurious",
    "type",
];

impl Metric for SpanF1 {
    fn name(&self) -> &'static str {
        "span_f1"
    }

    fn doc(&self) -> &'static str {
        "entity-level precision, recall and F1 over all types together, as seqeval"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Tagging, Task::Spans]
    }

    fn options(&self) -> &'static [&'static str] {
        &["mode", "encoding", "classes", "merge_types"]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let mut outcome = Outcome::default();
        let mut classes: BTreeMap<String, Counts> = BTreeMap::new();
        let mut errors = ERRORS.map(|error| (error, 0_u64));
        for example in work.examples {
            let (text, places, gold, predicted) = match example {
                Example::Tagging(example) => {
                    let predicted = tags_of(example, work.predictions_of(&example.id))?;
                    let (text, places) = joined(&example.tokens);
                    (
                        text,
                        Some(places),
                        chunks(&example.tags, work.options),
                        chunks(&predicted, work.options),
                    )
                }
                Example::Spans(document) => {
                    let gold = document.spans.iter().map(|span| TokenSpan {
                        start: span.start,
                        end: span.end,
                        label: span.label.clone(),
                    });
                    let predicted = document_spans(document, work.predictions_of(&document.id))?;
                    (document.text.clone(), None, gold.collect(), predicted)
                }
                _ => continue,
            };
            let gold = counted(gold, work.options);
            let predicted = counted(predicted, work.options);
            for span in &predicted {
                let class = classes.entry(span.label.clone()).or_default();
                if gold.contains(span) {
                    class.found += 1;
                } else {
                    class.invented += 1;
                }
            }
            for span in gold.difference(&predicted) {
                classes.entry(span.label.clone()).or_default().missed += 1;
            }
            let mut mark = |span: &TokenSpan, error: Option<&'static str>| {
                if let Some(error) = error {
                    let place = errors.iter_mut().find(|(name, _)| *name == error);
                    place.expect("a known error").1 += 1;
                }
                let (start, end) = match &places {
                    Some(places) => (places[span.start].0, places[span.end - 1].1),
                    None => (span.start, span.end),
                };
                Mark {
                    start: Some(start),
                    end: Some(end),
                    label: Some(span.label.clone()),
                    text: slice(&text, start, end).map(str::to_owned),
                    score: None,
                    error: error.map(str::to_owned),
                }
            };
            let gold_marks = gold
                .iter()
                .map(|span| mark(span, gold_error(span, &gold, &predicted)))
                .collect();
            let predicted_marks = predicted
                .iter()
                .map(|span| {
                    let touches = gold.iter().any(|other| overlaps(span, other));
                    mark(span, (!touches).then_some("spurious"))
                })
                .collect();
            outcome.samples.push(Sample {
                example_id: example.id().to_owned(),
                gold: gold_marks,
                predicted: predicted_marks,
                correct: gold == predicted,
                text,
                question: None,
            });
        }
        let all = counts::rows(&mut outcome, &classes);
        for (error, count) in errors {
            outcome.add("span_errors", Some(error), count as f64, all.right());
        }
        Ok(outcome)
    }
}

/// What is wrong with a right span that was not predicted. A predicted span that is right itself excuses nothing.
fn gold_error(
    span: &TokenSpan,
    gold: &BTreeSet<TokenSpan>,
    predicted: &BTreeSet<TokenSpan>,
) -> Option<&'static str> {
    if predicted.contains(span) {
        return None;
    }
    let wrong = || predicted.iter().filter(|other| !gold.contains(*other));
    let same_place = |other: &TokenSpan| (other.start, other.end) == (span.start, span.end);
    if wrong().any(same_place) {
        return Some("type");
    }
    let mut touching = wrong().filter(|other| overlaps(span, other));
    let Some(first) = touching.next() else {
        return Some("missed");
    };
    let same_type = first.label == span.label || touching.any(|other| other.label == span.label);
    Some(if same_type {
        "boundary"
    } else {
        "boundary_and_type"
    })
}

fn overlaps(a: &TokenSpan, b: &TokenSpan) -> bool {
    a.start < b.end && b.start < a.end
}

fn chunks(tags: &[String], options: &Options) -> Vec<TokenSpan> {
    match options.mode {
        Mode::Lenient => decode(tags),
        Mode::Strict => decode_strict(options.encoding, tags),
    }
}

/// The spans that count, each once.
fn counted(mut spans: Vec<TokenSpan>, options: &Options) -> BTreeSet<TokenSpan> {
    if !options.classes.is_empty() {
        spans.retain(|span| options.classes.contains(&span.label));
    }
    if options.merge_types {
        for span in &mut spans {
            "entity".clone_into(&mut span.label);
        }
    }
    spans.into_iter().collect()
}

/// Tokens joined by spaces, and for each its first character and one past its last.
fn joined(tokens: &[String]) -> (String, Vec<(usize, usize)>) {
    let mut places = Vec::with_capacity(tokens.len());
    let mut at = 0;
    for token in tokens {
        let length = token.chars().count();
        places.push((at, at + length));
        at += length + 1;
    }
    (tokens.join(" "), places)
}

/// The tags that predictions mean: each line is a tag for every token of its stretch, or a chunk of a type.
pub(super) fn tags_of(
    example: &Tagging,
    predictions: &[Prediction],
) -> Result<Vec<String>, DataError> {
    let n_tokens = example.tokens.len();
    let mut tags = vec!["O".to_owned(); n_tokens];
    let mut taken = vec![false; n_tokens];
    let fault = |message: String, help: &str| {
        DataError::mismatch(
            format!("a prediction for `{}`: {message}", excerpt(&example.id)),
            help,
        )
    };
    for prediction in predictions {
        let (Some((start, end)), Some(label)) = (prediction.span(), &prediction.label) else {
            if prediction.span().is_none() && prediction.label.is_none() {
                continue;
            }
            return Err(fault(
                "a chunk needs `start`, `end` and `label`".to_owned(),
                "give all three, or `example_id` alone where nothing was found",
            ));
        };
        if end > n_tokens {
            return Err(fault(
                format!("{start}..{end} reaches beyond the {n_tokens} tokens"),
                "count tokens from 0, `end` one past the last",
            ));
        }
        if taken[start..end].contains(&true) {
            return Err(fault(
                format!("{start}..{end} overlaps another"),
                "give each token one tag",
            ));
        }
        taken[start..end].fill(true);
        match Tag::parse(label) {
            Some(Tag::In(_, "")) | None => {
                let chunk = TokenSpan {
                    start,
                    end,
                    label: label.clone(),
                };
                let written = encode(Encoding::Iob2, &[chunk], end);
                tags[start..end].clone_from_slice(&written[start..]);
            }
            Some(_) => tags[start..end].fill(label.clone()),
        }
    }
    Ok(tags)
}

fn document_spans(
    document: &crate::example::Document,
    predictions: &[Prediction],
) -> Result<Vec<TokenSpan>, DataError> {
    let n_characters = document.text.chars().count();
    let mut spans = Vec::with_capacity(predictions.len());
    for prediction in predictions {
        match (prediction.span(), &prediction.label) {
            (None, None) => {}
            (Some((start, end)), Some(label)) if end <= n_characters => spans.push(TokenSpan {
                start,
                end,
                label: label.clone(),
            }),
            _ => {
                return Err(DataError::mismatch(
                    format!(
                        "a prediction for `{}` is no span of its {n_characters} characters",
                        excerpt(&document.id)
                    ),
                    "give `start`, `end` and `label`, counting characters from 0, `end` one past the last",
                ));
            }
        }
    }
    Ok(spans)
}
