//! Examples of a task: what is to be said of a sequence, and whether it fits a model. Knows no device.

use super::Finetuning;
use crate::error::TrainError;
use crate::model::batch::Sequence;
use crate::model::heads::HeadKind;
use crate::model::joint::is_choice;
use crate::ops::losses::IGNORED;

/// What is to be said of a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label<'a> {
    /// A class for each token, or [`IGNORED`].
    Tokens(&'a [u32]),
    /// A class.
    Class(u32),
    /// Any of the classes: 0 or 1 for each.
    Classes(&'a [u32]),
    /// A number.
    Number(f32),
    /// First and last token of the answer.
    Span(u32, u32),
    /// The same for the head that also says whether there is an answer; (0, 0) where this sequence does not hold it.
    Answer {
        /// First token.
        start: u32,
        /// Last token.
        end: u32,
        /// Whether the question has no answer anywhere.
        is_impossible: bool,
    },
}

/// A sequence and what is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskExample<'a> {
    /// Token ids with specials.
    pub ids: &'a [u32],
    /// Segments.
    pub types: &'a [u32],
    /// Its label.
    pub label: Label<'a>,
}

/// Whether examples of at most `room` tokens fit a model and its head, before the update that follows `step`.
///
/// # Errors
/// The first example that does not.
pub fn check(
    examples: &[TaskExample<'_>],
    settings: &Finetuning,
    room: usize,
    step: u64,
) -> Result<(), TrainError> {
    let (config, outputs) = (&settings.config, settings.outputs);
    let room = config.max_position_embeddings.min(room);
    for (index, example) in examples.iter().enumerate() {
        let n = example.ids.len();
        let class = |class: u32| class == IGNORED || (class as usize) < outputs;
        let label_fits = match (settings.head, example.label) {
            (HeadKind::Tokens | HeadKind::TokensPlain, Label::Tokens(labels)) => {
                labels.len() == n && labels.iter().all(|label| class(*label))
            }
            (HeadKind::Span, Label::Span(start, end)) => (start as usize) < n && (end as usize) < n,
            (HeadKind::Joint, Label::Answer { start, end, .. }) => {
                let fits = |row: u32| (row as usize) < n && is_choice(example.types, row as usize);
                fits(start) && fits(end)
            }
            (HeadKind::Sequence | HeadKind::SequencePlain, label) => match label {
                Label::Class(label) => class(label),
                Label::Classes(labels) => {
                    labels.len() == outputs && labels.iter().all(|label| *label < 2)
                }
                Label::Number(value) => outputs == 1 && value.is_finite(),
                Label::Tokens(_) | Label::Span(..) | Label::Answer { .. } => false,
            },
            _ => false,
        };
        let reason = if example.types.len() != n {
            "it has not one segment a token".to_owned()
        } else if n < 2 || n > room {
            format!("it has {n} tokens")
        } else if let Some(reason) = config.unknown_id(example.ids) {
            reason
        } else if !label_fits {
            format!("its label {:?} does not fit the head", example.label)
        } else {
            continue;
        };
        return Err(TrainError::Example {
            step,
            index,
            reason,
        });
    }
    Ok(())
}

/// Examples to be predicted: with labels that do not count, of which `ignored` holds as many as the longest has tokens.
#[must_use]
pub fn unlabelled<'a>(
    inputs: &[(&'a [u32], &'a [u32])],
    head: HeadKind,
    ignored: &'a [u32],
) -> Vec<TaskExample<'a>> {
    inputs
        .iter()
        .map(|(ids, types)| TaskExample {
            ids,
            types,
            label: match head {
                HeadKind::Tokens | HeadKind::TokensPlain => Label::Tokens(&ignored[..ids.len()]),
                HeadKind::Span => Label::Span(0, 0),
                HeadKind::Joint => Label::Answer {
                    start: 0,
                    end: 0,
                    is_impossible: false,
                },
                HeadKind::Sequence | HeadKind::SequencePlain => Label::Class(IGNORED),
            },
        })
        .collect()
}

/// What the mean is taken over: labelled tokens, labelled sequences, or sequences times classes.
pub(super) fn counted(examples: &[TaskExample<'_>], outputs: usize) -> usize {
    examples
        .iter()
        .map(|example| match example.label {
            Label::Tokens(labels) => labels.iter().filter(|label| **label != IGNORED).count(),
            Label::Class(label) => usize::from(label != IGNORED),
            Label::Classes(_) => outputs,
            Label::Number(_) | Label::Span(..) | Label::Answer { .. } => 1,
        })
        .sum()
}

pub(super) fn sequences<'a>(examples: &[TaskExample<'a>], first: usize) -> Vec<Sequence<'a>> {
    let first = u32::try_from(first).expect("batches are small");
    (first..)
        .zip(examples)
        .map(|(index, example)| Sequence {
            ids: example.ids,
            types: example.types,
            index,
        })
        .collect()
}
