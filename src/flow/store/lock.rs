//! One key, one worker: an advisory lock, and a heartbeat claim where the file system has none. Knows nothing of work.
//!
//! A lock saves double work; results never rest on it. The kernel frees a file lock when its holder dies. A claim is
//! stale when its holder is a dead process of this host, or when nobody touched it for [`STALE_AFTER`] by the
//! observer's own monotonic clock.

#![expect(clippy::disallowed_types, reason = "a map looked up by path only")]

use std::collections::HashMap;
use std::fs::TryLockError;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::Store;
use crate::digest::Digest;

/// How often a claim's holder touches it.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long an untouched claim is respected.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// A held key. Dropping it gives the key back.
#[derive(Debug)]
pub enum KeyLock {
    /// The kernel holds it for us.
    File(std::fs::File),
    /// We hold it by keeping a file fresh.
    Claim(Claim),
}

impl KeyLock {
    /// Whether the file system had no locks, so that this is a claim.
    #[must_use]
    pub fn is_claim(&self) -> bool {
        matches!(self, Self::Claim(_))
    }
}

/// A file kept fresh by a thread.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    text: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if fs_err::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs_err::remove_file(&self.path);
        }
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

fn holder_text() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!(
        "process {} on {host} since {}\n",
        std::process::id(),
        crate::clock::rfc3339(crate::clock::now_ns())
    )
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
        let folder = self.work_path(key);
        if claims_only() {
            return try_claim(&folder);
        }
        loop {
            fs_err::create_dir_all(&folder)?;
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
                Err(TryLockError::Error(error)) if is_refused(&error) => return try_claim(&folder),
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
            file.set_len(0)?;
            (&file).write_all(holder_text().as_bytes())?;
            return Ok(TryKey::Held(KeyLock::File(file)));
        }
    }
}

impl Store {
    /// Who seems to work on a key, by what its work folder says. Takes nothing that would keep a worker waiting: on this
    /// host it asks whether the process is there; of another host's file lock it asks for a shared look.
    #[must_use]
    pub fn holder(&self, key: &Digest) -> Option<String> {
        let folder = self.work_path(key);
        let claim = folder.join("claim");
        if let Ok(text) = fs_err::read_to_string(&claim)
            && !is_stale(&claim, &text)
        {
            return Some(holder_name(&text));
        }
        let path = folder.join("lock");
        let text = fs_err::read_to_string(&path).ok()?;
        let is_at_work = match is_alive_here(&text) {
            Some(is_alive) => is_alive,
            None => {
                let file = fs_err::File::open(&path).ok()?.into_parts().0;
                matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
            }
        };
        is_at_work.then(|| holder_name(&text))
    }
}

/// Whether the process that a holder's text names lives; `None` when it is of another host, or no text.
fn is_alive_here(text: &str) -> Option<bool> {
    let (pid, on) = text.strip_prefix("process ")?.split_once(" on ")?;
    let uname = rustix::system::uname();
    if on.split(" since ").next() != Some(uname.nodename().to_string_lossy().as_ref()) {
        return None;
    }
    let pid = rustix::process::Pid::from_raw(pid.parse::<i32>().ok()?)?;
    Some(rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn holder_name(text: &str) -> String {
    let name = text.lines().next().unwrap_or_default();
    let name = name.split(" since ").next().unwrap_or_default();
    if name.is_empty() {
        "another process".to_owned()
    } else {
        name.to_owned()
    }
}

fn try_claim(folder: &Path) -> io::Result<TryKey> {
    let path = folder.join("claim");
    for _ in 0..2 {
        fs_err::create_dir_all(folder)?;
        let text = holder_text();
        match fs_err::OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path)
        {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                return Ok(TryKey::Held(KeyLock::Claim(keep_fresh(path, text)?)));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        let there = fs_err::read_to_string(&path).unwrap_or_default();
        if !is_stale(&path, &there) {
            return Ok(TryKey::Busy(holder_name(&there)));
        }
        // Take exactly the stale claim away: a fresh one that slipped in is put back.
        let aside = folder.join(format!(
            "stale-{}-{}",
            std::process::id(),
            crate::clock::now_ns()
        ));
        if fs_err::rename(&path, &aside).is_ok() {
            if fs_err::read_to_string(&aside).is_ok_and(|text| text != there) {
                let _ = std::fs::hard_link(&aside, &path);
            }
            let _ = fs_err::remove_file(&aside);
        }
    }
    Ok(TryKey::Busy("another process".to_owned()))
}

fn keep_fresh(path: PathBuf, text: String) -> io::Result<Claim> {
    let (stop, stopped) = mpsc::channel::<()>();
    let (file, content) = (path.clone(), text.clone());
    let thread = std::thread::Builder::new()
        .name("claim".into())
        .spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // Writing (not only touching) moves the time by the file server's clock.
                if fs_err::read_to_string(&file).is_ok_and(|there| there == content) {
                    let _ = fs_err::write(&file, &content);
                }
            }
        })?;
    Ok(Claim {
        path,
        text,
        stop: Some(stop),
        thread: Some(thread),
    })
}

fn is_stale(path: &Path, text: &str) -> bool {
    if is_alive_here(text) == Some(false) {
        return true;
    }
    static SEEN: OnceLock<Mutex<HashMap<PathBuf, (i64, Instant)>>> = OnceLock::new();
    let Ok(metadata) = std::fs::metadata(path) else {
        return false;
    };
    let mtime_ns = crate::content::Stamp::of(&metadata).mtime_ns;
    let mut seen = SEEN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (known, since) = *seen
        .entry(path.to_path_buf())
        .or_insert((mtime_ns, Instant::now()));
    if known != mtime_ns {
        seen.insert(path.to_path_buf(), (mtime_ns, Instant::now()));
        return false;
    }
    since.elapsed() > STALE_AFTER
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

    #[test]
    fn a_claim_of_a_dead_process_is_taken_over() {
        let folder = tempfile::tempdir().expect("temp");
        let TryKey::Held(claim) = try_claim(folder.path()).expect("claims") else {
            panic!("free")
        };
        assert!(claim.is_claim());
        assert!(matches!(
            try_claim(folder.path()).expect("asks"),
            TryKey::Busy(_)
        ));
        drop(claim);
        assert!(!folder.path().join("claim").exists());
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        fs_err::write(
            folder.path().join("claim"),
            format!("process 2147483646 on {host} since x\n"),
        )
        .expect("write");
        assert!(matches!(
            try_claim(folder.path()).expect("takes over"),
            TryKey::Held(_)
        ));
        fs_err::write(
            folder.path().join("claim"),
            "process 1 on elsewhere since x\n",
        )
        .expect("write");
        assert!(
            matches!(try_claim(folder.path()).expect("asks"), TryKey::Busy(name) if name == "process 1 on elsewhere")
        );
    }
}
