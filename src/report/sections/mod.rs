//! Parts of a page other than numbers: text, examples, confusion, curves, choices, the ledger. Knows no markup.

pub mod choice;
pub mod confusion;
pub mod curves;
pub mod files;
pub mod ledger;
pub mod options;
pub mod samples;

use serde::Serialize;

use crate::frame::same_text;
use crate::input::{Instance, text_of};
use crate::names::Names;
use crate::options::Where;

/// One part of the page, in order.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    /// Markdown as written.
    Text {
        /// As written.
        text: String,
    },
    /// One of the page's tables.
    Table {
        /// Its place among them.
        at: usize,
    },
    /// One of the page's charts.
    Chart {
        /// Its place among them.
        at: usize,
    },
    /// Examples to look at.
    Samples(samples::Samples),
    /// What was taken for what.
    Confusion(confusion::Confusion),
    /// What was chosen, and among what.
    Choice(choice::Choice),
    /// What the paper left open.
    Ledger(ledger::Ledger),
}

/// The instances of an input that agree with a filter on their axes.
///
/// An axis that an instance has not is none of its values.
pub(crate) fn chosen<'a>(
    files: &'a [Instance],
    port: &str,
    filter: &Where,
) -> Vec<(usize, &'a Instance)> {
    let fits = |instance: &Instance| {
        filter.iter().all(|(axis, wanted)| {
            let own = instance.axes.iter().find(|(name, _)| name == axis);
            let is = |value: &serde_json::Value| match own {
                Some((_, own)) => same_text(own, &text_of(value)),
                None => value.is_null(),
            };
            match wanted {
                serde_json::Value::Array(values) => values.iter().any(is),
                value => is(value),
            }
        })
    };
    files
        .iter()
        .enumerate()
        .filter(|(_, instance)| instance.input == port && fits(instance))
        .collect()
}

/// What tells an instance from others, but for the axis of repetition: `Named entities · base`.
pub(crate) fn group_name(instance: &Instance, names: Names<'_>) -> String {
    let values: Vec<String> = instance
        .axes
        .iter()
        .filter(|(axis, _)| instance.replicate.as_ref() != Some(axis))
        .map(|(axis, value)| names.value(axis, Some(value)))
        .collect();
    values.join(" · ")
}

/// Instances that differ in the axis of repetition alone, in the order of their first.
pub(crate) fn groups<'a>(
    instances: &[(usize, &'a Instance)],
    names: Names<'_>,
) -> Vec<(String, Vec<(usize, &'a Instance)>)> {
    let mut groups: Vec<(String, Vec<(usize, &Instance)>)> = Vec::new();
    for &(at, instance) in instances {
        let name = group_name(instance, names);
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push((at, instance)),
            None => groups.push((name, vec![(at, instance)])),
        }
    }
    groups
}
