//! Room for a model, a batch and its labels, and the losses that are taken from them there. Spec E. Knows no updates.

use super::{Finetuning, Label, TaskExample};
use crate::arena::{Footprint, Granularity, Ints, MOST_TOKENS, Plan, Real};
use crate::backend::Backend;
use crate::model::batch::{Batch, BatchPlan, Sequence};
use crate::model::heads::{TaskModel, TaskPlan};
use crate::model::joint::Answers;
use crate::ops::losses::{IGNORED, RTD_SUMS};

/// Bytes that [`TaskTrainer::new`](super::TaskTrainer::new) takes with these arguments.
#[must_use]
pub fn footprint(
    settings: &Finetuning,
    longest: usize,
    micro_tokens: usize,
    granularity: Granularity,
) -> Footprint {
    let layout = Layout::new(settings, longest, micro_tokens, granularity);
    Footprint::new(&layout.plan, layout.model.parameters.memory())
}

/// Bytes that [`TaskTrainer::for_prediction`](super::TaskTrainer::for_prediction) takes with these arguments.
#[must_use]
pub fn prediction_footprint(
    settings: &Finetuning,
    longest: usize,
    micro_tokens: usize,
    granularity: Granularity,
) -> Footprint {
    let layout = Layout::forward_only(settings, longest, micro_tokens, granularity);
    Footprint::new(&layout.plan, layout.model.parameters.memory())
}

/// A model and the room it needs.
pub(super) struct Layout {
    pub(super) model: TaskModel,
    pub(super) plan: Plan,
    pub(super) batch: BatchPlan,
    pub(super) room: TaskPlan,
    pub(super) labels: LabelRoom,
    pub(super) norm: Real,
}

impl Layout {
    pub(super) fn new(
        settings: &Finetuning,
        longest: usize,
        micro_tokens: usize,
        granularity: Granularity,
    ) -> Self {
        let plan = Plan::new(granularity);
        Self::with_room(settings, longest, micro_tokens, plan, TaskModel::plan)
    }

    pub(super) fn forward_only(
        settings: &Finetuning,
        longest: usize,
        micro_tokens: usize,
        granularity: Granularity,
    ) -> Self {
        let plan = Plan::new(granularity);
        Self::with_room(
            settings,
            longest,
            micro_tokens,
            plan,
            TaskModel::plan_forward,
        )
    }

    fn with_room(
        settings: &Finetuning,
        longest: usize,
        micro_tokens: usize,
        mut plan: Plan,
        room: impl FnOnce(&TaskModel, &mut Plan, usize, usize) -> TaskPlan,
    ) -> Self {
        let model = TaskModel::new(&settings.config, settings.head, settings.outputs);
        let tokens = micro_tokens.min(MOST_TOKENS).max(longest);
        let sequences = tokens / 2 + 1;
        let batch = BatchPlan::new(&mut plan, tokens, sequences);
        let room = room(&model, &mut plan, tokens, sequences);
        let labels = LabelRoom {
            classes: plan.ints(tokens.max(sequences * settings.outputs)),
            ends: plan.ints(sequences),
            numbers: plan.real(sequences),
            // The largest of the losses' sums.
            sums: plan.real(RTD_SUMS),
            answerable: plan.real(RTD_SUMS),
        };
        let norm = plan.real(1);
        Self {
            model,
            plan,
            batch,
            room,
            labels,
            norm,
        }
    }
}

/// Where labels go.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelRoom {
    pub(super) classes: Ints,
    pub(super) ends: Ints,
    pub(super) numbers: Real,
    pub(super) sums: Real,
    /// The sums of whether there is an answer, by the one head that says so.
    pub(super) answerable: Real,
}

/// The loss of a part by the head that says whether there is an answer, and its logits' gradients.
pub(super) fn joint_loss<B: Backend>(
    backend: &mut B,
    (model, room): (&TaskModel, &TaskPlan),
    examples: &[TaskExample<'_>],
    (sequences, batch): (&[Sequence<'_>], &Batch),
    scale: f32,
    sums: [Real; 2],
) {
    let (mut starts, mut ends, mut impossible) = (Vec::new(), Vec::new(), Vec::new());
    for example in examples {
        let Label::Answer {
            start,
            end,
            is_impossible,
        } = example.label
        else {
            unreachable!("labels were checked");
        };
        starts.push(start);
        ends.push(end);
        impossible.push(u32::from(is_impossible));
    }
    let answers = Answers {
        sequences,
        starts: &starts,
        ends: &ends,
        impossible: &impossible,
        padded_to: None,
    };
    model.joint_loss(backend, batch, room, &answers, scale, sums);
}

impl LabelRoom {
    /// Adds a part's loss to the sums and overwrites the logits' gradients. All labels of a batch are of one form.
    pub(super) fn loss<B: Backend>(
        &self,
        backend: &mut B,
        examples: &[TaskExample<'_>],
        batch: &Batch,
        outputs: usize,
        logits: Real,
        gradient: (f32, Real),
    ) {
        let sums = self.sums.first(1);
        let mut classes = Vec::new();
        let (mut ends, mut numbers) = (Vec::new(), Vec::new());
        for example in examples {
            match example.label {
                Label::Tokens(labels) | Label::Classes(labels) => {
                    classes.extend_from_slice(labels);
                }
                Label::Class(label) => classes.push(label),
                Label::Number(value) => numbers.push(value),
                Label::Span(start, end) | Label::Answer { start, end, .. } => {
                    classes.push(start);
                    ends.push(end);
                }
            }
        }
        let gradient = Some(gradient);
        let put = |backend: &mut B, values: &[u32]| {
            let place = self.classes.first(values.len());
            backend.write_ints(place, values);
            place
        };
        match examples[0].label {
            Label::Tokens(_) | Label::Class(_) => {
                if let Label::Tokens(_) = examples[0].label {
                    classes.resize(batch.rows.count, IGNORED);
                }
                let labels = put(backend, &classes);
                backend.cross_entropy(logits, labels, outputs, gradient, sums);
            }
            Label::Classes(_) => {
                let labels = put(backend, &classes);
                backend.replaced_token(logits, labels, gradient, self.sums);
            }
            Label::Number(_) => {
                let targets = self.numbers.first(numbers.len());
                backend.write_reals(targets, &numbers);
                backend.squared_error(logits, targets, gradient, sums);
            }
            Label::Span(..) | Label::Answer { .. } => {
                let starts = put(backend, &classes);
                let place = self.ends.first(ends.len());
                backend.write_ints(place, &ends);
                backend.span(logits, batch.sequences, starts, place, gradient, sums);
            }
        }
    }
}
