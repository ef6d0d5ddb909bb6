//! Checkpoints of a stage: written by a thread while training goes on, the last few kept, the newest whole one read.
//! Knows not what is in them.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use engine::checkpoint::{self, Snapshot};
use engine::error::{TrainError, WeightsError};
use flow::diagnostic::Diagnostic;
use flow::kind::{StageContext, StageError};

use super::train_error;

/// Checkpoints that are kept: where the newest turns out damaged, the one before is there.
pub(in crate::kinds) const KEPT: usize = 2;

/// Where a stage's checkpoints lie.
fn parent(stage: &StageContext) -> PathBuf {
    stage.scratch.join("checkpoints")
}

/// Reads the checkpoint of a step that another process has read.
pub(in crate::kinds) fn read(
    stage: &StageContext,
    step: u64,
    load: impl FnOnce(&Path) -> Result<Vec<u8>, TrainError>,
) -> Result<(), StageError> {
    let place = checkpoint::place(&parent(stage), step);
    load(&place).map(drop).map_err(train_error)
}

/// Keeps a stage's checkpoints in its scratch folder.
#[derive(Debug)]
pub(in crate::kinds) struct Keeper {
    parent: PathBuf,
    /// The write under way, and its step.
    writing: Option<(u64, JoinHandle<Result<(), WeightsError>>)>,
    /// The last step that is whole on the disk.
    kept: Option<u64>,
    /// The device and what else of the surroundings shows in the last bits.
    made_on: String,
    warnings: Vec<Diagnostic>,
}

impl Keeper {
    /// For training with what shows in the last bits.
    pub(in crate::kinds) fn new(stage: &StageContext, made_on: String) -> Self {
        Self {
            parent: parent(stage),
            writing: None,
            kept: None,
            made_on,
            warnings: Vec::new(),
        }
    }

    /// Reads the newest checkpoint that is whole; the notes beside it. Damaged ones are told and removed: they cost their
    /// steps, not the stage.
    pub(in crate::kinds) fn resume(
        &mut self,
        mut load: impl FnMut(u64, &Path) -> Result<Vec<u8>, TrainError>,
    ) -> Result<Option<Vec<u8>>, StageError> {
        let mut damaged = Vec::new();
        let mut notes = None;
        for step in checkpoint::steps(&self.parent) {
            let place = checkpoint::place(&self.parent, step);
            match load(step, &place) {
                Ok(found) => {
                    self.kept = Some(step);
                    notes = Some(self.compare(&found, step));
                    break;
                }
                // A disk that does not answer says nothing of what is on it.
                Err(TrainError::Weights(WeightsError::Read { source, .. }))
                    if source.kind() != std::io::ErrorKind::NotFound =>
                {
                    return Err(source.into());
                }
                Err(error) => damaged.push((step, place, error)),
            }
        }
        let goes_on = match self.kept {
            Some(step) => format!("training goes on from step {step}"),
            None => "training begins anew".to_owned(),
        };
        for (step, place, error) in damaged {
            let message = format!("the checkpoint of step {step} cannot be read: {goes_on}");
            let warning = Diagnostic::warning("engine::checkpoint", message);
            self.warnings.push(warning.detail(error.to_string()));
            fs_err::remove_dir_all(place)?;
        }
        Ok(notes)
    }

    /// The owner's notes out of those of a checkpoint, which begin with what it was made on.
    fn compare(&mut self, notes: &[u8], step: u64) -> Vec<u8> {
        let end = notes.iter().position(|byte| *byte == b'\n');
        let (made_on, own) = notes.split_at(end.unwrap_or(notes.len()));
        let made_on = String::from_utf8_lossy(made_on);
        if made_on != self.made_on {
            let message = format!(
                "training goes on with `{}`; up to step {step} it was `{made_on}`",
                self.made_on
            );
            let warning = Diagnostic::warning("engine::elsewhere", message);
            let detail = "the result may differ by rounding from one that is made in one place";
            self.warnings.push(warning.detail(detail));
        }
        own.get(1..).unwrap_or_default().to_vec()
    }

    /// Whether a checkpoint is still being written; one that was not written is told, and training goes on.
    pub(in crate::kinds) fn is_writing(&mut self, stage: &StageContext) -> bool {
        if self
            .writing
            .as_ref()
            .is_some_and(|(_, at)| at.is_finished())
            && let Err(error) = self.wait()
        {
            self.tell(stage, &error);
        }
        self.writing.is_some()
    }

    /// Begins to write a copy, after the one before is done.
    pub(in crate::kinds) fn keep(
        &mut self,
        stage: &StageContext,
        snapshot: Snapshot,
        notes: &[u8],
    ) -> Result<(), StageError> {
        if let Err(error) = self.wait() {
            self.tell(stage, &error);
        }
        let parent = self.parent.clone();
        let notes = [self.made_on.as_bytes(), b"\n", notes].concat();
        let step = snapshot.step();
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || {
                snapshot.write(&checkpoint::place(&parent, step), &notes)?;
                checkpoint::keep_newest(&parent, KEPT)
            })?;
        self.writing = Some((step, thread));
        Ok(())
    }

    /// The last step that is whole on the disk.
    pub(in crate::kinds) fn kept(&self) -> Option<u64> {
        self.kept
    }

    /// Waits until what was begun is on the disk.
    pub(in crate::kinds) fn wait(&mut self) -> Result<(), StageError> {
        let Some((step, thread)) = self.writing.take() else {
            return Ok(());
        };
        match thread.join() {
            Ok(Ok(())) => {
                self.kept = Some(step);
                Ok(())
            }
            Ok(Err(error)) => Err(train_error(error.into())),
            Err(_) => {
                Err(StageError::new("engine::checkpoint", "the writer of checkpoints failed").bug())
            }
        }
    }

    /// How a stage ends that was asked to stop after `step` updates: with that step on the disk. `take` copies it, where
    /// it is not there yet.
    pub(in crate::kinds) fn stop(
        &mut self,
        stage: &StageContext,
        step: u64,
        take: impl FnOnce() -> (Result<Snapshot, TrainError>, Vec<u8>),
    ) -> StageError {
        let keep = || {
            self.wait()?;
            if self.kept != Some(step) {
                let (snapshot, notes) = take();
                self.keep(stage, snapshot.map_err(train_error)?, &notes)?;
                self.wait()?;
            }
            Ok(())
        };
        match keep() {
            Ok(()) => {
                let message = format!("stopped after step {step}, which is kept");
                StageError::new("run::stopped", message).may_pass()
            }
            Err(error) => error,
        }
    }

    /// What went wrong without stopping the stage.
    pub(in crate::kinds) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    fn tell(&mut self, stage: &StageContext, error: &StageError) {
        let message = "a checkpoint was not written; training went on";
        (stage.say)(&format!("{message}: {error}"));
        let is_told = |warning: &Diagnostic| warning.message == message;
        if !self.warnings.iter().any(is_told) {
            let warning = Diagnostic::warning("engine::checkpoint", message);
            self.warnings.push(warning.detail(error.to_string()));
        }
    }
}

impl Drop for Keeper {
    /// A folder that goes away must not be written to.
    fn drop(&mut self) {
        let _ = self.wait();
    }
}
