//! Declarative tables: rows of the frame to lines, columns, cells and footnotes. Knows nothing of HTML.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cell::{Cell, Footnote, mark_cells, show_cell};
use crate::claims::{Counts, Judged};
use crate::error::ReportError;
use crate::frame::{Condition, Group};
use crate::input::text_of;
use crate::measure::{Data, Measure};
use crate::names::Names;
use crate::number::Style;
use crate::options::{Format, Layout, NumberOptions, TableOptions, Where};
use crate::published::{self, ColumnKey};
use crate::strip;

/// A table ready to be drawn.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// A name for files and anchors, unique in the report.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What it shows, Markdown as written.
    pub doc: Option<String>,
    /// Its shape.
    pub layout: Layout,
    /// Names of the row headings, one a column of `Line::headings`.
    pub row_names: Vec<String>,
    /// Columns in order.
    pub columns: Vec<Header>,
    /// First heading line: text and how many columns it covers; empty when one line is enough.
    pub spans: Vec<Span>,
    /// Lines in order.
    pub lines: Vec<Line>,
    /// What the stated values are called.
    pub reference: String,
    /// Whether any cell has a stated value.
    pub has_reference: bool,
    /// Whether any cell is over repetitions.
    pub has_repetitions: bool,
    /// Whether lines of published systems stand among ours.
    pub has_published: bool,
    /// Under the table, in order of their marks.
    pub footnotes: Vec<Footnote>,
    /// How the claims beside its numbers came out.
    pub counts: Counts,
}

/// A column's heading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Header {
    /// The upper line: the number's label.
    pub group: String,
    /// The lower line: values of the column axes; empty when there are none.
    pub text: String,
}

/// A heading over several columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// The heading.
    pub text: String,
    /// How many columns.
    pub columns: usize,
}

/// One line of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Values of the row axes.
    pub headings: Vec<String>,
    /// One a column; `None` where there is no number.
    pub cells: Vec<Option<Cell>>,
    /// Marks of the footnotes that occur first in this line.
    pub first_marks: Vec<String>,
    /// Whose line it is, in a table with published systems.
    pub system: Option<String>,
    /// Where a published system's numbers stand.
    pub source: Option<String>,
    /// A published system's numbers, one a column; empty in lines of ours.
    pub stated: Vec<Option<Stated>>,
}

/// A number that a published system states.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stated {
    /// As shown.
    pub value: String,
    /// Its place in the column, from 1.
    pub place: Option<usize>,
    /// The number itself, for files.
    #[serde(skip)]
    pub raw: f64,
}

/// A set of columns made by one entry of `numbers`.
struct Block {
    axes: Vec<String>,
    filter: Where,
    named: Vec<String>,
    label: Option<String>,
    format: Format,
    decimals: Option<u8>,
    groups: Vec<Group>,
}

impl Block {
    /// How people name one of its columns, and how its numbers are written.
    fn column_key(&self, key: &[Option<String>], styles: &BTreeMap<String, Style>) -> ColumnKey {
        let mut values: Vec<String> = Vec::new();
        let mut metric = match self.filter.get("metric") {
            Some(Value::String(metric)) => Some(metric.clone()),
            _ => None,
        };
        for (axis, value) in self.axes.iter().zip(key) {
            match (axis.as_str(), value) {
                ("metric", Some(value)) => metric = Some(value.clone()),
                (_, Some(value)) => values.push(value.clone()),
                (_, None) => values.push("null".to_owned()),
            }
        }
        let style = metric.as_ref().and_then(|metric| styles.get(metric));
        let style = style.or_else(|| styles.values().next()).copied();
        ColumnKey {
            metric,
            values,
            style: style.unwrap_or_else(|| Style::of(self.format, self.decimals, &[])),
        }
    }
}

/// The table that `options` asks for. `slug` names its files.
///
/// # Errors
/// For unknown columns, and for a cell whose rows are not one number.
pub fn build(
    data: &Data,
    judged: &[Judged],
    options: &TableOptions,
    slug: String,
) -> Result<Table, ReportError> {
    let title = options
        .title
        .clone()
        .unwrap_or_else(|| "Numbers".to_owned());
    let place = format!("table `{title}`");
    for column in &options.rows {
        data.check_column(column, &place)?;
    }
    let blocks = read_blocks(data, options, &place)?;
    let names = Names(&options.labels);
    let keys = row_keys(options, &blocks);
    let mut lines: Vec<Line> = keys
        .iter()
        .map(|key| Line {
            headings: options
                .rows
                .iter()
                .zip(key)
                .map(|(column, value)| names.value(column, value.as_deref()))
                .collect(),
            cells: Vec::new(),
            first_marks: Vec::new(),
            system: None,
            source: None,
            stated: Vec::new(),
        })
        .collect();
    let mut columns = Vec::new();
    let mut column_keys_of = Vec::new();
    for block in &blocks {
        let block_keys = column_keys(block, options.rows.len());
        let mut measured: Vec<Vec<Option<Measure>>> = Vec::new();
        for key in &block_keys {
            columns.push(header(names, block, key));
            measured.push(
                keys.iter()
                    .map(|row| measure_cell(data, block, row, key, &place))
                    .collect::<Result<_, _>>()?,
            );
        }
        let styles = styles(data, block, &measured)?;
        for (measure, key) in measured.into_iter().zip(&block_keys) {
            column_keys_of.push(block.column_key(key, &styles));
            for (line, measure) in lines.iter_mut().zip(measure) {
                let cell = match measure {
                    Some(measure) => {
                        let metric = data.frame.cell(measure.rows[0], "metric")?;
                        let style = styles[metric.unwrap_or_default()];
                        Some(show_cell(style, measure, judged))
                    }
                    None => None,
                };
                line.cells.push(cell);
            }
        }
    }
    draw_strips(data, &mut lines)?;
    let mut lines = published::place(options, &keys, &column_keys_of, lines, &place)?;
    let footnotes = mark_cells(&mut lines);
    let cells = || lines.iter().flat_map(|line| line.cells.iter().flatten());
    Ok(Table {
        slug,
        doc: options.doc.clone(),
        layout: options.layout,
        row_names: options.rows.iter().map(|name| names.column(name)).collect(),
        spans: spans(&columns),
        columns,
        reference: options
            .reference
            .clone()
            .unwrap_or_else(|| "Stated".to_owned()),
        has_reference: cells().any(|cell| cell.reference.is_some()),
        has_repetitions: cells().any(|cell| cell.raw.summary.n > 1),
        has_published: !options.published.is_empty(),
        footnotes,
        counts: Counts::of(
            cells()
                .filter_map(|cell| cell.reference.as_ref())
                .map(|reference| reference.verdict),
        ),
        lines,
        title,
    })
}

/// A picture beside each number over repetitions; those of one metric are on one scale.
fn draw_strips(data: &Data, lines: &mut [Line]) -> Result<(), ReportError> {
    let stated = |cell: &Cell| cell.raw_reference.as_ref().map(|judged| judged.claim.value);
    let mut reaches: BTreeMap<String, f64> = BTreeMap::new();
    let mut by_metric: BTreeMap<String, Vec<&Cell>> = BTreeMap::new();
    for cell in lines.iter().flat_map(|line| line.cells.iter().flatten()) {
        let metric = data.frame.cell(cell.raw.rows[0], "metric")?;
        let metric = metric.unwrap_or_default().to_owned();
        by_metric.entry(metric).or_default().push(cell);
    }
    for (metric, cells) in by_metric {
        let measures = cells.iter().map(|cell| (&cell.raw, stated(cell)));
        reaches.insert(metric, strip::reach(measures));
    }
    for cell in lines
        .iter_mut()
        .flat_map(|line| line.cells.iter_mut().flatten())
    {
        let metric = data.frame.cell(cell.raw.rows[0], "metric")?;
        let reach = reaches[metric.unwrap_or_default()];
        cell.strip = strip::draw(&cell.raw, stated(cell), reach, cell.style);
    }
    Ok(())
}

/// The tables of a report that asks for none: one a data set, lines by axis, metric and class, columns by split.
///
/// # Errors
/// Only when the frame refuses.
pub fn automatic(data: &Data) -> Result<Vec<TableOptions>, ReportError> {
    let all: Vec<usize> = (0..data.frame.height()).collect();
    let datasets = data.frame.group(&all, &["dataset".to_owned()])?;
    let mut tables = Vec::new();
    for dataset in datasets {
        let varying = |column: &str| -> Result<bool, ReportError> {
            Ok(data.frame.group(&dataset.rows, &[column.to_owned()])?.len() > 1)
        };
        let mut rows = Vec::new();
        for column in data.frame.columns() {
            let repeats = data
                .instances
                .iter()
                .any(|instance| instance.replicate.as_ref() == Some(column));
            let is_field = ["dataset", "split", "metric", "class"].contains(&column.as_str());
            if !repeats && !is_field && varying(column)? {
                rows.push(column.clone());
            }
        }
        let mut columns = Vec::new();
        if varying("split")? {
            rows.push("metric".to_owned());
            columns.push("split".to_owned());
        } else {
            columns.push("metric".to_owned());
        }
        if varying("class")? {
            rows.push("class".to_owned());
        }
        let name = dataset.key[0].clone();
        let mut filter = Where::new();
        filter.insert(
            "dataset".to_owned(),
            name.clone().map_or(Value::Null, Value::String),
        );
        tables.push(TableOptions {
            title: Some(name.unwrap_or_else(|| "Numbers".to_owned())),
            filter,
            rows,
            columns,
            ..TableOptions::default()
        });
    }
    Ok(tables)
}

fn read_blocks(
    data: &Data,
    options: &TableOptions,
    place: &str,
) -> Result<Vec<Block>, ReportError> {
    let spread = |columns: &[String]| columns.iter().chain(&options.rows).any(|c| c == "metric");
    let mut blocks = Vec::new();
    if options.numbers.is_empty() {
        let mut axes = options.columns.clone();
        if !spread(&axes) && !options.filter.contains_key("metric") {
            axes.insert(0, "metric".to_owned());
        }
        blocks.push((axes, NumberOptions::default()));
    }
    for number in &options.numbers {
        let axes = number
            .columns
            .clone()
            .unwrap_or_else(|| options.columns.clone());
        blocks.push((axes, number.clone()));
    }
    blocks
        .into_iter()
        .map(|(axes, number)| {
            for column in &axes {
                data.check_column(column, place)?;
            }
            let mut filter = options.filter.clone();
            filter.extend(number.filter.clone());
            if !number.metric.is_empty() {
                filter.insert("metric".to_owned(), Value::String(number.metric.clone()));
            }
            let conditions: Vec<Condition> = data.conditions(&filter, place)?;
            let rows = data.frame.select(&conditions)?;
            let by: Vec<String> = options.rows.iter().chain(&axes).cloned().collect();
            let groups = data.frame.group(&rows, &by)?;
            let label = number
                .label
                .or_else(|| (!number.metric.is_empty()).then(|| number.metric.clone()));
            Ok(Block {
                named: filter.keys().cloned().chain(by).collect(),
                axes,
                filter,
                label,
                format: number.format.unwrap_or(options.format),
                decimals: number.decimals.or(options.decimals),
                groups,
            })
        })
        .collect()
}

/// The distinct row keys over all blocks, in the order of the filters' lists, else of first appearance.
fn row_keys(options: &TableOptions, blocks: &[Block]) -> Vec<Vec<Option<String>>> {
    let mut keys: Vec<Vec<Option<String>>> = Vec::new();
    for group in blocks.iter().flat_map(|block| &block.groups) {
        let key = &group.key[..options.rows.len().min(group.key.len())];
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_vec());
        }
    }
    sort_by_lists(&mut keys, &options.rows, &options.filter);
    keys
}

fn column_keys(block: &Block, n_row_axes: usize) -> Vec<Vec<Option<String>>> {
    let mut keys: Vec<Vec<Option<String>>> = Vec::new();
    for group in &block.groups {
        let key = group.key.get(n_row_axes..).unwrap_or_default();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_vec());
        }
    }
    sort_by_lists(&mut keys, &block.axes, &block.filter);
    keys
}

fn sort_by_lists(keys: &mut [Vec<Option<String>>], axes: &[String], filter: &Where) {
    let place = |axis: &String, value: &Option<String>| -> usize {
        let Some(Value::Array(items)) = filter.get(axis) else {
            return 0;
        };
        items
            .iter()
            .position(|item| match value {
                None => item.is_null(),
                Some(value) => crate::frame::same_text(value, &text_of(item)),
            })
            .unwrap_or(items.len())
    };
    keys.sort_by_cached_key(|key| {
        axes.iter()
            .zip(key)
            .map(|(axis, value)| place(axis, value))
            .collect::<Vec<_>>()
    });
}

fn measure_cell(
    data: &Data,
    block: &Block,
    row: &[Option<String>],
    column: &[Option<String>],
    place: &str,
) -> Result<Option<Measure>, ReportError> {
    let key: Vec<Option<String>> = row.iter().chain(column).cloned().collect();
    let Some(group) = block.groups.iter().find(|group| group.key == key) else {
        return Ok(None);
    };
    data.measure(&group.rows, &block.named)?.map_err(|not_one| {
        let key: Vec<&str> = key
            .iter()
            .map(|value| value.as_deref().unwrap_or("–"))
            .collect();
        let label = block.label.as_deref().unwrap_or_default();
        let cell = [label, &key.join(", ")].join(" ");
        not_one.into_error(format!("{place}, cell `{}`", cell.trim()))
    })
}

/// The style of each metric of a block: equal numbers look alike in all its columns.
fn styles(
    data: &Data,
    block: &Block,
    measured: &[Vec<Option<Measure>>],
) -> Result<BTreeMap<String, Style>, ReportError> {
    let mut means: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for measure in measured.iter().flatten().flatten() {
        let metric = data.frame.cell(measure.rows[0], "metric")?;
        means
            .entry(metric.unwrap_or_default().to_owned())
            .or_default()
            .push(measure.summary.mean);
    }
    Ok(means
        .into_iter()
        .map(|(metric, means)| (metric, Style::of(block.format, block.decimals, &means)))
        .collect())
}

/// Headings over neighbouring columns of one group; none when no column has a lower heading.
fn spans(columns: &[Header]) -> Vec<Span> {
    if columns.iter().all(|column| column.text.is_empty()) {
        return Vec::new();
    }
    let mut spans: Vec<Span> = Vec::new();
    for column in columns {
        match spans.last_mut() {
            Some(span) if span.text == column.group => span.columns += 1,
            _ => spans.push(Span {
                text: column.group.clone(),
                columns: 1,
            }),
        }
    }
    spans
}

fn header(names: Names<'_>, block: &Block, key: &[Option<String>]) -> Header {
    let mut path: Vec<String> = block
        .axes
        .iter()
        .zip(key)
        .map(|(axis, value)| names.value(axis, value.as_deref()))
        .collect();
    let group = match &block.label {
        Some(label) => names.heading(label),
        None if path.is_empty() => "Number".to_owned(),
        None => path.remove(0),
    };
    Header {
        group,
        text: path.join(" · "),
    }
}
