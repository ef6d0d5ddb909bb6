//! What happens during a run, as values. Knows nothing of who watches.

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::digest::Digest;

/// How far a stage is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is counted: `B` (bytes), `step`, `document` …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// A short remark, such as the current loss.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It had a record.
    Cached,
    /// It ran and its result was recorded.
    Executed,
    /// Another runner made its result while this one waited.
    Shared,
    /// It ran and failed.
    Failed,
    /// Something it needs failed or was held back.
    Skipped,
    /// It was stopped by an interruption; its checkpoint is kept.
    Stopped,
    /// It would have remade something protected, and was held back.
    Held,
}

/// The sums of a run over the selected stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All selected.
    pub total: usize,
    /// Ran in this run.
    pub executed: usize,
    /// Had a record, or another runner made it.
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Not reached.
    pub skipped: usize,
}

/// A report the run left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportPlace {
    /// The report stage.
    pub stage: String,
    /// Its folder, relative to the root.
    pub path: String,
    /// Its key.
    pub key: Digest,
}

/// One thing that happened. `time` is added by the writer, so that events stay comparable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins; `stages` were selected.
    RunStarted {
        /// Run id.
        run: String,
        /// Pipeline name.
        pipeline: String,
        /// How many stages were selected.
        stages: usize,
    },
    /// A stage was found in the cache.
    StageCached {
        /// Display name.
        stage: String,
        /// Its key.
        key: Digest,
    },
    /// A stage begins to run (or waits for the runner that is making the same key).
    StageStarted {
        /// Display name.
        stage: String,
        /// Its key.
        key: Digest,
        /// Why it runs, in a few words.
        because: String,
        /// 1 for the first try.
        attempt: u32,
        /// Seconds it took last time, if it ever ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected_seconds: Option<f64>,
    },
    /// A stage waits for another runner that is making the same result.
    StageWaiting {
        /// Display name.
        stage: String,
        /// Who holds the key, such as `process 4711 on host`.
        holder: String,
    },
    /// A stage says how far it is.
    StageProgress {
        /// Display name.
        stage: String,
        /// How far.
        progress: Progress,
    },
    /// A try failed, or could not begin because what it reads moved or is gone, and another follows.
    StageRetried {
        /// Display name.
        stage: String,
        /// What went wrong.
        message: String,
        /// Seconds until the next try.
        wait_seconds: f64,
    },
    /// A stage is over.
    StageFinished {
        /// Display name.
        stage: String,
        /// How.
        end: End,
        /// Wall seconds it ran here.
        seconds: f64,
        /// Its key, where one was computed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Digest>,
    },
    /// A warning, or the error that a stage failed with.
    Message {
        /// The stage, where it belongs to one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<String>,
        /// The message.
        diagnostic: Diagnostic,
    },
    /// The run is over.
    RunFinished {
        /// Sums.
        counts: Counts,
        /// Wall seconds.
        wall_seconds: f64,
        /// Reports of this run.
        reports: Vec<ReportPlace>,
        /// The signal that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interrupted: Option<String>,
    },
}

/// Sees each event as it happens. Called from one thread.
pub trait Observer {
    /// Takes one event.
    fn event(&mut self, event: &Event);

    /// Called a few times a second while stages run, for views that redraw.
    fn tick(&mut self) {}
}
