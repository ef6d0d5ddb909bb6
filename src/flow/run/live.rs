//! Runs that are at work now, by the logs they write. Takes no lock and writes nothing; knows nothing of results.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::graph::upstream;
use crate::plan::pipeline_id;
use crate::spec::{StageId, Workflow};
use crate::store::Store;

/// A run that has begun and not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRun {
    /// Its id.
    pub run: String,
    /// The stages it will still come to: selected, and not over yet.
    pub ahead: BTreeSet<StageId>,
}

/// The runs of this pipeline that are at work: their log has no end, and their process lives where that can be asked,
/// which is on this host. A run that has not started a stage yet has no log and is not seen.
#[must_use]
pub fn live_runs(workflow: &Workflow, store: &Store) -> Vec<LiveRun> {
    let id = pipeline_id(workflow);
    let Ok(entries) = fs_err::read_dir(store.runs_path()) else {
        return Vec::new();
    };
    let mut runs: Vec<LiveRun> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "jsonl"))
        .filter_map(|entry| live_run(workflow, &id, &entry.path()))
        .collect();
    runs.sort_by(|a, b| a.run.cmp(&b.run));
    runs
}

fn live_run(workflow: &Workflow, id: &str, path: &Path) -> Option<LiveRun> {
    let mut reader = BufReader::new(fs_err::File::open(path).ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let begun: Value = serde_json::from_str(&line).ok()?;
    if begun["event"] != "run_begun" || begun["pipeline"] != id || !may_live(&begun) {
        return None;
    }
    let mut over = BTreeSet::new();
    for line in reader.lines() {
        // A line that is being written does not parse yet.
        let Ok(event) = serde_json::from_str::<Value>(&line.ok()?) else {
            continue;
        };
        match event["event"].as_str() {
            Some("run_finished" | "run_keys") => return None,
            Some("stage_finished" | "stage_cached") => {
                over.insert(event["stage"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
    let name = |id: &StageId| workflow.stages[id.index()].name.as_str();
    let all = (0_u32..).zip(&workflow.stages).map(|(id, _)| StageId(id));
    let selected: Vec<StageId> = match begun["targets"].as_array() {
        None => all.collect(),
        Some(targets) => {
            let targets: BTreeSet<&str> = targets.iter().filter_map(Value::as_str).collect();
            let named: Vec<StageId> = all.filter(|id| targets.contains(name(id))).collect();
            upstream(workflow, &named)
        }
    };
    Some(LiveRun {
        run: begun["run"].as_str().unwrap_or_default().to_owned(),
        ahead: selected
            .into_iter()
            .filter(|id| !over.contains(name(id)))
            .collect(),
    })
}

/// Whether the process that began a run can be there still; of another host nobody can say, so it can.
fn may_live(begun: &Value) -> bool {
    let uname = rustix::system::uname();
    if begun["host"].as_str() != Some(uname.nodename().to_string_lossy().as_ref()) {
        return true;
    }
    let process = begun["process"].as_i64();
    let process = process.and_then(|process| i32::try_from(process).ok());
    process
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
