//! The instances of a stage as a table: axes, what varies, numbers, state, time. Knows nothing of files.

use flow::results::Standing;

use super::columns::{Digits, Numbers, Parameters, standings};
use super::rows::{Row, Scalar, Subject, bare};
use super::sheet::{Column, Weight, lay_out, some};
use super::{Named, Shown};
use crate::console::format;
use crate::console::table::Align;
use crate::console::terminal::{Ink, Look};

/// The table of the rows of one stage, and remarks about it. `first` are numbers that come before the others.
pub(super) fn table(
    rows: &[&Row<'_>],
    columns: &[Named],
    first: &[Subject],
    look: Look,
) -> Option<Shown> {
    let stage = rows.first()?;
    let heading = format!(
        "{} ({}): {}",
        stage.spec.stage,
        stage.spec.kind,
        standings(rows.iter().copied())
    );
    let (columns, mut remarks) = if columns.is_empty() {
        all_columns(rows, first)
    } else {
        (named_columns(rows, columns)?, Vec::new())
    };
    let (text, left_out) = lay_out(&columns, rows.len(), look);
    if !left_out.is_empty() {
        remarks.push(format!(
            "without room: {}; `--columns` says which to show, `--csv` has all",
            some(&left_out, 12)
        ));
    }
    Some(Shown {
        text: format!("{heading}\n{text}"),
        remarks,
    })
}

fn all_columns(rows: &[&Row<'_>], first: &[Subject]) -> (Vec<Column>, Vec<String>) {
    let parameters = Parameters::of(rows);
    let numbers = Numbers::of(rows);
    let mut columns = axes(rows, None);
    for (label, path) in &parameters.varying {
        let subject = Subject::Parameter(path.clone());
        columns.push(column(rows, label, &subject, Weight::Setting));
    }
    let asked = numbers.asked(rows, first);
    let mut order: Vec<usize> = (0..numbers.names.len()).collect();
    order.sort_by_key(|at| !asked.contains(&numbers.names[*at]));
    for (place, at) in order.into_iter().enumerate() {
        let weight = if place == 0 {
            Weight::First
        } else {
            Weight::Number
        };
        columns.push(number_column(
            &numbers.names[at],
            &numbers.column(at),
            weight,
        ));
    }
    columns.push(state("STATE", rows));
    columns.push(column(
        rows,
        "TIME",
        &Subject::Field(super::rows::Field::Seconds),
        Weight::Must,
    ));
    (columns, remarks(rows, &parameters))
}

/// What a table of a stage leaves unsaid.
pub(super) fn remarks(rows: &[&Row<'_>], parameters: &Parameters) -> Vec<String> {
    let mut remarks = Vec::new();
    let same: Vec<String> = parameters
        .same
        .iter()
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    if !same.is_empty() && rows.len() > 1 {
        remarks.push(format!("the same in all: {}", some(&same, 12)));
    }
    let gone = rows.iter().filter(|row| row.instance.numbers_gone).count();
    if gone > 0 {
        remarks.push(format!(
            "the numbers of {} are not in the cache any more; `pipeline run FILE STAGE --force STAGE` makes them again",
            format::counted(gone, "instance")
        ));
    }
    remarks
}

/// The columns that were asked for; `None` when the stage has none of them.
fn named_columns(rows: &[&Row<'_>], wanted: &[Named]) -> Option<Vec<Column>> {
    let has = |subject: &Subject| rows.iter().any(|row| subject.value(row).is_some());
    let is_own = |named: &&Named| !matches!(named.subject, Subject::Axis(_) | Subject::Field(_));
    let matters = |named: &&Named| is_own(named) || !wanted.iter().any(|named| is_own(&named));
    if !wanted
        .iter()
        .filter(matters)
        .any(|named| has(&named.subject))
    {
        return None;
    }
    let columns = wanted
        .iter()
        .filter(|named| has(&named.subject))
        .map(|named| {
            if named.subject == Subject::Field(super::rows::Field::State) {
                return state(&named.name, rows);
            }
            column(rows, &named.name, &named.subject, Weight::First)
        });
    Some(columns.collect())
}

/// A column each axis but `without`.
pub(super) fn axes(rows: &[&Row<'_>], without: Option<&str>) -> Vec<Column> {
    let axes = rows.first().map_or(&[][..], |row| row.spec.axes.as_slice());
    let axes = axes
        .iter()
        .enumerate()
        .filter(|(_, axis)| Some(axis.name.as_str()) != without);
    axes.map(|(at, axis)| {
        let cells: Vec<String> = rows
            .iter()
            .map(|row| {
                row.spec
                    .axes
                    .get(at)
                    .map(|axis| bare(&axis.text).into_owned())
                    .unwrap_or_default()
            })
            .collect();
        let align = align_of(&cells);
        Column::new(&axis.name, align, Weight::Must, cells)
    })
    .collect()
}

fn align_of(cells: &[String]) -> Align {
    let is_number = |cell: &String| cell.is_empty() || cell.parse::<f64>().is_ok();
    if cells.iter().all(is_number) {
        Align::Right
    } else {
        Align::Left
    }
}

pub(super) fn number_column(name: &str, values: &[Option<f64>], weight: Weight) -> Column {
    let digits = Digits::of(&values.iter().flatten().copied().collect::<Vec<_>>());
    let cells = values
        .iter()
        .map(|value| value.map(|value| digits.show(value)).unwrap_or_default());
    Column::new(name, Align::Right, weight, cells.collect())
}

fn column(rows: &[&Row<'_>], name: &str, subject: &Subject, weight: Weight) -> Column {
    let values: Vec<Option<Scalar<'_>>> = rows.iter().map(|row| subject.value(row)).collect();
    if *subject == Subject::Field(super::rows::Field::Seconds) {
        let seconds = values
            .iter()
            .map(|value| value.as_ref().and_then(Scalar::number));
        let cells = seconds.map(|seconds| seconds.map(format::duration).unwrap_or_default());
        return Column::new(name, Align::Right, weight, cells.collect());
    }
    if let Subject::Number(_) = subject {
        let numbers: Vec<Option<f64>> = values
            .iter()
            .map(|value| value.as_ref().and_then(Scalar::number))
            .collect();
        return number_column(name, &numbers, weight);
    }
    let cells: Vec<String> = values
        .iter()
        .map(|value| value.as_ref().map(Scalar::text).unwrap_or_default())
        .collect();
    let align = align_of(&cells);
    Column::new(name, align, weight, cells)
}

fn state(heading: &str, rows: &[&Row<'_>]) -> Column {
    let cells = rows.iter().map(|row| {
        let standing = row.instance.standing;
        let ink = match standing {
            Standing::Cached => Ink::Good,
            Standing::Failed => Ink::Bad,
            Standing::Running | Standing::Waiting | Standing::Outdated => Ink::Accent,
        };
        (ink, standing.word().to_owned())
    });
    Column::inked(heading, Align::Left, Weight::Must, cells.collect())
}
