//! What happened in a run, as JSON lines under `runs-v1/`. Knows nothing of why.
//!
//! Each line is an event with its `time`. The first is `run_begun` (pipeline, file, host, process, program, command
//! line, whether it is about the whole pipeline and, if not, its `targets`), the last `run_keys`: the key of every stage,
//! or `same_as` the earlier run whose keys it repeats. In between `stages_cached` names stages that were found in the cache,
//! once something else happens. How far stages are is not logged but stands in `pulse.rs`'s file.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::json;

use super::pulse::Heart;
use crate::clock;
use crate::digest::{Digest, Use};
use crate::event::Event;
use crate::plan::pipeline_id;
use crate::spec::{StageId, Workflow};
use crate::store::Store;

/// The log of one run. Nothing is written before something happens, so a run without work writes once.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    latest: PathBuf,
    temporary: PathBuf,
    run: String,
    pending: Vec<u8>,
    /// Names of cached stages that were not written yet.
    cached: Vec<String>,
    file: Option<fs_err::File>,
    heart: Heart,
}

impl RunLog {
    /// `targets` are the stages to bring about; `None` says that every stage of the pipeline is selected.
    pub(super) fn new(
        store: &Store,
        run: &str,
        workflow: &Workflow,
        arguments: &[String],
        targets: Option<&[StageId]>,
    ) -> Self {
        let id = pipeline_id(workflow);
        let machine = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let mut log = Self {
            path: store.runs_path().join(format!("{run}.jsonl")),
            latest: store
                .runs_path()
                .join(format!("{}.latest", id.replace('/', "%"))),
            temporary: store.temporary_path(),
            run: run.to_owned(),
            pending: Vec::new(),
            cached: Vec::new(),
            file: None,
            heart: Heart::new(store, run, &id, &machine),
        };
        let targets = targets.map(|targets| {
            let name = |id: &StageId| workflow.stages[id.index()].name.as_str();
            targets.iter().map(name).collect::<Vec<_>>()
        });
        let mut begun = json!({
            "event": "run_begun", "run": run, "pipeline": id, "name": workflow.name, "host": machine,
            "process": std::process::id(), "program": concat!("pipeline ", env!("CARGO_PKG_VERSION")),
            "arguments": arguments, "whole": targets.is_none(),
        });
        if let (Some(targets), Some(begun)) = (targets, begun.as_object_mut()) {
            begun.insert("targets".to_owned(), json!(targets));
        }
        log.push(&begun);
        log
    }

    fn push(&mut self, value: &serde_json::Value) {
        let mut line = json!({ "time": clock::rfc3339(clock::now_ns()) });
        if let (Some(line), Some(value)) = (line.as_object_mut(), value.as_object()) {
            line.extend(value.clone());
        }
        self.pending.extend_from_slice(line.to_string().as_bytes());
        self.pending.push(b'\n');
    }

    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::StageCached { stage, .. } => return self.cached.push(stage.clone()),
            Event::StageProgress { stage, progress } => {
                return self.heart.progress(stage, progress);
            }
            Event::StageStarted { stage, .. } | Event::StageFinished { stage, .. } => {
                self.heart.forget(stage);
                // A run that does nothing names no stage: its log stays small.
                if !self.cached.is_empty() {
                    let stages = std::mem::take(&mut self.cached);
                    self.push(&json!({ "event": "stages_cached", "stages": stages }));
                }
            }
            _ => {}
        }
        self.push(&serde_json::to_value(event).expect("events serialise"));
        if !matches!(event, Event::RunStarted { .. } | Event::RunFinished { .. }) {
            // A log that cannot be written must not stop the work; the records are what counts.
            let _ = self.flush();
            self.heart.begin();
        }
    }

    /// Called a few times a second while stages run.
    pub(super) fn tick(&mut self) {
        self.heart.tick();
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = fs_err::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&self.path)?;
                self.file.insert(file)
            }
        };
        file.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Writes the keys and what is pending. Whether the keys differ from those of the pipeline's last run.
    pub(super) fn finish(&mut self, keys: &[(String, Digest)]) -> io::Result<bool> {
        let mut hasher = Use::Plan.hasher();
        for (name, key) in keys {
            hasher.update(name.as_bytes()).update(b"\n").update(&key.0);
        }
        let digest = Digest::from(&hasher);
        let last = fs_err::read_to_string(&self.latest).unwrap_or_default();
        let (last_run, last_digest) = last.trim().split_once(' ').unwrap_or(("", ""));
        let is_same = last_digest == digest.to_string()
            && self
                .path
                .with_file_name(format!("{last_run}.jsonl"))
                .exists();
        // The last line before `run_keys` is `run_finished`, so that a reader can stop at the keys.
        if is_same {
            self.push(&json!({ "event": "run_keys", "same_as": last_run }));
        } else {
            let keys: serde_json::Map<_, _> = keys
                .iter()
                .map(|(name, key)| (name.clone(), json!(key)))
                .collect();
            self.push(&json!({ "event": "run_keys", "keys": keys }));
        }
        self.flush()?;
        self.heart.stop();
        if !is_same {
            fs_err::write(&self.temporary, format!("{} {digest}\n", self.run))?;
            fs_err::rename(&self.temporary, &self.latest)?;
        }
        Ok(!is_same)
    }
}

/// One earlier run.
#[derive(Clone, Debug)]
pub struct RunLine {
    /// Its id; sorts by time to the second.
    pub run: String,
    /// When it began, RFC 3339; sorts by time to the millisecond.
    pub begun: String,
    /// The pipeline, as [`pipeline_id`].
    pub pipeline: String,
    /// Seconds since it was last written to.
    pub age_seconds: f64,
    /// The keys it reached, or tried to, by stage name.
    pub keys: BTreeMap<String, Digest>,
    /// Whether it brought about every stage of its pipeline, so that `keys` is all that the pipeline was then.
    pub whole: bool,
    /// Where and how it ran.
    pub facts: RunFacts,
}

/// What a run says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// The host.
    pub host: String,
    /// The program and its version.
    pub program: String,
    /// Its command line.
    pub arguments: Vec<String>,
    /// Wall seconds from start to end; `None` when it has not ended.
    pub wall_seconds: Option<f64>,
}

/// Every run in the store, oldest first.
///
/// # Errors
/// When the folder cannot be read; a file that does not parse is taken as far as it does.
pub fn read_runs(store: &Store) -> io::Result<Vec<RunLine>> {
    let mut runs: BTreeMap<String, (RunLine, Option<String>)> = BTreeMap::new();
    let now = clock::now_ns();
    for entry in fs_err::read_dir(store.runs_path())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(run) = name.strip_suffix(".jsonl") else {
            continue;
        };
        let text = fs_err::read(entry.path())?;
        let text = String::from_utf8_lossy(&text);
        let stamp = crate::content::Stamp::of(&entry.metadata()?);
        #[expect(
            clippy::cast_precision_loss,
            reason = "an age in seconds needs no more than 53 bits"
        )]
        let age_seconds = (now - i128::from(stamp.mtime_ns)).max(0) as f64 / 1e9;
        let mut line = RunLine {
            run: run.to_owned(),
            begun: String::new(),
            pipeline: String::new(),
            age_seconds,
            keys: BTreeMap::new(),
            whole: false,
            facts: RunFacts::default(),
        };
        let (mut same_as, mut selected_all, mut ended_well) = (None, false, false);
        for event in text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        {
            match event["event"].as_str() {
                Some("run_begun") => {
                    line.begun = event["time"].as_str().unwrap_or_default().to_owned();
                    line.pipeline = event["pipeline"].as_str().unwrap_or_default().to_owned();
                    selected_all = event["whole"].as_bool().unwrap_or_default();
                    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                    (line.facts.host, line.facts.program) = (text("host"), text("program"));
                    let words = event["arguments"].as_array().into_iter().flatten();
                    line.facts.arguments = words
                        .filter_map(|word| word.as_str().map(str::to_owned))
                        .collect();
                }
                Some("run_finished") => {
                    let none = |name: &str| event["counts"][name].as_u64() == Some(0);
                    ended_well =
                        none("failed") && none("skipped") && event["interrupted"].is_null();
                    line.facts.wall_seconds = event["wall_seconds"].as_f64();
                }
                Some("stage_started" | "stage_finished") => {
                    if let (Some(stage), Some(Ok(key))) = (
                        event["stage"].as_str(),
                        event["key"].as_str().map(str::parse),
                    ) {
                        line.keys.insert(stage.to_owned(), key);
                    }
                }
                Some("run_keys") => {
                    line.whole = selected_all && ended_well;
                    same_as = event["same_as"].as_str().map(str::to_owned);
                    for (stage, key) in event["keys"].as_object().into_iter().flatten() {
                        if let Some(Ok(key)) = key.as_str().map(str::parse) {
                            line.keys.insert(stage.clone(), key);
                        }
                    }
                }
                _ => {}
            }
        }
        runs.insert(line.run.clone(), (line, same_as));
    }
    let mut lines = Vec::with_capacity(runs.len());
    for (line, same_as) in runs.values() {
        let mut line = line.clone();
        match same_as.as_ref().map(|run| runs.get(run)) {
            Some(Some((base, _))) => line.keys.extend(base.keys.clone()),
            // The run that it repeats is gone, and with it what this one reached.
            Some(None) => line.whole = false,
            None => {}
        }
        lines.push(line);
    }
    // The ids of two runs within a second say nothing about their order.
    lines.sort_by(|a, b| (&a.begun, &a.run).cmp(&(&b.begun, &b.run)));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_second_are_in_the_order_in_which_they_began() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        for (tail, time) in [("ffff", "00.100"), ("0000", "00.200"), ("8888", "00.300")] {
            let run = format!("20261121T000000Z-{tail}");
            let line = format!(
                "{{\"time\":\"2026-11-21T00:00:{time}Z\",\"event\":\"run_begun\",\"run\":\"{run}\",\"pipeline\":\"p\"}}\n"
            );
            fs_err::write(store.runs_path().join(format!("{run}.jsonl")), line).expect("writes");
        }
        let runs = read_runs(&store).expect("reads");
        let tails: Vec<&str> = runs.iter().map(|run| &run.run[17..]).collect();
        assert_eq!(tails, ["ffff", "0000", "8888"]);
    }
}
