//! Processes under ptrace, and the paths in their calls. Knows nothing of stages.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;

use super::stops::{self, Stop};
use super::{Seen, normal};
use crate::exec::process::this_program;

/// How many paths are kept.
const MAX_PATHS: usize = 1_000_000;
/// The longest path the kernel takes.
const MAX_PATH_BYTES: usize = 4096;

/// What a call does with the path it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Read,
    Write,
    /// Both, where the file is there before; else it is written.
    Update,
    Look,
    Run,
}

/// Where a task is: between calls, or in one that names a path or does not.
#[derive(Debug)]
enum Task {
    Outside,
    Inside(Option<(PathBuf, Intent)>),
}

/// Becomes `argv` once the parent is ready to watch. Returns what went wrong.
#[must_use]
pub fn begin(argv: &[String]) -> io::Error {
    let Some((program, arguments)) = argv.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    if let Err(error) = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP)) {
        return error.into();
    }
    Command::new(program).args(arguments).exec()
}

/// Starts this program with `order`, by which it calls [`begin`], follows it and all it starts, and writes what they
/// did with which path to `to`. Returns its exit code, 128 and the number after a signal.
///
/// # Errors
/// When watching is denied.
pub fn follow(order: &Path, to: &Path) -> io::Result<u8> {
    let child = this_program()?.arg("exec").arg(order).spawn()?;
    let first = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    if stops::next(Some(first))? != (first, Stop::Signal(libc::SIGSTOP)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(first, options)?;
    stops::go_on(first, 0)?;
    let mut watch = Watch {
        tasks: [(first, Task::Outside)].into(),
        seen: BTreeMap::new(),
    };
    let code = watch.until_end(first)?;
    let seen: Vec<Seen> = watch.seen.into_values().collect();
    fs_err::write(to, serde_json::to_vec(&seen).map_err(io::Error::other)?)?;
    Ok(code)
}

struct Watch {
    tasks: BTreeMap<Pid, Task>,
    seen: BTreeMap<PathBuf, Seen>,
}

impl Watch {
    fn until_end(&mut self, first: Pid) -> io::Result<u8> {
        loop {
            let (task, stop) = stops::next(None)?;
            let signal = match stop {
                Stop::Exited(code) => {
                    self.tasks.remove(&task);
                    if task == first {
                        return Ok(u8::try_from(code & 0xff).unwrap_or(1));
                    }
                    continue;
                }
                Stop::Killed(signal) => {
                    self.tasks.remove(&task);
                    if task == first {
                        return Ok(u8::try_from(128 + signal).unwrap_or(255));
                    }
                    continue;
                }
                Stop::Call => {
                    self.call(task);
                    0
                }
                Stop::Event(event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        // Of several threads only this one is left, inside the call that it is told of next.
                        let is_inside = matches!(self.tasks.get(&task), Some(Task::Inside(_)));
                        if !is_inside {
                            self.tasks.insert(task, Task::Inside(None));
                        }
                    }
                    0
                }
                Stop::Signal(signal) => {
                    // A new task begins with a stop that nobody sent it.
                    let is_new = !self.tasks.contains_key(&task);
                    self.tasks.entry(task).or_insert(Task::Outside);
                    let is_own = is_new && signal == libc::SIGSTOP || signal == libc::SIGTRAP;
                    if is_own { 0 } else { signal }
                }
                Stop::Other => continue,
            };
            // It may be gone by now, killed from elsewhere.
            let _ = stops::go_on(task, signal);
        }
    }

    /// A task enters a call, or leaves it.
    fn call(&mut self, task: Pid) {
        let state = self.tasks.insert(task, Task::Outside);
        let Ok(registers) = Registers::of(task) else {
            return;
        };
        match state {
            Some(Task::Inside(Some((path, intent)))) => self.note(path, intent, registers.result),
            Some(Task::Inside(None)) => {}
            Some(Task::Outside) | None => {
                let named = named(task, &registers);
                self.tasks.insert(task, Task::Inside(named));
            }
        }
    }

    fn note(&mut self, path: PathBuf, intent: Intent, result: i64) {
        if self.seen.len() >= MAX_PATHS {
            return;
        }
        let is_missing = [libc::ENOENT, libc::ENOTDIR]
            .map(|e| -i64::from(e))
            .contains(&result);
        if result < 0 && !is_missing {
            return;
        }
        let seen = self.seen.entry(path.clone()).or_insert_with(|| Seen {
            path,
            ..Seen::default()
        });
        match intent {
            _ if is_missing => seen.missing = true,
            // What it wrote before it knows already.
            Intent::Read | Intent::Run => seen.read |= !seen.written,
            Intent::Look => seen.looked_at = true,
            Intent::Write => seen.written = true,
            Intent::Update => {
                seen.read |= !seen.written;
                seen.written = true;
            }
        }
    }
}

/// Number, arguments and result of a call.
struct Registers {
    call: i64,
    arguments: [u64; 4],
    result: i64,
}

#[expect(
    clippy::cast_possible_wrap,
    reason = "registers hold signed numbers too"
)]
impl Registers {
    #[cfg(target_arch = "x86_64")]
    fn of(task: Pid) -> nix::Result<Self> {
        let r = ptrace::getregs(task)?;
        Ok(Self {
            call: r.orig_rax as i64,
            arguments: [r.rdi, r.rsi, r.rdx, r.r10],
            result: r.rax as i64,
        })
    }

    #[cfg(target_arch = "aarch64")]
    fn of(task: Pid) -> nix::Result<Self> {
        let r = ptrace::getregs(task)?;
        Ok(Self {
            call: r.regs[8] as i64,
            arguments: [r.regs[0], r.regs[1], r.regs[2], r.regs[3]],
            result: r.regs[0] as i64,
        })
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn of(_task: Pid) -> nix::Result<Self> {
        Err(nix::errno::Errno::ENOSYS)
    }
}

/// The path that a call names, and what for.
fn named(task: Pid, registers: &Registers) -> Option<(PathBuf, Intent)> {
    let [a, b, c, _] = registers.arguments;
    let opened = |flags: u64| {
        let has = |flag: i32| flags & u64::from(flag.unsigned_abs()) != 0;
        if has(libc::O_WRONLY) || has(libc::O_TRUNC) {
            Intent::Write
        } else if has(libc::O_RDWR) || has(libc::O_CREAT) {
            Intent::Update
        } else {
            Intent::Read
        }
    };
    const HERE: u64 = libc::AT_FDCWD as u64;
    let (folder, path, intent) = match registers.call {
        libc::SYS_openat => (a, b, opened(c)),
        libc::SYS_openat2 => (a, b, opened(word(task, c)?)),
        libc::SYS_execve => (HERE, a, Intent::Run),
        libc::SYS_execveat => (a, b, Intent::Run),
        libc::SYS_newfstatat
        | libc::SYS_statx
        | libc::SYS_faccessat
        | libc::SYS_faccessat2
        | libc::SYS_readlinkat => (a, b, Intent::Look),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => (HERE, a, opened(b)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => (HERE, a, Intent::Write),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_access | libc::SYS_readlink => {
            (HERE, a, Intent::Look)
        }
        _ => return None,
    };
    let path = text(task, path)?;
    if path.as_os_str().is_empty() {
        return None;
    }
    // The call has not been made yet.
    let settled = |path: PathBuf| match intent {
        Intent::Update if !path.exists() => (path, Intent::Write),
        intent => (path, intent),
    };
    if path.is_absolute() {
        return Some(settled(normal(&path)));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "descriptors are 32 bits in a register of 64"
    )]
    let folder = match folder as i32 {
        libc::AT_FDCWD => format!("/proc/{task}/cwd"),
        descriptor => format!("/proc/{task}/fd/{descriptor}"),
    };
    let folder = fs_err::read_link(folder).ok()?;
    Some(settled(normal(&folder.join(path))))
}

fn memory(task: Pid) -> Option<std::fs::File> {
    std::fs::File::open(format!("/proc/{task}/mem")).ok()
}

/// Eight bytes of a task's memory.
fn word(task: Pid, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory(task)?.read_exact_at(&mut bytes, at).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

/// The text at a place of a task's memory, up to its NUL. Page by page: the next one may not be there.
fn text(task: Pid, at: u64) -> Option<PathBuf> {
    let memory = memory(task)?;
    let mut text = Vec::new();
    while text.len() < MAX_PATH_BYTES {
        let from = at + text.len() as u64;
        let mut page = vec![0; 4096 - usize::try_from(from % 4096).ok()?];
        let count = memory.read_at(&mut page, from).ok()?;
        let page = &page[..count];
        match page.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&page[..end]);
                return Some(std::ffi::OsString::from_vec(text).into());
            }
            None if count == 0 => return None,
            None => text.extend_from_slice(page),
        }
    }
    None
}
