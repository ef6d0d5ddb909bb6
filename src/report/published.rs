//! Systems that others published, as lines beside ours, and who is first. Knows nothing of rows and files.

use crate::error::ReportError;
use crate::frame::{SheetColumn, same_text};
use crate::input::text_of;
use crate::number::Style;
use crate::options::TableOptions;
use crate::sections::options::{Published, Rank};
use crate::table::{Line, Stated, Table};

/// What a column of a table is of, by the names that people write.
#[derive(Clone, Debug)]
pub(crate) struct ColumnKey {
    /// The metric, where the column is of one.
    pub(crate) metric: Option<String>,
    /// Values of the column axes.
    pub(crate) values: Vec<String>,
    /// How its numbers are written.
    pub(crate) style: Style,
}

impl ColumnKey {
    /// `f1`, `ner`, `f1/ner`: all that name it.
    fn names(&self) -> Vec<String> {
        let values = self.values.join("/");
        let mut names = Vec::new();
        if let Some(metric) = &self.metric {
            names.push(metric.clone());
            if !values.is_empty() {
                names.push(format!("{metric}/{values}"));
            }
        }
        if !values.is_empty() {
            names.push(values);
        }
        names
    }
}

/// Puts the published systems before the lines they stand among, and ranks each column.
///
/// # Errors
/// For a number of no column, and a system among no line.
pub(crate) fn place(
    options: &TableOptions,
    row_keys: &[Vec<Option<String>>],
    columns: &[ColumnKey],
    lines: Vec<Line>,
    place: &str,
) -> Result<Vec<Line>, ReportError> {
    if options.published.is_empty() {
        return Ok(lines);
    }
    let mut lines = lines;
    for line in &mut lines {
        line.system = options.system.clone().or_else(|| Some("Ours".to_owned()));
    }
    // Those that stand among the same lines are one group.
    let mut groups: Vec<(Vec<usize>, Vec<Line>)> = Vec::new();
    for published in &options.published {
        let among = among(options, row_keys, published, place)?;
        let line = published_line(published, &among, &lines, columns, place)?;
        match groups.iter_mut().find(|(known, _)| *known == among) {
            Some((_, members)) => members.push(line),
            None => groups.push((among, vec![line])),
        }
    }
    if options.rank != Rank::None {
        for (among, members) in &mut groups {
            rank(options.rank, among, members, &mut lines, columns.len());
        }
    }
    let mut placed = Vec::new();
    for (at, line) in lines.into_iter().enumerate() {
        for (among, members) in &mut groups {
            if among.first() == Some(&at) {
                placed.append(members);
            }
        }
        placed.push(line);
    }
    Ok(placed)
}

/// The lines of ours that a published system stands among.
fn among(
    options: &TableOptions,
    row_keys: &[Vec<Option<String>>],
    published: &Published,
    place: &str,
) -> Result<Vec<usize>, ReportError> {
    let unknown = || ReportError::UnknownLine {
        place: place.to_owned(),
        system: published.system.clone(),
        rows: options.rows.clone(),
    };
    let mut wanted = Vec::new();
    for (column, value) in &published.filter {
        let at = options.rows.iter().position(|row| row == column);
        wanted.push((at.ok_or_else(unknown)?, text_of(value)));
    }
    let among: Vec<usize> = row_keys
        .iter()
        .enumerate()
        .filter(|(_, key)| {
            wanted
                .iter()
                .all(|(at, value)| key[*at].as_deref().is_some_and(|own| same_text(own, value)))
        })
        .map(|(at, _)| at)
        .collect();
    if among.is_empty() && !row_keys.is_empty() {
        return Err(unknown());
    }
    Ok(among)
}

fn published_line(
    published: &Published,
    among: &[usize],
    lines: &[Line],
    columns: &[ColumnKey],
    place: &str,
) -> Result<Line, ReportError> {
    let mut stated: Vec<Option<Stated>> = vec![None; columns.len()];
    for (name, value) in &published.values {
        let mut fitting = (0..columns.len()).filter(|at| columns[*at].names().contains(name));
        let (Some(at), None) = (fitting.next(), fitting.next()) else {
            return Err(ReportError::UnknownNumber {
                place: place.to_owned(),
                system: published.system.clone(),
                column: name.clone(),
                columns: columns
                    .iter()
                    .filter_map(|column| column.names().into_iter().next_back())
                    .collect(),
            });
        };
        stated[at] = Some(Stated {
            value: columns[at].style.stated(*value),
            place: None,
            raw: *value,
        });
    }
    // A heading that its lines share is theirs too.
    let n_headings = lines.first().map_or(0, |line| line.headings.len());
    let headings = (0..n_headings)
        .map(|heading| {
            let mut own = among.iter().map(|at| &lines[*at].headings[heading]);
            let first = own.next().cloned().unwrap_or_default();
            if own.all(|other| *other == first) {
                first
            } else {
                String::new()
            }
        })
        .collect();
    Ok(Line {
        headings,
        cells: columns.iter().map(|_| None).collect(),
        first_marks: Vec::new(),
        system: Some(published.system.clone()),
        source: published.source.clone(),
        stated,
    })
}

/// Places of each column among a group: 1 is first, equal numbers share a place.
fn rank(goal: Rank, among: &[usize], members: &mut [Line], lines: &mut [Line], n_columns: usize) {
    for column in 0..n_columns {
        let ours = among
            .iter()
            .filter_map(|at| lines[*at].cells[column].as_ref())
            .map(|cell| cell.raw.summary.mean);
        let theirs = members
            .iter()
            .filter_map(|line| line.stated[column].as_ref())
            .map(|stated| stated.raw);
        let all: Vec<f64> = ours.chain(theirs).collect();
        if all.len() < 2 {
            continue;
        }
        let place = |value: f64| {
            let better = |other: &&f64| match goal {
                Rank::Lowest => **other < value,
                _ => **other > value,
            };
            1 + all.iter().filter(better).count()
        };
        for at in among {
            if let Some(cell) = &mut lines[*at].cells[column] {
                let place = place(cell.raw.summary.mean);
                cell.place = Some(place);
                cell.rank = Some(format!("{} of {}", ordinal(place), all.len()));
            }
        }
        for line in &mut *members {
            if let Some(stated) = &mut line.stated[column] {
                stated.place = Some(place(stated.raw));
            }
        }
    }
}

/// `1st`, `22nd`, `113th`.
fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// A table with published systems as columns for a file: one line a number, ours among them.
#[must_use]
pub fn sheet(table: &Table) -> Vec<SheetColumn> {
    let mut columns: [Vec<Option<String>>; 5] = Default::default();
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for line in &table.lines {
        for (at, header) in table.columns.iter().enumerate() {
            let ours = line.cells[at].as_ref();
            let theirs = line.stated.get(at).and_then(Option::as_ref);
            let (value, place) = match (ours, theirs) {
                (Some(cell), _) => (cell.raw.summary.mean, cell.place),
                (None, Some(stated)) => (stated.raw, stated.place),
                (None, None) => continue,
            };
            let column = match header.text.as_str() {
                "" => None,
                text => Some(text.to_owned()),
            };
            let texts = [
                Some(line.headings.join(" · ")),
                line.system.clone(),
                Some(header.group.clone()),
                column,
                line.source.clone(),
            ];
            for (column, text) in columns.iter_mut().zip(texts) {
                column.push(text);
            }
            values.push(Some(value));
            places.push(place.map(|place| place as u64));
        }
    }
    let [lines, systems, numbers, headings, sources] = columns;
    vec![
        SheetColumn::Text("line".to_owned(), lines),
        SheetColumn::Text("system".to_owned(), systems),
        SheetColumn::Text("number".to_owned(), numbers),
        SheetColumn::Text("column".to_owned(), headings),
        SheetColumn::Number("value".to_owned(), values),
        SheetColumn::Count("place".to_owned(), places),
        SheetColumn::Text("source".to_owned(), sources),
    ]
}

#[cfg(test)]
mod tests {
    use super::ordinal;

    #[test]
    fn places_in_words() {
        let words = [1, 2, 3, 4, 11, 12, 13, 21, 102, 113].map(ordinal);
        assert_eq!(
            words,
            [
                "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "113th"
            ]
        );
    }
}
