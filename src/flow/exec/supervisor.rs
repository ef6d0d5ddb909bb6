//! A long-lived process that carries out jobs one after another. Holds the key's lock while its stage works, and kills
//! the stage when the run's pipe closes, so that a killed run leaves no orphan at work under a free lock.

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::attempt::Attempt;
use super::environment;
use super::job::{Answer, Force, Job, Order, Outcome, entry_of};
use super::litter::Litter;
use super::output::{Log, drain};
use super::place::{PlaceError, Placed, place_inputs};
use super::process::{adopt_orphans, bury_dead, kill_descendants, signal_by_name, signal_group};
use super::sweep::clear_finished;
use crate::content::Ignore;
use crate::diagnostic::{Class, Diagnostic};
use crate::event::Progress;
use crate::kind::StageError;
use crate::store::lock::TryKey;
use crate::store::{Store, StoreError};

/// Seconds a stage without `checkpoint.grace` gets between being asked to stop and being killed.
const GRACE: Duration = Duration::from_secs(10);
/// How often a running stage's progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long the output of a dead stage may stay open before it is given up.
const OUTPUT_CLOSES_WITHIN: Duration = Duration::from_secs(2);

enum Message {
    Order(Order),
    Closed,
    Exited(u64, io::Result<ExitStatus>),
    OutputClosed(u64),
}

/// Serves orders from standard input until it closes; answers go to standard output.
///
/// # Errors
/// When a thread cannot be started, or the pipe of answers breaks.
pub fn serve() -> io::Result<()> {
    adopt_orphans();
    let (sender, receiver) = mpsc::channel();
    let orders = sender.clone();
    std::thread::Builder::new()
        .name("orders".into())
        .spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(order) = line
                    .map_err(drop)
                    .and_then(|line| serde_json::from_str(&line).map_err(drop))
                else {
                    break;
                };
                if matches!(order, Order::Stop | Order::Kill) {
                    environment::give_up();
                }
                if orders.send(Message::Order(order)).is_err() {
                    return;
                }
            }
            environment::give_up();
            let _ = orders.send(Message::Closed);
        })?;
    let mut supervisor = Supervisor {
        sender,
        receiver,
        is_closed: false,
        jobs: 0,
        litter: Litter::default(),
    };
    while !supervisor.is_closed {
        match supervisor.receiver.recv() {
            Ok(Message::Order(Order::Run(job))) => {
                let outcome = supervisor.carry_out(&job);
                if supervisor.is_closed {
                    break;
                }
                answer(&Answer::Done(Box::new(outcome)))?;
            }
            Ok(Message::Closed) | Err(_) => break,
            // Orders that crossed the end of their job, and messages of a stage given up.
            Ok(_) => {}
        }
    }
    Ok(())
}

fn answer(answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

struct Supervisor {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    is_closed: bool,
    /// Counts jobs, so that a late message of one given up is not taken for the present one's.
    jobs: u64,
    litter: Litter,
}

/// How the process of a stage ended.
pub(super) struct Ending {
    pub(super) status: io::Result<ExitStatus>,
    pub(super) why: Why,
    pub(super) strays: usize,
}

/// Why it ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// By itself.
    Itself,
    /// Its time was over.
    Time,
    /// It was asked to stop, or killed on request.
    Asked,
}

fn failed(error: StageError, seconds: f64) -> Outcome {
    Outcome::Failed {
        diagnostic: error.diagnostic,
        may_pass: error.may_pass,
        class: error.class,
        seconds,
    }
}

impl Supervisor {
    fn carry_out(&mut self, job: &Job) -> Outcome {
        let started = Instant::now();
        match self.try_carry_out(job) {
            Ok(outcome) => outcome,
            Err(error) => failed(error, started.elapsed().as_secs_f64()),
        }
    }

    fn try_carry_out(&mut self, job: &Job) -> Result<Outcome, StageError> {
        let store = Store::open(&job.cache)?;
        let lock = match job.cooperates {
            true => store.try_lock_together(&job.key)?,
            false => store.try_lock(&job.key)?,
        };
        let lock = match lock {
            TryKey::Busy(holder) => return Ok(Outcome::Busy { holder }),
            TryKey::Held(lock) => lock,
        };
        if job.force != Force::Always
            && let Some(record) = store.find_record(&job.key)
            && (job.force == Force::No || record.outputs.values().all(|content| store.has(content)))
        {
            clear_finished(&store, &job.key, &record);
            return Ok(Outcome::Shared {
                entry: entry_of(&record),
            });
        }
        if lock.is_claim() {
            let _ = answer(&Answer::Warning(no_locks(&job.cache)));
        }
        let ignore = Ignore::load(&job.root, &job.cache)?;
        let mut attempt = Attempt::begin(&store, job)?;
        let placed = match place_inputs(job, &store, &ignore, attempt.folder()) {
            Ok(placed) => placed,
            Err(error) => {
                attempt.discard("not started");
                return not_placed(error, &store);
            }
        };
        let outcome = self.attempt(job, &store, &ignore, &mut attempt, &placed);
        if let Err(error) = &outcome {
            attempt.keep("failed", error.class == Class::Stage);
        }
        outcome
    }

    fn attempt(
        &mut self,
        job: &Job,
        store: &Store,
        ignore: &Ignore,
        attempt: &mut Attempt,
        placed: &Placed,
    ) -> Result<Outcome, StageError> {
        attempt.bring_checkpoint(job)?;
        let command = attempt.command(job, placed)?;
        if environment::has_given_up() {
            return Ok(Outcome::Stopped {
                seconds: attempt.seconds(),
                has_checkpoint: attempt.keep("stopped", false),
            });
        }
        let log = Log::new(attempt.log_path());
        let ending = self.run(job, command, attempt, &log)?;
        let last_lines = {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = log.finish();
            log.last_lines(20)
        };
        let seconds = attempt.seconds();
        if ending.why == Why::Asked {
            let has_checkpoint = attempt.keep("stopped", false);
            return Ok(Outcome::Stopped {
                seconds,
                has_checkpoint,
            });
        }
        let damage = placed.damage(job, ignore);
        for digest in &damage.objects {
            if let Ok(path) = store.quarantine(digest) {
                let warning = Diagnostic::warning(
                    "store::written",
                    format!(
                        "`{}` wrote into object {} of the cache",
                        job.stage,
                        digest.short()
                    ),
                )
                .detail(format!(
                    "moved to {}; what needs it will be remade",
                    path.display()
                ));
                let _ = answer(&Answer::Warning(warning));
            }
        }
        attempt.check_ending(job, &ending, &last_lines)?;
        if !damage.changed.is_empty() || !damage.objects.is_empty() {
            return Err(attempt.tainted(job, &damage));
        }
        if ending.strays > 0 {
            let warning = Diagnostic::warning(
                "run::strays",
                format!("`{}` left {} of its processes running; they were killed", job.stage, ending.strays),
            )
            .help("wait for background processes before the stage ends; a stage cannot start a service for others");
            let _ = answer(&Answer::Warning(warning));
        }
        let (entry, pin, warnings) = attempt.record(job, store)?;
        let bytes = job
            .inputs
            .iter()
            .flat_map(|input| &input.items)
            .map(|item| item.content.bytes)
            .sum();
        self.litter.take(store, attempt.work(), bytes);
        for warning in warnings {
            let _ = answer(&Answer::Warning(warning));
        }
        Ok(Outcome::Recorded { entry, pin })
    }

    /// Starts the process and stays with it to its end, and the end of everything it started.
    fn run(
        &mut self,
        job: &Job,
        mut command: Command,
        attempt: &Attempt,
        log: &Arc<Mutex<Log>>,
    ) -> Result<Ending, StageError> {
        use std::os::unix::process::CommandExt as _;
        let (reader, writer) = io::pipe()?;
        self.jobs += 1;
        let this = self.jobs;
        // The reader first: once the process lives, nothing may fail before somebody waits for it.
        let closed = self.sender.clone();
        drain(reader, log.clone(), move || {
            drop(closed.send(Message::OutputClosed(this)));
        })?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|error| attempt.not_started(job, &error))?;
        // The command holds the writing ends of the pipe; without this the output would never end.
        drop(command);
        let group = Pid::from_child(&child);
        let own = [group.as_raw_nonzero().get()];
        let _ = answer(&Answer::Started {
            group: group.as_raw_nonzero().get(),
            resumed: attempt.is_resumed(),
        });
        let exited = self.sender.clone();
        let mut child = child;
        let waits = std::thread::Builder::new()
            .name("wait".into())
            .spawn(move || drop(exited.send(Message::Exited(this, child.wait()))));
        if let Err(error) = waits {
            signal_group(group, Signal::KILL);
            let _ = kill_descendants(&[]);
            return Err(error.into());
        }

        let grace = job
            .policy
            .checkpoint
            .as_ref()
            .map_or(GRACE, |c| Duration::from_secs_f64(c.grace_seconds));
        let ask = job
            .policy
            .checkpoint
            .as_ref()
            .and_then(|c| signal_by_name(&c.signal))
            .unwrap_or(Signal::TERM);
        let started = Instant::now();
        let limit = job
            .policy
            .resources
            .time_seconds
            .map(Duration::from_secs_f64);
        let mut why = Why::Itself;
        let mut kill_at: Option<Instant> = None;
        let mut output_closed = false;
        let mut progress = ProgressFile::new(attempt.progress_path());
        let status = loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(Message::Exited(job, status)) if job == this => break status,
                Ok(Message::OutputClosed(job)) => output_closed |= job == this,
                Ok(Message::Order(Order::Stop)) if why == Why::Itself => {
                    why = Why::Asked;
                    kill_at = Some(Instant::now() + grace);
                    signal_group(group, ask);
                }
                Ok(Message::Order(Order::Kill)) => {
                    why = Why::Asked;
                    signal_group(group, Signal::KILL);
                }
                Ok(Message::Closed) | Err(RecvTimeoutError::Disconnected) => {
                    self.is_closed = true;
                    why = Why::Asked;
                    signal_group(group, Signal::KILL);
                }
                Ok(Message::Order(_) | Message::Exited(..)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bury_dead(&own);
                    if let Some(progress) = progress.look() {
                        let _ = answer(&Answer::Progress(progress));
                    }
                }
            }
            if why == Why::Itself && limit.is_some_and(|limit| started.elapsed() > limit) {
                why = Why::Time;
                kill_at = Some(Instant::now() + grace);
                signal_group(group, ask);
            }
            if kill_at.is_some_and(|at| Instant::now() > at) {
                signal_group(group, Signal::KILL);
                kill_at = None;
            }
        };
        // What ended by itself, unwaited for, is no stray; what lives is, in the group or out of it.
        let living = bury_dead(&[]);
        signal_group(group, Signal::KILL);
        let strays = kill_descendants(&[]).max(living);
        let given_up = Instant::now() + OUTPUT_CLOSES_WITHIN;
        while !output_closed && Instant::now() < given_up {
            match self.receiver.recv_timeout(OUTPUT_CLOSES_WITHIN) {
                Ok(Message::OutputClosed(job)) => output_closed |= job == this,
                Ok(Message::Closed) => self.is_closed = true,
                _ => {}
            }
        }
        Ok(Ending {
            status,
            why,
            strays,
        })
    }
}

fn not_placed(error: PlaceError, store: &Store) -> Result<Outcome, StageError> {
    match error {
        PlaceError::Changed { port } => Ok(Outcome::InputChanged { port }),
        PlaceError::Io(error) => Err(error.into()),
        PlaceError::Store(StoreError::Missing { digest }) => Ok(Outcome::InputMissing {
            digests: vec![digest],
            warnings: Vec::new(),
        }),
        PlaceError::Store(StoreError::Corrupt {
            digest, size_bytes, ..
        }) => {
            let warning = corrupt(store, &digest, size_bytes);
            Ok(Outcome::InputMissing {
                digests: vec![digest],
                warnings: vec![warning],
            })
        }
        PlaceError::Store(StoreError::Io(error)) => Err(error.into()),
    }
}

/// Moves a damaged object away and says so.
pub(crate) fn corrupt(
    store: &Store,
    digest: &crate::digest::Digest,
    size_bytes: u64,
) -> Diagnostic {
    let moved = match store.quarantine(digest) {
        Ok(_) => "moved to cache/quarantine; what is needed of it will be remade".to_owned(),
        Err(error) => format!("cannot be moved to cache/quarantine: {error}"),
    };
    Diagnostic::warning(
        "store::corrupt",
        format!(
            "object {} does not match its digest ({size_bytes} bytes)",
            digest.short()
        ),
    )
    .detail(moved)
}

fn no_locks(cache: &Path) -> Diagnostic {
    Diagnostic::warning(
        "store::no_locks",
        format!(
            "the file system of `{}` keeps no locks: going on with claim files",
            cache.display()
        ),
    )
    .detail("two runs may now and then do the same work twice; results stay right")
}

struct ProgressFile {
    path: PathBuf,
    read: u64,
}

impl ProgressFile {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The last whole line written since the last look.
    fn look(&mut self) -> Option<Progress> {
        use std::io::{Read as _, Seek as _};
        let mut file = std::fs::File::open(&self.path).ok()?;
        let length = file.metadata().ok()?.len();
        if length <= self.read {
            return None;
        }
        // A stage that floods the file is read at its end only.
        let from = self.read.max(length.saturating_sub(64 << 10));
        file.seek(io::SeekFrom::Start(from)).ok()?;
        let mut text = Vec::new();
        file.take(64 << 10).read_to_end(&mut text).ok()?;
        let end = text.iter().rposition(|byte| *byte == b'\n')?;
        self.read = from + end as u64 + 1;
        let line = text[..end].rsplit(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    }
}
