//! Where a task under ptrace stopped, and letting it go on; signals by number. Knows nothing of calls and their paths.
//!
//! `nix` names signals by an enum that ends at 31. A stop for a real-time signal (32 to 64), which timers, runtimes and
//! libraries of threads send, is no status to it (`EINVAL`, and the wait has been spent), and none can be handed on.
//! So the status is taken apart here, and the one call that `nix` cannot say is made as it is.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, WaitStatus, waitpid};

/// Why a task is not at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ended with this code.
    Exited(i32),
    /// It was ended by the signal with this number.
    Killed(i32),
    /// It enters or leaves a call.
    Call,
    /// Something that was asked for, by the number of ptrace.
    Event(i32),
    /// The signal with this number is about to reach it.
    Signal(i32),
    /// Nothing that concerns the one who watches.
    Other,
}

impl Stop {
    fn of(status: WaitStatus) -> Self {
        if let Some(code) = status.exit_status() {
            Self::Exited(code)
        } else if let Some(signal) = status.terminating_signal() {
            Self::Killed(signal)
        } else if let Some(signal) = status.stopping_signal() {
            // With `PTRACE_O_TRACESYSGOOD` a call is told apart from a SIGTRAP by this bit; an event stands above both.
            const CALL: i32 = libc::SIGTRAP | 0x80;
            match (status.as_raw() >> 16, signal) {
                (0, CALL) => Self::Call,
                (0, signal) => Self::Signal(signal),
                (event, _) => Self::Event(event),
            }
        } else {
            Self::Other
        }
    }
}

/// Waits until `task`, or any where it is `None`, stops or ends.
///
/// # Errors
/// When there is none to wait for.
pub(super) fn next(task: Option<Pid>) -> io::Result<(Pid, Stop)> {
    let task = task.and_then(|task| rustix::process::Pid::from_raw(task.as_raw()));
    // `__WALL`: threads too, of which the C library tells nothing when they end.
    let options = WaitOptions::from_bits_retain(libc::__WALL.unsigned_abs());
    loop {
        match waitpid(task, options) {
            Ok(Some((task, status))) => {
                let task = Pid::from_raw(task.as_raw_nonzero().get());
                return Ok((task, Stop::of(status)));
            }
            // Without `WNOHANG` there is always one.
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets a stopped task run to its next call, where `signal` is not 0 with that signal.
///
/// # Errors
/// When it is gone.
pub(super) fn go_on(task: Pid, signal: i32) -> nix::Result<()> {
    let data = std::ptr::without_provenance_mut::<libc::c_void>(signal.unsigned_abs() as usize);
    let nowhere = std::ptr::null_mut::<libc::c_void>();
    #[expect(
        unsafe_code,
        reason = "the one call that hands on a real-time signal; see SAFETY"
    )]
    // SAFETY: `PTRACE_SYSCALL` reads and writes no memory of this process: it ignores the address, and takes the data
    // as the number of a signal. A task that is no longer there, and a number that is no signal, are errors.
    let result = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, task.as_raw(), nowhere, data) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        // Of a child that is not watched: what `nix` refuses as a status is one here.
        for (script, stop) in [
            ("exit 7", Stop::Exited(7)),
            ("kill -9 $$", Stop::Killed(9)),
            ("kill -40 $$", Stop::Killed(40)),
            ("kill -64 $$", Stop::Killed(64)),
        ] {
            let mut child = Command::new("sh")
                .args(["-c", script])
                .spawn()
                .expect("a shell");
            let task = Pid::from_raw(child.id().cast_signed());
            assert_eq!(next(Some(task)).expect("it ends"), (task, stop), "{script}");
            assert!(child.wait().is_err(), "it was waited for");
            assert_eq!(go_on(task, 40), Err(Errno::ESRCH));
        }
    }
}
