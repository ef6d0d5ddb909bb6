//! What supervisors and signals tell a run, and what follows from it for a stage. Starts nothing.

use std::time::{Duration, Instant};

use super::pool::PoolMessage;
use super::{
    FIRST_BACKOFF, LONGEST_BACKOFF, LONGEST_LOOK, LOST_BEFORE, MOVING_INPUTS, Run, RunMessage,
    State, TICK,
};
use crate::diagnostic::{Class, Diagnostic};
use crate::event::{End, Event};
use crate::exec::job::{Answer, Force, Outcome, entry_of};
use crate::kind::OUT_OF_MEMORY;
use crate::plan::Known;
use crate::spec::StageId;
use crate::store::index::IndexEntry;

impl Run<'_, '_> {
    pub(super) fn take(&mut self, message: RunMessage) {
        match message {
            RunMessage::Signal(signal) => self.signal(signal),
            RunMessage::Pool(PoolMessage::Lost(worker)) => {
                if let Some((id, had_started)) = self.pool.bury(worker) {
                    self.lost(id, had_started);
                }
            }
            RunMessage::Pool(PoolMessage::Answer(worker, answer)) => match answer {
                Answer::Started { .. } => self.pool.has_started(worker),
                Answer::Progress(progress) => {
                    if let Some(id) = self.pool.stage_of(worker) {
                        let stage = self.planner.stage(id).name.clone();
                        self.emit(&Event::StageProgress { stage, progress });
                    }
                }
                Answer::Warning(warning) => {
                    let id = self.pool.stage_of(worker);
                    self.warn(id, warning);
                }
                Answer::Done(outcome) => {
                    if let Some(id) = self.pool.release(worker) {
                        self.slots.give_back(self.planner.stage(id));
                        self.done(id, *outcome);
                    }
                }
            },
        }
    }

    fn signal(&mut self, signal: i32) {
        match self.stopping {
            None => {
                self.stopping = Some((signal, Instant::now()));
                self.summary.interrupted = Some(crate::exec::process::signal_name(signal));
                if self.pool.running() > 0 {
                    let warning = Diagnostic::warning(
                        "run::stopping",
                        "stopping: stages may write a checkpoint",
                    )
                    .help("interrupt once more to kill them");
                    self.warn(None, warning);
                }
                self.pool.stop_all();
            }
            Some(_) => {
                self.pool.kill_all(self.kills > 0);
                self.kills += 1;
            }
        }
    }

    /// A supervisor died under a stage: what it left running is killed, then the stage has failed. One that had not
    /// started is handed to another supervisor: an idle one may be killed without the run noticing in time.
    fn lost(&mut self, id: StageId, had_started: bool) {
        self.slots.give_back(self.planner.stage(id));
        self.histories[id.index()].lost += 1;
        if !had_started && self.stopping.is_none() && self.histories[id.index()].lost <= LOST_BEFORE
        {
            let message = "its supervisor was killed before it began".to_owned();
            self.put_back(id, message, Duration::ZERO);
            return self.set(id, State::Ready);
        }
        if let State::Running(running) = &self.states[id.index()] {
            let (store, key) = (self.planner.store, running.key);
            crate::exec::process::kill_leftovers(&[store.work_path(&key)]);
            // It may have died between its record and its answer: what is recorded is done.
            if self.histories[id.index()].force == Force::No
                && let Some(record) = store.find_record(&key)
            {
                let entry = entry_of(&record);
                return self.done(id, Outcome::Recorded { entry, pin: None });
            }
        }
        if self.kills > 0 {
            let outcome = Outcome::Stopped {
                seconds: 0.0,
                has_checkpoint: false,
            };
            return self.done(id, outcome);
        }
        let name = &self.planner.stage(id).name;
        let diagnostic = Diagnostic::error(
            "run::lost",
            format!("the process that supervised `{name}` was killed"),
        )
        .help("often the kernel's out-of-memory killer; run again to go on");
        self.done(
            id,
            Outcome::Failed {
                diagnostic,
                may_pass: true,
                class: Class::Stage,
                seconds: 0.0,
            },
        );
    }

    fn done(&mut self, id: StageId, outcome: Outcome) {
        let stage = self.planner.stage(id);
        let State::Running(running) = &self.states[id.index()] else {
            return;
        };
        let (key, wall) = (running.key, running.started.elapsed().as_secs_f64());
        self.histories[id.index()].seconds = wall;
        match outcome {
            Outcome::Recorded { entry, pin } => {
                if let Some(pin) = pin {
                    self.summary.pins.push((stage.name.clone(), pin));
                }
                self.compare_with_before(id, &entry);
                self.remember_objects(&entry);
                self.result(id, &Known { key, entry }, End::Executed);
            }
            Outcome::Shared { entry } => self.result(id, &Known { key, entry }, End::Shared),
            Outcome::Busy { holder } => self.wait_for(id, holder),
            Outcome::InputMissing { warnings, .. } => {
                for warning in warnings {
                    self.warn(Some(id), warning);
                }
                let message = "bytes that it needs are gone".to_owned();
                self.put_back(id, message, Duration::ZERO);
                self.set(id, State::Ready);
            }
            Outcome::InputChanged { port } => {
                self.histories[id.index()].moved += 1;
                if self.histories[id.index()].moved > MOVING_INPUTS {
                    let problem = Diagnostic::error(
                        "run::moving_input",
                        format!(
                            "input `{port}` of `{}` keeps changing while it is read",
                            stage.name
                        ),
                    )
                    .help("run again when nothing writes to it");
                    return self.fail(id, problem, Class::Stage, End::Failed);
                }
                let message = format!("input `{port}` changed while it was read");
                self.put_back(id, message, Duration::ZERO);
                if let Err(error) = self.planner.forget_paths() {
                    let problem = Diagnostic::error("run::cache", "the cache cannot be written")
                        .detail(error.to_string());
                    return self.fail(id, problem, Class::Environment, End::Failed);
                }
                self.set(id, State::Ready);
            }
            Outcome::Stopped {
                seconds,
                has_checkpoint,
            } => {
                self.histories[id.index()].seconds = seconds;
                if has_checkpoint {
                    let message = format!("the checkpoint of `{}` is kept", stage.name);
                    self.warn(Some(id), Diagnostic::warning("run::stopped", message));
                }
                self.finished_event(id, End::Stopped);
                self.over(id, End::Stopped);
                self.skip_downstream(id);
            }
            Outcome::Failed {
                diagnostic,
                may_pass,
                class,
                seconds,
            } => {
                self.histories[id.index()].seconds = seconds.max(wall);
                if diagnostic.code == OUT_OF_MEMORY
                    && self.stopping.is_none()
                    && self.slots.takes_whole_next(stage)
                {
                    let message = format!("{}; it gets a GPU to itself", diagnostic.message);
                    self.put_back(id, message, Duration::ZERO);
                    return self.set(id, State::Ready);
                }
                let history = &mut self.histories[id.index()];
                history.tries += 1;
                if may_pass && history.tries <= stage.policy.retries && self.stopping.is_none() {
                    let wait = FIRST_BACKOFF
                        .saturating_mul(1 << (history.tries - 1).min(6))
                        .min(LONGEST_BACKOFF);
                    self.put_back(id, diagnostic.message, wait);
                    self.set(id, State::Later(Instant::now() + wait));
                } else {
                    self.fail(id, diagnostic, class, End::Failed);
                }
            }
        }
    }

    /// Another runner has the stage: it is looked at again later, less and less often where many share the work.
    pub(super) fn wait_for(&mut self, id: StageId, holder: String) {
        let is_idle = self.ready.len() <= 1 && self.pool.running() == 0;
        let cooperates = self.options.cooperates;
        let history = &mut self.histories[id.index()];
        history.busy += 1;
        let wait = match cooperates {
            true => TICK.saturating_mul(history.busy.min(LONGEST_LOOK)),
            false => TICK,
        };
        // Who shares the work has no need to hear of each stage that another does, but of what it waits for.
        if !history.waiting_said && (is_idle || !cooperates) {
            history.waiting_said = true;
            let stage = self.planner.stage(id).name.clone();
            self.emit(&Event::StageWaiting { stage, holder });
        }
        self.set(id, State::Later(Instant::now() + wait));
    }

    fn result(&mut self, id: StageId, known: &Known, end: End) {
        let stage = self.planner.stage(id);
        self.planner.note_key(stage, known.key);
        self.planner.learn(id, known.clone());
        self.histories[id.index()].key = Some(known.key);
        self.histories[id.index()].force = Force::No;
        self.finished_event(id, end);
        self.over_with_result(id, known, end);
    }

    /// A result made again must have the same bytes; if not, that is a fact about the stage people want to know.
    fn compare_with_before(&mut self, id: StageId, entry: &IndexEntry) {
        let Some(before) = self.histories[id.index()].before.take() else {
            return;
        };
        let changed: Vec<String> = before
            .outputs
            .iter()
            .filter(|(name, content)| {
                entry
                    .output(name)
                    .is_some_and(|now| now.digest != content.digest)
            })
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !changed.is_empty() {
            let stage = &self.planner.stage(id).name;
            let from_outside = self.summary.pins.iter().any(|(name, _)| name == stage);
            let help = if from_outside {
                "what it fetches has changed at its origin; `pipeline lock` or a digest pins it"
            } else {
                "look for clocks, random numbers without a seed, file order, or threads in the stage"
            };
            let warning = Diagnostic::warning(
                "run::not_reproduced",
                format!(
                    "`{stage}` was made again and gave other bytes: {}",
                    changed.join(", ")
                ),
            )
            .detail("the new result is recorded; what depends on it is decided by its bytes")
            .help(help);
            self.warn(Some(id), warning);
        }
    }

    /// Large objects are trusted while their stamp stands still; this is when it is known to be right, the supervisor
    /// having written them through to the disk (`store/sync.rs`).
    fn remember_objects(&mut self, entry: &IndexEntry) {
        for (_, content) in &entry.outputs {
            if content.form == crate::content::Form::Tree
                || content.bytes < crate::store::object::LINK_OBJECT_FROM_BYTES
            {
                continue;
            }
            let path = self.planner.store.object_path(&content.digest);
            if let (Ok(metadata), Some(name)) = (std::fs::metadata(&path), path.to_str()) {
                let stamp = crate::content::Stamp::of(&metadata);
                self.planner
                    .index
                    .remember(name, stamp, i64::MAX, content.digest, false);
            }
        }
    }
}
