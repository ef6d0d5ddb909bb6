//! Rows, means and comparisons as columns of a file and as JSON. Knows nothing of terminals.

use std::collections::{BTreeMap, BTreeSet};

use report::frame::SheetColumn;
use serde_json::{Map, Value, json};

use super::columns::Naming;
use super::rows::{Field, Row, Scalar, Subject, full_name};
use super::{Named, axis_json};

/// A row as JSON, with its whole configuration.
pub(super) fn row_json(row: &Row<'_>) -> Value {
    let instance = &row.instance;
    let axes: Map<String, Value> = row.spec.axes.iter().map(axis_json).collect();
    json!({
        "stage": row.spec.stage, "instance": row.spec.name, "kind": row.spec.kind, "axes": axes,
        "parameters": serde_json::from_str::<Value>(&row.spec.config).unwrap_or_default(),
        "state": instance.standing, "because": instance.because, "key": instance.key,
        "seconds": instance.seconds, "device": instance.device, "numbers": instance.numbers,
        "numbers_gone": instance.numbers_gone,
    })
}

/// One row an instance; every axis, parameter and number has a column of its own, or those that are named. Texts of
/// several lines, such as scripts, are no columns unless named.
pub(super) fn wide(rows: &[&Row<'_>], named: &[Named]) -> Vec<SheetColumn> {
    let mut names = Names::default();
    let values = |subject: &Subject| {
        rows.iter()
            .map(|row| subject.value(row))
            .collect::<Vec<_>>()
    };
    if !named.is_empty() {
        return named
            .iter()
            .map(|named| column(names.free(&named.name, ""), values(&named.subject)))
            .collect();
    }
    let field = |names: &mut Names, word: &str, field| {
        column(names.free(word, "field."), values(&Subject::Field(field)))
    };
    let mut columns = vec![
        field(&mut names, "stage", Field::Stage),
        field(&mut names, "instance", Field::Instance),
        field(&mut names, "kind", Field::Kind),
    ];
    let ends = [
        ("state", Field::State),
        ("seconds", Field::Seconds),
        ("device", Field::Device),
        ("because", Field::Because),
        ("key", Field::Key),
    ];
    names
        .taken
        .extend(ends.iter().map(|(word, _)| (*word).to_owned()));
    for axis in distinct(
        rows.iter()
            .flat_map(|row| row.spec.axes.iter().map(|axis| axis.name.as_str())),
    ) {
        let values = values(&Subject::Axis(axis.to_owned()));
        columns.push(column(names.free(axis, "axis."), values));
    }
    let paths = rows
        .iter()
        .flat_map(|row| row.parameters.iter().map(|(path, _)| path.as_str()));
    let mut places: BTreeMap<&str, Vec<Option<Scalar<'_>>>> = BTreeMap::new();
    let order = distinct(paths);
    for (at, row) in rows.iter().enumerate() {
        for (path, value) in &row.parameters {
            let cells = places.entry(path).or_insert_with(|| vec![None; rows.len()]);
            cells[at] = Some(Scalar::Text(value.as_str().into()));
        }
    }
    for path in order {
        let cells = places.remove(path).unwrap_or_default();
        let is_long =
            |value: &Scalar<'_>| matches!(value, Scalar::Text(text) if text.contains('\n'));
        if cells.iter().flatten().any(is_long) {
            continue;
        }
        columns.push(column(names.free(&format!("with.{path}"), ""), cells));
    }
    for (name, cells) in numbers(rows) {
        columns.push(SheetColumn::Number(names.free(&name, "number."), cells));
    }
    names.taken.clear();
    columns.extend(ends.map(|(word, of)| field(&mut names, word, of)));
    columns
}

/// Number by number over all rows. Names leave out what no stage needs to tell its numbers apart.
fn numbers(rows: &[&Row<'_>]) -> Vec<(String, Vec<Option<f64>>)> {
    let mut by_stage: Vec<(&str, Vec<usize>)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        match by_stage
            .iter_mut()
            .find(|(stage, _)| *stage == row.spec.stage)
        {
            Some((_, places)) => places.push(at),
            None => by_stage.push((&row.spec.stage, vec![at])),
        }
    }
    let mut names: Vec<String> = Vec::new();
    let mut cells: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for (_, places) in by_stage {
        let of_stage: Vec<&Row<'_>> = places.iter().map(|at| rows[*at]).collect();
        let naming = Naming::of(&of_stage);
        for at in places {
            for number in &rows[at].instance.numbers {
                let name = naming.name(number);
                let cells = cells.entry(name).or_insert_with_key(|name| {
                    names.push(name.clone());
                    vec![None; rows.len()]
                });
                debug_assert!(cells[at].is_none(), "{} comes twice", full_name(number));
                cells[at] = Some(number.value);
            }
        }
    }
    names
        .into_iter()
        .map(|name| {
            let cells = cells.remove(&name).unwrap_or_default();
            (name, cells)
        })
        .collect()
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

/// A column of counts or of numbers where every value is one, else of text.
fn column(name: String, values: Vec<Option<Scalar<'_>>>) -> SheetColumn {
    fn all<T>(
        values: &[Option<Scalar<'_>>],
        read: impl Fn(&Scalar<'_>) -> Option<T>,
    ) -> Option<Vec<Option<T>>> {
        let cells: Vec<Option<T>> = values
            .iter()
            .map(|value| value.as_ref().and_then(&read))
            .collect();
        let is_read = values
            .iter()
            .zip(&cells)
            .all(|(value, cell)| value.is_some() == cell.is_some());
        (is_read && cells.iter().any(Option::is_some)).then_some(cells)
    }
    let count = |value: &Scalar<'_>| match value {
        Scalar::Text(text) => text.parse::<u64>().ok(),
        Scalar::Number(_) => None,
    };
    let number = |value: &Scalar<'_>| value.number().filter(|number| number.is_finite());
    if let Some(cells) = all(&values, count) {
        return SheetColumn::Count(name, cells);
    }
    if let Some(cells) = all(&values, number) {
        return SheetColumn::Number(name, cells);
    }
    SheetColumn::Text(
        name,
        values
            .into_iter()
            .map(|value| value.map(|value| value.text()))
            .collect(),
    )
}

/// Names of columns, each once.
#[derive(Default)]
struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    fn free(&mut self, name: &str, prefix: &str) -> String {
        let mut name = name.to_owned();
        while !self.taken.insert(name.clone()) {
            name = format!(
                "{}{name}",
                if prefix.is_empty() { "again." } else { prefix }
            );
        }
        name
    }
}

/// JSON objects as columns: what they hold inside of others comes out with a dot between names, lists as text.
pub(super) fn tidy(lines: &[Value]) -> Vec<SheetColumn> {
    let mut names: Vec<String> = Vec::new();
    let mut flat: Vec<BTreeMap<String, Value>> = Vec::with_capacity(lines.len());
    for line in lines {
        let mut cells = BTreeMap::new();
        flatten("", line, &mut |name, value| {
            if !names.contains(&name) {
                names.push(name.clone());
            }
            cells.insert(name, value);
        });
        flat.push(cells);
    }
    names
        .into_iter()
        .map(|name| {
            let cells = flat.iter().map(|cells| match cells.get(&name) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(Scalar::Text(text.as_str().into())),
                Some(other) => Some(Scalar::Text(other.to_string().into())),
            });
            let cells: Vec<Option<Scalar<'_>>> = cells.collect();
            column(name.clone(), cells)
        })
        .collect()
}

fn flatten(path: &str, value: &Value, add: &mut impl FnMut(String, Value)) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                // Axes are columns of their own name, as in other tables.
                let path = match path {
                    "" | "axes" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                let path = if name == "axes" && value.is_object() {
                    "axes".to_owned()
                } else {
                    path
                };
                flatten(&path, value, add);
            }
        }
        Value::Array(items) if items.is_empty() => add(path.to_owned(), Value::Null),
        Value::Array(items) => {
            let words = items.iter().map(|item| match item {
                Value::String(text) => text.clone(),
                Value::Object(entries) => entries
                    .values()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(" "),
                other => other.to_string(),
            });
            add(
                path.to_owned(),
                Value::String(words.collect::<Vec<_>>().join("; ")),
            );
        }
        leaf => add(path.to_owned(), leaf.clone()),
    }
}
