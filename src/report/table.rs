//! Declarative tables: rows of the frame to lines, columns, cells and footnotes. Knows nothing of HTML.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::claims::{Judged, Verdict};
use crate::error::ReportError;
use crate::frame::{Condition, Group, SheetColumn};
use crate::input::text_of;
use crate::measure::{Data, Measure};
use crate::number::Style;
use crate::options::{Format, Layout, NumberOptions, TableOptions, Where};

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
    /// Under the table, in order of their marks.
    pub footnotes: Vec<Footnote>,
    /// Cells whose stated value agrees.
    pub agreeing: usize,
    /// Cells whose stated value differs.
    pub differing: usize,
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
}

/// One number as shown.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The mean as shown.
    pub value: String,
    /// Half the 95 % interval as shown.
    pub half_width: Option<String>,
    /// `4 of 5` where repetitions are missing.
    pub incomplete: Option<String>,
    /// Marks of its footnotes.
    pub marks: Vec<String>,
    /// The stated value beside it.
    pub reference: Option<Reference>,
    /// n, deviation, range and interval in one line; empty for a single value.
    pub detail: String,
    /// The numbers themselves, for files.
    #[serde(skip)]
    pub raw: Measure,
    /// The stated value itself.
    #[serde(skip)]
    pub raw_reference: Option<Judged>,
}

/// A stated value beside a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Reference {
    /// As shown.
    pub value: String,
    /// Reproduced minus stated, with its sign.
    pub difference: String,
    /// In per cent of the stated value, with its sign.
    pub relative: String,
    /// The largest difference that agrees, `±0.8`.
    pub tolerance: String,
    /// How it came out.
    pub verdict: Verdict,
    /// Where it is stated.
    pub source: Option<String>,
}

/// A remark under a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Footnote {
    /// `a`, `b`, … `z`, `aa` …
    pub mark: String,
    /// The remark.
    pub text: String,
}

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
        })
        .collect();
    let mut columns = Vec::new();
    for block in &blocks {
        let block_keys = column_keys(block, options.rows.len());
        let mut measured: Vec<Vec<Option<Measure>>> = Vec::new();
        for key in &block_keys {
            columns.push(names.header(block, key));
            measured.push(
                keys.iter()
                    .map(|row| measure_cell(data, block, row, key, &place))
                    .collect::<Result<_, _>>()?,
            );
        }
        let styles = styles(data, block, &measured)?;
        for measure in measured {
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
    let footnotes = mark_cells(&mut lines);
    let cells = || lines.iter().flat_map(|line| line.cells.iter().flatten());
    let count = |verdict| {
        cells()
            .filter_map(|cell| cell.reference.as_ref())
            .filter(|reference| reference.verdict == verdict)
            .count()
    };
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
            .unwrap_or_else(|| "Reference".to_owned()),
        has_reference: cells().any(|cell| cell.reference.is_some()),
        has_repetitions: cells().any(|cell| cell.raw.summary.n > 1),
        footnotes,
        agreeing: count(Verdict::Pass),
        differing: count(Verdict::Differs),
        lines,
        title,
    })
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

/// A table as tidy columns for files: one line a cell.
#[must_use]
pub fn sheet(table: &Table) -> Vec<SheetColumn> {
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

fn show_cell(style: Style, measure: Measure, judged: &[Judged]) -> Cell {
    let found = judged.iter().find(|judged| {
        judged
            .measure
            .as_ref()
            .is_some_and(|stated| stated.rows == measure.rows)
    });
    let summary = &measure.summary;
    let detail = match (summary.deviation, summary.half_width) {
        (Some(deviation), Some(half_width)) => format!(
            "n = {}, s = {}, range {} to {}, 95 % interval {} to {}",
            summary.n,
            style.show(deviation),
            style.show(summary.min),
            style.show(summary.max),
            style.show(summary.mean - half_width),
            style.show(summary.mean + half_width),
        ),
        _ => String::new(),
    };
    Cell {
        value: style.show(summary.mean),
        half_width: summary.half_width.map(|half_width| style.bare(half_width)),
        incomplete: (!measure.missing.is_empty())
            .then(|| format!("{} of {}", summary.n, measure.expected)),
        marks: Vec::new(),
        reference: found.map(|judged| show_reference(style, judged)),
        detail,
        raw_reference: found.cloned(),
        raw: measure,
    }
}

/// A claim as it stands beside a number of `style`.
#[must_use]
pub fn show_reference(style: Style, judged: &Judged) -> Reference {
    let difference = judged.difference().unwrap_or_default();
    let relative = match difference / judged.claim.value {
        ratio if ratio.is_finite() => Style {
            decimals: 1,
            percent: true,
        }
        .signed(ratio),
        _ => String::new(),
    };
    let tolerance = judged.claim.effective_tolerance();
    Reference {
        value: style.stated(judged.claim.value),
        difference: style.signed(difference),
        relative,
        tolerance: if tolerance == 0.0 {
            "exact".to_owned()
        } else {
            let own_digits = Style {
                decimals: 0,
                ..style
            };
            format!("±{}", own_digits.stated(tolerance))
        },
        verdict: judged.verdict,
        source: judged.claim.source.clone(),
    }
}

/// What has to be said about a number, one remark each.
fn remarks(cell: &Cell) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(note) = cell
        .raw_reference
        .as_ref()
        .and_then(|judged| judged.claim.note.clone())
    {
        remarks.push(note);
    }
    for line in &cell.raw.stand_ins {
        remarks.push(match line.as_str() {
            "yes" => "Stand-in data, not the original files.".to_owned(),
            line => format!("Stand-in data: {line}"),
        });
    }
    if !cell.raw.missing.is_empty() {
        remarks.push(format!(
            "{} of {} repetitions: without {}.",
            cell.raw.summary.n,
            cell.raw.expected,
            cell.raw.missing.join(", ")
        ));
    }
    if !cell.raw.devices.is_empty() {
        let devices: Vec<String> = cell
            .raw
            .devices
            .iter()
            .map(|(device, count)| format!("{device} ({count})"))
            .collect();
        remarks.push(format!(
            "Repetitions made on different devices: {}; they may differ by rounding.",
            devices.join(", ")
        ));
    }
    remarks
}

/// Gives every remark a mark, equal remarks the same one, and returns them in order.
fn mark_cells(lines: &mut [Line]) -> Vec<Footnote> {
    let mut footnotes: Vec<Footnote> = Vec::new();
    for line in lines {
        for cell in line.cells.iter_mut().flatten() {
            for text in remarks(cell) {
                let mark = match footnotes.iter().find(|note| note.text == text) {
                    Some(note) => note.mark.clone(),
                    None => {
                        let mark = letters(footnotes.len());
                        line.first_marks.push(mark.clone());
                        footnotes.push(Footnote {
                            mark: mark.clone(),
                            text,
                        });
                        mark
                    }
                };
                cell.marks.push(mark);
            }
        }
    }
    footnotes
}

/// 0 → `a`, 25 → `z`, 26 → `aa`.
fn letters(number: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(number % 26).expect("below 26"));
    match number / 26 {
        0 => letter.to_string(),
        more => format!("{}{letter}", letters(more - 1)),
    }
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

/// Names as people write them.
#[derive(Clone, Copy)]
pub struct Names<'a>(pub &'a BTreeMap<String, String>);

impl Names<'_> {
    /// A column's or a metric's name: the label, or the name with spaces.
    #[must_use]
    pub fn column(self, name: &str) -> String {
        self.0
            .get(name)
            .cloned()
            .unwrap_or_else(|| name.replace('_', " "))
    }

    /// A value of a column; `None` is `all` for classes and a dash elsewhere.
    #[must_use]
    pub fn value(self, column: &str, value: Option<&str>) -> String {
        match value {
            None if column == "class" => self
                .0
                .get("all")
                .cloned()
                .unwrap_or_else(|| "all".to_owned()),
            None => "–".to_owned(),
            Some(value) if column == "metric" => self.column(value),
            Some(value) => self
                .0
                .get(value)
                .cloned()
                .unwrap_or_else(|| value.to_owned()),
        }
    }

    fn header(self, block: &Block, key: &[Option<String>]) -> Header {
        let mut path: Vec<String> = block
            .axes
            .iter()
            .zip(key)
            .map(|(axis, value)| self.value(axis, value.as_deref()))
            .collect();
        let group = match &block.label {
            Some(label) => self.column_label(label),
            None if path.is_empty() => "Number".to_owned(),
            None => path.remove(0),
        };
        Header {
            group,
            text: path.join(" · "),
        }
    }

    fn column_label(self, label: &str) -> String {
        self.0
            .get(label)
            .cloned()
            .unwrap_or_else(|| label.to_owned())
    }
}
