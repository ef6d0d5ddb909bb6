//! One key, one worker: an advisory lock, and a claim beside it or in its place. Knows nothing of work.
//!
//! A lock saves double work; results never rest on it. The kernel frees a file lock when its holder dies, but some file
//! systems keep none, and some keep them on one machine only. So runs that cooperate hold a claim as well, and whoever
//! takes a key respects a claim that is there.

use std::fs::TryLockError;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use super::Store;
use super::claim::{
    Claim, FILE as CLAIM, find_claim, holder_name, holder_text, is_alive, make_folder, try_claim,
};
use crate::digest::Digest;

/// A held key. Dropping it gives the key back.
#[derive(Debug)]
pub struct KeyLock {
    /// Held by keeping a file fresh. Given back before the lock: whoever gets that next finds no claim of ours.
    _claim: Option<Claim>,
    /// The kernel holds it for us.
    file: Option<std::fs::File>,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Whose lock it was matters no longer: this process may live on.
        if let Some(file) = &self.file {
            let _ = file.set_len(0);
        }
    }
}

impl KeyLock {
    /// Whether the file system had no locks, so that this is a claim alone.
    #[must_use]
    pub fn is_claim(&self) -> bool {
        self.file.is_none()
    }
}

/// What became of an attempt to take a key.
#[derive(Debug)]
pub enum TryKey {
    /// It is ours.
    Held(KeyLock),
    /// Somebody has it; their name, such as `process 4711 on node3`.
    Busy(String),
}

/// Whether an error says that the file system keeps no locks.
fn is_refused(error: &io::Error) -> bool {
    let refusals = [
        rustix::io::Errno::NOLCK,
        rustix::io::Errno::OPNOTSUPP,
        rustix::io::Errno::NOSYS,
        rustix::io::Errno::INVAL,
    ];
    error.kind() == io::ErrorKind::Unsupported
        || refusals
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A claim that was not touched for so long is nobody's any more, for those who cannot watch it for a while.
const FORGOTTEN_AFTER_NS: i64 = 600 * 1_000_000_000;

fn claims_only() -> bool {
    static CHOICE: OnceLock<bool> = OnceLock::new();
    *CHOICE.get_or_init(|| std::env::var_os("PIPELINE_LOCKS").is_some_and(|value| value == "none"))
}

impl Store {
    /// Tries to take a key without waiting. The environment variable `PIPELINE_LOCKS=none` forces claims.
    ///
    /// # Errors
    /// When the key's folder cannot be made or written.
    pub fn try_lock(&self, key: &Digest) -> io::Result<TryKey> {
        self.try_take(key, false)
    }

    /// [`try_lock`](Self::try_lock) for runs on several machines: a claim is held beside the lock, which may hold on
    /// one machine only.
    ///
    /// # Errors
    /// Those of [`try_lock`](Self::try_lock).
    pub fn try_lock_together(&self, key: &Digest) -> io::Result<TryKey> {
        self.try_take(key, true)
    }

    /// Who has a claim on a key, as far as this process can tell; `None` where there is none, or a stale one.
    #[must_use]
    pub fn claimed_by(&self, key: &Digest) -> Option<String> {
        find_claim(&self.work_path(key))
    }

    /// Who has a claim on any key, as far as this process can tell. Where locks hold on one machine only, having the
    /// cache alone by its lock says nothing of the others: what is at work there shows by its claims.
    ///
    /// # Errors
    /// When the folder of work cannot be read.
    pub fn any_claim(&self) -> io::Result<Option<String>> {
        let folders = match fs_err::read_dir(self.dir().join("work")) {
            Ok(folders) => folders,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Both times are the file server's: a claim is touched with its clock.
        let oldest_ns = self.server_clock_ns().map(|now| now - FORGOTTEN_AFTER_NS);
        let is_forgotten = |claim: &Path| {
            let touched = fs_err::metadata(claim).map(|it| crate::content::Stamp::of(&it).mtime_ns);
            matches!((touched, &oldest_ns), (Ok(touched), Ok(oldest)) if touched < *oldest)
        };
        for folder in folders {
            let folder = folder?.path();
            if let Some(holder) = find_claim(&folder).filter(|_| !is_forgotten(&folder.join(CLAIM)))
            {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    fn try_take(&self, key: &Digest, is_shared: bool) -> io::Result<TryKey> {
        let folder = self.work_path(key);
        let claim_alone = || {
            Ok(match try_claim(&folder)? {
                Ok(claim) => TryKey::Held(KeyLock {
                    _claim: Some(claim),
                    file: None,
                }),
                Err(holder) => TryKey::Busy(holder),
            })
        };
        if claims_only() {
            return claim_alone();
        }
        loop {
            make_folder(&folder)?;
            let path = folder.join("lock");
            let opened = fs_err::OpenOptions::new()
                .create(true)
                .read(true)
                .append(true)
                .open(&path);
            let file = match opened {
                Ok(file) => file.into_parts().0,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = fs_err::read_to_string(&path).unwrap_or_default();
                    return Ok(TryKey::Busy(holder_name(&holder)));
                }
                Err(TryLockError::Error(error)) if is_refused(&error) => return claim_alone(),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The holder before us may have removed the folder: then this lock is on a file nobody will find.
            let is_current = std::fs::metadata(&path).is_ok_and(|there| {
                file.metadata()
                    .is_ok_and(|ours| there.ino() == ours.ino() && there.dev() == ours.dev())
            });
            if !is_current {
                continue;
            }
            let mut claim = None;
            if is_shared || folder.join(CLAIM).exists() {
                match try_claim(&folder)? {
                    Ok(ours) => claim = Some(ours),
                    Err(holder) => return Ok(TryKey::Busy(holder)),
                }
            }
            file.set_len(0)?;
            (&file).write_all(holder_text().as_bytes())?;
            return Ok(TryKey::Held(KeyLock {
                _claim: claim,
                file: Some(file),
            }));
        }
    }

    /// Who seems to work on a key, by what its work folder says. Takes nothing that would keep a worker waiting: on this
    /// machine it asks whether the process is there; of another machine's file lock it asks for a shared look.
    #[must_use]
    pub fn holder(&self, key: &Digest) -> Option<String> {
        if let Some(holder) = self.claimed_by(key) {
            return Some(holder);
        }
        let path = self.work_path(key).join("lock");
        let text = fs_err::read_to_string(&path).ok()?;
        let is_at_work = match is_alive(&text) {
            _ if text.is_empty() => false,
            Some(is_alive) => is_alive,
            None => {
                let file = fs_err::File::open(&path).ok()?.into_parts().0;
                matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
            }
        };
        is_at_work.then(|| holder_name(&text))
    }
}

/// Says that a run uses the cache, so that `cache gc` leaves it alone. Held until dropped; absent where locks are refused.
#[derive(Debug)]
pub struct InUse {
    lock: Option<std::fs::File>,
}

impl InUse {
    /// Whether a lock says so, not only hope: some file systems keep none.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.lock.is_some()
    }

    /// Has the cache for ourselves from now on, if no other run uses it and a lock can say so. Whether it is so.
    ///
    /// # Errors
    /// When the lock cannot be taken back.
    pub fn try_alone(&self) -> io::Result<bool> {
        let Some(file) = &self.lock else {
            return Ok(false);
        };
        match file.try_lock() {
            Ok(()) => Ok(true),
            // The kernel may have let go of the shared lock on the way.
            Err(TryLockError::WouldBlock) => file.lock_shared().map(|()| false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Store {
    /// Marks the cache as in use. Waits while `cache gc` is at work.
    ///
    /// # Errors
    /// When the marker cannot be opened.
    pub fn mark_in_use(&self) -> io::Result<InUse> {
        let file = self.in_use_file()?;
        match file.lock_shared() {
            Ok(()) => Ok(InUse { lock: Some(file) }),
            Err(error) if is_refused(&error) => Ok(InUse { lock: None }),
            Err(error) => Err(error),
        }
    }

    /// The cache for ourselves, or `None` while a run uses it.
    ///
    /// # Errors
    /// When the marker cannot be opened.
    pub fn try_alone(&self) -> io::Result<Option<InUse>> {
        let file = self.in_use_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(InUse { lock: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if is_refused(&error) => Ok(Some(InUse { lock: None })),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn in_use_file(&self) -> io::Result<std::fs::File> {
        let path = self.dir().join("in-use");
        Ok(fs_err::OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?
            .into_parts()
            .0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Use;

    #[test]
    fn a_key_has_one_holder_and_its_folder_may_vanish() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        let key = Use::Manifest.digest(b"k");
        let TryKey::Held(lock) = store.try_lock(&key).expect("locks") else {
            panic!("free")
        };
        assert!(
            matches!(store.try_lock(&key).expect("asks"), TryKey::Busy(name) if name.starts_with("process "))
        );
        crate::store::remove_tree(&store.work_path(&key)).expect("removes");
        let TryKey::Held(second) = store.try_lock(&key).expect("locks") else {
            panic!("a new file")
        };
        drop((lock, second));
        assert!(matches!(
            store.try_lock(&key).expect("locks"),
            TryKey::Held(_)
        ));
    }

    /// Where locks hold on one machine only, the lock is free although another machine is at work: its claim counts.
    #[test]
    fn a_claim_counts_beside_a_free_lock() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        let key = Use::Manifest.digest(b"k");
        let work = store.work_path(&key);
        fs_err::create_dir_all(&work).expect("makes");
        fs_err::write(work.join(CLAIM), "process 1 on elsewhere since x\n").expect("writes");
        for found in [store.try_lock(&key), store.try_lock_together(&key)] {
            let TryKey::Busy(holder) = found.expect("asks") else {
                panic!("claimed")
            };
            assert_eq!(holder, "process 1 on elsewhere");
        }
        let any = store.any_claim().expect("looks");
        assert_eq!(any.as_deref(), Some("process 1 on elsewhere"));
        let claim = fs_err::OpenOptions::new()
            .append(true)
            .open(work.join(CLAIM));
        let claim = claim.expect("opens").into_parts().0;
        let touched = claim
            .metadata()
            .and_then(|it| it.modified())
            .expect("a time");
        claim
            .set_modified(touched - std::time::Duration::from_secs(700))
            .expect("set back");
        assert_eq!(store.any_claim().expect("looks"), None);
        assert_eq!(
            store.claimed_by(&key).as_deref(),
            Some("process 1 on elsewhere")
        );
        fs_err::remove_file(work.join(CLAIM)).expect("removes");
        assert_eq!(store.claimed_by(&key), None);
        let TryKey::Held(lock) = store.try_lock_together(&key).expect("takes") else {
            panic!("free")
        };
        assert!(!lock.is_claim() && store.claimed_by(&key).is_some());
        drop(lock);
        assert!(!work.join(CLAIM).exists());
    }
}
