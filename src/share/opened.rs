//! A bundle that was looked at from outside: what lies there, whether it is listed, whether its bytes are those of the
//! lists. Reads within stated bounds, and nothing that is not a plain file. Knows nothing of what results mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use flow::amounts;
use flow::content::{Content, Form, Tree};
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::{Digest, Use};
use flow::store::record::Record;
use walkdir::WalkDir;

use super::bundle::{B3SUMS, BUNDLE, Bundle, RECORDS, SHA256SUMS, VERSION};
use super::gap::Gap;
use super::sums::{self, Sum};
use super::{chain, noted, pages, pins, places};

mod record;

pub(super) use record::{decode_record, is_line, shown_text};

/// The most bytes a bundle may have unless another limit is given.
pub(crate) const LIMIT_BYTES: u64 = 256 << 30;
/// The most files.
pub(super) const MOST_FILES: usize = 1_000_000;
/// How deep folders may lie.
const MOST_DEPTH: usize = 32;
/// The largest text that is read at once: the lists and `bundle.json`.
const LONGEST_TEXT_BYTES: u64 = 256 << 20;
/// The largest record or listing.
const LONGEST_RECORD_BYTES: u64 = 64 << 20;
/// Faults that are named.
const MOST_FAULTS: usize = 10;

/// A bundle whose digests hold.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// What it says of itself.
    pub(crate) bundle: Bundle,
    /// Its records.
    pub(crate) records: BTreeMap<Digest, Record>,
    /// The digest of `SHA256SUMS`: it stands for every byte.
    pub(crate) id: Digest,
    /// Digests of its files by path.
    pub(crate) files: BTreeMap<String, Digest>,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// What of it could not be held against anything, a line each.
    pub(crate) unproven: Vec<String>,
    /// What is otherwise than it should be and may be so honestly, a line each.
    pub(crate) doubts: Vec<String>,
    /// Stages of which the same holds, by reason.
    pub(crate) gaps: Vec<Gap>,
}

/// A message about a bundle.
pub(super) fn fault(code: &str, message: String) -> Diagnostic {
    Diagnostic::error(code, message)
}

/// Opens a bundle: the first rung of the ladder.
///
/// # Errors
/// What does not hold, by name; the environment's faults as such.
pub(crate) fn open(dir: &Path, limit_bytes: u64) -> Result<Opened, Failure> {
    let root = fs_err::canonicalize(dir)
        .ok()
        .filter(|root| root.is_dir())
        .ok_or_else(|| no_bundle(dir, "there is no such folder"))?;
    let found = look(&root, dir, limit_bytes)?;
    let sha = list(&root, dir, SHA256SUMS)?;
    let b3 = list(&root, dir, B3SUMS)?;
    compare(&found, &sha, &[SHA256SUMS], SHA256SUMS)?;
    compare(&found, &b3, &[SHA256SUMS, B3SUMS], B3SUMS)?;
    let mut faults = Vec::new();
    let mut files = BTreeMap::new();
    for (path, size_bytes) in &found {
        let full = root.join(path);
        for (sum, listed) in [(Sum::Sha256, &sha), (Sum::Blake3, &b3)] {
            let Some(listed) = listed.get(path) else {
                continue;
            };
            let hex = sum
                .of(&full, *size_bytes)
                .map_err(|error| unreadable(path, &error))?;
            if hex != *listed {
                faults.push(
                    fault(
                        "share::digest",
                        format!("`{path}` has other bytes than are listed"),
                    )
                    .detail(format!("listed {}", &listed[..10]))
                    .detail(format!("found  {}", &hex[..10])),
                );
                break;
            }
            if sum == Sum::Blake3 {
                files.insert(path.clone(), hex.parse().expect("a digest in hex"));
            }
        }
    }
    refuse(faults)?;
    let bundle = read_bundle(&root)?;
    let records = read_records(&root, &found)?;
    let text =
        fs_err::read(root.join(SHA256SUMS)).map_err(|error| unreadable(SHA256SUMS, &error))?;
    let mut opened = Opened {
        id: Use::File.digest(&text),
        root,
        bundle,
        records,
        files,
        bytes: found.values().sum(),
        unproven: Vec::new(),
        doubts: Vec::new(),
        gaps: Vec::new(),
    };
    refuse(chain::faults(&opened, &found))?;
    refuse(noted::faults(&opened))?;
    let (faults, open) = pins::look(&opened, &sha);
    refuse(faults)?;
    opened.gaps.extend(open);
    refuse(places::faults(&opened))?;
    let looked = pages::look(&opened, &found, &sha)?;
    opened.unproven.extend(looked.unproven);
    opened.doubts = looked.doubts;
    Ok(opened)
}

impl Opened {
    /// Where the bytes of a file object lie.
    pub(super) fn object(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.root.join(&self.bundle.objects.get(digest)?.path))
    }

    /// The listing of a folder, if it is there.
    pub(super) fn tree(&self, digest: &Digest) -> Option<Tree> {
        let text = fs_err::read_to_string(self.object(digest)?).ok()?;
        (Use::Tree.digest(text.as_bytes()) == *digest).then_some(())?;
        Tree::parse(&text).ok()
    }

    /// Whether all bytes of a content are there.
    pub(super) fn has(&self, content: &Content) -> bool {
        let is_there = self.bundle.objects.contains_key(&content.digest);
        match content.form {
            Form::File | Form::Exec => is_there,
            Form::Tree => self.tree(&content.digest).is_some_and(|tree| {
                let parts = tree
                    .entries
                    .iter()
                    .filter_map(|entry| entry.content.as_ref());
                is_there && parts.into_iter().all(|part| self.has(part))
            }),
        }
    }
}

pub(super) fn refuse(mut faults: Vec<Diagnostic>) -> Result<(), Failure> {
    let count = faults.len();
    if count == 0 {
        return Ok(());
    }
    faults.truncate(MOST_FAULTS);
    if let Some(last) = faults.last_mut() {
        if count > MOST_FAULTS {
            last.details
                .push(format!("and {} more", count - MOST_FAULTS));
        }
        if last.help.is_none() {
            last.help =
                Some("get the bundle again from where it came; nothing of it was used".to_owned());
        }
    }
    Err(Failure {
        class: Class::Stage,
        diagnostics: faults,
    })
}

fn no_bundle(dir: &Path, why: &str) -> Failure {
    let message = format!("`{}` is no bundle: {why}", dir.display());
    let diagnostic = Diagnostic::error("share::no_bundle", message)
        .help("name a folder that `pipeline export FILE --out DIR` wrote");
    Failure::one(Class::Input, diagnostic)
}

pub(super) fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error("share::read", format!("`{path}` cannot be read"))
        .detail(error.to_string())
        .help("check that it may be read, and that the disk is sound");
    Failure::one(Class::Environment, diagnostic)
}

/// Every file by its path, with its size. Whatever is no plain file with a plain name is refused, and so is too much.
fn look(root: &Path, dir: &Path, limit_bytes: u64) -> Result<BTreeMap<String, u64>, Failure> {
    let mut found = BTreeMap::new();
    let mut faults = Vec::new();
    let mut bytes = 0_u64;
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for entry in WalkDir::new(root).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| unreadable(&dir.display().to_string(), &error.into()))?;
        if entry.depth() == 0 {
            continue;
        }
        let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let shown = below.to_string_lossy().escape_debug().to_string();
        if entry.depth() > MOST_DEPTH || found.len() >= MOST_FILES {
            faults.push(fault(
                "share::too_many",
                format!("`{shown}` lies beyond {MOST_DEPTH} folders or {MOST_FILES} files"),
            ));
            break;
        }
        let Some(path) = below.to_str().filter(|path| sums::is_plain(path)) else {
            faults.push(fault("share::name", format!("`{shown}` is an odd name")));
            continue;
        };
        let kind = entry.file_type();
        if kind.is_symlink() {
            faults.push(fault("share::link", format!("`{path}` is a link")));
        } else if kind.is_dir() {
            folders.insert(path.to_owned());
        } else if kind.is_file() {
            let size = entry
                .metadata()
                .map_err(|error| unreadable(path, &error.into()))?
                .len();
            bytes = bytes.saturating_add(size);
            found.insert(path.to_owned(), size);
        } else {
            faults.push(fault(
                "share::special",
                format!("`{path}` is a device, a pipe or a socket"),
            ));
        }
    }
    for path in found.keys() {
        let mut at = path.as_str();
        while let Some((folder, _)) = at.rsplit_once('/') {
            folders.remove(folder);
            at = folder;
        }
    }
    for folder in folders {
        faults.push(fault(
            "share::unlisted",
            format!("the folder `{folder}` holds nothing"),
        ));
    }
    refuse(faults)?;
    if bytes > limit_bytes {
        let diagnostic = Diagnostic::error(
            "share::too_large",
            format!(
                "the bundle has {}, and the limit is {}",
                amounts::bytes(bytes),
                amounts::bytes(limit_bytes)
            ),
        )
        .help("if you expect so much, allow it with `--limit SIZE`");
        return Err(Failure::one(Class::Input, diagnostic));
    }
    if !found.contains_key(BUNDLE) {
        return Err(no_bundle(dir, "it has no `bundle.json`"));
    }
    Ok(found)
}

fn read_bounded(root: &Path, path: &str, most_bytes: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let file = fs_err::File::open(root.join(path)).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(most_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > most_bytes {
        refuse(vec![fault(
            "share::too_large",
            format!("`{path}` is longer than {most_bytes} bytes"),
        )])?;
    }
    Ok(bytes)
}

fn list(root: &Path, dir: &Path, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    if !root.join(name).is_file() {
        return Err(no_bundle(dir, &format!("it has no `{name}`")));
    }
    let text = read_bounded(root, name, LONGEST_TEXT_BYTES)?;
    let text = String::from_utf8_lossy(&text);
    sums::read(&text).map_err(|line| {
        let message = format!("line {line} of `{name}` is no digest and plain path");
        refuse(vec![fault("share::list", message)]).expect_err("one fault")
    })
}

/// Every file is listed, but for the lists themselves, and nothing else is.
fn compare(
    found: &BTreeMap<String, u64>,
    listed: &BTreeMap<String, String>,
    apart: &[&str],
    list: &str,
) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for path in found.keys() {
        if !listed.contains_key(path) && !apart.contains(&path.as_str()) {
            faults.push(fault(
                "share::unlisted",
                format!("`{path}` is not in `{list}`"),
            ));
        }
    }
    for path in listed.keys() {
        if !found.contains_key(path) {
            faults.push(fault(
                "share::gone",
                format!("`{path}` of `{list}` is not there"),
            ));
        }
    }
    refuse(faults)
}

fn read_bundle(root: &Path) -> Result<Bundle, Failure> {
    let text = read_bounded(root, BUNDLE, LONGEST_TEXT_BYTES)?;
    let version = serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|value| value["version"].as_u64());
    let other = version.filter(|version| *version != u64::from(VERSION));
    if let Some(version) = other {
        let diagnostic = Diagnostic::error(
            "share::version",
            format!("the bundle has version {version}, and this program reads {VERSION}"),
        )
        .help("use the version of this program that `bundle.json` names");
        return Err(Failure::one(Class::Input, diagnostic));
    }
    serde_json::from_slice(&text).map_err(|error| {
        let message = format!("`{BUNDLE}` does not decode: {error}");
        refuse(vec![fault("share::bundle", message)]).expect_err("one fault")
    })
}

fn read_records(
    root: &Path,
    found: &BTreeMap<String, u64>,
) -> Result<BTreeMap<Digest, Record>, Failure> {
    let mut records = BTreeMap::new();
    let mut faults = Vec::new();
    for path in found.keys().filter(|path| path.starts_with("records/")) {
        let name = path
            .strip_prefix(RECORDS)
            .and_then(|path| path.strip_prefix('/')?.strip_suffix(".json"));
        let key = name.and_then(|name| name.parse::<Digest>().ok());
        // A key in capitals would be another file of the same record.
        let Some(key) = key.filter(|key| Some(key.to_string().as_str()) == name) else {
            faults.push(fault(
                "share::record",
                format!("`{path}` is not named by a key"),
            ));
            continue;
        };
        match decode_record(&read_bounded(root, path, LONGEST_RECORD_BYTES)?) {
            Ok(record) if record.key == key => drop(records.insert(key, record)),
            Ok(record) => faults.push(fault(
                "share::record",
                format!(
                    "`{path}` holds the record of the key {}",
                    record.key.short()
                ),
            )),
            Err(why) => faults.push(fault("share::record", format!("`{path}`: {why}"))),
        }
    }
    refuse(faults)?;
    Ok(records)
}
