//! The labels of a data set and their order. Knows nothing of files or models.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::example::{Example, Task};

/// `labels.json`: the labels of all splits of a data set; a label's place in the list is its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelSet {
    /// What the examples are for.
    pub task: Task,
    /// Tags for tagging, types for spans, classes for classification, empty for regression and question answering.
    pub labels: Vec<String>,
    /// Classes that stand for "no relation" and do not count as found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub negative: Vec<String>,
    /// Types of relations between concepts, for spans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<String>,
    /// How many texts an example has, for regression; where it is not known, any number that all of a split have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<usize>,
}

/// Calls `each` with every label of an example: tags, types of spans, or the class.
pub(crate) fn each_label<'a>(example: &'a Example, mut each: impl FnMut(&'a str)) {
    match example {
        Example::Tagging(example) => example.tags.iter().for_each(|tag| each(tag)),
        Example::Spans(example) => example.spans.iter().for_each(|span| each(&span.label)),
        Example::Classification(example) => each(&example.label),
        Example::MultiLabel(example) => example.labels.iter().for_each(|label| each(label)),
        Example::Regression(_) | Example::QuestionAnswering(_) => {}
    }
}

/// Labels in the usual order: alphabetical without regard to letter case, `O` last.
pub(crate) fn ordered(labels: &BTreeSet<String>) -> Vec<String> {
    let mut list: Vec<String> = labels.iter().cloned().collect();
    list.sort_by(|a, b| match (a == "O", b == "O") {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => a.to_lowercase().cmp(&b.to_lowercase()).then(a.cmp(b)),
    });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_comes_last_and_case_does_not_matter() {
        let labels = ["O", "S-x", "B-protein", "B-cell_type", "B-DNA"]
            .map(str::to_owned)
            .into();
        assert_eq!(
            ordered(&labels),
            ["B-cell_type", "B-DNA", "B-protein", "S-x", "O"]
        );
    }
}
