//! The order to carry out a stage, and the answers. JSON lines over pipes. Knows nothing of how either is used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::content::{Content, Form};
use crate::diagnostic::{Class, Diagnostic};
use crate::digest::Digest;
use crate::event::Progress;
use crate::kind::Pin;
use crate::spec::{Axis, Launch, OutputSpec, Policy};
use crate::store::index::IndexEntry;

/// Everything a supervisor needs to carry out a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The key its result is recorded under.
    pub key: Digest,
    /// The text of that key.
    pub manifest: String,
    /// The stage's name, for people.
    pub stage: String,
    /// The pipeline's name, for people.
    pub pipeline: String,
    /// The pipeline's root.
    pub root: PathBuf,
    /// The cache folder.
    pub cache: PathBuf,
    /// The kind's name.
    pub kind: String,
    /// The bound configuration as JSON.
    pub config: String,
    /// Inputs by port.
    pub inputs: Vec<JobInput>,
    /// Declared outputs.
    pub outputs: Vec<OutputSpec>,
    /// How it is started.
    pub launch: Launch,
    /// Resources and manners.
    pub policy: Policy,
    /// GPUs it was given; `None` leaves the environment's choice alone.
    pub gpus: Option<Vec<String>>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// Whether runs on other machines work on the same cache.
    pub cooperates: bool,
    /// What a record that is there already counts for.
    pub force: Force,
    /// Whether the index of a fan-in folder names keys and devices.
    pub with_records: bool,
}

/// What a record that is there already counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// It is the result.
    #[default]
    No,
    /// It is the result if all its objects are there.
    IfIncomplete,
    /// Nothing: run.
    Always,
}

/// One input port of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobInput {
    /// The port.
    pub port: String,
    /// Its place in the folder; empty for files that are only in the key.
    pub place: String,
    /// For fan-in, the name each file has in its instance's folder.
    pub file: Option<String>,
    /// Whether it is fan-in.
    pub many: bool,
    /// What it is made of.
    pub items: Vec<JobItem>,
}

/// One thing to place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobItem {
    /// Where it is taken from.
    pub source: JobSource,
    /// What it must hold.
    pub content: Content,
    /// Axes of the producing stage.
    pub axes: Vec<Axis>,
    /// Key of the producing record.
    pub key: Option<Digest>,
    /// Device of the producing record.
    pub device: Option<String>,
    /// Notes of the producing record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, serde_json::Value>,
}

/// Where an input is taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSource {
    /// A file or folder of the user's.
    Path(PathBuf),
    /// Files below a folder of the user's, by their paths below it.
    Files {
        /// The folder.
        base: PathBuf,
        /// Paths below it.
        files: Vec<String>,
    },
    /// An object of the store.
    Object,
}

/// What a run tells a supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Carry this out.
    Run(Box<Job>),
    /// Ask the stage to checkpoint and stop.
    Stop,
    /// Kill it now.
    Kill,
}

/// What a supervisor tells its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The stage's process has started.
    Started {
        /// Its process group.
        group: i32,
        /// Whether it goes on from a checkpoint.
        resumed: bool,
    },
    /// How far it is.
    Progress(Progress),
    /// A message that does not stop it.
    Warning(Diagnostic),
    /// The job is over.
    Done(Box<Outcome>),
}

/// How a job ended. A value, so that times and logs survive failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It ran; its result is recorded.
    Recorded {
        /// What the index holds of the record.
        entry: IndexEntry,
        /// What an unpinned download turned out to be.
        pin: Option<Pin>,
    },
    /// Another runner had recorded it when the key came free.
    Shared {
        /// What the index holds of the record.
        entry: IndexEntry,
    },
    /// Another runner is making it.
    Busy {
        /// Who.
        holder: String,
    },
    /// It ran, or tried to, and failed.
    Failed {
        /// What to tell the user, last lines of output included.
        diagnostic: Diagnostic,
        /// Whether another try may help.
        may_pass: bool,
        /// Decides the exit code.
        class: Class,
        /// Wall seconds.
        seconds: f64,
    },
    /// It was asked to stop, and did.
    Stopped {
        /// Wall seconds.
        seconds: f64,
        /// Whether a checkpoint is kept.
        has_checkpoint: bool,
    },
    /// An object it needs is missing or damaged; damaged ones are in quarantine.
    InputMissing {
        /// The objects.
        digests: Vec<Digest>,
        /// What to tell the user of damage.
        warnings: Vec<Diagnostic>,
    },
    /// A file changed between planning and start; the plan must be made again.
    InputChanged {
        /// The port.
        port: String,
    },
}

/// The content of an output by name.
#[must_use]
pub fn entry_of(record: &crate::store::record::Record) -> IndexEntry {
    IndexEntry {
        seconds: record.seconds,
        device: record.device.clone(),
        has_notes: !record.notes.is_empty(),
        outputs: record
            .outputs
            .iter()
            .map(|(name, content)| (name.clone(), *content))
            .collect(),
    }
}

/// Whether contents are equal but for the executable bit, which copies may lose.
#[must_use]
pub fn same_bytes(a: &Content, b: &Content) -> bool {
    a.digest == b.digest && (a.form == Form::Tree) == (b.form == Form::Tree)
}

/// What a process of this program that carries out one stage is told, in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecOrder {
    /// The stage's folder.
    pub folder: PathBuf,
    /// What is to be done there.
    pub work: ExecWork,
}

/// What is to be done in a stage's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecWork {
    /// Run a built-in kind and leave its report or error, as JSON, in `result`.
    Kind {
        /// The kind's name.
        kind: String,
        /// Its configuration as JSON.
        config: String,
        /// Inputs by port.
        inputs: BTreeMap<String, crate::kind::StageInput>,
        /// Survives kill and retry.
        scratch: PathBuf,
        /// Takes progress lines.
        progress: PathBuf,
        /// Takes the result.
        result: PathBuf,
        /// Whether the network must not be used.
        offline: bool,
        /// The pipeline's root.
        root: PathBuf,
        /// Cores it was given.
        cores: u32,
        /// The device it is to compute on.
        device: Option<String>,
        /// Sequences a device is to take at once.
        micro_batch: Option<u32>,
        /// Processes that compute together.
        processes: u32,
        /// A stable folder for what is looked at while it runs.
        live: PathBuf,
    },
    /// Follow this program and say what it reads.
    Watched {
        /// Program and arguments.
        argv: Vec<String>,
        /// Takes what was seen.
        seen: PathBuf,
    },
    /// Become this program, followed by the parent.
    BecomeWatched {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Become this program, under a sandbox.
    Sandboxed {
        /// Program and arguments.
        argv: Vec<String>,
        /// Files outside the folder it may read.
        readable: Vec<PathBuf>,
        /// Files outside the folder it may write.
        writable: Vec<PathBuf>,
    },
}

/// How a built-in kind ended, as its process leaves it.
pub type ExecResult = Result<crate::kind::StageReport, crate::kind::StageError>;
