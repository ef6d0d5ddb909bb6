//! What a run is asked for, and what it says it did. Runs nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::diagnostic::{Class, Diagnostic};
use crate::digest::Digest;
use crate::event::{Counts, End, ReportPlace};
use crate::kind::Pin;
use crate::spec::StageId;

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
    /// The beginning of the device's name in records of kinds that use one; others are made again. `None` takes all.
    pub accept_device: Option<String>,
    /// What stages that leave their device to this machine compute on; asked once, when the first is ready. `None` leaves
    /// it to the stage.
    pub auto_device: Option<AutoDevice>,
    /// Variables that supervisors and stages of ours see besides those of this process.
    pub environment: Vec<(&'static str, OsString)>,
    /// No network.
    pub offline: bool,
    /// Share the work with runs on other machines: claims beside locks, and not the same stages first.
    pub cooperates: bool,
    /// The program that supervises (`supervise`) and executes (`exec`); this one when empty.
    pub program: PathBuf,
    /// The command line, for the run's log.
    pub arguments: Vec<String>,
}

/// What `auto` stands for on this machine, given the variables of [`RunOptions::environment`]: whether it is a GPU, and
/// what to say where there is one that cannot be used.
pub type AutoDevice = fn(&[(&'static str, OsString)]) -> (bool, Option<Diagnostic>);

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
