//! What was taken for what: class against class, or spans by kind of error. Knows no markup.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::ReportError;
use crate::frame::SheetColumn;
use crate::input::Instance;
use crate::names::Names;
use crate::sections::files::{Form, Mark, Sample, form, load_samples};
use crate::sections::options::ConfusionOptions;
use crate::sections::samples::error_word;
use crate::sections::{chosen, groups};

/// More classes than this are no table that anybody reads; the most frequent are shown.
const CLASSES: usize = 24;
/// What stands for no label at all.
const NOTHING: &str = "nothing";
/// Kinds of error of a right span, as `score` calls them, in the order of the columns.
const ERRORS: [&str; 4] = ["boundary", "type", "boundary_and_type", "missed"];

/// What was taken for what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// A name for anchors, unique in the report.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What is shown, Markdown as written.
    pub doc: Option<String>,
    /// One a group of instances that differ in the axis of repetition alone.
    pub matrices: Vec<Matrix>,
}

/// One matrix of counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// Its axes; empty where there are none.
    pub name: String,
    /// `classes`, `spans` or `answers`.
    pub form: &'static str,
    /// How many repetitions the counts are means of.
    pub n: usize,
    /// What lines and columns are, a sentence.
    pub caption: String,
    /// Heading of the first column.
    pub corner: &'static str,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// Its lines.
    pub lines: Vec<MatrixLine>,
    /// How many classes are left out.
    pub left_out: usize,
}

/// One line of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixLine {
    /// The class.
    pub name: String,
    /// A count for each column.
    pub cells: Vec<MatrixCell>,
}

/// One count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixCell {
    /// As shown; empty for none.
    pub count: String,
    /// The mean count, for files.
    pub mean: f64,
    /// Its share of what is right in this line, 0 to 100, whole; for the tint.
    pub share: u8,
    /// Whether it counts what is right.
    pub right: bool,
}

/// The part that `options` asks for.
///
/// # Errors
/// When a file cannot be read.
pub fn build(
    files: &[Instance],
    options: &ConfusionOptions,
    slug: String,
) -> Result<Confusion, ReportError> {
    let names = Names(&options.labels);
    let instances = chosen(files, &options.from, &options.filter);
    let mut matrices = Vec::new();
    for (name, members) in groups(&instances, names) {
        let mut samples = Vec::new();
        for instance in &members {
            samples.extend(load_samples(instance)?);
        }
        let n = members.len();
        let matrix = match form(&samples) {
            Some(Form::Classes) => classes(&samples, n, names),
            Some(Form::Spans) => spans(&samples, n, names),
            Some(Form::Answers) => answers(&samples, n),
            None => continue,
        };
        matrices.push(Matrix { name, ..matrix });
    }
    Ok(Confusion {
        slug,
        title: options.title.clone(),
        doc: options.doc.clone(),
        matrices,
    })
}

/// The counts as columns for a file: one line a cell.
#[must_use]
pub fn sheet(part: &Confusion) -> Vec<SheetColumn> {
    let (mut groups, mut lines, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    let (mut means, mut repetitions) = (Vec::new(), Vec::new());
    for matrix in &part.matrices {
        for line in &matrix.lines {
            for (cell, column) in line.cells.iter().zip(&matrix.columns) {
                groups.push((!matrix.name.is_empty()).then(|| matrix.name.clone()));
                lines.push(Some(line.name.clone()));
                columns.push(Some(column.clone()));
                means.push(Some(cell.mean));
                repetitions.push(Some(matrix.n as u64));
            }
        }
    }
    vec![
        SheetColumn::Text("group".to_owned(), groups),
        SheetColumn::Text("line".to_owned(), lines),
        SheetColumn::Text("column".to_owned(), columns),
        SheetColumn::Number("mean_count".to_owned(), means),
        SheetColumn::Count("repetitions".to_owned(), repetitions),
    ]
}

/// Counts by line and column.
type Counts = BTreeMap<(String, String), u64>;

/// Right class against predicted class.
fn classes(samples: &[Sample], n: usize, names: Names<'_>) -> Matrix {
    let mut counts = Counts::new();
    let label = |marks: &[Mark]| {
        marks
            .first()
            .and_then(|mark| mark.label.clone())
            .unwrap_or_else(|| NOTHING.to_owned())
    };
    for sample in samples {
        let pair = (label(&sample.gold), label(&sample.predicted));
        *counts.entry(pair).or_default() += 1;
    }
    let (order, left_out) = frequent(&counts);
    let lines = order
        .iter()
        .map(|right| line(&counts, right, &order, n, names, |column| column == right))
        .collect();
    Matrix {
        name: String::new(),
        form: "classes",
        n,
        caption: "Lines are the right classes, columns the predicted ones.".to_owned(),
        corner: "Right",
        columns: order
            .iter()
            .map(|class| names.value("class", Some(class)))
            .collect(),
        lines,
        left_out,
    }
}

/// Right spans by type and what became of them; spurious ones by their own type.
fn spans(samples: &[Sample], n: usize, names: Names<'_>) -> Matrix {
    let mut counts = Counts::new();
    for sample in samples {
        for mark in &sample.gold {
            let class = mark.label.clone().unwrap_or_else(|| NOTHING.to_owned());
            let fate = mark.error.clone().unwrap_or_else(|| "exact".to_owned());
            *counts.entry((class, fate)).or_default() += 1;
        }
        for mark in &sample.predicted {
            if mark.error.as_deref() == Some("spurious") {
                let class = mark.label.clone().unwrap_or_else(|| NOTHING.to_owned());
                *counts.entry((class, "spurious".to_owned())).or_default() += 1;
            }
        }
    }
    let mut columns: Vec<String> = vec!["exact".to_owned()];
    columns.extend(ERRORS.map(str::to_owned));
    columns.push("spurious".to_owned());
    let (order, left_out) = frequent_lines(&counts);
    let lines = order
        .iter()
        .map(|class| {
            line(&counts, class, &columns, n, names, |column| {
                column == "exact"
            })
        })
        .collect();
    Matrix {
        name: String::new(),
        form: "spans",
        n,
        caption: "What became of the right spans of each type; spurious ones touch no right span."
            .to_owned(),
        corner: "Type",
        columns: columns.iter().map(|error| error_word(error)).collect(),
        lines,
        left_out,
    }
}

/// Questions answered right and wrong.
fn answers(samples: &[Sample], n: usize) -> Matrix {
    let mut counts = Counts::new();
    for sample in samples {
        let fate = match (sample.correct, sample.predicted.is_empty()) {
            (true, _) => "right",
            (false, true) => "no answer",
            (false, false) => "wrong",
        };
        *counts
            .entry(("questions".to_owned(), fate.to_owned()))
            .or_default() += 1;
    }
    let columns = ["right", "wrong", "no answer"].map(str::to_owned);
    let none = BTreeMap::new();
    let only = line(&counts, "questions", &columns, n, Names(&none), |column| {
        column == "right"
    });
    Matrix {
        name: String::new(),
        form: "answers",
        n,
        caption: "The first answer to each question.".to_owned(),
        corner: "",
        columns: columns.into(),
        lines: vec![only],
        left_out: 0,
    }
}

fn line(
    counts: &Counts,
    name: &str,
    columns: &[String],
    n: usize,
    names: Names<'_>,
    is_right: impl Fn(&str) -> bool,
) -> MatrixLine {
    let count = |column: &str| {
        counts
            .get(&(name.to_owned(), column.to_owned()))
            .copied()
            .unwrap_or(0)
    };
    // Spurious spans are no part of the right ones.
    let total: u64 = columns
        .iter()
        .filter(|column| *column != "spurious")
        .map(|column| count(column))
        .sum();
    let cells = columns
        .iter()
        .map(|column| {
            let sum = count(column);
            let mean = sum as f64 / n.max(1) as f64;
            let share = (100 * sum).checked_div(total).unwrap_or(0).min(100);
            MatrixCell {
                count: match (sum, n) {
                    (0, _) => String::new(),
                    (_, 0 | 1) => sum.to_string(),
                    _ if sum.is_multiple_of(n as u64) => (sum / n as u64).to_string(),
                    _ => format!("{mean:.1}"),
                },
                mean,
                share: u8::try_from(share).unwrap_or(100),
                right: is_right(column),
            }
        })
        .collect();
    MatrixLine {
        name: names.value("class", Some(name)),
        cells,
    }
}

/// Classes of lines and columns together, by name, the most frequent where there are too many.
fn frequent(counts: &Counts) -> (Vec<String>, usize) {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for ((right, predicted), count) in counts {
        *totals.entry(right).or_default() += count;
        *totals.entry(predicted).or_default() += count;
    }
    most(totals)
}

fn frequent_lines(counts: &Counts) -> (Vec<String>, usize) {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for ((class, _), count) in counts {
        *totals.entry(class).or_default() += count;
    }
    most(totals)
}

fn most(totals: BTreeMap<&str, u64>) -> (Vec<String>, usize) {
    let all = totals.len();
    let mut order: Vec<(&str, u64)> = totals.into_iter().collect();
    order.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
    order.truncate(CLASSES);
    order.sort_by(|left, right| left.0.cmp(right.0));
    let left_out = all - order.len();
    let names = order.into_iter().map(|(name, _)| name.to_owned());
    (names.collect(), left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(gold: &str, predicted: &str) -> Sample {
        let mark = |label: &str| Mark {
            label: Some(label.to_owned()),
            ..Mark::default()
        };
        Sample {
            gold: vec![mark(gold)],
            predicted: vec![mark(predicted)],
            correct: gold == predicted,
            ..Sample::default()
        }
    }

    #[test]
    fn counts_are_means_over_repetitions_and_shares_of_the_line() {
        let samples = [
            sample("yes", "yes"),
            sample("yes", "no"),
            sample("yes", "yes"),
            sample("yes", "yes"),
            sample("no", "yes"),
        ];
        let names = BTreeMap::new();
        let matrix = classes(&samples, 2, Names(&names));
        assert_eq!(matrix.columns, ["no", "yes"]);
        let counts: Vec<Vec<&str>> = matrix
            .lines
            .iter()
            .map(|line| line.cells.iter().map(|cell| cell.count.as_str()).collect())
            .collect();
        assert_eq!(counts, [["", "0.5"], ["0.5", "1.5"]]);
        assert_eq!(matrix.lines[1].cells[1].share, 75);
        assert!(matrix.lines[1].cells[1].right && !matrix.lines[1].cells[0].right);
    }

    #[test]
    fn spurious_spans_are_no_share_of_the_right_ones() {
        let mark = |error: Option<&str>| Mark {
            start: Some(0),
            end: Some(1),
            label: Some("Drug".to_owned()),
            error: error.map(str::to_owned),
            ..Mark::default()
        };
        let samples = [Sample {
            gold: vec![mark(None), mark(Some("missed"))],
            predicted: vec![mark(None), mark(Some("spurious")), mark(Some("spurious"))],
            ..Sample::default()
        }];
        let names = BTreeMap::new();
        let matrix = spans(&samples, 1, Names(&names));
        let counts: Vec<&str> = matrix.lines[0]
            .cells
            .iter()
            .map(|cell| cell.count.as_str())
            .collect();
        assert_eq!(counts, ["1", "", "", "", "1", "2"]);
        let shares: Vec<u8> = matrix.lines[0]
            .cells
            .iter()
            .map(|cell| cell.share)
            .collect();
        assert_eq!(shares, [50, 0, 0, 0, 50, 100]);
    }
}
