//! Reads CoNLL-style columns: a token and its tag a line, a blank line after each sentence. Knows nothing of splits or statistics.

use std::ops::Range;

use super::columns::Layout;
use super::{Column, Columns, Emit, Input, Options, Reader, Separator, Tally};
use crate::error::{DataError, Problem, excerpt};
use crate::example::{Example, Tagging, Task};
use crate::lines::Lines;
use crate::tags::{Encoding, Tag};

/// See the module.
pub(super) struct Conll;

/// Marks the start of a document in files of the CoNLL shared tasks.
const DOCUMENT_START: &str = "-DOCSTART-";

impl Reader for Conll {
    fn name(&self) -> &'static str {
        "conll"
    }

    fn doc(&self) -> &'static str {
        "a token and its tag a line, a blank line after each sentence"
    }

    fn task(&self) -> Task {
        Task::Tagging
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "columns.token",
            "columns.label",
            "separator",
            "header",
            "encoding",
            "entity_type",
            "comment",
        ]
    }

    fn defaults(&self) -> Options {
        Options {
            columns: Columns {
                token: Some(Column::Index(0)),
                label: Some(Column::Index(-1)),
                ..Columns::default()
            },
            separator: Some(Separator::Whitespace),
            header: Some(false),
            ..Options::default()
        }
    }

    fn read_with(
        &self,
        input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let (split, already) = (input.split, input.already);
        let mut lines = Lines::new(input.reader, input.file)?;
        let separator = options.separator.as_ref().expect("it has a default");
        let mut sentences = Sentences {
            options,
            split,
            file: input.file,
            next: already + 1,
            current: Sentence::default(),
            tally: Tally::default(),
        };
        let mut header: Option<Vec<String>> = None;
        let mut layout: Option<Layout<2>> = None;
        let mut fields = Vec::new();
        while lines.advance()? {
            let text = lines.text();
            if text.bytes().all(|byte| byte == b' ' || byte == b'\t') {
                sentences.finish(&lines, emit)?;
                continue;
            }
            if let Some(mark) = &options.comment
                && sentences.current.tokens.is_empty()
                && text.starts_with(mark.as_str())
            {
                sentences
                    .tally
                    .odd("comment_lines", || lines.place(lines.number()));
                continue;
            }
            separator.split(text, &mut fields);
            if options.header == Some(true) && header.is_none() {
                header = Some(
                    fields
                        .iter()
                        .map(|range| text[range.clone()].to_owned())
                        .collect(),
                );
                continue;
            }
            if text[fields[0].clone()] == *DOCUMENT_START {
                sentences.finish(&lines, emit)?;
                sentences.tally.documents += 1;
                continue;
            }
            let layout = match &layout {
                Some(layout) => layout,
                None => layout.insert(
                    Layout::find(
                        [
                            ("token", &options.columns.token),
                            ("label", &options.columns.label),
                        ],
                        header.as_deref(),
                        fields.len(),
                    )
                    .map_err(|problem| problem.at(lines.place(lines.number())))?,
                ),
            };
            layout
                .check(fields.len())
                .map_err(|problem| problem.at(lines.place(lines.number())))?;
            let [token, label] = layout.of(&fields);
            sentences.push(token, label, &lines)?;
        }
        sentences.finish(&lines, emit)?;
        Ok(sentences.tally)
    }
}

#[derive(Default)]
struct Sentence {
    tokens: Vec<String>,
    tags: Vec<String>,
    first_line: u64,
}

struct Sentences<'a> {
    options: &'a Options,
    split: &'a str,
    file: &'a str,
    next: u64,
    current: Sentence,
    tally: Tally,
}

impl Sentences<'_> {
    fn push(
        &mut self,
        token: &Range<usize>,
        label: &Range<usize>,
        lines: &Lines<'_>,
    ) -> Result<(), DataError> {
        for (what, field) in [("token", token), ("label", label)] {
            if field.is_empty() {
                return Err(Problem::new(
                    format!("the {what} is empty"),
                    "repair the line, or set `separator` to what stands between columns",
                )
                .at(lines.place_at(field.start)));
            }
        }
        let text = lines.text();
        let tag = self
            .tag(&text[label.clone()])
            .map_err(|problem| problem.at(lines.place_at(label.start)))?;
        if self.current.tokens.is_empty() {
            self.current.first_line = lines.number();
        }
        self.current.tokens.push(text[token.clone()].to_owned());
        self.current.tags.push(tag);
        Ok(())
    }

    fn tag(&self, written: &str) -> Result<String, Problem> {
        let encoding = self.options.encoding;
        let Some(tag) = Tag::parse(written) else {
            return Err(Problem::new(
                format!("`{}` is not a tag", excerpt(written)),
                "tags are `O`, or B, I, E or S with a type, such as `B-Disease`; set `columns.label` to the column that holds them",
            ));
        };
        if !encoding.allows(tag) {
            return Err(Problem::new(
                format!("`{}` is not a tag of this encoding", excerpt(written)),
                "set `encoding: iobes`, or `encoding: lenient` for a mixture",
            ));
        }
        match (tag, &self.options.entity_type) {
            (Tag::In(_, ""), Some(label)) => Ok(format!("{written}-{label}")),
            (Tag::In(_, ""), None) => Err(Problem::new(
                format!("the tag `{written}` names no type"),
                "set `entity_type`, such as `entity_type: Disease`",
            )),
            _ => Ok(written.to_owned()),
        }
    }

    /// Hands over the current sentence, if there is one.
    fn finish(&mut self, lines: &Lines<'_>, emit: &mut Emit<'_>) -> Result<(), DataError> {
        let Sentence {
            tokens,
            tags,
            first_line,
        } = std::mem::take(&mut self.current);
        if tokens.is_empty() {
            return Ok(());
        }
        if self.options.encoding != Encoding::Lenient {
            for i in irregular(self.options.encoding, &tags) {
                self.tally
                    .odd("irregular_tags", || lines.place(first_line + i as u64));
            }
        }
        let id = format!("{}-{}", self.split, self.next);
        self.next += 1;
        let document = match self.tally.documents {
            0 => None,
            number => Some(format!("{}, document {number}", self.file)),
        };
        let sentence = Example::Tagging(Tagging { id, tokens, tags });
        emit(sentence, document.as_deref())
    }
}

/// Tokens at which a sentence breaks the rules of its encoding; a chunk left open at the end counts at the last token.
fn irregular(encoding: Encoding, tags: &[String]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut previous = Tag::Outside;
    for (i, tag) in tags.iter().enumerate() {
        let tag = Tag::parse(tag).expect("tags were parsed before");
        if !encoding.may_follow(previous, tag) {
            found.push(i);
        }
        previous = tag;
    }
    if !encoding.may_follow(previous, Tag::Outside) {
        found.push(tags.len() - 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    fn read(text: &str, options: &Options) -> Result<(Vec<Tagging>, Tally), (String, String)> {
        let (examples, tally) = read_text(&Conll, text, options)?;
        let sentences = examples
            .into_iter()
            .map(|example| match example {
                Example::Tagging(sentence) => sentence,
                other => panic!("not a sentence: {other:?}"),
            })
            .collect();
        Ok((sentences, tally))
    }

    #[test]
    fn reads_sentences_between_any_blank_lines() {
        let (sentences, tally) = read(
            "\nBRCA1 O\nbreast B-Disease\ncancer I-Disease\n\n \t\n-DOCSTART- O\n\nNo O",
            &Options::default(),
        )
        .expect("readable");
        assert_eq!(sentences.len(), 2);
        assert_eq!(sentences[0].tokens, ["BRCA1", "breast", "cancer"]);
        assert_eq!(sentences[0].tags, ["O", "B-Disease", "I-Disease"]);
        assert_eq!(
            (sentences[0].id.as_str(), sentences[1].id.as_str()),
            ("train-1", "train-2")
        );
        assert_eq!(tally.documents, 1);
        assert!(tally.oddities.is_empty());
    }

    #[test]
    fn takes_columns_by_name_and_remarks() {
        let options = Options {
            columns: Columns {
                token: Some(Column::Name("form".to_owned())),
                label: Some(Column::Name("ner".to_owned())),
                ..Columns::default()
            },
            separator: Some(Separator::Text("\t".to_owned())),
            header: Some(true),
            comment: Some("# ".to_owned()),
            entity_type: Some("Gene".to_owned()),
            ..Options::default()
        };
        let (sentences, tally) = read(
            "id\tform\tner\tpos\n# text = a\n1\ta b\tB\tN\n2\t# x\tI\tN\n",
            &options,
        )
        .expect("readable");
        assert_eq!(sentences[0].tokens, ["a b", "# x"]);
        assert_eq!(sentences[0].tags, ["B-Gene", "I-Gene"]);
        assert_eq!(tally.oddities["comment_lines"].count, 1);
    }

    #[test]
    fn counts_irregular_tags_with_their_place() {
        let (_, tally) = read("a O\nb I-X\n\nc I-X\n", &Options::default()).expect("readable");
        let odd = &tally.oddities["irregular_tags"];
        assert_eq!((odd.count, odd.first.to_string().as_str()), (2, "x:2"));
        let iobes = Options {
            encoding: Encoding::Iobes,
            ..Options::default()
        };
        let (_, tally) = read("a S-X\nb B-X\n", &iobes).expect("readable");
        assert_eq!(tally.oddities["irregular_tags"].first.line, 2);
    }

    #[test]
    fn faults_name_the_place_and_the_next_action() {
        for (text, message, help) in [
            (
                "a O\nb\n",
                "x:2: expected 2 columns, found 1",
                "repair the line, or set `separator` to what stands between columns",
            ),
            (
                "a\tO x y\n",
                "x:1:7: `y` is not a tag",
                "tags are `O`, or B, I, E or S with a type, such as `B-Disease`; set `columns.label` to the column that holds them",
            ),
            (
                "ab S-X\n",
                "x:1:4: `S-X` is not a tag of this encoding",
                "set `encoding: iobes`, or `encoding: lenient` for a mixture",
            ),
            (
                "é B\n",
                "x:1:3: the tag `B` names no type",
                "set `entity_type`, such as `entity_type: Disease`",
            ),
            (
                "word\n",
                "x:1: the token and the label are both column 0 of 1",
                "set `separator` to what stands between columns, or `columns.token` and `columns.label`",
            ),
        ] {
            let fault = read(text, &Options::default()).expect_err("a fault");
            assert_eq!(fault, (message.to_owned(), help.to_owned()));
        }
    }
}
