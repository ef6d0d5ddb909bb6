//! The other processes of a stage: the first starts them and watches them, they end when it does. Knows no model and no
//! steps.
//!
//! Each speaks with the first over a socket that is its standard input, so nothing of them lies on a disk. What one of them
//! has to say when it fails comes over its standard output.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flow::exec::job::ExecResult;
use flow::exec::process::{signal_name, this_program};
use flow::kind::{StageError, Together};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

/// How often the first looks after the others.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the first may take to notice by itself that another is gone: it may wait for a device that waits for the other.
const GRACE: Duration = Duration::from_secs(20);
/// How long after a socket broke the end of its process is waited for.
pub(super) const END: Duration = Duration::from_secs(5);

/// Starts all but the first, each on its device, with a socket to each.
pub(super) fn start(
    together: &Together,
    devices: &[String],
) -> Result<(Vec<UnixStream>, Watch), StageError> {
    let others = Arc::new(Others {
        members: Mutex::new(Vec::new()),
        size: devices.len(),
        is_over: AtomicBool::new(false),
    });
    // Made first: what was started ends with it when one cannot be.
    let watch = Watch::begin(Arc::clone(&others), together.result.clone())?;
    let mut sockets = Vec::new();
    for (rank, device) in devices.iter().enumerate().skip(1) {
        let (own, theirs) = UnixStream::pair()?;
        let mut command = this_program()?;
        command
            .arg("exec")
            .arg(&together.order)
            .args(["--rank", &rank.to_string(), "--device", device])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped());
        let member = Member {
            rank,
            child: command.spawn()?,
            end: None,
        };
        others.members().push(member);
        sockets.push(own);
    }
    Ok((sockets, watch))
}

/// Ends this process, which has nothing to keep, as soon as the first is gone.
pub(super) fn end_with(first: OwnedFd) -> std::io::Result<()> {
    let watch = move || {
        loop {
            let mut asked = [PollFd::new(&first, PollFlags::empty())];
            let _ = poll(&mut asked, None);
            if asked[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
            {
                // No clean-up: a device may wait for those that are gone.
                let _ = kill_process(getpid(), Signal::KILL);
            }
        }
    };
    let thread = std::thread::Builder::new().name("first".to_owned());
    thread.spawn(watch).map(drop)
}

/// A process that was started.
#[derive(Debug)]
struct Member {
    rank: usize,
    child: Child,
    end: Option<Result<(), StageError>>,
}

impl Member {
    /// How it ended, if it did.
    fn end(&mut self, size: usize) -> Option<&Result<(), StageError>> {
        if self.end.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.end = Some(self.judge(status, size));
        }
        self.end.as_ref()
    }

    fn judge(&mut self, status: ExitStatus, size: usize) -> Result<(), StageError> {
        if status.success() {
            return Ok(());
        }
        let who = format!("process {} of {size}", self.rank + 1);
        let mut said = Vec::new();
        if let Some(output) = &mut self.child.stdout {
            let _ = output.read_to_end(&mut said);
        }
        if let Ok(Err(mut error)) = serde_json::from_slice::<ExecResult>(&said) {
            error.diagnostic.message = format!("{who}: {}", error.diagnostic.message);
            return Err(error);
        }
        let Some(signal) = status.signal() else {
            let message = format!("{who} ended without a result ({status})");
            return Err(StageError::new("run::kind_crashed", message).bug());
        };
        let message = format!("{who} was killed by {}", signal_name(signal));
        let error = StageError::new("run::killed", message).may_pass();
        Err(match signal {
            9 => error.help("often the kernel's out-of-memory killer: lower `resources.processes` or `resources.micro_batch`"),
            _ => error,
        })
    }
}

/// All processes but the first.
#[derive(Debug)]
struct Others {
    members: Mutex<Vec<Member>>,
    size: usize,
    /// Whether nobody waits for them any more.
    is_over: AtomicBool,
}

impl Others {
    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().expect("nobody panics while it is held")
    }

    /// Why one ended before it should.
    fn lost(&self) -> Option<StageError> {
        let mut members = self.members();
        let ends = members.iter_mut().filter_map(|one| one.end(self.size));
        ends.filter_map(|end| end.as_ref().err()).next().cloned()
    }
}

/// Looks after the others until it is dropped, which ends them.
#[derive(Debug)]
pub(super) struct Watch {
    others: Arc<Others>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn begin(others: Arc<Others>, result: PathBuf) -> std::io::Result<Self> {
        let watched = Arc::clone(&others);
        let watch = move || {
            let mut since: Option<Instant> = None;
            while !watched.is_over.load(Ordering::Acquire) {
                std::thread::park_timeout(LOOK_EVERY);
                let Some(error) = watched.lost() else {
                    continue;
                };
                if since.get_or_insert_with(Instant::now).elapsed() > GRACE {
                    give_up(&result, error);
                }
            }
        };
        let thread = std::thread::Builder::new().name("others".to_owned());
        Ok(Self {
            others,
            thread: Some(thread.spawn(watch)?),
        })
    }
}

/// Ends this process, which hangs, with the error of another.
#[expect(
    clippy::exit,
    reason = "nobody else can end a process whose main thread hangs"
)]
fn give_up(result: &Path, error: StageError) -> ! {
    let text = serde_json::to_vec(&ExecResult::Err(error)).expect("errors serialise");
    let _ = fs_err::write(result, text);
    // What libraries do at an exit may hang as well.
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::park_timeout(END);
        let _ = kill_process(getpid(), Signal::KILL);
    });
    std::process::exit(1)
}

impl Watch {
    /// Why another ended before it should.
    pub(super) fn lost(&self) -> Option<StageError> {
        self.others.lost()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.others.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        for member in self.others.members().iter_mut() {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;

    use super::*;

    /// A process that runs a script instead of a stage, as the second of two.
    pub(in crate::kinds::training) fn others(script: &str, result: PathBuf) -> Watch {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let member = Member {
            rank: 1,
            child: command.spawn().expect("starts"),
            end: None,
        };
        let others = Others {
            members: Mutex::new(vec![member]),
            size: 2,
            is_over: AtomicBool::new(false),
        };
        Watch::begin(Arc::new(others), result).expect("a thread")
    }

    #[test]
    fn who_is_not_waited_for_any_more_is_ended() {
        let folder = tempfile::tempdir().expect("temp");
        let watch = others("exec sleep 1000", folder.path().join("result"));
        let pid = watch.others.members()[0].child.id();
        assert!(watch.lost().is_none());
        drop(watch);
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("small"));
        let asked = rustix::process::test_kill_process(pid.expect("not zero"));
        assert!(asked.is_err(), "it is buried");
    }
}
