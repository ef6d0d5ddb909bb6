//! The rows of `pipeline plan`: what would run, certainly or possibly, why, and for how long.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Decision, Offer, Planner, inputs_of};
use crate::cost::Cost;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::spec::{StageId, StageSpec};
use crate::store::index::IndexEntry;

/// A row of `pipeline plan`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanRow {
    /// Display name.
    pub stage: String,
    /// What a run would do.
    pub state: PlanState,
    /// Why, in a few words.
    pub because: String,
    /// Expected wall seconds.
    pub seconds: Option<f64>,
    /// By what they are expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_by: Option<SecondsBy>,
    /// Expected floating-point operations, for kinds that know.
    pub flop: Option<f64>,
    /// The same on a device that computes padding too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padded_flop: Option<f64>,
    /// Tokens that pass through a network, once for each pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// In what it multiplies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<&'static str>,
    /// Bytes its outputs take or took.
    pub bytes: Option<u64>,
    /// Bytes more while it runs, for kinds that know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch_bytes: Option<u64>,
    /// Bytes of a GPU's memory, for kinds that know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    /// What was assumed of what is not known yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// What it could go on from instead of beginning anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// Addresses that it would have to ask and must not, where the network is forbidden; filled in by who forbids it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<String>,
    /// Files that it would take from this machine and that are not there, a fragment each; filled in likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// The stage whose choice decides which of those it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_choice: Option<String>,
}

/// Where an expected time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondsBy {
    /// The stage took so long when it last ran.
    Past,
    /// Operations over the speed of a device.
    Speed,
}

/// What a run would do with a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Nothing: it has a record.
    Cached,
    /// Run it, certainly.
    WillRun,
    /// Run it, unless what runs before it gives the same bytes as last time.
    MayRun,
}

/// Plans the stages of `selected` (in workflow order): what would run, certainly or possibly, and why.
///
/// # Errors
/// All missing or unreadable inputs at once.
pub fn plan_rows(
    planner: &mut Planner<'_>,
    selected: &[StageId],
    forced: &BTreeSet<StageId>,
) -> Result<Vec<PlanRow>, Vec<Diagnostic>> {
    let mut rows: Vec<PlanRow> = Vec::with_capacity(selected.len());
    let mut problems = Vec::new();
    let mut misses: Vec<StageId> = Vec::new();
    let mut remade: BTreeMap<StageId, String> = BTreeMap::new();
    for id in selected {
        let stage = planner.stage(*id);
        let row = match planner.decide(*id) {
            Err(problem) => {
                problems.push(problem);
                continue;
            }
            Ok(Decision::Hit(_)) if forced.contains(id) => {
                planner.forget(*id);
                misses.push(*id);
                row(planner, stage, PlanState::WillRun, "forced".to_owned())
            }
            Ok(Decision::Hit(known)) => PlanRow {
                bytes: Some(bytes_of(&known.entry)),
                ..PlanRow::new(stage, PlanState::Cached, String::new())
            },
            Ok(Decision::Miss { key, manifest }) => {
                misses.push(*id);
                let because = planner.why(stage, &key, &manifest).words();
                PlanRow {
                    offer: planner.offer(stage, &key, &manifest),
                    ..row(planner, stage, PlanState::WillRun, because)
                }
            }
            Ok(Decision::Open) => {
                let because = match planner.undecided(*id) {
                    Some(chooser) => {
                        format!("waits for the choice of `{}`", planner.stage(chooser).name)
                    }
                    None => format!("depends on {}", open_upstream(planner, stage)),
                };
                row(planner, stage, PlanState::MayRun, because)
            }
        };
        rows.push(row);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // What runs reads objects; a cached producer whose object is gone runs too.
    let mut wanted = misses;
    while let Some(id) = wanted.pop() {
        for output in inputs_of(planner.stage(id)) {
            let Some(known) = planner.known(output.stage) else {
                continue;
            };
            let is_there = known
                .entry
                .output(&output.output)
                .is_some_and(|content| planner.store.has(content));
            if !is_there && !remade.contains_key(&output.stage) {
                remade.insert(
                    output.stage,
                    format!(
                        "`{}` needs its output `{}`, which is not in the cache",
                        planner.stage(id).name,
                        output.output
                    ),
                );
                wanted.push(output.stage);
            }
        }
    }
    for (row, id) in rows.iter_mut().zip(selected) {
        if let Some(because) = remade.remove(id) {
            let stage = planner.stage(*id);
            let seconds = planner.known(*id).map(|known| known.entry.seconds);
            *row = PlanRow {
                seconds,
                seconds_by: seconds.map(|_| SecondsBy::Past),
                bytes: row.bytes,
                ..PlanRow::new(stage, PlanState::WillRun, because)
            };
        }
    }
    let mut costs = planner.costs(selected);
    for (row, id) in rows.iter_mut().zip(selected) {
        if let Some(cost) = costs.remove(id).filter(|_| row.state != PlanState::Cached) {
            row.add(cost);
        }
    }
    Ok(rows)
}

impl PlanRow {
    fn new(stage: &StageSpec, state: PlanState, because: String) -> Self {
        Self {
            stage: stage.name.clone(),
            state,
            because,
            seconds: None,
            seconds_by: None,
            flop: None,
            padded_flop: None,
            tokens: None,
            precision: None,
            bytes: None,
            scratch_bytes: None,
            device_bytes: None,
            assumed: Vec::new(),
            offer: None,
            forbidden: Vec::new(),
            absent: Vec::new(),
            by_choice: None,
        }
    }

    /// What its kind says. Bytes of the past are better known.
    fn add(&mut self, cost: Cost) {
        self.flop = cost.flop;
        self.padded_flop = cost.padded_flop;
        self.tokens = cost.tokens;
        self.precision = cost.precision;
        self.bytes = self.bytes.or(cost.bytes);
        self.scratch_bytes = cost.scratch_bytes;
        self.device_bytes = cost.device_bytes;
        self.assumed = cost.assumed;
    }
}

fn row(planner: &mut Planner<'_>, stage: &StageSpec, state: PlanState, because: String) -> PlanRow {
    let last = planner
        .last_key(stage)
        .filter(|key| is_alike(planner, stage, key));
    let last = last.and_then(|key| planner.index.find(&key));
    PlanRow {
        seconds: last.as_ref().map(|entry| entry.seconds),
        seconds_by: last.as_ref().map(|_| SecondsBy::Past),
        bytes: last.as_ref().map(bytes_of),
        ..PlanRow::new(stage, state, because)
    }
}

/// Whether a past result tells what this one will take. Where a kind can say so itself its configuration must be as it
/// was: twice the steps take twice the time.
fn is_alike(planner: &Planner<'_>, stage: &StageSpec, last: &Digest) -> bool {
    if !planner.knows_costs(&stage.kind) {
        return true;
    }
    let is_config = |line: &&str| line.starts_with("config.");
    let record = planner.store.find_record(last);
    record.is_some_and(|record| {
        let before = record.manifest.lines().filter(is_config);
        before.eq(stage.lines_before.lines().filter(is_config))
    })
}

fn bytes_of(entry: &IndexEntry) -> u64 {
    entry.outputs.iter().map(|(_, content)| content.bytes).sum()
}

fn open_upstream(planner: &Planner<'_>, stage: &StageSpec) -> String {
    let mut open: Vec<&str> = inputs_of(stage)
        .filter(|output| planner.known(output.stage).is_none())
        .map(|output| planner.stage(output.stage).name.as_str())
        .collect();
    open.dedup();
    match open.as_slice() {
        [] => "its inputs".to_owned(),
        [one] => format!("`{one}`"),
        [first, rest @ ..] => format!("`{first}` and {} more", rest.len()),
    }
}
