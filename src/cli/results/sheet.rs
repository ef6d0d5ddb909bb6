//! Columns that are laid out into the width of a terminal: what does not fit is left out and named. Knows nothing of
//! what stands in them.

use crate::console::format;
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};

/// Spaces between columns.
const GAP: usize = 2;
/// A value of an axis or a parameter is shortened to so many columns.
const WIDEST: usize = 28;

/// How much a column matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Always there.
    Must,
    /// A column that was asked for, or the first number.
    First,
    /// A setting.
    Setting,
    /// One number of many.
    Number,
}

/// One column.
pub(super) struct Column {
    pub(super) heading: String,
    pub(super) align: Align,
    pub(super) weight: Weight,
    cells: Vec<(Ink, String)>,
}

impl Column {
    pub(super) fn new(heading: &str, align: Align, weight: Weight, cells: Vec<String>) -> Self {
        Self::inked(
            heading,
            align,
            weight,
            cells.into_iter().map(|cell| (Ink::Text, cell)).collect(),
        )
    }

    pub(super) fn inked(
        heading: &str,
        align: Align,
        weight: Weight,
        cells: Vec<(Ink, String)>,
    ) -> Self {
        let short = |(ink, text): (Ink, String)| {
            (
                ink,
                format::elide_middle(&text, WIDEST.max(text_room(weight)), "…"),
            )
        };
        Self {
            heading: heading.to_owned(),
            align,
            weight,
            cells: cells.into_iter().map(short).collect(),
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|(_, text)| format::width(text));
        cells.max().unwrap_or(0).max(format::width(&self.heading))
    }
}

/// Numbers and what was asked for are shown in full.
fn text_room(weight: Weight) -> usize {
    match weight {
        Weight::Number | Weight::First => usize::MAX,
        Weight::Must | Weight::Setting => 0,
    }
}

/// The columns that fit, in their order, as a table; and the headings of the numbers that did not.
pub(super) fn lay_out(columns: &[Column], rows: usize, look: Look) -> (String, Vec<String>) {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|at| columns[*at].weight);
    let mut is_in = vec![false; columns.len()];
    let mut room = look.width + GAP;
    let mut is_full = false;
    for at in order {
        let column = &columns[at];
        let needed = column.width() + GAP;
        is_full |= column.weight == Weight::Number && needed > room;
        let has_place = needed <= room && !(is_full && column.weight == Weight::Number);
        if column.weight <= Weight::First || has_place {
            is_in[at] = true;
            room = room.saturating_sub(needed);
        }
    }
    let shown = || {
        columns
            .iter()
            .zip(&is_in)
            .filter(|(_, is_in)| **is_in)
            .map(|(column, _)| column)
    };
    let mut table = Table::of(
        shown()
            .map(|column| (column.heading.clone(), column.align))
            .collect(),
    );
    for at in 0..rows {
        let cells = shown().map(|column| {
            let (ink, text) = &column.cells[at];
            Cell::new(*ink, text)
        });
        table.push(cells.collect());
    }
    let left_out = columns.iter().zip(&is_in).filter(|(_, is_in)| !**is_in);
    (
        table.render(look, true),
        left_out.map(|(column, _)| column.heading.clone()).collect(),
    )
}

/// `a, b, c` in a line, and how many more there are.
pub(super) fn some(names: &[String], most: usize) -> String {
    let shown = names
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
