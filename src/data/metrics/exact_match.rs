//! SQuAD v1.1 exact match and F1 of answers, as the official script: texts are lower-cased, ASCII punctuation and the
//! words a, an and the are removed, white space is collapsed; the best accepted answer counts.

use std::collections::BTreeMap;

use super::counts::mean;
use super::{Mark, Metric, Outcome, Sample, Work, best};
use crate::error::DataError;
use crate::example::{Example, Task};
use crate::wordpiece::is_word;

/// See the head of this file.
pub(super) struct ExactMatch;

impl Metric for ExactMatch {
    fn name(&self) -> &'static str {
        "exact_match"
    }

    fn doc(&self) -> &'static str {
        "SQuAD v1.1 exact match and word F1 of answers, the mean over questions"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::QuestionAnswering]
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let mut outcome = Outcome::default();
        let (mut exact, mut overlap) = (Vec::new(), Vec::new());
        for example in work.examples {
            let Example::QuestionAnswering(question) = example else {
                continue;
            };
            if question.answers.is_empty() {
                return Err(DataError::mismatch(
                    format!("the question `{}` has no accepted answer", question.id),
                    "score a split with answers; BioASQ's golden file goes with the metric `bioasq`",
                ));
            }
            let best = best(work.of(example));
            let text = best.and_then(|one| one.text.as_deref());
            let scores = question.answers.iter().map(|answer| match text {
                Some(text) => (is_exact(text, &answer.text), word_f1(text, &answer.text)),
                None => (false, 0.0),
            });
            let (is_right, f1) = scores.fold((false, 0.0_f64), |(a, b), (c, d)| (a || c, b.max(d)));
            exact.push(if is_right { 100.0 } else { 0.0 });
            overlap.push(100.0 * f1);
            outcome.samples.push(Sample {
                example_id: question.id.clone(),
                text: question.context.clone(),
                question: Some(question.question.clone()),
                gold: question
                    .answers
                    .iter()
                    .map(|answer| Mark {
                        start: Some(answer.start),
                        end: Some(answer.start + answer.text.chars().count()),
                        text: Some(answer.text.clone()),
                        ..Mark::default()
                    })
                    .collect(),
                predicted: best
                    .map(|one| Mark {
                        start: one.start,
                        end: one.end,
                        text: one.text.clone(),
                        score: one.score,
                        ..Mark::default()
                    })
                    .into_iter()
                    .collect(),
                correct: is_right,
            });
        }
        let n = exact.len() as u64;
        outcome.add("exact_match", None, mean(exact.into_iter()), n);
        outcome.add("f1", None, mean(overlap.into_iter()), n);
        Ok(outcome)
    }
}

/// A text as it is compared.
fn normalised(text: &str) -> Vec<String> {
    let lower = lower(text);
    let mut kept = String::with_capacity(lower.len());
    kept.extend(lower.chars().filter(|c| !c.is_ascii_punctuation()));
    without_articles(&kept)
        .split(is_space)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Lower-cased as Python does, which knows the final sigma as Rust does.
fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// Each of the words a, an and the, between word boundaries, becomes a space.
fn without_articles(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().map(Some).chain([None]) {
        match c {
            Some(c) if is_word(c) => word.push(c),
            other => {
                if matches!(word.as_str(), "a" | "an" | "the") {
                    out.push(' ');
                } else {
                    out.push_str(&word);
                }
                word.clear();
                out.extend(other);
            }
        }
    }
    out
}

/// What Python's `str.split()` splits at.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn is_exact(a: &str, b: &str) -> bool {
    normalised(a) == normalised(b)
}

/// F1 of two bags of words, 0 to 1.
fn word_f1(predicted: &str, right: &str) -> f64 {
    let (predicted, right) = (normalised(predicted), normalised(right));
    let mut bag: BTreeMap<&str, u64> = BTreeMap::new();
    for word in &right {
        *bag.entry(word).or_default() += 1;
    }
    let mut same = 0_u64;
    for word in &predicted {
        if let Some(left) = bag.get_mut(word.as_str()).filter(|left| **left > 0) {
            *left -= 1;
            same += 1;
        }
    }
    if same == 0 {
        return 0.0;
    }
    let precision = same as f64 / predicted.len() as f64;
    let recall = same as f64 / right.len() as f64;
    2.0 * precision * recall / (precision + recall)
}
