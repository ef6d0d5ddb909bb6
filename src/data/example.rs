//! The canonical form of labelled examples. Knows nothing of the formats they came from.
//!
//! A file of examples is JSON lines in UTF-8, one object a line, all of one `task`, their `id`s unique:
//!
//! ```json
//! {"task":"tagging","id":"train-1","tokens":["BRCA1","and","breast","cancer"],"tags":["O","O","B-Disease","I-Disease"]}
//! {"task":"spans","id":"8808605","text":"…","spans":[{"start":0,"end":12,"label":"Disease","concept":"D001943"}]}
//! {"task":"classification","id":"d0.s1.p0","text":"@DRUG$ does not affect @DRUG$ .","label":"DDI-false"}
//! {"task":"multi_label","id":"9876","text":"…","labels":["evading growth suppressors"]}
//! {"task":"regression","id":"pair-1","texts":["…","…"],"value":3.6}
//! {"task":"question_answering","id":"q1_000","question":"…?","context":"…","answers":[{"text":"dHAND","start":311}]}
//! ```
//!
//! All offsets count characters (Unicode scalar values) from 0, as Python's `str` does; `end` is one past the last.
//! Tags are read by the rules of [`crate::tags`]. `labels.json` beside the files holds a [`crate::labels::LabelSet`].
//! [`schema`] is the same as a JSON Schema; [`Example::check`] says what the schema cannot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Problem, excerpt};
use crate::tags::Tag;

/// What a file of examples is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A tag a token.
    Tagging,
    /// Labelled stretches of a text, and relations between concepts.
    Spans,
    /// One label a text.
    Classification,
    /// Any number of labels a text.
    MultiLabel,
    /// A number a text or pair of texts.
    Regression,
    /// Answers that stand in a context.
    QuestionAnswering,
}

impl Task {
    /// As it is written in `task`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tagging => "tagging",
            Self::Spans => "spans",
            Self::Classification => "classification",
            Self::MultiLabel => "multi_label",
            Self::Regression => "regression",
            Self::QuestionAnswering => "question_answering",
        }
    }
}

/// One labelled example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Example {
    /// A sentence with a tag a token.
    Tagging(Tagging),
    /// A document with labelled stretches.
    Spans(Document),
    /// A text with a label.
    Classification(Classification),
    /// A text with any number of labels.
    MultiLabel(MultiLabel),
    /// One or two texts with a number.
    Regression(Regression),
    /// A question with a context.
    QuestionAnswering(Question),
}

/// A sentence with a tag a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tagging {
    /// Unique in its file.
    pub id: String,
    /// At least one; none empty.
    pub tokens: Vec<String>,
    /// As many as tokens: `O`, or B, I, E or S with a type, such as `B-Disease`.
    pub tags: Vec<String>,
}

/// A document with labelled stretches of its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Unique in its file.
    pub id: String,
    /// The whole text.
    pub text: String,
    /// Labelled stretches in the order of the source; they may overlap.
    pub spans: Vec<Span>,
    /// Relations between concepts of the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<Relation>,
}

/// A labelled stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// First character.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// Its type, such as `Disease`.
    pub label: String,
    /// What relations call it, where they are between mentions, such as `T1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it stands for in a terminology, exactly as the source writes it; see [`Span::concepts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concept: Option<String>,
    /// The single mentions a composite one stands for, where the source names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

impl Span {
    /// Single identifiers of the concept: parts between `|` and `+`, trimmed, without `-1`, which means none.
    pub fn concepts(&self) -> impl Iterator<Item = &str> {
        self.concept
            .as_deref()
            .unwrap_or_default()
            .split(['|', '+'])
            .map(str::trim)
            .filter(|concept| !concept.is_empty() && *concept != "-1")
    }
}

/// A relation between two concepts, or mentions, of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// Its type, such as `CID`.
    pub label: String,
    /// The first concept, or mention.
    pub head: String,
    /// The second concept, or mention.
    pub tail: String,
}

/// A text with one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Unique in its file.
    pub id: String,
    /// The text; not empty.
    pub text: String,
    /// Its class; not empty.
    pub label: String,
}

/// A text with any number of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultiLabel {
    /// Unique in its file; of the part, where a document is cut into several.
    pub id: String,
    /// The text; not empty.
    pub text: String,
    /// Its labels, each once; there may be none.
    pub labels: Vec<String>,
}

/// One or two texts with a number, such as how alike they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// Unique in its file.
    pub id: String,
    /// One text or two; none empty.
    pub texts: Vec<String>,
    /// The number; finite.
    pub value: f64,
}

/// A question with a context in which answers stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Unique in its file: of the pair of question and context, not of the question.
    pub id: String,
    /// The question; not empty.
    pub question: String,
    /// The context; not empty.
    pub context: String,
    /// Accepted answers; empty where they are not known.
    pub answers: Vec<Answer>,
}

/// An answer and its place in the context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its text, as it stands in the context.
    pub text: String,
    /// Its first character in the context.
    pub start: usize,
}

/// The JSON Schema of one line.
#[must_use]
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Example)).expect("schemas serialise")
}

/// `text[start..end]` in characters; `None` when it is out of range or `start > end`.
#[must_use]
pub fn slice(text: &str, start: usize, end: usize) -> Option<&str> {
    if text.is_ascii() {
        return text.get(start..end);
    }
    let byte = |n: usize| {
        text.char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .nth(n)
    };
    text.get(byte(start)?..byte(end)?)
}

impl Example {
    /// Its task.
    #[must_use]
    pub fn task(&self) -> Task {
        match self {
            Self::Tagging(_) => Task::Tagging,
            Self::Spans(_) => Task::Spans,
            Self::Classification(_) => Task::Classification,
            Self::MultiLabel(_) => Task::MultiLabel,
            Self::Regression(_) => Task::Regression,
            Self::QuestionAnswering(_) => Task::QuestionAnswering,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Tagging(Tagging { id, .. })
            | Self::Spans(Document { id, .. })
            | Self::Classification(Classification { id, .. })
            | Self::MultiLabel(MultiLabel { id, .. })
            | Self::Regression(Regression { id, .. })
            | Self::QuestionAnswering(Question { id, .. }) => id,
        }
    }

    pub(crate) fn id_mut(&mut self) -> &mut String {
        match self {
            Self::Tagging(Tagging { id, .. })
            | Self::Spans(Document { id, .. })
            | Self::Classification(Classification { id, .. })
            | Self::MultiLabel(MultiLabel { id, .. })
            | Self::Regression(Regression { id, .. })
            | Self::QuestionAnswering(Question { id, .. }) => id,
        }
    }

    /// What a schema cannot say: lengths, tags, offsets, texts that must not be empty.
    ///
    /// # Errors
    /// The first fault, with what to do.
    pub fn check(&self) -> Result<(), Problem> {
        filled("id", self.id())?;
        match self {
            Self::Tagging(example) => check_tagging(example),
            Self::Spans(example) => check_document(example),
            Self::Classification(example) => {
                filled("text", &example.text)?;
                filled("label", &example.label)
            }
            Self::MultiLabel(example) => check_labels(example),
            Self::Regression(example) => check_regression(example),
            Self::QuestionAnswering(example) => check_question(example),
        }
    }
}

fn filled(field: &str, text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new(
            format!("`{field}` is empty"),
            "give it a text or leave the example out",
        ));
    }
    Ok(())
}

fn check_tagging(example: &Tagging) -> Result<(), Problem> {
    let (n_tokens, n_tags) = (example.tokens.len(), example.tags.len());
    if n_tokens != n_tags {
        return Err(Problem::new(
            format!("{n_tokens} tokens have {n_tags} tags"),
            "write one tag for each token",
        ));
    }
    if n_tokens == 0 {
        return Err(Problem::new(
            "`tokens` is empty",
            "leave sentences without tokens out",
        ));
    }
    for (token, tag) in example.tokens.iter().zip(&example.tags) {
        filled("tokens", token)?;
        if !matches!(Tag::parse(tag), Some(Tag::Outside))
            && !matches!(Tag::parse(tag), Some(Tag::In(_, label)) if !label.is_empty())
        {
            return Err(Problem::new(
                format!("`{}` is not a tag", excerpt(tag)),
                "write `O`, or B, I, E or S with a type, such as `B-Disease`",
            ));
        }
    }
    Ok(())
}

fn check_document(example: &Document) -> Result<(), Problem> {
    filled("text", &example.text)?;
    for span in &example.spans {
        filled("label", &span.label)?;
        if span.start >= span.end || slice(&example.text, span.start, span.end).is_none() {
            return Err(Problem::new(
                format!(
                    "the span {}..{} does not lie in the text of {} characters",
                    span.start,
                    span.end,
                    example.text.chars().count()
                ),
                "count characters from 0, `end` one past the last",
            ));
        }
    }
    for relation in &example.relations {
        filled("label", &relation.label)?;
        filled("head", &relation.head)?;
        filled("tail", &relation.tail)?;
    }
    Ok(())
}

fn check_labels(example: &MultiLabel) -> Result<(), Problem> {
    filled("text", &example.text)?;
    for (i, label) in example.labels.iter().enumerate() {
        filled("labels", label)?;
        if example.labels[..i].contains(label) {
            return Err(Problem::new(
                format!("the label `{}` stands twice", excerpt(label)),
                "give each label once",
            ));
        }
    }
    Ok(())
}

fn check_regression(example: &Regression) -> Result<(), Problem> {
    if !(1..=2).contains(&example.texts.len()) {
        return Err(Problem::new(
            format!("`texts` holds {} texts", example.texts.len()),
            "give one text or two",
        ));
    }
    for text in &example.texts {
        filled("texts", text)?;
    }
    if !example.value.is_finite() {
        return Err(Problem::new(
            "`value` is not finite",
            "leave the example out",
        ));
    }
    Ok(())
}

fn check_question(example: &Question) -> Result<(), Problem> {
    filled("question", &example.question)?;
    filled("context", &example.context)?;
    for answer in &example.answers {
        filled("answers", &answer.text)?;
        let end = answer.start.saturating_add(answer.text.chars().count());
        if slice(&example.context, answer.start, end) != Some(answer.text.as_str()) {
            return Err(Problem::new(
                format!(
                    "the answer `{}` does not stand at character {} of the context",
                    excerpt(&answer.text),
                    answer.start
                ),
                "count characters, not bytes, from 0",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_count_characters() {
        assert_eq!(slice("né 😀!", 1, 4), Some("é 😀"));
        assert_eq!(slice("né 😀!", 5, 5), Some(""));
        assert_eq!(slice("né 😀!", 4, 6), None);
        assert_eq!(slice("abc", 2, 1), None);
        assert_eq!(slice("né", 2, 1), None);
        assert_eq!(slice("abc", 0, usize::MAX), None);
    }

    #[test]
    fn the_schema_names_every_task_and_refuses_other_fields() {
        let schema = schema();
        let tasks = schema["oneOf"].as_array().expect("one schema a task");
        let names: Vec<_> = tasks
            .iter()
            .map(|task| {
                task["properties"]["task"]["const"]
                    .as_str()
                    .expect("a name")
            })
            .collect();
        let all = [
            Task::Tagging,
            Task::Spans,
            Task::Classification,
            Task::MultiLabel,
            Task::Regression,
            Task::QuestionAnswering,
        ];
        assert_eq!(names, all.map(Task::name));
        assert!(schema.to_string().contains("As many as tokens"));
    }
}
