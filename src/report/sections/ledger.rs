//! What the paper left open, what was taken for it, and which numbers it touches. Knows no markup.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::error::ReportError;
use crate::input::text_of;
use crate::measure::Data;
use crate::options::Where;
use crate::sections::options::{LedgerEntry, LedgerOptions};
use crate::table::Table;

/// The table of choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ledger {
    /// A name for anchors.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What is shown, Markdown as written.
    pub doc: Option<String>,
    /// In the order written.
    pub entries: Vec<Entry>,
}

/// One choice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// From 1; numbers that it touches are marked `L1`.
    pub number: usize,
    /// What was open.
    pub what: String,
    /// What was taken, Markdown.
    pub chosen: String,
    /// Why, Markdown.
    pub why: Option<String>,
    /// Which numbers it touches, for people: `all`, or `task ner, split test`.
    pub touches: String,
    /// How many rows these are.
    pub rows: usize,
}

/// The ledger and, for each entry, the rows it touches; `None` for one that touches all of them.
pub(crate) type Touched = (Ledger, Vec<Option<BTreeSet<usize>>>);

/// The ledger of `entries`, where there are any.
///
/// # Errors
/// For a column that no row has.
pub(crate) fn build(
    data: &Data,
    entries: &[LedgerEntry],
    options: &LedgerOptions,
) -> Result<Option<Touched>, ReportError> {
    if entries.is_empty() {
        return Ok(None);
    }
    let mut touched = Vec::new();
    let mut shown = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let place = format!("the ledger's `{}`", entry.what);
        let rows = data
            .frame
            .select(&data.conditions(&entry.filter, &place)?)?;
        shown.push(Entry {
            number: at + 1,
            what: entry.what.clone(),
            chosen: entry.chosen.clone(),
            why: entry.why.clone(),
            touches: describe(&entry.filter),
            rows: rows.len(),
        });
        touched.push((!entry.filter.is_empty()).then(|| rows.into_iter().collect()));
    }
    let ledger = Ledger {
        slug: "ledger".to_owned(),
        title: options
            .title
            .clone()
            .unwrap_or_else(|| "What the paper leaves open".to_owned()),
        doc: options.doc.clone(),
        entries: shown,
    };
    Ok(Some((ledger, touched)))
}

/// Writes into each cell which entries touch it; those that touch everything mark nothing.
pub(crate) fn mark(tables: &mut [Table], touched: &[Option<BTreeSet<usize>>]) {
    for table in tables {
        for cell in table
            .lines
            .iter_mut()
            .flat_map(|line| line.cells.iter_mut().flatten())
        {
            let touches = |rows: &Option<BTreeSet<usize>>| {
                rows.as_ref()
                    .is_some_and(|rows| cell.raw.rows.iter().any(|row| rows.contains(row)))
            };
            cell.ledger = (1..)
                .zip(touched)
                .filter(|(_, rows)| touches(rows))
                .map(|(number, _)| number)
                .collect();
        }
    }
}

/// A filter in words.
fn describe(filter: &Where) -> String {
    if filter.is_empty() {
        return "all numbers".to_owned();
    }
    let parts = filter.iter().map(|(column, value)| {
        let values = match value {
            Value::Null => return format!("without {column}"),
            Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(" or "),
            one => text_of(one),
        };
        format!("{column} {values}")
    });
    parts.collect::<Vec<_>>().join(", ")
}
