//! What can stop a report. Knows nothing of how messages are drawn.

use std::io;
use std::path::PathBuf;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of rows, an index or a template could not be read, or an output not written.
    #[error("read or write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A line that is not a row or an index entry.
    #[error("line {line} of `{}` is not {expected}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What was expected there.
        expected: &'static str,
        /// What the decoder says.
        #[source]
        source: serde_json::Error,
    },
    /// A table or chart names a column that no row has.
    #[error("{place} names the column `{column}`, which no row has")]
    UnknownColumn {
        /// Which table, chart or claim.
        place: String,
        /// As written.
        column: String,
        /// A near name, if one exists.
        near: Option<String>,
        /// All columns.
        columns: Vec<String>,
    },
    /// Rows that differ in something the table does not say would fall into one cell.
    #[error("{place}: one cell would mix rows that differ in {}", quoted(columns))]
    Ambiguous {
        /// Which table or chart, and the cell.
        place: String,
        /// The columns they differ in.
        columns: Vec<String>,
    },
    /// Two rows of one instance say the same thing twice.
    #[error("{place}: `{instance}` holds {rows} rows for one number")]
    Twice {
        /// Which table or chart, and the cell.
        place: String,
        /// The instance's name.
        instance: String,
        /// How many rows.
        rows: usize,
    },
    /// The chart's x axis needs numbers.
    #[error("chart `{chart}`: `{column}` is `{value}` in some rows, which is not a number")]
    NotNumeric {
        /// Title of the chart.
        chart: String,
        /// The x column.
        column: String,
        /// The value.
        value: String,
    },
    /// A part of the page reads an input that the stage does not need.
    #[error("{place} reads the input `{port}`, which the stage does not need")]
    UnknownPort {
        /// Which part.
        place: String,
        /// As written.
        port: String,
        /// Inputs there are.
        ports: Vec<String>,
    },
    /// A part of the page reads one file, and there is none or several.
    #[error("the input `{input}` is a folder, and not of one file")]
    NotOneFile {
        /// The instance's name.
        input: String,
    },
    /// Settings are wanted of something that no record tells.
    #[error("the settings behind the input `{input}` are in no record")]
    NoSettings {
        /// The instance's name.
        input: String,
    },
    /// A published number is for no column of the table.
    #[error("{place}: `{system}` has a number for `{column}`, which is no column")]
    UnknownNumber {
        /// Which table.
        place: String,
        /// Whose number.
        system: String,
        /// As written.
        column: String,
        /// Columns there are.
        columns: Vec<String>,
    },
    /// A published system stands among lines that the table has not.
    #[error("{place}: no line is one where `{system}` stands")]
    UnknownLine {
        /// Which table.
        place: String,
        /// Whose.
        system: String,
        /// The columns that make lines.
        rows: Vec<String>,
    },
    /// The template does not parse or does not render.
    #[error("template `{name}` does not render: {source}")]
    Template {
        /// Its name.
        name: String,
        /// What the template engine says, with the line.
        #[source]
        source: minijinja::Error,
    },
    /// The table engine refused; a bug of ours.
    #[error("table engine: {0}")]
    Frame(String),
}

impl ReportError {
    /// A stable code, such as `report::unknown_column`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "report::io",
            Self::Line { .. } => "report::bad_line",
            Self::UnknownColumn { .. } => "report::unknown_column",
            Self::Ambiguous { .. } => "report::ambiguous_cell",
            Self::Twice { .. } => "report::row_twice",
            Self::NotNumeric { .. } => "report::not_numeric",
            Self::UnknownPort { .. } => "report::unknown_port",
            Self::NotOneFile { .. } => "report::not_one_file",
            Self::NoSettings { .. } => "report::no_settings",
            Self::UnknownNumber { .. } => "report::unknown_number",
            Self::UnknownLine { .. } => "report::unknown_line",
            Self::Template { .. } => "report::template",
            Self::Frame(_) => "report::frame",
        }
    }

    /// The next action.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Io { .. } | Self::Frame(_) => None,
            Self::Line { .. } => Some(
                "rows are `{\"dataset\", \"split\", \"metric\", \"class\", \"value\", \"n\"}`, one JSON object a line; only `metric` and `value` are required; an input that holds no numbers must be named by a section (`curves`, `samples`, `choice` …), or `null` in `needs`"
                    .to_owned(),
            ),
            Self::UnknownColumn { near: Some(near), .. } => {
                Some(format!("did you mean `{near}`?"))
            }
            Self::UnknownColumn { columns, .. } => {
                Some(format!("columns are {}", quoted(columns)))
            }
            Self::Ambiguous { columns, .. } => Some(format!(
                "add {} to `rows` or `columns`, or choose one value in `where`",
                quoted(columns)
            )),
            Self::Twice { .. } => {
                Some("give the rows different `class` or `split`, or write each number once".to_owned())
            }
            Self::NotNumeric { .. } => {
                Some("use `kind: bars` or `kind: dots` for names".to_owned())
            }
            Self::UnknownPort { port, ports, .. } => Some(format!(
                "add `{port}` to `needs`, such as `{port}: {{ all: STAGE, output: OUTPUT }}`; it has {}",
                quoted(ports)
            )),
            Self::NotOneFile { .. } => {
                Some("name the output, such as `needs: { samples: { all: score, output: samples } }`".to_owned())
            }
            Self::NoSettings { .. } => Some(
                "name an output of a stage, such as `needs: { logs: { all: finetune, output: log } }`; if its record was deleted, run again".to_owned(),
            ),
            Self::UnknownNumber { columns, .. } => {
                Some(format!("columns are {}", quoted(columns)))
            }
            Self::UnknownLine { rows, .. } if rows.is_empty() => {
                Some("leave its `where` out: this table has one line".to_owned())
            }
            Self::UnknownLine { rows, .. } => Some(format!(
                "its `where` may name {}, with values of a line of the table",
                quoted(rows)
            )),
            Self::Template { .. } => Some(
                "the built-in template is `src/report/templates/index.html`; start from a copy of it".to_owned(),
            ),
        }
    }

    /// Lines under the message.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::UnknownColumn {
                near: Some(_),
                columns,
                ..
            } => vec![format!("columns are {}", quoted(columns))],
            _ => Vec::new(),
        }
    }
}

/// `` `a`, `b` `` of names.
fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
