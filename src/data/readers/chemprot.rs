//! Reads the original files of ChemProt: abstracts, mentions and relations in three tables. Knows nothing of splits or
//! statistics.
//!
//! `*_abstracts*.tsv` has `ID, title, abstract`; the text of a document is the title, one character, the abstract, as
//! offsets count. Beside it lie `*_entities*.tsv` (`ID, T1, TYPE, START, END, text`) and `*_gold_standard*.tsv`
//! (`ID, CPR:n, Arg1:T1, Arg2:T2`), which holds the relations that are scored.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Problem, excerpt};
use crate::example::{Document, Example, Relation, Span, Task, slice};
use crate::lines::Lines;

/// See the module.
pub(super) struct ChemProt;

impl Reader for ChemProt {
    fn name(&self) -> &'static str {
        "chemprot"
    }

    fn doc(&self) -> &'static str {
        "ChemProt's tables of abstracts, with those of entities and of the gold standard beside them"
    }

    fn task(&self) -> Task {
        Task::Spans
    }

    fn wants(&self, file: &str) -> bool {
        is_abstracts(file)
    }

    fn read_with(
        &self,
        mut input: Input<'_>,
        _options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        documents(&mut input, &mut |document, _| {
            let id = document.id.clone();
            emit(Example::Spans(document), Some(&id))
        })
    }
}

/// Takes a document, and counts what is odd in it.
pub(super) type EachDocument<'a> = dyn FnMut(Document, &mut Tally) -> Result<(), DataError> + 'a;

/// Calls `each` with every document of a table of abstracts and of the two beside it.
pub(super) fn documents(
    input: &mut Input<'_>,
    each: &mut EachDocument<'_>,
) -> Result<Tally, DataError> {
    let mut tally = Tally::default();
    let (shown, mut file) = input.companion(|name| name.replace("_abstracts", "_entities"))?;
    let mut mentions: BTreeMap<String, Vec<Mention>> = BTreeMap::new();
    table(&mut file, &shown, 6, &mut |lines, columns| {
        let (Ok(start), Ok(end)) = (columns[3].parse(), columns[4].parse()) else {
            return Err(lines.broken(
                format!(
                    "`{}` and `{}` are not two offsets",
                    excerpt(columns[3]),
                    excerpt(columns[4])
                ),
                "a mention is `ID, T1, TYPE, START, END, text`, between tabs",
            ));
        };
        mentions
            .entry(columns[0].to_owned())
            .or_default()
            .push(Mention {
                id: columns[1].to_owned(),
                label: columns[2].to_owned(),
                start,
                end,
                text: columns[5].to_owned(),
                line: lines.number(),
            });
        Ok(())
    })?;
    let mentions_file = shown;
    let (shown, mut file) = input.companion(|name| {
        name.replace("_abstracts", "_gold_standard")
            .replace("gold_standard_gs", "gold_standard")
    })?;
    let mut relations: BTreeMap<String, Vec<Relation>> = BTreeMap::new();
    table(&mut file, &shown, 4, &mut |lines, columns| {
        let argument = |text: &str| text.split_once(':').map(|(_, id)| id.to_owned());
        let (Some(head), Some(tail)) = (argument(columns[2]), argument(columns[3])) else {
            return Err(lines.broken(
                "the relation does not name two mentions",
                "a relation is `ID, CPR:n, Arg1:T1, Arg2:T2`, between tabs",
            ));
        };
        let label = columns[1].to_owned();
        let of_document = relations.entry(columns[0].to_owned()).or_default();
        of_document.push(Relation { label, head, tail });
        Ok(())
    })?;
    let relations_file = shown;
    table(input.reader, input.file, 3, &mut |lines, columns| {
        let id = columns[0];
        let mut document = Document {
            id: id.to_owned(),
            text: format!("{}\t{}", columns[1], columns[2]),
            spans: Vec::new(),
            relations: relations.remove(id).unwrap_or_default(),
        };
        for mention in mentions.remove(id).unwrap_or_default() {
            let mut place = lines.place(mention.line);
            mentions_file.clone_into(&mut place.file);
            let found = slice(&document.text, mention.start, mention.end);
            if found.is_none_or(str::is_empty) {
                let length = document.text.chars().count();
                return Err(Problem::new(
                    format!(
                        "the mention {}..{} does not lie in the text of {length} characters",
                        mention.start, mention.end
                    ),
                    "offsets count characters of title, one character, abstract, from 0",
                )
                .at(place));
            }
            if found != Some(mention.text.as_str()) {
                tally.odd("mention_text_differs", || place);
            }
            document.spans.push(Span {
                start: mention.start,
                end: mention.end,
                label: mention.label,
                id: Some(mention.id),
                concept: None,
                parts: Vec::new(),
            });
        }
        each(document, &mut tally)
    })?;
    for (what, file, left) in [
        ("mentions", mentions_file, mentions.into_keys().next()),
        ("relations", relations_file, relations.into_keys().next()),
    ] {
        if let Some(id) = left {
            return Err(DataError::mismatch(
                format!(
                    "{file} has {what} of `{}`, which has no abstract",
                    excerpt(&id)
                ),
                "give the three tables of one split",
            ));
        }
    }
    Ok(tally)
}

/// Whether this reader's files are meant: tables of abstracts.
pub(super) fn is_abstracts(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.contains("_abstracts") && name.ends_with(".tsv")
}

struct Mention {
    id: String,
    label: String,
    start: usize,
    end: usize,
    text: String,
    line: u64,
}

/// Takes the columns of a line.
type Each<'a> = dyn FnMut(&Lines<'_>, &[&str]) -> Result<(), DataError> + 'a;

/// Calls `each` with the columns of every line, of which there must be `n_columns`.
fn table(
    reader: &mut dyn BufRead,
    shown: &str,
    n_columns: usize,
    each: &mut Each<'_>,
) -> Result<(), DataError> {
    let mut lines = Lines::new(reader, shown)?;
    while lines.advance()? {
        if lines.text().is_empty() {
            continue;
        }
        let columns: Vec<&str> = lines.text().split('\t').collect();
        if columns.len() != n_columns {
            return Err(lines.broken(
                format!("expected {n_columns} columns, found {}", columns.len()),
                "give ChemProt's own tables: abstracts, entities, gold standard",
            ));
        }
        each(&lines, &columns)?;
    }
    Ok(())
}
