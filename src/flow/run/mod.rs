//! One run: decides stages in order, sends jobs out, takes answers in, until nothing is left to do.
//!
//! A stage moves `Waiting -> Ready -> Running -> Over`; [`Run::set`] is the only place its state changes. A stage
//! whose upstream must be remade goes back to `Waiting`. Results are decided by [`Planner::decide`] alone.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::diagnostic::{Class, Diagnostic, Failure, Severity};
use crate::event::{Counts, End, Event, Observer};
use crate::exec::job::Force;
use crate::kind::KindEntry;
use crate::plan::{Known, Planner};
use crate::spec::{StageId, Workflow};
use crate::store::Store;

mod decide;
mod finish;
mod guard;
pub mod live;
mod log;
mod outcome;
mod pool;
mod publish;
pub mod pulse;
pub mod slots;
mod start;
mod state;
mod summary;
mod unkept;
pub mod watch;

pub use log::{RunFacts, RunLine, RunLog, read_runs};
use pool::{Pool, PoolMessage};
pub use publish::conflicts as publish_conflicts;
use slots::Slots;
use state::{History, Running, State};
pub use summary::{AutoDevice, RunOptions, RunSummary, StageSummary};

/// How long a busy key or a redraw waits.
const TICK: Duration = Duration::from_millis(100);
/// The longest wait, in ticks, before a key that another runner has is looked at again.
const LONGEST_LOOK: u32 = 10;
/// The first wait before a retry; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait before a retry.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How often a stage is planned anew because its inputs move while they are read.
const MOVING_INPUTS: u32 = 3;
/// How often a stage that had not started is given to another supervisor when its own died.
const LOST_BEFORE: u32 = 3;
/// How often a run makes the bytes of one stage again: a disk that loses them must not keep it busy for ever.
const MOST_REMAKES: u32 = 3;

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
    /// Where the search among them begins: in runs that share the work, not at the same stage.
    first: StageId,
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
    let first = match options.cooperates {
        true => StageId(spread(&run, count)),
        false => StageId(0),
    };
    let mut run = Run {
        log: RunLog::new(
            store,
            &run,
            workflow,
            &options.arguments,
            (selected.len() < count).then_some(options.targets.as_slice()),
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
        first,
        later: BTreeSet::new(),
        pool: Pool::new(options, jobs, sender),
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
    let summary = run.finish(&in_use).map_err(environment)?;
    drop(in_use);
    Ok(summary)
}

/// A place among `count`, another one for each run.
fn spread(run: &str, count: usize) -> u32 {
    let number = run.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    number % u32::try_from(count.max(1)).unwrap_or(u32::MAX)
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

    /// A stage is over and its result known: tells dependents.
    fn over_with_result(&mut self, id: StageId, known: &Known, end: End) {
        let stage = self.planner.stage(id);
        self.histories[id.index()].key = Some(known.key);
        if let Some(rebuild) = self.publish(id, known)
            && self.stopping.is_none()
            && !matches!(end, End::Executed)
        {
            match self.guard_lost(id, "they are to be published".to_owned()) {
                None => return self.remake(id, rebuild),
                // The result stands without them, and what hangs on it may go on.
                Some(guard) => {
                    let severity = Severity::Warning;
                    self.warn(Some(id), Diagnostic { severity, ..guard });
                }
            }
        }
        if end == End::Cached {
            let event = Event::StageCached {
                stage: stage.name.clone(),
                key: known.key,
            };
            self.emit(&event);
        }
        self.over(id, end);
        for dependent in self.downstream[id.index()].clone() {
            // Which stages it waits for may change with a choice: then they are counted anew.
            let may_change = !self.planner.workflow.stages[dependent.index()]
                .choices
                .is_empty();
            if let State::Waiting(open) = &mut self.states[dependent.index()] {
                *open = open.saturating_sub(1);
                if *open == 0 || may_change {
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

    /// Says that a stage which was said to start is put back, and why; it starts again when it can.
    fn put_back(&mut self, id: StageId, message: String, wait: Duration) {
        if !std::mem::take(&mut self.histories[id.index()].is_open) {
            return;
        }
        let event = Event::StageRetried {
            stage: self.planner.stage(id).name.clone(),
            message,
            wait_seconds: wait.as_secs_f64(),
        };
        self.emit(&event);
    }

    /// A stage that will not run; whoever heard of its start hears of its end.
    fn skip(&mut self, id: StageId) {
        if self.histories[id.index()].starts > 0 {
            self.finished_event(id, End::Skipped);
        }
        self.over(id, End::Skipped);
    }

    fn finished_event(&mut self, id: StageId, end: End) {
        self.histories[id.index()].is_open = false;
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
                self.skip(next);
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
        history.remade += 1;
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
            self.log.tick();
        }
        for id in self.selected.clone() {
            if !matches!(self.states[id.index()], State::Over(_)) {
                self.skip(id);
            }
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
