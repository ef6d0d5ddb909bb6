//! What stages that train share: how they pace themselves, stop, and keep what they have. Knows no model.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::backend::Precision;
use engine::error::TrainError;
use flow::diagnostic::Diagnostic;
use flow::event::Progress;
use flow::kind::{StageContext, StageError};

use super::model::weights_error;

/// Most tokens a device takes at once.
pub(super) const MICRO_TOKENS: usize = 4_096;
/// How often a running stage writes a checkpoint.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// How often it says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// Whether a precision is the one that keys leave out.
pub(super) fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::default()
}

/// When to stop, to keep and to speak; none of it decides a result.
#[derive(Debug)]
pub(super) struct Pace {
    stop: Arc<AtomicBool>,
    saved: Instant,
    said: Option<Instant>,
}

impl Pace {
    pub(super) fn start() -> std::io::Result<Self> {
        Ok(Self {
            stop: flow::signals::asked_to_stop()?,
            saved: Instant::now(),
            said: None,
        })
    }

    pub(super) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a checkpoint is due; the next one is counted from here.
    pub(super) fn wants_checkpoint(&mut self) -> bool {
        let is_due = self.saved.elapsed() > CHECKPOINT_EVERY;
        if is_due {
            self.saved = Instant::now();
        }
        is_due
    }

    /// Says how far the stage is, unless it did just now.
    pub(super) fn say(&mut self, stage: &StageContext, done: u64, total: u64, loss: f32) {
        if self.said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
            self.said = Some(Instant::now());
            stage.progress(&Progress {
                done,
                total: Some(total),
                unit: "steps".to_owned(),
                text: format!("loss {loss:.3}"),
            });
        }
    }
}

/// How a stage ends that was asked to stop and has kept its step.
pub(super) fn stopped(step: u64) -> StageError {
    let message = format!("stopped after step {step}, which is kept");
    StageError::new("run::stopped", message).may_pass()
}

/// Where the trainer's own state is kept.
pub(super) fn checkpoint_place(stage: &StageContext) -> PathBuf {
    stage.scratch.join("checkpoint")
}

/// Where the stage's own lines of a step are kept, beside the checkpoint.
pub(super) fn lines_place(stage: &StageContext, step: u64) -> PathBuf {
    stage.scratch.join(format!("lines-{step}.jsonl"))
}

/// Keeps a step: the stage's own lines first, so that a checkpoint never stands without them, then the trainer's state;
/// lines of other steps go.
pub(super) fn keep(
    stage: &StageContext,
    step: u64,
    lines: &[u8],
    save: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<(), StageError> {
    let place = lines_place(stage, step);
    let mut file = fs_err::File::create(&place)?;
    file.write_all(lines)?;
    file.sync_all()?;
    save(&checkpoint_place(stage)).map_err(train_error)?;
    for entry in fs_err::read_dir(&stage.scratch)? {
        let path = entry?.path();
        let is_lines = path.extension().is_some_and(|ending| ending == "jsonl");
        if is_lines && path != place {
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

/// A checkpoint that cannot be read, as a warning: training begins anew.
pub(super) fn unreadable_checkpoint(error: &TrainError) -> Diagnostic {
    Diagnostic::warning(
        "engine::checkpoint",
        "the checkpoint cannot be read: training begins anew",
    )
    .detail(error.to_string())
}

pub(super) fn train_error(error: TrainError) -> StageError {
    match error {
        TrainError::Weights(error) => weights_error(error),
        TrainError::Device(error) => {
            StageError::new("engine::device", error.to_string()).environment()
        }
        TrainError::NotFinite { .. } => StageError::new("engine::not_finite", error.to_string())
            .help("lower `learning_rate`, or lengthen the warm-up"),
        TrainError::Example { .. } => {
            StageError::new("data::broken", error.to_string()).help("make the examples again")
        }
    }
}
