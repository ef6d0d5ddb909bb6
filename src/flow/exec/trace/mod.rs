//! One run of a stage under watch: which files its processes read. Nothing of it enters the cache.
//!
//! The kernel's ptrace tells every call that names a path. It needs no privilege and nothing installed, and sees static
//! programs too; a program that gains rights by its setuid bit does not gain them while it is watched. Linux only.

use std::path::PathBuf;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::attempt::Attempt;
use super::job::Job;
use super::place::{PlaceError, place_inputs};
use crate::content::Ignore;
use crate::kind::StageError;
use crate::spec::Launch;
use crate::store::lock::TryKey;
use crate::store::{Store, StoreError, remove_tree};

mod sort;
#[cfg(target_os = "linux")]
mod stops;
#[cfg(target_os = "linux")]
mod watch;

pub use sort::{Place, Traced, Undeclared};
#[cfg(target_os = "linux")]
pub use watch::{begin, follow};

/// Whether this system lets a program be watched.
pub const IS_POSSIBLE: bool = cfg!(target_os = "linux");

/// Elsewhere nothing can be watched.
#[cfg(not(target_os = "linux"))]
pub fn follow(_order: &std::path::Path, _to: &std::path::Path) -> std::io::Result<u8> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Elsewhere nothing can be watched.
#[cfg(not(target_os = "linux"))]
pub fn begin(_argv: &[String]) -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}

/// A path and what processes did with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// From `/`, without `.` and `..`.
    pub path: PathBuf,
    /// Opened for reading before it was written, or run.
    pub read: bool,
    /// Asked for, and there.
    pub looked_at: bool,
    /// Asked for, and not there.
    pub missing: bool,
    /// Opened for writing.
    pub written: bool,
}

/// Runs the stage once, in a folder that goes afterwards, and says what it read.
///
/// # Errors
/// When it cannot be started or watched. A command that fails has been watched all the same.
pub fn trace(job: &Job, store: &Store) -> Result<Traced, StageError> {
    if job.launch == Launch::Builtin {
        let problem = format!(
            "`{}` is of kind `{}`, which reads what it declares and nothing else",
            job.stage, job.kind
        );
        return Err(StageError::new("trace::kind", problem)
            .help("`--trace` is for stages of kind `command`"));
    }
    let mut job = job.clone();
    // A key of its own: neither the record nor the checkpoint of the stage is touched.
    job.key = crate::digest::Use::File.digest(format!("watched {}", job.key).as_bytes());
    job.policy.sandbox = false;
    let lock = match store.try_lock(&job.key)? {
        TryKey::Busy(holder) => {
            let problem = format!("`{}` is being watched already, by {holder}", job.stage);
            return Err(StageError::new("trace::busy", problem).help("wait until it is done"));
        }
        TryKey::Held(lock) => lock,
    };
    let done = watched(&job, store);
    drop(lock);
    let _ = remove_tree(&store.work_path(&job.key));
    done
}

fn watched(job: &Job, store: &Store) -> Result<Traced, StageError> {
    let ignore = Ignore::load(&job.root, &job.cache)?;
    let mut attempt = Attempt::begin(store, job)?;
    let placed =
        place_inputs(job, store, &ignore, attempt.folder()).map_err(|error| match error {
            PlaceError::Changed { port } => {
                StageError::new("trace::input", format!("input `{port}` changed meanwhile"))
                    .help("run again")
            }
            PlaceError::Io(error) | PlaceError::Store(StoreError::Io(error)) => error.into(),
            PlaceError::Store(error) => StageError::new(
                "trace::input",
                format!("an input is not in the cache: {error}"),
            )
            .help("run the stage that makes it with `--force`"),
        })?;
    attempt.bring_checkpoint(job)?;
    attempt.watch();
    let mut command = attempt.command(job, &placed)?;
    let log = fs_err::File::create(attempt.log_path())?;
    let status = command
        .stdin(Stdio::null())
        .stdout(log.file().try_clone()?)
        .stderr(log.file().try_clone()?)
        .status()
        .map_err(|error| attempt.not_started(job, &error))?;
    let log = fs_err::read(attempt.log_path())?;
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(16 << 10)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let last_lines = lines[lines.len().saturating_sub(20)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    let Ok(seen) = fs_err::read(attempt.seen_path()) else {
        return Err(StageError::new("trace::denied", format!("`{}` cannot be watched here: {text}", job.stage))
            .environment()
            .help("watching takes ptrace, which some containers deny: allow it (docker: `--cap-add SYS_PTRACE`; `sysctl kernel.yama.ptrace_scope` at most 1)"));
    };
    let seen: Vec<Seen> = serde_json::from_slice(&seen).map_err(std::io::Error::other)?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    Ok(sort::sort(
        job,
        attempt.folder(),
        home.as_deref(),
        &seen,
        status.success(),
        last_lines,
    ))
}

/// A path without `.` and `..`, by its text alone.
#[cfg(target_os = "linux")]
fn normal(path: &std::path::Path) -> PathBuf {
    use std::path::Component;
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}
