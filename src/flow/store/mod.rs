//! What was made, by content and by key, under `cache/`. Knows nothing of pipelines or processes.
//!
//! ```text
//! cache/
//!   objects-v1/ab/cdef…       contents, read-only; a tree is its listing, its files are objects of their own
//!   records-v1/ab/<key>.json  what a key produced; written after its objects, by temporary file and rename
//!   records-v1/index          append-only accelerator: records, file stamps, last keys; may be lost (`index.rs`)
//!   runs-v1/<id>.jsonl        what happened in a run; `<id>.now` beside it how far it is, while it lasts
//!   plans-v1/                 expanded plans (`plan_cache.rs`)
//!   work/<key>/               lock, attempts, checkpoint of a stage at work or unfinished
//!   tmp/  quarantine/
//! ```
//! Correctness rests on rename and on digests, never on locks, on the index, or on the order of appends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::digest::Digest;
use index::Index;

mod claim;
pub mod gc;
pub mod index;
pub mod lock;
pub mod object;
pub mod record;
pub mod survey;
mod sync;
pub mod verify;

/// The folders of a store. Any of them may be removed by hand between runs.
const FOLDERS: [&str; 7] = [
    "objects-v1",
    "runs-v1",
    "plans-v1",
    "work",
    "tmp",
    "quarantine",
    "records-v1",
];

/// The folder of results and its index.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    only_read: bool,
    index: Mutex<Option<JoinHandle<io::Result<Index>>>>,
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An object's bytes are not those of its name.
    #[error("object {} does not match its digest", digest.short())]
    Corrupt {
        /// The name.
        digest: Digest,
        /// Where it was.
        path: PathBuf,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// An object is not there.
    #[error("object {} is not in the cache", digest.short())]
    Missing {
        /// The name.
        digest: Digest,
    },
    /// The disk or the file system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Store {
    /// A store as it stands, which nothing can be written to: what is asked of it is answered, nothing is kept.
    #[must_use]
    pub fn to_read(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            only_read: true,
            index: Mutex::new(None),
        }
    }

    /// Opens a store, making its folders where they are missing.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let store = Self {
            only_read: false,
            ..Self::to_read(dir)
        };
        let is_new = !dir.join("records-v1").is_dir();
        for folder in FOLDERS {
            let folder = dir.join(folder);
            if !folder.is_dir() {
                fs_err::create_dir_all(folder)?;
            }
        }
        if is_new {
            let tag = dir.join("CACHEDIR.TAG");
            if !tag.exists() {
                fs_err::write(tag, "Signature: 8a477f597d28d172789f06886806bc55\n")?;
            }
        }
        Ok(store)
    }

    /// Begins to read the index on another thread, for [`Store::load_index`].
    pub fn prefetch_index(&self) {
        let dir = self.dir.clone();
        let thread = std::thread::Builder::new()
            .name("index".into())
            .spawn(move || Index::load(&dir));
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = thread.ok();
    }

    /// The index, read now unless it was prefetched.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn load_index(&self) -> io::Result<Index> {
        let prefetched = self
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match prefetched.map(JoinHandle::join) {
            Some(Ok(index)) => index,
            _ => Index::load(&self.dir),
        }
    }

    /// The `cache/` folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where an object lies if it is there.
    #[must_use]
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.dir.join("objects-v1").join(&hex[..2]).join(&hex[2..])
    }

    /// Where a record lies if it is there.
    #[must_use]
    pub fn record_path(&self, key: &Digest) -> PathBuf {
        let hex = key.to_string();
        self.dir
            .join("records-v1")
            .join(&hex[..2])
            .join(format!("{}.json", &hex[2..]))
    }

    /// The index: touched by whoever adds a record.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.dir.join("records-v1").join("index")
    }

    /// Where a key's attempts, lock and checkpoint lie.
    #[must_use]
    pub fn work_path(&self, key: &Digest) -> PathBuf {
        self.dir.join("work").join(key.to_string())
    }

    /// Where runs are logged.
    #[must_use]
    pub fn runs_path(&self) -> PathBuf {
        self.dir.join("runs-v1")
    }

    /// A name under `tmp/` that no other process uses.
    #[must_use]
    pub fn temporary_path(&self) -> PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        self.dir.join("tmp").join(format!(
            "{host}-{}-{count}-{}",
            std::process::id(),
            crate::clock::now_ns()
        ))
    }

    /// Writes a file so that it is there whole or not at all.
    ///
    /// # Errors
    /// When the disk or the file system refuses; nothing is left behind then.
    pub fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_with_mode(path, bytes, 0o666)
    }

    /// The same for what only its owner may read: a file that may hold a password, as URLs do.
    ///
    /// # Errors
    /// As [`Store::write_whole`].
    pub fn write_private(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_with_mode(path, bytes, 0o600)
    }

    fn write_with_mode(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        use fs_err::os::unix::fs::OpenOptionsExt as _;
        use std::io::Write as _;
        if self.only_read {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let temporary = self.temporary_path();
        let written = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| rename_into(&temporary, path));
        if written.is_err() {
            let _ = fs_err::remove_file(&temporary);
        }
        written
    }

    /// The modification time the file server gives a file written now, in nanoseconds since 1970.
    ///
    /// # Errors
    /// When a temporary file cannot be written.
    pub fn server_clock_ns(&self) -> io::Result<i64> {
        if self.only_read {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let probe = self.temporary_path();
        fs_err::write(&probe, b"")?;
        let stamp = fs_err::metadata(&probe).map(|metadata| crate::content::Stamp::of(&metadata));
        let _ = fs_err::remove_file(&probe);
        Ok(stamp?.mtime_ns)
    }
}

/// Renames, making the target's folder when it is missing.
pub(crate) fn rename_into(from: &Path, to: &Path) -> io::Result<()> {
    match fs_err::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = to.parent() {
                fs_err::create_dir_all(parent)?;
            }
            fs_err::rename(from, to)
        }
        Err(_) => fs_err::rename(from, to),
    }
}

/// Removes a folder with everything in it, also where permission bits stand in the way. Missing is fine.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return fs_err::remove_file(path);
        }
        Err(_) => {}
    }
    // A folder without its write bit holds on to its entries: give the bit back and try again.
    for entry in walkdir::WalkDir::new(path)
        .into_iter()
        .filter_map(Result::ok)
    {
        if entry.file_type().is_dir() {
            let _ = fs_err::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o700));
        }
    }
    // Readable folders may only show now what they hold, so walk once more.
    for entry in walkdir::WalkDir::new(path)
        .into_iter()
        .filter_map(Result::ok)
    {
        if entry.file_type().is_dir() {
            let _ = fs_err::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o700));
        }
    }
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
