//! Every stage of a pipeline as it stands: what the plan says, then what the events of a run say. Knows no files, no HTML.

use std::collections::BTreeMap;

use flow::diagnostic::{Diagnostic, Severity};
use flow::digest::Digest;
use flow::event::{Counts, End, Event, Progress, ReportPlace};
use flow::graph::awaited;
use flow::run::watch::{Head, Line, Seen};
use flow::spec::Workflow;

use crate::console::pace::Pace;

/// More names of stages than this are not drawn one by one.
const MOST_GROUPS: usize = 150;
/// Stages that only a log names, and bytes of such a name.
const MOST_STRANGERS: usize = 10_000;
const LONGEST_NAME: usize = 1_000;
/// Warnings kept.
const MOST_WARNINGS: usize = 50;

/// Where a stage stands. The order is that of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It failed, or was held back.
    Failed,
    /// It was stopped with its run.
    Stopped,
    /// It is at work.
    Running,
    /// It waits for another runner, or for its next try.
    Pausing,
    /// Its turn is to come; without a run: it has no result.
    Left,
    /// What it needs failed.
    Skipped,
    /// It ran and has a result.
    Done,
    /// It had a result.
    Cached,
}

impl State {
    /// All, in the order of bars: what is done first.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Cached,
        Self::Running,
        Self::Pausing,
        Self::Failed,
        Self::Stopped,
        Self::Skipped,
        Self::Left,
    ];

    /// The word people read; also its class in the style.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Pausing => "waiting",
            Self::Left => "left",
            Self::Skipped => "skipped",
            Self::Done => "done",
            Self::Cached => "cached",
        }
    }

    /// Whether it has a result.
    #[must_use]
    pub fn is_made(self) -> bool {
        matches!(self, Self::Done | Self::Cached)
    }
}

/// What the plan says of a stage before any run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stand {
    /// Its key, where it has a result.
    pub key: Option<Digest>,
    /// Seconds it took the last time.
    pub past_seconds: Option<f64>,
}

/// One stage.
#[derive(Debug)]
pub struct Cell {
    /// Its display name.
    pub name: String,
    /// Its kind; empty for one the file does not have any more.
    pub kind: String,
    /// Its group.
    pub group: usize,
    /// Where it stands.
    pub state: State,
    /// Its key, where it is known.
    pub key: Option<Digest>,
    /// Why it runs.
    pub because: String,
    /// Which try it is.
    pub attempt: u32,
    /// When it began, seconds since 1970.
    pub began: Option<f64>,
    /// Seconds it ran in this run.
    pub seconds: Option<f64>,
    /// Seconds it took the last time.
    pub past_seconds: Option<f64>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// How fast.
    pub pace: Pace,
    /// For whom or what it waits.
    pub waits: String,
    /// The error it failed with.
    pub error: Option<Diagnostic>,
}

/// Stages that are shown together: those of one name, as a rule.
#[derive(Debug)]
pub struct Group {
    /// The name in the file.
    pub name: String,
    /// The kind; empty where there are several.
    pub kind: String,
    /// Positions of its cells.
    pub cells: Vec<usize>,
    /// Positions of the groups it needs.
    pub needs: Vec<usize>,
    /// How many of its cells are in each state, by [`State::ALL`].
    pub counts: [usize; 8],
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Sums.
    pub counts: Counts,
    /// Wall seconds.
    pub seconds: f64,
    /// The signal that ended it.
    pub interrupted: Option<String>,
    /// Reports it left.
    pub reports: Vec<ReportPlace>,
}

/// The stages and the run.
#[derive(Debug, Default)]
pub struct Board {
    /// The pipeline's name.
    pub pipeline: String,
    /// What the pipeline is about.
    pub doc: String,
    /// Stages in order.
    pub cells: Vec<Cell>,
    /// Groups in order.
    pub groups: Vec<Group>,
    /// The run's first line.
    pub head: Option<Head>,
    /// When the run began, seconds since 1970.
    pub began: Option<f64>,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// Warnings of the run.
    pub warnings: Vec<String>,
    /// Warnings that were not kept.
    pub more_warnings: usize,
    /// Stages that only the log names.
    strangers: usize,
    by_name: BTreeMap<String, usize>,
    group_by_name: BTreeMap<String, usize>,
}

impl Cell {
    /// About how many seconds a stage at work still takes: at its pace, before there is one by the share it did, else by
    /// what it or its like took.
    pub fn seconds_left(&mut self, now: f64, usual: Option<f64>) -> Option<f64> {
        let total = self.progress.as_ref().and_then(|progress| progress.total);
        self.pace.refresh(now, total);
        let elapsed = self.began.map_or(0.0, |began| (now - began).max(0.0));
        let by_share = || {
            let progress = self.progress.as_ref()?;
            let (done, total) = (to_float(progress.done), to_float(progress.total?));
            (done > 0.0 && elapsed > 2.0).then(|| elapsed * (total - done).max(0.0) / done)
        };
        let by_past = || Some((usual? - elapsed).max(0.0));
        (self.pace.seconds_left(now))
            .or_else(by_share)
            .or_else(by_past)
    }
}

fn to_float(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share is shown in percent")]
    let float = count as f64;
    float
}

impl Board {
    /// The stages of a workflow, each with its stand.
    #[must_use]
    pub fn new(workflow: &Workflow, stands: &[Stand]) -> Self {
        let mut board = Self {
            pipeline: workflow.name.clone(),
            doc: workflow.doc.clone().unwrap_or_default(),
            ..Self::default()
        };
        let names = group_names(workflow);
        for (at, stage) in workflow.stages.iter().enumerate() {
            let stand = stands.get(at).copied().unwrap_or_default();
            let cell = board.add(&stage.name, &names[at], &stage.kind);
            board.cells[cell].past_seconds = stand.past_seconds;
            board.cells[cell].key = stand.key;
            if stand.key.is_some() {
                board.set(cell, State::Cached);
            }
            let group = board.cells[cell].group;
            for source in awaited(stage) {
                let from = board.cells[source.index()].group;
                if from != group && !board.groups[group].needs.contains(&from) {
                    board.groups[group].needs.push(from);
                }
            }
        }
        board
    }

    fn add(&mut self, name: &str, group_name: &str, kind: &str) -> usize {
        let group = match self.group_by_name.get(group_name) {
            Some(group) => *group,
            None => {
                self.groups.push(Group {
                    name: group_name.to_owned(),
                    kind: kind.to_owned(),
                    cells: Vec::new(),
                    needs: Vec::new(),
                    counts: [0; 8],
                });
                let group = self.groups.len() - 1;
                self.group_by_name.insert(group_name.to_owned(), group);
                group
            }
        };
        let at = self.cells.len();
        if self.groups[group].kind != kind {
            self.groups[group].kind.clear();
        }
        self.groups[group].cells.push(at);
        self.groups[group].counts[place(State::Left)] += 1;
        self.by_name.insert(name.to_owned(), at);
        self.cells.push(Cell {
            name: name.to_owned(),
            kind: kind.to_owned(),
            group,
            state: State::Left,
            key: None,
            because: String::new(),
            attempt: 0,
            began: None,
            seconds: None,
            past_seconds: None,
            progress: None,
            pace: Pace::default(),
            waits: String::new(),
            error: None,
        });
        at
    }

    fn set(&mut self, cell: usize, state: State) {
        let group = self.cells[cell].group;
        let counts = &mut self.groups[group].counts;
        counts[place(self.cells[cell].state)] -= 1;
        counts[place(state)] += 1;
        self.cells[cell].state = state;
    }

    /// The position of a stage by its display name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How many stages are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        let place = place(state);
        self.groups.iter().map(|group| group.counts[place]).sum()
    }

    /// Positions of the stages in a state, in order.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = usize> + '_ {
        let place = place(state);
        let groups = self
            .groups
            .iter()
            .filter(move |group| group.counts[place] > 0);
        let cells = groups.flat_map(|group| group.cells.iter().copied());
        cells.filter(move |cell| self.cells[*cell].state == state)
    }

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

    /// About how many seconds the run still takes, at the pace of now, and whether that is all of it. Nothing is
    /// known without a past.
    pub fn seconds_left(&mut self, now: f64) -> Option<(f64, bool)> {
        let mut means = vec![(0.0, 0.0); self.groups.len()];
        for cell in &self.cells {
            if let (State::Done, Some(seconds)) = (cell.state, cell.seconds) {
                means[cell.group].0 += seconds;
                means[cell.group].1 += 1.0;
            }
        }
        let (mut sum, mut longest, mut is_all, mut known) = (0.0_f64, 0.0_f64, true, 0);
        for cell in &mut self.cells {
            let (total, count) = means[cell.group];
            let mean = (count > 0.0).then_some(total / count).or(cell.past_seconds);
            let left = match cell.state {
                State::Left => mean,
                State::Running | State::Pausing => cell.seconds_left(now, mean),
                _ => continue,
            };
            match left {
                Some(left) => {
                    known += 1;
                    sum += left;
                    longest = longest.max(left);
                }
                None => is_all = false,
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of processes")]
        let at_once = self.count(State::Running).max(1) as f64;
        (known > 0).then_some(((sum / at_once).max(longest), is_all))
    }
}

fn place(state: State) -> usize {
    State::ALL
        .iter()
        .position(|other| *other == state)
        .unwrap_or_default()
}

fn seconds(time_ns: i128) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
    let seconds = time_ns as f64 / 1e9;
    seconds
}

/// The group of each stage: its name in the file; where these are too many, how deep it lies; else all are one.
fn group_names(workflow: &Workflow) -> Vec<String> {
    let stages = &workflow.stages;
    let few = |names: &[String]| {
        let mut names: Vec<&String> = names.iter().collect();
        names.sort_unstable();
        names.dedup();
        names.len() <= MOST_GROUPS
    };
    let by_name: Vec<String> = stages.iter().map(|stage| stage.stage.clone()).collect();
    if few(&by_name) {
        return by_name;
    }
    let mut depths: Vec<usize> = Vec::with_capacity(stages.len());
    for stage in stages {
        let sources = awaited(stage);
        let above = sources.map(|source| depths[source.index()] + 1).max();
        depths.push(above.unwrap_or_default());
    }
    let by_depth: Vec<String> = (depths.iter())
        .map(|depth| format!("level {}", depth + 1))
        .collect();
    if few(&by_depth) {
        return by_depth;
    }
    vec!["all stages".to_owned(); stages.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(stages: &[&str]) -> Board {
        let mut board = Board::default();
        for name in stages {
            let group = name.split('[').next().unwrap_or(name);
            board.add(name, group, "command");
        }
        board
    }

    fn event(board: &mut Board, seconds: i128, event: Event) {
        let time_ns = Some(seconds * 1_000_000_000);
        let line = Line::Event(Box::new(event));
        board.take(&Seen { time_ns, line });
    }

    fn started(stage: &str) -> Event {
        Event::StageStarted {
            stage: stage.into(),
            key: Digest::ZERO,
            because: "new".into(),
            attempt: 1,
            expected_seconds: None,
        }
    }

    fn finished(stage: &str, end: End, seconds: f64) -> Event {
        Event::StageFinished {
            stage: stage.into(),
            end,
            seconds,
            key: None,
        }
    }

    #[test]
    fn a_damaged_log_adds_so_many_stages_and_no_more() {
        let mut board = board(&["a"]);
        let names = (0..MOST_STRANGERS + 5).map(|i| format!("x{i}"));
        let line = Line::Cached(names.chain(["a".to_owned()]).collect());
        let time_ns = None;
        board.take(&Seen { time_ns, line });
        assert_eq!(board.cells.len(), 1 + MOST_STRANGERS);
        assert_eq!(board.count(State::Cached), 1 + MOST_STRANGERS);
        event(&mut board, 1, started("one too many"));
        event(&mut board, 1, started("a"));
        assert_eq!(board.in_state(State::Running).collect::<Vec<_>>(), [0]);
        let mut other = Board::default();
        event(&mut other, 1, started(&"long".repeat(LONGEST_NAME)));
        assert!(other.cells.is_empty());
    }

    #[test]
    fn time_left_is_what_the_like_took_shared_among_those_at_work() {
        let mut board = board(&["a[1]", "a[2]", "a[3]", "a[4]", "b"]);
        event(&mut board, 100, started("a[1]"));
        assert_eq!(board.seconds_left(105.0), None, "nothing is known yet");
        event(&mut board, 110, finished("a[1]", End::Executed, 10.0));
        event(&mut board, 110, started("a[2]"));
        event(&mut board, 110, started("a[3]"));
        // 6 s of each of two at work and 10 s of one to come, two at once; `b` is unknown.
        assert_eq!(board.seconds_left(114.0), Some((11.0, false)));
        board.cells[4].past_seconds = Some(30.0);
        assert_eq!(
            board.seconds_left(114.0),
            Some((30.0, true)),
            "no less than the longest"
        );
    }

    #[test]
    fn what_a_run_did_not_reach_is_skipped() {
        let mut board = board(&["a", "b", "c", "d"]);
        let head = Head {
            whole: true,
            ..Head::default()
        };
        let line = Line::Head(head);
        board.take(&Seen {
            time_ns: None,
            line,
        });
        let line = Line::Cached(vec!["a".into()]);
        board.take(&Seen {
            time_ns: None,
            line,
        });
        event(&mut board, 1, started("b"));
        event(&mut board, 2, finished("b", End::Failed, 1.0));
        let counts = Counts {
            total: 4,
            failed: 1,
            skipped: 1,
            ..Counts::default()
        };
        let over = Event::RunFinished {
            counts,
            wall_seconds: 2.0,
            reports: Vec::new(),
            interrupted: None,
        };
        event(&mut board, 2, over);
        let keys = BTreeMap::from([
            ("a".to_owned(), Digest::ZERO),
            ("d".to_owned(), Digest::ZERO),
        ]);
        let line = Line::Keys(keys);
        board.take(&Seen {
            time_ns: None,
            line,
        });
        let states: Vec<&str> = board.cells.iter().map(|cell| cell.state.word()).collect();
        assert_eq!(states, ["cached", "failed", "skipped", "cached"]);
    }
}
