//! One run: decides stages in order, sends jobs out, takes answers in, until nothing is left to do.
//!
//! A stage moves `Waiting -> Ready -> Running -> Over`; [`Run::set`] is the only place its state changes. A stage
//! whose upstream must be remade goes back to `Waiting`. Results are decided by [`Planner::decide`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::diagnostic::{Class, Diagnostic, Failure};
use crate::digest::Digest;
use crate::event::{Counts, End, Event, Observer, ReportPlace};
use crate::exec::job::{Answer, Force, Job, Outcome};
use crate::key::Manifest;
use crate::kind::{KindEntry, Pin};
use crate::plan::{Decision, Known, Planner, Soundness, Why, inputs_of};
use crate::spec::{StageId, Workflow};
use crate::store::Store;
use crate::store::index::IndexEntry;

mod guard;
mod log;
mod pool;
mod publish;
pub mod slots;

pub use guard::format_seconds;
pub use log::{RunLine, RunLog, read_runs};
use pool::{Pool, PoolMessage};
pub use publish::conflicts as publish_conflicts;
use slots::Slots;

/// How long a busy key or a redraw waits.
const TICK: Duration = Duration::from_millis(100);
/// The first wait before a retry; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait before a retry.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How often a stage is planned anew because its inputs move while they are read.
const MOVING_INPUTS: u32 = 3;
/// How often a stage that had not started is given to another supervisor when its own died.
const LOST_BEFORE: u32 = 3;

/// What a run is asked for.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stages that may run at once; 0 takes the number of cores.
    pub jobs: usize,
    /// Go on with what does not depend on a failure.
    pub keep_going: bool,
    /// The stages to bring about; empty takes all. Upstream is included.
    pub targets: Vec<StageId>,
    /// Stages to run although they have a record.
    pub force: BTreeSet<StageId>,
    /// Stages that may be remade although they are protected or were costly.
    pub yes: BTreeSet<StageId>,
    /// Stages whose last result is used although their key changed.
    pub keep_old: BTreeSet<StageId>,
    /// Past seconds above which a stage is not remade without consent.
    pub confirm_over_seconds: f64,
    /// No network.
    pub offline: bool,
    /// The program that supervises (`supervise`) and executes (`exec`); this one when empty.
    pub program: PathBuf,
    /// The command line, for the run's log.
    pub arguments: Vec<String>,
}

/// What a run did with a stage.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StageSummary {
    /// Display name.
    pub stage: String,
    /// How it ended.
    pub end: End,
    /// Seconds here, or when it was made.
    pub seconds: f64,
    /// Its key, where one was computed.
    pub key: Option<Digest>,
    /// Why it ran.
    pub because: String,
    /// Device of the result.
    pub device: String,
    /// Seconds from the run's start to its start, if it ran here.
    pub started_after_seconds: Option<f64>,
}

/// What a run did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RunSummary {
    /// Run id.
    pub run: String,
    /// Pipeline name.
    pub pipeline: String,
    /// Sums.
    pub counts: Counts,
    /// Wall seconds.
    pub wall_seconds: f64,
    /// Reports placed.
    pub reports: Vec<ReportPlace>,
    /// Each selected stage in workflow order.
    pub stages: Vec<StageSummary>,
    /// Warnings, in order.
    pub warnings: Vec<Diagnostic>,
    /// Errors of failed stages, in order.
    #[serde(skip)]
    pub failures: Vec<Diagnostic>,
    /// The class of the worst failure.
    #[serde(skip)]
    pub class: Option<Class>,
    /// The signal that ended it.
    pub interrupted: Option<String>,
    /// What unpinned downloads turned out to be, by stage.
    #[serde(skip)]
    pub pins: Vec<(String, Pin)>,
}

#[derive(Debug)]
enum State {
    /// Upstream stages are not known yet; so many.
    Waiting(usize),
    /// It can run.
    Ready,
    /// It can run at this time: a key is busy, or a retry waits.
    Later(Instant),
    /// A supervisor has it.
    Running(Running),
    /// It is over.
    Over(End),
}

#[derive(Debug)]
struct Running {
    key: Digest,
    started: Instant,
}

#[derive(Debug, Default)]
struct History {
    /// Tries so far.
    tries: u32,
    /// Times its inputs moved.
    moved: u32,
    /// Times its supervisor died.
    lost: u32,
    /// Why it runs.
    because: String,
    /// Whether its record does not count, and why.
    force: Force,
    /// Digests of its outputs before it is remade.
    before: Option<IndexEntry>,
    /// Whether waiting for another runner was said.
    waiting_said: bool,
    seconds: f64,
    started_after: Option<f64>,
    key: Option<Digest>,
}

/// A run at work.
pub(crate) struct Run<'a, 'o> {
    planner: Planner<'a>,
    options: &'o RunOptions,
    observer: &'o mut dyn Observer,
    log: RunLog,
    selected: Vec<StageId>,
    states: Vec<State>,
    histories: Vec<History>,
    downstream: Vec<Vec<StageId>>,
    ready: BTreeSet<StageId>,
    later: BTreeSet<StageId>,
    pool: Pool,
    messages: Receiver<RunMessage>,
    slots: Slots,
    started: Instant,
    stopping: Option<(i32, Instant)>,
    /// How often it was asked to kill what does not stop.
    kills: u32,
    failed: bool,
    warned: BTreeSet<String>,
    summary: RunSummary,
}

/// What wakes the run.
pub(crate) enum RunMessage {
    /// From a supervisor.
    Pool(PoolMessage),
    /// A signal to this process.
    Signal(i32),
}

/// Runs what has no record.
///
/// # Errors
/// Before any work: missing inputs, protected stages that would be remade, too few resources, an unusable cache.
/// What goes wrong in stages is in the summary.
pub fn run(
    workflow: &Workflow,
    store: &Store,
    kinds: &'static [KindEntry],
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<RunSummary, Failure> {
    let environment = |error: std::io::Error| {
        let diagnostic = Diagnostic::error("run::cache", format!("the cache `{}` cannot be used", store.dir().display()))
            .detail(error.to_string())
            .help("choose another place with `--cache`, or make this one writable and leave it some space");
        Failure::one(Class::Environment, diagnostic)
    };
    let started = Instant::now();
    let in_use = store.mark_in_use().map_err(environment)?;
    let killed = crate::exec::sweep::sweep(store);
    let planner = Planner::new(workflow, store, kinds).map_err(environment)?;
    let selected = selected(workflow, &options.targets);
    let (sender, messages) = mpsc::channel();
    let jobs = if options.jobs == 0 {
        slots::cores()
    } else {
        options.jobs
    };
    let count = workflow.stages.len();
    let run = crate::clock::new_run_id();
    let mut run = Run {
        log: RunLog::new(
            store,
            &run,
            workflow,
            &options.arguments,
            selected.len() == count,
        ),
        summary: RunSummary {
            run,
            pipeline: workflow.name.clone(),
            counts: Counts {
                total: selected.len(),
                ..Counts::default()
            },
            wall_seconds: 0.0,
            reports: Vec::new(),
            stages: Vec::new(),
            warnings: Vec::new(),
            failures: Vec::new(),
            class: None,
            interrupted: None,
            pins: Vec::new(),
        },
        planner,
        options,
        observer,
        states: std::iter::repeat_with(|| State::Waiting(0))
            .take(count)
            .collect(),
        histories: std::iter::repeat_with(History::default)
            .take(count)
            .collect(),
        downstream: vec![Vec::new(); count],
        selected,
        ready: BTreeSet::new(),
        later: BTreeSet::new(),
        pool: Pool::new(&options.program, jobs, sender),
        messages,
        slots: Slots::new(jobs),
        started,
        stopping: None,
        kills: 0,
        failed: false,
        warned: BTreeSet::new(),
    };
    run.begin()?;
    if killed > 0 {
        let processes = if killed == 1 {
            "1 process".to_owned()
        } else {
            format!("{killed} processes")
        };
        let warning = Diagnostic::warning(
            "run::leftovers",
            format!("an earlier run was killed and left {processes} at work; they were killed"),
        );
        run.warn(None, warning);
    }
    run.work();
    let summary = run.finish().map_err(environment)?;
    drop(in_use);
    Ok(summary)
}

/// The stages that bringing `targets` about takes, in workflow order; no target means all.
#[must_use]
pub fn selected(workflow: &Workflow, targets: &[StageId]) -> Vec<StageId> {
    if targets.is_empty() {
        return (0_u32..)
            .zip(&workflow.stages)
            .map(|(index, _)| StageId(index))
            .collect();
    }
    crate::graph::upstream(workflow, targets)
}

impl Run<'_, '_> {
    fn emit(&mut self, event: &Event) {
        self.log.event(event);
        self.observer.event(event);
    }

    fn warn(&mut self, stage: Option<StageId>, warning: Diagnostic) {
        // Said once a run: the same fact about the cache or about a file concerns every stage alike.
        if !self
            .warned
            .insert(format!("{} {}", warning.code, warning.message))
        {
            return;
        }
        let stage = stage.map(|id| self.planner.stage(id).name.clone());
        self.summary.warnings.push(warning.clone());
        self.emit(&Event::Message {
            stage,
            diagnostic: warning,
        });
    }

    fn set(&mut self, id: StageId, state: State) {
        self.ready.remove(&id);
        self.later.remove(&id);
        match &state {
            State::Ready => drop(self.ready.insert(id)),
            State::Later(_) => drop(self.later.insert(id)),
            _ => {}
        }
        self.states[id.index()] = state;
    }

    /// Looks at every selected stage once, in order. Whatever forbids the run is found here, before any work.
    fn begin(&mut self) -> Result<(), Failure> {
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
            let mut upstream: Vec<StageId> = inputs_of(self.planner.stage(id))
                .map(|output| output.stage)
                .collect();
            upstream.sort_unstable();
            upstream.dedup();
            for producer in &upstream {
                self.downstream[producer.index()].push(id);
            }
            let open = upstream
                .iter()
                .filter(|producer| self.planner.known(**producer).is_none())
                .count();
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

    /// Decides a stage whose upstream is known. Returns the message of a guard that holds it back.
    fn consider(&mut self, id: StageId) -> Result<Option<Diagnostic>, Diagnostic> {
        let stage = self.planner.stage(id);
        let decision = self.planner.decide(id)?;
        let is_forced = self.options.force.contains(&id) && self.histories[id.index()].tries == 0;
        match decision {
            Decision::Open => {
                let open = inputs_of(stage)
                    .filter(|output| self.planner.known(output.stage).is_none())
                    .count();
                self.set(id, State::Waiting(open.max(1)));
            }
            Decision::Hit(known) if is_forced => {
                let history = &mut self.histories[id.index()];
                (history.force, history.because) = (Force::Always, "forced".to_owned());
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
                        entry: crate::exec::job::entry_of(&old),
                    };
                    self.planner.learn(id, known.clone());
                    self.over_with_result(id, &known, End::Cached);
                    return Ok(None);
                }
                if let Some(guard) = self.guard(id, &key, &why) {
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

    fn guard(&mut self, id: StageId, key: &Digest, why: &Why) -> Option<Diagnostic> {
        if self.options.yes.contains(&id) || self.options.force.contains(&id) {
            return None;
        }
        let stage = self.planner.stage(id);
        let record = self.planner.last_record(stage, key)?;
        let dependents = crate::graph::downstream(self.planner.workflow, &[id])
            .len()
            .saturating_sub(1);
        guard::guard(
            stage,
            &record,
            why,
            dependents,
            self.options.confirm_over_seconds,
        )
    }

    /// A stage is over and its result known: tells dependents.
    fn over_with_result(&mut self, id: StageId, known: &Known, end: End) {
        let stage = self.planner.stage(id);
        self.histories[id.index()].key = Some(known.key);
        if let Some(rebuild) = self.publish(id, known)
            && self.stopping.is_none()
            && !matches!(end, End::Executed)
        {
            self.remake(id, rebuild);
            return;
        }
        if end == End::Cached {
            let event = Event::StageCached {
                stage: stage.name.clone(),
                key: known.key,
            };
            self.observer.event(&event);
        }
        self.over(id, end);
        for dependent in self.downstream[id.index()].clone() {
            if let State::Waiting(open) = &mut self.states[dependent.index()] {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.reconsider(dependent);
                }
            }
        }
    }

    /// Decides a stage in the middle of the run; what forbids it now is its own failure.
    fn reconsider(&mut self, id: StageId) {
        match self.consider(id) {
            Ok(None) => {}
            Ok(Some(guard)) => {
                self.fail(id, guard, Class::Input, End::Held);
            }
            Err(problem) => self.fail(id, problem, Class::Stage, End::Failed),
        }
    }

    fn over(&mut self, id: StageId, end: End) {
        self.set(id, State::Over(end));
    }

    fn fail(&mut self, id: StageId, diagnostic: Diagnostic, class: Class, end: End) {
        self.failed = true;
        self.summary.class = Some(match self.summary.class {
            Some(before) if severity(before) >= severity(class) => before,
            _ => class,
        });
        let stage = self.planner.stage(id).name.clone();
        self.summary.failures.push(diagnostic.clone());
        self.emit(&Event::Message {
            stage: Some(stage),
            diagnostic,
        });
        self.finished_event(id, end);
        self.over(id, end);
        self.skip_downstream(id);
    }

    fn finished_event(&mut self, id: StageId, end: End) {
        let history = &self.histories[id.index()];
        let event = Event::StageFinished {
            stage: self.planner.stage(id).name.clone(),
            end,
            seconds: history.seconds,
            key: history.key,
        };
        self.emit(&event);
    }

    fn skip_downstream(&mut self, id: StageId) {
        let mut stack = self.downstream[id.index()].clone();
        while let Some(next) = stack.pop() {
            if matches!(
                self.states[next.index()],
                State::Waiting(_) | State::Ready | State::Later(_)
            ) {
                self.over(next, End::Skipped);
                stack.extend(self.downstream[next.index()].iter().copied());
            }
        }
    }

    /// Sends a stage whose result is known, but not its bytes, to be made again.
    fn remake(&mut self, id: StageId, because: String) {
        let before = self.planner.known(id).map(|known| known.entry.clone());
        self.planner.forget(id);
        let history = &mut self.histories[id.index()];
        if history.before.is_none() {
            history.before = before;
        }
        history.force = Force::IfIncomplete;
        history.because = because;
        self.set(id, State::Ready);
    }

    fn work(&mut self) {
        loop {
            self.dispatch();
            let is_idle = self.pool.running() == 0;
            if is_idle && (self.is_ending() || (self.ready.is_empty() && self.later.is_empty())) {
                break;
            }
            let wait = if is_idle && self.later.is_empty() {
                Duration::ZERO
            } else {
                TICK
            };
            match self.messages.recv_timeout(wait) {
                Ok(message) => {
                    self.take(message);
                    while let Ok(message) = self.messages.try_recv() {
                        self.take(message);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.observer.tick();
                }
            }
        }
        for id in self.selected.clone() {
            if !matches!(self.states[id.index()], State::Over(_)) {
                self.over(id, End::Skipped);
            }
        }
    }

    /// Whether no new stage may start.
    fn is_ending(&self) -> bool {
        self.stopping.is_some() || (self.failed && !self.options.keep_going)
    }

    fn dispatch(&mut self) {
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
        while self.pool.has_room() && !self.is_ending() {
            let (planner, slots) = (&self.planner, &mut self.slots);
            let next = self
                .ready
                .iter()
                .copied()
                .find(|id| slots.fits(planner.stage(*id)));
            match next {
                Some(id) => self.start(id),
                None => break,
            }
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
            policy: stage.policy.clone(),
            gpus,
            offline: self.options.offline,
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
        let event = Event::StageStarted {
            stage: stage.name.clone(),
            key,
            because: history.because.clone(),
            attempt: history.tries + 1,
            expected_seconds,
        };
        // A key that another runner holds is asked for again and again; one start is enough to say.
        if !history.waiting_said {
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

    fn open_upstream(&self, id: StageId) -> usize {
        let mut open: Vec<StageId> = inputs_of(self.planner.stage(id))
            .map(|output| output.stage)
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

    fn take(&mut self, message: RunMessage) {
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
                        self.observer
                            .event(&Event::StageProgress { stage, progress });
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
            return self.again(id);
        }
        if let State::Running(running) = &self.states[id.index()] {
            crate::exec::process::kill_leftovers(&[self.planner.store.work_path(&running.key)]);
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
            Outcome::Busy { holder } => {
                if !self.histories[id.index()].waiting_said {
                    self.histories[id.index()].waiting_said = true;
                    self.emit(&Event::StageWaiting {
                        stage: stage.name.clone(),
                        holder,
                    });
                }
                self.set(id, State::Later(Instant::now() + TICK));
            }
            Outcome::InputMissing { warnings, .. } => {
                for warning in warnings {
                    self.warn(Some(id), warning);
                }
                self.again(id);
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
                if let Err(error) = self.planner.forget_paths() {
                    let problem = Diagnostic::error("run::cache", "the cache cannot be written")
                        .detail(error.to_string());
                    return self.fail(id, problem, Class::Environment, End::Failed);
                }
                self.again(id);
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
                let history = &mut self.histories[id.index()];
                history.tries += 1;
                if may_pass && history.tries <= stage.policy.retries && self.stopping.is_none() {
                    let wait = FIRST_BACKOFF
                        .saturating_mul(1 << (history.tries - 1).min(6))
                        .min(LONGEST_BACKOFF);
                    let event = Event::StageRetried {
                        stage: stage.name.clone(),
                        message: diagnostic.message,
                        wait_seconds: wait.as_secs_f64(),
                    };
                    self.emit(&event);
                    self.set(id, State::Later(Instant::now() + wait));
                } else {
                    self.fail(id, diagnostic, class, End::Failed);
                }
            }
        }
    }

    fn again(&mut self, id: StageId) {
        self.set(id, State::Ready);
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
            let warning = Diagnostic::warning(
                "run::not_reproduced",
                format!("`{stage}` was made again and gave other bytes: {}", changed.join(", ")),
            )
            .detail("the new result is recorded; what depends on it is decided by its bytes")
            .help("look for clocks, random numbers without a seed, file order, or threads in the stage");
            self.warn(Some(id), warning);
        }
    }

    /// Large objects are trusted while their stamp stands still; this is when it is known to be right.
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

    fn finish(mut self) -> std::io::Result<RunSummary> {
        self.pool.close();
        self.place_reports();
        self.drop_unkept();
        let mut keys = Vec::new();
        for id in &self.selected {
            let stage = self.planner.stage(*id);
            let history = &self.histories[id.index()];
            let State::Over(end) = &self.states[id.index()] else {
                continue;
            };
            let counts = &mut self.summary.counts;
            match end {
                End::Executed => counts.executed += 1,
                End::Cached | End::Shared => counts.cached += 1,
                End::Failed | End::Held => counts.failed += 1,
                End::Skipped | End::Stopped => counts.skipped += 1,
            }
            let known = self.planner.known(*id);
            if let Some(known) = known {
                keys.push((stage.name.clone(), known.key));
            }
            self.summary.stages.push(StageSummary {
                stage: stage.name.clone(),
                end: *end,
                seconds: match (end, known) {
                    (End::Cached, Some(known)) => known.entry.seconds,
                    _ => history.seconds,
                },
                key: history.key.or(known.map(|known| known.key)),
                because: history.because.clone(),
                device: known
                    .map(|known| known.entry.device.clone())
                    .unwrap_or_default(),
                started_after_seconds: history.started_after,
            });
        }
        self.summary.wall_seconds = self.started.elapsed().as_secs_f64();
        let event = Event::RunFinished {
            counts: self.summary.counts,
            wall_seconds: self.summary.wall_seconds,
            reports: self.summary.reports.clone(),
            interrupted: self.summary.interrupted.clone(),
        };
        self.emit(&event);
        if self.log.finish(&keys)? {
            for id in self.selected.clone() {
                if let Some(key) = self.planner.known(id).map(|known| known.key) {
                    self.planner.note_key(self.planner.stage(id), key);
                }
            }
        }
        self.planner.flush()?;
        if self.planner.index.wants_rewrite() {
            self.planner.index.rewrite(self.planner.store)?;
        }
        Ok(self.summary)
    }

    /// Removes the bytes of outputs that were asked to be kept only until used, once every reader is done.
    fn drop_unkept(&mut self) {
        use crate::spec::Keep;
        if self.failed || self.stopping.is_some() {
            return;
        }
        let stages = &self.planner.workflow.stages;
        if stages.iter().all(|stage| {
            stage
                .outputs
                .iter()
                .all(|output| output.keep == Keep::Always)
        }) {
            return;
        }
        let (mut keep, mut drop_) = (BTreeSet::new(), BTreeSet::new());
        for (index, stage) in stages.iter().enumerate() {
            let id = StageId(u32::try_from(index).expect("stages are numbered in 32 bits"));
            let Some(known) = self.planner.known(id) else {
                continue;
            };
            for (name, content) in &known.entry.outputs {
                let policy = stage
                    .outputs
                    .iter()
                    .find(|output| output.name == *name)
                    .map(|output| output.keep);
                let parts = self.planner.store.parts(content);
                if policy.unwrap_or_default() == Keep::Always {
                    keep.extend(parts);
                } else {
                    drop_.extend(parts);
                }
            }
        }
        for digest in drop_.difference(&keep) {
            let _ = fs_err::remove_file(self.planner.store.object_path(digest));
        }
    }
}

/// Which of several failures decides the exit code, whatever came first.
fn severity(class: Class) -> u8 {
    match class {
        Class::Stage => 0,
        Class::Input => 1,
        Class::Environment => 2,
        Class::Bug => 3,
    }
}
