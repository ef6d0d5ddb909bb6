//! The table of readers and what they have in common. Knows no format.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::error::{DataError, Place, excerpt};
use crate::example::{Example, Task};

mod bioasq;
mod chemprot;
mod chemprot_pairs;
mod columns;
mod conll;
mod ddi;
mod json_lines;
mod pubtator;
mod squad;
mod standoff;
mod table;
mod tsv;

pub use columns::{Column, Columns, Separator};
pub use table::Quoting;

use crate::tags::Encoding;

/// Every reader, by name.
pub static READERS: &[&dyn Reader] = &[
    &bioasq::BioAsq,
    &chemprot::ChemProt,
    &chemprot_pairs::ChemProtPairs,
    &conll::Conll,
    &ddi::Ddi,
    &pubtator::PubTator,
    &json_lines::SpanLines,
    &squad::Squad,
    &standoff::Standoff,
    &json_lines::TokenLines,
    &tsv::Tsv,
    &tsv::TsvLabels,
    &tsv::TsvPairs,
];

/// Reads one format.
pub trait Reader: Sync {
    /// The word after `reader:`.
    fn name(&self) -> &'static str;

    /// One line on what it reads.
    fn doc(&self) -> &'static str;

    /// What its examples are for.
    fn task(&self) -> Task;

    /// Names of the fields of [`Options`] that it uses, and of columns as `columns.NAME`.
    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    /// What it takes for options that are not given; the others stay at [`Options::default`].
    fn defaults(&self) -> Options {
        Options::default()
    }

    /// Whether it reads this file of a folder; the others lie beside those it reads, or are something else.
    fn wants(&self, _file: &str) -> bool {
        true
    }

    /// Hands every example of `input` to `emit`, in the order of the file, holding one document at a time; options that
    /// are not given are [`Reader::defaults`].
    ///
    /// Labels are as the file has them. Ids are the file's, not always unique, or `SPLIT-N` where it has none.
    ///
    /// # Errors
    /// The first fault with its place; whatever `emit` refuses. Nothing is skipped silently.
    fn read(
        &self,
        input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let file = input.file.to_owned();
        // Whatever a file holds, what leaves a reader is sound; its own checks only know the place better.
        let mut checked = |example: Example, document: Option<&str>| {
            example.check().map_err(|problem| {
                problem.at(Place {
                    file: format!("{file}, example `{}`", excerpt(example.id())),
                    line: 0,
                    column: 0,
                })
            })?;
            emit(example, document.filter(|name| !name.is_empty()))
        };
        self.read_with(input, &options.or(&self.defaults()), &mut checked)
    }

    /// As [`Reader::read`], which calls it with its defaults filled in.
    ///
    /// # Errors
    /// As [`Reader::read`].
    fn read_with(
        &self,
        input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError>;
}

/// Takes an example, and the document it is of where the file says: a name, or a number where it only marks documents.
pub type Emit<'a> = dyn FnMut(Example, Option<&str>) -> Result<(), DataError> + 'a;

/// A file to read.
pub struct Input<'a> {
    /// The file as people know it.
    pub file: &'a str,
    /// The split it belongs to; names examples without an id.
    pub split: &'a str,
    /// Examples of the split that came from earlier files.
    pub already: u64,
    /// Where it lies, for files beside it; `None` where it is no file.
    pub path: Option<&'a Path>,
    /// Its bytes.
    pub reader: &'a mut dyn BufRead,
}

impl Input<'_> {
    /// Opens a file beside this one, whose name `name` makes of this one's; with the name for messages.
    ///
    /// # Errors
    /// When there is none.
    fn companion(
        &self,
        name: impl Fn(&str) -> String,
    ) -> Result<(String, BufReader<fs_err::File>), DataError> {
        let (folder, own) = match self.file.rsplit_once('/') {
            Some((folder, own)) => (format!("{folder}/"), own),
            None => (String::new(), self.file),
        };
        let own_path = self
            .path
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let shown = format!("{folder}{}", name(own));
        let path = self
            .path
            .map(|path| path.with_file_name(name(own_path.unwrap_or(own))))
            .filter(|path| path.is_file())
            .ok_or_else(|| {
                DataError::mismatch(
                    format!("`{}` has no `{shown}` beside it", self.file),
                    "give the folder that holds both: an input that is a single file stands alone in the stage's folder",
                )
            })?;
        Ok((shown, BufReader::new(fs_err::File::open(path)?)))
    }
}

/// The whole of a file that is read at once, checked to be UTF-8 text.
fn whole_text(reader: &mut dyn BufRead, file: &str) -> Result<String, DataError> {
    crate::lines::start(reader, file)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(reader, &mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let lines = error.as_bytes()[..good]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        crate::error::Problem::new(
            format!("byte 0x{:02x} is not UTF-8", error.as_bytes()[good]),
            "convert the file to UTF-8, such as with `iconv -f LATIN1 -t UTF-8`",
        )
        .at(Place {
            file: file.to_owned(),
            line: lines as u64 + 1,
            column: 0,
        })
    })
}

/// How to read; each reader uses the fields it names in [`Reader::options`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which columns are which.
    pub columns: Columns,
    /// Between columns; the format's own when `None`.
    pub separator: Option<Separator>,
    /// Whether the first line names the columns; the format's own habit when `None`.
    pub header: Option<bool>,
    /// What a `"` means.
    pub quoting: Quoting,
    /// What tags are allowed.
    pub encoding: Encoding,
    /// The type of tags that name none, such as `B`.
    pub entity_type: Option<String>,
    /// Lines before a sentence that start with this are remarks.
    pub comment: Option<String>,
    /// Names of tags that are written as numbers, in their order.
    pub tag_names: Vec<String>,
    /// Between the labels of a text; the format's own when `None`.
    pub label_separator: Option<String>,
    /// Names of labels that are written as numbers, in their order.
    pub label_names: Vec<String>,
}

impl Options {
    /// The same options with `defaults` where nothing is given.
    #[must_use]
    pub fn or(&self, defaults: &Self) -> Self {
        fn either<T: Clone>(given: &Option<T>, default: &Option<T>) -> Option<T> {
            given.clone().or_else(|| default.clone())
        }
        Self {
            columns: self.columns.zip(&defaults.columns, either),
            separator: either(&self.separator, &defaults.separator),
            header: either(&self.header, &defaults.header),
            label_separator: either(&self.label_separator, &defaults.label_separator),
            ..self.clone()
        }
    }

    /// The same options without what `defaults` says anyway: two spellings of one meaning become equal.
    #[must_use]
    pub fn without(&self, defaults: &Self) -> Self {
        fn drop<T: PartialEq + Clone>(given: &Option<T>, default: &Option<T>) -> Option<T> {
            given.clone().filter(|_| given != default)
        }
        Self {
            columns: self.columns.zip(&defaults.columns, drop),
            separator: drop(&self.separator, &defaults.separator),
            header: drop(&self.header, &defaults.header),
            label_separator: drop(&self.label_separator, &defaults.label_separator),
            ..self.clone()
        }
    }
}

/// What a file held beside its examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Documents the file marks, where they are not the examples themselves.
    pub documents: u64,
    /// What was odd or repaired: a metric's name to its count and the first place.
    pub oddities: BTreeMap<&'static str, Oddity>,
}

/// Something odd that a reader accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oddity {
    /// How often.
    pub count: u64,
    /// Where first.
    pub first: Place,
}

impl Tally {
    fn odd(&mut self, what: &'static str, place: impl FnOnce() -> Place) {
        self.oddities
            .entry(what)
            .and_modify(|odd| odd.count += 1)
            .or_insert_with(|| Oddity {
                count: 1,
                first: place(),
            });
    }
}

/// What each oddity means, for messages; the names are metrics.
pub static ODDITIES: &[(&str, &str)] = &[
    ("comment_lines", "remarks before sentences, left out"),
    (
        "discontinuous_mentions",
        "mentions in several stretches, read from the first to the last",
    ),
    (
        "duplicate_ids",
        "ids that occurred before in the split, made unique by `#2`, `#3` …",
    ),
    ("empty_answers", "answers without a text, left out"),
    (
        "ignored_columns",
        "columns of relations beyond the fourth, left out",
    ),
    (
        "irregular_tags",
        "tags that break the rules of the encoding, read as conlleval does",
    ),
    (
        "mention_text_differs",
        "mentions whose text differs from the document's in signs or spaces; the offsets decide",
    ),
    (
        "moved_answers",
        "answers that do not stand at their offset, moved to the nearest place where they do",
    ),
    ("multiline_fields", "quoted fields over several lines"),
    (
        "other_annotations",
        "lines of other kinds than mentions and relations, left out",
    ),
    ("other_questions", "questions of other types, left out"),
    (
        "quoted_fields",
        "lines with a field wholly in quotes, kept as they are; perhaps `quoting: csv` is meant",
    ),
    (
        "relations_across_sentences",
        "relations between mentions of two sentences; their example holds all from the one to the other",
    ),
    (
        "snippets_without_answer",
        "snippets in which no accepted answer stands, left out",
    ),
    (
        "spaced_concepts",
        "concepts with spaces around them, kept as they are",
    ),
    (
        "untyped_relations",
        "pairs that interact without a type, left out",
    ),
];

/// The reader of this name.
#[must_use]
pub fn find_reader(name: &str) -> Option<&'static dyn Reader> {
    READERS.iter().find(|reader| reader.name() == name).copied()
}

/// Reads a file: opens it and hands it to the reader; `shown` is its name in messages.
///
/// # Errors
/// As [`Reader::read`], and when it cannot be opened.
pub fn read_file(
    reader: &dyn Reader,
    path: &Path,
    shown: &str,
    split: &str,
    already: u64,
    options: &Options,
    emit: &mut Emit<'_>,
) -> Result<Tally, DataError> {
    let mut file = BufReader::with_capacity(1 << 16, fs_err::File::open(path)?);
    let input = Input {
        file: shown,
        split,
        already,
        path: Some(path),
        reader: &mut file,
    };
    reader.read(input, options, emit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text with a reader: examples and tally, or the fault and its help.
    pub(super) fn read_text(
        reader: &dyn Reader,
        text: &str,
        options: &Options,
    ) -> Result<(Vec<Example>, Tally), (String, String)> {
        let mut examples = Vec::new();
        let mut bytes = text.as_bytes();
        let input = Input {
            file: "x",
            split: "train",
            already: 0,
            path: None,
            reader: &mut bytes,
        };
        let tally = reader.read(input, options, &mut |example, _| {
            example.check().expect("readers give sound examples");
            examples.push(example);
            Ok(())
        });
        match tally {
            Ok(tally) => Ok((examples, tally)),
            Err(error) => Err((
                error.to_string(),
                error.help().unwrap_or_default().to_owned(),
            )),
        }
    }

    #[test]
    fn what_a_reader_overlooks_is_refused_before_it_leaves() {
        let text = "7|t|\n7|a|\n0\t";
        let reader = find_reader("pubtator").expect("in the table");
        assert!(read_text(reader, text, &Options::default()).is_err());
        let reader = find_reader("spans").expect("in the table");
        let text = "{\"id\":\"\",\"text\":\"a\",\"spans\":[]}";
        let (message, help) = read_text(reader, text, &Options::default()).expect_err("no id");
        assert_eq!(message, "x:1: `id` is empty");
        assert!(!help.is_empty());
        let reader = find_reader("bioasq").expect("in the table");
        let text = r#"{"questions":[{"id":"5c","type":"factoid","body":"","exact_answer":["a"],"snippets":[{"text":"a"}]}]}"#;
        let (message, _) = read_text(reader, text, &Options::default()).expect_err("no question");
        assert_eq!(message, "x, example `5c_000`: `question` is empty");
    }

    #[test]
    fn the_table_is_sorted_and_its_names_are_unique() {
        let names: Vec<_> = READERS.iter().map(|reader| reader.name()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(ODDITIES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(find_reader("conll").is_some() && find_reader("csv").is_none());
    }
}
