//! Reads JSON lines as they are passed around: `{id, text, spans}` and `{tokens, ner_tags}`. Knows nothing of splits or
//! statistics.

use serde::Deserialize;

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Problem};
use crate::example::{Document, Example, Span, Tagging, Task};
use crate::lines::Lines;

/// `{"id", "text", "spans": [{"start", "end", "label"}]}`, offsets in characters.
pub(super) struct SpanLines;

/// `{"id", "tokens": […], "ner_tags": […]}`, tags as texts or as numbers of `tag_names`.
pub(super) struct TokenLines;

#[derive(Deserialize)]
struct SpanLine {
    #[serde(default)]
    id: Option<Id>,
    text: String,
    #[serde(alias = "entities")]
    spans: Vec<SpanFields>,
}

#[derive(Deserialize)]
struct SpanFields {
    start: usize,
    end: usize,
    #[serde(alias = "type")]
    label: String,
}

#[derive(Deserialize)]
struct TokenLine {
    #[serde(default)]
    id: Option<Id>,
    tokens: Vec<String>,
    #[serde(alias = "tags")]
    ner_tags: Vec<TagField>,
}

/// Ids are texts or numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TagField {
    Number(usize),
    Name(String),
}

impl Id {
    fn or_number(id: Option<Self>, input_split: &str, number: u64) -> String {
        match id {
            Some(Self::Text(text)) => text,
            Some(Self::Number(id)) => id.to_string(),
            None => format!("{input_split}-{number}"),
        }
    }
}

impl Reader for SpanLines {
    fn name(&self) -> &'static str {
        "spans"
    }

    fn doc(&self) -> &'static str {
        "JSON lines `{id, text, spans: [{start, end, label}]}`, offsets in characters"
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
        let help = r#"write one object a line, such as `{"id":"1","text":"…","spans":[{"start":0,"end":5,"label":"X"}]}`"#;
        each(
            input,
            help,
            &mut |line: SpanLine, split, number| {
                let span = |span: SpanFields| Span {
                    start: span.start,
                    end: span.end,
                    label: span.label,
                    id: None,
                    concept: None,
                    parts: Vec::new(),
                };
                Ok(Example::Spans(Document {
                    id: Id::or_number(line.id, split, number),
                    text: line.text,
                    spans: line.spans.into_iter().map(span).collect(),
                    relations: Vec::new(),
                }))
            },
            emit,
        )
    }
}

impl Reader for TokenLines {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn doc(&self) -> &'static str {
        "JSON lines `{tokens, ner_tags}` as Hugging Face data sets have them"
    }

    fn task(&self) -> Task {
        Task::Tagging
    }

    fn options(&self) -> &'static [&'static str] {
        &["tag_names"]
    }

    fn read_with(
        &self,
        input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let help =
            r#"write one object a line, such as `{"tokens":["BRCA1"],"ner_tags":["B-Gene"]}`"#;
        each(
            input,
            help,
            &mut |line: TokenLine, split, number| {
                let mut tags = Vec::with_capacity(line.ner_tags.len());
                for tag in line.ner_tags {
                    tags.push(match tag {
                    TagField::Name(name) => name,
                    TagField::Number(number) => match options.tag_names.get(number) {
                        Some(name) => name.clone(),
                        None => {
                            return Err(Problem::new(
                                format!("the tag {number} has no name"),
                                "list the tags in their order as `tag_names: [O, B-Gene, I-Gene]`",
                            ));
                        }
                    },
                });
                }
                Ok(Example::Tagging(Tagging {
                    id: Id::or_number(line.id, split, number),
                    tokens: line.tokens,
                    tags,
                }))
            },
            emit,
        )
    }
}

/// Reads each line as a `T`, makes an example of it and checks that.
fn each<T: for<'de> Deserialize<'de>>(
    Input {
        file,
        split,
        already,
        reader,
        ..
    }: Input<'_>,
    help: &str,
    make: &mut dyn FnMut(T, &str, u64) -> Result<Example, Problem>,
    emit: &mut Emit<'_>,
) -> Result<Tally, DataError> {
    let mut lines = Lines::new(reader, file)?;
    let mut number = already;
    while lines.advance()? {
        if lines.text().trim().is_empty() {
            continue;
        }
        let line: T = serde_json::from_str(lines.text()).map_err(|error| {
            let mut place = lines.place(lines.number());
            place.column = error.column() as u64;
            Problem::of_json(&error, help).at(place)
        })?;
        number += 1;
        let here = |problem: Problem| problem.at(lines.place(lines.number()));
        let example = make(line, split, number).map_err(here)?;
        example.check().map_err(here)?;
        let document = match &example {
            Example::Spans(document) => Some(document.id.clone()),
            _ => None,
        };
        emit(example, document.as_deref())?;
    }
    Ok(Tally::default())
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    #[test]
    fn spans_and_tokens_become_examples() {
        let text = "{\"id\":7,\"text\":\"né Bo\",\"entities\":[{\"start\":3,\"end\":5,\"type\":\"X\"}],\"more\":1}\n";
        let (examples, _) = read_text(&SpanLines, text, &Options::default()).expect("good");
        let Example::Spans(document) = &examples[0] else {
            panic!("{examples:?}");
        };
        assert_eq!(
            (document.id.as_str(), document.spans[0].label.as_str()),
            ("7", "X")
        );
        let text = "{\"tokens\":[\"a\",\"b\"],\"ner_tags\":[1,0]}\n\n{\"tokens\":[\"c\"],\"tags\":[\"S-Y\"]}";
        let options = Options {
            tag_names: vec!["O".to_owned(), "B-X".to_owned()],
            ..Options::default()
        };
        let (examples, _) = read_text(&TokenLines, text, &options).expect("good");
        let tags: Vec<_> = examples
            .iter()
            .map(|example| match example {
                Example::Tagging(one) => (one.id.clone(), one.tags.join(" ")),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            tags,
            [
                ("train-1".to_owned(), "B-X O".to_owned()),
                ("train-2".to_owned(), "S-Y".to_owned())
            ]
        );
    }

    #[test]
    fn faults_have_a_place() {
        let bad = |reader: &dyn Reader, text: &str| {
            read_text(reader, text, &Options::default())
                .expect_err("a fault")
                .0
        };
        assert_eq!(
            bad(&TokenLines, "{\"tokens\":[\"a\"],\"ner_tags\":[3]}"),
            "x:1: the tag 3 has no name"
        );
        assert_eq!(
            bad(&TokenLines, "\n{\"tokens\":[\"a\"],\"ner_tags\":[]}"),
            "x:2: 1 tokens have 0 tags"
        );
        assert_eq!(
            bad(
                &SpanLines,
                "{\"text\":\"ab\",\"spans\":[{\"start\":1,\"end\":3,\"label\":\"X\"}]}"
            ),
            "x:1: the span 1..3 does not lie in the text of 2 characters"
        );
        assert_eq!(
            bad(&SpanLines, "{\"text\":\"ab\"}"),
            "x:1:13: missing field `spans`"
        );
    }
}
