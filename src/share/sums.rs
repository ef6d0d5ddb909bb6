//! Lists of digests as `sha256sum` and `b3sum` write them. Knows nothing of what the files are.

use std::collections::BTreeMap;
use std::path::Path;

use flow::content::{hash_file, is_inside};

/// Which digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    Sha256,
    Blake3,
}

impl Sum {
    /// The digest of a file of the size, 64 hex digits.
    pub(super) fn of(self, path: &Path, size_bytes: u64) -> std::io::Result<String> {
        match self {
            Self::Blake3 => Ok(hash_file(path, size_bytes)?.to_string()),
            Self::Sha256 => crate::kinds::fetch::sha256_of(path)
                .map_err(|error| std::io::Error::other(error.to_string())),
        }
    }
}

/// The list, sorted by path.
pub(super) fn write(sums: &BTreeMap<String, String>) -> String {
    sums.iter()
        .map(|(path, hex)| format!("{hex}  {path}\n"))
        .collect()
}

/// Reads a list; the number of the first line that is not `DIGEST  PATH` with a plain path that was not listed before.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut sums = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let entry = line.split_once("  ").filter(|(hex, path)| {
            hex.len() == 64
                && hex
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
                && is_plain(path)
        });
        let (hex, path) = entry.ok_or(at + 1)?;
        if sums.insert(path.to_owned(), hex.to_owned()).is_some() {
            return Err(at + 1);
        }
    }
    Ok(sums)
}

/// Whether a path stays inside its folder and has only names that mean the same everywhere.
pub(super) fn is_plain(path: &str) -> bool {
    is_inside(path)
        && !path.contains("//")
        && !path.split('/').any(|name| name == ".")
        && !path.ends_with('/')
        && path.len() <= 1024
        && path.split('/').all(|name| name.len() <= 255)
        && !path.chars().any(|c| c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_listed() {
        for plain in ["a", "a/b c.txt", "results/score/task=ä,seed=1/x", ".b"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in [
            "", "/a", "../a", "a/../b", "./a", "a/./b", "a//b", "a/", "a\\b", "a\nb", "a\u{7f}",
        ] {
            assert!(!is_plain(odd), "{odd:?}");
        }
        assert!(!is_plain(&"x".repeat(256)));
        let hex = "0".repeat(64);
        let text = write(&[("a".to_owned(), hex.clone()), ("b".to_owned(), hex.clone())].into());
        assert_eq!(read(&text).map(|sums| sums.len()), Ok(2));
        assert_eq!(read(&format!("{text}{hex}  a\n")), Err(3));
        assert_eq!(read(&format!("{hex} a\n")), Err(1));
        assert_eq!(read(&format!("{hex}  ../a\n")), Err(1));
        assert_eq!(read(&format!("{}  a\n", "G".repeat(64))), Err(1));
    }
}
