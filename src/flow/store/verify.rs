//! Reads everything in a store and moves what is damaged out of the way. Knows nothing of why it is damaged.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rayon::prelude::*;

use super::index::Index;
use super::survey::{Piece, Survey, digest_of};
use super::{Store, rename_into};
use crate::content::{Tree, hash_file};
use crate::diagnostic::Diagnostic;
use crate::digest::{Digest, Use};

/// How often progress is told.
const LOOK: Duration = Duration::from_millis(200);
/// No listing is longer: so much of a damaged object is read at once to see whether it is one.
const LONGEST_LISTING_BYTES: u64 = 1 << 30;
/// Stages that a message names.
const MOST_NAMES: usize = 5;

/// What was found.
#[derive(Debug)]
pub struct Audit {
    /// Objects read.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Records read.
    pub records: usize,
    /// A message for each damaged or unreadable object and record.
    pub damage: Vec<Diagnostic>,
    /// Records whose objects are not all there, as information: what is read of them is made again.
    pub incomplete: Vec<Incomplete>,
}

/// A record some of whose objects are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The pipeline when it ran.
    pub pipeline: String,
    /// The stage when it ran.
    pub stage: String,
    /// Its key.
    pub key: Digest,
    /// The outputs that are not whole.
    pub outputs: Vec<String>,
}

enum Fault {
    Damaged(u64),
    Unreadable(io::Error),
}

/// Hashes every object, on all cores, and moves what does not match to quarantine. `progress` gets bytes done and in all.
///
/// # Errors
/// When the cache's folders cannot be read. A single unreadable object is in the answer.
pub fn verify(store: &Store, progress: &mut dyn FnMut(u64, u64)) -> io::Result<Audit> {
    let survey = Survey::take(store)?;
    // Before anything is moved: a damaged listing still tells which records name it.
    let named = survey.named(store);
    let bytes = survey.objects.values().map(|piece| piece.bytes).sum();
    let faults = hash_all(&survey, bytes, progress);
    let mut users: BTreeMap<Digest, Vec<String>> = faults
        .iter()
        .map(|(digest, _)| (*digest, Vec::new()))
        .collect();
    for (key, objects) in &named {
        let stage = &survey.records[key].record.stage;
        for digest in objects {
            if let Some(names) = users.get_mut(digest) {
                names.push(format!("`{stage}`"));
            }
        }
    }
    let mut damage = Vec::new();
    for (digest, fault) in &faults {
        let message = match fault {
            Fault::Damaged(size_bytes) => {
                crate::exec::supervisor::corrupt(store, digest, *size_bytes)
            }
            Fault::Unreadable(error) => Diagnostic::warning(
                "store::unreadable",
                format!("object {} cannot be read", digest.short()),
            )
            .detail(error.to_string()),
        };
        damage.push(message.detail(named_by(&users[digest])));
    }
    damage.extend(move_bad_records(store, &survey.bad_records)?);
    Ok(Audit {
        objects: survey.objects.len(),
        bytes,
        records: survey.records.len(),
        damage,
        incomplete: incomplete(store, &survey),
    })
}

fn hash_all(
    survey: &Survey,
    bytes: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Vec<(Digest, Fault)> {
    let done = AtomicU64::new(0);
    let (sender, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            let objects: Vec<(&Digest, &Piece)> = survey.objects.iter().collect();
            let faults: Vec<(Digest, Fault)> = objects
                .into_par_iter()
                .filter_map(|(digest, piece)| {
                    let fault = fault_of(digest, piece);
                    done.fetch_add(piece.bytes, Ordering::Relaxed);
                    Some((*digest, fault?))
                })
                .collect();
            let _ = sender.send(faults);
        });
        loop {
            match finished.recv_timeout(LOOK) {
                Ok(faults) => return faults,
                Err(RecvTimeoutError::Timeout) => progress(done.load(Ordering::Relaxed), bytes),
                Err(RecvTimeoutError::Disconnected) => return Vec::new(),
            }
        }
    })
}

/// An object is a file's bytes or a tree's listing; the digests of both uses never collide.
fn fault_of(digest: &Digest, piece: &Piece) -> Option<Fault> {
    let metadata = match std::fs::symlink_metadata(&piece.path) {
        Ok(metadata) => metadata,
        // Taken away since: missing, not damaged.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Fault::Unreadable(error)),
    };
    if !metadata.is_file() {
        return Some(Fault::Damaged(metadata.len()));
    }
    let is_right = hash_file(&piece.path, metadata.len()).and_then(|found| {
        if found == *digest {
            return Ok(true);
        }
        if metadata.len() > LONGEST_LISTING_BYTES {
            return Ok(false);
        }
        let text = fs_err::read(&piece.path)?;
        Ok(Use::Tree.digest(&text) == *digest
            && std::str::from_utf8(&text).is_ok_and(|text| Tree::parse(text).is_ok()))
    });
    match is_right {
        Ok(true) => None,
        Ok(false) => Some(Fault::Damaged(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Fault::Unreadable(error)),
    }
}

fn named_by(stages: &[String]) -> String {
    let mut stages = stages.to_vec();
    stages.sort_unstable();
    stages.dedup();
    match stages.len() {
        0 => "no record names it".to_owned(),
        count if count <= MOST_NAMES => format!("named by the record of {}", stages.join(", ")),
        count => format!(
            "named by the records of {} and {} more",
            stages[..MOST_NAMES].join(", "),
            count - MOST_NAMES
        ),
    }
}

/// A record that is not what its name says must not stay: the index may still believe it.
fn move_bad_records(store: &Store, files: &[Piece]) -> io::Result<Vec<Diagnostic>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut index = Index::load(store.dir())?;
    let mut messages = Vec::new();
    for file in files {
        let key = digest_of(&file.path, ".json");
        let name = key.map_or_else(|| file.path.display().to_string(), |key| key.short());
        let to: PathBuf = store
            .dir()
            .join("quarantine")
            .join(format!("record-{name}-{}", crate::clock::now_ns()).replace('/', "_"));
        let moved = match rename_into(&file.path, &to) {
            Ok(()) => "moved to cache/quarantine; its stage will run again".to_owned(),
            Err(error) => format!("cannot be moved to cache/quarantine: {error}"),
        };
        if let Some(key) = key {
            index.forget(&key);
        }
        let message = Diagnostic::warning(
            "store::bad_record",
            format!("record {name} cannot be read or is not what its name says"),
        );
        messages.push(message.detail(moved));
    }
    index.flush()?;
    Ok(messages)
}

fn incomplete(store: &Store, survey: &Survey) -> Vec<Incomplete> {
    let rows = survey.records.par_iter().filter_map(|(key, stored)| {
        let record = &stored.record;
        let outputs: Vec<String> = record
            .outputs
            .iter()
            .filter(|(_, content)| !store.has(content))
            .map(|(name, _)| name.clone())
            .collect();
        (!outputs.is_empty()).then(|| Incomplete {
            pipeline: record.pipeline.clone(),
            stage: record.stage.clone(),
            key: *key,
            outputs,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_of_every_size_and_of_listings_is_found_and_moved() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(&folder.path().join("cache")).expect("opens");
        let out = folder.path().join("out");
        fs_err::create_dir_all(&out).expect("mkdir");
        fs_err::write(out.join("a"), "whole").expect("write");
        let tree = store.ingest(folder.path(), &out).expect("ingests");
        let small = store.put_bytes(b"small").expect("puts");
        let large = store.put_bytes(&vec![7; 3 << 20]).expect("puts");
        let audit = verify(&store, &mut |_, _| {}).expect("verifies");
        assert_eq!((audit.objects, audit.damage.len()), (4, 0));
        for (content, bytes) in [
            (tree, b"x".to_vec()),
            (small, Vec::new()),
            (large, vec![7; 3 << 10]),
        ] {
            let path = store.object_path(&content.digest);
            fs_err::remove_file(&path).expect("removes");
            fs_err::write(&path, bytes).expect("damages");
        }
        let audit = verify(&store, &mut |_, _| {}).expect("verifies");
        assert_eq!(audit.damage.len(), 3);
        assert!(
            [tree, small, large]
                .iter()
                .all(|content| !store.has(content))
        );
        let audit = verify(&store, &mut |_, _| {}).expect("verifies");
        assert_eq!((audit.objects, audit.damage.len()), (1, 0));
    }
}
