//! How far a run is now, in a small file beside its log: rewritten about once a second, gone when the run is over. Knows
//! nothing of who reads it.
//!
//! `runs-v1/<id>.now` is one JSON object, [`Pulse`]. The log grows only by what happens; what is true for a second stands
//! here. The file also tells that the run lives: whoever sees it change needs no common clock.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::event::Progress;
use crate::store::Store;

/// How often the file is rewritten.
pub const BEAT: Duration = Duration::from_secs(1);
/// What its name ends with.
pub(super) const ENDING: &str = "now";

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    /// Run id.
    pub run: String,
    /// The pipeline, as [`crate::plan::pipeline_id`].
    pub pipeline: String,
    /// The runner's machine.
    pub host: String,
    /// The runner's process there.
    pub process: u32,
    /// When it was written, RFC 3339 by the runner's clock.
    pub time: String,
    /// Counts up with every writing.
    pub beat: u64,
    /// How far stages at work are, by name.
    pub progress: BTreeMap<String, Progress>,
}

/// Writes the file.
#[derive(Debug)]
pub(super) struct Heart {
    path: PathBuf,
    temporary: PathBuf,
    pulse: Pulse,
    written: Option<Instant>,
}

impl Heart {
    pub(super) fn new(store: &Store, run: &str, pipeline: &str, host: &str) -> Self {
        Self {
            path: store.runs_path().join(format!("{run}.{ENDING}")),
            temporary: store.temporary_path(),
            pulse: Pulse {
                run: run.to_owned(),
                pipeline: pipeline.to_owned(),
                host: host.to_owned(),
                process: std::process::id(),
                ..Pulse::default()
            },
            written: None,
        }
    }

    pub(super) fn progress(&mut self, stage: &str, progress: &Progress) {
        let progress = progress.clone();
        self.pulse.progress.insert(stage.to_owned(), progress);
    }

    pub(super) fn forget(&mut self, stage: &str) {
        self.pulse.progress.remove(stage);
    }

    /// Begins to beat. What killed runs of this machine left goes.
    pub(super) fn begin(&mut self) {
        if self.written.is_none() {
            if let Some(folder) = self.path.parent() {
                sweep(folder, &self.pulse.host);
            }
            self.beat();
        }
    }

    /// Writes when it is time to; nothing before [`Heart::begin`].
    pub(super) fn tick(&mut self) {
        if self.written.is_some_and(|at| at.elapsed() >= BEAT) {
            self.beat();
        }
    }

    fn beat(&mut self) {
        self.written = Some(Instant::now());
        self.pulse.beat += 1;
        self.pulse.time = clock::rfc3339(clock::now_ns());
        let text = serde_json::to_vec(&self.pulse).expect("a pulse serialises");
        // Nobody's result depends on it.
        let _ = fs_err::write(&self.temporary, text)
            .and_then(|()| fs_err::rename(&self.temporary, &self.path));
    }

    /// The run is over.
    pub(super) fn stop(&mut self) {
        if self.written.take().is_some() {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every pulse in a folder of runs, with its file.
///
/// # Errors
/// When the folder cannot be read; one that is missing holds none.
pub fn pulses(folder: &Path) -> io::Result<Vec<(PathBuf, Pulse)>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING)
            && let Some(pulse) = read(&path)
        {
            found.push((path, pulse));
        }
    }
    found.sort_by(|(_, a), (_, b)| a.run.cmp(&b.run));
    Ok(found)
}

/// The pulse in a file, if there is one.
pub(super) fn read(path: &Path) -> Option<Pulse> {
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}

/// Whether the runner's process is known to be gone: it was one of this machine, and there is none of its number.
#[must_use]
pub fn is_gone(pulse: &Pulse) -> bool {
    let this = rustix::system::uname();
    if this.nodename().to_string_lossy() != pulse.host {
        return false;
    }
    let Some(process) = i32::try_from(pulse.process)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return false;
    };
    rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH) || is_dead(process)
}

/// Whether a process ended and nobody has taken notice of it yet. Only Linux tells.
fn is_dead(process: rustix::process::Pid) -> bool {
    let path = format!("/proc/{}/stat", process.as_raw_nonzero());
    let stat = fs_err::read_to_string(path).unwrap_or_default();
    // The name before it may hold anything, brackets too.
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    state.starts_with(['Z', 'X'])
}

/// A container may share its host's name but not its processes: only what has not been written for a while goes.
fn sweep(folder: &Path, host: &str) {
    const OLD: Duration = Duration::from_secs(60);
    for (path, pulse) in pulses(folder).unwrap_or_default() {
        let is_old = fs_err::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| clock::now().duration_since(at).is_ok_and(|age| age > OLD));
        if pulse.host == host && is_old && is_gone(&pulse) {
            let _ = fs_err::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_there_while_the_run_is() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        let mut heart = Heart::new(&store, "20261121T000000Z-0000", "pipelines/p.yaml", "here");
        heart.tick();
        assert!(pulses(&store.runs_path()).expect("read").is_empty());
        let progress = Progress {
            done: 3,
            ..Progress::default()
        };
        heart.progress("train", &progress);
        heart.begin();
        let found = pulses(&store.runs_path()).expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.progress["train"].done, 3);
        assert!(!is_gone(&found[0].1), "another machine may well be alive");
        drop(heart);
        assert!(pulses(&store.runs_path()).expect("read").is_empty());
    }
}
