//! Parts of a page other than tables and charts as Markdown. Knows nothing of HTML pages.

use std::fmt::Write as _;

use crate::render::markdown::{escape, plain_paragraphs, row};
use crate::sections::Part;
use crate::sections::checklist::Checklist;
use crate::sections::choice::Choice;
use crate::sections::confusion::Confusion;
use crate::sections::ledger::Ledger;
use crate::sections::samples::{Piece, Samples};
use crate::sections::settings::{SettingCell, Settings};

/// Adds a part; tables and charts are written by who knows the page.
pub(super) fn write(text: &mut String, part: &Part) {
    match part {
        Part::Text { text: own } => {
            let _ = writeln!(text, "{}\n", plain_paragraphs(own));
        }
        Part::Samples(part) => samples(text, part),
        Part::Confusion(part) => confusion(text, part),
        Part::Choice(part) => choice(text, part),
        Part::Ledger(part) => ledger(text, part),
        Part::Settings(part) => settings(text, part),
        Part::Checklist(part) => checklist(text, part),
        Part::Table { .. } | Part::Chart { .. } => {}
    }
}

fn head(text: &mut String, title: &str, doc: Option<&String>) {
    let _ = writeln!(text, "## {}\n", escape(title));
    if let Some(doc) = doc {
        let _ = writeln!(text, "{}\n", plain_paragraphs(doc));
    }
}

fn subhead(text: &mut String, name: &str) {
    if !name.is_empty() {
        let _ = writeln!(text, "### {}\n", escape(name));
    }
}

fn rules(text: &mut String, words: usize, numbers: usize) {
    let words = std::iter::repeat_n("---", words);
    let numbers = std::iter::repeat_n("---:", numbers);
    let rules: Vec<String> = words.chain(numbers).map(str::to_owned).collect();
    row(text, &rules);
}

fn samples(text: &mut String, part: &Samples) {
    head(text, &part.title, part.doc.as_ref());
    let _ = writeln!(text, "{}\n", escape(&part.rule));
    for group in &part.groups {
        let name = [group.name.as_str(), group.repetition.as_str()];
        subhead(text, name.join(" ").trim());
        let _ = writeln!(text, "{} of {} are right.\n", group.right, group.total);
        for sample in &group.samples {
            let word = if sample.correct {
                "right".to_owned()
            } else {
                sample.errors.join(", ")
            };
            let _ = writeln!(text, "- {} ({})", escape(&sample.id), escape(&word));
            let mut line = |name: &str, content: String| {
                if !content.is_empty() {
                    let _ = writeln!(text, "  - {name}: {content}");
                }
            };
            line(
                "Question",
                escape(sample.question.as_deref().unwrap_or_default()),
            );
            line("Text", pieces(&sample.gold));
            line("Predicted", pieces(&sample.predicted));
            line("Right", escape(&sample.right.join(" or ")));
            line("Answered", escape(&sample.answers.join(", ")));
        }
        text.push('\n');
    }
}

/// `over two years **kufesta** (Drug) was stopped`.
fn pieces(pieces: &[Piece]) -> String {
    let mut text = String::new();
    for piece in pieces {
        let words = escape(&piece.text);
        match (&piece.label, &piece.error) {
            (None, _) => text.push_str(&words),
            (Some(label), None) => {
                let _ = write!(text, "**{words}** ({})", escape(label));
            }
            (Some(label), Some(error)) => {
                let _ = write!(text, "**{words}** ({}: {})", escape(label), escape(error));
            }
        }
    }
    text.trim().to_owned()
}

fn confusion(text: &mut String, part: &Confusion) {
    head(text, &part.title, part.doc.as_ref());
    for matrix in &part.matrices {
        subhead(text, &matrix.name);
        let mut caption = escape(&matrix.caption);
        if matrix.n > 1 {
            let _ = write!(caption, " Counts are means over {} repetitions.", matrix.n);
        }
        let _ = writeln!(text, "{caption}\n");
        let mut heads = vec![matrix.corner.to_owned()];
        heads.extend(matrix.columns.iter().map(|column| escape(column)));
        row(text, &heads);
        rules(text, 1, matrix.columns.len());
        for line in &matrix.lines {
            let mut cells = vec![escape(&line.name)];
            cells.extend(line.cells.iter().map(|cell| cell.count.clone()));
            row(text, &cells);
        }
        text.push('\n');
    }
}

fn choice(text: &mut String, part: &Choice) {
    head(text, &part.title, part.doc.as_ref());
    for choice in &part.choices {
        subhead(text, &choice.name);
        let _ = writeln!(text, "{}\n", escape(&choice.rule));
        let mut heads: Vec<String> = choice.axes.iter().map(|axis| escape(axis)).collect();
        heads.extend(["Rank".to_owned(), escape(&choice.metric), "n".to_owned()]);
        heads.extend(part.beside.as_deref().map(escape));
        row(text, &heads);
        rules(text, choice.axes.len(), heads.len() - choice.axes.len());
        for line in &choice.lines {
            let mut cells: Vec<String> = line.values.iter().map(|value| escape(value)).collect();
            let rank = match line.chosen {
                true => format!("**{}, chosen**", line.rank),
                false => line.rank.to_string(),
            };
            let mean = number(&line.mean, line.deviation.as_deref());
            cells.extend([rank, mean, line.n.to_string()]);
            if part.beside.is_some() {
                let beside = line.beside.as_ref();
                cells.push(beside.map_or_else(String::new, |beside| {
                    let mut shown = number(&beside.mean, beside.deviation.as_deref());
                    if beside.n > 1 {
                        shown.push_str(&format!(" (n = {})", beside.n));
                    }
                    for label in &beside.labels {
                        shown.push_str(&format!(" [{label}]"));
                    }
                    shown
                }));
            }
            row(text, &cells);
        }
        text.push('\n');
    }
}

fn number(mean: &str, deviation: Option<&str>) -> String {
    match deviation {
        Some(deviation) => format!("{} ± {}", escape(mean), escape(deviation)),
        None => escape(mean),
    }
}

fn ledger(text: &mut String, part: &Ledger) {
    head(text, &part.title, part.doc.as_ref());
    row(
        text,
        &["", "Open", "Taken", "Why", "Touches"].map(str::to_owned),
    );
    rules(text, 5, 0);
    for entry in &part.entries {
        let one_line = |text: &str| {
            plain_paragraphs(text)
                .replace('|', "\\|")
                .replace('\n', " ")
        };
        row(
            text,
            &[
                format!("L{}", entry.number),
                escape(&entry.what),
                one_line(&entry.chosen),
                one_line(entry.why.as_deref().unwrap_or_default()),
                format!("{} ({} rows)", escape(&entry.touches), entry.rows),
            ],
        );
    }
    text.push('\n');
}

fn settings(text: &mut String, part: &Settings) {
    head(text, &part.title, part.doc.as_ref());
    if let Some(sentence) = &part.sentence {
        let _ = writeln!(text, "{}\n", escape(sentence));
    }
    let mut heads = vec!["Setting".to_owned()];
    heads.extend(part.columns.iter().map(|column| escape(column)));
    row(text, &heads);
    rules(text, 1, part.columns.len());
    for line in &part.lines {
        let mut cells = vec![escape(&line.name)];
        cells.extend(line.cells.iter().map(|cell| setting(cell, &part.reference)));
        row(text, &cells);
    }
    text.push('\n');
}

/// `128 (by default; Paper 128, as stated)`.
fn setting(cell: &SettingCell, reference: &str) -> String {
    let mut beside = Vec::new();
    if cell.by_default {
        beside.push("by default".to_owned());
    }
    if let (Some(stated), Some(word)) = (&cell.stated, cell.word) {
        beside.push(format!("{} {}, {word}", escape(reference), escape(stated)));
    }
    let value = escape(cell.value.as_deref().unwrap_or("–"));
    match beside.is_empty() {
        true => value,
        false => format!("{value} ({})", beside.join("; ")),
    }
}

fn checklist(text: &mut String, part: &Checklist) {
    head(text, &part.title, None);
    for item in &part.items {
        let _ = writeln!(text, "- {}", escape(item.question));
        if item.answers.is_empty() {
            text.push_str("  - not answered\n");
        }
        for line in item.answers.iter().chain(&item.missing) {
            let _ = writeln!(text, "  - {}", escape(line));
        }
    }
    let _ = writeln!(text, "\n{}\n", escape(part.untold));
}
