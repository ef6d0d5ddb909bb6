//! What a stage kind promises: a typed configuration, ports, and how it runs. Knows no kind by name.
//!
//! Authors write a [`StageKind`]; [`kind`] turns the type into a row of the program's table of kinds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cost::{Cost, Known};
use crate::diagnostic::{Class, Diagnostic};
use crate::digest::Digest;
use crate::event::Progress;
use crate::made_by::MadeBy;
use crate::metric::MetricRow;
use crate::spec::decode;
use crate::spec::node::Node;
use crate::spec::{Axis, Launch};

/// The inputs and outputs of a bound stage.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    /// Named inputs.
    pub inputs: Vec<Port>,
    /// Optional inputs of which a stage has exactly one; all of them may be absent where this is empty.
    pub one_of: Vec<&'static str>,
    /// Whether inputs of any other name are welcome too (as `command` has it).
    pub any_input: bool,
    /// The output that is meant when such an input names only a stage; else the primary one.
    pub any_output: Option<&'static str>,
    /// Outputs: name and path inside the stage's folder; the first is the primary one.
    pub outputs: Vec<(String, String)>,
    /// Whether the stage declares its outputs itself (`outputs:` with paths); else `outputs:` may only set `keep`.
    pub declares_outputs: bool,
    /// The port whose fan-in holds only the instances that agree with the stage's own axes.
    pub agreeing: Option<&'static str>,
    /// Files, relative to the root, that a person puts there: their content is in the key, or that they are absent.
    pub put_files: Vec<String>,
}

/// One named input.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Whether a stage without it is complete.
    pub optional: bool,
    /// The output that is meant when only a stage is named; else one of the port's name, else the primary one.
    pub output: Option<&'static str>,
    /// Of an `output` that a stage leaves only when it is told to, and that no other stands in for: how it is told.
    pub only: Option<&'static str>,
}

impl Ports {
    /// Required inputs of these names.
    #[must_use]
    pub fn inputs<const N: usize>(names: [&'static str; N]) -> Self {
        let port = |name| Port {
            name,
            optional: false,
            output: None,
            only: None,
        };
        Self {
            inputs: names.map(port).into(),
            ..Self::default()
        }
    }

    /// Adds an optional input.
    #[must_use]
    pub fn optional(mut self, name: &'static str) -> Self {
        self.inputs.push(Port {
            name,
            optional: true,
            output: None,
            only: None,
        });
        self
    }

    /// Adds inputs of which exactly one is to be given.
    #[must_use]
    pub fn one_of<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.one_of = names.into();
        names.into_iter().fold(self, Self::optional)
    }

    /// Outputs of these names, at paths of the same names.
    #[must_use]
    pub fn outputs<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.outputs
            .extend(names.map(|name| (name.to_owned(), name.to_owned())));
        self
    }
}

/// What a kind that chooses says of its configuration: which axes of the fan-in at `port` it settles.
#[derive(Clone, Debug, Default)]
pub struct Choosing {
    /// The input with one item for each combination. Of a stage with axes of its own it holds only the instances that
    /// agree with them: there is one choice for each.
    pub port: &'static str,
    /// The key of the configuration that lists `axes`, for messages.
    pub axes_key: &'static str,
    /// The axes it chooses a value of, which later stages refer to.
    pub axes: Vec<String>,
    /// The key that lists `averaged`.
    pub averaged_key: &'static str,
    /// The axes it averages over; `None` is the axis of repetition, where there is one.
    pub averaged: Option<Vec<String>>,
}

/// What binding may look at beyond the configuration itself.
#[derive(Clone, Copy, Debug)]
pub struct BindContext<'a> {
    /// Root of the pipeline.
    pub root: &'a Path,
    /// Name of the concrete stage, for the lock file only.
    pub stage: &'a str,
    /// `--mirror` and `--mirrors`: URL prefix and what stands in for it, first match wins.
    pub mirrors: &'a [(String, String)],
    /// The lock file's digest for this stage, such as `sha256:…`, if it has one.
    pub locked: Option<&'a str>,
    /// `expect:` as JSON.
    pub claims: &'a serde_json::Value,
}

/// What a kind says whose results can be gone on from: a larger value of one key need not begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extends {
    /// The whole number that grows, such as `steps`.
    pub key: &'static str,
    /// Keys of the configuration that may change with it, `key` and `keep` among them.
    pub may_change: &'static [&'static str],
    /// The key that is `true` where the state at the end is to be an output.
    pub keep: &'static str,
    /// That output.
    pub output: &'static str,
    /// The input that takes it.
    pub port: &'static str,
}

/// A configuration problem found after decoding, at a path such as `["columns", "token"]`.
#[derive(Clone, Debug)]
pub struct ConfigProblem {
    /// Keys and indices from the configuration's root.
    pub path: Vec<String>,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// The next action.
    pub help: Option<String>,
}

/// A kind of stage, as its author writes it.
pub trait StageKind: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static {
    /// The word after `kind:`.
    const NAME: &'static str;
    /// Raised when equal configuration and inputs must give a new result.
    const VERSION: u32;
    /// One line for `--help` and the schema.
    const DOC: &'static str;
    /// Whether the producing records of inputs (key, device) enter the key, because they enter the result.
    const READS_RECORDS: bool = false;

    /// Whether its first output is a report, to be placed under `reports/`.
    const IS_REPORT: bool = false;

    /// Whether it chooses values of axes that later stages may refer to; then [`StageKind::choosing`] says which.
    const CHOOSES: bool = false;

    /// Whether it computes on a device that is chosen: `resources.device`, `--device`.
    const USES_DEVICE: bool = false;

    /// Whether several processes can carry a stage out together: `resources.processes`.
    const IN_PROCESSES: bool = false;

    /// Whether its result is nothing but a function of its inputs' bytes, and cheap: then whoever is handed the inputs is
    /// expected to make it again before believing it.
    const DERIVES: bool = false;

    /// How a larger value of a key goes on from an earlier result; then [`StageKind::go_on`] says with what
    /// configuration. Nothing goes on by itself: it is offered where such a stage is about to begin anew.
    const EXTENDS: Option<Extends> = None;

    /// Whether it can say what a stage will cost before it runs; then [`StageKind::cost`] says it.
    const COSTS: bool = false;

    /// Its inputs and outputs under this configuration.
    fn ports(&self) -> Ports;

    /// Everything wrong with the configuration that types cannot say.
    fn check(&self) -> Vec<ConfigProblem> {
        Vec::new()
    }

    /// Fills in what comes from settings, such as mirrors and claims. Fields set here must serialise to stay in the key.
    fn complete(&mut self, context: &BindContext<'_>) {
        let _ = context;
    }

    /// The configuration as it enters the manifest; the serialised struct unless the kind knows better.
    fn manifest_config(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("configurations serialise")
    }

    /// Every setting that is in effect: the configuration, what it leaves to defaults, and what the kind does in any case.
    /// For people, such as in a report; decides nothing. What hangs on an input is a map with `as`, in words; what
    /// follows from other settings one with `is`, the value.
    fn in_effect(&self) -> serde_json::Value {
        self.manifest_config()
    }

    /// What of the machine's arithmetic decides the result; carried, not understood, by `flow`.
    fn numerics(&self) -> Option<String> {
        None
    }

    /// How it is started.
    fn launch(&self) -> Launch {
        Launch::Builtin
    }

    /// The axes it chooses values of; asked of kinds with [`StageKind::CHOOSES`].
    fn choosing(&self) -> Option<Choosing> {
        None
    }

    /// Makes it the configuration of a stage that goes on from the state of one that differed in [`StageKind::EXTENDS`] alone
    /// and ended at `from`.
    fn go_on(&mut self, from: u64) {
        let _ = from;
    }

    /// What a stage will cost, by this configuration and what is known of its inputs; asked of kinds with
    /// [`StageKind::COSTS`], also where the stage has a result, for what others want to know of it.
    fn cost(&self, known: &Known<'_>) -> Cost {
        let _ = known;
        Cost::default()
    }

    /// Carries the stage out in its own process, in the stage's folder. Not called when [`StageKind::launch`] names a program.
    ///
    /// # Errors
    /// Whatever went wrong, with the next action; [`StageError::may_pass`] allows a retry.
    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError>;
}

/// A stage's configuration after binding.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The completed configuration as JSON text, for the process that runs it.
    pub config: String,
    /// What enters the manifest under `config.`.
    pub manifest_config: serde_json::Value,
    /// See [`StageKind::numerics`].
    pub numerics: Option<String>,
    /// Its ports.
    pub ports: Ports,
    /// How it is started.
    pub launch: Launch,
    /// See [`StageKind::choosing`].
    pub choosing: Option<Choosing>,
}

/// What a stage of some kind costs: of the JSON of its configuration; `None` where that does not decode.
pub type CostOf = fn(&str, &Known<'_>) -> Option<Cost>;

/// A row of the table of kinds.
#[derive(Clone, Copy)]
pub struct KindEntry {
    /// The word after `kind:`.
    pub name: &'static str,
    /// See [`StageKind::VERSION`].
    pub version: u32,
    /// One line.
    pub doc: &'static str,
    /// See [`StageKind::READS_RECORDS`].
    pub reads_records: bool,
    /// See [`StageKind::IS_REPORT`].
    pub is_report: bool,
    /// See [`StageKind::CHOOSES`].
    pub chooses: bool,
    /// See [`StageKind::USES_DEVICE`].
    pub uses_device: bool,
    /// See [`StageKind::IN_PROCESSES`].
    pub in_processes: bool,
    /// See [`StageKind::DERIVES`].
    pub derives: bool,
    /// See [`StageKind::EXTENDS`].
    pub extends: Option<Extends>,
    /// The configuration of [`Bound::config`] after [`StageKind::go_on`]; `None` where it does not decode.
    pub go_on: fn(&str, u64) -> Option<serde_json::Value>,
    /// [`StageKind::cost`] of the configuration of [`Bound::config`], of kinds that can say.
    pub cost: Option<CostOf>,
    /// Decodes and completes a configuration; all its problems at once. The node may be absent (`with:` left out).
    pub bind: fn(&Node, &BindContext<'_>) -> Result<Bound, Vec<Diagnostic>>,
    /// What [`KindEntry::bind`] made, from the JSON of [`Bound::config`] alone; `None` where that does not decode or does
    /// not pass the kind's own check.
    pub rebind: fn(&str) -> Option<Bound>,
    /// [`StageKind::in_effect`] of a configuration; `None` where it does not decode.
    pub in_effect: fn(&serde_json::Value) -> Option<serde_json::Value>,
    /// Runs it from the JSON of [`Bound::config`].
    pub run: fn(&str, &StageContext) -> Result<StageReport, StageError>,
    /// JSON Schema of the configuration.
    pub schema: fn() -> serde_json::Value,
}

impl std::fmt::Debug for KindEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The row of the table of kinds for `T`.
#[must_use]
pub const fn kind<T: StageKind>() -> KindEntry {
    KindEntry {
        name: T::NAME,
        version: T::VERSION,
        doc: T::DOC,
        reads_records: T::READS_RECORDS,
        is_report: T::IS_REPORT,
        chooses: T::CHOOSES,
        uses_device: T::USES_DEVICE,
        in_processes: T::IN_PROCESSES,
        derives: T::DERIVES,
        extends: T::EXTENDS,
        go_on: go_on_typed::<T>,
        cost: if T::COSTS {
            Some(cost_typed::<T>)
        } else {
            None
        },
        bind: bind_typed::<T>,
        rebind: rebind_typed::<T>,
        in_effect: in_effect_typed::<T>,
        run: run_typed::<T>,
        schema: schema_of::<T>,
    }
}

fn bind_typed<T: StageKind>(
    node: &Node,
    context: &BindContext<'_>,
) -> Result<Bound, Vec<Diagnostic>> {
    // Messages name the stage of the file, so that the instances of a matrix do not repeat them.
    let stage = context.stage.split('[').next().unwrap_or(context.stage);
    let what = format!("stage `{stage}`");
    let mut config: T = decode::decode(node, &what, Some(T::NAME))?;
    let problems: Vec<Diagnostic> = config
        .check()
        .into_iter()
        .map(|problem| {
            let (span, defined) = decode::place_of(node, &problem.path);
            let subject = match problem.path.as_slice() {
                [] => what.clone(),
                path => format!("`{}` of {what}", path.join(".")),
            };
            let mut diagnostic =
                Diagnostic::error("spec::config", format!("{subject}: {}", problem.message))
                    .at(span, "")
                    .at_if(defined, "defined here");
            diagnostic.help = problem.help;
            diagnostic
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    config.complete(context);
    Ok(bound_of(&config))
}

fn bound_of<T: StageKind>(config: &T) -> Bound {
    Bound {
        config: serde_json::to_string(config).expect("configurations serialise"),
        manifest_config: config.manifest_config(),
        numerics: config.numerics(),
        ports: config.ports(),
        launch: config.launch(),
        choosing: config.choosing(),
    }
}

fn rebind_typed<T: StageKind>(config: &str) -> Option<Bound> {
    let config: T = serde_json::from_str(config).ok()?;
    config.check().is_empty().then(|| bound_of(&config))
}

fn in_effect_typed<T: StageKind>(config: &serde_json::Value) -> Option<serde_json::Value> {
    Some(T::deserialize(config).ok()?.in_effect())
}

fn run_typed<T: StageKind>(config: &str, stage: &StageContext) -> Result<StageReport, StageError> {
    let config: T = serde_json::from_str(config).map_err(|error| {
        StageError::new(
            "kind::config",
            format!(
                "the configuration of `{}` does not decode: {error}",
                T::NAME
            ),
        )
        .bug()
    })?;
    config.run(stage)
}

fn go_on_typed<T: StageKind>(config: &str, from: u64) -> Option<serde_json::Value> {
    let mut config: T = serde_json::from_str(config).ok()?;
    config.go_on(from);
    serde_json::to_value(config).ok()
}

fn cost_typed<T: StageKind>(config: &str, known: &Known<'_>) -> Option<Cost> {
    let config: T = serde_json::from_str(config).ok()?;
    Some(config.cost(known))
}

fn schema_of<T: StageKind>() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(T)).expect("schemas serialise")
}

/// What a built-in kind sees while it runs.
#[derive(Debug)]
pub struct StageContext {
    /// The stage's folder; inputs lie here under their places, outputs go here. Also the current directory.
    pub folder: PathBuf,
    /// Its inputs by port.
    pub inputs: BTreeMap<String, StageInput>,
    /// A folder that survives kill and retry while the key is the same.
    pub scratch: PathBuf,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The pipeline's root, for `put:` places and mirrors; never for reading undeclared inputs.
    pub root: PathBuf,
    /// CPU cores it was given.
    pub cores: u32,
    /// The device it is to compute on, as `resources.device` or `--device` names it; `None` leaves it to the kind.
    pub device: Option<String>,
    /// Sequences a device is to take at once, where the pipeline says so.
    pub micro_batch: Option<u32>,
    /// The processes that carry the stage out together; `None` where it is one alone.
    pub together: Option<Together>,
    /// Where progress goes: a file the supervisor reads.
    pub progress_file: Option<PathBuf>,
    /// A stable folder for what a person may look at while the stage runs; decides nothing and is no output.
    pub live: Option<PathBuf>,
    /// Writes a line to the stage's log.
    pub say: fn(&str),
}

/// The processes that carry a stage out together. The first of them makes its result and starts the others, which read
/// the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Together {
    /// Which of them this is, counted from 0.
    pub rank: u32,
    /// How many there are, 2 or more.
    pub size: u32,
    /// The file with the order.
    pub order: PathBuf,
    /// Where the first leaves its result or error ([`crate::exec::job::ExecResult`]).
    pub result: PathBuf,
}

/// One input of a running stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageInput {
    /// Its path inside the stage's folder.
    pub place: String,
    /// What it is: one item, or one an instance for fan-in.
    pub items: Vec<InputItem>,
    /// Whether it is a fan-in folder.
    pub many: bool,
}

/// One thing an input is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputItem {
    /// Path inside the stage's folder.
    pub path: String,
    /// Axes of the producing stage; empty for files.
    pub axes: Vec<Axis>,
    /// Digest of the content.
    pub digest: Digest,
    /// Key of the record it comes from; `None` for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// The device the record says it was made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Notes of the record and of everything upstream of it, such as `stand_in` or `licence`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, serde_json::Value>,
    /// Kind and configuration behind the record; told to kinds with [`StageKind::READS_RECORDS`] alone, since the
    /// record's key, which decides it, is a part of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

impl StageContext {
    /// A stage that works in a folder and nothing else: no network, one core, silent, what it keeps beside its outputs.
    #[must_use]
    pub fn in_folder(folder: &Path, inputs: BTreeMap<String, StageInput>) -> Self {
        Self {
            folder: folder.to_owned(),
            inputs,
            scratch: folder.join("scratch"),
            offline: true,
            root: folder.to_owned(),
            cores: 1,
            device: None,
            micro_batch: None,
            together: None,
            progress_file: None,
            live: None,
            say: |_| {},
        }
    }

    /// The path of an input.
    ///
    /// # Errors
    /// When the stage has no such input; kinds ask only for ports they declared.
    pub fn input(&self, port: &str) -> Result<PathBuf, StageError> {
        self.find_input(port).ok_or_else(|| {
            StageError::new("kind::port", format!("the stage has no input `{port}`")).bug()
        })
    }

    /// The path of an optional input.
    #[must_use]
    pub fn find_input(&self, port: &str) -> Option<PathBuf> {
        self.inputs
            .get(port)
            .map(|input| self.folder.join(&input.place))
    }

    /// The path of an output whose path equals its name.
    #[must_use]
    pub fn output(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Says how far the stage is; loses quietly what cannot be written, since progress decides nothing.
    pub fn progress(&self, progress: &Progress) {
        use std::io::Write as _;
        let Some(path) = &self.progress_file else {
            return;
        };
        if let (Ok(mut line), Ok(mut file)) = (
            serde_json::to_vec(progress),
            fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path),
        ) {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
    }
}

/// What a built-in kind leaves beside its outputs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StageReport {
    /// Its numbers.
    pub numbers: Vec<MetricRow>,
    /// Facts for the record that travel downstream: `origin`, `stand_in`, `licence`, `redistribute` …
    pub notes: BTreeMap<String, serde_json::Value>,
    /// Of a kind that chooses: each axis and the chosen value, as selectors show it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choice: BTreeMap<String, String>,
    /// For the lock file: what was fetched, such as `sha256:…`, with its URL and size.
    pub pin: Option<Pin>,
    /// Messages for the user that do not stop the stage.
    pub warnings: Vec<Diagnostic>,
}

/// What an unpinned download turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The URL of the specification.
    pub url: String,
    /// `blake3:…` or `sha256:…`.
    pub digest: String,
    /// Size in bytes as downloaded.
    pub bytes: u64,
}

/// The code of a failure that more of a device's memory may cure: a stage that had a share of one gets a whole one.
pub const OUT_OF_MEMORY: &str = "engine::out_of_memory";

/// Why a stage failed.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{}", diagnostic.message)]
pub struct StageError {
    /// The message.
    pub diagnostic: Diagnostic,
    /// Whether trying again may help (a network that broke off, not a wrong digest).
    pub may_pass: bool,
    /// Decides the exit code.
    pub class: Class,
}

impl StageError {
    /// A failure with a code and a message.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            diagnostic: Diagnostic::error(code, message),
            may_pass: false,
            class: Class::Stage,
        }
    }

    /// Adds a line under the message.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.diagnostic.details.push(line.into());
        self
    }

    /// Says the next action.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.diagnostic.help = Some(help.into());
        self
    }

    /// Trying again may help.
    #[must_use]
    pub fn may_pass(mut self) -> Self {
        self.may_pass = true;
        self
    }

    /// The environment's fault: disk, network, permissions.
    #[must_use]
    pub fn environment(mut self) -> Self {
        self.class = Class::Environment;
        self
    }

    /// Our fault.
    #[must_use]
    pub fn bug(mut self) -> Self {
        self.class = Class::Bug;
        self
    }
}

impl From<std::io::Error> for StageError {
    fn from(error: std::io::Error) -> Self {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let failure = Self::new(
            if full { "run::disk_full" } else { "run::io" },
            error.to_string(),
        )
        .environment();
        if full {
            failure.help("free some space (`pipeline cache gc` may help) and run again")
        } else {
            failure
        }
    }
}
