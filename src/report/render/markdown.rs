//! The report as Markdown that GitHub and plain eyes read alike. Knows nothing of HTML pages.

use std::fmt::Write as _;

use crate::cell::Cell;
use crate::chart::Chart;
use crate::claims::Verdict;
use crate::input::Departure;
use crate::options::Layout;
use crate::page::Page;
use crate::render::parts;
use crate::sections::Part;
use crate::table::{Header, Line, Stated, Table};

/// `report.md`.
#[must_use]
pub fn report(page: &Page) -> String {
    let mut text = format!("# {}\n\n", escape(&page.title));
    if let Some(introduction) = &page.text {
        let _ = writeln!(text, "{}\n", plain_paragraphs(introduction));
    }
    if !page.outcome.sentence.is_empty() {
        let _ = writeln!(text, "**{}**\n", escape(&page.outcome.sentence));
    }
    departures(&mut text, page);
    for part in &page.parts {
        match part {
            Part::Table { at } => one_table(&mut text, &page.tables[*at]),
            Part::Chart { at } => one_chart(&mut text, &page.charts[*at]),
            other => parts::write(&mut text, other),
        }
    }
    if !page.claims.is_empty() {
        claims(&mut text, page);
    }
    if page.has_repetitions {
        let _ = writeln!(
            text,
            "## How numbers are averaged\n\nA number over repetitions is their mean ± sample standard deviation, with n; where some are missing n is `4 of 5`.\nThe 95 % interval in the files is {}.\n",
            escape(page.interval_formula)
        );
    }
    sources(&mut text, page);
    text
}

fn one_chart(text: &mut String, chart: &Chart) {
    let title = escape(&chart.title);
    let _ = writeln!(text, "## {title}\n");
    if let Some(doc) = &chart.doc {
        let _ = writeln!(text, "{}\n", plain_paragraphs(doc));
    }
    let _ = writeln!(
        text,
        "![{title}](charts/{}.svg)\n\n{}\n",
        chart.slug,
        escape(&chart.summary)
    );
}

fn one_table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "## {}\n", escape(&table.title));
    if let Some(doc) = &table.doc {
        let _ = writeln!(text, "{}\n", plain_paragraphs(doc));
    }
    if table.lines.is_empty() {
        text.push_str("No rows match this table.\n\n");
        return;
    }
    match table.layout {
        Layout::Wide => wide(text, table),
        Layout::Long => long(text, table),
    }
    text.push('\n');
    for note in &table.footnotes {
        let _ = writeln!(text, "- <sup>{}</sup> {}", note.mark, escape(&note.text));
    }
    if !table.footnotes.is_empty() {
        text.push('\n');
    }
}

fn wide(text: &mut String, table: &Table) {
    let mut heads: Vec<String> = table.row_names.iter().map(|name| escape(name)).collect();
    heads.extend(table.has_published.then(|| "System".to_owned()));
    heads.extend(
        table
            .columns
            .iter()
            .map(|header| escape(&full_name(header))),
    );
    row(text, &heads);
    let rules = (0..heads.len()).map(|at| {
        if at < table.row_names.len() + usize::from(table.has_published) {
            "---"
        } else {
            "---:"
        }
    });
    row(text, &rules.map(str::to_owned).collect::<Vec<_>>());
    for line in &table.lines {
        let mut cells: Vec<String> = line
            .headings
            .iter()
            .map(|heading| escape(heading))
            .collect();
        cells.extend(line.system.as_deref().map(escape));
        if !line.stated.is_empty() {
            cells.extend(line.stated.iter().map(stated));
            row(text, &cells);
            continue;
        }
        cells.extend(line.cells.iter().map(|cell| {
            cell.as_ref().map_or_else(String::new, |cell| {
                let mut shown = number(cell);
                if let Some(reference) = &cell.reference {
                    let _ = write!(
                        shown,
                        " ({} {}, {})",
                        escape(&table.reference),
                        escape(&reference.value),
                        difference(cell)
                    );
                }
                shown
            })
        }));
        row(text, &cells);
    }
}

fn long(text: &mut String, table: &Table) {
    let mut heads: Vec<String> = table.row_names.iter().map(|name| escape(name)).collect();
    heads.extend(table.has_published.then(|| "System".to_owned()));
    heads.push("Number".to_owned());
    heads.push("Reproduced".to_owned());
    if table.has_reference {
        heads.extend([escape(&table.reference), "Difference".to_owned()]);
    }
    row(text, &heads);
    let rules = (0..heads.len()).map(|at| {
        if at <= table.row_names.len() + usize::from(table.has_published) {
            "---"
        } else {
            "---:"
        }
    });
    row(text, &rules.map(str::to_owned).collect::<Vec<_>>());
    for line in &table.lines {
        for (header, number) in table.columns.iter().zip(&line.stated) {
            if number.is_none() {
                continue;
            }
            let mut cells: Vec<String> = line.headings.iter().map(|one| escape(one)).collect();
            cells.extend(line.system.as_deref().map(escape));
            cells.extend([escape(&full_name(header)), stated(number)]);
            if table.has_reference {
                cells.extend([String::new(), String::new()]);
            }
            row(text, &cells);
        }
        for (header, cell) in present(table, line) {
            let mut cells: Vec<String> = line
                .headings
                .iter()
                .map(|heading| escape(heading))
                .collect();
            cells.extend(line.system.as_deref().map(escape));
            cells.push(escape(&full_name(header)));
            cells.push(number(cell));
            if table.has_reference {
                let stated = cell
                    .reference
                    .as_ref()
                    .map(|reference| escape(&reference.value));
                cells.extend([stated.unwrap_or_default(), difference(cell)]);
            }
            row(text, &cells);
        }
    }
}

/// The cells of a line that have a number.
pub(crate) fn present<'a>(
    table: &'a Table,
    line: &'a Line,
) -> impl Iterator<Item = (&'a Header, &'a Cell)> {
    table
        .columns
        .iter()
        .zip(&line.cells)
        .filter_map(|(header, cell)| cell.as_ref().map(|cell| (header, cell)))
}

/// Both lines of a heading in one.
pub(crate) fn full_name(header: &Header) -> String {
    if header.text.is_empty() {
        header.group.clone()
    } else {
        format!("{} · {}", header.group, header.text)
    }
}

fn number(cell: &Cell) -> String {
    let mut shown = escape(&cell.value);
    if cell.place == Some(1) {
        shown = format!("**{shown}**");
    }
    if let Some(deviation) = &cell.deviation {
        let _ = write!(shown, " ± {deviation}");
    }
    if let Some(repetitions) = &cell.repetitions {
        let _ = write!(shown, " (n = {repetitions})");
    }
    for label in &cell.labels {
        let _ = write!(shown, " [{label}]");
    }
    if let Some(rank) = &cell.rank {
        let _ = write!(shown, ", {rank}");
    }
    let ledger = cell.ledger.iter().map(|number| format!("L{number}"));
    let marks: Vec<String> = cell.marks.iter().cloned().chain(ledger).collect();
    if !marks.is_empty() {
        let _ = write!(shown, " <sup>{}</sup>", marks.join(","));
    }
    shown
}

/// A published number, the first of its column bold.
fn stated(stated: &Option<Stated>) -> String {
    let Some(stated) = stated else {
        return String::new();
    };
    match stated.place {
        Some(1) => format!("**{}**", escape(&stated.value)),
        _ => escape(&stated.value),
    }
}

fn difference(cell: &Cell) -> String {
    let Some(reference) = &cell.reference else {
        return String::new();
    };
    let shown = format!(
        "{} {} {}",
        reference.difference, reference.sign, reference.word
    );
    match reference.verdict {
        Verdict::Differs => format!("**{shown}**"),
        _ => shown,
    }
}

fn claims(text: &mut String, page: &Page) {
    text.push_str("## Stated numbers\n\n");
    let heads = [
        "",
        "Number",
        "Where",
        "Stated",
        "Margin",
        "Here",
        "Difference",
        "90 % interval",
        "Source",
        "Remarks",
    ];
    row(text, &heads.map(str::to_owned));
    let rules = [
        "---", "---", "---", "---:", "---:", "---:", "---:", "---", "---", "---",
    ];
    row(text, &rules.map(str::to_owned));
    for claim in &page.claims {
        let mut found = claim.found.as_deref().map(escape).unwrap_or_default();
        if let Some(repetitions) = &claim.repetitions {
            let _ = write!(found, " (n = {repetitions})");
        }
        row(
            text,
            &[
                claim.word.to_owned(),
                escape(&claim.metric),
                escape(&claim.place),
                escape(&claim.stated),
                escape(&claim.tolerance),
                found,
                claim.difference.as_deref().map(escape).unwrap_or_default(),
                claim.interval.as_deref().map(escape).unwrap_or_default(),
                claim.source.as_deref().map(escape).unwrap_or_default(),
                escape(&sentences(&claim.remarks)),
            ],
        );
    }
    text.push('\n');
    if let Some(many) = &page.multiplicity {
        let _ = writeln!(
            text,
            "A number over repetitions is judged by the 90 % interval of its difference, {}.\nInside the margin it is reproduced, wholly outside it differs, else it is inconclusive.\n{}\n",
            escape(page.equivalence_formula),
            many.sentence
        );
    }
}

fn departures(text: &mut String, page: &Page) {
    if page.departures.is_empty() {
        return;
    }
    text.push_str("Not as the pipeline file is written:\n\n");
    for stage in &page.departures {
        let settings: Vec<String> = stage.settings.iter().map(Departure::setting).collect();
        let _ = writeln!(
            text,
            "- {}: {}",
            escape(&stage.stage),
            escape(&settings.join("; "))
        );
    }
    text.push('\n');
}

fn sources(text: &mut String, page: &Page) {
    text.push_str("## Where the numbers come from\n\n");
    let heads = [
        "Input", "Key", "Device", "Rows", "Licence", "Origin", "Remarks",
    ];
    row(text, &heads.map(str::to_owned));
    row(
        text,
        &["---", "---", "---", "---:", "---", "---", "---"].map(str::to_owned),
    );
    for source in &page.sources {
        let mut licences = source.licences.join("; ");
        if source.restricted {
            licences.push_str(" (not to be passed on)");
        }
        let mut remarks: Vec<String> = source
            .stand_ins
            .iter()
            .map(|line| format!("stand-in: {line}"))
            .collect();
        remarks.extend(source.facts.clone());
        row(
            text,
            &[
                escape(&source.name),
                source
                    .key
                    .as_ref()
                    .map_or_else(|| "file".to_owned(), |key| format!("`{key}`")),
                escape(source.device.as_deref().unwrap_or_default()),
                source
                    .rows
                    .map_or_else(String::new, |rows| rows.to_string()),
                escape(licences.trim()),
                escape(&source.origins.join("; ")),
                escape(&sentences(&remarks)),
            ],
        );
    }
}

/// Remarks in one line, whether or not they end in a full stop.
pub(crate) fn sentences(remarks: &[String]) -> String {
    let bare: Vec<&str> = remarks
        .iter()
        .map(|remark| remark.trim_end_matches('.'))
        .collect();
    bare.join("; ")
}

pub(super) fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// The user's Markdown: kept, but tags cannot open.
pub(super) fn plain_paragraphs(text: &str) -> String {
    text.trim().replace('<', "&lt;")
}

/// Text that means itself in a Markdown table: one line, no markup.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' | '$' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            c if c.is_whitespace() || c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
