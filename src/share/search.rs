//! Words searched for in every file of a folder, also inside compressed files, archives and Parquet. What cannot be
//! searched to its end is told as if something had been found. Knows nothing of what the words mean.

use std::io::Read;
use std::path::Path;

use walkdir::WalkDir;

use crate::kinds::fetch::{Unpacked, unpacked};
use crate::kinds::texts::{composed, decomposed};

/// The most bytes that come out of one file.
const MOST_UNPACKED_BYTES: u64 = 8 << 30;
/// The most of a file that is looked at in one go; needles are far shorter.
const PIECE_BYTES: usize = 1 << 20;
/// How many files are named.
const MOST_NAMED: usize = 10;

/// A text that must not occur.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needle {
    /// What it is, for messages that must not repeat it.
    pub(super) what: &'static str,
    /// As [`folded`].
    text: String,
    /// As programs write letters that are not ASCII in ASCII: with `\u` in JSON, with `%` in addresses.
    escaped: Vec<String>,
    begins_word: bool,
    ends_word: bool,
    /// Whether it may mean somebody else, or nobody: then it is told and forbids nothing.
    is_doubtful: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// `path: what`, of what must not occur.
    pub(super) certain: Vec<String>,
    /// The same, of what may mean somebody else.
    pub(super) doubtful: Vec<String>,
}

/// A text whose letters are all small, those of every script: character by character, since where a letter stands in a
/// word must not count, and by way of capitals, since `ß` has two of them. Accents stand apart (NFD) before and after, so
/// that a name is found however its letters are put together.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let small: String = decomposed(text)
        .chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    decomposed(&small)
}

/// A text that is not ASCII as JSON and addresses have it, small: as it is, all small and all capital, with letters
/// and accents as one character and apart.
fn escaped(text: &str) -> Vec<String> {
    if text.is_ascii() {
        return Vec::new();
    }
    let mut forms = Vec::new();
    for cased in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
        for form in [composed(&cased), decomposed(&cased)] {
            let mut json = String::new();
            for unit in form.encode_utf16() {
                match u8::try_from(unit).ok().filter(u8::is_ascii) {
                    Some(byte) => json.push(char::from(byte)),
                    None => json.push_str(&format!("\\u{unit:04x}")),
                }
            }
            let mut address = String::new();
            for byte in form.bytes() {
                match byte {
                    b' ' => address.push_str("%20"),
                    byte if byte.is_ascii() => address.push(char::from(byte)),
                    byte => address.push_str(&format!("%{byte:02x}")),
                }
            }
            forms.extend([json, address].map(|form| form.to_ascii_lowercase()));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

impl Needle {
    /// Wherever it stands.
    pub(super) fn text(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: folded(text.trim()),
            escaped: escaped(text.trim()),
            begins_word: false,
            ends_word: false,
            is_doubtful: false,
        }
    }

    /// As a word: no letter or digit before or behind it.
    pub(super) fn word(what: &'static str, text: &str) -> Self {
        Self {
            begins_word: true,
            ends_word: true,
            ..Self::text(what, text)
        }
    }

    /// As a path: nothing behind it that would make its last name another.
    pub(super) fn folder(what: &'static str, text: &str) -> Self {
        Self {
            ends_word: true,
            ..Self::text(what, text)
        }
    }

    /// The same, where it may mean somebody else.
    pub(super) fn doubtful(self) -> Self {
        Self {
            is_doubtful: true,
            ..self
        }
    }

    /// Bytes of it.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it stands in a text that is folded.
    fn is_in(&self, haystack: &[u8]) -> bool {
        self.stands(&self.text, haystack)
    }

    /// Whether it stands escaped in a text whose ASCII letters are small.
    fn is_escaped_in(&self, haystack: &[u8]) -> bool {
        self.escaped.iter().any(|form| self.stands(form, haystack))
    }

    fn stands(&self, text: &str, haystack: &[u8]) -> bool {
        let needle = text.as_bytes();
        let part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let mut from = 0;
        while let Some(at) = find(&haystack[from..], needle) {
            let (start, end) = (from + at, from + at + needle.len());
            let before = start.checked_sub(1).and_then(|at| haystack.get(at));
            // In a text inside of a text the letter before may be that of an escaped end of line.
            let is_escape = start >= 2
                && haystack[start - 2] == b'\\'
                && matches!(haystack[start - 1], b'n' | b'r' | b't' | b'b' | b'f');
            let is_part = self.begins_word && part(before) && !is_escape
                || self.ends_word && part(haystack.get(end));
            if !is_part {
                return true;
            }
            from = start + 1;
        }
        false
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() || haystack.len() < needle.len() {
        return None;
    }
    let first = needle[0];
    let last = haystack.len() - needle.len();
    let mut at = 0;
    while at <= last {
        at += haystack[at..=last].iter().position(|byte| *byte == first)?;
        if &haystack[at..at + needle.len()] == needle {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// What of the needles occurs in files below a folder, or in their names, so many of each sort at most.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn search(root: &Path, needles: &[Needle]) -> std::io::Result<Found> {
    let mut found = Found::default();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let shown = path.display().to_string();
        let name = folded(&shown);
        for needle in needles {
            if needle.is_in(name.as_bytes()) || needle.is_escaped_in(name.as_bytes()) {
                found.tell(needle, |what| format!("the name of a file: {what}"));
            }
        }
        if entry.file_type().is_file() {
            let tell = |what: &str| format!("`{shown}`: {what}");
            let (hits, closed) = in_file(entry.path(), needles)?;
            for (needle, _) in needles.iter().zip(hits).filter(|(_, hit)| *hit) {
                found.tell(needle, tell);
            }
            found.certain.extend(closed.iter().map(|why| tell(why)));
        }
        if found.certain.len() >= MOST_NAMED {
            break;
        }
    }
    Ok(found)
}

impl Found {
    fn tell(&mut self, needle: &Needle, line: impl Fn(&str) -> String) {
        let (lines, most) = match needle.is_doubtful {
            true => (&mut self.doubtful, MOST_NAMED),
            false => (&mut self.certain, usize::MAX),
        };
        let line = line(needle.what);
        if lines.len() < most && lines.last() != Some(&line) {
            lines.push(line);
        }
    }
}

/// Which needles a file holds, and why it cannot be searched to its end.
fn in_file(path: &Path, needles: &[Needle]) -> std::io::Result<(Vec<bool>, Vec<String>)> {
    let mut hits: Vec<bool> = vec![false; needles.len()];
    let mut file = fs_err::File::open(path)?;
    scan(&mut file, needles, &mut hits)?;
    let mut closed: Vec<String> = Vec::new();
    match unpacked(path, MOST_UNPACKED_BYTES, &mut |stream| {
        scan(stream, needles, &mut hits)
    }) {
        Ok(Unpacked::Plain | Unpacked::Whole) => {}
        Ok(Unpacked::Unknown(what)) => closed.push(format!("{what}, which cannot be searched")),
        Err(error) => closed.push(format!("it cannot be searched to its end: {error}")),
    }
    match parquet(path) {
        None => {}
        Some(Ok(text)) => scan(&mut text.as_slice(), needles, &mut hits)?,
        Some(Err(error)) => closed.push(format!("it cannot be searched: {error}")),
    }
    Ok((hits, closed))
}

/// The texts of a Parquet file, where the file is one.
fn parquet(path: &Path) -> Option<Result<Vec<u8>, String>> {
    let mut head = [0; 4];
    fs_err::File::open(path)
        .and_then(|mut file| file.read_exact(&mut head))
        .ok()?;
    (&head == b"PAR1").then(|| {
        let bytes = fs_err::read(path).map_err(|error| error.to_string())?;
        report::frame::parquet_to_csv(&bytes).map_err(|error| error.to_string())
    })
}

/// Looks through a stream piece by piece, each overlapping the one before it.
fn scan(stream: &mut dyn Read, needles: &[Needle], hits: &mut [bool]) -> std::io::Result<()> {
    // A letter may have more bytes than its small one, at most three times as many.
    let escaped = needles.iter().flat_map(|needle| &needle.escaped);
    let longest = needles.iter().map(Needle::len).max().unwrap_or(0);
    let longest = longest.max(
        escaped
            .map(|form| form.len().div_ceil(3))
            .max()
            .unwrap_or(0),
    );
    let overlap = 3 * longest + 8;
    let has_letters = needles.iter().any(|needle| !needle.text.is_ascii());
    let mut piece: Vec<u8> = Vec::with_capacity(PIECE_BYTES + overlap);
    loop {
        let read = stream.take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        let small = piece.to_ascii_lowercase();
        let letters = match has_letters {
            true => folded(&String::from_utf8_lossy(&piece)).into_bytes(),
            false => Vec::new(),
        };
        for (needle, hit) in needles
            .iter()
            .zip(hits.iter_mut())
            .filter(|(_, hit)| !**hit)
        {
            *hit = match needle.text.is_ascii() {
                true => needle.is_in(&small),
                false => needle.is_in(&letters) || needle.is_escaped_in(&small),
            };
        }
        if read < PIECE_BYTES {
            return Ok(());
        }
        let rest = piece.len().saturating_sub(overlap);
        piece.drain(..rest);
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
