//! The supervisors of a run: started when first needed, spoken to over pipes. Knows nothing of stages but their ids.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;

use super::{RunMessage, RunOptions};
use crate::exec::environment;
use crate::exec::job::{Answer, Job, Order};
use crate::exec::process::{adopt_orphans, kill_descendants, this_program};
use crate::signals::{self, Listening};
use crate::spec::StageId;

/// What comes from a supervisor, by its number.
#[derive(Debug)]
pub(crate) enum PoolMessage {
    /// It says something.
    Answer(usize, Answer),
    /// Its pipe is closed: it is dead.
    Lost(usize),
}

struct Worker {
    child: Child,
    /// `None` once it is buried.
    orders: Option<ChildStdin>,
    stage: Option<StageId>,
    /// Whether the stage's process was started.
    has_started: bool,
}

pub(super) struct Pool {
    program: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    jobs: usize,
    workers: Vec<Worker>,
    messages: Sender<RunMessage>,
    signals: Option<Listening>,
}

impl Pool {
    /// Prepares for at most `jobs` supervisors and listens for signals; starts none yet.
    pub(super) fn new(options: &RunOptions, jobs: usize, messages: Sender<RunMessage>) -> Self {
        Self {
            program: options.program.clone(),
            environment: options.environment.clone(),
            jobs: jobs.max(1),
            workers: Vec::new(),
            messages,
            signals: None,
        }
    }

    /// Signals reach the run as messages from the first supervisor on; before that there is nothing to save.
    fn listen(&mut self) -> io::Result<()> {
        adopt_orphans();
        let messages = self.messages.clone();
        self.signals = Some(signals::listen(move |signal| {
            environment::give_up();
            messages.send(RunMessage::Signal(signal)).is_ok()
        })?);
        Ok(())
    }

    pub(super) fn running(&self) -> usize {
        self.workers
            .iter()
            .filter(|worker| worker.stage.is_some())
            .count()
    }

    pub(super) fn has_room(&self) -> bool {
        self.running() < self.jobs
    }

    pub(super) fn submit(&mut self, stage: StageId, job: Job) -> io::Result<()> {
        let order = line_of(&Order::Run(Box::new(job)))?;
        let idle = self
            .workers
            .iter()
            .position(|worker| worker.orders.is_some() && worker.stage.is_none());
        let number = match idle {
            Some(number) => number,
            None => self.start()?,
        };
        let worker = &mut self.workers[number];
        worker.stage = Some(stage);
        worker.has_started = false;
        // A supervisor that died just now is noticed by its reader; the stage is then taken as lost.
        let _ = send(worker, &order);
        Ok(())
    }

    fn start(&mut self) -> io::Result<usize> {
        if self.signals.is_none() {
            self.listen()?;
        }
        let number = self.workers.len();
        let mut command = if self.program.as_os_str().is_empty() {
            this_program()?
        } else {
            Command::new(&self.program)
        };
        let mut child = command
            .arg("supervise")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Its own group: a Ctrl-C at the terminal is for the run, which asks stages to stop in good order.
            .process_group(0)
            .spawn()?;
        let orders = child.stdin.take();
        let answers = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no pipe to the supervisor"))?;
        let messages = self.messages.clone();
        std::thread::Builder::new()
            .name(format!("answers {number}"))
            .spawn(move || {
                for line in BufReader::new(answers).lines() {
                    let Ok(answer) = line
                        .map_err(drop)
                        .and_then(|line| serde_json::from_str(&line).map_err(drop))
                    else {
                        break;
                    };
                    if messages
                        .send(RunMessage::Pool(PoolMessage::Answer(number, answer)))
                        .is_err()
                    {
                        return;
                    }
                }
                let _ = messages.send(RunMessage::Pool(PoolMessage::Lost(number)));
            })?;
        self.workers.push(Worker {
            child,
            orders,
            stage: None,
            has_started: false,
        });
        Ok(number)
    }

    pub(super) fn stage_of(&self, worker: usize) -> Option<StageId> {
        self.workers.get(worker).and_then(|worker| worker.stage)
    }

    /// The process of a worker's stage lives.
    pub(super) fn has_started(&mut self, worker: usize) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.has_started = true;
        }
    }

    /// The job of a worker is over.
    pub(super) fn release(&mut self, worker: usize) -> Option<StageId> {
        self.workers
            .get_mut(worker)
            .and_then(|worker| worker.stage.take())
    }

    /// A worker is dead: what it left running is killed. Returns the stage it had, and whether that had started.
    pub(super) fn bury(&mut self, worker: usize) -> Option<(StageId, bool)> {
        let dead = self.workers.get_mut(worker)?;
        dead.orders = None;
        let _ = dead.child.kill();
        let _ = dead.child.wait();
        let had_started = dead.has_started;
        let stage = dead.stage.take();
        if stage.is_some() {
            // Orphans of the dead supervisor are ours now; the living supervisors are spared.
            let spare: Vec<i32> = self
                .workers
                .iter()
                .filter(|worker| worker.orders.is_some())
                .filter_map(|worker| i32::try_from(worker.child.id()).ok())
                .collect();
            let _ = kill_descendants(&spare);
        }
        stage.map(|stage| (stage, had_started))
    }

    pub(super) fn stop_all(&mut self) {
        self.tell_busy(&Order::Stop);
    }

    /// Kills stages. A supervisor that has no process to kill yet, or with `at_once` any that is busy, dies itself: it
    /// may be copying inputs, asking about surroundings, or storing outputs, none of which it leaves half done.
    pub(super) fn kill_all(&mut self, at_once: bool) {
        for worker in &mut self.workers {
            if worker.stage.is_some() && (at_once || !worker.has_started) {
                // Its reader notices, and what it started is killed when it is buried.
                let _ = worker.child.kill();
            }
        }
        self.tell_busy(&Order::Kill);
    }

    fn tell_busy(&mut self, order: &Order) {
        let order = line_of(order).expect("orders without paths serialise");
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| worker.stage.is_some())
        {
            // One that is dead is noticed by its reader.
            let _ = send(worker, &order);
        }
    }

    /// Lets the supervisors go.
    pub(super) fn close(&mut self) {
        for worker in &mut self.workers {
            worker.orders = None;
        }
        for worker in &mut self.workers {
            let _ = worker.child.wait();
        }
        self.signals = None;
    }
}

/// An order as the line that carries it. Fails on paths that are not UTF-8.
fn line_of(order: &Order) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(order).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

fn send(worker: &mut Worker, line: &[u8]) -> io::Result<()> {
    match &mut worker.orders {
        Some(orders) => orders.write_all(line).and_then(|()| orders.flush()),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
