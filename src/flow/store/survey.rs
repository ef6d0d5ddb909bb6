//! What lies in a cache, counted: objects, records, work, leftovers. Reads only; knows nothing of what may go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use walkdir::WalkDir;

use super::Store;
use super::record::{RECORD_VERSION, Record};
use crate::content::{Content, Form, Stamp};
use crate::digest::{Digest, Use};

/// A number of things and their bytes (lengths of files, not blocks of a disk).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub count: usize,
    /// Bytes of all together.
    pub bytes: u64,
}

impl Sum {
    /// Adds one thing.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// A file or folder of the cache.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes, for a folder with everything in it.
    pub bytes: u64,
    /// When it or something in it last changed, by the file server's clock, in nanoseconds since 1970.
    pub changed_ns: i64,
}

/// A record and its file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Its file.
    pub file: Piece,
}

/// Everything in a cache.
#[derive(Debug, Default)]
pub struct Survey {
    /// Objects by digest.
    pub objects: BTreeMap<Digest, Piece>,
    /// Readable records, by key.
    pub records: BTreeMap<Digest, Stored>,
    /// Record files that cannot be read, or that do not hold what their name says.
    pub bad_records: Vec<Piece>,
    /// Records that a later version of this program wrote.
    pub later_records: usize,
    /// Folders of keys at work or unfinished.
    pub work: BTreeMap<Digest, Piece>,
    /// Expanded plans.
    pub plans: Vec<Piece>,
    /// What interrupted writes left under `tmp/`.
    pub leftovers: Vec<Piece>,
    /// Logs of runs.
    pub runs: Sum,
    /// Damaged objects that were moved away.
    pub quarantine: Sum,
    /// Bytes of the index.
    pub index_bytes: u64,
}

/// What the results of one stage take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageUse {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage, all its instances together.
    pub stage: String,
    /// Records.
    pub records: usize,
    /// Bytes of the objects that they name and that are there, each counted once.
    pub bytes: u64,
    /// Seconds of work in them.
    pub seconds: f64,
}

impl Survey {
    /// Looks at everything in the store.
    ///
    /// # Errors
    /// When a folder of it cannot be read.
    pub fn take(store: &Store) -> io::Result<Self> {
        let mut survey = Self::take_records(store)?;
        for piece in files_below(&store.dir().join("objects-v1"))? {
            if let Some(digest) = digest_of(&piece.path, "") {
                survey.objects.insert(digest, piece);
            }
        }
        for piece in children(&store.dir().join("work"))? {
            let name = piece.path.file_name().unwrap_or_default().to_string_lossy();
            if let Ok(key) = name.parse() {
                survey.work.insert(key, piece);
            }
        }
        survey.plans = children(&store.dir().join("plans-v1"))?;
        survey.leftovers = children(&store.dir().join("tmp"))?;
        for piece in children(&store.runs_path())? {
            if piece
                .path
                .extension()
                .is_some_and(|ending| ending == "jsonl")
            {
                survey.runs.add(piece.bytes);
            }
        }
        for piece in children(&store.dir().join("quarantine"))? {
            survey.quarantine.add(piece.bytes);
        }
        Ok(survey)
    }

    /// Looks at the records only.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub fn take_records(store: &Store) -> io::Result<Self> {
        let mut survey = Self::default();
        let mut files = Vec::new();
        for piece in files_below(&store.dir().join("records-v1"))? {
            if piece
                .path
                .extension()
                .is_some_and(|ending| ending == "json")
            {
                files.push(piece);
            } else if piece.path.ends_with("records-v1/index") {
                survey.index_bytes = piece.bytes;
            }
        }
        let read: Vec<RecordFile> = files.into_par_iter().map(read_record).collect();
        for file in read {
            match file {
                RecordFile::Good(stored) => drop(survey.records.insert(stored.record.key, *stored)),
                RecordFile::Bad(file) => survey.bad_records.push(file),
                RecordFile::Later => survey.later_records += 1,
                RecordFile::Gone => {}
            }
        }
        Ok(survey)
    }

    /// Bytes of everything.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let pieces = self
            .objects
            .values()
            .chain(self.records.values().map(|stored| &stored.file))
            .chain(&self.bad_records)
            .chain(self.work.values())
            .chain(&self.plans)
            .chain(&self.leftovers);
        pieces.map(|piece| piece.bytes).sum::<u64>()
            + self.runs.bytes
            + self.quarantine.bytes
            + self.index_bytes
    }

    /// The objects each record names, trees with everything in them, by key.
    #[must_use]
    pub fn named(&self, store: &Store) -> BTreeMap<Digest, BTreeSet<Digest>> {
        let trees: BTreeSet<Digest> = self
            .records
            .values()
            .flat_map(|stored| contents(&stored.record))
            .filter(|content| content.form == Form::Tree)
            .map(|content| content.digest)
            .collect();
        let trees: BTreeMap<Digest, Vec<Digest>> = trees
            .into_par_iter()
            .map(|digest| {
                let tree = Content {
                    form: Form::Tree,
                    digest,
                    bytes: 0,
                };
                (digest, store.parts(&tree))
            })
            .collect();
        let parts = |content: &Content| match trees.get(&content.digest) {
            Some(parts) if content.form == Form::Tree => parts.clone(),
            _ => vec![content.digest],
        };
        let named = self.records.iter().map(|(key, stored)| {
            let objects = contents(&stored.record).flat_map(parts).collect();
            (*key, objects)
        });
        named.collect()
    }

    /// What each stage takes, the biggest first.
    #[must_use]
    pub fn stages(&self, store: &Store) -> Vec<StageUse> {
        let mut stages: BTreeMap<(&str, &str), (StageUse, BTreeSet<Digest>)> = BTreeMap::new();
        let named = self.named(store);
        for (key, stored) in &self.records {
            let record = &stored.record;
            let stage = record.stage.split('[').next().unwrap_or_default();
            let (row, objects) = stages.entry((&record.pipeline, stage)).or_insert_with(|| {
                let row = StageUse {
                    pipeline: record.pipeline.clone(),
                    stage: stage.to_owned(),
                    records: 0,
                    bytes: 0,
                    seconds: 0.0,
                };
                (row, BTreeSet::new())
            });
            row.records += 1;
            row.seconds += record.seconds;
            objects.extend(named.get(key).into_iter().flatten());
        }
        let mut rows: Vec<StageUse> = stages
            .into_values()
            .map(|(row, objects)| StageUse {
                bytes: objects
                    .iter()
                    .filter_map(|digest| self.objects.get(digest))
                    .map(|piece| piece.bytes)
                    .sum(),
                ..row
            })
            .collect();
        rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.stage.cmp(&b.stage)));
        rows
    }
}

/// Every content a record names: outputs and log.
pub fn contents(record: &Record) -> impl Iterator<Item = &Content> {
    record.outputs.values().chain(&record.log)
}

enum RecordFile {
    Good(Box<Stored>),
    Bad(Piece),
    /// Of a later version of this program: neither ours to use nor damaged.
    Later,
    Gone,
}

fn read_record(file: Piece) -> RecordFile {
    let text = match fs_err::read(&file.path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return RecordFile::Gone,
        Err(_) => return RecordFile::Bad(file),
    };
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text)
        && value["version"]
            .as_u64()
            .is_some_and(|version| version > RECORD_VERSION.into())
    {
        return RecordFile::Later;
    }
    match serde_json::from_slice::<Record>(&text) {
        Ok(record)
            if digest_of(&file.path, ".json") == Some(record.key)
                && Use::Manifest.digest(record.manifest.as_bytes()) == record.key =>
        {
            RecordFile::Good(Box::new(Stored { record, file }))
        }
        _ => RecordFile::Bad(file),
    }
}

/// The digest that `ab/cdef…` names.
pub(super) fn digest_of(path: &Path, ending: &str) -> Option<Digest> {
    let name = path.file_name()?.to_str()?.strip_suffix(ending)?;
    let folder = path.parent()?.file_name()?.to_str()?;
    format!("{folder}{name}").parse().ok()
}

fn piece_of(path: PathBuf, metadata: &std::fs::Metadata) -> Piece {
    Piece {
        path,
        bytes: if metadata.is_dir() { 0 } else { metadata.len() },
        changed_ns: Stamp::of(metadata).changed_ns(),
    }
}

/// Everything below a folder that is no folder. What vanishes meanwhile is left out.
fn files_below(folder: &Path) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if entry.file_type().is_dir() {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => pieces.push(piece_of(entry.into_path(), &metadata)),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pieces)
}

fn is_gone(error: &walkdir::Error) -> bool {
    error
        .io_error()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What stands directly in a folder, each with everything below it. Unreadable corners count as nothing.
fn children(folder: &Path) -> io::Result<Vec<Piece>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut pieces = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let mut piece = piece_of(path, &metadata);
        if metadata.is_dir() {
            for below in files_below(&piece.path).unwrap_or_default() {
                piece.bytes += below.bytes;
                piece.changed_ns = piece.changed_ns.max(below.changed_ns);
            }
        }
        pieces.push(piece);
    }
    pieces.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pieces)
}
