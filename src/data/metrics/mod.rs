//! Predictions held against what is right: the table of metrics and what they have in common. Knows no metric.
//!
//! Scores are percentages (0 to 100), as papers print them; `n` is the number of items a score is over.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, excerpt, listed};
use crate::example::{Example, Task};
use crate::predictions::{Prediction, Predictions};
use crate::tags::Encoding;

mod bioasq;
mod correlation;
mod counts;
mod exact_match;
pub mod golden;
mod labels;
mod multi_label;
mod span_f1;
mod word_f1;

use golden::Golden;

/// Every metric, by name.
pub static METRICS: &[&dyn Metric] = &[
    &labels::Accuracy,
    &bioasq::BioAsq,
    &exact_match::ExactMatch,
    &labels::MicroF1,
    &multi_label::MultiLabelF1,
    &correlation::Pearson,
    &span_f1::SpanF1,
    &word_f1::WordF1,
];

/// One way of scoring.
pub trait Metric: Sync {
    /// The word after `metric:`.
    fn name(&self) -> &'static str;

    /// One line on what it computes.
    fn doc(&self) -> &'static str;

    /// The tasks whose examples it scores.
    fn tasks(&self) -> &'static [Task];

    /// Names of the fields of [`Options`] that it uses.
    fn options(&self) -> &'static [&'static str];

    /// Scores everything; every example has at least one prediction.
    ///
    /// # Errors
    /// When predictions do not fit their examples.
    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError>;
}

/// A metric by its name.
#[must_use]
pub fn find_metric(name: &str) -> Option<&'static dyn Metric> {
    METRICS.iter().copied().find(|metric| metric.name() == name)
}

/// How seqeval reads tags.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As `conlleval` and seqeval's default: I after O starts a chunk.
    #[default]
    Lenient,
    /// As seqeval's `mode="strict"`: what breaks the scheme is no chunk.
    Strict,
}

/// What becomes of examples without a prediction.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// They are an error.
    #[default]
    Refuse,
    /// They count as if nothing had been predicted.
    Empty,
}

/// How to score; each metric uses the fields it names in [`Metric::options`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How tags are read.
    pub mode: Mode,
    /// The scheme of `mode: strict`.
    pub encoding: Encoding,
    /// Types or classes that count; all but `negative` when empty.
    pub classes: Vec<String>,
    /// Classes that stand for "nothing found".
    pub negative: Vec<String>,
    /// Whether all types count as one.
    pub merge_types: bool,
    /// Texts before a trailing number that is no part of the id of a question or document.
    pub id_separators: Vec<String>,
    /// How many answers to a question are submitted.
    pub candidates: usize,
    /// What becomes of examples without a prediction.
    pub missing: Missing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            encoding: Encoding::default(),
            classes: Vec::new(),
            negative: Vec::new(),
            merge_types: false,
            id_separators: Vec::new(),
            candidates: 5,
            missing: Missing::default(),
        }
    }
}

/// What is scored.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// What is right: the examples of one split.
    pub examples: &'a [Example],
    /// What was predicted.
    pub predictions: &'a Predictions,
    /// Questions with their accepted answers, where examples do not hold them.
    pub golden: Option<&'a Golden>,
    /// How to score.
    pub options: &'a Options,
}

impl<'a> Work<'a> {
    /// The predictions for an example; none where it is missing.
    fn of(&self, example: &Example) -> &'a [Prediction] {
        self.predictions_of(example.id())
    }

    fn predictions_of(&self, id: &str) -> &'a [Prediction] {
        self.predictions.get(id).map_or(&[], Vec::as_slice)
    }
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Such as `f1`.
    pub metric: String,
    /// The type or class it is for; `None` over all.
    pub class: Option<String>,
    /// The number; scores are percentages.
    pub value: f64,
    /// How many items it is over.
    pub n: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The numbers.
    pub scores: Vec<Score>,
    /// Each example with what is right and what was predicted.
    pub samples: Vec<Sample>,
}

impl Outcome {
    fn add(&mut self, metric: &str, class: Option<&str>, value: f64, n: u64) {
        self.scores.push(Score {
            metric: metric.to_owned(),
            class: class.map(str::to_owned),
            value,
            n,
        });
    }
}

/// An example with what is right and what was predicted, for people to look at; a line of `samples.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The example's id, or the question's.
    pub example_id: String,
    /// The text; tokens joined by a space for tagging.
    pub text: String,
    /// The question, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What is right.
    pub gold: Vec<Mark>,
    /// What was predicted.
    pub predicted: Vec<Mark>,
    /// Whether the two agree.
    pub correct: bool,
}

/// A label, an answer, or a stretch of a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// First character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// One past the last character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
    /// Type or class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// An answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How sure the model is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// What is wrong with it: `missed`, `spurious`, `boundary`, `type`, `boundary_and_type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Checks that examples and predictions fit each other, and scores them. Adds `missing_predictions`, the number of
/// examples without any.
///
/// # Errors
/// When the metric does not score such examples, predictions are for unknown examples, or examples have none.
pub fn score(metric: &dyn Metric, work: &Work<'_>) -> Result<Outcome, DataError> {
    if let Some(example) = work.examples.first()
        && !metric.tasks().contains(&example.task())
    {
        let able = METRICS
            .iter()
            .filter(|other| other.tasks().contains(&example.task()))
            .map(|other| other.name());
        return Err(DataError::mismatch(
            format!(
                "`{}` does not score `{}` examples",
                metric.name(),
                example.task().name()
            ),
            format!("metrics that do are {}", listed(able)),
        ));
    }
    let known: BTreeSet<&str> = work.examples.iter().map(Example::id).collect();
    if let Some(stranger) = work
        .predictions
        .keys()
        .find(|id| !known.contains(id.as_str()))
    {
        return Err(DataError::mismatch(
            format!(
                "there is a prediction for `{}`, which is no example of this split",
                excerpt(stranger)
            ),
            "score the split that was predicted",
        ));
    }
    let missing: Vec<&str> = work
        .examples
        .iter()
        .map(Example::id)
        .filter(|id| !work.predictions.contains_key(*id))
        .collect();
    if !missing.is_empty() && work.options.missing == Missing::Refuse {
        return Err(DataError::mismatch(
            format!(
                "{} of {} examples have no prediction: {}",
                missing.len(),
                work.examples.len(),
                listed(missing.iter().copied())
            ),
            "predict them, write a line with their `example_id` alone where nothing was found, or set `missing: empty`",
        ));
    }
    let mut outcome = metric.score(work)?;
    outcome.add(
        "missing_predictions",
        None,
        missing.len() as f64,
        work.examples.len() as u64,
    );
    Ok(outcome)
}

/// The label of a classification: of the line with the highest score, of the first where several have it.
fn best_label(predictions: &[Prediction]) -> Option<&str> {
    best(predictions).and_then(|one| one.label.as_deref())
}

/// The line with the highest score, the first of several; lines without a score come after all others.
fn best(predictions: &[Prediction]) -> Option<&Prediction> {
    let score = |one: &Prediction| one.score.unwrap_or(f64::NEG_INFINITY);
    predictions.iter().reduce(
        |best, one| {
            if score(one) > score(best) { one } else { best }
        },
    )
}

/// How often each pair of a right and a predicted class occurred, as rows `confusion` with the class `RIGHT -> PREDICTED`.
fn confusion(outcome: &mut Outcome, pairs: &BTreeMap<(String, String), u64>, n: u64) {
    for ((right, predicted), count) in pairs {
        outcome.add(
            "confusion",
            Some(&format!("{right} -> {predicted}")),
            *count as f64,
            n,
        );
    }
}

#[cfg(test)]
pub(crate) mod tests;
