//! Reads standoff annotation (brat): a text, and beside it a file `.ann` with mentions and relations. Knows nothing of
//! splits or statistics.
//!
//! `T1<TAB>TYPE START END<TAB>text`, `R1<TAB>TYPE Arg1:T1 Arg2:T2`; offsets count characters from 0, `END` is one past
//! the last. A mention in several stretches (`0 5;9 12`) reaches from the first to the last and is counted. Lines of
//! other kinds (events, attributes, notes) are counted and left out.

use std::collections::BTreeSet;

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, excerpt};
use crate::example::{Document, Example, Relation, Span, Task, slice};
use crate::lines::Lines;

/// See the module.
pub(super) struct Standoff;

impl Reader for Standoff {
    fn name(&self) -> &'static str {
        "standoff"
    }

    fn doc(&self) -> &'static str {
        "standoff annotation: `ID.txt` with the text and `ID.ann` with mentions and relations"
    }

    fn task(&self) -> Task {
        Task::Spans
    }

    fn wants(&self, file: &str) -> bool {
        file.ends_with(".txt")
    }

    fn read_with(
        &self,
        input: Input<'_>,
        _options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let text = super::whole_text(input.reader, input.file)?;
        let (shown, mut file) = input.companion(|name| {
            let stem = name.strip_suffix(".txt").unwrap_or(name);
            format!("{stem}.ann")
        })?;
        let mut lines = Lines::new(&mut file, &shown)?;
        let name = input.file.rsplit('/').next().unwrap_or(input.file);
        let mut document = Document {
            id: name.strip_suffix(".txt").unwrap_or(name).to_owned(),
            text,
            spans: Vec::new(),
            relations: Vec::new(),
        };
        let mut tally = Tally::default();
        let mut mentions = BTreeSet::new();
        while lines.advance()? {
            let line = lines.text();
            match line.chars().next() {
                Some('T') => {
                    let (id, span) = mention(line, &document.text, &lines, &mut tally)?;
                    mentions.insert(id);
                    document.spans.push(span);
                }
                Some('R') => document.relations.push(relation(line, &lines)?),
                Some(_) if !line.trim().is_empty() => {
                    tally.odd("other_annotations", || lines.place(lines.number()));
                }
                _ => {}
            }
        }
        for relation in &document.relations {
            for end in [&relation.head, &relation.tail] {
                if !mentions.contains(end) {
                    return Err(lines.broken(
                        format!("a relation names `{}`, which is no mention", excerpt(end)),
                        "give every mention a line that begins with its id, such as `T1`",
                    ));
                }
            }
        }
        let id = document.id.clone();
        emit(Example::Spans(document), Some(&id))?;
        Ok(tally)
    }
}

fn mention(
    line: &str,
    text: &str,
    lines: &Lines<'_>,
    tally: &mut Tally,
) -> Result<(String, Span), DataError> {
    let parts: Vec<&str> = line.splitn(3, '\t').collect();
    let parsed = match parts.as_slice() {
        [id, middle, written] => middle
            .split_once(' ')
            .and_then(|(label, offsets)| Some((*id, label, stretch(offsets)?, offsets, *written))),
        _ => None,
    };
    let Some((id, label, (start, end), offsets, written)) = parsed else {
        return Err(lines.broken(
            format!("`{}` is no mention", excerpt(line)),
            "a mention is `T1`, a tab, `TYPE START END`, a tab, the text",
        ));
    };
    let found = slice(text, start, end).ok_or_else(|| {
        lines.broken(
            format!(
                "the mention {start}..{end} does not lie in the text of {} characters",
                text.chars().count()
            ),
            "offsets count characters from 0, `END` is one past the last",
        )
    })?;
    if offsets.contains(';') {
        tally.odd("discontinuous_mentions", || lines.place(lines.number()));
    } else if found != written {
        tally.odd("mention_text_differs", || lines.place(lines.number()));
    }
    let span = Span {
        start,
        end,
        label: label.to_owned(),
        id: Some(id.to_owned()),
        concept: None,
        parts: Vec::new(),
    };
    Ok((id.to_owned(), span))
}

/// `0 5` or `0 5;9 12`: from the first to the last.
fn stretch(offsets: &str) -> Option<(usize, usize)> {
    let mut whole: Option<(usize, usize)> = None;
    for part in offsets.split(';') {
        let (start, end) = part.trim().split_once(' ')?;
        let (start, end): (usize, usize) = (start.parse().ok()?, end.parse().ok()?);
        if start >= end {
            return None;
        }
        whole = Some(match whole {
            Some((first, last)) => (first.min(start), last.max(end)),
            None => (start, end),
        });
    }
    whole
}

fn relation(line: &str, lines: &Lines<'_>) -> Result<Relation, DataError> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let argument = |word: &str| word.split_once(':').map(|(_, id)| id.to_owned());
    if let [_, label, head, tail] = words.as_slice()
        && let (Some(head), Some(tail)) = (argument(head), argument(tail))
    {
        return Ok(Relation {
            label: (*label).to_owned(),
            head,
            tail,
        });
    }
    Err(lines.broken(
        format!("`{}` is no relation", excerpt(line)),
        "a relation is `R1`, a tab, `TYPE Arg1:T1 Arg2:T2`",
    ))
}
