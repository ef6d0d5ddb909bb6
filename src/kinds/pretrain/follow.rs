//! Pre-training as one of a group that is not its first: the same steps of the same examples, and nothing that is kept.
//! Knows no evaluation, no log and no outputs.

use flow::kind::{StageContext, StageError, StageReport};

use super::run::{Phase, Prepared, borrowed, phase_of, rows};
use super::{Pretrain, run};
use crate::kinds::training::group::Group;
use crate::kinds::training::{keeper, step_error};
use data::vocabulary::Vocabulary;

/// Takes all steps with the others.
pub(super) fn follow(
    kind: &Pretrain,
    stage: &StageContext,
    phases: &[Phase<'_>],
    vocabulary: &Vocabulary,
    mut group: Group,
) -> Result<StageReport, StageError> {
    let prepared = run::prepare(kind, stage, phases, vocabulary, Some(&group))?;
    let Prepared {
        mut trainer, given, ..
    } = prepared;
    // The first has read it and found it whole, and writes none before all have taken a step.
    match (group.tell(None)?, given) {
        (Some(step), _) => keeper::read(stage, step, |folder| trainer.resume(folder))?,
        (None, Some(given)) => given.load(|folder| trainer.resume(folder))?,
        (None, None) => {}
    }
    while trainer.step() < kind.steps {
        let phase = phase_of(phases, trainer.step());
        let places = phase.places(trainer.step());
        let batch = rows(phase.examples, places.iter().copied());
        trainer.set_masking(phase.masking.clone());
        trainer
            .train_while(&borrowed(&batch), &|_| true)
            .map_err(|error| step_error(error, || run::examples_at(&places)))?;
    }
    // A device of another may still read of this one's memory: nobody leaves before all are done.
    group.tell(None)?;
    Ok(StageReport::default())
}
