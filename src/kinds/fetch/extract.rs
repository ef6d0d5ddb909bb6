//! Puts the entries of an archive into one folder and nowhere else. Knows no archive format.
//!
//! No link is ever created: what an archive links inside itself becomes a copy, at the end, so no entry can be
//! written through a link. Permissions become `rw-r--r--`, or `rwxr-xr-x` where the entry is executable.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flow::kind::StageError;

/// Longest name of an entry in bytes, and longest part of it between slashes.
const MAX_NAME_BYTES: usize = 1024;
const MAX_PART_BYTES: usize = 255;
/// Below this size the ratio of a bomb is not looked at: a few MiB of zeros harm nobody.
const RATIO_FLOOR_BYTES: u64 = 64 << 20;

/// Bounds of what may come out of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes in all.
    pub bytes: u64,
    /// Entries in all.
    pub entries: u64,
    /// Bytes unpacked for each byte of the archive, looked at from 64 MiB on.
    pub ratio: u64,
}

/// Which entries are wanted and what they are called.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Leading folders to drop.
    pub strip: u32,
    /// Globs, of which one must match; empty takes everything.
    pub only: Vec<glob::Pattern>,
    /// This one entry alone.
    pub take: Option<String>,
}

/// Counts what comes out of an archive.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limits: Limits,
    archive_bytes: u64,
    bytes: Rc<Cell<u64>>,
    entries: Rc<Cell<u64>>,
}

impl Budget {
    /// A fresh budget for an archive of `archive_bytes`.
    #[must_use]
    pub(super) fn new(limits: Limits, archive_bytes: u64) -> Self {
        Self {
            limits,
            archive_bytes: archive_bytes.max(1),
            bytes: Rc::default(),
            entries: Rc::default(),
        }
    }

    /// A second account with the same limits and some room for headers, for the stream the entries come from.
    #[must_use]
    pub(super) fn stream(&self) -> Self {
        let mut limits = self.limits;
        // Headers and padding take at most 2 KiB an entry, besides long names.
        let headers = limits.entries.saturating_mul(2048);
        limits.bytes = limits.bytes.saturating_add(headers);
        Self::new(limits, self.archive_bytes)
    }

    /// Counts `n` more bytes of `name`.
    ///
    /// # Errors
    /// When that is more than the limits allow.
    pub(super) fn spend(&self, n: u64, name: &str) -> Result<(), StageError> {
        let bytes = self.bytes.get().saturating_add(n);
        self.bytes.set(bytes);
        if bytes > self.limits.bytes {
            return Err(refuse(
                name,
                &format!("takes the archive over {} bytes", self.limits.bytes),
            )
            .help("if that is right, raise `max_unpacked_bytes` of the stage"));
        }
        if bytes > RATIO_FLOOR_BYTES && bytes / self.archive_bytes > self.limits.ratio {
            return Err(refuse(
                name,
                &format!(
                    "takes the archive over {} times its size: a bomb?",
                    self.limits.ratio
                ),
            )
            .detail(format!("{bytes} bytes from {} so far", self.archive_bytes))
            .help("if that is right, raise `max_ratio` of the stage"));
        }
        Ok(())
    }

    fn count_entry(&self, name: &str) -> Result<(), StageError> {
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() > self.limits.entries {
            return Err(refuse(
                name,
                &format!("is one more than {} entries", self.limits.entries),
            )
            .help("if that is right, raise `max_entries` of the stage"));
        }
        Ok(())
    }
}

fn refuse(name: &str, why: &str) -> StageError {
    let name: String = name.chars().take(200).collect();
    StageError::new(
        "fetch::archive",
        format!("entry `{}` {why}", name.escape_debug()),
    )
    .help("take only what you need with `only`; if you trust the archive, unpack it in a `command` stage")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Placed {
    File,
    Folder,
    Link,
}

/// A link to be turned into a copy.
struct Link {
    /// The entry as the archive calls it.
    entry: String,
    /// Where it goes, inside the folder.
    to: String,
    /// What it means, as an archive name before `strip`, normalised.
    target: String,
}

/// Writes entries below one folder.
pub(super) struct Extractor<'a> {
    folder: &'a Path,
    selection: &'a Selection,
    budget: &'a Budget,
    placed: BTreeMap<String, Placed>,
    links: Vec<Link>,
    /// Names seen, for the message when nothing matches.
    seen: Vec<String>,
    matched: Vec<bool>,
}

impl<'a> Extractor<'a> {
    /// An extractor into `folder`, which exists and is empty.
    #[must_use]
    pub(super) fn new(folder: &'a Path, selection: &'a Selection, budget: &'a Budget) -> Self {
        Self {
            folder,
            selection,
            budget,
            placed: BTreeMap::new(),
            links: Vec::new(),
            seen: Vec::new(),
            matched: vec![false; selection.only.len()],
        }
    }

    /// A folder entry.
    ///
    /// # Errors
    /// When its name leads out or conflicts.
    pub(super) fn folder(&mut self, name: &str) -> Result<(), StageError> {
        let Some(inside) = self.admit(name, true)? else {
            return Ok(());
        };
        self.make_folders(name, &inside)
    }

    /// A file entry: reads `content` to its end when it is wanted.
    ///
    /// # Errors
    /// When its name leads out or conflicts, or a bound is passed, or reading fails.
    pub(super) fn file(
        &mut self,
        name: &str,
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), StageError> {
        let Some(inside) = self.admit(name, false)? else {
            return Ok(());
        };
        self.claim(name, &inside, Placed::File)?;
        let path = self.folder.join(&inside);
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(name, &error)),
            };
            self.budget.spend(n as u64, name)?;
            file.write_all(&buffer[..n])?;
        }
        set_mode(&path, executable)
    }

    /// A symbolic link whose target is relative to its own folder.
    ///
    /// # Errors
    /// When it or its target leads out.
    pub(super) fn symbolic_link(&mut self, name: &str, target: &str) -> Result<(), StageError> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = resolve(folder, target).ok_or_else(|| {
            refuse(
                name,
                &format!("links out of the archive, to `{}`", target.escape_debug()),
            )
        })?;
        self.link(name, target)
    }

    /// A hard link, whose target is the name of another entry.
    ///
    /// # Errors
    /// When it or its target leads out.
    pub(super) fn hard_link(&mut self, name: &str, target: &str) -> Result<(), StageError> {
        let target = resolve("", target).ok_or_else(|| {
            refuse(
                name,
                &format!("links out of the archive, to `{}`", target.escape_debug()),
            )
        })?;
        self.link(name, target)
    }

    /// An entry that is none of these.
    ///
    /// # Errors
    /// Always, unless it is not wanted.
    pub(super) fn special(&mut self, name: &str, what: &str) -> Result<(), StageError> {
        match self.admit(name, false)? {
            Some(_) => {
                Err(refuse(name, &format!("is {what}"))
                    .help("name the entries you need with `only`"))
            }
            None => Ok(()),
        }
    }

    /// Copies what was linked and checks that everything asked for was there.
    ///
    /// # Errors
    /// When a link leads nowhere, or a pattern of the selection matched nothing.
    pub(super) fn finish(mut self) -> Result<(), StageError> {
        let mut waiting = std::mem::take(&mut self.links);
        loop {
            let before = waiting.len();
            let mut later = Vec::new();
            for link in waiting {
                let from = self.rename(&link.target);
                match from.as_deref().map(|from| (from, self.placed.get(from))) {
                    Some((from, Some(Placed::File))) => {
                        let (from, to) = (self.folder.join(from), self.folder.join(&link.to));
                        self.budget
                            .spend(fs_err::metadata(&from)?.len(), &link.entry)?;
                        reflink_copy::reflink_or_copy(&from, &to)?;
                        self.placed.insert(link.to, Placed::File);
                    }
                    Some((_, Some(Placed::Folder))) => {
                        return Err(refuse(
                            &link.entry,
                            &format!("links to the folder `{}`", link.target.escape_debug()),
                        )
                        .help("links to folders are not unpacked: leave it out with `only`"));
                    }
                    _ => later.push(link),
                }
            }
            if later.is_empty() {
                break;
            }
            if later.len() == before {
                let link = &later[0];
                return Err(refuse(
                    &link.entry,
                    &format!(
                        "links to `{}`, which is not unpacked",
                        link.target.escape_debug()
                    ),
                )
                .help("name both in `only`, or neither"));
            }
            waiting = later;
        }
        self.check_selection()
    }

    fn check_selection(&self) -> Result<(), StageError> {
        let missing = match &self.selection.take {
            Some(name) => (!self.placed.contains_key(name)).then(|| name.clone()),
            None => (self.selection.only.iter().zip(&self.matched))
                .find(|(_, matched)| !**matched)
                .map(|(pattern, _)| pattern.as_str().to_owned()),
        };
        if let Some(missing) = missing {
            let mut error = StageError::new(
                "fetch::archive",
                format!("the archive has no entry `{missing}`"),
            );
            if !self.seen.is_empty() {
                error = error.detail(format!("it has {} …", self.seen.join(", ")));
            }
            return Err(
                error.help("names are compared after `strip`; `*` stops at `/`, `**` does not")
            );
        }
        if self.placed.is_empty() {
            return Err(
                StageError::new("fetch::archive", "nothing of the archive is left")
                    .help("it is empty, or `strip` drops every name"),
            );
        }
        Ok(())
    }

    fn link(&mut self, name: &str, target: String) -> Result<(), StageError> {
        let Some(inside) = self.admit(name, false)? else {
            return Ok(());
        };
        self.claim(name, &inside, Placed::Link)?;
        self.links.push(Link {
            entry: name.to_owned(),
            to: inside,
            target,
        });
        Ok(())
    }

    /// The place of an entry inside the folder; `None` when it is not wanted. Names are checked even then.
    fn admit(&mut self, name: &str, is_folder: bool) -> Result<Option<String>, StageError> {
        self.budget.count_entry(name)?;
        let clean = clean_name(name).map_err(|why| {
            refuse(name, why)
                .help("the archive may mean harm; if you trust it, unpack it in a `command` stage")
        })?;
        let Some(inside) = self.rename(&clean) else {
            return Ok(None);
        };
        if !is_folder && self.seen.len() < 8 {
            self.seen.push(format!("`{}`", inside.escape_debug()));
        }
        if let Some(take) = &self.selection.take {
            return Ok((inside == *take && !is_folder).then_some(inside));
        }
        if self.selection.only.is_empty() {
            return Ok(Some(inside));
        }
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let mut wanted = false;
        for (pattern, matched) in self.selection.only.iter().zip(&mut self.matched) {
            if !is_folder && pattern.matches_with(&inside, options) {
                *matched = true;
                wanted = true;
            }
        }
        Ok(wanted.then_some(inside))
    }

    /// An archive name after `strip`; `None` when nothing is left.
    fn rename(&self, clean: &str) -> Option<String> {
        let mut rest = clean;
        for _ in 0..self.selection.strip {
            rest = rest.split_once('/')?.1;
        }
        (!rest.is_empty()).then(|| rest.to_owned())
    }

    fn claim(&mut self, name: &str, inside: &str, what: Placed) -> Result<(), StageError> {
        if let Some((folder, _)) = inside.rsplit_once('/') {
            self.make_folders(name, folder)?;
        }
        match self.placed.insert(inside.to_owned(), what) {
            None => Ok(()),
            Some(Placed::Folder) => Err(refuse(name, "is a file and a folder at once")),
            Some(_) => Err(refuse(name, "occurs twice")),
        }
    }

    fn make_folders(&mut self, name: &str, inside: &str) -> Result<(), StageError> {
        let ends = inside.match_indices('/').map(|(end, _)| end);
        for end in ends.chain([inside.len()]) {
            let folder = &inside[..end];
            match self.placed.get(folder) {
                Some(Placed::Folder) => {}
                Some(_) => return Err(refuse(name, "lies below a file")),
                None => {
                    fs_err::create_dir(self.folder.join(folder))?;
                    self.placed.insert(folder.to_owned(), Placed::Folder);
                }
            }
        }
        Ok(())
    }
}

/// An archive that cannot be read at `name`.
#[must_use]
pub(super) fn broken(name: &str, error: &io::Error) -> StageError {
    if let Some(inner) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StageError>())
    {
        return inner.clone();
    }
    refuse(name, "cannot be read").detail(error.to_string()).help(
        "the archive is damaged, or only a part of it: compare its size with the source's, and pin it with `sha256:`",
    )
}

/// The name without `.` parts and a trailing slash, if it stays inside.
fn clean_name(name: &str) -> Result<String, &'static str> {
    if name.len() > MAX_NAME_BYTES {
        return Err("has a name that is too long");
    }
    if name.starts_with('/') {
        return Err("has an absolute path");
    }
    if name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic() {
        return Err("begins with a drive letter");
    }
    if name.contains('\\') {
        return Err("has a backslash in its name");
    }
    if name.chars().any(char::is_control) {
        return Err("has a control character in its name");
    }
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("leads out of its folder"),
            part if part.len() > MAX_PART_BYTES => return Err("has a name that is too long"),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// `target` seen from `folder`, if it stays inside the archive.
fn resolve(folder: &str, target: &str) -> Option<String> {
    if target.is_empty()
        || target.starts_with('/')
        || target.contains('\\')
        || target.as_bytes().get(1) == Some(&b':')
    {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn set_mode(path: &Path, executable: bool) -> Result<(), StageError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if executable { 0o755 } else { 0o644 };
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = (path, executable);
    Ok(())
}

/// Where `take` lies after unpacking into `folder`.
#[must_use]
pub(super) fn taken(folder: &Path, selection: &Selection) -> Option<PathBuf> {
    selection.take.as_ref().map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names made of what is harmless, harmful and odd.
    fn names() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a", "b", "ü", "..", ".", "", "C:", "\\", " ", "\u{202e}", "a\n", "é.txt",
        ]);
        (any::<bool>(), prop::collection::vec(piece, 1..4)).prop_map(|(absolute, pieces)| {
            format!("{}{}", if absolute { "/" } else { "" }, pieces.join("/"))
        })
    }

    proptest! {
        #[test]
        fn nothing_leaves_the_folder(entries in prop::collection::vec((0..4_u8, names(), names()), 1..8), strip in 0..3_u32) {
            let home = tempfile::tempdir().expect("a folder");
            let folder = home.path().join("in/side");
            fs_err::create_dir_all(&folder).expect("a folder");
            let selection = Selection { strip, ..Selection::default() };
            let budget = Budget::new(Limits { bytes: 100, entries: 100, ratio: 10 }, 100);
            let mut extractor = Extractor::new(&folder, &selection, &budget);
            for (kind, name, target) in &entries {
                // Refused or not: what counts is where things are.
                let _ = match kind {
                    0 => extractor.file(name, false, &mut &b"content"[..]),
                    1 => extractor.folder(name),
                    2 => extractor.symbolic_link(name, target),
                    _ => extractor.hard_link(name, target),
                };
            }
            let _ = extractor.finish();
            let outside = |path: &Path| fs_err::read_dir(path).expect("a folder").count();
            prop_assert_eq!((outside(home.path()), outside(&home.path().join("in"))), (1, 1));
            let mut folders = vec![folder];
            while let Some(at) = folders.pop() {
                for entry in fs_err::read_dir(&at).expect("a folder") {
                    let path = entry.expect("an entry").path();
                    prop_assert!(!path.is_symlink());
                    if path.is_dir() {
                        folders.push(path);
                    }
                }
            }
        }
    }
}
