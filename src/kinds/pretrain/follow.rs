//! Pre-training as one of a group that is not its first: the same steps of the same examples, and nothing that is kept.
//! Knows no evaluation, no log and no outputs.

use flow::kind::{StageContext, StageError, StageReport};

use super::batches::{Batches, Phase};
use super::run::Prepared;
use super::{Pretrain, run};
use crate::kinds::training::group::Group;
use crate::kinds::training::{keeper, step_error};
use data::vocabulary::Vocabulary;

/// Takes all steps with the others.
pub(super) fn follow(
    kind: &Pretrain,
    stage: &StageContext,
    phases: Vec<Phase<'_>>,
    vocabulary: &Vocabulary,
    mut group: Group,
) -> Result<StageReport, StageError> {
    let prepared = run::prepare(kind, stage, &phases, vocabulary, Some(&group))?;
    let Prepared {
        mut trainer,
        given,
        settings,
        ..
    } = prepared;
    let mut batches = Batches::new(phases, settings.seed, kind.steps);
    // The first has read it and found it whole, and writes none before all have taken a step.
    match (group.tell(None)?, given) {
        (Some(step), _) => keeper::read(stage, step, |folder| trainer.resume(folder))?,
        (None, Some(given)) => given.load(|folder| trainer.resume(folder))?,
        (None, None) => {}
    }
    while trainer.step() < kind.steps {
        let step = trainer.step();
        trainer.set_masking(batches.phase(step).masking.clone());
        batches.train(step, |batch| {
            trainer
                .train_while(&batch.examples(), &|_| true)
                .map_err(|error| step_error(error, || run::examples_at(&batch.places)))
        })?;
    }
    // A device of another may still read of this one's memory: nobody leaves before all are done.
    group.tell(None)?;
    Ok(StageReport::default())
}
