//! Micro precision, recall and F1 of several labels a document, as BLURB reports it for HoC: examples whose ids differ in
//! a trailing number only are parts of one document, which has the labels of all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::{self, Counts, percent};
use super::{Mark, Metric, Outcome, Sample, Work};
use crate::error::DataError;
use crate::example::{Example, Task};
use crate::statistics::question_id;

/// See the head of this file.
pub(super) struct MultiLabelF1;

#[derive(Default)]
struct Labelled<'a> {
    text: Vec<&'a str>,
    right: BTreeSet<&'a str>,
    predicted: BTreeSet<&'a str>,
}

impl Metric for MultiLabelF1 {
    fn name(&self) -> &'static str {
        "multi_label_f1"
    }

    fn doc(&self) -> &'static str {
        "precision, recall and F1 over the labels of documents, all labels pooled"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::MultiLabel]
    }

    fn options(&self) -> &'static [&'static str] {
        &["classes", "negative", "id_separators"]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let options = work.options;
        let counts = |label: &&str| {
            let is = |one: &String| one == label;
            (options.classes.is_empty() || options.classes.iter().any(is))
                && !options.negative.iter().any(is)
        };
        let mut documents: BTreeMap<&str, Labelled<'_>> = BTreeMap::new();
        for example in work.examples {
            let Example::MultiLabel(inner) = example else {
                continue;
            };
            let document = documents
                .entry(question_id(&inner.id, &options.id_separators))
                .or_default();
            document.text.push(&inner.text);
            document
                .right
                .extend(inner.labels.iter().map(String::as_str).filter(counts));
            document.predicted.extend(
                work.of(example)
                    .iter()
                    .filter_map(|one| one.label.as_deref())
                    .filter(counts),
            );
        }
        let mut classes: BTreeMap<String, Counts> = BTreeMap::new();
        let mut outcome = Outcome::default();
        let mut equal = 0;
        for (id, document) in &documents {
            for label in document.right.union(&document.predicted) {
                let counts = classes.entry((*label).to_owned()).or_default();
                match (
                    document.right.contains(label),
                    document.predicted.contains(label),
                ) {
                    (true, true) => counts.found += 1,
                    (true, false) => counts.missed += 1,
                    _ => counts.invented += 1,
                }
            }
            let is_correct = document.right == document.predicted;
            equal += u64::from(is_correct);
            let marks = |labels: &BTreeSet<&str>| {
                let mark = |label: &&str| Mark {
                    label: Some((*label).to_owned()),
                    ..Mark::default()
                };
                labels.iter().map(mark).collect()
            };
            outcome.samples.push(Sample {
                example_id: (*id).to_owned(),
                text: document.text.join("\n"),
                question: None,
                gold: marks(&document.right),
                predicted: marks(&document.predicted),
                correct: is_correct,
            });
        }
        counts::rows(&mut outcome, &classes);
        let n = documents.len() as u64;
        outcome.add("subset_accuracy", None, percent(equal, n), n);
        Ok(outcome)
    }
}
