//! Numbers with named columns: read from inputs, made from literals, handed on as metric rows. Computes nothing.

use std::collections::{BTreeMap, BTreeSet};

use flow::kind::{InputItem, StageContext, StageError};
use flow::metric::MetricRow;
use flow::notes::InputRow;
use serde_json::Value;

use super::typed::{Parts, name};
use super::{Aggregate, Group, PORT, RESERVED};

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Its name.
    pub(super) metric: String,
    /// Its columns; absent ones have no value.
    pub(super) columns: BTreeMap<String, String>,
    /// The number.
    pub(super) value: f64,
    /// What it is made of.
    pub(super) parts: Parts,
}

impl Row {
    /// `dataset ddi, system ours`, for messages.
    pub(super) fn place(&self) -> String {
        let parts: Vec<String> = self
            .columns
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        match parts.is_empty() {
            true => "no column".to_owned(),
            false => parts.join(", "),
        }
    }
}

/// All numbers so far.
pub(super) struct Table {
    /// In order: the input's, published ones, derived ones.
    pub(super) rows: Vec<Row>,
    /// Where those of the input stand there.
    pub(super) read: Vec<InputRow>,
}

impl Table {
    /// The numbers of the input and the published ones, with the columns of groups.
    ///
    /// # Errors
    /// Inputs that hold no numbers, several repetitions, and a published number without a finite value.
    pub(super) fn read(config: &Aggregate, stage: &StageContext) -> Result<Self, StageError> {
        let items = (stage.inputs.get(PORT)).map_or(&[][..], |input| &input.items);
        let mut rows = Vec::new();
        let mut read = Vec::new();
        let mut repetitions = BTreeSet::new();
        for (at, item) in items.iter().enumerate() {
            let repetition = item.axes.iter().find(|axis| axis.replicate);
            repetitions.insert(repetition.map(|axis| (axis.name.as_str(), axis.text.as_str())));
            for row in read_rows(stage, item)? {
                let parts = Parts::row(read.len());
                read.push(InputRow {
                    item: at,
                    name: name(&row),
                });
                let mut columns: BTreeMap<String, String> = item
                    .axes
                    .iter()
                    .filter(|axis| !axis.replicate)
                    .map(|axis| (axis.name.clone(), axis.value()))
                    .collect();
                let fields = [
                    ("dataset", row.dataset),
                    ("split", row.split),
                    ("class", row.class),
                ];
                for (name, value) in fields {
                    if let Some(value) = value {
                        columns.insert(name.to_owned(), value);
                    }
                }
                let own = config.own.iter();
                columns.extend(own.map(|(name, value)| (name.clone(), text_of(value))));
                rows.push(Row {
                    metric: row.metric,
                    columns,
                    value: row.value,
                    parts,
                });
            }
        }
        if repetitions.len() > 1 {
            let names: Vec<String> = repetitions
                .into_iter()
                .map(|one| {
                    one.map_or_else(
                        || "none".to_owned(),
                        |(name, value)| format!("{name}={value}"),
                    )
                })
                .collect();
            return Err(StageError::new(
                "aggregate::repetitions",
                format!("`{PORT}` holds several repetitions: {}", names.join(", ")),
            )
            .help("aggregate each on its own, so that their spread is that of the result: give this stage the same `replicate`"));
        }
        for published in &config.published {
            if !published.value.is_finite() {
                return Err(StageError::new(
                    "aggregate::published",
                    format!("a published `{}` is no finite number", published.metric),
                )
                .help("leave out what was not published"));
            }
            let columns = published.columns.iter();
            rows.push(Row {
                metric: published.metric.clone(),
                columns: columns
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name.clone(), text_of(value)))
                    .collect(),
                value: published.value,
                parts: Parts::typed(published.source.as_deref().or(config.source.as_deref())),
            });
        }
        for row in &mut rows {
            for group in &config.groups {
                if let Some(value) = group.value_of(row) {
                    row.columns.insert(group.column.clone(), value);
                }
            }
        }
        Ok(Self { rows, read })
    }
}

impl Group {
    /// The value of the new column for a row; none where it belongs nowhere.
    fn value_of(&self, row: &Row) -> Option<String> {
        let of = row.columns.get(&self.of)?;
        let is_member = |members: &Vec<Value>| members.iter().any(|one| text_of(one) == *of);
        let found = self.values.iter().find(|(_, members)| is_member(members));
        found.map(|(value, _)| value.clone())
    }

    /// The values of the other column that belong to `value`.
    pub(super) fn members(&self, value: &str) -> Option<Vec<String>> {
        let members = self.values.get(value)?;
        Some(members.iter().map(text_of).collect())
    }
}

/// Derived rows as metric rows, each said once.
///
/// # Errors
/// Two rows that nothing in a metric row tells apart.
pub(super) fn numbers(
    rows: &[Row],
    metric: &str,
    fields: &BTreeMap<String, String>,
) -> Result<Vec<MetricRow>, StageError> {
    let mut numbers: Vec<MetricRow> = Vec::new();
    for row in rows {
        let field = |name: &str| {
            let column = fields.get(name).map_or(name, String::as_str);
            row.columns.get(column).cloned()
        };
        let number = MetricRow {
            dataset: field("dataset"),
            split: row.columns.get("split").cloned(),
            class: field("class"),
            ..MetricRow::new(metric, row.value)
        };
        let is_same = |one: &MetricRow| {
            (&one.dataset, &one.split, &one.class)
                == (&number.dataset, &number.split, &number.class)
        };
        if numbers.iter().any(is_same) {
            return Err(StageError::new(
                "aggregate::twice",
                format!("two numbers `{metric}` would be told apart by nothing that a number says"),
            )
            .detail(format!("the second is of {}", row.place()))
            .help("put a column in a field, such as `fields: { class: system }`, or make the step `hidden: true` where only later steps use it"));
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// A value as text: strings bare, everything else as JSON.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn read_rows(stage: &StageContext, item: &InputItem) -> Result<Vec<MetricRow>, StageError> {
    let wrong = |why: String| {
        StageError::new(
            "aggregate::not_rows",
            format!(
                "`{PORT}` holds `{}`, which is no file of numbers: {why}",
                item.path
            ),
        )
        .help("name the stage alone: `scores: { all: STAGE }` reads its numbers")
    };
    let path = stage.folder.join(&item.path);
    if path.is_dir() {
        return Err(wrong("it is a folder".to_owned()));
    }
    let text = fs_err::read_to_string(&path)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let rows =
        lines.map(|line| serde_json::from_str(line).map_err(|error| wrong(error.to_string())));
    let rows = rows.collect::<Result<Vec<MetricRow>, _>>()?;
    for axis in &item.axes {
        if RESERVED.contains(&axis.name.as_str()) {
            return Err(wrong(format!("its axis is called `{}`", axis.name)));
        }
    }
    Ok(rows)
}
