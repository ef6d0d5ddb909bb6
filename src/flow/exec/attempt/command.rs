//! How the process of an attempt is started. Knows nothing of how it ends.

use fs_err::os::unix::fs::OpenOptionsExt as _;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Attempt, TemporaryFolder};
use crate::exec::environment::{self, quoted};
use crate::exec::job::{ExecOrder, ExecWork, Job};
use crate::exec::place::Placed;
use crate::exec::process::{ATTEMPT_VARIABLE, find_program, this_program};
use crate::kind::StageError;
use crate::spec::Launch;

impl Attempt {
    /// The command that carries the job out in the folder.
    pub(in crate::exec) fn command(
        &mut self,
        job: &Job,
        placed: &Placed,
    ) -> Result<Command, StageError> {
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
                    device: job.policy.resources.device.clone(),
                    micro_batch: job.policy.resources.micro_batch,
                    processes: job.policy.resources.processes,
                    live: live_folder(&job.root, &job.pipeline, &job.stage),
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
                    if let Some(parent) = path.parent() {
                        fs_err::create_dir_all(parent)?;
                    }
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
                if self.is_watched {
                    let mut argv = vec![program_file.to_string_lossy().into_owned()];
                    argv.extend(rest.iter().cloned());
                    self.write_order(ExecWork::Watched {
                        argv,
                        seen: self.seen_path(),
                    })?;
                    command = this_program()?;
                    command.arg("exec").arg(self.beside("order.json"));
                } else if job.policy.sandbox {
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

    pub(in crate::exec) fn not_started(&self, job: &Job, error: &io::Error) -> StageError {
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
}

/// Where a person finds what a stage shows while it runs: `reports/<pipeline>/tensorboard/<stage>/<cell>`. A folder by
/// the stage's name and not by its key, so that it can be left open over many runs.
#[must_use]
pub fn live_folder(root: &Path, pipeline: &str, stage: &str) -> PathBuf {
    let mut folder = root.join("reports").join(pipeline);
    folder.push("tensorboard");
    let (stage, cell) = match stage.split_once('[') {
        Some((stage, cell)) => (stage, cell.strip_suffix(']').unwrap_or(cell)),
        None => (stage, ""),
    };
    folder.push(stage);
    if !cell.is_empty() {
        // Values are free texts; names of folders are not.
        let name = |c: char| match c {
            '=' | ',' | '.' | '-' | '_' => c,
            c if c.is_alphanumeric() => c,
            _ => '_',
        };
        let cell: String = cell.chars().map(name).collect();
        folder.push(cell.trim_start_matches('.'));
    }
    folder
}
