//! Cells of tables: a number as shown, the stated one beside it, its remarks. Knows nothing of rows and columns.

use serde::Serialize;

use crate::claims::{Judged, Verdict};
use crate::equivalence::Interval;
use crate::measure::Measure;
use crate::number::Style;
use crate::table::Line;

/// One number as shown.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The mean as shown.
    pub value: String,
    /// The sample standard deviation as shown; none for a single value.
    pub deviation: Option<String>,
    /// How many repetitions: `5`, or `4 of 5` where some are missing; none for a single value that none is missing of.
    pub repetitions: Option<String>,
    /// Half the 95 % interval as shown.
    pub half_width: Option<String>,
    /// `4 of 5` where repetitions are missing.
    pub incomplete: Option<String>,
    /// What has to be said of it at once, such as `stand-in data`.
    pub labels: Vec<&'static str>,
    /// A dot for each repetition: an SVG element; none for a single value.
    pub strip: Option<String>,
    /// Its place among published systems, `3rd of 9`.
    pub rank: Option<String>,
    /// The same as a number.
    pub place: Option<usize>,
    /// Which entries of the ledger touch it.
    pub ledger: Vec<usize>,
    /// Lines of the page's sources that it comes from, from 1.
    pub sources: Vec<usize>,
    /// Marks of its footnotes.
    pub marks: Vec<String>,
    /// The stated value beside it.
    pub reference: Option<Reference>,
    /// n, deviation, range and interval in one line; empty for a single value.
    pub detail: String,
    /// How its numbers are written.
    #[serde(skip)]
    pub style: Style,
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
    /// The margin, `±0.8`.
    pub tolerance: String,
    /// The 90 % interval of the difference, `−0.4 to +0.2`; none where the number is not over repetitions.
    pub interval: Option<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// The verdict in words.
    pub word: &'static str,
    /// The verdict in one sign.
    pub sign: &'static str,
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

/// A number with what is shown beside it; marks come with [`mark_cells`].
pub(crate) fn show_cell(style: Style, measure: Measure, judged: &[Judged]) -> Cell {
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
        deviation: summary.deviation.map(|deviation| style.bare(deviation)),
        repetitions: match (measure.missing.is_empty(), summary.n) {
            (true, 1) => None,
            (true, n) => Some(n.to_string()),
            (false, n) => Some(format!("{n} of {}", measure.expected)),
        },
        half_width: summary.half_width.map(|half_width| style.bare(half_width)),
        incomplete: (!measure.missing.is_empty())
            .then(|| format!("{} of {}", summary.n, measure.expected)),
        labels: labels(&measure),
        strip: None,
        rank: None,
        place: None,
        ledger: Vec::new(),
        sources: Vec::new(),
        marks: Vec::new(),
        reference: found.map(|judged| show_reference(style, judged)),
        detail,
        style,
        raw_reference: found.cloned(),
        raw: measure,
    }
}

/// What a reader must not miss, in the cell itself; remarks under the table say more.
pub(crate) fn labels(measure: &Measure) -> Vec<&'static str> {
    let mut labels = Vec::new();
    if !measure.stand_ins.is_empty() {
        labels.push("stand-in data");
    }
    if !measure.departures.is_empty() {
        labels.push("not as written");
    }
    if !measure.devices.is_empty() {
        labels.push("mixed devices");
    }
    if measure.typed.is_all {
        labels.push("typed");
    }
    labels
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
        interval: judged.test.map(|test| {
            let Interval {
                difference,
                half_width,
            } = test.interval;
            format!(
                "{} to {}",
                style.signed(difference - half_width),
                style.signed(difference + half_width)
            )
        }),
        verdict: judged.verdict,
        word: judged.verdict.word(),
        sign: judged.verdict.sign(),
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
    if let Some(line) = cell.raw.departure() {
        remarks.push(format!("Not as the file is written: {line}."));
    }
    remarks.extend((cell.raw.asides().iter()).map(|aside| sentence(aside)));
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

/// A fragment as a sentence.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

/// Gives every remark a mark, equal remarks the same one, and returns them in order.
pub(crate) fn mark_cells(lines: &mut [Line]) -> Vec<Footnote> {
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
            cell.marks.sort_by_key(|mark| (mark.len(), mark.clone()));
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
