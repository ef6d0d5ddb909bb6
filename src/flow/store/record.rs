//! What a key produced, for good: written last, never edited. Knows nothing of how it came about.
//!
//! Format `records-v1`: one JSON object a file. A reader refuses a `version` above its own and takes the record as
//! absent; new optional fields may appear within a version and are ignored by older readers.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::Store;
use crate::content::Content;
use crate::digest::Digest;
use crate::notes::Notes;

/// The version this program writes, and the highest it reads.
pub const RECORD_VERSION: u32 = 1;

/// What a key produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// The digest of `manifest`.
    pub key: Digest,
    /// The text that decides the result.
    pub manifest: String,
    /// The stage's name when it ran. For people only.
    pub stage: String,
    /// The pipeline's name when it ran. For people only.
    pub pipeline: String,
    /// Output name to content; `metrics` holds the stage's numbers.
    pub outputs: BTreeMap<String, Content>,
    /// Wall seconds of the attempt that made it.
    pub seconds: f64,
    /// When it was made, RFC 3339.
    pub finished: String,
    /// The attempts under this key, the last one being the one that made it.
    pub attempts: Vec<Attempt>,
    /// Where it was made.
    pub machine: Machine,
    /// The device: `cpu`, `cuda:0 <name>` …
    pub device: String,
    /// This program's name and version.
    pub program: String,
    /// The command line of the stage; empty for built-in kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Outputs of `environment.record`, by command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What the stage printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Content>,
    /// The stage's own facts: `origin`, `stand_in`, `licence`, `redistribute` …; some travel (`notes.rs`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: Notes,
    /// What its inputs handed on when it was made. For people: a plan asks the inputs it has now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inherited: Notes,
    /// Of a stage that chooses: each axis and the chosen value, as selectors show it. Who refers to it needs no bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choice: BTreeMap<String, String>,
    /// Set when a person blessed outputs made under another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// Set when the record came with a bundle of somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, RFC 3339.
    pub started: String,
    /// Wall seconds.
    pub seconds: f64,
    /// How it ended, such as `done`, `failed`, `stopped`, `lost`.
    pub end: String,
    /// Whether it went on from a checkpoint.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Host.
    pub host: String,
}

/// Where a result was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name.
    pub host: String,
    /// Operating system and kernel release.
    pub system: String,
    /// Processor model.
    pub processor: String,
    /// Cores this process may use.
    pub cores: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// GPUs it was given, with names where known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
}

/// `pipeline accept`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The person's reason.
    pub reason: String,
    /// The key the outputs were made under.
    pub from: Digest,
    /// When, RFC 3339.
    pub date: String,
}

/// `pipeline import`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// The digest of the bundle's list of digests.
    pub bundle: Digest,
    /// What the bundle is about.
    pub title: String,
    /// Who states to have made it; empty where nobody is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// When it was imported, RFC 3339.
    pub date: String,
}

impl Imported {
    /// In a few words: `imported from bundle 0123456789 of A. One, `Signs`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = format!("imported from bundle {}", self.bundle.short());
        match self.by.as_slice() {
            [] => {}
            [one] => text.push_str(&format!(" of {one}")),
            [first, ..] => text.push_str(&format!(" of {first} and others")),
        }
        text.push_str(&format!(", `{}`", self.title));
        text
    }
}

/// In the folder of records: says that some of them were imported, so that nobody else need look.
const IMPORTS_MARK: &str = "imports";

impl Record {
    /// The record of that key from its file's text; `None` where the text is none, or a later version's.
    #[must_use]
    pub fn parse(text: &str, key: &Digest) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        (record.version <= RECORD_VERSION && record.key == *key).then_some(record)
    }
}

impl Store {
    /// Whether records of others were ever imported.
    #[must_use]
    pub fn has_imports(&self) -> bool {
        self.dir().join("records-v1").join(IMPORTS_MARK).exists()
    }

    /// Notes that records of others are imported.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn mark_imports(&self) -> io::Result<()> {
        let mark = self.dir().join("records-v1").join(IMPORTS_MARK);
        self.write_whole(&mark, b"Some records here were imported.\n")
    }

    /// Where the record of a key came from, if it was imported.
    #[must_use]
    pub fn imported(&self, key: &Digest) -> Option<Imported> {
        if !self.has_imports() {
            return None;
        }
        self.find_record(key)?.imported
    }

    /// The record of a key, if there is a readable one.
    #[must_use]
    pub fn find_record(&self, key: &Digest) -> Option<Record> {
        Record::parse(&fs_err::read_to_string(self.record_path(key)).ok()?, key)
    }

    /// Writes a record, whole or not at all.
    ///
    /// # Errors
    /// When the disk or the file system refuses.
    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        let mut text = serde_json::to_vec(record).expect("records serialise");
        text.push(b'\n');
        self.write_whole(&self.record_path(&record.key), &text)
    }
}

/// The machine this process runs on.
#[must_use]
pub fn this_machine() -> Machine {
    let name = rustix::system::uname();
    let processor = fs_err::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Machine {
        host: name.nodename().to_string_lossy().into_owned(),
        system: format!(
            "{} {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy()
        ),
        processor,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes: total_memory_bytes(),
        gpus: Vec::new(),
    }
}

/// Bytes of memory that this process may use: of the machine, or of a control group (a container, a queue's job) that
/// limits it to less; 0 where nothing says.
#[must_use]
pub fn total_memory_bytes() -> u64 {
    let groups = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = group_limit(&groups, |path| fs_err::read_to_string(path).ok());
    match (machine_memory_bytes(), limit) {
        (0, limit) => limit.unwrap_or(0),
        (machine, limit) => machine.min(limit.unwrap_or(u64::MAX)),
    }
}

/// The least limit of the control groups that a process is in (`/proc/self/cgroup`) and of those around them, read as
/// version 2 (`memory.max`) or 1 (`memory.limit_in_bytes`) has it. Inside a container its own group may look like the top.
fn group_limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (top, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = group.trim_end_matches('/');
        loop {
            let text = read(&format!("{top}{group}/{file}"));
            // `max` is no number: no limit.
            let limit = text.and_then(|text| text.trim().parse::<u64>().ok());
            least = [least, limit].into_iter().flatten().min();
            match group.rfind('/') {
                Some(at) => group = &group[..at],
                None => break,
            }
        }
    }
    least
}

fn machine_memory_bytes() -> u64 {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_around_a_process_counts() {
        let files = |path: &str| {
            let text = match path {
                "/sys/fs/cgroup/user/job/memory.max" => "max\n",
                "/sys/fs/cgroup/user/memory.max" => "4096\n",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes" => "1024\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes" => "9223372036854771712\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(group_limit("0::/user/job\n", files), Some(4096));
        assert_eq!(group_limit("0::/other\n", files), None);
        let old = "5:cpu,cpuacct:/a\n4:memory:/a/b\n";
        assert_eq!(group_limit(old, files), Some(1024));
        assert_eq!(
            group_limit("4:memory:/\n", files),
            Some(9_223_372_036_854_771_712)
        );
        assert_eq!(group_limit("nothing known", files), None);
        assert!(total_memory_bytes() > 0);
    }
}
