//! What killed runs left under `work/`: processes without a keeper, folders of keys that are finished. Knows no plans.

use std::path::PathBuf;

use super::attempt::last_attempt;
use super::process::kill_leftovers;
use crate::digest::Digest;
use crate::store::lock::{KeyLock, TryKey};
use crate::store::record::Record;
use crate::store::{Store, remove_tree};

/// Kills what attempts left running whose supervisor is dead, whatever key the next run asks for, and removes the
/// folders of keys whose record was written when the supervisor died. Keys at work are left alone. Costs one listing
/// of `work/` when nothing is there. Returns how many processes were killed.
///
/// What cannot be swept now (a refusing disk) is left to the next run, and meets every attempt at its key again.
#[must_use]
pub fn sweep(store: &Store) -> usize {
    let Ok(entries) = std::fs::read_dir(store.dir().join("work")) else {
        return 0;
    };
    let keys = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut lost: Vec<(Digest, KeyLock, Option<Record>)> = Vec::new();
    for key in keys {
        let is_lost = last_attempt(store, &key).is_none_or(|attempt| attempt.end == "lost");
        if !is_lost {
            continue;
        }
        if let Ok(TryKey::Held(lock)) = store.try_lock(&key) {
            lost.push((key, lock, store.find_record(&key)));
        }
    }
    if lost.is_empty() {
        return 0;
    }
    let works: Vec<PathBuf> = lost.iter().map(|(key, ..)| store.work_path(key)).collect();
    let killed = kill_leftovers(&works);
    for (key, _, record) in &lost {
        match record {
            Some(record) => clear_finished(store, key, record),
            None if last_attempt(store, key).is_none() => {
                // Killed before its first attempt. Fails, as it should, where something else lies.
                let work = store.work_path(key);
                let _ = fs_err::remove_file(work.join("lock"));
                let _ = fs_err::remove_dir(&work);
            }
            None => {}
        }
    }
    killed
}

/// Removes the folder of a key whose record is there; for the holder of its lock. A later attempt, forced and not
/// finished, keeps its folder and its checkpoint.
pub(super) fn clear_finished(store: &Store, key: &Digest, record: &Record) {
    let is_finished = last_attempt(store, key).is_none_or(|last| {
        let made_it = record.attempts.last();
        made_it.is_some_and(|attempt| attempt.started == last.started)
    });
    if is_finished {
        // Another runner that asks for the key may make the folder anew under our hands: harmless, and swept again.
        let _ = remove_tree(&store.work_path(key));
    }
}
