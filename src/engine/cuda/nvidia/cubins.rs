//! Compiled kernels kept by what they are made from, so that they are compiled once. Knows no compiler.
//!
//! When an entry was read shows in when its file was changed, to the day. Whoever adds one takes away those that nobody read
//! for [`UNREAD`], which kernels of before and compilers that are gone have left.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes of a digest at the beginning of an entry.
const DIGEST: usize = 32;
/// How the name of an entry ends.
const ENDING: &str = ".cubin";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an entry stays that nobody reads.
pub const UNREAD: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A folder of compiled kernels, or none.
#[derive(Debug)]
pub struct Cubins {
    folder: Option<PathBuf>,
    compiled: AtomicU32,
}

impl Cubins {
    /// Kept in a folder, which is made when there is something to keep; nowhere without one.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            compiled: AtomicU32::new(0),
        }
    }

    /// How many had to be compiled.
    pub fn compiled(&self) -> u32 {
        self.compiled.load(Ordering::Relaxed)
    }

    /// What stands under a key of several parts, or what `make` makes of it, which is then kept. An entry that is damaged
    /// is made again, and a folder that cannot be written costs time alone.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(
        &self,
        key: &[&[u8]],
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let path = self.folder.as_ref().map(|folder| folder.join(name(key)));
        if let Some(found) = path.as_deref().and_then(read) {
            return Ok(found);
        }
        let made = make()?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(path) = path {
            // Whoever cannot keep it compiles again the next time.
            let _ = keep(&path, &made);
        }
        Ok(made)
    }
}

/// The name of an entry: each part counts with its length, so that no two keys run together.
fn name(key: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in key {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("{}{ENDING}", hasher.finalize().to_hex())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs_err::read(path).ok()?;
    if bytes.len() <= DIGEST {
        return None;
    }
    let kept = bytes.split_off(DIGEST);
    if blake3::hash(&kept).as_bytes()[..] != bytes[..] {
        return None;
    }
    if is_due(path).unwrap_or(false) {
        // An entry of another user's that cannot be written may stand in a folder that can: it becomes one of our own.
        // Whoever may do neither leaves it to those who may.
        let _ = mark(path).or_else(|_| put(path, &kept).map(|_| ()));
    }
    Some(kept)
}

/// Whether the last reading that is noted is more than a day ago.
fn is_due(path: &Path) -> std::io::Result<bool> {
    let changed = fs_err::metadata(path)?.modified()?;
    // A time to come is some other machine's.
    Ok(changed.elapsed().unwrap_or_default() > DAY)
}

/// Notes that an entry is read now. Both times are set, by the system's clock: that is for whoever may write a file, while
/// a time that is given is for its owner alone.
fn mark(path: &Path) -> std::io::Result<()> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let both = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    let flags = rustix::fs::AtFlags::empty();
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &both, flags)?)
}

/// Takes away entries that nobody read for long, and what writers left that were stopped a day ago.
fn sweep(folder: &Path, now: SystemTime) -> std::io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let most = match name.strip_prefix('.') {
            None if name.ends_with(ENDING) => UNREAD,
            Some(rest) if rest.contains(ENDING) => DAY,
            _ => continue,
        };
        let changed = fs_err::metadata(&path).and_then(|of| of.modified());
        let is_old = |changed| now.duration_since(changed).is_ok_and(|age| age > most);
        if changed.is_ok_and(is_old) {
            // Another process may have done it.
            let _ = fs_err::remove_file(&path);
        }
    }
    Ok(())
}

/// Adds an entry, and takes away old ones.
fn keep(path: &Path, made: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let now = put(path, made)?;
    sweep(folder, now)
}

/// Writes an entry, and says when.
fn put(path: &Path, made: &[u8]) -> std::io::Result<SystemTime> {
    // Processes and threads that compile the same write files of their own; the last one that is renamed stays.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let own = path.with_file_name(format!(".{name}.{}.{count}", std::process::id()));
    let written = (|| {
        let mut file = fs_err::File::create(&own)?;
        file.write_all(blake3::hash(made).as_bytes())?;
        file.write_all(made)?;
        let now = file.metadata()?.modified()?;
        drop(file);
        fs_err::rename(&own, path)?;
        Ok(now)
    })();
    if written.is_err() {
        let _ = fs_err::remove_file(&own);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once_and_again_when_it_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let cubins = Cubins::new(Some(folder.path().join("deep/cubins")));
        let get = |parts: &[&[u8]], value: &'static [u8]| -> Vec<u8> {
            cubins
                .get(parts, || Ok::<_, String>(value.to_vec()))
                .expect("made")
        };
        assert_eq!(get(&[b"ab", b"c"], b"one"), b"one");
        assert_eq!(get(&[b"ab", b"c"], b"other"), b"one");
        assert_eq!(cubins.compiled(), 1);
        // Parts count with their lengths.
        assert_eq!(get(&[b"a", b"bc"], b"two"), b"two");
        assert_eq!(cubins.compiled(), 2);
        let failed = cubins.get(&[b"x"], || Err::<Vec<u8>, _>("no"));
        assert_eq!(failed, Err("no"));
        let path = folder.path().join("deep/cubins").join(name(&[b"ab", b"c"]));
        let whole = fs_err::read(&path).expect("there");
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 1;
            fs_err::write(&path, &bytes).expect("written");
            assert_eq!(get(&[b"ab", b"c"], b"again"), b"again", "byte {i}");
            fs_err::write(&path, &whole[..i]).expect("written");
            assert_eq!(get(&[b"ab", b"c"], b"again"), b"again", "cut at {i}");
        }
        let names = fs_err::read_dir(path.parent().expect("a folder")).expect("there");
        assert_eq!(names.count(), 2, "no file of a writer stays");
        // Entries go that nobody read for long, and what a stopped writer left, when another is added.
        let folder_of = path.parent().expect("a folder");
        let age = |name: &str, days: u32| {
            let mut options = fs_err::OpenOptions::new();
            let file = options.append(true).create(true);
            let file = file.open(folder_of.join(name)).expect("a file");
            let now = file.metadata().expect("told").modified().expect("told");
            file.set_modified(now - days * DAY).expect("set");
        };
        let [first, second] = [&[&b"ab"[..], b"c"][..], &[b"a", b"bc"]].map(name);
        fs_err::write(folder_of.join("notes.txt"), "mine").expect("written");
        for (name, days) in [
            (first.as_str(), 200),
            (&second, 200),
            ("notes.txt", 200),
            (".x.cubin.1.1", 2),
            (".y.cubin.1.1", 0),
        ] {
            age(name, days);
        }
        assert_eq!(
            get(&[b"a", b"bc"], b"other"),
            b"two",
            "it is read, and stays"
        );
        get(&[b"third"], b"three");
        let names = fs_err::read_dir(folder_of).expect("there");
        let mut names: Vec<String> = names
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        let mut expected = vec![".y.cubin.1.1".to_owned(), name(&[b"third"]), second];
        expected.push("notes.txt".to_owned());
        expected.sort();
        assert_eq!(names, expected);
        // Nowhere to write, and nowhere at all.
        fs_err::write(folder.path().join("file"), b"").expect("written");
        for nowhere in [Some(folder.path().join("file/cubins")), None] {
            let cubins = Cubins::new(nowhere);
            for n in 1..=2 {
                let made = cubins.get(&[b"k"], || Ok::<_, String>(b"v".to_vec()));
                assert_eq!((made.expect("made"), cubins.compiled()), (b"v".to_vec(), n));
            }
        }
    }

    /// Where tests are run by a superuser, who alone may become somebody else.
    #[cfg(target_os = "linux")]
    #[test]
    fn entries_of_others_stay_by_being_read() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name(&[b"k"]));
        let allow = |path: &Path, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            fs_err::set_permissions(path, mode).expect("set");
        };
        const OTHER: u32 = 65534;
        // Modes of the entry and of the folder; whether reading is noted; whose the entry is then.
        for (entry, around, is_noted, owner) in [
            (0o666, 0o755, true, 0),
            (0o644, 0o777, true, OTHER),
            (0o644, 0o1777, false, 0),
            (0o644, 0o755, false, 0),
        ] {
            let _ = fs_err::remove_file(&path);
            put(&path, b"value").expect("written");
            allow(folder.path(), around);
            allow(&path, entry);
            let file = fs_err::File::open(&path).expect("there");
            let old = file.metadata().expect("told").modified().expect("told") - UNREAD;
            file.set_modified(old).expect("set");
            let cubins = Cubins::new(Some(folder.path().to_path_buf()));
            let read = move || {
                // This thread alone is somebody else, and for good.
                rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(OTHER)).expect("root");
                cubins.get(&[b"k"], || Err("it is there"))
            };
            let value = std::thread::spawn(read).join().expect("no panic");
            assert_eq!(value, Ok(b"value".to_vec()));
            let told = fs_err::metadata(&path).expect("there");
            let what = format!("{entry:o} in {around:o}");
            assert_eq!(told.uid(), owner, "{what}");
            assert_eq!(is_due(&path).expect("told"), !is_noted, "{what}");
            let names = fs_err::read_dir(folder.path()).expect("there");
            assert_eq!(names.count(), 1, "{what}");
        }
    }
}
