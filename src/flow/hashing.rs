//! BLAKE3 of a file's bytes by parallel reads. Knows nothing of what the bytes are.
//!
//! Reads, not a memory map: a mapped file that its owner shortens kills the process that looks at it (SIGBUS), and so
//! does a file server that goes away. A read says so instead, and costs no more.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use fs_err::File;

/// Bytes read at once; a power of two of chunks, so that it is a subtree, and small enough for a core's own cache.
const READ_BYTES: u64 = 256 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// BLAKE3 of the first `size` bytes of a file, large ones on all cores.
///
/// # Errors
/// When it cannot be read, or is shorter than that: then it changes while it is read.
pub fn blake3_of(path: &Path, size: u64) -> io::Result<blake3::Hash> {
    let file = File::open(path)?;
    if size <= READ_BYTES {
        return with_bytes(&file, 0, size, blake3::hash);
    }
    let left = left_subtree_len(size);
    let (left, right) = halves(&file, 0, left, size)?;
    Ok(merge_subtrees_root(&left, &right, Mode::Hash))
}

/// The values of the two subtrees of `start..end` that meet at `middle`.
fn halves(
    file: &File,
    start: u64,
    middle: u64,
    end: u64,
) -> io::Result<(ChainingValue, ChainingValue)> {
    let (left, right) = rayon::join(
        || subtree(file, start, middle),
        || subtree(file, middle, end),
    );
    Ok((left?, right?))
}

fn subtree(file: &File, start: u64, end: u64) -> io::Result<ChainingValue> {
    let length = end - start;
    if length <= READ_BYTES {
        return with_bytes(file, start, length, |bytes| {
            blake3::Hasher::new()
                .set_input_offset(start)
                .update(bytes)
                .finalize_non_root()
        });
    }
    let (left, right) = halves(file, start, start + left_subtree_len(length), end)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn with_bytes<T>(
    file: &File,
    start: u64,
    length: u64,
    hash: impl FnOnce(&[u8]) -> T,
) -> io::Result<T> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(usize::try_from(length).expect("at most a read"), 0);
        file.file()
            .read_exact_at(buffer, start)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!(
                        "`{}` became shorter while it was read",
                        file.path().display()
                    ),
                ),
                kind => io::Error::new(kind, format!("read `{}`: {error}", file.path().display())),
            })?;
        Ok(hash(buffer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_library_at_every_kind_of_length() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let read = usize::try_from(READ_BYTES).expect("small");
        let around = |n: usize| [n - 1, n, n + 1, n + 1023, n + 1024, n + 1025];
        let lengths = [0, 1, 1024, 1025, 2_999_999, 3_000_000]
            .into_iter()
            .chain(around(read))
            .chain(around(2 * read))
            .chain(around(3 * read))
            .chain(around(8 * read));
        for length in lengths {
            fs_err::write(&path, &bytes[..length]).expect("written");
            let found = blake3_of(&path, length as u64).expect("readable");
            assert_eq!(found, blake3::hash(&bytes[..length]), "{length} bytes");
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("file");
        fs_err::write(&path, vec![7; 1 << 20]).expect("written");
        let error = blake3_of(&path, 4 << 20).expect_err("there is less");
        assert!(
            error
                .to_string()
                .contains("became shorter while it was read"),
            "{error}"
        );
    }
}
