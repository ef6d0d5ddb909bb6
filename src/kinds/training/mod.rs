//! What stages that train share: how they pace themselves, stop, and say what goes wrong. Knows no model.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::backend::Precision;
use engine::error::TrainError;
use flow::event::Progress;
use flow::kind::{StageContext, StageError};

use super::model::weights_error;

pub(super) mod group;
pub(super) mod keeper;
pub(super) mod live;
mod members;
pub(super) mod room;
mod tfevents;

/// How often a running stage writes a checkpoint, unless the environment says otherwise.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// Seconds between checkpoints, for machines that go away without a word.
const CHECKPOINT_VARIABLE: &str = "PIPELINE_CHECKPOINT_SECONDS";
/// How often a stage says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(500);
/// How often the live log has a line at least.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Whether a precision is the one that keys leave out.
pub(super) fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::default()
}

/// When to stop, to keep and to speak; none of it decides a result.
#[derive(Debug)]
pub(super) struct Pace {
    stop: Arc<AtomicBool>,
    every: Duration,
    saved: Instant,
    said: Mutex<Option<Instant>>,
    /// Tokens since `counted_from`.
    tokens: u64,
    counted_from: Instant,
    /// Tokens a second in the count before.
    speed: Option<f64>,
    /// When a line was last written to the live log.
    told: Instant,
}

impl Pace {
    pub(super) fn start() -> std::io::Result<Self> {
        let stated = std::env::var(CHECKPOINT_VARIABLE).ok();
        let every = stated
            .and_then(|text| text.trim().parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Self {
            stop: flow::signals::asked_to_stop()?,
            every: every.unwrap_or(CHECKPOINT_EVERY),
            saved: Instant::now(),
            said: Mutex::new(None),
            tokens: 0,
            counted_from: Instant::now(),
            speed: None,
            told: Instant::now(),
        })
    }

    pub(super) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a checkpoint is due; the next one is counted from here.
    pub(super) fn wants_checkpoint(&mut self) -> bool {
        let is_due = self.saved.elapsed() >= self.every;
        if is_due {
            self.saved = Instant::now();
        }
        is_due
    }

    /// Counts the tokens of a step.
    pub(super) fn count(&mut self, tokens: usize) {
        self.tokens += tokens as u64;
    }

    /// Whether the live log is to have a line of this step: where the stage's own log has one, and now and then.
    pub(super) fn wants_line(&mut self, is_logged: bool) -> bool {
        let is_due = is_logged || self.told.elapsed() > TELL_EVERY;
        if is_due {
            self.told = Instant::now();
        }
        is_due
    }

    /// Counts anew, after a line or after what was no training.
    pub(super) fn restart_count(&mut self) {
        if self.tokens > 0 {
            self.speed = Some(self.tokens_per_second());
        }
        self.tokens = 0;
        self.counted_from = Instant::now();
    }

    /// Tokens a second, over at least a second where there was one.
    pub(super) fn tokens_per_second(&self) -> f64 {
        let seconds = self.counted_from.elapsed().as_secs_f64();
        match self.speed {
            Some(speed) if seconds < 1.0 || self.tokens == 0 => speed,
            _ => self.tokens as f64 / seconds.max(1e-9),
        }
    }

    /// Says how far the stage is, unless it did just now.
    pub(super) fn say(
        &self,
        stage: &StageContext,
        done: u64,
        total: u64,
        text: &dyn Fn() -> String,
    ) {
        let mut said = self.said.lock().expect("nobody panics while it is held");
        if said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
            *said = Some(Instant::now());
            stage.progress(&Progress {
                done,
                total: Some(total),
                unit: "steps".to_owned(),
                text: text(),
            });
        }
    }

    /// What follows a step: its loss and the speed.
    pub(super) fn say_step(&self, stage: &StageContext, done: u64, total: u64, loss: f32) {
        let text = || format!("loss {loss:.3}, {:.0} tokens/s", self.tokens_per_second());
        self.say(stage, done, total, &text);
    }

    /// For work between steps, such as an evaluation of `n` sequences at `(done, total)` steps: whether to go on,
    /// asked between micro-batches, where it also says how far it is.
    pub(super) fn watch<'a>(
        &'a self,
        stage: &'a StageContext,
        (done, total): (u64, u64),
        n: usize,
        doing: &'a str,
    ) -> impl Fn(usize) -> bool + Sync + 'a {
        move |at| {
            self.say(stage, done, total, &|| format!("{doing} {at} of {n}"));
            !self.must_stop()
        }
    }
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

/// [`train_error`] with the examples of the step, where its numbers are at fault.
pub(super) fn step_error(error: TrainError, examples: impl FnOnce() -> String) -> StageError {
    let is_at_fault = matches!(error, TrainError::NotFinite { .. });
    let error = train_error(error);
    match is_at_fault {
        true => error.detail(format!("the batch is {}", examples())),
        false => error,
    }
}
