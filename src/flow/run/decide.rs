//! Deciding stages: all of them before any work, one by one when their upstream is over. Starts nothing.

use std::collections::BTreeSet;

use super::guard::{self, Cause, Remake};
use super::{Run, State};
use crate::diagnostic::{Class, Diagnostic, Failure};
use crate::digest::Digest;
use crate::event::{End, Event};
use crate::exec::job::{Force, entry_of};
use crate::graph::awaited;
use crate::key::Manifest;
use crate::plan::{Decision, Known, Offer, Why, inputs_of};
use crate::spec::{StageId, StageSpec};

impl Run<'_, '_> {
    /// Looks at every selected stage once, in order. Whatever forbids the run is found here, before any work.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        let workflow = self.planner.workflow;
        let event = Event::RunStarted {
            run: self.summary.run.clone(),
            pipeline: workflow.name.clone(),
            stages: self.selected.len(),
        };
        self.emit(&event);
        self.planner.prefetch(&self.selected);
        let mut problems = Vec::new();
        let mut held = Vec::new();
        for id in self.selected.clone() {
            // Whatever may be chosen: another choice than the one known now may be made in this run.
            let mut upstream: Vec<StageId> = awaited(&workflow.stages[id.index()]).collect();
            upstream.sort_unstable();
            upstream.dedup();
            for producer in &upstream {
                self.downstream[producer.index()].push(id);
            }
            let open = self.open_upstream(id);
            if open > 0 {
                self.set(id, State::Waiting(open));
                if let Err(mut missing) = self.missing_files(id) {
                    problems.append(&mut missing);
                }
                continue;
            }
            match self.consider(id) {
                Ok(None) => {}
                Ok(Some(guard)) => held.push(guard),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(Failure::input(problems));
        }
        let mut asked = BTreeSet::new();
        for id in &self.ready {
            let lost = self.guard_inputs(*id).into_iter();
            // Said once of a stage, whoever needs it.
            held.extend(lost.filter(|guard| asked.insert(guard.message.clone())));
        }
        if !held.is_empty() {
            return Err(Failure::input(held));
        }
        for id in &self.selected {
            if matches!(self.states[id.index()], State::Over(_)) {
                continue;
            }
            let stage = self.planner.stage(*id);
            if let Err(problem) = self.slots.can_ever_hold(stage) {
                problems.push(problem);
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Failure {
                class: Class::Environment,
                diagnostics: problems,
            })
        }
    }

    /// Files a waiting stage needs must be there from the start: nobody wants to learn it after an hour.
    fn missing_files(&mut self, id: StageId) -> Result<(), Vec<Diagnostic>> {
        let stage = self.planner.stage(id);
        let problems: Vec<Diagnostic> = stage
            .inputs
            .iter()
            .filter_map(|input| self.planner.check_file(stage, input).err())
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Whether a result that was made on this device counts. The reference's are asked for by name.
    fn accepts(&self, stage: &StageSpec, device: &str) -> bool {
        match &self.options.accept_device {
            Some(wanted) if self.planner.uses_device(&stage.kind) => {
                device.starts_with(wanted.as_str()) || device == "reference"
            }
            _ => true,
        }
    }

    /// Decides a stage whose upstream is known. Returns the message of a guard that holds it back.
    pub(super) fn consider(&mut self, id: StageId) -> Result<Option<Diagnostic>, Diagnostic> {
        let stage = self.planner.stage(id);
        let decision = self.planner.decide(id)?;
        let is_first = self.histories[id.index()].tries == 0;
        let is_forced = is_first && self.options.force.contains(&id);
        match decision {
            Decision::Open => {
                let open = self.open_upstream(id);
                self.set(id, State::Waiting(open.max(1)));
            }
            Decision::Hit(known) if is_forced => {
                let history = &mut self.histories[id.index()];
                (history.force, history.because) = (Force::Always, "forced".to_owned());
                history.before = Some(known.entry);
                self.planner.forget(id);
                self.set(id, State::Ready);
            }
            Decision::Hit(known) if is_first && !self.accepts(stage, &known.entry.device) => {
                let because = format!("made on `{}`", known.entry.device);
                let history = &mut self.histories[id.index()];
                (history.force, history.because) = (Force::Always, because);
                history.before = Some(known.entry);
                self.planner.forget(id);
                self.set(id, State::Ready);
            }
            Decision::Hit(known) => self.over_with_result(id, &known, End::Cached),
            Decision::Miss { key, manifest } => {
                let why = self.planner.why(stage, &key, &manifest);
                if self.options.keep_old.contains(&id)
                    && let Some(old) = self.planner.last_record(stage, &key)
                {
                    let warning = Diagnostic::warning(
                        "run::kept_old",
                        format!(
                            "`{}` is outdated; its result of {} is used as asked",
                            stage.name, old.finished
                        ),
                    )
                    .detail(why.words());
                    self.warn(Some(id), warning);
                    let known = Known {
                        key: old.key,
                        entry: entry_of(&old),
                    };
                    self.planner.learn(id, known.clone());
                    self.over_with_result(id, &known, End::Cached);
                    return Ok(None);
                }
                if let Some(guard) = self.guard(id, &key, &manifest, &why) {
                    self.histories[id.index()].key = Some(key);
                    self.over(id, End::Held);
                    return Ok(Some(guard));
                }
                self.histories[id.index()].because = why.words();
                self.set(id, State::Ready);
            }
        }
        Ok(None)
    }

    fn guard(
        &mut self,
        id: StageId,
        key: &Digest,
        manifest: &Manifest,
        why: &Why,
    ) -> Option<Diagnostic> {
        if self.options.yes.contains(&id) || self.options.force.contains(&id) {
            return None;
        }
        let stage = self.planner.stage(id);
        let seconds = self.planner.last_record(stage, key)?.seconds;
        let offer = self.planner.offer(stage, key, manifest);
        self.ask(id, seconds, Cause::Outdated(why), offer.as_ref())
    }

    /// The message that holds a run back from remaking a result of which bytes are gone, needed as `needed` says.
    pub(super) fn guard_lost(&self, id: StageId, needed: String) -> Option<Diagnostic> {
        if self.options.yes.contains(&id) || self.options.force.contains(&id) {
            return None;
        }
        let seconds = self.planner.known(id)?.entry.seconds;
        self.ask(id, seconds, Cause::Lost(needed), None)
    }

    fn ask(
        &self,
        id: StageId,
        seconds: f64,
        cause: Cause<'_>,
        offer: Option<&Offer>,
    ) -> Option<Diagnostic> {
        let stage = self.planner.stage(id);
        let confirm_over = self.options.confirm_over_seconds;
        if !guard::is_precious(stage, seconds, confirm_over) {
            return None;
        }
        let dependents = crate::graph::downstream(self.planner.workflow, &[id])
            .len()
            .saturating_sub(1);
        let remake = Remake {
            stage,
            seconds,
            cause,
            dependents,
            offer,
        };
        guard::guard(&remake, confirm_over)
    }

    /// What a stage that is about to run needs and is gone, where making it again takes consent. Asked before any work;
    /// damage that only reading shows is found when the stage starts.
    fn guard_inputs(&self, id: StageId) -> Vec<Diagnostic> {
        let name = &self.planner.stage(id).name;
        let confirm_over = self.options.confirm_over_seconds;
        let mut held = Vec::new();
        let mut asked = BTreeSet::new();
        for output in inputs_of(self.planner.stage(id)) {
            let Some(known) = self.planner.known(output.stage) else {
                continue;
            };
            let producer = self.planner.stage(output.stage);
            let is_lost = guard::is_precious(producer, known.entry.seconds, confirm_over)
                && (known.entry.output(&output.output))
                    .is_some_and(|content| !self.planner.store.has(content));
            if is_lost && asked.insert(output.stage) {
                held.extend(self.guard_lost(output.stage, format!("`{name}` needs them")));
            }
        }
        held
    }
}
