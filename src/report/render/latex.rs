//! One table as LaTeX for `booktabs`, to be read with `\input`. Knows nothing of pages.

use std::fmt::Write as _;

use crate::cell::Cell;
use crate::options::Layout;
use crate::render::markdown::{full_name, present};
use crate::sections::settings::{Agreement, Settings};
use crate::table::{Stated, Table};

/// The table as a `table` environment with caption, label `tab:<slug>` and footnotes.
#[must_use]
pub fn table(table: &Table) -> String {
    let mut text = String::from("% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n");
    let _ = writeln!(
        text,
        "\\caption{{{}}}\n\\label{{tab:{}}}",
        escape(&table.title),
        table.slug
    );
    match table.layout {
        Layout::Wide => wide(&mut text, table),
        Layout::Long => long(&mut text, table),
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    if !table.footnotes.is_empty() {
        text.push_str("\n\\smallskip\n\\begin{minipage}{\\linewidth}\\footnotesize\n");
        for note in &table.footnotes {
            let _ = writeln!(
                text,
                "\\textsuperscript{{{}}}~{}\\\\",
                note.mark,
                escape(&note.text)
            );
        }
        text.push_str("\\end{minipage}\n");
    }
    text.push_str("\\end{table}\n");
    text
}

fn wide(text: &mut String, table: &Table) {
    let n_rows = table.row_names.len() + usize::from(table.has_published);
    begin(
        text,
        &format!("{}{}", "l".repeat(n_rows), "r".repeat(table.columns.len())),
    );
    if !table.spans.is_empty() {
        let mut cells = vec![String::new(); n_rows];
        cells.extend(table.spans.iter().map(|span| {
            format!(
                "\\multicolumn{{{}}}{{c}}{{{}}}",
                span.columns,
                escape(&span.text)
            )
        }));
        row(text, &cells);
        let mut at = n_rows + 1;
        for span in &table.spans {
            let _ = write!(text, "\\cmidrule(lr){{{at}-{}}}", at + span.columns - 1);
            at += span.columns;
        }
        text.push('\n');
    }
    let mut heads: Vec<String> = table.row_names.iter().map(|name| escape(name)).collect();
    heads.extend(table.has_published.then(|| "System".to_owned()));
    heads.extend(table.columns.iter().map(|header| {
        escape(if table.spans.is_empty() {
            &header.group
        } else {
            &header.text
        })
    }));
    row(text, &heads);
    text.push_str("\\midrule\n");
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
        cells.extend(
            line.cells
                .iter()
                .map(|cell| cell.as_ref().map_or_else(String::new, number)),
        );
        row(text, &cells);
        if line
            .cells
            .iter()
            .flatten()
            .any(|cell| cell.reference.is_some())
        {
            let mut cells = vec![String::new(); n_rows];
            if let Some(first) = cells.first_mut() {
                *first = format!("\\quad\\emph{{{}}}", escape(&table.reference));
            }
            cells.extend(line.cells.iter().map(|cell| {
                let reference = cell.as_ref().and_then(|cell| cell.reference.as_ref());
                reference.map_or_else(String::new, |reference| {
                    format!(
                        "{} ({})",
                        escape(&reference.value),
                        escape(&reference.difference)
                    )
                })
            }));
            row(text, &cells);
        }
    }
}

fn long(text: &mut String, table: &Table) {
    let n_rows = table.row_names.len() + usize::from(table.has_published);
    let n_numbers = if table.has_reference { 3 } else { 1 };
    begin(
        text,
        &format!("{}{}", "l".repeat(n_rows + 1), "r".repeat(n_numbers)),
    );
    let mut heads: Vec<String> = table.row_names.iter().map(|name| escape(name)).collect();
    heads.extend(table.has_published.then(|| "System".to_owned()));
    heads.extend(["Number".to_owned(), "Reproduced".to_owned()]);
    if table.has_reference {
        heads.extend([escape(&table.reference), "Difference".to_owned()]);
    }
    row(text, &heads);
    text.push_str("\\midrule\n");
    for (order, line) in table.lines.iter().enumerate() {
        if order > 0 && n_rows > 0 {
            text.push_str("\\addlinespace\n");
        }
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
        for (at, (header, cell)) in present(table, line).enumerate() {
            let mut cells: Vec<String> = line
                .headings
                .iter()
                .map(|heading| {
                    if at == 0 {
                        escape(heading)
                    } else {
                        String::new()
                    }
                })
                .collect();
            cells.extend(line.system.as_deref().map(escape));
            cells.extend([escape(&full_name(header)), number(cell)]);
            if table.has_reference {
                let (value, difference) = cell.reference.as_ref().map_or_else(
                    || (String::new(), String::new()),
                    |reference| (escape(&reference.value), escape(&reference.difference)),
                );
                cells.extend([value, difference]);
            }
            row(text, &cells);
        }
    }
}

/// Settings as a `table` environment, one line each; what is stated stands in brackets where it is another.
pub(crate) fn settings(part: &Settings) -> String {
    let mut text = String::from("% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n");
    let (title, slug) = (escape(&part.title), &part.slug);
    let _ = writeln!(text, "\\caption{{{title}}}\n\\label{{tab:{slug}}}");
    begin(&mut text, &format!("l{}", "r".repeat(part.columns.len())));
    let mut heads = vec!["Setting".to_owned()];
    heads.extend(part.columns.iter().map(|column| escape(column)));
    row(&mut text, &heads);
    text.push_str("\\midrule\n");
    for line in &part.lines {
        let mut cells = vec![escape(&line.name)];
        cells.extend(line.cells.iter().map(|cell| {
            let shown = escape(cell.value.as_deref().unwrap_or("–"));
            match (&cell.stated, cell.agreement) {
                (Some(stated), Some(Agreement::Differs | Agreement::NotKnown)) => {
                    let (word, reference) = (cell.word.unwrap_or_default(), &part.reference);
                    let stated = escape(&format!("{word}; {reference}: {stated}"));
                    format!("{shown} ({stated})")
                }
                _ => shown,
            }
        }));
        row(&mut text, &cells);
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    text
}

fn begin(text: &mut String, columns: &str) {
    let _ = writeln!(text, "\\begin{{tabular}}{{{columns}}}\n\\toprule");
}

fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "{} \\\\", cells.join(" & "));
}

/// A published number: the first of its column bold, the second underlined.
fn stated(stated: &Option<Stated>) -> String {
    let Some(stated) = stated else {
        return String::new();
    };
    let shown = escape(&stated.value);
    match stated.place {
        Some(1) => format!("\\textbf{{{shown}}}"),
        Some(2) => format!("\\underline{{{shown}}}"),
        _ => shown,
    }
}

fn number(cell: &Cell) -> String {
    let mut shown = escape(&cell.value);
    match cell.place {
        Some(1) => shown = format!("\\textbf{{{shown}}}"),
        Some(2) => shown = format!("\\underline{{{shown}}}"),
        _ => {}
    }
    if let Some(deviation) = &cell.deviation {
        let _ = write!(shown, " $\\pm$ {}", escape(deviation));
    }
    if let Some(incomplete) = &cell.incomplete {
        let _ = write!(shown, " ({})", escape(incomplete));
    }
    if !cell.marks.is_empty() {
        let _ = write!(shown, "\\textsuperscript{{{}}}", cell.marks.join(","));
    }
    shown
}

/// Text that means itself in LaTeX.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                safe.push('\\');
                safe.push(c);
            }
            '\\' => safe.push_str("\\textbackslash{}"),
            '~' => safe.push_str("\\textasciitilde{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '|' => safe.push_str("\\textbar{}"),
            '"' => safe.push_str("\\textquotedbl{}"),
            '−' => safe.push_str("$-$"),
            '±' => safe.push_str("$\\pm$"),
            '·' => safe.push_str("$\\cdot$"),
            '–' => safe.push_str("--"),
            '…' => safe.push_str("\\ldots{}"),
            c if c.is_whitespace() || c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    // A line may not begin with `[` after `\\`: it would be read as an optional length.
    if safe.starts_with('[') {
        safe.insert_str(0, "{}");
    }
    safe
}
