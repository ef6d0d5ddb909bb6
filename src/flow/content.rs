//! What a path holds, by content: one file, or a tree of files. Knows nothing of stages or of the store.
//!
//! Policy for trees: symbolic links are followed, to files and to folders; a loop or a dangling link is an error.
//! A tree is its regular files (path, executable bit, bytes) and its empty folders; owners, times and other
//! permission bits do not count. Names must be UTF-8. [`Ignore`] says what is left out.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::digest::{Digest, Use};

/// What kind of thing a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The bytes of a file.
    File,
    /// The bytes of a file whose owner may execute it.
    Exec,
    /// A folder.
    Tree,
}

impl Form {
    /// The word in manifests.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Exec => "exec",
            Self::Tree => "tree",
        }
    }

    /// The form of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "file" => Some(Self::File),
            "exec" => Some(Self::Exec),
            "tree" => Some(Self::Tree),
            _ => None,
        }
    }
}

/// A content: form, digest, and size in bytes (of all files together for a tree).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Content {
    /// What it is.
    pub form: Form,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Content {
    /// As it stands in a manifest: `file <64 hex>`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.form.word(), self.digest)
    }
}

/// What must stand still for a file to be taken as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time in nanoseconds since 1970, which no program can set back.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of a file.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            size: metadata.size(),
            mtime_ns: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
            ctime_ns: metadata
                .ctime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// The later of both times.
    #[must_use]
    pub fn changed_ns(&self) -> i64 {
        self.mtime_ns.max(self.ctime_ns)
    }
}

/// Whether the owner may execute it.
#[must_use]
pub fn is_executable(metadata: &std::fs::Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

/// One line of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Path below the tree's top, `/` between names.
    pub path: String,
    /// Its content; `None` for an empty folder.
    pub content: Option<Content>,
}

/// A tree's entries, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Sorted by the bytes of their paths; each path once.
    pub entries: Vec<TreeEntry>,
}

/// A listing that is not one of ours.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the tree listing does not parse")]
pub struct ParseTreeError {
    /// Line, from 1.
    pub line: usize,
}

const TREE_HEADER: &str = "tree v1\n";

impl Tree {
    /// Makes a tree of entries in any order.
    #[must_use]
    pub fn new(mut entries: Vec<TreeEntry>) -> Self {
        entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        entries.dedup_by(|a, b| a.path == b.path);
        Self { entries }
    }

    /// The listing: a header, then one line an entry, `file|exec DIGEST BYTES "path"` or `empty "path"`.
    #[must_use]
    pub fn listing(&self) -> String {
        let mut text = String::from(TREE_HEADER);
        for entry in &self.entries {
            let path = serde_json::to_string(&entry.path).expect("strings serialise");
            match &entry.content {
                Some(content) => {
                    text.push_str(&format!(
                        "{} {} {} {path}\n",
                        content.form.word(),
                        content.digest,
                        content.bytes
                    ));
                }
                None => text.push_str(&format!("empty {path}\n")),
            }
        }
        text
    }

    /// Reads a listing back. Paths that would leave the tree are refused.
    ///
    /// # Errors
    /// On anything [`Tree::listing`] does not write.
    pub fn parse(text: &str) -> Result<Self, ParseTreeError> {
        let body = text
            .strip_prefix(TREE_HEADER)
            .ok_or(ParseTreeError { line: 1 })?;
        let mut entries = Vec::new();
        for (i, line) in body.lines().enumerate() {
            let entry = parse_tree_line(line).ok_or(ParseTreeError { line: i + 2 })?;
            if !follows(&entries, &entry) {
                return Err(ParseTreeError { line: i + 2 });
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The tree's content.
    #[must_use]
    pub fn content(&self) -> Content {
        Content {
            form: Form::Tree,
            digest: Use::Tree.digest(self.listing().as_bytes()),
            bytes: self
                .entries
                .iter()
                .filter_map(|entry| entry.content)
                .map(|content| content.bytes)
                .sum(),
        }
    }
}

/// Whether an entry may stand behind others: each path once, in order, and nothing lies below a file or an empty folder.
fn follows(entries: &[TreeEntry], entry: &TreeEntry) -> bool {
    let path = entry.path.as_bytes();
    let is_ordered = entries
        .last()
        .is_none_or(|last| last.path.as_bytes() < path);
    let mut above = entry.path.match_indices('/').map(|(at, _)| &path[..at]);
    is_ordered
        && above.all(|folder| {
            let found = entries.binary_search_by(|known| known.path.as_bytes().cmp(folder));
            found.is_err()
        })
}

fn parse_tree_line(line: &str) -> Option<TreeEntry> {
    let (word, rest) = line.split_once(' ')?;
    let (content, path) = if word == "empty" {
        (None, rest)
    } else {
        let form = Form::from_word(word).filter(|form| *form != Form::Tree)?;
        let (digest, rest) = rest.split_once(' ')?;
        let (bytes, path) = rest.split_once(' ')?;
        (
            Some(Content {
                form,
                digest: digest.parse().ok()?,
                bytes: bytes.parse().ok()?,
            }),
            path,
        )
    };
    let path: String = serde_json::from_str(path).ok()?;
    // One spelling a path: `a//b` and `a/./b` are `a/b` as well.
    let is_plain = path.split('/').all(|part| !part.is_empty() && part != ".");
    (is_plain && is_inside(&path)).then_some(TreeEntry { path, content })
}

/// Whether a relative path stays inside the folder it starts from: no `..`, not absolute, not empty.
#[must_use]
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// Names that enter neither digests nor the check after a stage.
#[derive(Clone, Debug)]
pub struct Ignore {
    standard: bool,
    extra: GlobSet,
    /// Folders the program itself writes to.
    own: Vec<PathBuf>,
}

impl Ignore {
    /// Python's caches, `.git`, editors' droppings.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            standard: true,
            ..Self::nothing()
        }
    }

    /// Leaves nothing out: what a stage declares as its output is kept whole.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            standard: false,
            extra: GlobSet::empty(),
            own: Vec::new(),
        }
    }

    /// The standard names, the program's own folders (`cache`, wherever it is, and `reports/`), and the patterns of
    /// `.pipelineignore` in `root`, one a line, `#` for remarks. A pattern without `/` matches a name anywhere; one with `/` matches a path from the root.
    ///
    /// # Errors
    /// When the file cannot be read, or a pattern does not parse (the message names the line).
    pub fn load(root: &Path, cache: &Path) -> io::Result<Self> {
        let absolute =
            |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let own = vec![absolute(cache), absolute(root).join("reports")];
        let path = root.join(".pipelineignore");
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    own,
                    ..Self::standard()
                });
            }
            Err(error) => return Err(error),
        };
        let mut set = GlobSetBuilder::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pattern = line.trim_end_matches('/');
            let pattern = match pattern.strip_prefix('/') {
                Some(rooted) => format!("{}/{rooted}", root.display()),
                None if pattern.contains('/') => format!("{}/{pattern}", root.display()),
                None => format!("**/{pattern}"),
            };
            let glob = GlobBuilder::new(&pattern)
                .literal_separator(true)
                .build()
                .map_err(|error| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{}:{}: {error}", path.display(), i + 1),
                    )
                })?;
            set.add(glob);
        }
        let extra = set
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Self {
            standard: true,
            extra,
            own,
        })
    }

    /// Whether an entry of this name at this path is left out.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let name = path
            .file_name()
            .and_then(std::ffi::OsStr::to_str)
            .unwrap_or_default();
        let standard = matches!(
            name,
            "__pycache__" | ".git" | ".DS_Store" | ".ipynb_checkpoints"
        ) || name.ends_with(".pyc")
            || name.ends_with('~')
            || (name.starts_with('.') && (name.ends_with(".swp") || name.ends_with(".swo")))
            || name.starts_with(".#");
        (self.standard && standard)
            || (!self.extra.is_empty() && self.extra.is_match(path))
            || self.own.iter().any(|own| own == path)
    }
}

/// Digest of a file's bytes; large files on all cores.
///
/// # Errors
/// When the file cannot be read, or became shorter than `size`.
pub fn hash_file(path: &Path, size: u64) -> io::Result<Digest> {
    crate::hashing::blake3_of(path, size).map(|hash| Digest(*hash.as_bytes()))
}

/// Something below the top of a walk.
#[derive(Debug)]
pub struct Found {
    /// Path below the top, `/` between names.
    pub relative: String,
    /// The whole path.
    pub path: PathBuf,
    /// Its metadata; `None` for an empty folder.
    pub metadata: Option<std::fs::Metadata>,
    /// Whether it is a link, or lies behind one.
    pub is_behind_link: bool,
}

/// The files below `top`, and its empty folders, in walking order.
///
/// # Errors
/// Loops, dangling links, unreadable folders, special files, names that are not UTF-8.
pub fn walk(top: &Path, ignore: &Ignore) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut walker = WalkDir::new(top)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter();
    // The depth of the linked folder the walk is in.
    let mut linked: Option<usize> = None;
    while let Some(entry) = walker.next() {
        let entry = entry.map_err(|error| walk_error(&error))?;
        if entry.depth() == 0 {
            continue;
        }
        if linked.is_some_and(|depth| entry.depth() <= depth) {
            linked = None;
        }
        if ignore.matches(entry.path()) {
            if entry.file_type().is_dir() {
                walker.skip_current_dir();
            }
            continue;
        }
        let relative = entry
            .path()
            .strip_prefix(top)
            .ok()
            .and_then(Path::to_str)
            .ok_or_else(|| {
                invalid(format!(
                    "the name of `{}` is not UTF-8",
                    entry.path().display()
                ))
            })?
            .to_owned();
        let kind = entry.file_type();
        let is_behind_link = linked.is_some() || entry.path_is_symlink();
        if kind.is_dir() {
            if entry.path_is_symlink() && linked.is_none() {
                linked = Some(entry.depth());
            }
            let is_empty = fs_err::read_dir(entry.path())?
                .filter_map(Result::ok)
                .all(|child| ignore.matches(&child.path()));
            if is_empty {
                found.push(Found {
                    relative,
                    path: entry.into_path(),
                    metadata: None,
                    is_behind_link,
                });
            }
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(|error| walk_error(&error))?;
            found.push(Found {
                relative,
                path: entry.into_path(),
                metadata: Some(metadata),
                is_behind_link,
            });
        } else {
            return Err(invalid(format!(
                "`{}` is neither a file nor a folder",
                entry.path().display()
            )));
        }
    }
    Ok(found)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn walk_error(error: &walkdir::Error) -> io::Error {
    if let Some(ancestor) = error.loop_ancestor() {
        let path = error
            .path()
            .map_or_else(String::new, |path| path.display().to_string());
        return invalid(format!(
            "`{path}` links back to `{}`, which contains it",
            ancestor.display()
        ));
    }
    let place = error
        .path()
        .map(|path| format!("`{}`: ", path.display()))
        .unwrap_or_default();
    let kind = error
        .io_error()
        .map_or(io::ErrorKind::Other, io::Error::kind);
    io::Error::new(kind, format!("{place}{error}"))
}

/// The tree below `top`, each file's digest from `digest` (which may know it from before), on all cores.
///
/// # Errors
/// Those of [`walk`] and of reading.
pub fn read_tree<F>(top: &Path, ignore: &Ignore, digest: F) -> io::Result<Tree>
where
    F: Fn(&Path, &std::fs::Metadata) -> io::Result<Digest> + Sync,
{
    let found = walk(top, ignore)?;
    let entries = found
        .into_par_iter()
        .map(|found| {
            let content = match found.metadata {
                None => None,
                Some(metadata) => Some(Content {
                    form: if is_executable(&metadata) {
                        Form::Exec
                    } else {
                        Form::File
                    },
                    digest: digest(&found.path, &metadata)?,
                    bytes: metadata.len(),
                }),
            };
            Ok(TreeEntry {
                path: found.relative,
                content,
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok(Tree::new(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(top: &Path) -> Tree {
        read_tree(top, &Ignore::standard(), |path, metadata| {
            hash_file(path, metadata.len())
        })
        .expect("readable")
    }

    #[test]
    fn a_tree_is_its_files_not_its_droppings_or_times() {
        let folder = tempfile::tempdir().expect("temp");
        let top = folder.path();
        fs_err::create_dir_all(top.join("src/deep")).expect("mkdir");
        fs_err::write(top.join("src/a.py"), "x = 1\n").expect("write");
        fs_err::write(top.join("src/deep/b.py"), "y = 2\n").expect("write");
        fs_err::create_dir(top.join("empty")).expect("mkdir");
        let before = tree(top);
        assert_eq!(
            before
                .entries
                .iter()
                .map(|e| e.path.as_str())
                .collect::<Vec<_>>(),
            ["empty", "src/a.py", "src/deep/b.py"]
        );
        fs_err::create_dir_all(top.join("src/__pycache__")).expect("mkdir");
        fs_err::write(top.join("src/__pycache__/a.pyc"), "junk").expect("write");
        fs_err::write(top.join(".a.py.swp"), "junk").expect("write");
        assert_eq!(tree(top).content(), before.content());
        fs_err::write(top.join("src/a.py"), "x = 2\n").expect("write");
        assert_ne!(tree(top).content(), before.content());
    }

    #[test]
    fn links_are_followed_and_loops_refused() {
        let folder = tempfile::tempdir().expect("temp");
        let (real, linked) = (folder.path().join("real"), folder.path().join("linked"));
        fs_err::create_dir_all(&real).expect("mkdir");
        fs_err::write(real.join("a"), "1").expect("write");
        fs_err::create_dir_all(&linked).expect("mkdir");
        fs_err::os::unix::fs::symlink(real.join("a"), linked.join("a")).expect("link");
        assert_eq!(tree(&real), tree(&linked));
        fs_err::os::unix::fs::symlink(&linked, linked.join("loop")).expect("link");
        let error = walk(&linked, &Ignore::standard()).expect_err("a loop");
        assert!(error.to_string().contains("links back"), "{error}");
    }

    #[test]
    fn listings_round_trip_and_refuse_paths_that_leave() {
        let entry = |path: &str| TreeEntry {
            path: path.to_owned(),
            content: Some(Content {
                form: Form::Exec,
                digest: Use::File.digest(b"1"),
                bytes: 1,
            }),
        };
        let tree = Tree::new(vec![
            entry("b\n\"c"),
            entry("a/b"),
            TreeEntry {
                path: "d".into(),
                content: None,
            },
        ]);
        assert_eq!(Tree::parse(&tree.listing()).expect("parses"), tree);
        for bad in ["../x", "/etc/passwd", "a/../../b"] {
            let listing = Tree {
                entries: vec![entry(bad)],
            }
            .listing();
            assert!(Tree::parse(&listing).is_err(), "{bad}");
        }
        assert!(Tree::parse("tree v2\n").is_err());
        // Each path once, in order, in one spelling, and nothing below what is no folder.
        for (paths, is_good) in [
            (["a", "b"], true),
            (["a/b", "a0"], true),
            (["a", "a"], false),
            (["b", "a"], false),
            (["a", "a/b"], false),
            (["a//b", "a/c"], false),
            (["a/./b", "a/c"], false),
        ] {
            let lines = paths.map(|path| format!("empty \"{path}\"\n"));
            let listing = format!("tree v1\n{}", lines.concat());
            assert_eq!(Tree::parse(&listing).is_ok(), is_good, "{paths:?}");
        }
    }

    #[test]
    fn pipelineignore_matches_names_and_rooted_paths() {
        let folder = tempfile::tempdir().expect("temp");
        let top = folder.path();
        fs_err::write(top.join(".pipelineignore"), "# remark\n*.log\n/out/tmp\n").expect("write");
        let ignore = Ignore::load(top, &top.join("cache")).expect("loads");
        assert!(ignore.matches(&top.join("deep/run.log")));
        assert!(ignore.matches(&top.join("out/tmp")));
        assert!(!ignore.matches(&top.join("deep/out/tmp")));
        fs_err::write(top.join(".pipelineignore"), "[\n").expect("write");
        assert!(
            Ignore::load(top, &top.join("cache"))
                .expect_err("bad glob")
                .to_string()
                .contains(".pipelineignore:1")
        );
    }
}
