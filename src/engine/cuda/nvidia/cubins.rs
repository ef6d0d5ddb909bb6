//! Compiled kernels kept by what they are made from, so that they are compiled once. Knows no compiler.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a digest at the beginning of an entry.
const DIGEST: usize = 32;

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
    format!("{}.cubin", hasher.finalize().to_hex())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs_err::read(path).ok()?;
    if bytes.len() <= DIGEST {
        return None;
    }
    let kept = bytes.split_off(DIGEST);
    (blake3::hash(&kept).as_bytes()[..] == bytes[..]).then_some(kept)
}

fn keep(path: &Path, made: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    // Processes and threads that compile the same write files of their own; the last one that is renamed stays.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let own = folder.join(format!(".{name}.{}.{count}", std::process::id()));
    let written = (|| {
        let mut file = fs_err::File::create(&own)?;
        file.write_all(blake3::hash(made).as_bytes())?;
        file.write_all(made)?;
        drop(file);
        fs_err::rename(&own, path)
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
}
