//! Following a run from its files, in another process or on another machine. Writes nothing; knows nothing of drawing.
//!
//! A run's log tells what happened, its pulse (`pulse.rs`) how far it is and that it lives. Files may be cut in the middle
//! of a line, grow while they are read, or be begun anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::pulse::{self, Pulse};
use crate::clock;
use crate::digest::Digest;
use crate::event::{Event, Progress};
use crate::store::Store;

/// A run whose process is gone has this long to show that it lives elsewhere: containers share names of hosts.
const GONE_AFTER_SECONDS: f64 = 3.0;
/// A run that was not heard of for this long is said to be silent.
const SILENT_AFTER_SECONDS: f64 = 30.0;
/// Bytes taken in at once.
const CHUNK_BYTES: u64 = 4 << 20;
/// A line longer than this is no event.
const LONGEST_LINE: usize = 64 << 20;
/// How many logs are looked into for the last run of a pipeline.
const MOST_LOGS: usize = 500;

/// What the first line of a run's log says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Head {
    /// When it began, RFC 3339.
    pub time: String,
    /// Run id.
    pub run: String,
    /// The pipeline, as [`crate::plan::pipeline_id`].
    pub pipeline: String,
    /// The machine.
    pub host: String,
    /// The process there.
    pub process: u32,
    /// The command line.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Whether it is about every stage of the pipeline.
    #[serde(default)]
    pub whole: bool,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The log begins.
    Head(Head),
    /// Something happened.
    Event(Box<Event>),
    /// These stages were found in the cache.
    Cached(Vec<String>),
    /// The keys that the run reached, by stage; the log ends. Empty where an earlier run had the same.
    Keys(BTreeMap<String, Digest>),
}

/// A line with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// When it was written, in nanoseconds since 1970 by the writer's clock.
    pub time_ns: Option<i128>,
    /// What it says.
    pub line: Line,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// It does.
    Going,
    /// It was not heard of for so many seconds: its machine may be gone, or it reads large files.
    Silent(f64),
    /// Its process is gone, and it did not end.
    Killed,
    /// It ended.
    Over,
}

/// Reads whole lines of a file that grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
    /// Whether the beginning of a line that is too long was thrown away.
    skips: bool,
    file: Option<u64>,
}

impl Tail {
    /// From the beginning of a file, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            rest: Vec::new(),
            skips: false,
            file: None,
        }
    }

    /// Hands over the lines that became whole since the last time. Whether the file was begun anew before them.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut is_new = false;
        self.read_some(u64::MAX, |found| match found {
            None => is_new = true,
            Some(line) => take(line),
        })?;
        Ok(is_new)
    }

    /// The same of so many bytes at most; `None` stands where the file was begun anew.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read_some(
        &mut self,
        most_bytes: u64,
        mut take: impl FnMut(Option<&[u8]>),
    ) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let mut file = match fs_err::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let is_new =
            metadata.len() < self.offset || self.file.is_some_and(|it| it != metadata.ino());
        if is_new {
            (self.offset, self.skips) = (0, false);
            self.rest.clear();
            take(None);
        }
        self.file = Some(metadata.ino());
        file.seek(SeekFrom::Start(self.offset))?;
        let mut left = most_bytes;
        loop {
            let from = self.rest.len();
            let got = (&mut file)
                .take(CHUNK_BYTES.min(left))
                .read_to_end(&mut self.rest)? as u64;
            if got == 0 {
                return Ok(());
            }
            self.offset += got;
            left -= got;
            let Some(end) = self.rest[from..].iter().rposition(|byte| *byte == b'\n') else {
                if self.rest.len() > LONGEST_LINE {
                    self.rest.clear();
                    self.skips = true;
                }
                continue;
            };
            let end = from + end;
            for line in self.rest[..end].split(|byte| *byte == b'\n') {
                if !std::mem::take(&mut self.skips) {
                    take(Some(line));
                }
            }
            self.rest.drain(..=end);
        }
    }
}

#[derive(Deserialize)]
struct Stamp {
    #[serde(default)]
    time: String,
    event: String,
}

#[derive(Deserialize)]
struct CachedLine {
    stages: Vec<String>,
}

#[derive(Deserialize)]
struct KeysLine {
    #[serde(default)]
    keys: BTreeMap<String, Digest>,
}

/// What a line of a log or of an event file says; nothing where it says nothing known.
fn parse(line: &[u8]) -> Option<Seen> {
    let stamp: Stamp = serde_json::from_slice(line).ok()?;
    let said = match stamp.event.as_str() {
        "run_begun" => Line::Head(serde_json::from_slice(line).ok()?),
        "stages_cached" => Line::Cached(serde_json::from_slice::<CachedLine>(line).ok()?.stages),
        "run_keys" => Line::Keys(serde_json::from_slice::<KeysLine>(line).ok()?.keys),
        _ => Line::Event(Box::new(serde_json::from_slice(line).ok()?)),
    };
    Some(Seen {
        time_ns: clock::parse_rfc3339(&stamp.time),
        line: said,
    })
}

/// A run that is followed.
#[derive(Debug)]
pub struct Watch {
    tail: Tail,
    /// The pulse's file, known with the run's id.
    pulse: Option<PathBuf>,
    runs: PathBuf,
    last: Option<Pulse>,
    progress: BTreeMap<String, Progress>,
    /// Stages that ended: a pulse read before the log may still tell how far they are.
    ended: BTreeSet<String>,
    heard: Option<f64>,
    over: bool,
}

impl Watch {
    /// Follows a run by its id, from its beginning.
    #[must_use]
    pub fn run(store: &Store, run: &str) -> Self {
        let mut watch = Self::file(store, store.runs_path().join(format!("{run}.jsonl")));
        watch.know(run);
        watch
    }

    /// Follows the run that writes a file of events (`--events`), from its beginning.
    #[must_use]
    pub fn file(store: &Store, path: PathBuf) -> Self {
        Self {
            tail: Tail::new(path),
            pulse: None,
            runs: store.runs_path(),
            last: None,
            progress: BTreeMap::new(),
            ended: BTreeSet::new(),
            heard: None,
            over: false,
        }
    }

    fn know(&mut self, run: &str) {
        // An id from a file: it must not lead elsewhere.
        if is_run_id(run) {
            self.pulse = Some(self.runs.join(format!("{run}.{}", pulse::ENDING)));
        }
    }

    /// What is new. `now`: seconds by a clock of the caller's that never goes back.
    ///
    /// # Errors
    /// When the log is there but cannot be read.
    pub fn poll(&mut self, now: f64) -> io::Result<Vec<Seen>> {
        let mut seen = Vec::new();
        // The pulse first: a run that ends writes its last lines before the pulse goes.
        let pulse = self.pulse.as_deref().and_then(pulse::read);
        self.tail.read(|line| seen.extend(parse(line)))?;
        for Seen { line, .. } in &seen {
            match line {
                Line::Event(event) => match &**event {
                    Event::RunStarted { run, .. } => {
                        // An event file may be begun anew by the next run.
                        self.over = false;
                        self.progress.clear();
                        self.ended.clear();
                        let run = run.clone();
                        self.know(&run);
                    }
                    Event::RunFinished { .. } => self.over = true,
                    Event::StageFinished { stage, .. } => {
                        self.progress.remove(stage);
                        self.ended.insert(stage.clone());
                    }
                    Event::StageStarted { stage, .. } => {
                        self.progress.remove(stage);
                        self.ended.remove(stage);
                    }
                    _ => {}
                },
                Line::Keys(_) => self.over = true,
                // Until its pulse is seen, and where that is gone: who it was.
                Line::Head(head) if self.last.is_none() => {
                    self.last = Some(Pulse {
                        run: head.run.clone(),
                        pipeline: head.pipeline.clone(),
                        host: head.host.clone(),
                        process: head.process,
                        time: head.time.clone(),
                        ..Pulse::default()
                    });
                }
                Line::Head(_) | Line::Cached(_) => {}
            }
        }
        let has_beaten = pulse.is_some() && pulse != self.last;
        if !seen.is_empty() || has_beaten || self.heard.is_none() {
            self.heard = Some(now);
        }
        if has_beaten
            && !self.over
            && let Some(pulse) = &pulse
        {
            let time_ns = clock::parse_rfc3339(&pulse.time);
            for (stage, progress) in &pulse.progress {
                if self.progress.get(stage) != Some(progress) && !self.ended.contains(stage) {
                    self.progress.insert(stage.clone(), progress.clone());
                    let event = Event::StageProgress {
                        stage: stage.clone(),
                        progress: progress.clone(),
                    };
                    let line = Line::Event(Box::new(event));
                    seen.push(Seen { time_ns, line });
                }
            }
        }
        self.last = pulse.or(self.last.take());
        Ok(seen)
    }

    /// Whether the run goes on, as far as the last [`Watch::poll`] tells.
    #[must_use]
    pub fn standing(&self, now: f64) -> Standing {
        if self.over {
            return Standing::Over;
        }
        let silent = self.heard.map_or(0.0, |heard| now - heard);
        if silent >= GONE_AFTER_SECONDS && self.last.as_ref().is_some_and(pulse::is_gone) {
            Standing::Killed
        } else if silent >= SILENT_AFTER_SECONDS {
            Standing::Silent(silent)
        } else {
            Standing::Going
        }
    }

    /// Who runs it, such as `process 4711 on node3`, where that is known.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        let pulse = self.last.as_ref()?;
        Some(format!("process {} on {}", pulse.process, pulse.host))
    }

    /// When it was last heard of by its own clock, RFC 3339.
    #[must_use]
    pub fn last_beat(&self) -> Option<&str> {
        self.last.as_ref().map(|pulse| pulse.time.as_str())
    }
}

/// Whether a text has the form of an id such as `20261121T011900Z-4f2a`.
#[must_use]
pub fn is_run_id(text: &str) -> bool {
    text.len() == 21
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Runs of a pipeline that began and did not end, oldest first; some may have been killed. Of all pipelines without one.
///
/// # Errors
/// When the folder of runs cannot be read.
pub fn going(store: &Store, pipeline: Option<&str>) -> io::Result<Vec<Pulse>> {
    let pulses = pulse::pulses(&store.runs_path())?;
    Ok(pulses
        .into_iter()
        .map(|(_, pulse)| pulse)
        .filter(|pulse| pipeline.is_none_or(|name| name == pulse.pipeline) && is_run_id(&pulse.run))
        .collect())
}

/// The run of a pipeline that began last, of any without one.
///
/// # Errors
/// When the folder of runs cannot be read.
pub fn last(store: &Store, pipeline: Option<&str>) -> io::Result<Option<Head>> {
    let entries = match fs_err::read_dir(store.runs_path()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.strip_suffix(".jsonl").is_some_and(is_run_id))
        .collect();
    // Ids begin with their time.
    names.sort_unstable();
    let heads = (names.iter().rev().take(MOST_LOGS))
        .filter_map(|name| head(&store.runs_path().join(name)))
        .filter(|head| pipeline.is_none_or(|name| name == head.pipeline));
    // Two ids of one second say nothing about their order.
    let mut newest: Option<Head> = None;
    for head in heads {
        match &newest {
            None => newest = Some(head),
            Some(found) if found.run.get(..16) != head.run.get(..16) => break,
            Some(found) if head.time > found.time => newest = Some(head),
            Some(_) => {}
        }
    }
    Ok(newest)
}

/// The first line of a log.
fn head(path: &Path) -> Option<Head> {
    let mut first = Vec::new();
    let file = fs_err::File::open(path).ok()?;
    file.take(1 << 20).read_to_end(&mut first).ok()?;
    let line = first.split(|byte| *byte == b'\n').next()?;
    match parse(line)?.line {
        Line::Head(head) => Some(head),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "20261121T000000Z-0000";

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        (folder, store)
    }

    fn log(store: &Store) -> PathBuf {
        store.runs_path().join(format!("{RUN}.jsonl"))
    }

    fn add(path: &Path, text: &str) {
        use std::io::Write as _;
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("opens");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn beat(store: &Store, process: u32, beat: u64, done: u64) {
        let progress = Progress {
            done,
            ..Progress::default()
        };
        let pulse = Pulse {
            run: RUN.to_owned(),
            pipeline: "pipelines/p.yaml".to_owned(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            process,
            time: "2026-11-21T00:00:09.000Z".to_owned(),
            beat,
            progress: BTreeMap::from([("train".to_owned(), progress)]),
        };
        let path = store.runs_path().join(format!("{RUN}.now"));
        let text = serde_json::to_vec(&pulse).expect("serialises");
        fs_err::write(path, text).expect("written");
    }

    const BEGUN: &str = "{\"time\":\"2026-11-21T00:00:00.000Z\",\"event\":\"run_begun\",\"run\":\"20261121T000000Z-0000\",\"pipeline\":\"pipelines/p.yaml\",\"host\":\"h\",\"process\":1,\"whole\":true}\n";
    const STARTED: &str = "{\"time\":\"2026-11-21T00:00:00.100Z\",\"event\":\"run_started\",\"run\":\"20261121T000000Z-0000\",\"pipeline\":\"p\",\"stages\":3}\n";

    /// A stage that beat and ended between two looks: the pulse is read before the log and is older than its end.
    #[test]
    fn what_ended_is_not_at_work_again_for_an_older_beat() {
        let (_folder, store) = store();
        let mut watch = Watch::run(&store, RUN);
        let event = |text: &str| format!("{{\"time\":\"2026-11-21T00:00:09.500Z\",{text}}}\n");
        let started = event(
            "\"event\":\"stage_started\",\"stage\":\"train\",\"key\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"because\":\"new\",\"attempt\":1",
        );
        let finished = event(
            "\"event\":\"stage_finished\",\"stage\":\"train\",\"end\":\"executed\",\"seconds\":1.0",
        );
        let is_progress = |seen: &Seen| matches!(&seen.line, Line::Event(event) if matches!(**event, Event::StageProgress { .. }));
        add(
            &log(&store),
            &format!("{BEGUN}{STARTED}{started}{finished}"),
        );
        beat(&store, 1, 1, 3);
        let seen = watch.poll(0.0).expect("read");
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert!(!seen.iter().any(is_progress), "{seen:?}");
        // Started again, it is told again.
        add(&log(&store), &started);
        beat(&store, 1, 2, 4);
        let seen = watch.poll(1.0).expect("read");
        assert!(seen.iter().any(is_progress), "{seen:?}");
    }

    #[test]
    fn a_line_is_taken_when_it_is_whole() {
        let (_folder, store) = store();
        let mut watch = Watch::run(&store, RUN);
        assert!(watch.poll(0.0).expect("no file yet").is_empty());
        let (first, second) = STARTED.split_at(40);
        add(&log(&store), &format!("{BEGUN}{first}"));
        let seen = watch.poll(1.0).expect("read");
        assert!(matches!(&seen[..], [Seen { line: Line::Head(head), .. }] if head.whole));
        assert!(watch.poll(1.0).expect("read").is_empty());
        add(
            &log(&store),
            &format!("{second}\u{0}broken\n{{\"event\":\"later\"}}\n"),
        );
        let seen = watch.poll(1.0).expect("read");
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(
            seen[0].time_ns,
            clock::parse_rfc3339("2026-11-21T00:00:00.100Z")
        );
        add(
            &log(&store),
            "{\"event\":\"stages_cached\",\"stages\":[\"a\",\"b\"]}\n{\"event\":\"run_keys\",\"same_as\":\"x\"}\n",
        );
        let seen = watch.poll(1.0).expect("read");
        assert_eq!(seen[0].line, Line::Cached(vec!["a".into(), "b".into()]));
        assert_eq!(watch.standing(1.0), Standing::Over);
    }

    #[test]
    fn a_log_without_an_end_and_without_a_pulse_was_killed() {
        let (_folder, store) = store();
        let here = rustix::system::uname();
        let here = here.nodename().to_string_lossy();
        let begun = BEGUN.replace(
            "\"h\",\"process\":1",
            &format!("\"{here}\",\"process\":2147483646"),
        );
        add(&log(&store), &format!("{begun}{STARTED}"));
        let mut watch = Watch::run(&store, RUN);
        watch.poll(0.0).expect("read");
        assert_eq!(watch.standing(1.0), Standing::Going);
        assert_eq!(watch.standing(4.0), Standing::Killed);
    }

    #[test]
    fn a_file_begun_anew_is_read_anew() {
        let (folder, store) = store();
        let path = folder.path().join("events.jsonl");
        let finished = "{\"time\":\"2026-11-21T00:00:00.100Z\",\"event\":\"run_finished\",\"counts\":{\"total\":3,\"executed\":0,\"cached\":3,\"failed\":0,\"skipped\":0},\"wall_seconds\":1.5,\"reports\":[]}\n";
        let mut watch = Watch::file(&store, path.clone());
        add(&path, &format!("{STARTED}{finished}"));
        assert_eq!(watch.poll(0.0).expect("read").len(), 2);
        assert_eq!(watch.standing(0.0), Standing::Over);
        fs_err::write(&path, STARTED).expect("written");
        assert_eq!(watch.poll(1.0).expect("read").len(), 1);
        assert_eq!(watch.standing(1.0), Standing::Going);
    }

    #[test]
    fn progress_comes_from_the_pulse_and_a_dead_process_is_told() {
        let (_folder, store) = store();
        add(&log(&store), &format!("{BEGUN}{STARTED}"));
        beat(&store, std::process::id(), 1, 5);
        let mut watch = Watch::run(&store, RUN);
        let seen = watch.poll(0.0).expect("read");
        assert!(matches!(&seen[2].line, Line::Event(event)
            if matches!(&**event, Event::StageProgress { progress, .. } if progress.done == 5)));
        beat(&store, std::process::id(), 2, 5);
        assert!(watch.poll(20.0).expect("read").is_empty(), "no news");
        assert_eq!(watch.standing(49.0), Standing::Going, "its process lives");
        assert_eq!(watch.standing(51.0), Standing::Silent(31.0));
        // No process has so high a number.
        beat(&store, 2_147_483_646, 3, 6);
        assert_eq!(watch.poll(60.0).expect("read").len(), 1);
        assert_eq!(
            watch.standing(61.0),
            Standing::Going,
            "it may live in a container"
        );
        assert_eq!(watch.standing(64.0), Standing::Killed);
        assert_eq!(
            going(&store, Some("pipelines/p.yaml")).expect("read").len(),
            1
        );
        assert!(
            going(&store, Some("pipelines/q.yaml"))
                .expect("read")
                .is_empty()
        );
    }

    #[test]
    fn the_last_run_of_a_pipeline_is_found() {
        let (_folder, store) = store();
        assert_eq!(last(&store, None).expect("read"), None);
        for (id, time, pipeline) in [
            ("20261121T000000Z-ffff", "00.100", "p"),
            ("20261121T000000Z-0000", "00.900", "p"),
            ("20261121T000100Z-0000", "00.100", "q"),
        ] {
            let line = BEGUN
                .replace(RUN, id)
                .replace("pipelines/p.yaml", pipeline)
                .replace("00:00:00.000", &format!("00:00:{time}"));
            add(&store.runs_path().join(format!("{id}.jsonl")), &line);
        }
        let found = |pipeline| last(&store, pipeline).expect("read").expect("one").run;
        assert_eq!(found(Some("p")), RUN);
        assert_eq!(found(None), "20261121T000100Z-0000");
    }
}
