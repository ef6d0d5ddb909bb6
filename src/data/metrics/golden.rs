//! The golden file of a BioASQ batch: questions with their accepted answers. Knows nothing of predictions.

use std::path::Path;

use serde::Deserialize;

use crate::error::{DataError, Place, Problem};

/// Factoid questions of a batch, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Golden {
    /// The questions.
    pub factoids: Vec<Factoid>,
    /// How many questions of other types the file has.
    pub others: u64,
}

/// A question that wants a name, a number or a short phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factoid {
    /// Its id, 24 hexadecimal digits.
    pub id: String,
    /// Its text.
    pub body: String,
    /// Sets of synonyms; any of them is right.
    pub answers: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct File {
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    #[serde(default)]
    body: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    exact_answer: Option<Exact>,
}

/// Answers of a factoid, a list of sets of synonyms; older files have one flat list; other questions have other forms.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Exact {
    Sets(Vec<Vec<String>>),
    Flat(Vec<String>),
    One(String),
}

impl Exact {
    /// Sets of synonyms.
    pub(crate) fn into_sets(self) -> Vec<Vec<String>> {
        match self {
            Self::Sets(sets) => sets,
            Self::Flat(names) => names.into_iter().map(|name| vec![name]).collect(),
            Self::One(name) => vec![vec![name]],
        }
    }
}

impl Golden {
    /// Reads a golden file.
    ///
    /// # Errors
    /// When it is no such JSON, or a factoid question has no answer.
    pub fn read(path: &Path, shown: &str) -> Result<Self, DataError> {
        let text = fs_err::read_to_string(path)?;
        let file: File = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(
            |error| {
                let place = Place {
                    file: shown.to_owned(),
                    line: error.line() as u64,
                    column: error.column() as u64,
                };
                let message = error.to_string();
                let end = message.rfind(" at line ").unwrap_or(message.len());
                Problem::new(
                    format!("this is no golden file of BioASQ: {}", &message[..end]),
                    r#"it holds `{"questions": [{"id": …, "type": "factoid", "exact_answer": [["…"]]}, …]}`"#,
                )
                .at(place)
            },
        )?;
        let mut golden = Self::default();
        for question in file.questions {
            if question.kind != "factoid" {
                golden.others += 1;
                continue;
            }
            let answers = question
                .exact_answer
                .map(Exact::into_sets)
                .unwrap_or_default();
            if answers.iter().all(Vec::is_empty) {
                let place = Place {
                    file: shown.to_owned(),
                    line: 0,
                    column: 0,
                };
                return Err(Problem::new(
                    format!(
                        "the factoid question `{}` has no `exact_answer`",
                        question.id
                    ),
                    "give the golden file, not the test questions",
                )
                .at(place));
            }
            golden.factoids.push(Factoid {
                id: question.id,
                body: question.body,
                answers,
            });
        }
        Ok(golden)
    }
}
