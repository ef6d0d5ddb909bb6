//! Several processes of this program that carry one stage out together: the first starts the others and watches them, the
//! others end when it does. Knows no model and no steps.
//!
//! Each of the others speaks with the first over a socket that is its standard input, so nothing of them lies on a disk. What
//! one of them has to say when it fails comes over its standard output.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::backend::Precision;
use engine::collective::{Collective, Processes, Seat};
use engine::error::DeviceError;
use flow::exec::job::ExecResult;
use flow::exec::process::{signal_name, this_program};
use flow::kind::{StageContext, StageError, Together};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

use super::train_error;
use crate::kinds::device;

/// How often the first looks after the others.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the first may take to notice by itself that another is gone: it may wait for a device that waits for the other.
const GRACE: Duration = Duration::from_secs(20);
/// How long after a socket broke the end of its process is waited for.
const END: Duration = Duration::from_secs(5);

/// One's place among the processes of a stage.
#[derive(Debug)]
pub(in crate::kinds) struct Group {
    seat: Seat,
    device: String,
    processes: Shared,
    watch: Option<Watch>,
}

impl Group {
    /// The group of a stage that several processes carry out: started by the first of them, joined by others.
    ///
    /// # Errors
    /// When a device is missing, or a process cannot be started.
    pub(in crate::kinds) fn gather(
        stage: &StageContext,
        precision: Precision,
    ) -> Result<Option<Self>, StageError> {
        let Some(together) = &stage.together else {
            return Ok(None);
        };
        let seat = Seat {
            rank: together.rank as usize,
            size: together.size as usize,
        };
        let (device, processes, watch) = match seat.rank {
            0 => {
                let mut devices = device::one_each(stage, precision, together.size)?;
                let (processes, watch) = start(together, &devices)?;
                (devices.swap_remove(0), processes, Some(watch))
            }
            rank => {
                let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
                end_with(socket.try_clone()?)?;
                let processes = Processes::other(rank, seat.size, UnixStream::from(socket));
                let device = stage.device.clone().unwrap_or_else(|| "auto".to_owned());
                (device, processes.map_err(device_error)?, None)
            }
        };
        Ok(Some(Self {
            seat,
            device,
            processes: Shared(Arc::new(Mutex::new(processes))),
            watch,
        }))
    }

    /// Which of them this is.
    pub(in crate::kinds) fn seat(&self) -> Seat {
        self.seat
    }

    /// The device of this one.
    pub(in crate::kinds) fn device(&self) -> &str {
        &self.device
    }

    /// What a trainer adds up by.
    pub(in crate::kinds) fn collective(&self) -> Box<dyn Collective> {
        Box::new(self.processes.clone())
    }

    /// A number that the first knows, or knows not to be; what others say is not asked.
    ///
    /// # Errors
    /// When another process is gone.
    pub(in crate::kinds) fn tell(
        &mut self,
        number: Option<u64>,
    ) -> Result<Option<u64>, StageError> {
        // Pieces that f32 holds exactly.
        let mut pieces = [0.0_f32; 5];
        if let (0, Some(number)) = (self.seat.rank, number) {
            pieces[0] = 1.0;
            for (piece, at) in pieces[1..].iter_mut().zip([0, 16, 32, 48]) {
                *piece = (number >> at & 0xffff) as f32;
            }
        }
        let told = self.processes.sum(&mut pieces);
        told.map_err(|error| self.explain(device_error(error)))?;
        let known = pieces[1..].iter().rev();
        let number = known.fold(0, |number, piece| number << 16 | *piece as u64);
        Ok((pieces[0] > 0.0).then_some(number))
    }

    /// What went wrong with another process, where that is why this one failed.
    pub(in crate::kinds) fn explain(&self, error: StageError) -> StageError {
        let (Some(watch), true) = (&self.watch, error.diagnostic.code == DEVICE) else {
            return error;
        };
        let since = Instant::now();
        while since.elapsed() < END {
            if let Some(lost) = watch.others.lost() {
                return lost;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        error
    }
}

/// The code of faults of a device, those of a group among them.
const DEVICE: &str = "engine::device";

fn device_error(error: DeviceError) -> StageError {
    train_error(error.into())
}

/// One connection for a trainer and for its owner.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Processes>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Processes> {
        self.0.lock().expect("nobody panics while it is held")
    }
}

impl Collective for Shared {
    fn rank(&self) -> usize {
        self.lock().rank()
    }

    fn size(&self) -> usize {
        self.lock().size()
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), DeviceError> {
        self.lock().sum(values)
    }
}

/// Starts all but the first, each on its device.
fn start(together: &Together, devices: &[String]) -> Result<(Processes, Watch), StageError> {
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
    Ok((Processes::first(sockets).map_err(device_error)?, watch))
}

/// Ends this process, which has nothing to keep, as soon as the first is gone.
fn end_with(first: OwnedFd) -> std::io::Result<()> {
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
struct Watch {
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
mod tests {
    use std::process::Command;

    use super::*;

    /// A process that runs a script instead of a stage, as the second of two.
    fn others(script: &str, result: PathBuf) -> Watch {
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

    fn explained(script: &str, error: StageError) -> StageError {
        let folder = tempfile::tempdir().expect("temp");
        let socket = UnixStream::pair().expect("sockets").0;
        let group = Group {
            seat: Seat { rank: 0, size: 2 },
            device: "cpu".to_owned(),
            processes: Shared(Arc::new(Mutex::new(
                Processes::first(vec![socket]).expect("a socket"),
            ))),
            watch: Some(others(script, folder.path().join("result"))),
        };
        group.explain(error)
    }

    #[test]
    fn what_another_process_says_is_what_the_stage_says() {
        let gone = || StageError::new(DEVICE, "the group of processes failed");
        let own = StageError::new("engine::no_library", "there is no NVRTC").environment();
        let said = serde_json::to_string(&ExecResult::Err(own)).expect("errors serialise");
        let error = explained(&format!("printf '%s' '{said}'; exit 1"), gone());
        let text = &error.diagnostic.message;
        assert_eq!(text, "process 2 of 2: there is no NVRTC");
        assert_eq!(error.diagnostic.code, "engine::no_library");
        let error = explained("kill -9 $$", gone());
        let text = &error.diagnostic.message;
        assert_eq!(text, "process 2 of 2 was killed by SIGKILL");
        assert!(error.may_pass && error.diagnostic.help.is_some());
        let error = explained("echo nonsense; exit 3", gone());
        let text = &error.diagnostic.message;
        assert!(text.starts_with("process 2 of 2 ended without a result"));
        // What is the first's own stays so, whatever became of others.
        let other = StageError::new("engine::not_finite", "the loss is not finite");
        let error = explained("exit 3", other);
        assert_eq!(error.diagnostic.code, "engine::not_finite");
    }

    #[test]
    fn who_is_not_waited_for_any_more_is_ended() {
        let folder = tempfile::tempdir().expect("temp");
        let watch = others("exec sleep 1000", folder.path().join("result"));
        let pid = watch.others.members()[0].child.id();
        assert!(watch.others.lost().is_none());
        drop(watch);
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("small"));
        let asked = rustix::process::test_kill_process(pid.expect("not zero"));
        assert!(asked.is_err(), "it is buried");
    }
}
