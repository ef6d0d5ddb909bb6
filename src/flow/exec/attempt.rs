//! One try at a key: its folder, its checkpoint, its end, its record. Knows nothing of the runs that asked for it.
//!
//! ```text
//! work/<key>/lock            held while an attempt is at work
//! work/<key>/attempts.jsonl  a line at the start and one at the end of each attempt
//! work/<key>/checkpoint/     between attempts; inside the attempt's folder while one is at work
//! work/<key>/scratch/        the same for built-in kinds, always in place
//! work/<key>/<n>/            the folder of attempt n; <n>.log, <n>.order.json, <n>.result.json, <n>.progress beside it,
//!                            and <n>.checkpoint with the name of the checkpoint's folder inside
//! ```
//! All of it goes when a result is recorded, and stays when one is not.

use fs_err::os::unix::fs::OpenOptionsExt as _;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use super::environment::{self, quoted};
use super::job::{ExecOrder, ExecResult, ExecWork, Job, entry_of};
use super::place::{Damage, Placed};
use super::process::{ATTEMPT_VARIABLE, find_program, kill_leftovers, signal_name, this_program};
use super::supervisor::{Ending, Why};
use crate::clock;
use crate::content::Content;
use crate::diagnostic::Diagnostic;
use crate::kind::{Pin, StageError, StageReport};
use crate::metric::MetricRow;
use crate::notes::{self, Notes};
use crate::numbers;
use crate::spec::{Launch, METRICS};
use crate::store::index::{IndexEntry, append_record};
use crate::store::object::Intake;
use crate::store::record::{self, Machine, RECORD_VERSION, Record, this_machine};
use crate::store::{Store, remove_tree};

/// Free bytes below which a disk counts as full.
const FULL_BELOW_BYTES: u64 = 64 << 10;

/// An attempt at work.
#[derive(Debug)]
pub(super) struct Attempt {
    work: PathBuf,
    number: u32,
    folder: PathBuf,
    started: Instant,
    started_text: String,
    resumed: bool,
    checkpoint: Option<PathBuf>,
    earlier: Vec<record::Attempt>,
    repeat: String,
    environment: BTreeMap<String, String>,
    /// Whether the stage itself ended well, so that its work is worth keeping whatever comes after.
    ended_well: bool,
    temporary_place: PathBuf,
    temporary: Option<TemporaryFolder>,
}

/// What `TMPDIR` names for a stage that may write nowhere else. Goes with the attempt.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn make(path: PathBuf) -> io::Result<Self> {
        // Left by an attempt that was killed after its record was written.
        remove_tree(&path)?;
        fs_err::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0);
    }
}

impl Attempt {
    /// Clears away what earlier attempts left (processes, folders; never a checkpoint) and makes a new folder.
    pub(super) fn begin(store: &Store, job: &Job) -> io::Result<Self> {
        let work = store.work_path(&job.key);
        let earlier_numbers = attempt_numbers(&work);
        let mut earlier = Vec::new();
        if !earlier_numbers.is_empty() {
            kill_leftovers(std::slice::from_ref(&work));
            earlier = read_attempts(&work);
        }
        let number = earlier_numbers.last().map_or(1, |last| last + 1);
        let attempt = Self {
            folder: work.join(number.to_string()),
            work,
            number,
            started: Instant::now(),
            started_text: clock::rfc3339(clock::now_ns()),
            resumed: false,
            checkpoint: None,
            earlier,
            repeat: String::new(),
            environment: BTreeMap::new(),
            ended_well: false,
            // Not below `work`: the path of a socket has to fit into 108 bytes, and programs make theirs in here.
            temporary_place: store
                .dir()
                .join("tmp")
                .join(format!("for-{}", job.key.short())),
            temporary: None,
        };
        if !earlier_numbers.is_empty() {
            remove_tree(&attempt.temporary_place)?;
        }
        for old in earlier_numbers.iter().rev() {
            let folder = attempt.work.join(old.to_string());
            // By the name it had then: a later one may be another, or none.
            let noted = attempt.work.join(format!("{old}.checkpoint"));
            if let Ok(dir) = fs_err::read_to_string(noted) {
                salvage(&folder.join(dir), &attempt.saved_checkpoint())?;
            }
            remove_tree(&folder)?;
            for suffix in ["log", "order.json", "result.json", "progress", "checkpoint"] {
                let _ = fs_err::remove_file(attempt.work.join(format!("{old}.{suffix}")));
            }
        }
        fs_err::create_dir(&attempt.folder)?;
        attempt.note("working")?;
        Ok(attempt)
    }

    /// The key's folder, which is done with once there is a record.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.beside("log")
    }

    pub(super) fn progress_path(&self) -> PathBuf {
        self.beside("progress")
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.work.join(format!("{}.{suffix}", self.number))
    }

    fn saved_checkpoint(&self) -> PathBuf {
        self.work.join("checkpoint")
    }

    fn scratch(&self) -> PathBuf {
        self.work.join("scratch")
    }

    fn as_recorded(&self, end: &str) -> record::Attempt {
        record::Attempt {
            started: self.started_text.clone(),
            seconds: self.seconds(),
            end: end.to_owned(),
            resumed: self.resumed,
            host: machine().host.clone(),
        }
    }

    fn note(&self, end: &str) -> io::Result<()> {
        let mut line = serde_json::to_vec(&self.as_recorded(end)).map_err(io::Error::other)?;
        line.push(b'\n');
        let path = self.work.join("attempts.jsonl");
        fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(&line)
    }

    /// Moves the checkpoint of an earlier attempt into the folder, or makes an empty one.
    pub(super) fn bring_checkpoint(&mut self, job: &Job) -> io::Result<()> {
        if let Some(spec) = &job.policy.checkpoint {
            fs_err::write(self.beside("checkpoint"), &spec.dir)?;
            let place = self.folder.join(&spec.dir);
            if let Some(parent) = place.parent() {
                fs_err::create_dir_all(parent)?;
            }
            let saved = self.saved_checkpoint();
            if saved.is_dir() {
                fs_err::rename(&saved, &place)?;
            } else {
                fs_err::create_dir_all(&place)?;
            }
            self.resumed = has_entries(&place);
            self.checkpoint = Some(place);
        } else if job.launch == Launch::Builtin {
            self.resumed = has_entries(&self.scratch());
        }
        Ok(())
    }

    /// The command that carries the job out in the folder.
    pub(super) fn command(&mut self, job: &Job, placed: &Placed) -> Result<Command, StageError> {
        let mut command;
        match &job.launch {
            Launch::Builtin => {
                fs_err::create_dir_all(self.scratch())?;
                let order = self.beside("order.json");
                self.write_order(ExecWork::Kind {
                    kind: job.kind.clone(),
                    config: job.config.clone(),
                    inputs: placed.inputs.clone(),
                    scratch: self.scratch(),
                    progress: self.progress_path(),
                    result: self.beside("result.json"),
                    offline: job.offline,
                    root: job.root.clone(),
                    cores: job.policy.resources.cores,
                })?;
                command = this_program()?;
                command.arg("exec").arg(&order);
                self.repeat = format!(
                    "{} exec {}",
                    quoted(&std::env::current_exe()?.display().to_string()),
                    quoted(&order.display().to_string())
                );
            }
            Launch::Program(program) => {
                for (name, text) in &program.files {
                    let path = self.folder.join(name);
                    fs_err::write(&path, text)?;
                }
                let Some((first, rest)) = program.argv.split_first() else {
                    return Err(StageError::new(
                        "run::no_program",
                        "the command line is empty",
                    ));
                };
                let variables = environment::variables(&job.policy.env);
                let named = if first.contains('/') {
                    self.folder.join(first).into_os_string()
                } else {
                    first.into()
                };
                let path = variables
                    .get(OsStr::new("PATH"))
                    .map_or(OsStr::new("/usr/bin:/bin"), OsString::as_os_str);
                let program_file = find_program(&named, path)
                    .ok_or_else(|| self.not_started(job, &io::ErrorKind::NotFound.into()))?;
                if job.policy.sandbox {
                    let mut argv = vec![program_file.to_string_lossy().into_owned()];
                    argv.extend(rest.iter().cloned());
                    // A rule needs a file to stand on.
                    fs_err::write(self.progress_path(), "")?;
                    let place = self.temporary_place.clone();
                    self.temporary = Some(TemporaryFolder::make(place)?);
                    self.write_order(ExecWork::Sandboxed {
                        argv,
                        readable: placed.link_targets(),
                        writable: vec![self.progress_path(), self.temporary_place.clone()],
                    })?;
                    command = this_program()?;
                    command.arg("exec").arg(self.beside("order.json"));
                } else {
                    command = Command::new(program_file);
                    command.arg0(first).args(rest);
                }
                command.env_clear().envs(variables);
                let is_declared = |name| job.policy.env.iter().any(|v| v.name == name);
                if let Some(folder) = self.temporary.as_ref().filter(|_| !is_declared("TMPDIR")) {
                    command.env("TMPDIR", &folder.0);
                }
                command.env("PIPELINE_CORES", job.policy.resources.cores.to_string());
                command.env("PIPELINE_PROGRESS", self.progress_path());
                let mut shown = vec![
                    format!("cd {}", quoted(&self.folder.display().to_string())),
                    "&&".to_owned(),
                ];
                shown.extend(job.policy.env.iter().map(|variable| {
                    match (&variable.value, variable.secret) {
                        (Some(value), false) => format!("{}={}", variable.name, quoted(value)),
                        _ => format!("{0}=\"${0}\"", variable.name),
                    }
                }));
                if let Some(place) = &self.checkpoint {
                    command.env("PIPELINE_CHECKPOINT", place);
                    command.env("PIPELINE_RESUME", if self.resumed { "1" } else { "0" });
                    shown.push(format!(
                        "PIPELINE_CHECKPOINT={}",
                        quoted(&place.display().to_string())
                    ));
                    shown.push(format!("PIPELINE_RESUME={}", u8::from(self.resumed)));
                }
                shown.extend(program.argv.iter().map(|word| quoted(word)));
                self.repeat = shown.join(" ");
                self.environment = environment::record(
                    &job.policy.record,
                    &job.policy.env,
                    &job.root,
                    Some(&self.folder),
                );
            }
        }
        if let Some(gpus) = &job.gpus {
            command.env("CUDA_VISIBLE_DEVICES", gpus.join(","));
        }
        command
            .current_dir(&self.folder)
            .env("PWD", &self.folder)
            .env(ATTEMPT_VARIABLE, &self.folder);
        Ok(command)
    }

    fn write_order(&self, work: ExecWork) -> Result<(), StageError> {
        let order = ExecOrder {
            folder: self.folder.clone(),
            work,
        };
        // A configuration may hold a password, such as that of a URL: nobody else's business.
        fs_err::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.beside("order.json"))?
            .write_all(&serde_json::to_vec(&order).expect("orders serialise"))?;
        Ok(())
    }

    pub(super) fn not_started(&self, job: &Job, error: &io::Error) -> StageError {
        let program = match &job.launch {
            Launch::Program(program) => program.argv.first().map_or("", String::as_str),
            Launch::Builtin => "pipeline",
        };
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such program".to_owned(),
            io::ErrorKind::PermissionDenied => "it is not executable".to_owned(),
            io::ErrorKind::ArgumentListTooLong => "its arguments are too long".to_owned(),
            _ => error.to_string(),
        };
        let failure = StageError::new(
            "run::no_program",
            format!("`{}` cannot start `{program}`: {why}", job.stage),
        )
        .detail(format!("folder kept: {}", self.folder.display()));
        match error.kind() {
            io::ErrorKind::NotFound if program.contains('/') => {
                failure.help("paths start in the stage's folder: name the program under `needs:`, or give an absolute path")
            }
            io::ErrorKind::NotFound => failure.help("install it, or put its folder into PATH"),
            io::ErrorKind::ArgumentListTooLong => failure.help("give the program a file to read instead: `params` stand in `params.json`, the instances of an `all:` in its `index.jsonl`"),
            io::ErrorKind::PermissionDenied => failure.help("make the file executable, or start it through its interpreter"),
            _ => failure,
        }
    }

    /// Turns a bad end of the process into an error that says everything a person needs.
    pub(super) fn check_ending(
        &self,
        job: &Job,
        ending: &Ending,
        last_lines: &[String],
    ) -> Result<(), StageError> {
        let stage = &job.stage;
        let explain = |mut failure: StageError| {
            if is_full(&self.work) {
                failure = failure.environment().help(
                    "the disk of the cache is full: free some space (`pipeline cache gc` may help) and run again",
                );
            }
            if !last_lines.is_empty() {
                failure = failure.detail(format!("last {} of output:", lines(last_lines.len())));
                for line in last_lines {
                    failure = failure.detail(format!("  {line}"));
                }
            }
            failure
                .detail(format!("folder kept: {}", self.folder.display()))
                .detail(format!("to repeat by hand: {}", self.repeat))
        };
        if ending.why == Why::Time {
            let seconds = job.policy.resources.time_seconds.unwrap_or_default();
            let failure = StageError::new(
                "run::time",
                format!("`{stage}` was stopped after its time limit of {seconds} s"),
            );
            return Err(explain(
                failure
                    .may_pass()
                    .help("raise `resources.time`, or make the stage checkpoint"),
            ));
        }
        let status = match &ending.status {
            Ok(status) => *status,
            Err(error) => {
                return Err(explain(
                    StageError::new("run::lost", format!("`{stage}` was lost: {error}")).may_pass(),
                ));
            }
        };
        if let Some(signal) = status.signal() {
            let name = signal_name(signal);
            let failure = StageError::new("run::killed", format!("`{stage}` was killed by {name}"))
                .may_pass();
            let failure = if signal == 9 {
                failure.help("often the kernel's out-of-memory killer: set `resources.memory`, run with fewer jobs, or use less memory")
            } else {
                failure
            };
            return Err(explain(failure));
        }
        if job.launch == Launch::Builtin {
            return match self.read_result() {
                Some(Ok(_)) if status.success() => Ok(()),
                Some(Err(mut error)) => {
                    error.diagnostic.message = format!("`{stage}`: {}", error.diagnostic.message);
                    Err(if error.diagnostic.details.is_empty() {
                        explain(error)
                    } else {
                        error
                    })
                }
                _ => Err(explain(
                    StageError::new(
                        "run::kind_crashed",
                        format!("`{stage}` ended without a result ({status})"),
                    )
                    .bug(),
                )),
            };
        }
        match status.code() {
            Some(0) => Ok(()),
            code => {
                let code = code.map_or_else(|| status.to_string(), |code| code.to_string());
                let failure = StageError::new(
                    "run::exit_code",
                    format!("`{stage}` failed with exit code {code}"),
                )
                .may_pass();
                let failure = match code.as_str() {
                    "126" => failure.help("126: found but not executable"),
                    "127" => failure.help("127: a program of the script was not found; install it, or name it under `needs:`"),
                    _ => failure,
                };
                Err(explain(failure))
            }
        }
    }

    fn read_result(&self) -> Option<ExecResult> {
        serde_json::from_slice(&fs_err::read(self.beside("result.json")).ok()?).ok()
    }

    pub(super) fn tainted(&self, job: &Job, damage: &Damage) -> StageError {
        let mut failure = StageError::new(
            "run::tainted",
            format!(
                "inputs of `{}` changed while it ran: its result is not recorded",
                job.stage
            ),
        );
        for changed in &damage.changed {
            failure = failure.detail(changed.clone());
        }
        for object in &damage.objects {
            failure = failure.detail(format!(
                "object {} of the cache, moved to quarantine",
                object.short()
            ));
        }
        failure
            .detail(format!("folder kept: {}", self.folder.display()))
            .help("run again; if the stage writes its inputs, let it work on a copy")
    }

    /// Takes the outputs into the store, writes the record, and clears the key's folder.
    pub(super) fn record(
        &mut self,
        job: &Job,
        store: &Store,
    ) -> Result<(IndexEntry, Option<Pin>, Vec<Diagnostic>), StageError> {
        self.ended_well = true;
        let mut missing = Vec::new();
        for output in &job.outputs {
            if fs_err::metadata(self.folder.join(&output.path)).is_err() {
                missing.push(format!("`{}` at `{}`", output.name, output.path));
            }
        }
        if !missing.is_empty() {
            let failure = StageError::new(
                "run::missing_output",
                format!(
                    "`{}` ended well but did not make {}",
                    job.stage,
                    missing.join(", ")
                ),
            )
            .detail(format!("folder kept: {}", self.folder.display()));
            return Err(failure.help("outputs are paths inside the stage's folder, where it starts; correct `outputs:` or the command"));
        }
        let mut report = match (&job.launch, self.read_result()) {
            (Launch::Builtin, Some(Ok(report))) => report,
            _ => StageReport::default(),
        };
        if let Launch::Program(program) = &job.launch {
            for file in &program.numbers {
                report
                    .numbers
                    .extend(numbers::read_numbers(&self.folder.join(file))?);
            }
        }
        // All are read before any is moved: a fault of the last leaves the folder as the stage left it.
        let mut intakes: BTreeMap<&str, Intake> = BTreeMap::new();
        for output in &job.outputs {
            // Two names may point at one path.
            if !intakes.contains_key(output.path.as_str()) {
                let intake = store
                    .take_in(&self.folder, &self.folder.join(&output.path))
                    .map_err(|error| self.not_kept(job, &output.name, &error))?;
                intakes.insert(&output.path, intake);
            }
        }
        let mut outputs: BTreeMap<String, Content> = BTreeMap::new();
        let mut settled: BTreeMap<&str, Content> = BTreeMap::new();
        for output in &job.outputs {
            let content = match settled.get(output.path.as_str()) {
                Some(content) => *content,
                None => store
                    .settle(&intakes[output.path.as_str()])
                    .map_err(|error| self.not_kept(job, &output.name, &error))?,
            };
            settled.insert(&output.path, content);
            outputs.insert(output.name.clone(), content);
        }
        for (name, content) in &outputs {
            store
                .sync_large([content])
                .map_err(|error| self.not_kept(job, name, &error))?;
        }
        if job.launch == Launch::Builtin || !report.numbers.is_empty() {
            outputs.insert(
                METRICS.to_owned(),
                store.put_bytes(&metrics_bytes(&report.numbers)?)?,
            );
        }
        let log = std::fs::metadata(self.log_path()).is_ok_and(|metadata| metadata.len() > 0);
        let log = if log {
            Some(store.ingest(&self.work, &self.log_path())?)
        } else {
            None
        };
        let seconds = self.seconds();
        let mut attempts = std::mem::take(&mut self.earlier);
        attempts.push(self.as_recorded("done"));
        let notes = report.notes;
        let record = Record {
            version: RECORD_VERSION,
            key: job.key,
            manifest: job.manifest.clone(),
            stage: job.stage.clone(),
            pipeline: job.pipeline.clone(),
            outputs,
            seconds,
            finished: clock::rfc3339(clock::now_ns()),
            attempts,
            machine: Machine {
                gpus: job.gpus.clone().unwrap_or_default(),
                ..machine().clone()
            },
            device: device(job, &notes),
            program: concat!("pipeline ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: match &job.launch {
                Launch::Program(program) => program.argv.clone(),
                Launch::Builtin => Vec::new(),
            },
            environment: std::mem::take(&mut self.environment),
            log,
            notes,
            inherited: inherited_notes(job),
            accepted: None,
        };
        store.write_record(&record)?;
        let entry = entry_of(&record);
        // The result stands from here on: what cannot be written now costs the next run time, not the result.
        let mut warnings = report.warnings;
        if let Err(error) = append_record(store.dir(), &job.key, &entry) {
            let warning =
                Diagnostic::warning("store::index", "the index of the cache cannot be written")
                    .detail(error.to_string());
            warnings.push(warning);
        }
        Ok((entry, report.pin, warnings))
    }

    /// An output that no store can keep is the stage's fault; a refusing disk is not. The folder is kept either way.
    fn not_kept(&self, job: &Job, output: &str, error: &io::Error) -> StageError {
        let failure = StageError::new(
            "run::bad_output",
            format!(
                "output `{output}` of `{}` cannot be kept: {error}",
                job.stage
            ),
        )
        .detail(format!("folder kept: {}", self.folder.display()));
        if error.kind() == io::ErrorKind::InvalidData {
            return failure.help("an output is a file or a folder of files, with names in UTF-8 and without links in a circle");
        }
        let failure = failure.environment();
        if is_full(&self.work) {
            return failure.help("the disk of the cache is full: free some space (`pipeline cache gc` may help) and run again");
        }
        failure.help("see that everything in it can be read, and run again")
    }

    /// Keeps the folder of an attempt that recorded nothing; its checkpoint goes to where the next one finds it.
    /// Returns whether there is a checkpoint.
    pub(super) fn keep(&mut self, end: &str, mut with_folder: bool) -> bool {
        with_folder |= self.ended_well;
        let mut has_checkpoint = has_entries(&self.scratch());
        if let Some(place) = &self.checkpoint {
            has_checkpoint |= has_entries(place);
            let is_safe = salvage(place, &self.saved_checkpoint()).is_ok();
            // The next attempt tries again; until then the folder that holds it stays.
            with_folder |= !is_safe;
        }
        let _ = self.note(end);
        if !with_folder {
            let _ = remove_tree(&self.folder);
        }
        has_checkpoint
    }

    /// Removes the folder of an attempt that never started.
    pub(super) fn discard(&mut self, end: &str) {
        let _ = self.note(end);
        let _ = remove_tree(&self.folder);
    }
}

fn lines(count: usize) -> String {
    if count == 1 {
        "line".to_owned()
    } else {
        format!("{count} lines")
    }
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(this_machine)
}

/// What the inputs hand on.
fn inherited_notes(job: &Job) -> Notes {
    let mut notes = Notes::new();
    for item in job.inputs.iter().flat_map(|input| &input.items) {
        notes::inherit(&mut notes, &item.notes);
    }
    notes
}

fn device(job: &Job, notes: &Notes) -> String {
    if let Some(serde_json::Value::String(device)) = notes.get("device") {
        return device.clone();
    }
    match &job.gpus {
        Some(gpus) if !gpus.is_empty() => format!("cuda:{}", gpus.join(",")),
        _ => "cpu".to_owned(),
    }
}

fn metrics_bytes(rows: &[MetricRow]) -> Result<Vec<u8>, StageError> {
    let mut bytes = Vec::new();
    for row in rows {
        if !row.value.is_finite() {
            return Err(StageError::new(
                "run::not_a_number",
                format!("the number `{}` is {}", row.metric, row.value),
            )
            .help("leave a number out where it is undefined"));
        }
        serde_json::to_writer(&mut bytes, row).map_err(io::Error::other)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn attempt_numbers(work: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(work) else {
        return Vec::new();
    };
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .split('.')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The attempts so far; one without an end was killed together with its supervisor.
fn read_attempts(work: &Path) -> Vec<record::Attempt> {
    let text = fs_err::read_to_string(work.join("attempts.jsonl")).unwrap_or_default();
    let mut attempts: Vec<record::Attempt> = Vec::new();
    for attempt in text
        .lines()
        .filter_map(|line| serde_json::from_str::<record::Attempt>(line).ok())
    {
        if let Some(last) = attempts.last_mut()
            && last.end == "lost"
            && last.started == attempt.started
        {
            *last = attempt;
            continue;
        }
        let end = if attempt.end == "working" {
            "lost".to_owned()
        } else {
            attempt.end.clone()
        };
        attempts.push(record::Attempt { end, ..attempt });
    }
    attempts
}

/// Whether a file system has no room left, so that a stage on it fails for no fault of its own.
fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < FULL_BELOW_BYTES
            || (disk.f_files > 0 && disk.f_favail == 0)
    })
}

fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Moves a checkpoint to where the next attempt finds it, unless there is one already or this one is empty.
fn salvage(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if !has_entries(from) || to.exists() {
        return Ok(());
    }
    if fs_err::rename(from, to).is_ok() {
        return Ok(());
    }
    // A folder without its write bit cannot be moved elsewhere.
    fs_err::set_permissions(from, std::fs::Permissions::from_mode(0o700))?;
    fs_err::rename(from, to)
}

/// The last attempt at a key that has no record, as its folder tells it.
#[must_use]
pub fn last_attempt(store: &Store, key: &crate::digest::Digest) -> Option<record::Attempt> {
    read_attempts(&store.work_path(key)).pop()
}

/// The log of the last attempt at a key that has no record.
#[must_use]
pub fn last_log(store: &Store, key: &crate::digest::Digest) -> Option<PathBuf> {
    let work = store.work_path(key);
    let last = attempt_numbers(&work).pop()?;
    Some(work.join(format!("{last}.log"))).filter(|path| path.exists())
}
