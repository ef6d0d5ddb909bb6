//! Reads BioASQ's own files into pairs of a factoid question and a snippet in which an answer stands. Knows nothing of
//! splits or statistics.
//!
//! `{"questions": [{"id", "type", "body", "exact_answer", "snippets": [{"text"}]}]}`. A pair's id is the question's, `_`
//! and the snippet's number from `000`. Every place where a synonym stands in the snippet, whatever its letter case and
//! not inside a word, is an accepted answer. Snippets without any are counted and left out: nothing can be learnt from
//! them.

use serde::Deserialize;

use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Place, Problem};
use crate::example::{Answer, Example, Question, Task};
use crate::metrics::golden::Exact;

/// See the module.
pub(super) struct BioAsq;

#[derive(Deserialize)]
struct File {
    questions: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    body: String,
    #[serde(default)]
    exact_answer: Option<Exact>,
    #[serde(default)]
    snippets: Vec<Snippet>,
}

#[derive(Deserialize)]
struct Snippet {
    text: String,
}

impl Reader for BioAsq {
    fn name(&self) -> &'static str {
        "bioasq"
    }

    fn doc(&self) -> &'static str {
        "BioASQ's own files; a factoid question with each snippet in which an answer stands"
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
        let text = super::whole_text(input.reader, input.file)?;
        let place = |line: u64, column: u64| Place {
            file: input.file.to_owned(),
            line,
            column,
        };
        let file: File = serde_json::from_str(&text).map_err(|error| {
            Problem::of_json(
                &error,
                "expected BioASQ's form: `questions` with `id`, `type`, `body`, `exact_answer`, `snippets`; for SQuAD's form set `reader: squad`",
            )
            .at(place(error.line() as u64, error.column() as u64))
        })?;
        let mut tally = Tally::default();
        for item in file.questions {
            if item.kind != "factoid" {
                tally.odd("other_questions", || place(0, 0));
                continue;
            }
            let synonyms: Vec<String> = item
                .exact_answer
                .map(Exact::into_sets)
                .unwrap_or_default()
                .into_iter()
                .flatten()
                .filter(|text| !text.trim().is_empty())
                .collect();
            for (number, snippet) in item.snippets.into_iter().enumerate() {
                let answers = find_answers(&snippet.text, &synonyms);
                if answers.is_empty() {
                    tally.odd("snippets_without_answer", || place(0, 0));
                    continue;
                }
                let question = Question {
                    id: format!("{}_{number:03}", item.id),
                    question: item.body.clone(),
                    context: snippet.text,
                    answers,
                };
                // A question's snippets belong together: they share the answer.
                emit(Example::QuestionAnswering(question), Some(&item.id))?;
            }
        }
        Ok(tally)
    }
}

/// Where the synonyms stand, in order; each place once, the longer answer first.
fn find_answers(context: &str, synonyms: &[String]) -> Vec<Answer> {
    let characters: Vec<char> = context.chars().collect();
    let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
    let folded: Vec<char> = characters.iter().copied().map(lower).collect();
    let is_inside_word = |at: usize| {
        at > 0
            && at < characters.len()
            && characters[at - 1].is_alphanumeric()
            && characters[at].is_alphanumeric()
    };
    let mut found: Vec<(usize, usize)> = Vec::new();
    for synonym in synonyms {
        let wanted: Vec<char> = synonym.trim().chars().map(lower).collect();
        for start in 0..(folded.len() + 1).saturating_sub(wanted.len()) {
            let end = start + wanted.len();
            if folded[start..end] == wanted[..] && !is_inside_word(start) && !is_inside_word(end) {
                found.push((start, end));
            }
        }
    }
    found.sort_by_key(|(start, end)| (*start, usize::MAX - end));
    found.dedup();
    found
        .into_iter()
        .map(|(start, end)| Answer {
            text: characters[start..end].iter().collect(),
            start,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    #[test]
    fn answers_are_found_in_snippets() {
        let text = r#"{"questions":[
            {"id":"5c","type":"factoid","body":"Which?","exact_answer":[["dHAND","Hand2"]],
             "snippets":[{"text":"né DHAND (hand2) and xdHAND"},{"text":"nothing"}]},
            {"id":"5d","type":"yesno","body":"Is it?","exact_answer":"yes","snippets":[]}]}"#;
        let (examples, tally) = read_text(&BioAsq, text, &Options::default()).expect("good");
        let Example::QuestionAnswering(question) = &examples[0] else {
            panic!("{examples:?}");
        };
        assert_eq!((question.id.as_str(), examples.len()), ("5c_000", 1));
        let answers: Vec<_> = question
            .answers
            .iter()
            .map(|answer| (answer.text.as_str(), answer.start))
            .collect();
        assert_eq!(answers, [("DHAND", 3), ("hand2", 10)]);
        assert_eq!(tally.oddities["snippets_without_answer"].count, 1);
        assert_eq!(tally.oddities["other_questions"].count, 1);
    }
}
