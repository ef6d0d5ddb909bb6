//! Pre-training under way: steps, evaluations, snapshots, checkpoints, and what comes out. Knows no configuration text.

use std::path::PathBuf;

use serde::Serialize;

use data::vocabulary::Vocabulary;
use engine::error::{TrainError, WeightsError};
use engine::pretrain::{EvaluationNumbers, Pretraining, StepNumbers};
use engine::weights::Tensors;
use flow::diagnostic::Diagnostic;
use flow::kind::{StageContext, StageError, StageReport};
use flow::notes::Notes;

use super::batches::{Batches, Phase};
use super::state::{self, Given};
use super::{Pretrain, begin, snapshot_name};
use crate::kinds::device;
use crate::kinds::model::{self, Model, Spelling};
use crate::kinds::trainers::{Made, Pretrains};
use crate::kinds::training::group::Group;
use crate::kinds::training::keeper::Keeper;
use crate::kinds::training::live::Live;
use crate::kinds::training::room::Extent;
use crate::kinds::training::{Pace, step_error, train_error};

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Step(&'a StepNumbers),
    Evaluation {
        step: u64,
        #[serde(flatten)]
        numbers: &'a EvaluationNumbers,
    },
}

/// The step of the evaluation that a log ends with, if it does.
fn evaluated_last(log: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(log).ok()?;
    let line: serde_json::Value = serde_json::from_str(text.lines().last()?).ok()?;
    line["step"]
        .as_u64()
        .filter(|_| line["event"] == "evaluation")
}

/// A training before its first step.
pub(super) struct Prepared {
    pub(super) trainer: Box<dyn Pretrains>,
    pub(super) given: Option<Given>,
    pub(super) settings: Pretraining,
    made_on: String,
    warnings: Vec<Diagnostic>,
}

/// Makes the trainer with what it begins from, checkpoints and states aside; every process of a group does.
pub(super) fn prepare(
    kind: &Pretrain,
    stage: &StageContext,
    phases: &[Phase<'_>],
    vocabulary: &Vocabulary,
    group: Option<&Group>,
) -> Result<Prepared, StageError> {
    let given = Given::find(kind, stage)?;
    let settings = kind.settings(vocabulary, &phases[0]);
    let most = phases.iter().map(|phase| phase.batch).max();
    let longest = phases.iter().map(|phase| phase.longest).max();
    let extent = Extent {
        most: most.expect("there is a phase"),
        longest: longest.expect("there is a phase"),
    };
    let Made {
        mut trainer,
        made_on,
    } = device::pretrainer(stage, group, kind.precision, settings.clone(), extent)?;
    let warnings = begin::begin_from(&mut *trainer, &settings, stage)?;
    Ok(Prepared {
        trainer,
        given,
        settings,
        made_on,
        warnings,
    })
}

/// Training under way.
pub(super) struct Run<'a> {
    kind: &'a Pretrain,
    stage: &'a StageContext,
    batches: Batches<'a>,
    vocabulary: &'a Vocabulary,
    settings: Pretraining,
    trainer: Box<dyn Pretrains>,
    /// Those that train with it, while they are needed.
    group: Option<Group>,
    /// Processes that train.
    processes: usize,
    /// Updates of the state that it goes on from.
    begun_at: u64,
    log: Vec<u8>,
    warnings: Vec<Diagnostic>,
    keeper: Keeper,
    live: Live,
    pace: Pace,
}

impl<'a> Run<'a> {
    pub(super) fn start(
        kind: &'a Pretrain,
        stage: &'a StageContext,
        phases: Vec<Phase<'a>>,
        vocabulary: &'a Vocabulary,
        mut group: Option<Group>,
    ) -> Result<Self, StageError> {
        let pace = Pace::start()?;
        let Prepared {
            mut trainer,
            given,
            settings,
            made_on,
            warnings,
        } = prepare(kind, stage, &phases, vocabulary, group.as_ref())?;
        let mut keeper = Keeper::new(stage, made_on);
        let log = keeper.resume(|step, place| {
            // Snapshots are written before the checkpoints that follow them.
            let gone =
                |snapshot: &&u64| **snapshot <= step && !kept_place(stage, **snapshot).exists();
            match kind.snapshots.iter().find(gone) {
                None => trainer.resume(place),
                Some(snapshot) => Err(TrainError::Weights(WeightsError::Checkpoint {
                    path: place.to_owned(),
                    reason: format!("the snapshot of step {snapshot} is gone"),
                })),
            }
        })?;
        if let Some(given) = &given {
            // Said after an interruption too, which leaves no trace in a result.
            (stage.say)(&format!(
                "the first {} of {} updates are those of `state`",
                given.step, kind.steps
            ));
            if log.is_none() {
                given.load(|folder| trainer.resume(folder))?;
            }
        }
        if let Some(group) = &mut group {
            group.tell(keeper.kept())?;
        }
        Ok(Self {
            processes: group.as_ref().map_or(1, |group| group.seat().size),
            group,
            begun_at: given.map_or(0, |given| given.step),
            live: Live::open(stage, trainer.step()),
            kind,
            stage,
            batches: Batches::new(phases, settings.seed, kind.steps),
            vocabulary,
            settings,
            trainer,
            log: log.unwrap_or_default(),
            warnings,
            keeper,
            pace,
        })
    }

    fn note(&mut self, line: &Line<'_>) {
        serde_json::to_writer(&mut self.log, line).expect("numbers serialise");
        self.log.push(b'\n');
    }

    /// All steps that are left, then what comes out.
    pub(super) fn finish(mut self) -> Result<StageReport, StageError> {
        while self.trainer.step() < self.kind.steps {
            self.evaluate_if_due()?;
            self.step()?;
        }
        if let Some(group) = &mut self.group {
            group.tell(None)?;
        }
        self.group = None;
        let numbers = match self.kind.held_out {
            0 => None,
            _ => Some(self.evaluate()?),
        };
        self.keeper.wait()?;
        self.write(numbers)
    }

    fn step(&mut self) -> Result<(), StageError> {
        let step = self.trainer.step();
        self.trainer
            .set_masking(self.batches.phase(step).masking.clone());
        let (pace, trainer, group) = (&self.pace, &mut self.trainer, &self.group);
        let numbers = self.batches.train(step, |batch| {
            trainer
                .train_while(&batch.examples(), &|_| !pace.must_stop())
                .map_err(|error| {
                    let error = step_error(error, || examples_at(&batch.places));
                    match group {
                        Some(group) => group.explain(error),
                        None => error,
                    }
                })
        })?;
        let Some(numbers) = numbers else {
            return Err(self.stop());
        };
        self.pace.count(numbers.tokens);
        let done = step + 1;
        let is_logged = step.is_multiple_of(self.kind.log_every);
        if is_logged {
            self.note(&Line::Step(&numbers));
        }
        if self.pace.wants_line(is_logged) {
            let speed = self.pace.tokens_per_second();
            let others = [("tokens_per_second", speed)];
            self.live.numbers("train", done, &numbers, &others);
            self.pace.restart_count();
        }
        (self.pace).say_step(self.stage, done, self.kind.steps, numbers.loss);
        if self.kind.snapshots.contains(&done) {
            self.keep_snapshot(done)?;
        }
        if self.pace.wants_checkpoint() && !self.keeper.is_writing(self.stage) {
            self.keep()?;
        }
        Ok(())
    }

    /// Evaluates where the last update was one to do so after, unless that was done before an interruption.
    fn evaluate_if_due(&mut self) -> Result<(), StageError> {
        let step = self.trainer.step();
        let every = self.kind.evaluate_every.filter(|_| self.kind.held_out > 0);
        let is_due = step > self.begun_at && every.is_some_and(|every| step.is_multiple_of(every));
        if is_due && evaluated_last(&self.log) != Some(step) {
            self.evaluate()?;
        }
        Ok(())
    }

    /// Evaluates on the examples held out of the last update's file.
    fn evaluate(&mut self) -> Result<EvaluationNumbers, StageError> {
        let step = self.trainer.step();
        let phase = self.batches.phase(step.saturating_sub(1));
        let held_out = phase.held_out();
        self.trainer.set_masking(phase.masking.clone());
        let at = (step, self.kind.steps);
        let go_on = self
            .pace
            .watch(self.stage, at, held_out.places.len(), "evaluating");
        let numbers = self
            .trainer
            .evaluate_while(&held_out.examples(), &go_on)
            .map_err(train_error)?;
        drop(go_on);
        let Some(numbers) = numbers else {
            return Err(self.stop());
        };
        self.live.numbers("evaluation", step, &numbers, &[]);
        self.pace.restart_count();
        self.note(&Line::Evaluation {
            step,
            numbers: &numbers,
        });
        Ok(numbers)
    }

    /// Begins to keep the step it is at.
    fn keep(&mut self) -> Result<(), StageError> {
        let snapshot = self.trainer.snapshot().map_err(train_error)?;
        self.keeper.keep(self.stage, snapshot, &self.log)
    }

    /// How the stage ends when it is asked to: with its step on the disk.
    fn stop(&mut self) -> StageError {
        self.group = None;
        let (step, notes) = (self.trainer.step(), self.log.clone());
        let take = || (self.trainer.snapshot(), notes);
        self.keeper.stop(self.stage, step, take)
    }

    /// Keeps the discriminator of a step where an interruption leaves it.
    fn keep_snapshot(&mut self, step: u64) -> Result<(), StageError> {
        let place = kept_place(self.stage, step);
        let partial = place.with_extension("partial");
        for left in [&place, &partial] {
            if left.exists() {
                fs_err::remove_dir_all(left)?;
            }
        }
        let tensors = self.trainer.discriminator().map_err(train_error)?;
        self.write_model(&partial, &tensors, false)?;
        for entry in fs_err::read_dir(&partial)? {
            fs_err::File::open(entry?.path())?.sync_all()?;
        }
        fs_err::rename(&partial, &place)?;
        Ok(())
    }

    fn write_model(
        &self,
        folder: &std::path::Path,
        tensors: &Tensors,
        is_generator: bool,
    ) -> Result<(), StageError> {
        let (architecture, config) = match is_generator {
            false => ("ElectraForPreTraining", &self.settings.discriminator),
            true => ("ElectraForMaskedLM", &self.settings.generator),
        };
        let written = Model {
            architecture,
            config,
            tensors,
            vocabulary: self.vocabulary,
            spelling: Spelling {
                lower_case: self.kind.lower_case,
                strip_accents: None,
            },
            labels: &[],
            problem: None,
        };
        model::write(folder, &written)
    }

    fn write(mut self, numbers: Option<EvaluationNumbers>) -> Result<StageReport, StageError> {
        // One copy of the weights after the other: the plan of memory has room for a checkpoint's.
        let discriminator = self.trainer.discriminator().map_err(train_error)?;
        self.write_model(&self.stage.output("model"), &discriminator, false)?;
        drop(discriminator);
        let generator = self.trainer.generator().map_err(train_error)?;
        self.write_model(&self.stage.output("generator"), &generator, true)?;
        drop(generator);
        if self.kind.keep_state {
            let snapshot = self.trainer.snapshot().map_err(train_error)?;
            state::write(self.kind, self.stage, &snapshot)?;
        }
        for step in &self.kind.snapshots {
            // A copy: until the result is recorded, the next attempt may need it.
            let to = self.stage.output(&snapshot_name(*step));
            fs_err::create_dir_all(&to)?;
            for entry in fs_err::read_dir(kept_place(self.stage, *step))? {
                let entry = entry?;
                fs_err::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        fs_err::write(self.stage.output("log.jsonl"), &self.log)?;
        self.warnings.extend(self.keeper.take_warnings());
        Ok(StageReport {
            numbers: numbers.map_or_else(Vec::new, |numbers| self.kind.rows(&numbers)),
            warnings: self.warnings,
            notes: match self.processes {
                1 => Notes::new(),
                n => Notes::from([("processes".to_owned(), n.into())]),
            },
            ..StageReport::default()
        })
    }
}

/// Where a snapshot waits for the end of the stage.
fn kept_place(stage: &StageContext, step: u64) -> PathBuf {
    stage.scratch.join(snapshot_name(step))
}

/// Examples of a batch by their places in the file, runs of them together.
pub(super) fn examples_at(places: &[u64]) -> String {
    let runs = places.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => format!("{one}"),
        run => format!("{} to {}", run[0], run[run.len() - 1]),
    });
    let runs: Vec<String> = runs.collect();
    format!("examples {} of the file, counted from 0", runs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_named_by_their_runs() {
        let text = examples_at(&[97, 98, 99, 0, 1, 5]);
        assert_eq!(
            text,
            "examples 97 to 99, 0 to 1, 5 of the file, counted from 0"
        );
    }

    #[test]
    fn a_log_tells_what_was_evaluated_last() {
        let log = b"{\"event\":\"step\",\"step\":3}\n{\"event\":\"evaluation\",\"step\":4}\n";
        assert_eq!(evaluated_last(log), Some(4));
        assert_eq!(evaluated_last(&log[..26]), None);
        assert_eq!(evaluated_last(b""), None);
    }
}
