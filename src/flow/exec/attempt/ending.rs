//! What the end of an attempt's process means, in words a person can act on. Keeps nothing.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use super::Attempt;
use crate::exec::job::{ExecResult, Job};
use crate::exec::place::Damage;
use crate::exec::process::signal_name;
use crate::exec::supervisor::{Ending, Why};
use crate::kind::StageError;
use crate::spec::Launch;

/// Free bytes below which a disk counts as full.
const FULL_BELOW_BYTES: u64 = 64 << 10;

impl Attempt {
    /// Turns a bad end of the process into an error that says everything a person needs.
    pub(in crate::exec) fn check_ending(
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

    pub(super) fn read_result(&self) -> Option<ExecResult> {
        serde_json::from_slice(&fs_err::read(self.beside("result.json")).ok()?).ok()
    }

    pub(in crate::exec) fn tainted(&self, job: &Job, damage: &Damage) -> StageError {
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
}

fn lines(count: usize) -> String {
    if count == 1 {
        "line".to_owned()
    } else {
        format!("{count} lines")
    }
}

/// Whether a file system has no room left, so that a stage on it fails for no fault of its own.
pub(super) fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| {
        disk.f_bavail.saturating_mul(disk.f_frsize) < FULL_BELOW_BYTES
            || (disk.f_files > 0 && disk.f_favail == 0)
    })
}
