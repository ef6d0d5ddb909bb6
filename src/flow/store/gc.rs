//! What no recent run reaches, and removing it: first decided whole, then carried out. Knows runs by their logs only.
//!
//! A record goes when every limit that was given lets it go:
//!
//! - *Reached*: a run reaches the keys of its stages. Of each pipeline the last [`KEEP_RUNS`] runs count (or as many as
//!   asked for); a run that was about some stages only, failed, or repeated the one before it does not use up the number
//!   but keeps what it reached. So does a key that `accept` or the lock file gave a stage since.
//! - *Unused for a time*: since the last run that reached it ended, or since it was written.
//! - *Down to a size*: in the order of idle time x bytes / seconds to make it again, greatest first, until the cache is
//!   small enough. When what no run reaches is not enough, the bytes of reached results go too, but their records stay:
//!   the stages remain cached, and what is read is made again.
//!
//! Besides go: objects that no record names, once older than a grace period; work folders of keys that have a record, and
//! those of failed attempts that nobody reaches and that hold no checkpoint; leftovers of interrupted writes; plans that
//! were expanded long ago. Never: a folder whose lock is held, a checkpoint of a key without a record, quarantine.
//!
//! Order of removal: line of the index, record, objects. Stopped in between it leaves objects that nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::index::Index;
use super::lock::TryKey;
use super::survey::{Piece, Stored, Survey, contents};
use super::{Store, remove_tree};
use crate::digest::Digest;
use crate::run::RunLine;
use crate::spec::METRICS;

/// Runs of each pipeline that count unless asked otherwise.
pub const KEEP_RUNS: u32 = 10;
/// Objects that no record names, and leftovers, are kept this long: a record may be on its way.
pub const GRACE: Duration = Duration::from_secs(3600);
/// A record that no run names is kept this long after it was written: the logs of runs may be lost.
pub const KEEP_UNNAMED: Duration = Duration::from_secs(30 * 86_400);
/// Expanded plans are kept this long; one that goes is parsed again.
pub const KEEP_PLANS: Duration = Duration::from_secs(7 * 86_400);

/// How much may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Keep what the last so many runs of each pipeline reach.
    pub keep_runs: Option<u32>,
    /// Remove only what was unused for this long.
    pub older_than: Option<Duration>,
    /// Remove only until the cache has at most so many bytes.
    pub down_to_bytes: Option<u64>,
    /// See [`GRACE`].
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keep_runs: None,
            older_than: None,
            down_to_bytes: None,
            grace: GRACE,
        }
    }
}

/// What goes.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A record with the objects that only it names.
    Result {
        /// Its key.
        key: Digest,
        /// `pipeline stage` as it was called when it ran.
        stage: String,
    },
    /// Objects of a record that stays.
    Bytes {
        /// Its key.
        key: Digest,
        /// `pipeline stage` as it was called when it ran.
        stage: String,
    },
    /// An object that no record names.
    Orphan(Digest),
    /// A key's attempts.
    Work(Digest),
    /// What an interrupted write left.
    Leftover,
    /// An expanded plan.
    Plan,
}

/// Why it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// None of the last so many runs of its pipeline reaches it.
    Unreached(u32),
    /// No run used it for so many seconds.
    Idle(f64),
    /// The cache is to be smaller, and this is next: unused for so many seconds, made in so many.
    Room {
        /// Seconds since it was used.
        idle: f64,
        /// Seconds to make it again.
        remake: f64,
    },
    /// No record names it.
    Unnamed,
    /// The key has a record.
    Finished,
    /// The attempts failed, and nobody reaches the key any more.
    Failed,
    /// It is left from something that was interrupted.
    Interrupted,
    /// It was not written for long and is quickly made again.
    Old,
}

/// One thing that goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// What.
    pub what: What,
    /// Why.
    pub why: Why,
    /// Bytes that it frees.
    pub bytes: u64,
    paths: Vec<PathBuf>,
}

/// What goes, decided and not yet done.
#[derive(Debug)]
pub struct Collection {
    /// In the order of removal.
    pub removals: Vec<Removal>,
    /// Bytes of the whole cache now.
    pub before_bytes: u64,
    /// Records that stay.
    pub kept_records: usize,
    /// Unfinished keys whose checkpoints and attempts stay, and their bytes.
    pub unfinished: super::survey::Sum,
    /// Damaged objects that were moved away earlier; they stay.
    pub quarantine: super::survey::Sum,
    /// Set where unnamed objects stay because so many records cannot be read.
    pub unreadable_records: usize,
}

/// Why nothing can be decided.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// Records of a later version of this program name objects this one does not know of.
    #[error("the cache holds {0} records of a later version of this program")]
    Later(usize),
    /// The disk or the file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Collection {
    /// Bytes of the cache when it is done.
    #[must_use]
    pub fn after_bytes(&self) -> u64 {
        self.before_bytes.saturating_sub(self.freed_bytes())
    }

    /// Bytes that go.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.removals.iter().map(|removal| removal.bytes).sum()
    }
}

/// What a run, or a command since, says of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// Whether it is among what the runs that count reach.
    kept: bool,
    /// Seconds since a run last reached it; `None` when only a later command named it.
    idle: Option<f64>,
}

fn reach(
    runs: &[RunLine],
    last_keys: &[((String, String), Digest)],
    keep_runs: u32,
) -> BTreeMap<Digest, Reach> {
    let mut reach: BTreeMap<Digest, Reach> = BTreeMap::new();
    let mut counted: BTreeMap<&str, (u32, &BTreeMap<String, Digest>)> = BTreeMap::new();
    let mut stages: BTreeSet<(&str, &str)> = BTreeSet::new();
    for run in runs.iter().rev() {
        let so_far = counted.get(run.pipeline.as_str());
        let kept = so_far.is_none_or(|(count, _)| *count < keep_runs);
        for (stage, key) in &run.keys {
            let reach = reach.entry(*key).or_default();
            reach.kept |= kept;
            let idle = reach
                .idle
                .map_or(run.age_seconds, |idle| idle.min(run.age_seconds));
            reach.idle = Some(idle);
            if kept {
                stages.insert((&run.pipeline, stage));
            }
        }
        if run.whole && so_far.is_none_or(|(_, keys)| **keys != run.keys) {
            let count = so_far.map_or(0, |(count, _)| *count) + 1;
            counted.insert(&run.pipeline, (count, &run.keys));
        }
    }
    for ((pipeline, stage), key) in last_keys {
        if stages.contains(&(pipeline.as_str(), stage.as_str())) {
            reach.entry(*key).or_default().kept = true;
        }
    }
    reach
}

/// A record on its way out, perhaps.
struct Candidate<'a> {
    stored: &'a Stored,
    why: Why,
    idle: f64,
    /// Whether only its bytes may go.
    bytes_only: bool,
}

/// Which objects are still named, counted.
struct Names<'a> {
    survey: &'a Survey,
    named: BTreeMap<Digest, BTreeSet<Digest>>,
    counts: BTreeMap<Digest, usize>,
}

impl<'a> Names<'a> {
    fn new(survey: &'a Survey, store: &Store) -> Self {
        let named = survey.named(store);
        let mut counts = BTreeMap::new();
        for digest in named.values().flatten() {
            *counts.entry(*digest).or_default() += 1;
        }
        Self {
            survey,
            named,
            counts,
        }
    }

    /// Bytes of a record's objects, whoever else names them.
    fn bytes(&self, key: &Digest) -> u64 {
        let objects = self.named.get(key).into_iter().flatten();
        objects
            .filter_map(|digest| self.survey.objects.get(digest))
            .map(|piece| piece.bytes)
            .sum()
    }

    /// A record names these no longer. Those that nobody names now.
    fn drop_names(&mut self, objects: &BTreeSet<Digest>) -> Vec<&'a Piece> {
        let mut freed = Vec::new();
        for digest in objects {
            let Some(count) = self.counts.get_mut(digest) else {
                continue;
            };
            *count -= 1;
            if *count == 0
                && let Some(piece) = self.survey.objects.get(digest)
            {
                freed.push(piece);
            }
        }
        freed
    }
}

/// Decides what goes. Changes nothing.
///
/// # Errors
/// [`GcError::Later`], or when the cache cannot be read.
pub fn decide(store: &Store, runs: &[RunLine], limits: &Limits) -> Result<Collection, GcError> {
    let survey = Survey::take(store)?;
    if survey.later_records > 0 {
        return Err(GcError::Later(survey.later_records));
    }
    let now_ns = store.server_clock_ns()?;
    let last_keys = Index::load(store.dir())?.last_keys();
    let keep_runs = limits.keep_runs.unwrap_or(KEEP_RUNS);
    let reach = reach(runs, &last_keys, keep_runs);
    let mut collection = Collection {
        removals: Vec::new(),
        before_bytes: survey.total_bytes(),
        kept_records: survey.records.len(),
        unfinished: super::survey::Sum::default(),
        quarantine: survey.quarantine,
        unreadable_records: survey.bad_records.len(),
    };
    let mut names = Names::new(&survey, store);
    clutter(&survey, &names, limits, now_ns, &mut collection);
    old_work(store, &survey, &reach, limits, now_ns, &mut collection);
    let mut candidates: Vec<Candidate<'_>> = survey
        .records
        .values()
        .filter_map(|stored| candidate(stored, &reach, limits, keep_runs, now_ns))
        .collect();
    candidates.sort_by(|a, b| {
        let score = |candidate: &Candidate<'_>| score(candidate, &names);
        (a.bytes_only.cmp(&b.bytes_only))
            .then_with(|| score(b).total_cmp(&score(a)))
            .then_with(|| a.stored.record.key.cmp(&b.stored.record.key))
    });
    for candidate in candidates {
        if let Some(most) = limits.down_to_bytes
            && collection.after_bytes() <= most
        {
            break;
        }
        remove(&candidate, &mut names, store, &mut collection);
    }
    Ok(collection)
}

fn seconds_since(then_ns: i64, now_ns: i64) -> f64 {
    Duration::from_nanos(u64::try_from(now_ns.saturating_sub(then_ns)).unwrap_or(0)).as_secs_f64()
}

/// Whether the limits let a record go, and why.
fn candidate<'a>(
    stored: &'a Stored,
    reach: &BTreeMap<Digest, Reach>,
    limits: &Limits,
    keep_runs: u32,
    now_ns: i64,
) -> Option<Candidate<'a>> {
    let written = seconds_since(stored.file.changed_ns, now_ns);
    let reached = reach.get(&stored.record.key).copied();
    let idle = reached
        .and_then(|reach| reach.idle)
        .map_or(written, |idle| idle.min(written));
    if let Some(age) = limits.older_than
        && idle <= age.as_secs_f64()
    {
        return None;
    }
    let is_kept = match reached {
        Some(reach) => reach.kept,
        None => limits.older_than.is_none() && written < KEEP_UNNAMED.as_secs_f64(),
    };
    let runs_count = limits.keep_runs.is_some()
        || (limits.older_than.is_none() && limits.down_to_bytes.is_none());
    if is_kept && runs_count {
        return None;
    }
    let why = if limits.down_to_bytes.is_some() {
        Why::Room {
            idle,
            remake: stored.record.seconds,
        }
    } else if runs_count {
        Why::Unreached(keep_runs)
    } else {
        Why::Idle(idle)
    };
    Some(Candidate {
        stored,
        why,
        idle,
        // With an age the record was unused for that long, which is what was asked for.
        bytes_only: is_kept && limits.older_than.is_none(),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an order needs no more than 53 bits"
)]
fn score(candidate: &Candidate<'_>, names: &Names<'_>) -> f64 {
    let record = &candidate.stored.record;
    let bytes = names.bytes(&record.key) as f64;
    candidate.idle.max(1.0) * bytes / record.seconds.max(0.001)
}

fn remove(
    candidate: &Candidate<'_>,
    names: &mut Names<'_>,
    store: &Store,
    collection: &mut Collection,
) {
    let record = &candidate.stored.record;
    let (key, stage) = (record.key, format!("{} {}", record.pipeline, record.stage));
    let mut paths = Vec::new();
    let (what, freed) = if candidate.bytes_only {
        // Numbers and what was printed stay with the record: they are small, and people and reports read them.
        let small: BTreeSet<Digest> = (record.outputs.get(METRICS).into_iter().chain(&record.log))
            .map(|content| content.digest)
            .collect();
        let bulk: BTreeSet<Digest> = contents(record)
            .flat_map(|content| store.parts(content))
            .filter(|digest| !small.contains(digest))
            .collect();
        (What::Bytes { key, stage }, names.drop_names(&bulk))
    } else {
        let objects = names.named.remove(&key).unwrap_or_default();
        collection.kept_records -= 1;
        paths.push(candidate.stored.file.path.clone());
        (What::Result { key, stage }, names.drop_names(&objects))
    };
    let mut bytes: u64 = freed.iter().map(|piece| piece.bytes).sum();
    if !candidate.bytes_only {
        bytes += candidate.stored.file.bytes;
    } else if freed.is_empty() {
        return;
    }
    paths.extend(freed.into_iter().map(|piece| piece.path.clone()));
    collection.removals.push(Removal {
        what,
        why: candidate.why,
        bytes,
        paths,
    });
}

/// Unnamed objects, leftovers and old plans.
fn clutter(
    survey: &Survey,
    names: &Names<'_>,
    limits: &Limits,
    now_ns: i64,
    collection: &mut Collection,
) {
    let is_older = |piece: &Piece, than: Duration| {
        seconds_since(piece.changed_ns, now_ns) >= than.as_secs_f64()
    };
    let mut go = |what, why, piece: &Piece| {
        collection.removals.push(Removal {
            what,
            why,
            bytes: piece.bytes,
            paths: vec![piece.path.clone()],
        });
    };
    for piece in &survey.plans {
        if is_older(piece, KEEP_PLANS) {
            go(What::Plan, Why::Old, piece);
        }
    }
    for piece in &survey.leftovers {
        if is_older(piece, limits.grace) {
            go(What::Leftover, Why::Interrupted, piece);
        }
    }
    // An unreadable record may name any of them.
    if survey.bad_records.is_empty() {
        for (digest, piece) in &survey.objects {
            if !names.counts.contains_key(digest) && is_older(piece, limits.grace) {
                go(What::Orphan(*digest), Why::Unnamed, piece);
            }
        }
    }
}

/// Work folders that nobody goes on with.
fn old_work(
    store: &Store,
    survey: &Survey,
    reach: &BTreeMap<Digest, Reach>,
    limits: &Limits,
    now_ns: i64,
    collection: &mut Collection,
) {
    for (key, piece) in &survey.work {
        let why = if survey.records.contains_key(key) {
            Some(Why::Finished)
        } else if has_failed_for_good(store, key, piece, reach, limits, now_ns) {
            Some(Why::Failed)
        } else {
            None
        };
        match why {
            Some(why) if !is_held(store, key, &piece.path) => collection.removals.push(Removal {
                what: What::Work(*key),
                why,
                bytes: piece.bytes,
                paths: vec![piece.path.clone()],
            }),
            _ => collection.unfinished.add(piece.bytes),
        }
    }
}

fn is_held(store: &Store, key: &Digest, folder: &Path) -> bool {
    let has_lock = folder.join("lock").exists() || folder.join("claim").exists();
    has_lock && !matches!(store.try_lock(key), Ok(TryKey::Held(_)))
}

/// Whether the last attempt ended by itself, left nothing to go on from, and no run that counts reaches the key.
fn has_failed_for_good(
    store: &Store,
    key: &Digest,
    piece: &Piece,
    reach: &BTreeMap<Digest, Reach>,
    limits: &Limits,
    now_ns: i64,
) -> bool {
    let has_entries = |name: &str| {
        std::fs::read_dir(piece.path.join(name)).is_ok_and(|mut entries| entries.next().is_some())
    };
    let idle = seconds_since(piece.changed_ns, now_ns);
    let is_reached = reach.get(key).is_some_and(|reach| reach.kept);
    idle >= limits.older_than.unwrap_or(limits.grace).as_secs_f64()
        && (limits.older_than.is_some() || !is_reached)
        && crate::exec::last_attempt(store, key).is_some_and(|last| last.end == "failed")
        && !has_entries("checkpoint")
        && !has_entries("scratch")
}

/// Removes what was decided, and makes the index small. The caller has the cache for itself ([`Store::try_alone`]).
///
/// # Errors
/// When something cannot be removed; what was removed before stays removed, and nothing names it.
pub fn collect(store: &Store, collection: &Collection) -> io::Result<()> {
    let mut index = Index::load(store.dir())?;
    for removal in &collection.removals {
        if let What::Result { key, .. } = &removal.what {
            index.forget(key);
        }
    }
    index.flush()?;
    for removal in &collection.removals {
        let _lock = match &removal.what {
            What::Work(key) => match store.try_lock(key)? {
                TryKey::Held(lock) => Some(lock),
                TryKey::Busy(_) => continue,
            },
            _ => None,
        };
        // The first path of a result is its record.
        for path in &removal.paths {
            remove_tree(path)?;
        }
    }
    index.rewrite(store)
}

#[cfg(test)]
mod tests;
