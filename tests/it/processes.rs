//! Processes of a run seen from outside, by `/proc`. Knows nothing of the program but how it marks its own.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) arguments: String,
}

/// Every living process of this machine that may be seen.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs_err::read_dir("/proc").expect("Linux");
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs_err::read_to_string(entry.path().join("stat")).ok()?;
            let mut after_name = stat.rsplit_once(')')?.1.split_whitespace();
            let is_dead = matches!(after_name.next()?, "Z" | "X");
            let parent = after_name.next()?.parse().ok()?;
            let arguments = fs_err::read(entry.path().join("cmdline")).ok()?;
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            (!is_dead).then_some(Process {
                pid,
                parent,
                arguments,
            })
        })
        .collect()
}

/// The supervisors of a runner.
pub(crate) fn supervisors(runner: i32) -> Vec<i32> {
    all()
        .into_iter()
        .filter(|process| process.parent == runner && process.arguments.contains(" supervise"))
        .map(|process| process.pid)
        .collect()
}

/// Living processes that belong to stages of the project at `root`.
pub(crate) fn of_stages(root: &Path) -> Vec<i32> {
    let mut wanted = b"PIPELINE_ATTEMPT=".to_vec();
    wanted.extend_from_slice(root.as_os_str().as_bytes());
    all()
        .into_iter()
        .filter(|process| {
            let environment = fs_err::read(format!("/proc/{}/environ", process.pid));
            environment.is_ok_and(|bytes| {
                bytes
                    .split(|byte| *byte == 0)
                    .any(|variable| variable.starts_with(&wanted))
            })
        })
        .map(|process| process.pid)
        .collect()
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    // It may have ended meanwhile, which is fine.
    let _ = kill_process(Pid::from_raw(pid).expect("not zero"), signal);
}
