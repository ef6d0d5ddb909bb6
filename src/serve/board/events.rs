//! What the log of a run says of stages, line by line, as they stand on the board. Knows no plan.

use std::collections::BTreeMap;

use flow::diagnostic::Severity;
use flow::digest::Digest;
use flow::event::{End, Event};
use flow::run::watch::{Line, Seen};

use super::{Board, Ended, State};
use crate::console::pace::Pace;

/// Stages that only a log names, and bytes of such a name.
pub(super) const MOST_STRANGERS: usize = 10_000;
pub(super) const LONGEST_NAME: usize = 1_000;
/// Warnings kept.
const MOST_WARNINGS: usize = 50;

impl Board {
    /// A stage that events name; one that the file does not have any more is added, `None` where that would be too much:
    /// a log may be damaged, or another's.
    fn known(&mut self, name: &str) -> Option<usize> {
        let found = self.find(name);
        if found.is_some() || self.strangers >= MOST_STRANGERS || name.len() > LONGEST_NAME {
            return found;
        }
        self.strangers += 1;
        let stage = name.split('[').next().unwrap_or(name).to_owned();
        Some(self.add(name, &stage, ""))
    }

    /// Takes a line of the run's log.
    pub fn take(&mut self, seen: &Seen) {
        let at = seen.time_ns.map(seconds);
        match &seen.line {
            Line::Head(head) => self.head = Some(head.clone()),
            Line::Cached(names) => {
                for name in names {
                    let Some(cell) = self.known(name) else {
                        continue;
                    };
                    self.set(cell, State::Cached);
                }
            }
            Line::Keys(keys) => self.keys(keys),
            Line::Event(event) => self.event(event, at),
        }
    }

    /// The log ends with the keys that were reached, or says that they are those of an earlier run.
    fn keys(&mut self, keys: &BTreeMap<String, Digest>) {
        for (name, key) in keys {
            let Some(cell) = self.known(name) else {
                continue;
            };
            self.cells[cell].key = Some(*key);
            if self.cells[cell].state == State::Left {
                self.set(cell, State::Cached);
            }
        }
        // What a run does not reach has no events.
        if self.head.as_ref().is_some_and(|head| head.whole) {
            let counts = self.ended.as_ref().map(|ended| ended.counts);
            let is_complete = counts.is_some_and(|counts| counts.failed + counts.skipped == 0);
            let state = match (is_complete, keys.is_empty()) {
                (true, _) => State::Cached,
                (false, false) => State::Skipped,
                (false, true) => return,
            };
            for cell in self.in_state(State::Left).collect::<Vec<_>>() {
                self.set(cell, state);
            }
        }
    }

    fn event(&mut self, event: &Event, at: Option<f64>) {
        match event {
            Event::RunStarted { .. } => {
                self.began = at;
                self.ended = None;
            }
            Event::StageCached { stage, key } => {
                let Some(cell) = self.known(stage) else {
                    return;
                };
                self.cells[cell].key = Some(*key);
                self.set(cell, State::Cached);
            }
            Event::StageStarted {
                stage,
                key,
                because,
                attempt,
                expected_seconds,
            } => {
                let Some(cell) = self.known(stage) else {
                    return;
                };
                self.set(cell, State::Running);
                let cell = &mut self.cells[cell];
                (cell.key, cell.attempt) = (Some(*key), *attempt);
                cell.because.clone_from(because);
                cell.past_seconds = expected_seconds.or(cell.past_seconds);
                (cell.began, cell.seconds) = (at, None);
                (cell.progress, cell.pace) = (None, Pace::default());
                cell.error = None;
            }
            Event::StageWaiting { stage, holder } => {
                let Some(cell) = self.known(stage) else {
                    return;
                };
                self.set(cell, State::Pausing);
                self.cells[cell].waits = format!("for {holder}");
            }
            Event::StageProgress { stage, progress } => {
                let Some(cell) = self.known(stage) else {
                    return;
                };
                self.set(cell, State::Running);
                let cell = &mut self.cells[cell];
                if let Some(at) = at {
                    cell.pace.add(at, progress.done);
                }
                cell.progress = Some(progress.clone());
            }
            Event::StageRetried { stage, message, .. } => {
                let Some(cell) = self.known(stage) else {
                    return;
                };
                self.set(cell, State::Pausing);
                self.cells[cell].waits = format!("for its next try: {message}");
            }
            Event::StageFinished {
                stage,
                end,
                seconds,
                key,
            } => {
                let Some(cell) = self.known(stage) else {
                    return;
                };
                let state = match end {
                    End::Executed => State::Done,
                    End::Cached | End::Shared => State::Cached,
                    End::Failed | End::Held => State::Failed,
                    End::Stopped => State::Stopped,
                    End::Skipped => State::Skipped,
                };
                self.set(cell, state);
                self.cells[cell].seconds = Some(*seconds);
                self.cells[cell].key = key.or(self.cells[cell].key);
            }
            Event::Message { stage, diagnostic } => match (diagnostic.severity, stage) {
                (Severity::Error, Some(stage)) => {
                    let Some(cell) = self.known(stage) else {
                        return;
                    };
                    self.cells[cell].error = Some(diagnostic.clone());
                }
                _ if self.warnings.len() < MOST_WARNINGS => {
                    self.warnings.push(diagnostic.message.clone());
                }
                _ => self.more_warnings += 1,
            },
            Event::RunFinished {
                counts,
                wall_seconds,
                reports,
                interrupted,
            } => {
                self.ended = Some(Ended {
                    counts: *counts,
                    seconds: *wall_seconds,
                    interrupted: interrupted.clone(),
                    reports: reports.clone(),
                });
                self.stop_what_runs();
            }
        }
    }

    /// Every stage as before a run, for the events of another one.
    pub fn begin_anew(&mut self) {
        for cell in 0..self.cells.len() {
            self.set(cell, State::Left);
            let cell = &mut self.cells[cell];
            (cell.error, cell.progress, cell.seconds) = (None, None, None);
        }
        (self.head, self.began, self.ended) = (None, None, None);
        self.warnings.clear();
        self.more_warnings = 0;
    }

    /// The run is over: nothing is at work any more.
    pub fn stop_what_runs(&mut self) {
        for state in [State::Running, State::Pausing] {
            let cells: Vec<usize> = self.in_state(state).collect();
            for cell in cells {
                self.set(cell, State::Stopped);
            }
        }
    }
}

fn seconds(time_ns: i128) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
    let seconds = time_ns as f64 / 1e9;
    seconds
}
