//! Reads PubTator: a title, an abstract, mentions with offsets and relations, a blank line after each document.
//! Knows nothing of splits or statistics.
//!
//! The text of a document is the title, one space, the abstract; offsets count its characters from 0.

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Problem, excerpt};
use crate::example::{Document, Example, Relation, Span, Task, slice};
use crate::lines::Lines;

/// See the module.
pub(super) struct PubTator;

impl Reader for PubTator {
    fn name(&self) -> &'static str {
        "pubtator"
    }

    fn doc(&self) -> &'static str {
        "PubTator: title and abstract, mentions with offsets and concepts, relations"
    }

    fn task(&self) -> Task {
        Task::Spans
    }

    fn read_with(
        &self,
        input: Input<'_>,
        _options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let mut lines = Lines::new(input.reader, input.file)?;
        let mut tally = Tally::default();
        let mut open: Option<Open> = None;
        while lines.advance()? {
            let text = lines.text();
            if text.trim().is_empty() {
                finish(&mut open, &lines, emit)?;
            } else if let Some((id, part, content)) = parse_text(text) {
                match part {
                    't' => {
                        finish(&mut open, &lines, emit)?;
                        open = Some(Open {
                            document: Document {
                                id: id.to_owned(),
                                text: content.to_owned(),
                                spans: Vec::new(),
                                relations: Vec::new(),
                            },
                            has_abstract: false,
                            first_line: lines.number(),
                        });
                    }
                    _ => match &mut open {
                        Some(open) if open.document.id == id && !open.has_abstract => {
                            open.document.text.push(' ');
                            open.document.text.push_str(content);
                            open.has_abstract = true;
                        }
                        _ => {
                            return Err(lines.broken(
                                format!("the abstract of `{}` follows no title of it", excerpt(id)),
                                "write `ID|t|title`, then `ID|a|abstract`, then its annotations",
                            ));
                        }
                    },
                }
            } else {
                annotation(&mut open, &lines, &mut tally)?;
            }
        }
        finish(&mut open, &lines, emit)?;
        Ok(tally)
    }
}

/// A document whose end was not seen yet.
struct Open {
    document: Document,
    has_abstract: bool,
    first_line: u64,
}

fn finish(
    open: &mut Option<Open>,
    lines: &Lines<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), DataError> {
    let Some(open) = open.take() else {
        return Ok(());
    };
    if !open.has_abstract {
        return Err(Problem::new(
            format!("document `{}` has no abstract", excerpt(&open.document.id)),
            "write `ID|a|` with the abstract, which may be empty, behind the title",
        )
        .at(lines.place(open.first_line)));
    }
    let id = open.document.id.clone();
    emit(Example::Spans(open.document), Some(&id))
}

/// `ID|t|…` or `ID|a|…` taken apart; an id holds no bar and no tab.
fn parse_text(line: &str) -> Option<(&str, char, &str)> {
    let (id, rest) = line.split_once('|')?;
    let part = match rest.get(..2)? {
        "t|" => 't',
        "a|" => 'a',
        _ => return None,
    };
    (!id.is_empty() && !id.contains('\t')).then(|| (id, part, &rest[2..]))
}

fn annotation(
    open: &mut Option<Open>,
    lines: &Lines<'_>,
    tally: &mut Tally,
) -> Result<(), DataError> {
    let columns: Vec<&str> = lines.text().split('\t').collect();
    let id = columns[0];
    let Some(open) = open.as_mut().filter(|open| open.document.id == id) else {
        return Err(lines.broken(
            format!("this line belongs to no document: its id is `{}`", excerpt(id)),
            "put annotations behind the title and abstract of their document, in lines that start with its id and a tab",
        ));
    };
    if !open.has_abstract {
        return Err(lines.broken(
            format!(
                "the annotation of `{}` stands before its abstract",
                excerpt(id)
            ),
            "write `ID|t|title`, then `ID|a|abstract`, then its annotations",
        ));
    }
    if columns.get(1).is_some_and(|column| is_number(column)) {
        let span = mention(&open.document, &columns, lines, tally)?;
        open.document.spans.push(span);
        return Ok(());
    }
    match columns.as_slice() {
        [_, label, head, tail, rest @ ..]
            if !label.is_empty() && !head.is_empty() && !tail.is_empty() =>
        {
            for _ in rest {
                tally.odd("ignored_columns", || lines.place(lines.number()));
            }
            open.document.relations.push(Relation {
                label: (*label).to_owned(),
                head: (*head).to_owned(),
                tail: (*tail).to_owned(),
            });
            Ok(())
        }
        _ => Err(lines.broken(
            "the line is neither a mention nor a relation",
            "a mention is `ID start end text type concept`, a relation `ID type concept concept`, between tabs",
        )),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn mention(
    document: &Document,
    columns: &[&str],
    lines: &Lines<'_>,
    tally: &mut Tally,
) -> Result<Span, DataError> {
    let (start, end, written, label, rest) = match columns {
        [_, start, end, written, label, rest @ ..] if !label.is_empty() && rest.len() <= 2 => {
            (start, end, *written, *label, rest)
        }
        _ => {
            return Err(lines.broken(
                format!(
                    "a mention has 5 to 7 columns, this one has {}",
                    columns.len()
                ),
                "a mention is `ID start end text type concept`, between tabs",
            ));
        }
    };
    let (Ok(start), Ok(end)) = (start.parse::<usize>(), end.parse::<usize>()) else {
        return Err(lines.broken(
            format!(
                "`{}` and `{}` are not two offsets",
                excerpt(start),
                excerpt(end)
            ),
            "offsets are whole numbers from 0, `end` one past the last character",
        ));
    };
    let help = "offsets count characters (not bytes) of title, one space, abstract, from 0; `end` is one past the last";
    let Some(found) = slice(&document.text, start, end).filter(|found| !found.is_empty()) else {
        return Err(lines.broken(
            format!(
                "the mention {start}..{end} does not lie in the text of {} characters",
                document.text.chars().count()
            ),
            help,
        ));
    };
    if found != written {
        let letters =
            |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
        if letters(found) != letters(written) {
            return Err(lines.broken(
                format!(
                    "the mention is `{}`, but `{}` stands at {start}..{end}",
                    excerpt(written),
                    excerpt(found)
                ),
                help,
            ));
        }
        tally.odd("mention_text_differs", || lines.place(lines.number()));
    }
    let concept = rest.first().copied().filter(|concept| !concept.is_empty());
    if concept.is_some_and(|concept| concept.trim() != concept) {
        tally.odd("spaced_concepts", || lines.place(lines.number()));
    }
    let parts = rest.get(1).map_or(Vec::new(), |parts| {
        parts.split('|').map(str::to_owned).collect()
    });
    Ok(Span {
        start,
        end,
        label: label.to_owned(),
        id: None,
        concept: concept.map(str::to_owned),
        parts,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    fn read(text: &str) -> Result<(Vec<Document>, Tally), (String, String)> {
        let (examples, tally) = read_text(&PubTator, text, &Options::default())?;
        let documents = examples
            .into_iter()
            .map(|example| match example {
                Example::Spans(document) => document,
                other => panic!("not a document: {other:?}"),
            })
            .collect();
        Ok((documents, tally))
    }

    const TEXT: &str = "1|t|Naïve colds.\n1|a|A cough | cold.\n";

    #[test]
    fn reads_mentions_and_relations() {
        let (documents, tally) = read(&format!(
            "\n{TEXT}1\t6\t11\tcolds\tDisease\t D1|D2\tcold one|cold two\n1\t15\t20\tcough\tDisease\t-1\n1\tCID\tD1\tD9\n\n2|t|x\n2|a|\n"
        ))
        .expect("readable");
        assert_eq!(documents.len(), 2);
        let first = &documents[0];
        assert_eq!(first.text, "Naïve colds. A cough | cold.");
        assert_eq!(first.spans[0].concept.as_deref(), Some(" D1|D2"));
        assert_eq!(first.spans[0].concepts().collect::<Vec<_>>(), ["D1", "D2"]);
        assert_eq!(first.spans[0].parts, ["cold one", "cold two"]);
        assert_eq!(first.spans[1].concepts().count(), 0);
        assert_eq!(first.relations[0].tail, "D9");
        assert_eq!(documents[1].text, "x ");
        assert_eq!(tally.oddities["spaced_concepts"].first.line, 4);
    }

    #[test]
    fn faults_name_the_place_and_the_next_action() {
        for (text, message) in [
            (
                "1|a|x\n".to_owned(),
                "x:1: the abstract of `1` follows no title of it",
            ),
            ("1|t|x\n\n".to_owned(), "x:1: document `1` has no abstract"),
            (
                format!("{TEXT}2\t0\t5\tNaïve\tDisease\tD1\n"),
                "x:3: this line belongs to no document: its id is `2`",
            ),
            (
                format!("{TEXT}1\t7\t12\tcolds\tDisease\tD1\n"),
                "x:3: the mention is `colds`, but `olds.` stands at 7..12",
            ),
            (
                format!("{TEXT}1\t20\t99\tcolds\tDisease\tD1\n"),
                "x:3: the mention 20..99 does not lie in the text of 28 characters",
            ),
            (
                format!("{TEXT}1\t7\t12\n"),
                "x:3: a mention has 5 to 7 columns, this one has 3",
            ),
            (
                format!("{TEXT}1\t7\tx\tcolds\tDisease\tD1\n"),
                "x:3: `7` and `x` are not two offsets",
            ),
            (
                format!("{TEXT}1\tCID\tD1\n"),
                "x:3: the line is neither a mention nor a relation",
            ),
        ] {
            let (found, help) = read(&text).expect_err("a fault");
            assert_eq!(found, message);
            assert!(!help.is_empty());
        }
    }

    #[test]
    fn counts_a_mention_that_differs_in_signs() {
        let (documents, tally) =
            read("1|t|the \"big\" one\n1|a|\n1\t4\t13\t big  one \tDisease\tD1\n")
                .expect("readable");
        assert_eq!(documents[0].spans[0].end, 13);
        assert_eq!(tally.oddities["mention_text_differs"].count, 1);
    }
}
