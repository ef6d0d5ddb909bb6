//! One line an instance: where it stands, what it measured, how long it took. Takes no lock and starts nothing; knows
//! nothing of tables.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;

use crate::clock;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::exec::last_attempt;
use crate::graph::upstream;
use crate::metric::MetricRow;
use crate::plan::{Decision, Planner};
use crate::run::live::live_runs;
use crate::spec::{METRICS, StageId};
use crate::store::Store;

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has a result under its present key.
    Cached,
    /// Somebody is making it.
    Running,
    /// A run that is at work will come to it.
    Waiting,
    /// Its last attempt under its present key failed.
    Failed,
    /// It has no result under its present key.
    Outdated,
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Outdated => "outdated",
        }
    }
}

/// One instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Which.
    pub id: StageId,
    /// Where it stands.
    pub standing: Standing,
    /// Why it stands there, in a few words; empty when it is cached.
    pub because: String,
    /// Its key, where its inputs are known.
    pub key: Option<Digest>,
    /// Wall seconds: of its result, or since the attempt that is running began.
    pub seconds: Option<f64>,
    /// The device its result was made on.
    pub device: Option<String>,
    /// Its numbers; none without a result.
    pub numbers: Vec<MetricRow>,
    /// Whether it has numbers that the cache does not hold any more.
    pub numbers_gone: bool,
}

/// Every instance of `shown`, in the workflow's order, as it is now: records, attempts and the logs of runs are read.
///
/// # Errors
/// All missing or unreadable inputs at once.
pub fn instances(
    planner: &mut Planner<'_>,
    shown: &[StageId],
) -> Result<Vec<Instance>, Vec<Diagnostic>> {
    let wanted: BTreeSet<StageId> = shown.iter().copied().collect();
    let ahead: BTreeSet<StageId> = live_runs(planner.workflow, planner.store)
        .into_iter()
        .flat_map(|run| run.ahead)
        .collect();
    let mut instances = Vec::with_capacity(shown.len());
    let mut metrics: Vec<Option<Digest>> = Vec::with_capacity(shown.len());
    let mut problems = Vec::new();
    for id in upstream(planner.workflow, shown) {
        let decision = match planner.decide(id) {
            Ok(decision) => decision,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if !wanted.contains(&id) {
            continue;
        }
        let mut instance = Instance {
            id,
            standing: Standing::Outdated,
            because: String::new(),
            key: None,
            seconds: None,
            device: None,
            numbers: Vec::new(),
            numbers_gone: false,
        };
        let mut numbers = None;
        match decision {
            Decision::Hit(known) => {
                instance.standing = Standing::Cached;
                instance.key = Some(known.key);
                instance.seconds = Some(known.entry.seconds);
                instance.device = Some(known.entry.device.clone());
                numbers = known.entry.output(METRICS).map(|content| content.digest);
            }
            Decision::Open => {
                instance.because = "depends on a stage without a result".to_owned();
                wait(&mut instance, &ahead);
            }
            Decision::Miss { key, manifest } => {
                instance.key = Some(key);
                match by_attempts(planner.store, &key) {
                    Some((standing, because, seconds)) => {
                        (instance.standing, instance.because) = (standing, because);
                        instance.seconds = seconds;
                    }
                    None => {
                        let stage = planner.stage(id);
                        instance.because = planner.why(stage, &key, &manifest).words();
                    }
                }
                wait(&mut instance, &ahead);
            }
        }
        instances.push(instance);
        metrics.push(numbers);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let read = read_all(planner.store, &metrics);
    for (instance, digest) in instances.iter_mut().zip(&metrics) {
        match digest.map(|digest| read.get(&digest)) {
            Some(Some(Some(rows))) => instance.numbers.clone_from(rows),
            Some(_) => instance.numbers_gone = true,
            None => {}
        }
    }
    Ok(instances)
}

/// What is without a result, and ahead of a run at work, waits for it.
fn wait(instance: &mut Instance, ahead: &BTreeSet<StageId>) {
    let can_wait = matches!(instance.standing, Standing::Outdated | Standing::Failed);
    if can_wait && ahead.contains(&instance.id) {
        instance.standing = Standing::Waiting;
    }
}

/// Where a key without a result stands by the attempts at it, why, and seconds since the one that is running began.
/// `None` when they do not tell. Nothing is locked and nothing made.
#[must_use]
pub fn by_attempts(store: &Store, key: &Digest) -> Option<(Standing, String, Option<f64>)> {
    if !store.work_path(key).is_dir() {
        return None;
    }
    let attempt = last_attempt(store, key)?;
    let started = &attempt.started;
    let outdated = |how: &str| Some((Standing::Outdated, format!("{how} {started}"), None));
    match attempt.end.as_str() {
        // An attempt without an end: somebody works on it, or was killed.
        "lost" => match store.holder(key) {
            Some(holder) => Some((
                Standing::Running,
                format!("by {holder}"),
                clock::seconds_since(started),
            )),
            None => outdated("killed"),
        },
        "failed" => Some((Standing::Failed, format!("failed {started}"), None)),
        "stopped" => outdated("stopped"),
        _ => None,
    }
}

/// The rows of each object, read once; `None` for one that cannot be read.
fn read_all(store: &Store, digests: &[Option<Digest>]) -> BTreeMap<Digest, Option<Vec<MetricRow>>> {
    let distinct: BTreeSet<Digest> = digests.iter().flatten().copied().collect();
    distinct
        .into_par_iter()
        .map(|digest| (digest, read_metrics(store, &digest)))
        .collect()
}

/// The metric rows of an object; `None` when it is not in the cache or holds something else.
#[must_use]
pub fn read_metrics(store: &Store, digest: &Digest) -> Option<Vec<MetricRow>> {
    let text = fs_err::read_to_string(store.object_path(digest)).ok()?;
    text.lines()
        .map(|line| serde_json::from_str(line).ok())
        .collect()
}
