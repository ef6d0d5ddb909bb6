//! Text without labels as examples that a model reads, and tags of its tokens as stretches of the text. Knows no models.
//!
//! A text is a line, or an object a line with `text` (one or two `texts` for numbers, `question` and `context` for
//! answers) and, if wanted, an `id`; its other fields are passed over. Each text is judged whole but for tagging, where
//! it is cut into sentences and these into tokens. All offsets count characters of the whole text.

use std::collections::BTreeSet;
use std::io::BufReader;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::corpus::steps::sentences;
use crate::error::{DataError, Problem};
use crate::example::{Classification, Example, MultiLabel, Question, Regression, Tagging, Task};
use crate::lines::Lines;
use crate::predictions::Prediction;
use crate::tags;
use crate::texts::Texts;
use crate::wordpiece::unicode::{Class, class, is_punctuation};

/// How texts stand in a file. Each may be packed with gzip or zstd; that is known by the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextFormat {
    /// A text a line; blank lines are passed over.
    #[default]
    Lines,
    /// An object a line: `text`, or `texts`, or `question` and `context`; perhaps `id`.
    JsonLines,
}

/// What is tagged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenRule {
    /// Words, and each punctuation mark by itself, as in the files of NCBI-disease and BC5CDR.
    #[default]
    Marks,
    /// Words without the marks around them, each of which is a token; those inside stay, as in `IL-2`.
    Ends,
    /// What stands between white space.
    Spaces,
}

/// How a text is cut for tagging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutting {
    /// Whether sentences are looked for; else a text is one.
    pub sentences: bool,
    /// What is tagged.
    pub tokens: TokenRule,
}

/// A text and what a model reads of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Its name in predictions.
    pub id: String,
    /// One example; for tagging one for each sentence, which may be none. Labels are empty or stand for nothing.
    pub examples: Vec<Example>,
    /// The text as it was given, where it is tagged.
    text: String,
    /// For tagging: of each example the characters of each token.
    places: Vec<Vec<(usize, usize)>>,
}

/// An object of a line.
#[derive(Deserialize)]
struct Given {
    id: Option<Id>,
    text: Option<String>,
    texts: Option<Vec<String>>,
    question: Option<String>,
    context: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

/// Reads texts for a task in order, one at a time; memory grows with ids only. A text without an id is called after its
/// file and line, such as `notes-3`.
///
/// # Errors
/// The first fault with file and line; whatever `emit` refuses.
pub fn read<E: From<DataError>>(
    texts: &Texts,
    format: TextFormat,
    task: Task,
    cutting: Cutting,
    emit: &mut dyn FnMut(Passage) -> Result<(), E>,
) -> Result<(), E> {
    let mut ids = BTreeSet::new();
    for file in &texts.files {
        let open = || (texts.decode)(Box::new(fs_err::File::open(&file.path)?));
        let mut bytes = BufReader::new(open().map_err(DataError::Io)?);
        let mut lines = Lines::new(&mut bytes, &file.name)?;
        while lines.advance()? {
            if lines.text().trim().is_empty() {
                continue;
            }
            let at = |problem: Problem| problem.at(lines.place(lines.number()));
            let name = || format!("{}-{}", stem(&file.name), lines.number());
            let given = match format {
                TextFormat::Lines => Given {
                    id: None,
                    text: Some(lines.text().to_owned()),
                    texts: None,
                    question: None,
                    context: None,
                },
                TextFormat::JsonLines => serde_json::from_str(lines.text())
                    .map_err(|error| at(Problem::of_json(&error, wanted(task))))?,
            };
            let passage = passage(given, name, task, cutting).map_err(at)?;
            if !ids.insert(passage.id.clone()) {
                let message = format!("the id `{}` occurs twice", passage.id);
                let help = "give each text an id of its own: predictions are matched by it";
                return Err(lines.broken(message, help).into());
            }
            emit(passage)?;
        }
    }
    Ok(())
}

/// The name of a file without its ending.
fn stem(name: &str) -> &str {
    let name = [".gz", ".zst"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let ends = [".txt", ".jsonl", ".ndjson"];
    ends.iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name)
}

/// What a line must be for a task.
fn wanted(task: Task) -> &'static str {
    match task {
        Task::QuestionAnswering => {
            r#"write `{"id":"q1","question":"…?","context":"…"}` a line, and set `format: json_lines`"#
        }
        Task::Regression => {
            r#"write `{"id":"1","texts":["…","…"]}` a line, and set `format: json_lines`"#
        }
        _ => r#"write `{"id":"1","text":"…"}` a line, and set `format: json_lines`"#,
    }
}

fn passage(
    given: Given,
    name: impl FnOnce() -> String,
    task: Task,
    cutting: Cutting,
) -> Result<Passage, Problem> {
    let id = match given.id {
        Some(Id::Text(id)) if id.is_empty() => {
            let help = "give it a text, or leave it out: the line's number is taken";
            return Err(Problem::new("`id` is empty", help));
        }
        Some(Id::Text(id)) => id,
        Some(Id::Number(id)) => id.to_string(),
        None => name(),
    };
    let missing = |what: &str| Problem::new(format!("there is no {what}"), wanted(task));
    let mut passage = Passage {
        id: id.clone(),
        examples: Vec::new(),
        text: String::new(),
        places: Vec::new(),
    };
    let text = given.text.filter(|text| !text.is_empty());
    let example = match task {
        Task::Tagging | Task::Spans => {
            passage.text = text.ok_or_else(|| missing("`text`"))?;
            passage.cut(cutting);
            return Ok(passage);
        }
        Task::Classification => Example::Classification(Classification {
            id,
            text: text.ok_or_else(|| missing("`text`"))?,
            // Not looked at, but an example without one is none.
            label: "?".to_owned(),
        }),
        Task::MultiLabel => Example::MultiLabel(MultiLabel {
            id,
            text: text.ok_or_else(|| missing("`text`"))?,
            labels: Vec::new(),
        }),
        Task::Regression => Example::Regression(Regression {
            id,
            texts: match (given.texts, text) {
                (Some(texts), _) => texts,
                (None, Some(text)) => vec![text],
                (None, None) => return Err(missing("`texts`")),
            },
            value: 0.0,
        }),
        Task::QuestionAnswering => Example::QuestionAnswering(Question {
            id,
            question: given.question.ok_or_else(|| missing("`question`"))?,
            context: given.context.ok_or_else(|| missing("`context`"))?,
            answers: Vec::new(),
        }),
    };
    example.check()?;
    passage.examples.push(example);
    Ok(passage)
}

impl Passage {
    /// Fills examples and places with the sentences and tokens of the text.
    fn cut(&mut self, cutting: Cutting) {
        let mut found: Vec<&str> = Vec::new();
        match cutting.sentences {
            true => sentences::split(&self.text, &mut |sentence| found.push(sentence)),
            false => found.push(&self.text),
        }
        // Characters before `byte`: sentences come in order, so each is counted from the one before.
        let (mut byte, mut characters) = (0, 0);
        for sentence in found {
            let start = sentence.as_ptr().addr() - self.text.as_ptr().addr();
            characters += self.text[byte..start].chars().count();
            byte = start;
            let ranges = tokens(sentence, cutting.tokens);
            if ranges.is_empty() {
                continue;
            }
            let token = |(start, end): &(usize, usize)| sentence[*start..*end].to_owned();
            let tokens: Vec<String> = ranges.iter().map(token).collect();
            let mut places = Vec::with_capacity(ranges.len());
            let (mut at, mut before) = (0, characters);
            for (start, end) in ranges {
                before += sentence[at..start].chars().count();
                let after = before + sentence[start..end].chars().count();
                places.push((before, after));
                (at, before) = (end, after);
            }
            self.examples.push(Example::Tagging(Tagging {
                id: self.id.clone(),
                tags: vec!["O".to_owned(); tokens.len()],
                tokens,
            }));
            self.places.push(places);
        }
    }

    /// The chunks that tags mean, as characters of the text, in order: of each example the tag of each token and how sure
    /// of it the model is. A chunk is as sure as the least sure of its tokens. One line without a stretch where there is none.
    #[must_use]
    pub fn chunks(&self, tagged: &[Vec<(&str, f64)>]) -> Vec<Prediction> {
        let characters: Vec<char> = self.text.chars().collect();
        let plain = || Prediction {
            example_id: self.id.clone(),
            ..Prediction::default()
        };
        let mut found = Vec::new();
        for (places, tagged) in self.places.iter().zip(tagged) {
            let names: Vec<&str> = tagged.iter().map(|(tag, _)| *tag).collect();
            for chunk in tags::decode(&names) {
                let (start, end) = (places[chunk.start].0, places[chunk.end - 1].1);
                let sure = tagged[chunk.start..chunk.end].iter().map(|(_, sure)| *sure);
                found.push(Prediction {
                    start: Some(start),
                    end: Some(end),
                    label: Some(chunk.label),
                    score: Some(sure.fold(1.0, f64::min)),
                    text: Some(characters[start..end].iter().collect()),
                    ..plain()
                });
            }
        }
        if found.is_empty() {
            found.push(plain());
        }
        found
    }

    /// Of each example of a tagged text the characters of each token.
    #[must_use]
    pub fn places(&self) -> &[Vec<(usize, usize)>] {
        &self.places
    }
}

/// The tokens of a sentence, `start..end` in bytes.
fn tokens(sentence: &str, how: TokenRule) -> Vec<(usize, usize)> {
    let is_space = |c: char| c.is_whitespace() || matches!(class(c), Class::Space);
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut word: Option<usize> = None;
    for (at, c) in sentence.char_indices() {
        // What WordPiece makes words of their own is a token of its own where marks are.
        let is_alone =
            how == TokenRule::Marks && (is_punctuation(c) || class(c) == Class::Ideograph);
        if is_space(c) || is_alone {
            found.extend(word.take().map(|start| (start, at)));
            if is_alone {
                found.push((at, at + c.len_utf8()));
            }
        } else if word.is_none() {
            word = Some(at);
        }
    }
    found.extend(word.map(|start| (start, sentence.len())));
    if how == TokenRule::Ends {
        let words = std::mem::take(&mut found);
        for (start, end) in words {
            without_marks_around(sentence, start, end, &mut found);
        }
    }
    found
}

/// A word without the marks at its ends, and each of those.
fn without_marks_around(sentence: &str, start: usize, end: usize, found: &mut Vec<(usize, usize)>) {
    let word = &sentence[start..end];
    let inner = word.trim_start_matches(is_punctuation);
    let first = start + word.len() - inner.len();
    let last = first + inner.trim_end_matches(is_punctuation).len();
    let marks = |from: usize, to: usize| {
        let marks = sentence[from..to].char_indices();
        marks.map(move |(at, c)| (from + at, from + at + c.len_utf8()))
    };
    found.extend(marks(start, first));
    if first < last {
        found.push((first, last));
    }
    found.extend(marks(last.max(first), end));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::TextFile;

    const CUT: Cutting = Cutting {
        sentences: true,
        tokens: TokenRule::Marks,
    };

    fn passages(
        text: &str,
        format: TextFormat,
        task: Task,
        cut: Cutting,
    ) -> Result<Vec<Passage>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        fs_err::write(&path, text).expect("written");
        let name = "notes.txt".to_owned();
        let texts = Texts::plain(vec![TextFile { name, path }]);
        let mut all = Vec::new();
        let outcome = read(&texts, format, task, cut, &mut |passage| {
            all.push(passage);
            Ok::<(), DataError>(())
        });
        match outcome {
            Ok(()) => Ok(all),
            Err(error) => Err(format!("{error} | {}", error.help().unwrap_or_default())),
        }
    }

    fn words(passage: &Passage) -> Vec<Vec<&str>> {
        let of = |example: &'_ Example| match example {
            Example::Tagging(_) => (),
            other => panic!("{other:?}"),
        };
        passage.examples.iter().for_each(of);
        let tokens = passage.examples.iter().map(|example| match example {
            Example::Tagging(sentence) => sentence.tokens.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        });
        tokens.collect()
    }

    #[test]
    fn tokens_are_where_they_were_in_characters() {
        let text =
            "Naïve β-cells (IL-2) grew. The \u{1f600} APC's loss?\n\n Ataxia–telangiectasia.\n";
        let found = passages(text, TextFormat::Lines, Task::Tagging, CUT).expect("read");
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].id, &*found[1].id), ("notes-1", "notes-3"));
        for passage in &found {
            let characters: Vec<char> = passage.text.chars().collect();
            for (words, places) in words(passage).iter().zip(passage.places()) {
                for (word, (start, end)) in words.iter().zip(places) {
                    assert_eq!(*word, characters[*start..*end].iter().collect::<String>());
                }
            }
        }
        let first = "Naïve β - cells ( IL - 2 ) grew .";
        assert_eq!(words(&found[0])[0].join(" "), first);
        assert_eq!(words(&found[1])[0].join(" "), "Ataxia – telangiectasia .");
        let ends = Cutting {
            tokens: TokenRule::Ends,
            ..CUT
        };
        let found = passages(text, TextFormat::Lines, Task::Tagging, ends).expect("read");
        assert_eq!(
            words(&found[0])[0].join(" "),
            "Naïve β-cells ( IL-2 ) grew ."
        );
        assert_eq!(
            passages("... --", TextFormat::Lines, Task::Tagging, ends).expect("read")[0].places,
            [[(0, 1), (1, 2), (2, 3), (4, 5), (5, 6)]]
        );
        let spaces = Cutting {
            tokens: TokenRule::Spaces,
            sentences: false,
        };
        let found = passages(text, TextFormat::Lines, Task::Tagging, spaces).expect("read");
        let all = "Naïve β-cells (IL-2) grew. The \u{1f600} APC's loss?";
        assert_eq!(words(&found[0])[0].join(" "), all);
    }

    #[test]
    fn chunks_are_stretches_of_the_text() {
        let text = "No β-thalassemia here. It was asthma, severe asthma.\n";
        let found = passages(text, TextFormat::Lines, Task::Tagging, CUT).expect("read");
        // No β - thalassemia here . | It was asthma , severe asthma .
        let tags = [
            vec![
                ("O", 0.9),
                ("B-D", 0.8),
                ("I-D", 0.7),
                ("I-D", 0.95),
                ("O", 0.2),
                ("O", 1.0),
            ],
            vec![
                ("O", 1.0),
                ("O", 1.0),
                ("I-D", 0.6),
                ("O", 1.0),
                ("B-D", 0.5),
                ("B-D", 0.4),
                ("O", 1.0),
            ],
        ];
        let chunks = found[0].chunks(&tags);
        let shown: Vec<_> = chunks
            .iter()
            .map(|one| {
                let (start, end) = one.span().expect("a stretch");
                (
                    start,
                    end,
                    one.text.as_deref().expect("its text"),
                    one.score.expect("a score"),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (3, 16, "β-thalassemia", 0.7),
                (30, 36, "asthma", 0.6),
                (38, 44, "severe", 0.5),
                (45, 51, "asthma", 0.4),
            ]
        );
        assert!(chunks.iter().all(|one| one.label.as_deref() == Some("D")));
        let none = found[0].chunks(&[vec![("O", 1.0); 6], vec![("O", 1.0); 7]]);
        assert_eq!(none.len(), 1);
        assert_eq!((&*none[0].example_id, none[0].span()), ("notes-1", None));
    }

    #[test]
    fn objects_name_texts_and_faults_have_a_place() {
        let json = |task, text: &str| passages(text, TextFormat::JsonLines, task, CUT);
        let found = json(
            Task::QuestionAnswering,
            "{\"id\":7,\"question\":\"What?\",\"context\":\"That.\",\"year\":2019}\n\n{\"question\":\"q\",\"context\":\"c\"}\n",
        )
        .expect("read");
        assert_eq!((&*found[0].id, &*found[1].id), ("7", "notes-3"));
        let pair = json(Task::Regression, r#"{"texts":["a","b"]}"#).expect("read");
        assert!(matches!(&pair[0].examples[0], Example::Regression(pair) if pair.texts.len() == 2));
        assert_eq!(
            json(Task::Tagging, r#"{"text":" "}"#).expect("read")[0].examples,
            []
        );
        for (task, text, expected) in [
            (
                Task::Classification,
                "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"a\",\"text\":\"y\"}",
                "notes.txt:2: the id `a` occurs twice | give each text an id of its own: predictions are matched by it",
            ),
            (
                Task::Tagging,
                r#"{"txt":"x"}"#,
                r#"notes.txt:1: there is no `text` | write `{"id":"1","text":"…"}` a line, and set `format: json_lines`"#,
            ),
            (
                Task::Regression,
                r#"{"texts":["a","b","c"]}"#,
                "notes.txt:1: `texts` holds 3 texts | give one text or two",
            ),
            (
                Task::MultiLabel,
                r#"{"text":5}"#,
                r#"notes.txt:1: invalid type: integer `5`, expected a string | write `{"id":"1","text":"…"}` a line, and set `format: json_lines`"#,
            ),
        ] {
            assert_eq!(json(task, text).expect_err("a fault"), expected);
        }
        let lines = passages("What?\n", TextFormat::Lines, Task::QuestionAnswering, CUT);
        assert_eq!(
            lines.expect_err("no context"),
            r#"notes.txt:1: there is no `question` | write `{"id":"q1","question":"…?","context":"…"}` a line, and set `format: json_lines`"#
        );
    }
}
