//! Labelled examples to what a model reads, and its numbers back to predictions, for each task. Knows no training.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::error::{DataError, excerpt};
use data::example::{Example, Question, Regression, Task};
use data::features::{
    Candidate, ClassificationOptions, Decoding, Featuriser, IGNORED, LabelNumbers, QuestionOptions,
    QuestionRows, Row, Stretch, TaggingOptions, TaggingRows, TagsTooLong, TooLong, Unanswerable,
    label_vector, n_best, n_best_of, tags_of,
};
use data::labels::LabelSet;
use data::predictions::Prediction;
use engine::finetune::{Label, Said};
use engine::model::heads::HeadKind;
use engine::model::joint::Span;

use super::dataset::mismatch;

/// Whose head stands on the encoder. Spec C.5, E.3 to E.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// That of Hugging Face, as `transformers` loads it.
    #[default]
    Hf,
    /// That of ELECTRA's own program.
    Native,
}

pub(super) fn is_hf(head: &Head) -> bool {
    *head == Head::Hf
}

/// How examples are read by a model; goes with its folder, so that predictions read as training did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// The labels by number, and the task.
    pub(super) labels: LabelSet,
    /// Pieces of a row, specials among them.
    pub(super) max_length: usize,
    /// Pieces from one window of a context to the next.
    pub(super) stride: usize,
    /// Texts that must stay when a text is too long.
    pub(super) markers: Vec<String>,
    /// Lower-case text.
    pub(super) lower_case: bool,
    /// Whose head it is.
    #[serde(default, skip_serializing_if = "is_hf")]
    pub(super) head: Head,
}

/// The file in a model's folder.
pub(super) const READING: &str = "reading.json";
/// Windows of a sentence that is too long share so many pieces.
const OVERLAP: usize = 32;

impl Reading {
    pub(super) fn write(&self, folder: &Path) -> Result<(), DataError> {
        let mut text = serde_json::to_string_pretty(self).expect("it serialises");
        text.push('\n');
        fs_err::write(folder.join(READING), text)?;
        Ok(())
    }

    pub(super) fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(READING);
        if !path.is_file() {
            return Err(mismatch(
                format!("the model has no `{READING}`, which says what it was trained for"),
                "give the output `model` of a stage of kind `finetune`",
            ));
        }
        serde_json::from_slice(&fs_err::read(path)?).map_err(|error| {
            mismatch(
                format!("`{READING}` of the model cannot be understood: {error}"),
                "make the model again",
            )
        })
    }

    /// The file of a model's folder, if it has one.
    pub(super) fn find(folder: &Path) -> Option<Result<Self, DataError>> {
        folder.join(READING).is_file().then(|| Self::read(folder))
    }

    /// Takes the file of one model's folder along to another's, if it has one.
    pub(super) fn carry(from: &Path, to: &Path) -> std::io::Result<()> {
        let path = from.join(READING);
        if path.is_file() {
            fs_err::copy(path, to.join(READING))?;
        }
        Ok(())
    }

    pub(super) fn task(&self) -> Task {
        self.labels.task
    }

    /// The head for the task, and its outputs.
    pub(super) fn head(&self) -> Result<(HeadKind, usize), DataError> {
        let n = self.labels.labels.len();
        let (outputs, heads) = match self.task() {
            Task::Tagging => (n, [HeadKind::Tokens, HeadKind::TokensPlain]),
            Task::Classification | Task::MultiLabel => {
                (n, [HeadKind::Sequence, HeadKind::SequencePlain])
            }
            Task::Regression => (1, [HeadKind::Sequence, HeadKind::SequencePlain]),
            Task::QuestionAnswering if self.head == Head::Hf => (2, [HeadKind::Span; 2]),
            Task::QuestionAnswering => (1, [HeadKind::Joint; 2]),
            Task::Spans => {
                return Err(mismatch(
                    "a model is not trained on spans of a text".to_owned(),
                    "give the set as tags of tokens",
                ));
            }
        };
        Ok((heads[usize::from(self.head == Head::Native)], outputs))
    }
}

/// What a model reads and should say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) ids: Vec<u32>,
    pub(super) types: Vec<u32>,
    label: OwnLabel,
}

#[derive(Clone, Debug, PartialEq)]
enum OwnLabel {
    Tokens(Vec<u32>),
    Class(u32),
    Classes(Vec<u32>),
    Number(f32),
    Span(u32, u32),
    Answer(u32, u32, bool),
}

impl Input {
    pub(super) fn label(&self) -> Label<'_> {
        match &self.label {
            OwnLabel::Tokens(labels) => Label::Tokens(labels),
            OwnLabel::Class(label) => Label::Class(*label),
            OwnLabel::Classes(labels) => Label::Classes(labels),
            OwnLabel::Number(value) => Label::Number(*value),
            OwnLabel::Span(start, end) => Label::Span(*start, *end),
            OwnLabel::Answer(start, end, is_impossible) => Label::Answer {
                start: *start,
                end: *end,
                is_impossible: *is_impossible,
            },
        }
    }
}

/// An example's rows, kept for reading the answers.
pub(super) enum Rows {
    Tagging(TaggingRows),
    Text,
    Question(Box<QuestionRows>),
}

/// What examples lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Examples of which something was cut off.
    pub(super) shortened: u64,
    /// Markers that were cut off.
    pub(super) markers: u64,
    /// Answers that no window holds.
    pub(super) answers: u64,
}

/// Reads examples one by one.
pub(super) struct Encoding<'a> {
    reading: &'a Reading,
    featuriser: Featuriser<'a>,
    /// How many texts an example of regression has.
    texts: Option<usize>,
    pub(super) lost: Lost,
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("rows are short")
}

fn input(row: &Row, label: OwnLabel) -> Input {
    Input {
        ids: row.ids.clone(),
        types: row.segments.iter().map(|s| u32::from(*s)).collect(),
        label,
    }
}

impl<'a> Encoding<'a> {
    pub(super) fn new(reading: &'a Reading, featuriser: Featuriser<'a>) -> Self {
        Self {
            reading,
            featuriser,
            texts: reading.labels.texts,
            lost: Lost::default(),
        }
    }

    /// The rows of an example. Without `labelled` its labels are not looked at.
    pub(super) fn encode(
        &mut self,
        example: &Example,
        labelled: bool,
    ) -> Result<(Vec<Input>, Rows), DataError> {
        let numbers = LabelNumbers::new(&self.reading.labels);
        let max_length = self.reading.max_length;
        match example {
            Example::Tagging(sentence) => {
                let mut sentence = sentence.clone();
                if !labelled {
                    sentence.tags.fill(self.reading.labels.labels[0].clone());
                }
                let options = TaggingOptions {
                    max_length,
                    too_long: TagsTooLong::Windows {
                        overlap: OVERLAP.min(max_length / 4),
                    },
                    segment: u8::from(self.reading.head == Head::Native),
                };
                let rows = self.featuriser.tagging(&sentence, &numbers, &options)?;
                self.lost.shortened += u64::from(rows.lost_pieces > 0);
                let inputs = rows.rows.iter().map(|row| {
                    let label = |label: &i32| match *label {
                        IGNORED => engine::ops::losses::IGNORED,
                        label => u32::try_from(label).expect("a label's number"),
                    };
                    input(
                        &row.row,
                        OwnLabel::Tokens(row.labels.iter().map(label).collect()),
                    )
                });
                Ok((inputs.collect(), Rows::Tagging(rows)))
            }
            Example::Classification(text) => {
                let label = match labelled {
                    true => small(numbers.number(&text.label)?),
                    false => 0,
                };
                self.texts(&[&text.text], OwnLabel::Class(label))
            }
            Example::MultiLabel(text) => {
                let label = match labelled {
                    true => label_vector(text, &numbers)?,
                    false => vec![0.0; numbers.len()],
                };
                let label = label.iter().map(|is| u32::from(*is > 0.5)).collect();
                self.texts(&[&text.text], OwnLabel::Classes(label))
            }
            Example::Regression(pair) => {
                self.refuse_other_number(pair)?;
                self.texts(&pair.texts, OwnLabel::Number(pair.value as f32))
            }
            Example::QuestionAnswering(pair) => self.question(pair, labelled),
            Example::Spans(_) => Err(self.reading.head().expect_err("spans have no head")),
        }
    }

    /// A model of pairs says nothing of a single text, nor the other way round.
    fn refuse_other_number(&mut self, example: &Regression) -> Result<(), DataError> {
        let wanted = *self.texts.get_or_insert(example.texts.len());
        if example.texts.len() == wanted {
            return Ok(());
        }
        let (texts, line) = match wanted {
            1 => ("one text", r#"{"id":"1","text":"…"}"#),
            _ => ("two texts", r#"{"id":"1","texts":["…","…"]}"#),
        };
        let whose = match self.reading.labels.texts {
            Some(_) => format!("the model reads {texts}"),
            None => format!("those before it have {texts}"),
        };
        let own = match example.texts.len() {
            1 => "one text",
            _ => "two texts",
        };
        let id = excerpt(&example.id);
        Err(mismatch(
            format!("the example `{id}` has {own}, and {whose}"),
            format!("give {texts} in each example, as `{line}` in files of `format: json_lines`"),
        ))
    }

    fn texts(
        &mut self,
        texts: &[impl AsRef<str>],
        label: OwnLabel,
    ) -> Result<(Vec<Input>, Rows), DataError> {
        let options = ClassificationOptions {
            max_length: self.reading.max_length,
            too_long: match self.reading.markers.as_slice() {
                [] => TooLong::Truncate,
                markers => TooLong::KeepMarkers(markers.to_vec()),
            },
        };
        let encoded = self.featuriser.texts(texts, &options)?;
        self.lost.shortened += u64::from(encoded.lost_pieces > 0);
        self.lost.markers += encoded.lost_markers as u64;
        Ok((vec![input(&encoded.row, label)], Rows::Text))
    }

    fn question(
        &mut self,
        pair: &Question,
        labelled: bool,
    ) -> Result<(Vec<Input>, Rows), DataError> {
        let options = QuestionOptions {
            max_length: self.reading.max_length,
            stride: self.reading.stride,
            ..QuestionOptions::default()
        };
        let rows = self.featuriser.question(pair, &options)?;
        let is_native = self.reading.head == Head::Native;
        // ELECTRA's own head learns that a question has no answer; other heads cannot say so.
        let is_impossible = is_native && rows.answer == Err(Unanswerable::NoAnswer);
        // What cannot be found is not learned; what lies in no window is, as "not here" (spec E.5).
        if labelled && !is_impossible && (rows.answer.is_err() || rows.is_lost()) {
            self.lost.answers += 1;
            if rows.answer.is_err() {
                return Ok((Vec::new(), Rows::Question(Box::new(rows))));
            }
        }
        let inputs = rows.windows.iter().map(|window| {
            let (start, end) = (small(window.answer.0), small(window.answer.1));
            let label = match is_native {
                true => OwnLabel::Answer(start, end, is_impossible),
                false => OwnLabel::Span(start, end),
            };
            input(&window.row, label)
        });
        Ok((inputs.collect(), Rows::Question(Box::new(rows))))
    }

    fn answers(&mut self, pair: &Question, rows: &QuestionRows, said: &[Said]) -> Vec<Candidate> {
        let decoding = Decoding::default();
        let context = &pair.context;
        if self.reading.head == Head::Hf {
            let sides: Vec<(Vec<f32>, Vec<f32>)> = said
                .iter()
                .map(|said| said.logits().as_chunks::<2>().0)
                .map(|pairs| pairs.iter().map(|[s, e]| (*s, *e)).unzip())
                .collect();
            return n_best(&mut self.featuriser, rows, context, &sides, &decoding);
        }
        let stretches: Vec<Vec<Stretch>> = said
            .iter()
            .map(|said| match said {
                Said::Answers(beams) => &beams.spans[..],
                Said::Logits(_) => &[],
            })
            .map(|spans| {
                let stretch = |span: &Span| Stretch {
                    start: span.start as usize,
                    end: span.end as usize,
                    start_score: f64::from(span.start_score),
                    end_score: f64::from(span.end_score),
                };
                spans.iter().map(stretch).collect()
            })
            .collect();
        n_best_of(&mut self.featuriser, rows, context, &stretches, &decoding)
    }

    /// The label of tokens that no chunk holds.
    fn outside(&self) -> Option<usize> {
        self.reading
            .labels
            .labels
            .iter()
            .position(|label| label == "O")
    }

    /// The tag of each token of a sentence, and its probability; of a token that is nowhere judged `O`.
    pub(super) fn tagged(
        &self,
        rows: &TaggingRows,
        said: &[Said],
        n_tokens: usize,
    ) -> Vec<(&'a str, f64)> {
        let labels = &self.reading.labels.labels;
        let tags = by_token(rows, said, labels.len(), n_tokens).map(|row| match row {
            Some(row) => {
                let tag = best(row);
                (labels[tag].as_str(), share(row, tag))
            }
            None => ("O", 1.0),
        });
        tags.collect()
    }

    /// The probability of each label, of each token where tokens are tagged: none for numbers and answers.
    pub(super) fn probabilities(
        &self,
        example: &Example,
        rows: &Rows,
        said: &[Said],
    ) -> Vec<Prediction> {
        let labels = &self.reading.labels.labels;
        let line = |label: &String, score: f64, token: Option<usize>| Prediction {
            example_id: example.id().to_owned(),
            start: token,
            end: token.map(|token| token + 1),
            label: Some(label.clone()),
            score: Some(score),
            text: None,
        };
        let of_all = |row: &[f32], token: Option<usize>| -> Vec<Prediction> {
            let shares = labels.iter().enumerate();
            shares
                .map(|(i, label)| line(label, share(row, i), token))
                .collect()
        };
        match (example, rows) {
            (Example::Tagging(sentence), Rows::Tagging(rows)) => {
                let tokens = by_token(rows, said, labels.len(), sentence.tokens.len());
                let judged = tokens.enumerate().filter_map(|(at, row)| Some((at, row?)));
                judged.flat_map(|(at, row)| of_all(row, Some(at))).collect()
            }
            (Example::Classification(_), _) => of_all(said[0].logits(), None),
            (Example::MultiLabel(_), _) => {
                let each = labels.iter().zip(said[0].logits());
                each.map(|(label, logit)| line(label, logistic(*logit), None))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// What a model's numbers for an example's rows mean.
    pub(super) fn predictions(
        &mut self,
        example: &Example,
        rows: &Rows,
        said: &[Said],
    ) -> Vec<Prediction> {
        let labels = &self.reading.labels.labels;
        let plain = || Prediction {
            example_id: example.id().to_owned(),
            ..Prediction::default()
        };
        match (example, rows) {
            (Example::Tagging(sentence), Rows::Tagging(rows)) => {
                let tags = by_token(rows, said, labels.len(), sentence.tokens.len());
                let outside = self.outside();
                let tags = tags.map(|row| row.map(best).or(outside));
                tag_lines(tags, labels, &plain)
            }
            (Example::QuestionAnswering(pair), Rows::Question(rows)) => self
                .answers(pair, rows, said)
                .into_iter()
                .map(|answer| Prediction {
                    text: Some(answer.text),
                    start: answer.span.map(|(start, _)| start),
                    end: answer.span.map(|(_, end)| end),
                    score: Some(answer.probability),
                    ..plain()
                })
                .collect(),
            (Example::MultiLabel(_), _) => {
                let above = |(label, logit): (&String, &f32)| {
                    (*logit > 0.0).then(|| Prediction {
                        label: Some(label.clone()),
                        score: Some(logistic(*logit)),
                        ..plain()
                    })
                };
                let found: Vec<Prediction> = labels
                    .iter()
                    .zip(said[0].logits())
                    .filter_map(above)
                    .collect();
                // A line of its own says that nothing was found, which is not the same as nothing said.
                if found.is_empty() {
                    vec![plain()]
                } else {
                    found
                }
            }
            (Example::Regression(_), _) => vec![Prediction {
                score: Some(f64::from(said[0].logits()[0])),
                ..plain()
            }],
            _ => {
                let logits = said[0].logits();
                let class = best(logits);
                vec![Prediction {
                    label: Some(labels[class].clone()),
                    score: Some(share(logits, class)),
                    ..plain()
                }]
            }
        }
    }
}

/// The first of the largest.
fn best(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

/// Softmax of one class.
fn share(row: &[f32], class: usize) -> f64 {
    let at = f64::from(row[class]);
    1.0 / row
        .iter()
        .map(|value| (f64::from(*value) - at).exp())
        .sum::<f64>()
}

/// The logistic function.
fn logistic(logit: f32) -> f64 {
    1.0 / (1.0 + f64::from(-logit).exp())
}

/// A model's numbers for each token, one a label; `None` where no row judges it.
fn by_token<'l>(
    rows: &TaggingRows,
    said: &'l [Said],
    n_labels: usize,
    n_tokens: usize,
) -> impl Iterator<Item = Option<&'l [f32]>> {
    let numbers: Vec<Vec<&[f32]>> = said
        .iter()
        .map(|said| said.logits().chunks(n_labels).collect())
        .collect();
    tags_of(rows, &numbers, n_tokens).into_iter()
}

/// A line for each stretch of tokens with one tag; what begins a chunk stands alone.
fn tag_lines(
    tags: impl Iterator<Item = Option<usize>>,
    labels: &[String],
    plain: &dyn Fn() -> Prediction,
) -> Vec<Prediction> {
    let mut lines: Vec<Prediction> = Vec::new();
    for (token, tag) in tags.enumerate() {
        let Some(tag) = tag else { continue };
        let label = &labels[tag];
        if let Some(last) = lines.last_mut()
            && last.end == Some(token)
            && last.label.as_ref() == Some(label)
            && (label == "O" || label.starts_with("I-"))
        {
            last.end = Some(token + 1);
            continue;
        }
        lines.push(Prediction {
            start: Some(token),
            end: Some(token + 1),
            label: Some(label.clone()),
            ..plain()
        });
    }
    lines
}
