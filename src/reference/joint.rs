//! ELECTRA's own head for questions, as `engine::model::joint` defines it: one sequence at a time, its tokens that may be
//! chosen picked out. Spec E.5. Knows no steps.

use dfdx::prelude::*;
use engine::model::batch::Sequence;
use engine::model::heads::HeadKind;
use engine::model::joint::{ANSWERABLE_WEIGHT, Beams, Span, best, is_choice, log_softmax};

use crate::model::Net;
use crate::ops::{Matrix, Scalar, binary_cross_entropy, cross_entropy, gelu, rows};

/// What is right for a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) is_impossible: bool,
}

/// The rows of a sequence that an answer may begin or end at.
fn choices(sequence: &Sequence<'_>) -> Vec<u32> {
    (0..sequence.ids.len() as u32)
        .filter(|row| is_choice(sequence.types, *row as usize))
        .collect()
}

/// A column of picked logits as a row.
fn lying(column: Matrix) -> Matrix {
    let (n, _) = *column.shape();
    column.reshape_like(&(1, n))
}

impl Net<'_> {
    /// Start logits of the rows that may be chosen: (1, rows).
    fn starts(&self, x: Matrix, index: u32, choices: &[u32]) -> Matrix {
        let logits = self.task(x, index, HeadKind::Joint);
        lying(rows(logits, choices.iter().copied()))
    }

    /// `Linear 512 -> 1 (GELU (Linear 2H -> 512 [left, right]))`: a logit for each row, (rows, 1).
    fn pairs(&self, left: Matrix, right: Matrix, hidden: &str, out: &str) -> Matrix {
        let both = (left, right).concat_along(Axis::<1>);
        self.linear(gelu(self.linear(both, hidden)), out)
    }

    /// End logits of the rows that may be chosen, given a start: (1, rows).
    fn ends(&self, x: Matrix, choices: &[u32], start: u32) -> Matrix {
        let left = rows(x.retaped(), choices.iter().map(|_| start));
        let right = rows(x, choices.iter().copied());
        lying(self.pairs(left, right, "joint.end_hidden", "joint.end"))
    }

    /// The logit of "there is no answer": (1, 1).
    fn impossible(&self, x: Matrix, choices: &[u32], starts: Matrix) -> Matrix {
        let first = rows(x.retaped(), [0]);
        let shares = starts.softmax::<Axis<1>>();
        let mean = shares.matmul(rows(x, choices.iter().copied()));
        self.pairs(first, mean, "joint.answerable_hidden", "joint.answerable")
    }

    /// Half of the start's and half of the end's cross-entropy, and the weighed one of "there is no answer".
    pub(crate) fn joint_loss(&self, x: Matrix, sequence: &Sequence<'_>, answer: Answer) -> Scalar {
        let choices = choices(sequence);
        let place = |row: u32| choices.iter().position(|choice| *choice == row);
        let place = |row: u32| place(row).expect("checked: answers lie where they may") as u32;
        let starts = self.starts(x.retaped(), sequence.index, &choices);
        let ends = self.ends(x.retaped(), &choices, answer.start);
        let impossible = self.impossible(x, &choices, starts.retaped());
        let start = cross_entropy(starts, &[place(answer.start)]);
        let end = cross_entropy(ends, &[place(answer.end)]);
        let answerable = binary_cross_entropy(impossible, &[answer.is_impossible]);
        (start + end) * 0.5 + answerable * ANSWERABLE_WEIGHT
    }

    /// The best ends of the best starts.
    pub(crate) fn beams(&self, x: Matrix, sequence: &Sequence<'_>) -> Beams {
        let choices = choices(sequence);
        let starts = self.starts(x.retaped(), sequence.index, &choices);
        let start_scores = log_softmax(starts.as_vec().into_iter());
        let mut spans = Vec::new();
        for i in best(&start_scores) {
            let ends = self.ends(x.retaped(), &choices, choices[i]).as_vec();
            let end_scores = log_softmax(ends.into_iter());
            spans.extend(best(&end_scores).into_iter().map(|j| Span {
                start: choices[i],
                end: choices[j],
                start_score: start_scores[i],
                end_score: end_scores[j],
            }));
        }
        let impossible = self.impossible(x, &choices, starts).as_vec()[0];
        Beams { spans, impossible }
    }
}
