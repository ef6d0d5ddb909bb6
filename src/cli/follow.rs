//! `pipeline status --follow`: a run that goes on elsewhere, shown as `pipeline run` shows it, from the files of the run.

use std::time::{Duration, Instant};

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::event::{Event, Observer as _};
use flow::plan::pipeline_id_of;
use flow::run::pulse::is_gone;
use flow::run::watch::{self, Line, Seen, Standing, Watch};
use flow::store::Store;

use super::Done;
use super::args::StatusArgs;
use super::session;
use crate::console::{Console, format};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(200);
/// A run of another machine that was not heard of for this long is given up.
const LOST_AFTER_SECONDS: f64 = 600.0;

/// A run being followed, and what was said of it.
struct Followed {
    watch: Watch,
    name: String,
    is_silent: bool,
    /// The exit code, once the run told how it ended.
    ended: Option<u8>,
}

/// Follows until the run ends; the exit code says how.
pub(super) fn follow(args: &StatusArgs, console: &mut Console) -> Done {
    let (_, cache) = session::places(&args.pipeline);
    if !args.pipeline.file.is_file() {
        let missing = session::missing_file(&args.pipeline);
        return Err(Failure::one(Class::Input, missing));
    }
    let store = Store::to_read(&cache);
    let pipeline = pipeline_id_of(&args.pipeline.file);
    let began = Instant::now();
    let mut followed = named(args, &store, &pipeline)?;
    let mut waits = false;
    loop {
        let now = began.elapsed().as_secs_f64();
        if followed.is_none() {
            followed = newest(&store, &pipeline, console)?;
        }
        match &mut followed {
            None if !waits => {
                waits = true;
                let last =
                    watch::last(&store, Some(&pipeline)).map_err(|error| unreadable(&error))?;
                let last = last.map_or_else(String::new, |head| {
                    format!("; the last, {}, began {}", head.run, head.time)
                });
                console.note(&format!(
                    "no run of {pipeline} is going on{last}; waiting for one to begin"
                ));
            }
            None => {}
            Some(followed) => {
                if let Some(code) = followed.look(now, console)? {
                    return Ok(code);
                }
            }
        }
        console.tick();
        std::thread::park_timeout(EVERY);
    }
}

/// The run that the command line names, if it names one.
fn named(args: &StatusArgs, store: &Store, pipeline: &str) -> Result<Option<Followed>, Failure> {
    if let Some(path) = &args.events {
        let watch = Watch::file(store, path.clone());
        return Ok(Some(Followed::new(watch, path.display().to_string())));
    }
    let Some(run) = &args.run else {
        return Ok(None);
    };
    let last = || watch::last(store, Some(pipeline)).map(|head| head.map(|head| head.run));
    let id = match run.as_str() {
        "latest" => last().map_err(|error| unreadable(&error))?,
        id => Some(id.to_owned()),
    };
    let id = id.filter(|id| {
        watch::is_run_id(id) && store.runs_path().join(format!("{id}.jsonl")).is_file()
    });
    let Some(id) = id else {
        let message = format!("there is no run `{run}` in `{}`", store.dir().display());
        let diagnostic = Diagnostic::error("cli::unknown_run", message).help(
            "ids of runs are the names in `cache/runs-v1`; without `--run` the one that began last is followed",
        );
        return Err(Failure::one(Class::Input, diagnostic));
    };
    Ok(Some(Followed::new(Watch::run(store, &id), id)))
}

/// The run that began last and goes on; one that was killed where there is no other.
fn newest(
    store: &Store,
    pipeline: &str,
    console: &mut Console,
) -> Result<Option<Followed>, Failure> {
    let runs = watch::going(store, Some(pipeline)).map_err(|error| unreadable(&error))?;
    let (gone, alive): (Vec<_>, Vec<_>) = runs.into_iter().partition(is_gone);
    let Some(run) = alive.last().or(gone.last()) else {
        return Ok(None);
    };
    let others: Vec<&str> = (alive.iter().map(|other| other.run.as_str()))
        .filter(|other| *other != run.run)
        .collect();
    if !others.is_empty() {
        console.note(&format!(
            "following {}; also going on: {} (`--run` follows one of these)",
            run.run,
            others.join(", ")
        ));
    }
    let watch = Watch::run(store, &run.run);
    Ok(Some(Followed::new(watch, run.run.clone())))
}

impl Followed {
    fn new(watch: Watch, name: String) -> Self {
        Self {
            watch,
            name,
            is_silent: false,
            ended: None,
        }
    }

    /// Shows what is new; the exit code where the run is over.
    fn look(&mut self, now: f64, console: &mut Console) -> Result<Option<u8>, Failure> {
        let seen = self.watch.poll(now).map_err(|error| unreadable(&error))?;
        for Seen { time_ns, line } in seen {
            console.tell_of(time_ns.and_then(flow::clock::from_ns));
            self.show(line, console);
        }
        console.tell_of(None);
        match self.watch.standing(now) {
            Standing::Over => return Ok(Some(self.ended.unwrap_or_default())),
            Standing::Going if self.is_silent => {
                self.is_silent = false;
                console.note(&format!("heard again of {}", self.name));
            }
            Standing::Going => {}
            Standing::Silent(seconds)
                if seconds > LOST_AFTER_SECONDS && self.watch.holder().is_some() =>
            {
                let message = format!(
                    "nothing was heard of the run `{}` for {}",
                    self.name,
                    format::duration(seconds)
                );
                return Err(self.lost(message));
            }
            Standing::Silent(seconds) if !self.is_silent => {
                self.is_silent = true;
                let holder = self.watch.holder();
                console.note(&format!(
                    "nothing was heard of {} for {}: {} may be gone, or reads large files",
                    self.name,
                    format::duration(seconds),
                    holder.as_deref().unwrap_or("the process that runs it")
                ));
            }
            Standing::Silent(_) => {}
            Standing::Killed => {
                return Err(self.lost(format!("the run `{}` was killed", self.name)));
            }
        }
        Ok(None)
    }

    fn show(&mut self, line: Line, console: &mut Console) {
        match line {
            Line::Head(_) | Line::Keys(_) => {}
            Line::Cached(stages) => {
                for stage in stages {
                    // The log names them alone; nobody who watches looks at the key.
                    let key = Digest::ZERO;
                    console.event(&Event::StageCached { stage, key });
                }
            }
            Line::Event(mut event) => {
                match &mut *event {
                    Event::RunFinished {
                        counts,
                        interrupted,
                        ..
                    } => {
                        self.ended = Some(match interrupted.as_deref() {
                            Some("SIGINT") => 130,
                            Some(_) => 143,
                            None if counts.failed > 0 => Class::Stage.exit_code(),
                            None => 0,
                        });
                    }
                    // Places in texts that may have changed since would show the wrong lines.
                    Event::Message { diagnostic, .. } => diagnostic.labels.clear(),
                    _ => {}
                }
                console.event(&event);
            }
        }
    }

    fn lost(&self, message: String) -> Failure {
        let mut diagnostic = Diagnostic::error("run::vanished", message)
            .help("the same `pipeline run` goes on from there");
        if let (Some(holder), Some(time)) = (self.watch.holder(), self.watch.last_beat()) {
            diagnostic = diagnostic.detail(format!("{holder} last said something at {time}"));
        }
        Failure::one(Class::Environment, diagnostic)
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error("run::log", "the files of the run cannot be read")
        .detail(error.to_string())
        .help("they lie in `runs-v1` of the cache; `--cache` says where that is");
    Failure::one(Class::Environment, diagnostic)
}
