//! Processes of a stage: their groups, their stray descendants, their end. Knows nothing of results.
//!
//! Each stage has a process group. What leaves the group (a daemon) is found as a descendant of the supervisor, which
//! adopts orphans (Linux's child subreaper). What a killed supervisor leaves behind is found by the variable
//! [`ATTEMPT_VARIABLE`] in its environment when the same key is taken up again.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal};

/// Names the attempt's folder in the environment of every process of a stage.
pub const ATTEMPT_VARIABLE: &str = "PIPELINE_ATTEMPT";

/// Variables of the caller's environment that pass to a stage outside the key, as names or `PREFIX*`.
pub const BASE_ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_*",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SLURM_*",
    "CUDA_*",
    "NVIDIA_*",
];

/// The part of this process's environment that passes to a stage.
#[must_use]
pub fn base_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.as_bytes();
            BASE_ENVIRONMENT
                .iter()
                .any(|allowed| match allowed.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix.as_bytes()),
                    None => name == allowed.as_bytes(),
                })
        })
        .collect()
}

/// The file a program's name means: the first executable file of that name in `path`. A name with a `/` is taken as it is.
///
/// Looking it up here, not in the forked child, lets the child be started without copying this process.
#[must_use]
pub fn find_program(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    std::env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|file| {
            fs_err::metadata(file).is_ok_and(|metadata| {
                metadata.is_file() && crate::content::is_executable(&metadata)
            })
        })
}

/// A command that starts this program again, also after its file was replaced or removed: a run must not end, nor go
/// on with another version, because somebody builds the program meanwhile.
///
/// # Errors
/// When the system does not tell what program this is.
pub fn this_program() -> io::Result<Command> {
    let path = std::env::current_exe()?;
    let running = Path::new("/proc/self/exe");
    if std::fs::symlink_metadata(running).is_err() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new(running);
    command.arg0(path);
    Ok(command)
}

/// Makes this process the parent of its orphaned descendants, so that none escapes. Linux only; elsewhere a no-op.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
}

/// Sends a signal to a process group; a group that is gone is fine.
pub fn signal_group(group: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(group, signal);
}

/// A signal by its name, with or without `SIG`.
#[must_use]
pub fn signal_by_name(name: &str) -> Option<Signal> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" => Some(Signal::TERM),
        "INT" => Some(Signal::INT),
        "USR1" => Some(Signal::USR1),
        "USR2" => Some(Signal::USR2),
        "HUP" => Some(Signal::HUP),
        "QUIT" => Some(Signal::QUIT),
        "KILL" => Some(Signal::KILL),
        _ => None,
    }
}

/// The name of a signal number, such as `SIGKILL`.
#[must_use]
pub fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// Buries the children of this process that are dead, but those in `spare`: what a stage put into the background and
/// what ended by itself. Returns how many live.
pub fn bury_dead(spare: &[i32]) -> usize {
    children_of_this()
        .into_iter()
        .filter(|pid| !spare.contains(&pid.as_raw_nonzero().get()))
        .filter(|pid| is_alive(*pid))
        .count()
}

/// Whether a child lives; a dead one is buried.
fn is_alive(child: Pid) -> bool {
    matches!(
        rustix::process::waitpid(Some(child), rustix::process::WaitOptions::NOHANG),
        Ok(None)
    )
}

/// Kills every descendant of this process but those in `spare`, and buries them. Returns how many lived.
#[must_use]
pub fn kill_descendants(spare: &[i32]) -> usize {
    let mut killed = 0;
    // A descendant may fork while we look; each round finds what the last one left.
    for _ in 0..50 {
        let children: Vec<Pid> = children_of_this()
            .into_iter()
            .filter(|pid| !spare.contains(&pid.as_raw_nonzero().get()))
            .collect();
        if children.is_empty() {
            break;
        }
        let living: Vec<Pid> = children.into_iter().filter(|pid| is_alive(*pid)).collect();
        for child in &living {
            let _ = rustix::process::kill_process(*child, Signal::KILL);
        }
        for child in living {
            if rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).is_ok()
            {
                killed += 1;
            }
        }
    }
    killed
}

#[cfg(target_os = "linux")]
fn children_of_this() -> Vec<Pid> {
    let mut children = Vec::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return children;
    };
    for task in tasks.filter_map(Result::ok) {
        // Kernels without CONFIG_PROC_CHILDREN lack the file; there only the group is killed.
        let text = fs_err::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?)),
        );
    }
    children
}

#[cfg(not(target_os = "linux"))]
fn children_of_this() -> Vec<Pid> {
    Vec::new()
}

/// Kills what earlier attempts below the folders `works` left running, found by their environment. Only processes that
/// this user may read are seen, which are those this user's attempts started.
pub fn kill_leftovers(works: &[PathBuf]) -> usize {
    let wanted: Vec<Vec<u8>> = works
        .iter()
        .map(|work| {
            [
                ATTEMPT_VARIABLE.as_bytes(),
                b"=",
                work.as_os_str().as_bytes(),
                b"/",
            ]
            .concat()
        })
        .collect();
    let mut killed = BTreeSet::new();
    // A process may fork while we look, and takes a moment to die: look until none is left.
    for _ in 0..50 {
        let Ok(processes) = std::fs::read_dir("/proc") else {
            break;
        };
        let mut found = false;
        for process in processes.filter_map(Result::ok) {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|name| Pid::from_raw(name.parse().ok()?))
            else {
                continue;
            };
            if pid == rustix::process::getpid() {
                continue;
            }
            let Ok(environment) = fs_err::read(process.path().join("environ")) else {
                continue;
            };
            let is_leftover = environment
                .split(|byte| *byte == 0)
                .any(|variable| wanted.iter().any(|prefix| variable.starts_with(prefix)));
            if is_leftover {
                found = true;
                if rustix::process::kill_process(pid, Signal::KILL).is_ok() {
                    killed.insert(pid.as_raw_nonzero());
                }
            }
        }
        if !found {
            break;
        }
        std::thread::yield_now();
    }
    killed.len()
}
