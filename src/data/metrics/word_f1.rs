//! Word-level F1: a word is right where it has the right type, whatever its chunk. The mean over types is what BLURB
//! reports for EBM PICO.

use std::collections::BTreeMap;

use super::counts::{self, Counts};
use super::span_f1::tags_of;
use super::{Metric, Outcome, Work};
use crate::error::DataError;
use crate::example::{Example, Task};
use crate::tags::Tag;

/// See the head of this file.
pub(super) struct WordF1;

impl Metric for WordF1 {
    fn name(&self) -> &'static str {
        "word_f1"
    }

    fn doc(&self) -> &'static str {
        "word-level precision, recall and F1 of each type; `macro_f1` is their mean"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Tagging]
    }

    fn options(&self) -> &'static [&'static str] {
        &["classes"]
    }

    fn score(&self, work: &Work<'_>) -> Result<Outcome, DataError> {
        let mut classes: BTreeMap<String, Counts> = BTreeMap::new();
        for class in &work.options.classes {
            classes.insert(class.clone(), Counts::default());
        }
        let is_counted = |class: &str| {
            work.options.classes.is_empty() || work.options.classes.iter().any(|one| one == class)
        };
        for example in work.examples {
            let Example::Tagging(example) = example else {
                continue;
            };
            let predicted = tags_of(example, work.predictions_of(&example.id))?;
            for (right, predicted) in example.tags.iter().zip(&predicted) {
                let right = type_of(right).filter(|class| is_counted(class));
                let predicted = type_of(predicted).filter(|class| is_counted(class));
                if right == predicted {
                    if let Some(class) = right {
                        classes.entry(class.to_owned()).or_default().found += 1;
                    }
                    continue;
                }
                if let Some(class) = right {
                    classes.entry(class.to_owned()).or_default().missed += 1;
                }
                if let Some(class) = predicted {
                    classes.entry(class.to_owned()).or_default().invented += 1;
                }
            }
        }
        let mut outcome = Outcome::default();
        counts::rows(&mut outcome, &classes);
        Ok(outcome)
    }
}

fn type_of(tag: &str) -> Option<&str> {
    match Tag::parse(tag) {
        Some(Tag::In(_, class)) => Some(class),
        Some(Tag::Outside) | None => None,
    }
}
