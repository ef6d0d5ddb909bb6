//! Instances with their axes, parameters and numbers by name, and what names of the command line mean among them.
//! Knows nothing of how rows are shown.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use flow::diagnostic::Diagnostic;
use flow::metric::MetricRow;
use flow::results::Instance;
use flow::spec::{StageSpec, Workflow, suggest};
use serde_json::Value;

use crate::cli::values::{Comparison, Condition};

/// An instance with its place in the file.
pub(super) struct Row<'a> {
    pub(super) spec: &'a StageSpec,
    /// Leaves of the configuration by their path, as text; lists are one leaf.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) instance: Instance,
}

/// The rows of instances.
pub(super) fn rows(workflow: &Workflow, instances: Vec<Instance>) -> Vec<Row<'_>> {
    instances
        .into_iter()
        .map(|instance| {
            let spec = &workflow.stages[instance.id.index()];
            let mut parameters = Vec::new();
            if let Ok(config) = serde_json::from_str(&spec.config) {
                flatten("", &config, &mut parameters);
            }
            Row {
                spec,
                parameters,
                instance,
            }
        })
        .collect()
}

fn flatten(path: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(&path, value, into);
            }
        }
        Value::String(text) => into.push((path.to_owned(), text.clone())),
        leaf => into.push((path.to_owned(), leaf.to_string())),
    }
}

/// What a value of a row is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(f64),
}

impl Scalar<'_> {
    /// As a number, where it reads as one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }

    /// As text in full.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone().into_owned(),
        }
    }
}

/// A field that every row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Stage,
    Instance,
    Kind,
    State,
    Seconds,
    Device,
    Because,
    Key,
}

/// Fields by the words for them.
const FIELDS: [(&str, Field); 9] = [
    ("stage", Field::Stage),
    ("instance", Field::Instance),
    ("kind", Field::Kind),
    ("state", Field::State),
    ("time", Field::Seconds),
    ("seconds", Field::Seconds),
    ("device", Field::Device),
    ("because", Field::Because),
    ("key", Field::Key),
];

/// What a name means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Subject {
    Axis(String),
    /// By its whole path.
    Parameter(String),
    /// As written: `f1`, `dev/f1`, `ddi/dev/f1[effect]`.
    Number(String),
    Field(Field),
}

impl Subject {
    /// The value of a row; `None` where it has none.
    pub(super) fn value<'r>(&self, row: &'r Row<'_>) -> Option<Scalar<'r>> {
        let text = |text: &'r str| Some(Scalar::Text(Cow::Borrowed(text)));
        match self {
            Self::Axis(name) => {
                let axis = row.spec.axes.iter().find(|axis| axis.name == *name)?;
                Some(Scalar::Text(bare(&axis.text)))
            }
            Self::Parameter(path) => {
                let found = row.parameters.iter().find(|(name, _)| name == path)?;
                text(&found.1)
            }
            Self::Number(selector) => {
                let mut numbers = row.instance.numbers.iter();
                let found = numbers.find(|number| is_meant(number, selector))?;
                Some(Scalar::Number(found.value))
            }
            Self::Field(field) => match field {
                Field::Stage => text(&row.spec.stage),
                Field::Instance => text(&row.spec.name),
                Field::Kind => text(&row.spec.kind),
                Field::State => text(row.instance.standing.word()),
                Field::Seconds => row.instance.seconds.map(Scalar::Number),
                Field::Device => row.instance.device.as_deref().and_then(text),
                Field::Because => Some(row.instance.because.as_str())
                    .filter(|why| !why.is_empty())
                    .and_then(text),
                Field::Key => {
                    let key = row.instance.key?;
                    Some(Scalar::Text(Cow::Owned(key.to_string())))
                }
            },
        }
    }

    /// Whether it is known before a stage runs, so that it tells which rows there should be.
    pub(super) fn is_planned(&self) -> bool {
        matches!(
            self,
            Self::Axis(_)
                | Self::Parameter(_)
                | Self::Field(Field::Stage | Field::Kind | Field::Instance)
        )
    }
}

/// The text of an axis without the quotes that tell it from a number.
pub(super) fn bare(text: &str) -> Cow<'_, str> {
    match text
        .starts_with('"')
        .then(|| serde_json::from_str::<String>(text))
    {
        Some(Ok(inner)) => Cow::Owned(inner),
        _ => Cow::Borrowed(text),
    }
}

/// Whether `[DATASET/][SPLIT/]METRIC[\[CLASS\]]` means a number; without a class it means the number over all of them.
pub(super) fn is_meant(number: &MetricRow, selector: &str) -> bool {
    let rest = match &number.class {
        None => Some(selector),
        Some(class) => selector
            .strip_suffix(']')
            .and_then(|rest| rest.strip_suffix(class.as_str()))
            .and_then(|rest| rest.strip_suffix('[')),
    };
    let Some(prefix) = rest.and_then(|rest| rest.strip_suffix(number.metric.as_str())) else {
        return false;
    };
    let (dataset, split) = (number.dataset.as_deref(), number.split.as_deref());
    prefix.is_empty()
        || prefix.strip_suffix('/').is_some_and(|prefix| {
            Some(prefix) == dataset
                || Some(prefix) == split
                || dataset.zip(split).is_some_and(|(dataset, split)| {
                    prefix
                        .strip_prefix(dataset)
                        .and_then(|rest| rest.strip_prefix('/'))
                        == Some(split)
                })
        })
}

/// The whole name of a number.
pub(in crate::cli) fn full_name(number: &MetricRow) -> String {
    let parts = [
        number.dataset.as_deref(),
        number.split.as_deref(),
        Some(number.metric.as_str()),
    ];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
    match &number.class {
        Some(class) => format!("{name}[{class}]"),
        None => name,
    }
}

/// What a name means among rows: an axis, a parameter (by its path or the end of it), a number, or a field. `axis.`,
/// `with.` and `number.` before it say which.
pub(super) fn resolve(name: &str, rows: &[Row<'_>]) -> Result<Subject, Diagnostic> {
    if let Some(axis) = name.strip_prefix("axis.")
        && has_axis(rows, axis)
    {
        return Ok(Subject::Axis(axis.to_owned()));
    }
    if let Some(path) = name.strip_prefix("with.")
        && let Some(path) = parameter(path, rows)?
    {
        return Ok(Subject::Parameter(path));
    }
    if let Some(selector) = name.strip_prefix("number.")
        && has_number(selector, rows)?
    {
        return Ok(Subject::Number(selector.to_owned()));
    }
    if has_axis(rows, name) {
        return Ok(Subject::Axis(name.to_owned()));
    }
    let (parameter, is_number) = (parameter(name, rows)?, has_number(name, rows)?);
    match (parameter, is_number) {
        (Some(_), true) => {
            let message = format!("`{name}` is a parameter and a number");
            return Err(Diagnostic::error("results::ambiguous", message)
                .help(format!("write `with.{name}` or `number.{name}`")));
        }
        (Some(path), false) => return Ok(Subject::Parameter(path)),
        (None, true) => return Ok(Subject::Number(name.to_owned())),
        (None, false) => {}
    }
    if let Some((_, field)) = FIELDS.iter().find(|(word, _)| *word == name) {
        return Ok(Subject::Field(*field));
    }
    let names = names(rows);
    let help = suggest::help(
        name,
        names.iter().map(String::as_str),
        "no stage is selected",
    );
    let help = match help.ends_with('?') {
        true => help,
        false => format!("{help}; a number is known when an instance has it"),
    };
    let message = format!("no row has an axis, a parameter or a number `{name}`");
    Err(Diagnostic::error("results::unknown", message).help(help))
}

fn has_axis(rows: &[Row<'_>], name: &str) -> bool {
    rows.iter()
        .any(|row| row.spec.axes.iter().any(|axis| axis.name == name))
}

/// The path of the parameter that `name` is, or is the end of.
fn parameter(name: &str, rows: &[Row<'_>]) -> Result<Option<String>, Diagnostic> {
    let mut ends = BTreeSet::new();
    for (path, _) in rows.iter().flat_map(|row| &row.parameters) {
        if path == name {
            return Ok(Some(path.clone()));
        }
        if path
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
            && !ends.contains(path)
        {
            ends.insert(path.clone());
        }
    }
    if ends.len() > 1 {
        let paths: Vec<&str> = ends.iter().map(String::as_str).collect();
        let message = format!("`{name}` is the end of several parameters");
        return Err(Diagnostic::error("results::ambiguous", message)
            .help(format!("write one of {}", suggest::list(&paths))));
    }
    Ok(ends.pop_first())
}

/// Whether a row has the number; an error when it means several numbers of one row.
fn has_number(selector: &str, rows: &[Row<'_>]) -> Result<bool, Diagnostic> {
    let mut is_there = false;
    for row in rows {
        let numbers = row.instance.numbers.iter();
        let meant: Vec<String> = numbers
            .filter(|number| is_meant(number, selector))
            .map(full_name)
            .collect();
        if meant.len() > 1 {
            let names: Vec<&str> = meant.iter().map(String::as_str).collect();
            let message = format!("`{selector}` is several numbers of `{}`", row.spec.name);
            return Err(Diagnostic::error("results::ambiguous", message)
                .help(format!("write one of {}", suggest::list(&names))));
        }
        is_there |= !meant.is_empty();
    }
    Ok(is_there)
}

/// Names that a person may have meant.
fn names(rows: &[Row<'_>]) -> Vec<String> {
    let mut names = Vec::new();
    let mut seen = BTreeSet::new();
    let mut add = |name: &str| {
        if !name.is_empty() && seen.insert(name.to_owned()) {
            names.push(name.to_owned());
        }
    };
    for row in rows {
        row.spec.axes.iter().for_each(|axis| add(&axis.name));
    }
    for row in rows {
        let overall = row
            .instance
            .numbers
            .iter()
            .filter(|number| number.class.is_none());
        overall.for_each(|number| add(&number.metric));
    }
    for row in rows {
        row.parameters.iter().for_each(|(path, _)| add(path));
    }
    names
}

/// A condition whose name is known.
pub(super) struct Filter<'c> {
    pub(super) subject: Subject,
    condition: &'c Condition,
}

impl<'c> Filter<'c> {
    pub(super) fn new(condition: &'c Condition, rows: &[Row<'_>]) -> Result<Self, Diagnostic> {
        Ok(Self {
            subject: resolve(&condition.name, rows)?,
            condition,
        })
    }

    /// Whether a row passes; one that has no such value never does.
    pub(super) fn passes(&self, row: &Row<'_>) -> bool {
        let Some(value) = self.subject.value(row) else {
            return false;
        };
        let wanted = &self.condition.value;
        let is_equal = || report::frame::same_text(&value.text(), wanted);
        let order = || {
            let (left, right) = (value.number()?, wanted.parse::<f64>().ok()?);
            left.partial_cmp(&right)
        };
        match self.condition.comparison {
            Comparison::Equal => is_equal(),
            Comparison::NotEqual => !is_equal(),
            Comparison::Less => order() == Some(Ordering::Less),
            Comparison::AtMost => order().is_some_and(Ordering::is_le),
            Comparison::More => order() == Some(Ordering::Greater),
            Comparison::AtLeast => order().is_some_and(Ordering::is_ge),
        }
    }
}

/// Rows by a value, numbers as numbers; rows without it come last whatever the direction.
pub(super) fn sort(rows: &mut [Row<'_>], subject: &Subject, descending: bool) {
    rows.sort_by(|a, b| {
        let (left, right) = (subject.value(a), subject.value(b));
        let order = match (&left, &right) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (Some(left), Some(right)) => match (left.number(), right.number()) {
                (Some(left), Some(right)) => left.total_cmp(&right),
                _ => left.text().cmp(&right.text()),
            },
        };
        if descending { order.reverse() } else { order }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_meant_by_the_ends_of_their_names() {
        let number = MetricRow {
            dataset: Some("ddi".into()),
            split: Some("dev".into()),
            class: Some("effect/[a]".into()),
            ..MetricRow::new("f1", 0.5)
        };
        assert_eq!(full_name(&number), "ddi/dev/f1[effect/[a]]");
        for meant in [
            "f1[effect/[a]]",
            "dev/f1[effect/[a]]",
            "ddi/f1[effect/[a]]",
            "ddi/dev/f1[effect/[a]]",
        ] {
            assert!(is_meant(&number, meant), "{meant}");
        }
        for other in [
            "f1",
            "1[effect/[a]]",
            "test/f1[effect/[a]]",
            "dev/ddi/f1[effect/[a]]",
            "/f1[effect/[a]]",
        ] {
            assert!(!is_meant(&number, other), "{other}");
        }
        assert!(is_meant(&MetricRow::new("loss.train", 0.5), "loss.train"));
    }
}
