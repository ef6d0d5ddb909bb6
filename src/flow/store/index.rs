//! The accelerator of the no-op path: one append-only text beside the records. Losing it costs time, never a result.
//!
//! Format `records-v1/index`: lines `TAG CRC PAYLOAD`, the CRC-32 (8 hex digits) being of the payload. A torn or
//! foreign line is skipped. Later lines win. Tags:
//!
//! - `r KEY SECONDS DEVICE NOTES (NAME FORM DIGEST BYTES)…`: a record. The record file is the truth.
//! - `d KEY`: that record is gone.
//! - `s SIZE MTIME CTIME INODE CLOCK DIGEST PATH`: the digest of a file while its stamp stands still. Trusted only when
//!   MTIME and CTIME lie before CLOCK, the file server's time before the file was read (git's racy-timestamp rule).
//! - `p …`: as `s`, for a file that `publish:` wrote.
//! - `n KEY "PIPELINE" "STAGE"`: the last key of a stage, for `why`.

#![expect(
    clippy::disallowed_types,
    reason = "maps here are looked up by key; their order reaches nothing but a sorted rewrite"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::content::{Content, Form, Stamp};
use crate::digest::Digest;

/// What the no-op path needs of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Wall seconds it took.
    pub seconds: f64,
    /// The device it was made on, without spaces.
    pub device: String,
    /// Whether the record has notes, so that the record file need be read for them.
    pub has_notes: bool,
    /// Outputs by name.
    pub outputs: Vec<(String, Content)>,
}

impl IndexEntry {
    /// The content of an output.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Content> {
        self.outputs
            .iter()
            .find(|(output, _)| output == name)
            .map(|(_, content)| content)
    }
}

/// A remembered digest.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    stamp: Stamp,
    clock_ns: i64,
    digest: Digest,
    published: bool,
}

/// Bytes below which a rewrite never pays.
const REWRITE_FROM_BYTES: u64 = 1 << 20;

/// A modification time is settled when it lies this far before the clock it is compared with; coarse kernel clocks tick every 10 ms at most.
const SETTLED_NS: i64 = 20_000_000;
/// The same for file systems that keep whole seconds (two on FAT).
const SETTLED_WHOLE_SECONDS_NS: i64 = 2_000_000_000;

/// The index in memory, with what this process adds.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    text: Vec<u8>,
    records: HashMap<Digest, (usize, usize)>,
    fresh: HashMap<Digest, IndexEntry>,
    files: HashMap<Box<str>, Remembered>,
    last: Option<HashMap<(String, String), Digest>>,
    pending: String,
    lines: usize,
}

impl Index {
    /// Reads the index of a store; an absent one is empty.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn load(cache: &Path) -> io::Result<Self> {
        let path = cache.join("records-v1").join("index");
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut index = Self {
            path,
            text,
            records: HashMap::new(),
            fresh: HashMap::new(),
            files: HashMap::new(),
            last: None,
            pending: String::new(),
            lines: 0,
        };
        index.scan();
        Ok(index)
    }

    fn scan(&mut self) {
        let lines = self.text.len() / 200;
        self.records.reserve(lines / 2);
        self.files.reserve(lines / 2);
        let mut start = 0;
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            let place = start;
            start += line.len();
            let Some((tag, payload)) = checked(line) else {
                continue;
            };
            self.lines += 1;
            match tag {
                b'r' => {
                    if let Some(key) = payload.get(..64).and_then(|hex| hex.parse().ok()) {
                        self.records.insert(
                            key,
                            (place + PAYLOAD_AT, place + PAYLOAD_AT + payload.len()),
                        );
                    }
                }
                b'd' => {
                    if let Ok(key) = payload.parse::<Digest>() {
                        self.records.remove(&key);
                    }
                }
                b's' | b'p' => {
                    if let Some((path, mut remembered)) = parse_file(payload) {
                        remembered.published = tag == b'p';
                        self.files.insert(path.into(), remembered);
                    }
                }
                _ => {}
            }
        }
    }

    /// The record of a key, if the index has it.
    #[must_use]
    pub fn find(&self, key: &Digest) -> Option<IndexEntry> {
        if let Some(entry) = self.fresh.get(key) {
            return Some(entry.clone());
        }
        let (start, end) = self.records.get(key)?;
        parse_record(std::str::from_utf8(&self.text[*start..*end]).ok()?)
    }

    /// Remembers a record that another process has written to disk and index.
    pub fn learn(&mut self, key: Digest, entry: IndexEntry) {
        self.fresh.insert(key, entry);
    }

    /// Forgets a record in memory and, with the next flush, on disk.
    pub fn forget(&mut self, key: &Digest) {
        self.fresh.remove(key);
        self.records.remove(key);
        self.push(b'd', &key.to_string());
    }

    /// The digest of a file that stands as it stood when it was hashed.
    #[must_use]
    pub fn file(&self, path: &str, stamp: &Stamp) -> Option<Digest> {
        let remembered = self.files.get(path)?;
        let changed_ns = remembered.stamp.changed_ns();
        let slack = if changed_ns % 1_000_000_000 == 0 {
            SETTLED_WHOLE_SECONDS_NS
        } else {
            SETTLED_NS
        };
        let is_settled = changed_ns < remembered.clock_ns.saturating_sub(slack);
        (remembered.stamp == *stamp && is_settled).then_some(remembered.digest)
    }

    /// The digest `publish:` last wrote to a path, whatever lies there now.
    #[must_use]
    pub fn published(&self, path: &str) -> Option<Digest> {
        self.files
            .get(path)
            .filter(|remembered| remembered.published)
            .map(|remembered| remembered.digest)
    }

    /// Remembers the digest of a file, read after `clock_ns` by the file server's clock.
    pub fn remember(
        &mut self,
        path: &str,
        stamp: Stamp,
        clock_ns: i64,
        digest: Digest,
        published: bool,
    ) {
        if path.contains('\n') {
            return;
        }
        let Stamp {
            size,
            mtime_ns,
            ctime_ns,
            inode,
        } = stamp;
        self.push(
            if published { b'p' } else { b's' },
            &format!("{size} {mtime_ns} {ctime_ns} {inode} {clock_ns} {digest} {path}"),
        );
        self.files.insert(
            path.into(),
            Remembered {
                stamp,
                clock_ns,
                digest,
                published,
            },
        );
    }

    /// The last key of a stage of a pipeline.
    pub fn last_key(&mut self, pipeline: &str, stage: &str) -> Option<Digest> {
        let names = (pipeline.to_owned(), stage.to_owned());
        self.load_last().get(&names).copied()
    }

    /// The last key of every stage of every pipeline, as ((pipeline, stage), key), sorted.
    pub fn last_keys(&mut self) -> Vec<((String, String), Digest)> {
        let last = self.load_last();
        let mut last: Vec<_> = last
            .iter()
            .map(|(names, key)| (names.clone(), *key))
            .collect();
        last.sort_unstable();
        last
    }

    fn load_last(&mut self) -> &mut HashMap<(String, String), Digest> {
        let text = &self.text;
        self.last.get_or_insert_with(|| {
            let mut last = HashMap::new();
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                if line.first() != Some(&b'n') {
                    continue;
                }
                if let Some((pair, key)) =
                    checked(line).and_then(|(_, payload)| parse_last(payload))
                {
                    last.insert(pair, key);
                }
            }
            last
        })
    }

    /// Notes the key a stage has now.
    pub fn set_last_key(&mut self, pipeline: &str, stage: &str, key: Digest) {
        if self.last_key(pipeline, stage) == Some(key) {
            return;
        }
        let names = (pipeline.to_owned(), stage.to_owned());
        let payload = format!(
            "{key} {} {}",
            serde_json::to_string(pipeline).expect("strings serialise"),
            serde_json::to_string(stage).expect("strings serialise")
        );
        self.push(b'n', &payload);
        if let Some(last) = &mut self.last {
            last.insert(names, key);
        }
    }

    fn push(&mut self, tag: u8, payload: &str) {
        push_line(&mut self.pending, tag, payload);
        self.lines += 1;
    }

    /// Appends what is pending in one write.
    ///
    /// # Errors
    /// When the disk or the file system refuses; the lines stay pending.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            append(&self.path, self.pending.as_bytes())?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Whether most of the file is outdated lines.
    #[must_use]
    pub fn wants_rewrite(&self) -> bool {
        // A record has a line, and mostly one for the stage's last key.
        let live = 2 * (self.records.len() + self.fresh.len()) + self.files.len();
        self.text.len() as u64 > REWRITE_FROM_BYTES && 3 * self.lines > 4 * live
    }

    /// Ends its use: writes only what still counts, by temporary file and rename. Lines another process appends meanwhile may be
    /// lost, which costs a look at a record file or a hash.
    ///
    /// # Errors
    /// When the disk or the file system refuses; the old index stays.
    pub fn rewrite(&mut self, store: &super::Store) -> io::Result<()> {
        self.flush()?;
        // What is in memory goes first: two indexes at once would double the program's peak.
        self.text = Vec::new();
        self.records = HashMap::new();
        self.files = HashMap::new();
        self.last = None;
        let mut fresh = Self::load(store.dir())?;
        let mut text = String::new();
        let mut keys: Vec<_> = fresh
            .records
            .iter()
            .map(|(key, place)| (*place, *key))
            .collect();
        keys.sort_unstable();
        for (place, _) in keys {
            if let Ok(payload) = std::str::from_utf8(&fresh.text[place.0..place.1]) {
                push_line(&mut text, b'r', payload);
            }
        }
        let mut files: Vec<_> = fresh.files.iter().collect();
        files.sort_unstable_by(|a, b| a.0.cmp(b.0));
        for (path, remembered) in files {
            if !Path::new(path.as_ref()).exists() {
                continue;
            }
            let Stamp {
                size,
                mtime_ns,
                ctime_ns,
                inode,
            } = remembered.stamp;
            let payload = format!(
                "{size} {mtime_ns} {ctime_ns} {inode} {} {} {path}",
                remembered.clock_ns, remembered.digest
            );
            push_line(
                &mut text,
                if remembered.published { b'p' } else { b's' },
                &payload,
            );
        }
        for ((pipeline, stage), key) in fresh.last_keys() {
            let payload = format!(
                "{key} {} {}",
                serde_json::to_string(&pipeline).expect("strings serialise"),
                serde_json::to_string(&stage).expect("strings serialise")
            );
            push_line(&mut text, b'n', &payload);
        }
        store.write_whole(&self.path, text.as_bytes())
    }
}

/// Appends the line of a record; for the process that has just written the record file.
///
/// # Errors
/// When the disk or the file system refuses.
pub fn append_record(cache: &Path, key: &Digest, entry: &IndexEntry) -> io::Result<()> {
    let mut line = String::new();
    push_line(&mut line, b'r', &record_payload(key, entry));
    append(&cache.join("records-v1").join("index"), line.as_bytes())
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    file.write_all(bytes)
}

const PAYLOAD_AT: usize = 11;

fn push_line(text: &mut String, tag: u8, payload: &str) {
    let crc = crc32fast::hash(payload.as_bytes());
    let _ = writeln!(text, "{} {crc:08x} {payload}", char::from(tag));
}

fn checked(line: &[u8]) -> Option<(u8, &str)> {
    let line = line.strip_suffix(b"\n")?;
    let payload = line.get(PAYLOAD_AT..)?;
    let crc = std::str::from_utf8(&line[2..10]).ok()?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    if crc32fast::hash(payload) != crc {
        return None;
    }
    Some((line[0], std::str::from_utf8(payload).ok()?))
}

fn record_payload(key: &Digest, entry: &IndexEntry) -> String {
    let device = if entry.device.is_empty() {
        "-".to_owned()
    } else {
        entry.device.replace(char::is_whitespace, "_")
    };
    let notes = if entry.has_notes { "notes" } else { "-" };
    let mut payload = format!("{key} {} {device} {notes}", entry.seconds);
    for (name, content) in &entry.outputs {
        let _ = write!(
            payload,
            " {name} {} {} {}",
            content.form.word(),
            content.digest,
            content.bytes
        );
    }
    payload
}

fn parse_record(payload: &str) -> Option<IndexEntry> {
    let mut words = payload.split(' ');
    words.next()?;
    let seconds = words.next()?.parse().ok()?;
    let device = match words.next()? {
        "-" => String::new(),
        device => device.to_owned(),
    };
    let has_notes = words.next()? == "notes";
    let mut outputs = Vec::new();
    while let Some(name) = words.next() {
        let form = Form::from_word(words.next()?)?;
        let digest = words.next()?.parse().ok()?;
        let bytes = words.next()?.parse().ok()?;
        outputs.push((
            name.to_owned(),
            Content {
                form,
                digest,
                bytes,
            },
        ));
    }
    Some(IndexEntry {
        seconds,
        device,
        has_notes,
        outputs,
    })
}

fn parse_file(payload: &str) -> Option<(&str, Remembered)> {
    let mut words = payload.splitn(7, ' ');
    let size = words.next()?.parse().ok()?;
    let mtime_ns = words.next()?.parse().ok()?;
    let ctime_ns = words.next()?.parse().ok()?;
    let inode = words.next()?.parse().ok()?;
    let clock_ns = words.next()?.parse().ok()?;
    let digest = words.next()?.parse().ok()?;
    let path = words.next()?;
    let stamp = Stamp {
        size,
        mtime_ns,
        ctime_ns,
        inode,
    };
    Some((
        path,
        Remembered {
            stamp,
            clock_ns,
            digest,
            published: false,
        },
    ))
}

fn parse_last(payload: &str) -> Option<((String, String), Digest)> {
    let (key, names) = payload.split_once(' ')?;
    let mut names = serde_json::Deserializer::from_str(names).into_iter::<String>();
    let pipeline = names.next()?.ok()?;
    let stage = names.next()?.ok()?;
    Some(((pipeline, stage), key.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Use;
    use crate::store::Store;

    fn entry(text: &str) -> IndexEntry {
        let content = Content {
            form: Form::File,
            digest: Use::File.digest(text.as_bytes()),
            bytes: text.len() as u64,
        };
        IndexEntry {
            seconds: 1.5,
            device: "cpu".into(),
            has_notes: true,
            outputs: vec![("lines".into(), content)],
        }
    }

    fn stamp(mtime_ns: i64) -> Stamp {
        Stamp {
            size: 3,
            mtime_ns,
            ctime_ns: mtime_ns,
            inode: 7,
        }
    }

    #[test]
    fn remembers_records_files_and_last_keys_and_skips_torn_lines() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        let key = Use::Manifest.digest(b"m");
        append_record(store.dir(), &key, &entry("a")).expect("appends");
        let mut index = Index::load(store.dir()).expect("loads");
        index.remember(
            "/data/a b.txt",
            stamp(10),
            1_000_000_000,
            Use::File.digest(b"x"),
            false,
        );
        index.set_last_key("p.yaml", "s[a=1]", key);
        index.flush().expect("flushes");
        append(&index.path, b"r 00000000 torn\nr 1234").expect("appends");
        let mut again = Index::load(store.dir()).expect("loads");
        assert_eq!(again.find(&key), Some(entry("a")));
        assert_eq!(
            again.file("/data/a b.txt", &stamp(10)),
            Some(Use::File.digest(b"x"))
        );
        assert_eq!(again.file("/data/a b.txt", &stamp(11)), None);
        assert_eq!(again.last_key("p.yaml", "s[a=1]"), Some(key));
        again.rewrite(&store).expect("rewrites");
        let mut rewritten = Index::load(store.dir()).expect("loads");
        assert_eq!(rewritten.find(&key), Some(entry("a")));
        assert_eq!(rewritten.last_key("p.yaml", "s[a=1]"), Some(key));
        rewritten.forget(&key);
        rewritten.flush().expect("flushes");
        assert_eq!(Index::load(store.dir()).expect("loads").find(&key), None);
    }

    #[test]
    fn a_file_written_within_the_clock_tick_of_its_hash_is_not_trusted() {
        let folder = tempfile::tempdir().expect("temp");
        let store = Store::open(folder.path()).expect("opens");
        let mut index = Index::load(store.dir()).expect("loads");
        let digest = Use::File.digest(b"x");
        index.remember("/racy", stamp(999_999_999), 1_000_000_000, digest, false);
        assert_eq!(index.file("/racy", &stamp(999_999_999)), None);
        index.remember(
            "/whole-seconds",
            stamp(9_000_000_000),
            10_500_000_000,
            digest,
            false,
        );
        assert_eq!(index.file("/whole-seconds", &stamp(9_000_000_000)), None);
        index.remember("/settled", stamp(900_000_001), 1_000_000_000, digest, false);
        assert_eq!(index.file("/settled", &stamp(900_000_001)), Some(digest));
    }
}
