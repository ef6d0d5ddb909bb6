//! Tables as files: one line a cell, every number in full. Knows nothing of how cells are shown.

use crate::cell::Cell;
use crate::claims::Judged;
use crate::frame::SheetColumn;
use crate::table::{Header, Line, Table};

/// The columns of a table's file beside its row headings.
const SHEET_COLUMNS: [&str; 16] = [
    "number",
    "column",
    "mean",
    "n",
    "expected_n",
    "standard_deviation",
    "min",
    "max",
    "interval_half_width",
    "stated",
    "difference",
    "tolerance",
    "verdict",
    "source",
    "note",
    "stand_in",
];

/// A table as tidy columns for files: one line a cell.
#[must_use]
pub fn columns(table: &Table) -> Vec<SheetColumn> {
    let cells: Vec<(&Line, &Header, &Cell)> = table
        .lines
        .iter()
        .flat_map(|line| {
            line.cells
                .iter()
                .zip(&table.columns)
                .filter_map(move |(cell, header)| cell.as_ref().map(|cell| (line, header, cell)))
        })
        .collect();
    let text = |name: &str, get: &dyn Fn(&Line, &Header, &Cell) -> Option<String>| {
        let cells = cells
            .iter()
            .map(|(line, header, cell)| get(line, header, cell));
        SheetColumn::Text(name.to_owned(), cells.collect())
    };
    let number = |name: &str, get: &dyn Fn(&Cell) -> Option<f64>| {
        SheetColumn::Number(
            name.to_owned(),
            cells.iter().map(|(.., cell)| get(cell)).collect(),
        )
    };
    let count = |name: &str, get: &dyn Fn(&Cell) -> usize| {
        let cells = cells.iter().map(|(.., cell)| Some(get(cell) as u64));
        SheetColumn::Count(name.to_owned(), cells.collect())
    };
    let mut names: Vec<String> = Vec::new();
    let mut columns = Vec::new();
    for (at, name) in table.row_names.iter().enumerate() {
        // A row heading may be called like one of the fixed columns below.
        let taken = SHEET_COLUMNS.contains(&name.as_str()) || names.contains(name);
        let name = if taken {
            format!("row {}: {name}", at + 1)
        } else {
            name.clone()
        };
        columns.push(text(&name, &|line, _, _| Some(line.headings[at].clone())));
        names.push(name);
    }
    let stated = |cell: &Cell| cell.raw_reference.as_ref().map(|judged| judged.claim.value);
    columns.extend([
        text("number", &|_, header, _| Some(header.group.clone())),
        text("column", &|_, header, _| {
            (!header.text.is_empty()).then(|| header.text.clone())
        }),
        number("mean", &|cell| Some(cell.raw.summary.mean)),
        count("n", &|cell| cell.raw.summary.n),
        count("expected_n", &|cell| cell.raw.expected),
        number("standard_deviation", &|cell| cell.raw.summary.deviation),
        number("min", &|cell| Some(cell.raw.summary.min)),
        number("max", &|cell| Some(cell.raw.summary.max)),
        number("interval_half_width", &|cell| cell.raw.summary.half_width),
        number("stated", &stated),
        number("difference", &|cell| {
            cell.raw_reference.as_ref().and_then(Judged::difference)
        }),
        number("tolerance", &|cell| {
            cell.raw_reference
                .as_ref()
                .map(|judged| judged.claim.effective_tolerance())
        }),
        number("difference_interval_half_width", &|cell| {
            let test = cell.raw_reference.as_ref()?.test?;
            Some(test.interval.half_width)
        }),
        text("verdict", &|_, _, cell| {
            cell.raw_reference
                .as_ref()
                .map(|judged| judged.verdict.word().to_owned())
        }),
        text("source", &|_, _, cell| {
            cell.raw_reference
                .as_ref()
                .and_then(|judged| judged.claim.source.clone())
        }),
        text("note", &|_, _, cell| {
            cell.raw_reference
                .as_ref()
                .and_then(|judged| judged.claim.note.clone())
        }),
        text("stand_in", &|_, _, cell| {
            (!cell.raw.stand_ins.is_empty()).then(|| cell.raw.stand_ins.join("; "))
        }),
    ]);
    columns
}
