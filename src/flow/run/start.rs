//! Sending ready stages out, once what they read is there. Knows nothing of how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::slots::is_auto;
use super::{MOST_REMAKES, Run, Running, State};
use crate::diagnostic::{Class, Diagnostic};
use crate::event::{End, Event};
use crate::exec::job::{Force, Job};
use crate::graph::awaited;
use crate::key::Manifest;
use crate::plan::{Decision, Soundness, inputs_of};
use crate::spec::StageId;

impl Run<'_, '_> {
    /// Whether no new stage may start.
    pub(super) fn is_ending(&self) -> bool {
        self.stopping.is_some() || (self.failed && !self.options.keep_going)
    }

    pub(super) fn dispatch(&mut self) {
        if self.is_ending() {
            return;
        }
        let now = Instant::now();
        let due: Vec<StageId> = self
            .later
            .iter()
            .filter(|id| matches!(&self.states[id.index()], State::Later(at) if *at <= now))
            .copied()
            .collect();
        for id in due {
            self.set(id, State::Ready);
        }
        self.settle_auto();
        while self.pool.has_room() && !self.is_ending() {
            let (planner, slots) = (&self.planner, &mut self.slots);
            let cooperates = self.options.cooperates;
            let next = (self.ready.range(self.first..))
                .chain(self.ready.range(..self.first))
                .copied()
                .find(|id| {
                    let stage = planner.stage(*id);
                    // Small stages share a GPU by what their kinds plan to take.
                    if slots.asks_for_plan(stage) {
                        // Runs that cooperate do not see what the others take.
                        let alone = !cooperates;
                        let planned = alone.then(|| planner.device_bytes(*id)).flatten();
                        slots.set_planned(stage, planned);
                    }
                    slots.fits(stage)
                });
            match next {
                Some(id) => self.start(id),
                None => break,
            }
        }
    }

    /// Asks what stages that name no device compute on, when the first of them is ready: looking at GPUs takes a while.
    fn settle_auto(&mut self) {
        let Some(ask) = self
            .options
            .auto_device
            .filter(|_| !self.slots.knows_auto())
        else {
            return;
        };
        let planner = &self.planner;
        let is_asking = |id: &StageId| {
            let stage = planner.stage(*id);
            is_auto(stage) && planner.uses_device(&stage.kind)
        };
        if !self.ready.iter().any(is_asking) {
            return;
        }
        let (is_gpu, warning) = ask(&self.options.environment);
        let kinds = match is_gpu {
            true => planner.kinds_with_device(),
            false => BTreeSet::new(),
        };
        let is_listed = self.slots.set_auto(kinds);
        if let Some(warning) = warning {
            self.warn(None, warning);
        }
        if !is_listed {
            let message =
                "there is a GPU, but `nvidia-smi` lists none, so that stages cannot share it";
            let warning = Diagnostic::warning("run::no_gpu", message)
                .help("put `nvidia-smi` on the `PATH`, or say `--device cpu`");
            self.warn(None, warning);
        }
    }

    /// Starts a ready stage, unless what it needs has changed or must be remade first.
    fn start(&mut self, id: StageId) {
        let stage = self.planner.stage(id);
        let force = self.histories[id.index()].force;
        let (key, manifest) = match self.planner.decide(id) {
            Ok(Decision::Miss { key, manifest }) => (key, manifest),
            Ok(Decision::Hit(known)) if force == Force::No => {
                return self.over_with_result(id, &known, End::Shared);
            }
            Ok(Decision::Hit(known)) => {
                self.planner.forget(id);
                let record = self.planner.store.find_record(&known.key);
                match record {
                    Some(record) => (known.key, Manifest(record.manifest)),
                    None => {
                        // The index knew a record that is gone from disk.
                        self.planner.index.forget(&known.key);
                        return;
                    }
                }
            }
            Ok(Decision::Open) => {
                let open = self.open_upstream(id);
                return self.set(id, State::Waiting(open));
            }
            Err(problem) => return self.fail(id, problem, Class::Stage, End::Failed),
        };
        // Asking here spares a supervisor, and word of a start that is none.
        if self.options.cooperates
            && let Some(holder) = self.planner.store.claimed_by(&key)
        {
            return self.wait_for(id, holder);
        }
        if self.remake_missing_inputs(id) {
            return;
        }
        let inputs = match self.planner.job_inputs(id) {
            Ok(inputs) => inputs,
            Err(problem) => return self.fail(id, problem, Class::Stage, End::Failed),
        };
        // A killed run must not forget what it has hashed.
        if let Err(error) = self.planner.flush() {
            let problem =
                Diagnostic::error("run::cache", "the index of the cache cannot be written")
                    .detail(error.to_string());
            return self.fail(id, problem, Class::Environment, End::Failed);
        }
        let gpus = self.slots.take(stage);
        let mut policy = stage.policy.clone();
        policy.resources.device = self.slots.device(stage);
        let job = Job {
            key,
            manifest: manifest.0,
            stage: stage.name.clone(),
            pipeline: self.planner.workflow.name.clone(),
            root: self.planner.workflow.root.clone(),
            cache: self.planner.store.dir().to_path_buf(),
            kind: stage.kind.clone(),
            config: stage.config.clone(),
            inputs,
            outputs: stage.outputs.clone(),
            launch: stage.launch.clone(),
            policy,
            gpus,
            offline: self.options.offline,
            cooperates: self.options.cooperates,
            force,
            with_records: self.planner.reads_records(&stage.kind),
        };
        let expected_seconds = self.planner.past_seconds(stage);
        if let Err(error) = self.pool.submit(id, job) {
            self.slots.give_back(stage);
            let problem =
                Diagnostic::error("run::supervisor", "a supervisor process cannot be started")
                    .detail(error.to_string());
            return self.fail(id, problem, Class::Environment, End::Failed);
        }
        let history = &mut self.histories[id.index()];
        history.key = Some(key);
        history
            .started_after
            .get_or_insert(self.started.elapsed().as_secs_f64());
        // A key that another runner holds is asked for again and again; one start is enough to say.
        if !history.is_open {
            history.is_open = true;
            history.starts += 1;
            let event = Event::StageStarted {
                stage: stage.name.clone(),
                key,
                because: history.because.clone(),
                attempt: history.starts,
                expected_seconds,
            };
            self.emit(&event);
        }
        self.set(
            id,
            State::Running(Running {
                key,
                started: Instant::now(),
            }),
        );
    }

    /// How many stages this one waits for.
    pub(super) fn open_upstream(&self, id: StageId) -> usize {
        let mut open: Vec<StageId> = awaited(self.planner.stage(id))
            .filter(|producer| self.planner.known(*producer).is_none())
            .collect();
        open.sort_unstable();
        open.dedup();
        open.len()
    }

    /// Sends producers of absent or damaged objects to be remade. Whether there are any.
    fn remake_missing_inputs(&mut self, id: StageId) -> bool {
        let mut producers: BTreeMap<StageId, String> = BTreeMap::new();
        for output in inputs_of(self.planner.stage(id)) {
            let Some(content) = self
                .planner
                .known(output.stage)
                .and_then(|known| known.entry.output(&output.output))
                .copied()
            else {
                continue;
            };
            match self.planner.is_sound(&content) {
                Soundness::Sound => continue,
                Soundness::Missing => {}
                Soundness::Damaged(digest, size_bytes) => {
                    let warning =
                        crate::exec::supervisor::corrupt(self.planner.store, &digest, size_bytes);
                    self.warn(Some(output.stage), warning);
                }
            }
            let name = &self.planner.stage(id).name;
            producers
                .entry(output.stage)
                .or_insert_with(|| format!("its bytes are needed by `{name}`"));
        }
        if producers.is_empty() {
            return false;
        }
        if let Some((producer, _)) = (producers.iter())
            .find(|(producer, _)| self.histories[producer.index()].remade >= MOST_REMAKES)
        {
            let name = &self.planner.stage(*producer).name;
            let problem = Diagnostic::error(
                "run::lost_again",
                format!("the bytes of `{name}` were made {MOST_REMAKES} times and are gone again"),
            )
            .help("something removes or damages what is in the cache: look at the disk, and run `pipeline cache verify`");
            self.fail(id, problem, Class::Environment, End::Failed);
            return true;
        }
        let needed = format!("`{}` needs them", self.planner.stage(id).name);
        let guard = (producers.keys().copied())
            .filter(|producer| matches!(self.states[producer.index()], State::Over(_)))
            .find_map(|producer| self.guard_lost(producer, needed.clone()));
        if let Some(guard) = guard {
            self.fail(id, guard, Class::Input, End::Held);
            return true;
        }
        let count = producers.len();
        for (producer, because) in producers {
            if matches!(self.states[producer.index()], State::Over(_)) {
                self.remake(producer, because);
            } else {
                self.planner.forget(producer);
            }
        }
        self.set(id, State::Waiting(count));
        true
    }
}
