//! Reads tables of labelled texts, a line each, as the BLUE benchmark ships them. Knows nothing of splits or statistics.
//!
//! The quoting is parsed here and strictly, because the usual CSV parsers accept a stray `"` without a word: a file
//! without quoting then loses characters or whole lines, which is the mistake these files invite.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Column, Columns, Emit, Input, Options, Reader, Separator, Tally};
use crate::error::{DataError, Problem};
use crate::example::{Classification, Example, Task};
use crate::lines::Lines;

/// What a `"` means in a table.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Quoting {
    /// A field that starts with `"` ends at the next single `"`; `""` inside stands for one.
    #[default]
    Csv,
    /// A `"` stands for itself.
    None,
}

/// See the module.
pub(super) struct Tsv;

/// Lines that a quoted field may span: more means a quote that was never meant as one.
const MAX_FIELD_LINES: u64 = 100;

impl Reader for Tsv {
    fn name(&self) -> &'static str {
        "tsv"
    }

    fn doc(&self) -> &'static str {
        "a table with a text and its class a line"
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "columns.id",
            "columns.text",
            "columns.label",
            "separator",
            "header",
            "quoting",
        ]
    }

    fn defaults(&self) -> Options {
        Options {
            columns: Columns {
                text: Some(Column::Name("sentence".to_owned())),
                label: Some(Column::Name("label".to_owned())),
                ..Columns::default()
            },
            separator: Some(Separator::Text("\t".to_owned())),
            header: Some(true),
            ..Options::default()
        }
    }

    fn read(
        &self,
        input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let (split, already) = (input.split, input.already);
        let options = options.or(&self.defaults());
        let separator = match &options.separator {
            Some(Separator::Text(text)) => text.as_str(),
            Some(Separator::Whitespace) | None => {
                return Err(DataError::mismatch(
                    "a table cannot be separated by `whitespace`: its texts hold spaces",
                    "set `separator: tab`, or the character that stands between columns",
                ));
            }
        };
        let mut records = Records {
            lines: Lines::new(input.reader, input.file)?,
            separator,
            quoting: options.quoting,
            fields: Vec::new(),
            text: String::new(),
            first_line: 0,
            tally: Tally::default(),
        };
        let mut names = None;
        if options.header != Some(false) {
            if !records.advance()? {
                return Ok(records.tally);
            }
            names = Some(records.fields.clone());
        }
        let mut layout = None;
        let mut done = 0;
        while records.advance()? {
            let layout = match &layout {
                Some(layout) => layout,
                None => layout.insert(
                    Layout::find(&options, names.as_deref(), records.fields.len()).map_err(
                        |problem| {
                            problem.at(records.lines.place(if names.is_some() {
                                1
                            } else {
                                records.first_line
                            }))
                        },
                    )?,
                ),
            };
            let found = records.fields.len();
            if found != layout.n_columns {
                return Err(records.broken(
                    format!("expected {} columns, found {found}", layout.n_columns),
                    "repair the line, or set `separator` and `quoting` as the file has them",
                ));
            }
            for (what, column) in [("text", layout.text), ("label", layout.label)] {
                if records.fields[column].trim().is_empty() {
                    return Err(records.broken(
                        format!("the {what} (column {column}) is empty"),
                        "repair the line or leave it out of the file",
                    ));
                }
            }
            let id = match layout.id {
                Some(column) if !records.fields[column].is_empty() => {
                    std::mem::take(&mut records.fields[column])
                }
                Some(column) => {
                    return Err(records.broken(
                        format!("the id (column {column}) is empty"),
                        "repair the line, or leave `columns.id` out to number the examples",
                    ));
                }
                None => format!("{split}-{}", already + done + 1),
            };
            let text = std::mem::take(&mut records.fields[layout.text]);
            let label = std::mem::take(&mut records.fields[layout.label]);
            done += 1;
            emit(Example::Classification(Classification { id, text, label }))?;
        }
        Ok(records.tally)
    }
}

struct Layout {
    id: Option<usize>,
    text: usize,
    label: usize,
    n_columns: usize,
}

impl Layout {
    fn find(
        options: &Options,
        names: Option<&[String]>,
        n_columns: usize,
    ) -> Result<Self, Problem> {
        let n_columns = names.map_or(n_columns, <[String]>::len);
        let column = |column: &Option<Column>, what: &str| {
            let column = column.as_ref().expect("it has a default");
            column.resolve(what, names, n_columns)
        };
        let text = column(&options.columns.text, "text")?;
        let label = column(&options.columns.label, "label")?;
        let id = match &options.columns.id {
            Some(id) => Some(id.resolve("id", names, n_columns)?),
            None => None,
        };
        if text == label || id == Some(text) || id == Some(label) {
            return Err(Problem::new(
                format!("two of id, text and label are the same column of {n_columns}"),
                "set `columns.id`, `columns.text` and `columns.label` to different columns",
            ));
        }
        Ok(Self {
            id,
            text,
            label,
            n_columns,
        })
    }
}

/// A cursor over records, which may span lines.
struct Records<'a> {
    lines: Lines<'a>,
    separator: &'a str,
    quoting: Quoting,
    fields: Vec<String>,
    text: String,
    first_line: u64,
    tally: Tally,
}

impl Records<'_> {
    /// Goes to the next record; `false` at the end. Empty lines between records are passed over.
    fn advance(&mut self) -> Result<bool, DataError> {
        loop {
            if !self.lines.advance()? {
                return Ok(false);
            }
            if !self.lines.text().is_empty() {
                break;
            }
        }
        self.first_line = self.lines.number();
        if self.quoting == Quoting::None {
            self.fields.clear();
            let fields = self.lines.text().split(self.separator);
            self.fields.extend(fields.map(str::to_owned));
            let quoted =
                |field: &String| field.len() > 1 && field.starts_with('"') && field.ends_with('"');
            if self.fields.iter().any(quoted) {
                self.tally
                    .odd("quoted_fields", || self.lines.place(self.first_line));
            }
            return Ok(true);
        }
        match parse(self.lines.text(), self.separator, &mut self.fields) {
            Parsed::Complete => Ok(true),
            Parsed::Stray(at) => Err(stray().at(self.lines.place_at(at))),
            Parsed::Open(at) => self.join(at),
        }
    }

    /// Goes on with a quoted field that its line does not close.
    fn join(&mut self, opened: usize) -> Result<bool, DataError> {
        let place = self.lines.place_at(opened);
        self.text.clear();
        self.text.push_str(self.lines.text());
        while self.lines.number() - self.first_line < MAX_FIELD_LINES && self.lines.advance()? {
            let before = self.text.len() + 1;
            self.text.push('\n');
            self.text.push_str(self.lines.text());
            if !self.lines.text().contains('"') {
                continue;
            }
            match parse(&self.text, self.separator, &mut self.fields) {
                Parsed::Complete => {
                    self.tally.odd("multiline_fields", || place);
                    return Ok(true);
                }
                Parsed::Open(_) => {}
                Parsed::Stray(at) => {
                    return Err(stray().at(self.lines.place_at(at.saturating_sub(before))));
                }
            }
        }
        Err(Problem::new(
            "the quote that opens here is not closed",
            "set `quoting: none` if a `\"` stands for itself in this file, or close it",
        )
        .at(place))
    }

    fn broken(&self, message: String, help: &str) -> DataError {
        Problem::new(message, help).at(self.lines.place(self.first_line))
    }
}

fn stray() -> Problem {
    Problem::new(
        "text follows the closing quote of a field",
        "set `quoting: none` if a `\"` stands for itself in this file, or write `\"\"` for a quote inside",
    )
}

enum Parsed {
    Complete,
    /// The quote at this byte is not closed.
    Open(usize),
    /// At this byte stands something behind a closing quote.
    Stray(usize),
}

/// Takes a record with csv quoting apart.
fn parse(text: &str, separator: &str, fields: &mut Vec<String>) -> Parsed {
    fields.clear();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if !rest.starts_with('"') {
            match rest.find(separator) {
                Some(end) => {
                    fields.push(rest[..end].to_owned());
                    at += end + separator.len();
                    continue;
                }
                None => {
                    fields.push(rest.to_owned());
                    return Parsed::Complete;
                }
            }
        }
        let mut field = String::new();
        let mut inside = at + 1;
        loop {
            let Some(quote) = text[inside..].find('"') else {
                return Parsed::Open(at);
            };
            field.push_str(&text[inside..inside + quote]);
            inside += quote + 1;
            if !text[inside..].starts_with('"') {
                break;
            }
            field.push('"');
            inside += 1;
        }
        fields.push(field);
        let behind = &text[inside..];
        if behind.is_empty() {
            return Parsed::Complete;
        }
        if !behind.starts_with(separator) {
            return Parsed::Stray(inside);
        }
        at = inside + separator.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    fn read(text: &str, options: &Options) -> Result<Vec<[String; 3]>, (String, String)> {
        let (examples, _) = read_text(&Tsv, text, options)?;
        Ok(examples
            .into_iter()
            .map(|example| match example {
                Example::Classification(example) => [example.id, example.text, example.label],
                other => panic!("not a text with a class: {other:?}"),
            })
            .collect())
    }

    fn blue(quoting: Quoting) -> Options {
        Options {
            columns: Columns {
                id: Some(Column::Name("index".to_owned())),
                ..Columns::default()
            },
            quoting,
            ..Options::default()
        }
    }

    #[test]
    fn reads_quotes_marks_and_both_line_ends() {
        let quoted = "\u{feff}index\tsentence\tlabel\na.1\t\"the \"\"big\"\" one\"\tfalse\na.2\ta 5\" pipe\tCPR:3\n";
        assert_eq!(
            read(quoted, &blue(Quoting::Csv)).expect("readable"),
            [
                ["a.1", "the \"big\" one", "false"],
                ["a.2", "a 5\" pipe", "CPR:3"]
            ]
        );
        let bare = "index\tsentence\tlabel\r\nb.1\t\"the big\" one\tDDI-int\r\n";
        assert_eq!(
            read(bare, &blue(Quoting::None)).expect("readable"),
            [["b.1", "\"the big\" one", "DDI-int"]]
        );
    }

    #[test]
    fn counts_quotes_that_nobody_reads() {
        let text = "sentence\tlabel\n\"a \"\"b\"\"\"\tx\n\"c\" d\tx\n";
        let options = Options {
            quoting: Quoting::None,
            ..Options::default()
        };
        let (examples, tally) = read_text(&Tsv, text, &options).expect("readable");
        assert_eq!(examples.len(), 2);
        let odd = &tally.oddities["quoted_fields"];
        assert_eq!((odd.count, odd.first.line), (1, 2));
    }

    #[test]
    fn numbers_examples_without_an_id_and_reads_without_a_header() {
        let options = Options {
            columns: Columns {
                text: Some(Column::Index(1)),
                label: Some(Column::Index(0)),
                ..Columns::default()
            },
            separator: Some(Separator::Text(",".to_owned())),
            header: Some(false),
            ..Options::default()
        };
        assert_eq!(
            read("yes,\"a, b\nc\"\n\nno,d\n", &options).expect("readable"),
            [["train-1", "a, b\nc", "yes"], ["train-2", "d", "no"]]
        );
    }

    #[test]
    fn faults_name_the_place_and_the_next_action() {
        let none = "set `quoting: none` if a `\"` stands for itself in this file, or ";
        for (text, message, help) in [
            (
                "index\tsentence\tlabel\na\té \tx\nb\t\"the big\" one\tx\n",
                "x:3:12: text follows the closing quote of a field",
                format!("{none}write `\"\"` for a quote inside"),
            ),
            (
                "index\tsentence\tlabel\na\t\"open\tx\nb\tc\td\n",
                "x:2:3: the quote that opens here is not closed",
                format!("{none}close it"),
            ),
            (
                "index\tsentence\tlabel\na\tb\n",
                "x:2: expected 3 columns, found 2",
                "repair the line, or set `separator` and `quoting` as the file has them".to_owned(),
            ),
            (
                "index\tsentences\tlabel\na\tb\tc\n",
                "x:1: the header has no column `sentence` for the text",
                "did you mean `sentences`? set `columns.text`".to_owned(),
            ),
            (
                "index\tsentence\tlabel\na\t \tc\n",
                "x:2: the text (column 1) is empty",
                "repair the line or leave it out of the file".to_owned(),
            ),
        ] {
            let fault = read(text, &blue(Quoting::Csv)).expect_err("a fault");
            assert_eq!(fault, (message.to_owned(), help));
        }
    }
}
