//! What the events so far add up to: who runs, since when, how far; how many are done. Knows nothing of drawing.

use flow::diagnostic::{Diagnostic, Severity};
use flow::event::{End, Event, Progress};

use super::pace::Pace;

/// The state of a run, as far as the events tell.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) pipeline: String,
    pub(super) total: usize,
    pub(super) cached: usize,
    pub(super) executed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) stopped: Vec<Stopped>,
    /// In the order they started.
    pub(super) running: Vec<Running>,
    /// Errors, for the end of the run.
    pub(super) failures: Vec<Failed>,
    pub(super) started: f64,
}

/// A stage at work.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) stage: String,
    pub(super) started: f64,
    pub(super) expected_seconds: Option<f64>,
    pub(super) state: State,
    pub(super) progress: Option<Progress>,
    pub(super) pace: Pace,
    /// When a log last said something about it.
    pub(super) told: f64,
}

/// What a stage at work does.
#[derive(Debug, PartialEq)]
pub(super) enum State {
    Working,
    /// For another runner.
    Waiting(String),
    /// For the next try, at this moment.
    Retrying {
        message: String,
        until: f64,
    },
}

/// A stage that an interruption stopped.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) stage: String,
    pub(super) progress: Option<Progress>,
}

/// An error of the run.
#[derive(Debug)]
pub(super) struct Failed {
    /// Empty where it belongs to none.
    pub(super) stage: String,
    pub(super) diagnostic: Diagnostic,
    /// Whether something was printed after it.
    pub(super) buried: bool,
}

impl Board {
    /// Takes an event; returns the stage's state as it was before it finished.
    pub(super) fn event(&mut self, event: &Event, now: f64) -> Option<Running> {
        match event {
            Event::RunStarted {
                pipeline, stages, ..
            } => {
                *self = Self {
                    pipeline: pipeline.clone(),
                    total: *stages,
                    started: now,
                    ..Self::default()
                };
            }
            Event::StageCached { .. } => self.cached += 1,
            Event::StageStarted {
                stage,
                expected_seconds,
                ..
            } => {
                let expected = *expected_seconds;
                let running = self.running(stage, now);
                running.expected_seconds = expected;
                running.state = State::Working;
                running.progress = None;
                running.pace = Pace::default();
            }
            Event::StageWaiting { stage, holder } => {
                self.running(stage, now).state = State::Waiting(holder.clone());
            }
            Event::StageProgress { stage, progress } => {
                let running = self.running(stage, now);
                running.state = State::Working;
                running.pace.add(now, progress.done);
                running.progress = Some(progress.clone());
            }
            Event::StageRetried {
                stage,
                message,
                wait_seconds,
            } => {
                self.running(stage, now).state = State::Retrying {
                    message: message.clone(),
                    until: now + wait_seconds,
                };
            }
            Event::StageFinished { stage, end, .. } => return self.finish(stage, *end),
            Event::Message { stage, diagnostic } if diagnostic.severity == Severity::Error => {
                self.failures.push(Failed {
                    stage: stage.clone().unwrap_or_default(),
                    diagnostic: diagnostic.clone(),
                    buried: false,
                });
            }
            Event::Message { .. } => {}
            Event::RunFinished { .. } => self.running.clear(),
        }
        None
    }

    /// Selected stages that have neither begun nor ended.
    pub(super) fn left(&self) -> usize {
        let over = self.cached + self.executed + self.failed + self.skipped + self.stopped.len();
        self.total.saturating_sub(over + self.running.len())
    }

    /// Something was printed for `stage`: the errors of others above it may scroll away.
    pub(super) fn bury_others(&mut self, stage: &str) {
        for failure in &mut self.failures {
            failure.buried |= failure.stage != stage;
        }
    }

    fn running(&mut self, stage: &str, now: f64) -> &mut Running {
        let index = match self.position(stage) {
            Some(index) => index,
            None => {
                self.running.push(Running {
                    stage: stage.to_owned(),
                    started: now,
                    expected_seconds: None,
                    state: State::Working,
                    progress: None,
                    pace: Pace::default(),
                    told: now,
                });
                self.running.len() - 1
            }
        };
        &mut self.running[index]
    }

    fn position(&self, stage: &str) -> Option<usize> {
        self.running
            .iter()
            .position(|running| running.stage == stage)
    }

    fn finish(&mut self, stage: &str, end: End) -> Option<Running> {
        let running = self.position(stage).map(|index| self.running.remove(index));
        match end {
            End::Cached | End::Shared => self.cached += 1,
            End::Executed => self.executed += 1,
            End::Failed => self.failed += 1,
            End::Skipped | End::Held => self.skipped += 1,
            End::Stopped => self.stopped.push(Stopped {
                stage: stage.to_owned(),
                progress: running
                    .as_ref()
                    .and_then(|running| running.progress.clone()),
            }),
        }
        running
    }
}
