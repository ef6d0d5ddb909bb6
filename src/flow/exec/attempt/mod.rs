//! One try at a key: its folder, its checkpoint, its end, its record. Knows nothing of the runs that asked for it.
//!
//! ```text
//! work/<key>/lock            held while an attempt is at work
//! work/<key>/attempts.jsonl  a line at the start and one at the end of each attempt
//! work/<key>/checkpoint/     between attempts; inside the attempt's folder while one is at work
//! work/<key>/scratch/        the same for built-in kinds, always in place
//! work/<key>/<n>/            the folder of attempt n; <n>.log, <n>.order.json, <n>.result.json, <n>.progress beside it,
//!                            and <n>.checkpoint with the name of the checkpoint's folder inside
//! ```
//! All of it goes when a result is recorded, and stays when one is not.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

use super::job::Job;
use super::process::kill_leftovers;
use crate::clock;
use crate::spec::Launch;
use crate::store::record::{self, Machine, this_machine};
use crate::store::{Store, remove_tree};

mod command;
mod ending;
mod recording;

pub use command::live_folder;

/// An attempt at work.
#[derive(Debug)]
pub(in crate::exec) struct Attempt {
    work: PathBuf,
    number: u32,
    folder: PathBuf,
    started: Instant,
    started_text: String,
    resumed: bool,
    checkpoint: Option<PathBuf>,
    earlier: Vec<record::Attempt>,
    repeat: String,
    environment: BTreeMap<String, String>,
    /// Whether the stage itself ended well, so that its work is worth keeping whatever comes after.
    ended_well: bool,
    temporary_place: PathBuf,
    temporary: Option<TemporaryFolder>,
    /// Whether its process is to be watched (`exec/trace`).
    is_watched: bool,
}

/// What `TMPDIR` names for a stage that may write nowhere else. Goes with the attempt.
#[derive(Debug)]
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn make(path: PathBuf) -> io::Result<Self> {
        // Left by an attempt that was killed after its record was written.
        remove_tree(&path)?;
        fs_err::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0);
    }
}

impl Attempt {
    /// Clears away what earlier attempts left (processes, folders; never a checkpoint) and makes a new folder.
    pub(in crate::exec) fn begin(store: &Store, job: &Job) -> io::Result<Self> {
        let work = store.work_path(&job.key);
        let earlier_numbers = attempt_numbers(&work);
        let mut earlier = Vec::new();
        if !earlier_numbers.is_empty() {
            kill_leftovers(std::slice::from_ref(&work));
            earlier = read_attempts(&work);
        }
        let number = earlier_numbers.last().map_or(1, |last| last + 1);
        let attempt = Self {
            folder: work.join(number.to_string()),
            work,
            number,
            started: Instant::now(),
            started_text: clock::rfc3339(clock::now_ns()),
            resumed: false,
            checkpoint: None,
            earlier,
            repeat: String::new(),
            environment: BTreeMap::new(),
            ended_well: false,
            // Not below `work`: the path of a socket has to fit into 108 bytes, and programs make theirs in here.
            temporary_place: store
                .dir()
                .join("tmp")
                .join(format!("for-{}", job.key.short())),
            temporary: None,
            is_watched: false,
        };
        if !earlier_numbers.is_empty() {
            remove_tree(&attempt.temporary_place)?;
        }
        for old in earlier_numbers.iter().rev() {
            let folder = attempt.work.join(old.to_string());
            // By the name it had then: a later one may be another, or none.
            let noted = attempt.work.join(format!("{old}.checkpoint"));
            if let Ok(dir) = fs_err::read_to_string(noted) {
                salvage(&folder.join(dir), &attempt.saved_checkpoint())?;
            }
            remove_tree(&folder)?;
            for suffix in ["log", "order.json", "result.json", "progress", "checkpoint"] {
                let _ = fs_err::remove_file(attempt.work.join(format!("{old}.{suffix}")));
            }
        }
        fs_err::create_dir(&attempt.folder)?;
        attempt.note("working")?;
        Ok(attempt)
    }

    /// The key's folder, which is done with once there is a record.
    pub(in crate::exec) fn work(&self) -> &Path {
        &self.work
    }

    pub(in crate::exec) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(in crate::exec) fn log_path(&self) -> PathBuf {
        self.beside("log")
    }

    /// Has the process watched, and what it reads written to [`Attempt::seen_path`].
    pub(in crate::exec) fn watch(&mut self) {
        self.is_watched = true;
    }

    pub(in crate::exec) fn seen_path(&self) -> PathBuf {
        self.beside("seen.json")
    }

    pub(in crate::exec) fn progress_path(&self) -> PathBuf {
        self.beside("progress")
    }

    pub(in crate::exec) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(in crate::exec) fn is_resumed(&self) -> bool {
        self.resumed
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.work.join(format!("{}.{suffix}", self.number))
    }

    fn saved_checkpoint(&self) -> PathBuf {
        self.work.join("checkpoint")
    }

    fn scratch(&self) -> PathBuf {
        self.work.join("scratch")
    }

    fn as_recorded(&self, end: &str) -> record::Attempt {
        record::Attempt {
            started: self.started_text.clone(),
            seconds: self.seconds(),
            end: end.to_owned(),
            resumed: self.resumed,
            host: machine().host.clone(),
        }
    }

    fn note(&self, end: &str) -> io::Result<()> {
        let mut line = serde_json::to_vec(&self.as_recorded(end)).map_err(io::Error::other)?;
        line.push(b'\n');
        let path = self.work.join("attempts.jsonl");
        fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(&line)
    }

    /// Moves the checkpoint of an earlier attempt into the folder, or makes an empty one.
    pub(in crate::exec) fn bring_checkpoint(&mut self, job: &Job) -> io::Result<()> {
        if let Some(spec) = &job.policy.checkpoint {
            fs_err::write(self.beside("checkpoint"), &spec.dir)?;
            let place = self.folder.join(&spec.dir);
            if let Some(parent) = place.parent() {
                fs_err::create_dir_all(parent)?;
            }
            let saved = self.saved_checkpoint();
            if saved.is_dir() {
                fs_err::rename(&saved, &place)?;
            } else {
                fs_err::create_dir_all(&place)?;
            }
            self.resumed = has_entries(&place);
            self.checkpoint = Some(place);
        } else if job.launch == Launch::Builtin {
            self.resumed = has_entries(&self.scratch());
        }
        Ok(())
    }

    /// Keeps the folder of an attempt that recorded nothing; its checkpoint goes to where the next one finds it.
    /// Returns whether there is a checkpoint.
    pub(in crate::exec) fn keep(&mut self, end: &str, mut with_folder: bool) -> bool {
        with_folder |= self.ended_well;
        let mut has_checkpoint = has_entries(&self.scratch());
        if let Some(place) = &self.checkpoint {
            has_checkpoint |= has_entries(place);
            let is_safe = salvage(place, &self.saved_checkpoint()).is_ok();
            // The next attempt tries again; until then the folder that holds it stays.
            with_folder |= !is_safe;
        }
        let _ = self.note(end);
        if !with_folder {
            let _ = remove_tree(&self.folder);
        }
        has_checkpoint
    }

    /// Removes the folder of an attempt that never started.
    pub(in crate::exec) fn discard(&mut self, end: &str) {
        let _ = self.note(end);
        let _ = remove_tree(&self.folder);
    }
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(this_machine)
}

fn attempt_numbers(work: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(work) else {
        return Vec::new();
    };
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .split('.')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The attempts so far; one without an end was killed together with its supervisor.
fn read_attempts(work: &Path) -> Vec<record::Attempt> {
    let text = fs_err::read_to_string(work.join("attempts.jsonl")).unwrap_or_default();
    let mut attempts: Vec<record::Attempt> = Vec::new();
    for attempt in text
        .lines()
        .filter_map(|line| serde_json::from_str::<record::Attempt>(line).ok())
    {
        if let Some(last) = attempts.last_mut()
            && last.end == "lost"
            && last.started == attempt.started
        {
            *last = attempt;
            continue;
        }
        let end = if attempt.end == "working" {
            "lost".to_owned()
        } else {
            attempt.end.clone()
        };
        attempts.push(record::Attempt { end, ..attempt });
    }
    attempts
}

fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Moves a checkpoint to where the next attempt finds it, unless there is one already or this one is empty.
fn salvage(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if !has_entries(from) || to.exists() {
        return Ok(());
    }
    if fs_err::rename(from, to).is_ok() {
        return Ok(());
    }
    // A folder without its write bit cannot be moved elsewhere.
    fs_err::set_permissions(from, std::fs::Permissions::from_mode(0o700))?;
    fs_err::rename(from, to)
}

/// The last attempt at a key that has no record, as its folder tells it.
#[must_use]
pub fn last_attempt(store: &Store, key: &crate::digest::Digest) -> Option<record::Attempt> {
    read_attempts(&store.work_path(key)).pop()
}

/// The log of the last attempt at a key that has no record.
#[must_use]
pub fn last_log(store: &Store, key: &crate::digest::Digest) -> Option<PathBuf> {
    let work = store.work_path(key);
    let last = attempt_numbers(&work).pop()?;
    Some(work.join(format!("{last}.log"))).filter(|path| path.exists())
}
