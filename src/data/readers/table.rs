//! Tables of texts, a line each, as the BLUE benchmark ships them: their quoting, their records and their columns. Knows
//! nothing of what the columns hold.
//!
//! The quoting is parsed here and strictly, because the usual CSV parsers accept a stray `"` without a word: a file
//! without quoting then loses characters or whole lines, which is the mistake these files invite.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::Layout;
use super::{Column, Columns, Emit, Input, Options, Separator, Tally};
use crate::error::{DataError, Problem};
use crate::example::Example;
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

/// Lines that a quoted field may span: more means a quote that was never meant as one.
const MAX_FIELD_LINES: u64 = 100;

/// What tables have where nothing is given: tabs, a header, no id, and these columns.
pub(super) fn defaults(text: &str, second_text: Option<&str>, label: &str) -> Options {
    let named = |name: &str| Some(Column::Name(name.to_owned()));
    Options {
        columns: Columns {
            text: named(text),
            second_text: second_text.and_then(named),
            label: named(label),
            ..Columns::default()
        },
        separator: Some(Separator::Text("\t".to_owned())),
        header: Some(true),
        ..Options::default()
    }
}

/// The fields of a record that are wanted, and its id, which may be made of its number.
pub(super) struct Row<'r, const N: usize> {
    pub(super) id: String,
    pub(super) fields: [&'r str; N],
}

/// Makes an example of a record, or says what is wrong with it.
pub(super) type Make<'m, const N: usize> = dyn Fn(Row<'_, N>) -> Result<Example, Problem> + 'm;

/// Emits what `make` makes of every record of a table with the columns wanted, none of those in `filled` empty.
pub(super) fn each<const N: usize>(
    input: &mut Input<'_>,
    options: &Options,
    wanted: [(&str, &Option<Column>); N],
    filled: [bool; N],
    make: &Make<'_, N>,
    emit: &mut Emit<'_>,
) -> Result<Tally, DataError> {
    let (split, already) = (input.split, input.already);
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
    let mut layout: Option<(Layout<N>, Option<usize>)> = None;
    let mut done = 0;
    while records.advance()? {
        let (layout, id) = match &layout {
            Some(found) => found,
            None => {
                let line = names.as_ref().map_or(records.first_line, |_| 1);
                let found = find(options, &wanted, names.as_deref(), records.fields.len())
                    .map_err(|problem| problem.at(records.lines.place(line)))?;
                layout.insert(found)
            }
        };
        let broken = |problem: Problem| problem.at(records.lines.place(records.first_line));
        (layout.check(records.fields.len()))
            .map_err(|problem| {
                Problem::new(
                    problem.message,
                    "repair the line, or set `separator` and `quoting` as the file has them",
                )
            })
            .map_err(broken)?;
        let fields = layout.of(&records.fields);
        for (((what, _), field), is_filled) in wanted.iter().zip(fields).zip(filled) {
            if is_filled && field.trim().is_empty() {
                return Err(broken(Problem::new(
                    format!("the {} is empty", spoken(what)),
                    "repair the line or leave it out of the file",
                )));
            }
        }
        let id = match id.map(|column| records.fields[column].as_str()) {
            Some("") => {
                return Err(broken(Problem::new(
                    "the id is empty",
                    "repair the line, or leave `columns.id` out to number the examples",
                )));
            }
            Some(id) => id.to_owned(),
            None => format!("{split}-{}", already + done + 1),
        };
        done += 1;
        let fields = fields.map(String::as_str);
        emit(make(Row { id, fields }).map_err(broken)?, None)?;
    }
    Ok(records.tally)
}

/// `second_text` as a message says it.
fn spoken(column: &str) -> String {
    column.replace('_', " ")
}

fn find<const N: usize>(
    options: &Options,
    wanted: &[(&str, &Option<Column>); N],
    names: Option<&[String]>,
    n_columns: usize,
) -> Result<(Layout<N>, Option<usize>), Problem> {
    let layout = Layout::find(*wanted, names, n_columns)?;
    let n_columns = names.map_or(n_columns, <[String]>::len);
    let id = match &options.columns.id {
        Some(column) => Some(column.resolve("id", names, n_columns)?),
        None => None,
    };
    if let Some(id) = id
        && let Some(what) = layout.role(id).map(|i| wanted[i].0)
    {
        return Err(Problem::new(
            format!(
                "the id and the {} are both column {id} of {n_columns}",
                spoken(what)
            ),
            format!(
                "set `columns.id` and `columns.{what}` to different columns, or leave `columns.id` out"
            ),
        ));
    }
    Ok((layout, id))
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
    use super::super::tsv::Tsv;
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
                "x:2: the text is empty",
                "repair the line or leave it out of the file".to_owned(),
            ),
        ] {
            let fault = read(text, &blue(Quoting::Csv)).expect_err("a fault");
            assert_eq!(fault, (message.to_owned(), help));
        }
    }
}
