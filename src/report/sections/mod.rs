//! Parts of a page other than numbers: text, examples, confusion, curves, choices, settings, the ledger. Knows no markup.

pub mod checklist;
pub mod choice;
pub mod confusion;
pub mod curves;
pub mod files;
pub mod ledger;
pub mod options;
pub mod samples;
pub mod settings;

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
    /// Settings beside what is stated.
    Settings(settings::Settings),
    /// What venues ask, answered from records.
    Checklist(checklist::Checklist),
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

/// Instances that differ in the axis of repetition alone, in the order of their first, each with a name.
///
/// The name holds values of the axes that tell the groups apart: `Named entities · base`. An axis that follows from
/// those before it, as in a `zip`, says nothing more.
pub(crate) fn groups<'a>(
    instances: &[(usize, &'a Instance)],
    names: Names<'_>,
) -> Vec<(String, Vec<&'a Instance>)> {
    let groups = told_apart(instances).into_iter();
    let named = |axes: Axes<'_>| {
        let values = axes.iter();
        let values = values.map(|(axis, value)| names.value(axis, Some(value)));
        values.collect::<Vec<_>>().join(" · ")
    };
    groups
        .map(|(axes, members)| (named(axes), members))
        .collect()
}

/// Names of axes with a value of each.
pub(crate) type Axes<'a> = Vec<(&'a str, &'a str)>;

/// Instances that differ in the axis of repetition alone, in the order of their first, with the axes that tell the
/// groups apart.
pub(crate) fn told_apart<'a>(
    instances: &[(usize, &'a Instance)],
) -> Vec<(Axes<'a>, Vec<&'a Instance>)> {
    let mut groups: Vec<(Axes<'a>, Vec<&'a Instance>)> = Vec::new();
    for &(_, instance) in instances {
        let repeats = |axis: &str| instance.replicate.as_deref() == Some(axis);
        let axes = instance.axes.iter();
        let axes = axes.map(|(axis, value)| (axis.as_str(), value.as_str()));
        let axes: Axes<'a> = axes.filter(|(axis, _)| !repeats(axis)).collect();
        match groups.iter_mut().find(|(known, _)| *known == axes) {
            Some((_, members)) => members.push(instance),
            None => groups.push((axes, vec![instance])),
        }
    }
    let mut telling: Vec<&str> = Vec::new();
    let axes = groups.first().map_or(&[][..], |(axes, _)| axes);
    for &(axis, _) in axes {
        let of = |group: &[(&str, &str)], axis: &str| {
            let own = group.iter().find(|(name, _)| *name == axis);
            own.map(|(_, value)| (*value).to_owned())
        };
        let is_new = groups.iter().enumerate().any(|(at, (left, _))| {
            groups[..at].iter().any(|(right, _)| {
                of(left, axis) != of(right, axis)
                    && telling
                        .iter()
                        .all(|known| of(left, known) == of(right, known))
            })
        });
        if is_new {
            telling.push(axis);
        }
    }
    for (axes, _) in &mut groups {
        axes.retain(|(axis, _)| telling.contains(axis));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_name_holds_what_tells_groups_apart() {
        let instance = |axes: &[(&str, &str)]| Instance {
            input: "scores".to_owned(),
            axes: axes
                .iter()
                .map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()))
                .collect(),
            replicate: Some("seed".to_owned()),
            ..Instance::default()
        };
        let all = [
            instance(&[
                ("size", "base"),
                ("task", "ner"),
                ("metric", "f1"),
                ("seed", "1"),
            ]),
            instance(&[
                ("size", "base"),
                ("task", "ner"),
                ("metric", "f1"),
                ("seed", "2"),
            ]),
            instance(&[
                ("size", "base"),
                ("task", "qa"),
                ("metric", "em"),
                ("seed", "1"),
            ]),
        ];
        let labels = BTreeMap::from([("ner".to_owned(), "Entities".to_owned())]);
        let chosen: Vec<(usize, &Instance)> = all.iter().enumerate().collect();
        let groups = groups(&chosen, Names(&labels));
        let shown: Vec<(&str, usize)> = groups
            .iter()
            .map(|(name, members)| (name.as_str(), members.len()))
            .collect();
        assert_eq!(shown, [("Entities", 2), ("qa", 1)]);
    }
}
