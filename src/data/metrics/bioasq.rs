//! BioASQ factoid scores (phase B): candidates of all contexts of a question are pooled, and the first few held against
//! the golden file by exact text.
//!
//! Pooling is that of BioBERT's `transform_n2b_factoid`: probabilities of texts that are equal after lower-casing are
//! summed over the contexts. Scoring is that of the official evaluator: lower-cased texts must be equal, no trimming.

use std::collections::BTreeMap;

use super::counts::{mean, percent};
use super::{Mark, Metric, Outcome, Sample, Work};
use crate::error::{DataError, excerpt, listed};
use crate::example::{Example, Task};
use crate::predictions::Prediction;
use crate::statistics::question_id;

/// See the head of this file.
pub(super) struct BioAsq;

/// Characters beyond which a text is no answer.
const LONGEST_ANSWER: usize = 100;

impl Metric for BioAsq {
    fn name(&self) -> &'static str {
        "bioasq"
    }

    fn doc(&self) -> &'static str {
        "strict and lenient accuracy and mean reciprocal rank of factoid answers against BioASQ's golden file"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::QuestionAnswering]
    }

    fn options(&self) -> &'static [&'static str] {
        &["candidates", "id_separators"]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let Some(golden) = work.golden else {
            return Err(DataError::mismatch(
                "`bioasq` needs the golden file of the batch",
                "add `golden: FILE` to `needs`",
            ));
        };
        let mut pooled: BTreeMap<&str, Vec<&Prediction>> = BTreeMap::new();
        let mut contexts: BTreeMap<&str, &str> = BTreeMap::new();
        for example in work.examples {
            let Example::QuestionAnswering(question) = example else {
                continue;
            };
            let id = question_id(&question.id, &work.options.id_separators);
            pooled.entry(id).or_default().extend(work.of(example));
            contexts.entry(id).or_insert(&question.context);
        }
        let strangers: Vec<&str> = golden
            .factoids
            .iter()
            .map(|factoid| factoid.id.as_str())
            .filter(|id| !pooled.contains_key(id))
            .collect();
        if strangers.len() == golden.factoids.len() {
            return Err(DataError::mismatch(
                format!(
                    "no factoid question of the golden file is among the examples: {}",
                    listed(strangers.iter().copied())
                ),
                "give the golden file of this batch; `id_separators: [_]` makes `5c5f_001` the question `5c5f`",
            ));
        }
        let mut outcome = Outcome::default();
        let (mut strict, mut lenient) = (0_u64, 0_u64);
        let mut reciprocal = Vec::with_capacity(golden.factoids.len());
        for factoid in &golden.factoids {
            let candidates = match pooled.get(factoid.id.as_str()) {
                Some(lines) => pool(lines)?,
                None => Vec::new(),
            };
            let submitted = &candidates[..candidates.len().min(work.options.candidates)];
            let texts = submitted.iter().map(|(text, _)| text.as_str());
            let rank = rank(texts, &factoid.answers);
            strict += u64::from(rank == Some(1));
            lenient += u64::from(rank.is_some());
            reciprocal.push(rank.map_or(0.0, |rank| 100.0 / rank as f64));
            outcome.samples.push(Sample {
                example_id: factoid.id.clone(),
                text: contexts
                    .get(factoid.id.as_str())
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
                question: Some(factoid.body.clone()),
                gold: factoid
                    .answers
                    .iter()
                    .flatten()
                    .map(|text| Mark {
                        text: Some(text.clone()),
                        ..Mark::default()
                    })
                    .collect(),
                predicted: submitted
                    .iter()
                    .map(|(text, score)| Mark {
                        text: Some(text.clone()),
                        score: Some(*score),
                        ..Mark::default()
                    })
                    .collect(),
                correct: rank == Some(1),
            });
        }
        let n = golden.factoids.len() as u64;
        outcome.add("strict_accuracy", None, percent(strict, n), n);
        outcome.add("lenient_accuracy", None, percent(lenient, n), n);
        outcome.add("mrr", None, mean(reciprocal.into_iter()), n);
        outcome.add("unanswered_questions", None, strangers.len() as f64, n);
        Ok(outcome)
    }
}

/// Candidates by summed probability, the first spelling of each kept; of equal sums the one that came first.
fn pool(lines: &[&Prediction]) -> Result<Vec<(String, f64)>, DataError> {
    let mut candidates: Vec<(String, f64)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        let Some(text) = &line.text else { continue };
        let Some(score) = line.score else {
            return Err(DataError::mismatch(
                format!(
                    "a candidate answer to `{}` has no `score`",
                    excerpt(&line.example_id)
                ),
                "give each candidate its probability",
            ));
        };
        let Some(text) = cleaned(text) else { continue };
        let place = *places.entry(text.to_lowercase()).or_insert_with(|| {
            candidates.push((text.to_owned(), 0.0));
            candidates.len() - 1
        });
        candidates[place].1 += score;
    }
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(candidates)
}

/// A text as it is submitted: without one trailing comma, full stop or space, else out of one pair of parentheses;
/// `None` for what is no answer. One rule is applied, once.
fn cleaned(text: &str) -> Option<&str> {
    let text = match text.strip_suffix([',', '.', ' ']) {
        Some(shorter) => shorter,
        None => {
            let (opening, closing) = (text.matches('(').count(), text.matches(')').count());
            match (opening, closing) {
                (1, 1) => text
                    .strip_prefix('(')
                    .and_then(|inner| inner.strip_suffix(')'))
                    .unwrap_or(text),
                (0, 1..) | (1.., 0) => return None,
                _ => text,
            }
        }
    };
    (!text.is_empty() && text.chars().count() <= LONGEST_ANSWER).then_some(text)
}

/// The place, from 1, of the first candidate that is a synonym.
pub(super) fn rank<'a>(
    candidates: impl Iterator<Item = &'a str>,
    answers: &[Vec<String>],
) -> Option<usize> {
    let accepted: Vec<String> = answers
        .iter()
        .flatten()
        .map(|answer| answer.to_lowercase())
        .collect();
    candidates
        .map(str::to_lowercase)
        .position(|candidate| accepted.contains(&candidate))
        .map(|place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_cleans_once() {
        for (text, expected) in [
            ("dHAND.", Some("dHAND")),
            ("dHAND,.", Some("dHAND,")),
            ("(dHAND)", Some("dHAND")),
            ("(dHAND).", Some("(dHAND)")),
            ("a (b)", Some("a (b)")),
            ("(a) (b)", Some("(a) (b)")),
            ("a (b", None),
            ("a) b", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(cleaned(text), expected, "{text}");
        }
        assert_eq!(cleaned(&"x".repeat(100)).map(str::len), Some(100));
        assert_eq!(cleaned(&"x".repeat(101)), None);
    }
}
