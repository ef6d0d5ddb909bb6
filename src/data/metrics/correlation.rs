//! Pearson's correlation of predicted and right numbers, as BLURB reports it for BIOSSES.

use super::counts::mean;
use super::{Mark, Metric, Outcome, Sample, Work, best};
use crate::error::{DataError, excerpt};
use crate::example::{Example, Task};

/// See the head of this file.
pub(super) struct Pearson;

impl Metric for Pearson {
    fn name(&self) -> &'static str {
        "pearson"
    }

    fn doc(&self) -> &'static str {
        "Pearson's correlation of predicted and right numbers, times 100, and the mean squared error"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let mut outcome = Outcome::default();
        let mut pairs = Vec::new();
        for example in work.examples {
            let Example::Regression(pair) = example else {
                continue;
            };
            let Some(predicted) = best(work.of(example)).and_then(|one| one.score) else {
                return Err(DataError::mismatch(
                    format!("the prediction for `{}` has no number", excerpt(&pair.id)),
                    "give it in `score`; a correlation cannot leave examples out",
                ));
            };
            pairs.push((pair.value, predicted));
            let number = |value: f64| Mark {
                score: Some(value),
                ..Mark::default()
            };
            outcome.samples.push(Sample {
                example_id: pair.id.clone(),
                text: pair.texts.join("\n"),
                question: None,
                gold: vec![number(pair.value)],
                predicted: vec![number(predicted)],
                correct: pair.value == predicted,
            });
        }
        let n = pairs.len() as u64;
        let Some(correlation) = pearson(&pairs) else {
            return Err(DataError::mismatch(
                format!("{n} pairs of numbers have no correlation: one side is always the same"),
                "look at the predictions: the model answers the same to everything",
            ));
        };
        outcome.add("pearson", None, 100.0 * correlation, n);
        let squares = pairs
            .iter()
            .map(|(right, predicted)| (right - predicted).powi(2));
        outcome.add("mean_squared_error", None, mean(squares), n);
        Ok(outcome)
    }
}

/// Pearson's r, in [-1, 1]; `None` where one side does not vary.
fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let mean_a = mean(pairs.iter().map(|pair| pair.0));
    let mean_b = mean(pairs.iter().map(|pair| pair.1));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    let r = ab / (aa.sqrt() * bb.sqrt());
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}
