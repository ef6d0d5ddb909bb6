//! Lines for logs and continuous integration: one a happening, with the time of day in UTC. Knows nothing of terminals.

use std::io::Write;

use flow::event::{End, Event, Observer};
use flow::source::Sources;

use super::board::{Board, Running, State};
use super::clock::Clock;
use super::diagnostic::render;
use super::format;
use super::summary::{closing, reached};
use super::terminal::Look;

/// A stage says how far it is this often at most.
const PROGRESS_SECONDS: f64 = 30.0;
/// After this long without a line one says that the run is alive: some services stop silent jobs after 10 minutes.
const SILENCE_SECONDS: f64 = 300.0;

/// The view.
pub struct Lines<W: Write, C: Clock> {
    out: W,
    clock: C,
    look: Look,
    sources: Sources,
    board: Board,
    spoke_at: f64,
}

impl<W: Write, C: Clock> Lines<W, C> {
    /// A view that writes to `out`.
    pub fn new(out: W, clock: C, look: Look) -> Self {
        let spoke_at = clock.seconds();
        Self {
            out,
            clock,
            look,
            sources: Sources::default(),
            board: Board::default(),
            spoke_at,
        }
    }

    /// The texts that messages point into.
    pub fn set_sources(&mut self, sources: Sources) {
        self.sources = sources;
    }

    /// Prints text as it is, with a newline at its end.
    pub fn print(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.spoke_at = self.clock.seconds();
        // A log that went away must not stop the run.
        let _ = self.out.write_all(format!("{text}{end}").as_bytes());
        let _ = self.out.flush();
    }

    fn say(&mut self, line: &str) {
        let time = humantime::format_rfc3339_seconds(self.clock.wall()).to_string();
        let time_of_day = time.get(11..).unwrap_or(&time);
        self.print(&format!("{time_of_day} {line}"));
    }

    /// Says something about a stage; errors of others are then no longer the last thing in the log.
    fn say_of(&mut self, stage: &str, line: &str) {
        self.board.bury_others(stage);
        self.say(line);
    }

    fn finished(&mut self, stage: &str, end: End, seconds: f64) {
        let time = format::duration(seconds);
        let line = match end {
            End::Cached | End::Skipped => return,
            End::Executed => format!("done {stage} in {time}"),
            End::Shared => format!("done {stage}: made by another runner, waited {time}"),
            End::Failed => format!("failed {stage} after {time}"),
            End::Stopped => format!("stopped {stage} after {time}"),
            End::Held => format!("held back {stage}"),
        };
        self.say_of(stage, &line);
    }

    fn progress(&mut self, stage: &str) {
        let now = self.clock.seconds();
        let Some(running) = self
            .board
            .running
            .iter_mut()
            .find(|running| running.stage == stage)
        else {
            return;
        };
        if now - running.told < PROGRESS_SECONDS {
            return;
        }
        running.told = now;
        let line = progress_line(running, now);
        self.say_of(stage, &line);
    }
}

/// `pretrain: 41 % (41,000 of 100,000 step), 12 step/s, 1 h 20 m left, loss 3.2`.
fn progress_line(running: &mut Running, now: f64) -> String {
    let Some(progress) = &running.progress else {
        return running.stage.clone();
    };
    running.pace.refresh(now, progress.total);
    let mut line = match progress.total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = u128::from(progress.done.min(total)) * 100 / u128::from(total);
            format!("{}: {percent} % ({})", running.stage, reached(progress))
        }
        None => format!("{}: {}", running.stage, reached(progress)),
    };
    if let Some(rate) = running.pace.rate() {
        line.push_str(&format!(", {}", format::rate(rate, &progress.unit)));
    }
    if let Some(left) = running.pace.seconds_left(now) {
        line.push_str(&format!(", {} left", format::clock(left)));
    }
    if !progress.text.is_empty() {
        line.push_str(&format!(", {}", format::clean_line(&progress.text)));
    }
    line
}

impl<W: Write, C: Clock> Observer for Lines<W, C> {
    fn event(&mut self, event: &Event) {
        self.board.event(event, self.clock.seconds());
        match event {
            Event::RunStarted {
                run,
                pipeline,
                stages,
            } => {
                let stages = format::counted(*stages, "stage");
                self.say(&format!("run {run} of {pipeline}: {stages}"));
            }
            Event::StageStarted {
                stage,
                because,
                attempt,
                expected_seconds,
                ..
            } => {
                let mut line = format!("started {stage}: {because}");
                if *attempt > 1 {
                    line.push_str(&format!(", try {attempt}"));
                }
                if let Some(seconds) = expected_seconds {
                    line.push_str(&format!(", about {}", format::duration(*seconds)));
                }
                self.say_of(stage, &line);
            }
            Event::StageWaiting { stage, holder } => {
                self.say_of(stage, &format!("waiting {stage}: for {holder}"));
            }
            Event::StageProgress { stage, .. } => self.progress(stage),
            Event::StageRetried {
                stage,
                message,
                wait_seconds,
            } => {
                let message = format::clean_line(message);
                let wait = match *wait_seconds {
                    0.0 => String::new(),
                    seconds => format!(" in {}", format::duration(seconds)),
                };
                self.say_of(stage, &format!("retrying {stage}{wait}: {message}"));
            }
            Event::StageFinished {
                stage,
                end,
                seconds,
                ..
            } => self.finished(stage, *end, *seconds),
            Event::Message { stage, diagnostic } => {
                self.board.bury_others(stage.as_deref().unwrap_or_default());
                let text = render(diagnostic, &self.sources, self.look);
                self.print(&format!("{text}\n"));
            }
            Event::RunFinished { .. } => {
                let text = closing(&self.board, event, &self.sources, self.look);
                self.print(&text);
            }
            Event::StageCached { .. } => {}
        }
    }

    fn tick(&mut self) {
        if self.board.running.is_empty() || self.clock.seconds() - self.spoke_at < SILENCE_SECONDS {
            return;
        }
        let waiting = self
            .board
            .running
            .iter()
            .filter(|running| matches!(running.state, State::Waiting(_)))
            .count();
        let line = format!(
            "still at it: {} running, {waiting} waiting, {} left",
            self.board.running.len() - waiting,
            format::count(self.board.left() as u64)
        );
        self.say(&line);
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
pub(crate) mod tests;
