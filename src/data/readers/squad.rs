//! Reads SQuAD v1.1 JSON, and the BioASQ files in that form, with or without answers. Knows nothing of splits or statistics.
//!
//! `{"data": [{"paragraphs": [{"context": …, "qas": [{"id", "question", "answers": [{"text", "answer_start"}]}]}]}]}`;
//! other keys are the format's freedom and not read. One paragraph is in memory at a time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Place, Problem, excerpt};
use crate::example::{Answer, Example, Question, Task, slice};
use crate::lines;

/// See the module.
pub(super) struct Squad;

impl Reader for Squad {
    fn name(&self) -> &'static str {
        "squad"
    }

    fn doc(&self) -> &'static str {
        "SQuAD v1.1 JSON; answers may be missing, as in BioASQ's test files"
    }

    fn task(&self) -> Task {
        Task::QuestionAnswering
    }

    fn read_with(
        &self,
        input: Input<'_>,
        _options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let file = input.file;
        lines::start(input.reader, file)?;
        let seen = Seen::default();
        let state = RefCell::new(State {
            emit,
            file,
            seen: &seen,
            tally: Tally::default(),
            failed: None,
        });
        let mut json = serde_json::Deserializer::from_reader(Counted {
            reader: input.reader,
            seen: &seen,
        });
        let read = Level::File(&state)
            .deserialize(&mut json)
            .and_then(|()| json.end());
        let state = state.into_inner();
        if let Err(error) = read {
            let place = Place {
                file: file.to_owned(),
                line: error.line() as u64,
                column: error.column() as u64,
            };
            return Err(match state.failed {
                Some(error) => error,
                None if error.is_io() => DataError::Io(error.into()),
                None => Problem::of_json(
                    &error,
                    "expected the form of SQuAD v1.1: `data`, `paragraphs`, `context`, `qas`, `id`, `question`, `answers`",
                )
                .at(place),
            });
        }
        Ok(state.tally)
    }
}

/// How far the parser has taken bytes: what was accepted, too, has a place.
#[derive(Default)]
struct Seen {
    /// Ends of line.
    lines: Cell<u64>,
    /// Bytes since the last of them.
    bytes: Cell<u64>,
}

struct Counted<'a> {
    reader: &'a mut dyn BufRead,
    seen: &'a Seen,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        for byte in &buffer[..n] {
            if *byte == b'\n' {
                self.seen.lines.set(self.seen.lines.get() + 1);
                self.seen.bytes.set(0);
            } else {
                self.seen.bytes.set(self.seen.bytes.get() + 1);
            }
        }
        Ok(n)
    }
}

struct State<'a, 'e> {
    emit: &'a mut Emit<'e>,
    file: &'a str,
    seen: &'a Seen,
    tally: Tally,
    /// Why the walk was stopped from inside.
    failed: Option<DataError>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<RawQuestion>,
}

#[derive(Deserialize)]
struct RawQuestion {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<RawAnswer>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct RawAnswer {
    text: String,
    answer_start: usize,
}

/// Where the walk through the file is; each level knows the key that leads down.
#[derive(Clone, Copy)]
enum Level<'s, 'a, 'e> {
    File(&'s RefCell<State<'a, 'e>>),
    Articles(&'s RefCell<State<'a, 'e>>),
    Article(&'s RefCell<State<'a, 'e>>),
    Paragraphs(&'s RefCell<State<'a, 'e>>),
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Self::File(_) | Self::Article(_) => deserializer.deserialize_map(self),
            Self::Articles(_) | Self::Paragraphs(_) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Level<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(_) => "an object with `data`",
            Self::Articles(_) => "a list of articles",
            Self::Article(_) => "an article with `paragraphs`",
            Self::Paragraphs(_) => "a list of paragraphs",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (wanted, below) = match self {
            Self::File(state) => ("data", Self::Articles(state)),
            Self::Article(state) => ("paragraphs", Self::Paragraphs(state)),
            Self::Articles(_) | Self::Paragraphs(_) => {
                unreachable!("lists are asked for as lists")
            }
        };
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == wanted && !found {
                map.next_value_seed(below)?;
                found = true;
            } else if key == wanted {
                return Err(de::Error::duplicate_field(wanted));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found {
            Ok(())
        } else {
            Err(de::Error::missing_field(wanted))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        match self {
            Self::Articles(state) => {
                while list.next_element_seed(Self::Article(state))?.is_some() {
                    state.borrow_mut().tally.documents += 1;
                }
                Ok(())
            }
            Self::Paragraphs(state) => {
                while let Some(paragraph) = list.next_element::<Paragraph>()? {
                    let mut state = state.borrow_mut();
                    if let Err(failed) = state.paragraph(paragraph) {
                        state.failed = Some(failed);
                        return Err(de::Error::custom("stopped"));
                    }
                }
                Ok(())
            }
            Self::File(_) | Self::Article(_) => unreachable!("maps are asked for as maps"),
        }
    }
}

impl State<'_, '_> {
    /// The end of what was read so far: of the paragraph, when it is asked for while one is handled.
    fn place(&self) -> Place {
        Place {
            file: self.file.to_owned(),
            line: self.seen.lines.get() + 1,
            column: self.seen.bytes.get(),
        }
    }

    fn problem(&self, message: String, help: &str) -> DataError {
        Problem::new(message, help).at(self.place())
    }

    fn paragraph(&mut self, paragraph: Paragraph) -> Result<(), DataError> {
        let Paragraph { context, qas } = paragraph;
        for raw in qas {
            let id = raw.id;
            for (what, text) in [
                ("id", &id),
                ("question", &raw.question),
                ("context", &context),
            ] {
                if text.trim().is_empty() {
                    return Err(self.problem(
                        format!("the {what} of question `{}` is empty", excerpt(&id)),
                        "repair that question or leave it out of the file",
                    ));
                }
            }
            if raw.is_impossible {
                return Err(self.problem(
                    format!("question `{}` is marked `is_impossible`", excerpt(&id)),
                    "this is SQuAD v2; leave such questions out of the file: only v1.1 is read",
                ));
            }
            let mut answers = Vec::with_capacity(raw.answers.len());
            for answer in raw.answers {
                if answer.text.is_empty() {
                    let place = self.place();
                    self.tally.odd("empty_answers", || place);
                    continue;
                }
                answers.push(self.answer(&id, &context, answer)?);
            }
            let question = Question {
                id,
                question: raw.question,
                context: context.clone(),
                answers,
            };
            let article = format!("{}, article {}", self.file, self.tally.documents + 1);
            (self.emit)(Example::QuestionAnswering(question), Some(&article))?;
        }
        Ok(())
    }

    /// The answer at its place, or at the nearest one where its text stands.
    fn answer(&mut self, id: &str, context: &str, raw: RawAnswer) -> Result<Answer, DataError> {
        let RawAnswer { text, answer_start } = raw;
        let end = answer_start.saturating_add(text.chars().count());
        let start = if slice(context, answer_start, end) == Some(text.as_str()) {
            answer_start
        } else {
            let Some(start) = nearest_start(context, &text, answer_start) else {
                return Err(self.problem(
                    format!(
                        "the answer `{}` of question `{}` does not stand in its context",
                        excerpt(&text),
                        excerpt(id)
                    ),
                    "repair that question, or leave it out of the file",
                ));
            };
            let place = self.place();
            self.tally.odd("moved_answers", || place);
            start
        };
        Ok(Answer { text, start })
    }
}

/// The character where `text` stands in `context` nearest to `wanted`; the earlier one of two equally near.
fn nearest_start(context: &str, text: &str, wanted: usize) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (n, (at, _)) in context.char_indices().enumerate() {
        if context[at..].starts_with(text)
            && best.is_none_or(|best| n.abs_diff(wanted) < best.abs_diff(wanted))
        {
            best = Some(n);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    fn read(text: &str) -> Result<(Vec<Question>, Tally), (String, String)> {
        let (examples, tally) = read_text(&Squad, text, &Options::default())?;
        let questions = examples
            .into_iter()
            .map(|example| match example {
                Example::QuestionAnswering(question) => question,
                other => panic!("not a question: {other:?}"),
            })
            .collect();
        Ok((questions, tally))
    }

    fn file(qas: &str) -> String {
        format!(
            "\u{feff}{{\"version\":\"1.1\",\"data\":[{{\"title\":\"t\",\"paragraphs\":[\n{{\"qas\":{qas},\"context\":\"né Bo, not Bo\"}}\n]}}]}}"
        )
    }

    #[test]
    fn reads_pairs_with_and_without_answers() {
        let (questions, tally) = read(&file(
            r#"[{"id":"a_000","question":"who?","answers":[{"text":"Bo","answer_start":3}]},{"id":"a_001","question":"who?"}]"#,
        ))
        .expect("readable");
        assert_eq!(questions.len(), 2);
        assert_eq!(questions[0].answers[0].start, 3);
        assert!(questions[1].answers.is_empty());
        assert_eq!(questions[1].context, "né Bo, not Bo");
        assert_eq!(tally.documents, 1);
        assert!(tally.oddities.is_empty());
    }

    #[test]
    fn moves_an_answer_to_the_nearest_place_and_counts_it() {
        let (questions, tally) = read(&file(
            r#"[{"id":"a","question":"who?","answers":[{"text":"Bo","answer_start":9}]}]"#,
        ))
        .expect("readable");
        assert_eq!(questions[0].answers[0].start, 11);
        let odd = &tally.oddities["moved_answers"];
        assert_eq!((odd.count, odd.first.to_string().as_str()), (1, "x:2:108"));
    }

    #[test]
    fn faults_name_the_place_and_the_next_action() {
        for (text, message) in [
            (
                file(
                    r#"[{"id":"a","question":"who?","answers":[{"text":"Al","answer_start":0}]}]"#,
                ),
                "x:2:108: the answer `Al` of question `a` does not stand in its context",
            ),
            (
                file(r#"[{"id":"a","question":"who?","is_impossible":true}]"#),
                "x:2:86: question `a` is marked `is_impossible`",
            ),
            (
                file(r#"[{"id":"a","answers":[]}]"#),
                "x:2:31: missing field `question`",
            ),
            (
                "{\"data\":[{\"title\":\"t\"}]}".to_owned(),
                "x:1:22: missing field `paragraphs`",
            ),
            ("{\"data\":[\n".to_owned(), "x:2: EOF while parsing a list"),
        ] {
            let (found, help) = read(&text).expect_err("a fault");
            assert_eq!(found, message);
            assert!(!help.is_empty());
        }
    }
}
