//! Every stage of a pipeline as it stands: what the plan says, then what the events of a run say. Knows no files, no HTML.

use std::collections::BTreeMap;

use flow::diagnostic::Diagnostic;
use flow::digest::Digest;
use flow::event::{Counts, Progress, ReportPlace};
use flow::graph::awaited;
use flow::run::watch::Head;
use flow::spec::Workflow;

use crate::console::pace::Pace;

mod events;
#[cfg(test)]
mod tests;

/// More names of stages than this are not drawn one by one.
const MOST_GROUPS: usize = 150;

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
