//! Scores of one label a text: micro precision, recall and F1 over chosen classes as scikit-learn with `labels=`, and
//! accuracy.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::{self, Counts, percent};
use super::{Mark, Metric, Outcome, Sample, Work, best_label, confusion};
use crate::error::{DataError, listed};
use crate::example::{Classification, Example, Task};

/// F1 over the classes that are not negative.
pub(super) struct MicroF1;

/// How many texts have the right label.
pub(super) struct Accuracy;

/// What stands for the label of an example without a prediction.
const NO_LABEL: &str = "(none)";

impl Metric for MicroF1 {
    fn name(&self) -> &'static str {
        "micro_f1"
    }

    fn doc(&self) -> &'static str {
        "precision, recall and F1 pooled over the classes that are not negative, as scikit-learn"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Classification]
    }

    fn options(&self) -> &'static [&'static str] {
        &["classes", "negative"]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let pairs = pairs(work);
        let occurring: BTreeSet<&str> = pairs
            .iter()
            .flat_map(|(example, predicted)| [example.label.as_str(), *predicted])
            .filter(|label| *label != NO_LABEL)
            .collect();
        let options = work.options;
        let mut classes: BTreeMap<String, Counts> = if options.classes.is_empty() {
            let counts = |label: &&str| !options.negative.iter().any(|one| one == label);
            occurring
                .iter()
                .filter(|label| counts(label))
                .map(|label| ((*label).to_owned(), Counts::default()))
                .collect()
        } else {
            options
                .classes
                .iter()
                .map(|label| (label.clone(), Counts::default()))
                .collect()
        };
        if classes.is_empty() {
            return Err(DataError::mismatch(
                "no class is left to score",
                format!(
                    "labels are {}: name fewer as `negative`",
                    listed(occurring.iter().copied())
                ),
            ));
        }
        for (example, predicted) in &pairs {
            let right = example.label.as_str();
            if right == *predicted {
                if let Some(counts) = classes.get_mut(right) {
                    counts.found += 1;
                }
                continue;
            }
            if let Some(counts) = classes.get_mut(right) {
                counts.missed += 1;
            }
            if let Some(counts) = classes.get_mut(*predicted) {
                counts.invented += 1;
            }
        }
        let mut outcome = common(work, &pairs);
        counts::rows(&mut outcome, &classes);
        Ok(outcome)
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn doc(&self) -> &'static str {
        "percent of texts with the right label"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Classification]
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        Ok(common(work, &pairs(work)))
    }
}

fn pairs<'a>(work: &Work<'a>) -> Vec<(&'a Classification, &'a str)> {
    work.examples
        .iter()
        .filter_map(|example| match example {
            Example::Classification(inner) => {
                Some((inner, best_label(work.of(example)).unwrap_or(NO_LABEL)))
            }
            _ => None,
        })
        .collect()
}

/// Accuracy, the confusion of classes, and the samples.
fn common(work: &Work<'_>, pairs: &[(&Classification, &str)]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut confused: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut correct = 0;
    for (example, predicted) in pairs {
        let is_correct = example.label == *predicted;
        correct += u64::from(is_correct);
        *confused
            .entry((example.label.clone(), (*predicted).to_owned()))
            .or_default() += 1;
        let lines = work.predictions_of(&example.id);
        outcome.samples.push(Sample {
            example_id: example.id.clone(),
            text: example.text.clone(),
            question: None,
            gold: vec![Mark {
                label: Some(example.label.clone()),
                ..Mark::default()
            }],
            predicted: vec![Mark {
                label: Some((*predicted).to_owned()),
                score: super::best(lines).and_then(|one| one.score),
                ..Mark::default()
            }],
            correct: is_correct,
        });
    }
    let n = pairs.len() as u64;
    outcome.add("accuracy", None, percent(correct, n), n);
    confusion(&mut outcome, &confused, n);
    outcome
}
