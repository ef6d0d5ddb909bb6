//! From text to concrete stages. This file holds what the room hands over; the steps are in the files beside it.
//!
//! Everything here is plain data that one binary file can hold (`plan.rs`), so a run whose texts and settings
//! are unchanged parses no YAML.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::source::Span;

pub mod about;
mod choices;
mod conditions;
pub mod decode;
mod departures;
mod expand;
mod explain;
mod flat;
mod fuzz;
mod keys;
mod layers;
mod link;
pub mod load;
mod make;
mod manifest;
mod matrix;
mod merge;
mod needs;
pub mod node;
mod outputs;
pub mod paths;
mod pick;
mod quantity;
pub mod schema;
mod settings;
mod substitute;
pub mod suggest;
mod upstream;
pub mod yaml;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use departures::Departure;
pub use fuzz::fuzz_load;
pub use manifest::manifest_lines;
pub use quantity::{parse_bytes, parse_seconds};
pub use upstream::{Upstream, Variable};

/// Whether a text can name a stage, an axis, a port or an output: `[a-z][a-z0-9_-]*`.
#[must_use]
pub fn check_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// A text in the letters of a name; what it begins with may still be none.
pub(crate) fn in_letters_of_a_name(text: &str) -> String {
    text.to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// What to write instead of a name that is not accepted.
fn name_help(name: &str) -> String {
    let mut fixed = in_letters_of_a_name(name);
    fixed = fixed
        .trim_start_matches(|c: char| !c.is_ascii_lowercase())
        .trim_end_matches('-')
        .to_owned();
    let rule = "names are lower-case letters, digits, `_` and `-`, and begin with a letter";
    if check_name(&fixed) && fixed != name {
        format!("{rule}: `{fixed}`")
    } else {
        rule.to_owned()
    }
}

/// A pipeline file after expansion: concrete stages in topological order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// The file's stem, such as `paper`; names folders under `reports/`.
    pub name: String,
    /// The file as given on the command line.
    pub file: PathBuf,
    /// Where paths, `use`, `cache/` and `reports/` start: the file's folder, or its parent when that folder is `pipelines`.
    pub root: PathBuf,
    /// `doc:` of the file.
    pub doc: Option<String>,
    /// `about:` of the file as JSON, as it is written: nothing is substituted in it.
    pub about: Option<String>,
    /// How many claims `expect` states.
    pub claims: usize,
    /// Concrete stages; each comes after everything it needs.
    pub stages: Vec<StageSpec>,
    /// Stages that their `when` leaves out, and why.
    pub left_out: BTreeMap<String, String>,
    /// Environment variables whose values entered the specification (`env: {A: {from: environment}}`), with those values.
    pub environment: Vec<(String, Option<String>)>,
}

/// The index of a concrete stage in [`Workflow::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StageId(pub u32);

impl StageId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One cell of a matrix: an axis and its value, as text and as JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Axis {
    /// Axis name.
    pub name: String,
    /// The value as it is shown and compared in selectors.
    pub text: String,
    /// The value as JSON, so that numbers stay numbers.
    pub json: String,
    /// Whether it is the axis of repetition (`replicate:`); always the last one.
    pub replicate: bool,
}

impl Axis {
    /// The value as a text, without the quotes that selectors need around some.
    #[must_use]
    pub fn value(&self) -> String {
        serde_json::from_str(&self.json).unwrap_or_else(|_| self.text.clone())
    }
}

/// One concrete stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    /// What people see: `finetune[task=ddi,seed=1]`, or `count` without axes. Unique. Never in a key.
    pub name: String,
    /// The name in the file: `finetune`.
    pub stage: String,
    /// Its axes, in order.
    pub axes: Vec<Axis>,
    /// `doc:` of the stage or its recipe.
    pub doc: Option<String>,
    /// The kind's name.
    pub kind: String,
    /// The kind's version.
    pub version: u32,
    /// The bound configuration as JSON, for the process that carries the stage out.
    pub config: String,
    /// Manifest lines that do not depend on inputs and sort before them (`config.…`, `env.…`), each ending in a newline.
    pub lines_before: String,
    /// Those that sort after them (`kind`, `numerics`, `output.…`).
    pub lines_after: String,
    /// What it reads, sorted by port.
    pub inputs: Vec<Input>,
    /// What it leaves, in the order declared; the first is the primary one.
    pub outputs: Vec<OutputSpec>,
    /// How it is started.
    pub launch: Launch,
    /// Everything that does not decide the result.
    pub policy: Policy,
    /// The axes it chooses a value of; empty for most.
    pub chooses: Vec<String>,
    /// The choices of other stages that decide what it is; empty for most.
    pub choices: Vec<ChoiceRef>,
    /// What it is under each possible choice; empty without `choices`. Until the choice is known this stage itself
    /// stands for all of them: it has no configuration, and needs what any of them needs.
    pub variants: Vec<Variant>,
    /// What a profile or `--set` made of it, other than the file as written; not what is upstream. Never in its key.
    pub departures: Vec<Departure>,
    /// Where the stage's name stands.
    pub span: Span,
}

/// A value that another stage chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceRef {
    /// The stage that chooses.
    pub stage: StageId,
    /// The axis.
    pub axis: String,
    /// Where it is referred to.
    pub span: Span,
}

/// A stage under one possible choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The values of [`StageSpec::choices`], as selectors show them.
    pub values: Vec<String>,
    /// The stage, with the values in place.
    pub stage: StageSpec,
}

/// One input port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Port name.
    pub port: String,
    /// The name it has in the stage's folder; the port's unless `as:` says otherwise. A relative path without `..`.
    pub place: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Where the source stands in the file.
    pub span: Span,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// A file or a folder, relative to the root or absolute.
    Path(String),
    /// The files a glob matches; they appear in a folder under their paths below the pattern's fixed part.
    Glob(String),
    /// One output of a stage.
    Stage(OutputRef),
    /// Fan-in: a folder with one entry an instance and `index.jsonl`.
    Many(Vec<OutputRef>),
    /// A file of `environment.files`: in the key, not in the folder.
    KeyOnly(String),
    /// A file that a person is asked to put there: in the key by its content, or by its absence; not in the folder.
    Put(String),
}

/// An output of a concrete stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OutputRef {
    /// The stage.
    pub stage: StageId,
    /// The output's name.
    pub output: String,
}

/// The name of the implicit output that holds a stage's metric rows as `metrics.jsonl`.
pub const METRICS: &str = "metrics";

/// One declared output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Its name.
    pub name: String,
    /// Its path inside the stage's folder.
    pub path: String,
    /// How long its bytes are kept. Not in the key.
    pub keep: Keep,
}

/// How long the bytes of an output are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Until `cache gc` finds it unreachable.
    #[default]
    Always,
    /// Until every stage of the run that reads it is done.
    UntilUsed,
    /// Not beyond the stages that wait for it now.
    Never,
}

/// How a stage is started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Launch {
    /// This program again, running a kind written in Rust.
    Builtin,
    /// A program of the user's.
    Program(Program),
}

/// A program of the user's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Files written into the folder before it starts: name and contents (`params.json`, the script).
    pub files: Vec<(String, String)>,
    /// Metric files it leaves, relative to the folder (`numbers:`).
    pub numbers: Vec<String>,
}

/// What decides speed, place and manners, never the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Slots it takes.
    pub resources: Resources,
    /// Tries after the first.
    pub retries: u32,
    /// Variables it sees beyond the base environment: name, value, and whether the value is secret.
    pub env: Vec<EnvVar>,
    /// Commands whose output goes into the record (`environment.record`).
    pub record: Vec<Vec<String>>,
    /// Whether a change of those outputs changes the key.
    pub record_strict: bool,
    /// A folder that survives kill and retry.
    pub checkpoint: Option<CheckpointSpec>,
    /// A folder, relative to the root, where its outputs are linked or copied.
    pub publish: Option<String>,
    /// Whether a run must stop before remaking it.
    pub protect: bool,
    /// Whether undeclared files are denied.
    pub sandbox: bool,
}

/// An environment variable of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Its value; `None` when it is taken from the environment at run time (always so for secrets that say `from: environment`).
    pub value: Option<String>,
    /// Whether it stays out of key, record and messages.
    pub secret: bool,
    /// Whether the file says `from: environment`.
    #[serde(default)]
    pub from_environment: bool,
}

impl EnvVar {
    /// Whether everybody who has the file has the value. A secret that stands in it is in no file that is handed on.
    #[must_use]
    pub fn is_stated(&self) -> bool {
        !self.from_environment && !self.secret
    }
}

/// `checkpoint: {dir, signal, grace}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSpec {
    /// The folder's path inside the stage's folder.
    pub dir: String,
    /// The signal that asks for a checkpoint, such as `SIGTERM`.
    pub signal: String,
    /// Seconds it gets to write one.
    pub grace_seconds: f64,
}

/// `resources:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU cores.
    pub cores: u32,
    /// Bytes of memory; 0 claims nothing.
    pub memory_bytes: u64,
    /// How many GPUs.
    pub gpus: u32,
    /// Bytes of memory on each GPU; 0 takes the whole device.
    pub gpu_memory_bytes: u64,
    /// Wall seconds after which it is stopped.
    pub time_seconds: Option<f64>,
    /// `auto`, `cpu`, `cuda`, `cuda:N`.
    pub device: Option<String>,
    /// Sequences a device takes at once.
    pub micro_batch: Option<u32>,
    /// Processes that compute together, each on a device of its own.
    #[serde(default = "one")]
    pub processes: u32,
}

/// What bundles of before say of processes: nothing.
fn one() -> u32 {
    1
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cores: 1,
            memory_bytes: 0,
            gpus: 0,
            gpu_memory_bytes: 0,
            time_seconds: None,
            device: None,
            micro_batch: None,
            processes: 1,
        }
    }
}
