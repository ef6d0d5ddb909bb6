//! Columns for people: `plan`, `status`, `diff`, `cache stats`. Knows nothing of what stands in them.

use super::format;
use super::terminal::{Ink, Look};

/// Spaces between columns.
const GAP: usize = 2;
/// A column that is shortened keeps so many columns of the terminal.
const NARROWEST: usize = 12;

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    /// A field in a colour.
    #[must_use]
    pub fn new(ink: Ink, text: impl AsRef<str>) -> Self {
        Self {
            text: format::clean_line(text.as_ref()),
            ink,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Ink::Text, text)
    }
}

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns; an all-empty heading is not printed.
    #[must_use]
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let columns = columns.map(|(heading, align)| (heading.to_owned(), align));
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// The table without those of these columns in which nothing stands.
    #[must_use]
    pub fn without_empty(mut self, headings: &[&str]) -> Self {
        for at in (0..self.columns.len()).rev() {
            let is_asked = headings.contains(&self.columns[at].0.as_str());
            if is_asked && self.rows.iter().all(|row| row[at].text.is_empty()) {
                self.columns.remove(at);
                for row in &mut self.rows {
                    row.remove(at);
                }
            }
        }
        self
    }

    /// An empty table whose columns are known only now.
    #[must_use]
    pub fn of(columns: Vec<(String, Align)>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many fields as there are columns.
    pub fn push(&mut self, mut cells: Vec<Cell>) {
        cells.resize(self.columns.len(), Cell::from(""));
        self.rows.push(cells);
    }

    /// Adds a row; missing fields are empty, fields beyond the last column are left out.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.push(Vec::from(cells));
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines. `fit` shortens the first column in its middle and the last one at its end to the width of
    /// `look`, which is right for a terminal and wrong for a pipe.
    #[must_use]
    pub fn render(&self, look: Look, fit: bool) -> String {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|(heading, _)| format::width(heading))
            .collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(format::width(&cell.text));
            }
        }
        if fit {
            shrink(&mut widths, look.width);
        }
        let mut text = String::new();
        if self.columns.iter().any(|(heading, _)| !heading.is_empty()) {
            let heading: Vec<Cell> = self
                .columns
                .iter()
                .map(|(heading, _)| Cell::new(Ink::Faint, heading))
                .collect();
            self.line(&mut text, &heading, &widths, look);
        }
        for row in &self.rows {
            self.line(&mut text, row, &widths, look);
        }
        text
    }

    fn line(&self, text: &mut String, row: &[Cell], widths: &[usize], look: Look) {
        let mut gap = 0;
        for (index, ((cell, width), (_, align))) in
            row.iter().zip(widths).zip(&self.columns).enumerate()
        {
            let shown = if index == 0 {
                format::elide_middle(&cell.text, *width, look.ellipsis())
            } else {
                elide_end(&cell.text, *width, look)
            };
            let padding = width - format::width(&shown).min(*width);
            let painted = look.paint(cell.ink, &shown);
            // Spaces are owed until something follows, so that no line ends in them.
            let (before, after) = match align {
                Align::Left => (gap, padding),
                Align::Right => (gap + padding, 0),
            };
            if shown.is_empty() {
                gap += width + GAP;
                continue;
            }
            text.push_str(&" ".repeat(before));
            text.push_str(&painted);
            gap = after + GAP;
        }
        text.push('\n');
    }
}

/// Takes what is too much from the last column first, then from the first one.
fn shrink(widths: &mut [usize], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let last = widths.len().saturating_sub(1);
    for index in [last, 0] {
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
        if let Some(width) = widths.get_mut(index) {
            *width = width.saturating_sub(excess).max(NARROWEST.min(*width));
        }
    }
}

fn elide_end(text: &str, columns: usize, look: Look) -> String {
    if format::width(text) <= columns {
        return text.to_owned();
    }
    let mark = look.ellipsis();
    let room = columns.saturating_sub(format::width(mark));
    format!("{}{mark}", format::cut(text, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Table {
        let mut table = Table::new([
            ("stage", Align::Left),
            ("state", Align::Left),
            ("time", Align::Right),
            ("because", Align::Left),
        ]);
        table.row([
            Cell::new(Ink::Name, "finetune[task=ncbi-disease,seed=1]"),
            Cell::new(Ink::Warning, "will run"),
            Cell::from("2 h 14 m"),
            Cell::from("config.epochs was 3, is 5 (pipelines/paper.yaml:12:9)"),
        ]);
        table.row(["read".into(), "cached".into(), "".into(), "".into()]);
        table.row(["table".into(), "may run".into(), "4 s".into()]);
        table
    }

    #[test]
    fn columns_line_up() {
        insta::assert_snapshot!(plan().render(Look::PLAIN, false), @"
        stage                               state         time  because
        finetune[task=ncbi-disease,seed=1]  will run  2 h 14 m  config.epochs was 3, is 5 (pipelines/paper.yaml:12:9)
        read                                cached
        table                               may run        4 s
        ");
        let narrow = Look {
            width: 60,
            unicode: true,
            ..Look::PLAIN
        };
        let text = plan().render(narrow, true);
        assert!(text.lines().all(|line| format::width(line) <= 60), "{text}");
        insta::assert_snapshot!(text, @"
        stage                       state         time  because
        finetune[task…ease,seed=1]  will run  2 h 14 m  config.epoc…
        read                        cached
        table                       may run        4 s
        ");
    }

    #[test]
    fn without_headings_there_is_no_heading() {
        let mut table = Table::new([("", Align::Left), ("", Align::Right)]);
        assert!(table.is_empty());
        table.row(["objects".into(), "1,204".into()]);
        table.row(["bytes".into(), "31 GiB".into()]);
        insta::assert_snapshot!(table.render(Look::PLAIN, true), @"
        objects   1,204
        bytes    31 GiB
        ");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let coloured = Look {
            colour: true,
            ..Look::PLAIN
        };
        let text = plan().render(coloured, false);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            plan().render(Look::PLAIN, false)
        );
    }
}
