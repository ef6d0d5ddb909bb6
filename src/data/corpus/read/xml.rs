//! PubMed's records: where they stand, what they say, and which of several is meant. Knows nothing of sentences.
//!
//! Both generations of NLM's format are read (`MedlineCitationSet` and `PubmedArticleSet`): a record is the element
//! `MedlineCitation`, wherever it stands. Books (`PubmedBookArticle`) are passed over.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use super::super::config::Format;
use super::super::open::{Next, Sources};
use super::{Piece, Sizes, Stream, each_piece};
use crate::error::DataError;
use crate::xml::{Part, walk};

/// How a record begins; `MedlineCitationSet` begins so too and is none.
const START: &[u8] = b"<MedlineCitation";
const END: &[u8] = b"</MedlineCitation>";
const DELETED: &[u8] = b"<DeleteCitation";
const DELETED_END: &[u8] = b"</DeleteCitation>";
const SET_ENDS: [&[u8]; 2] = [b"</PubmedArticleSet>", b"</MedlineCitationSet>"];
/// No shorter than any of these tags, with one byte behind.
const LONGEST_TAG: usize = 24;

/// What stands in a stream, by places in a piece of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::corpus) enum Item {
    /// A record.
    Record(Range<usize>),
    /// PMIDs whose records are taken back.
    Deleted(Range<usize>),
    /// Something that begins here and has no end before the next begins.
    Unended(usize),
    /// Something larger than a document may be.
    TooLarge(usize),
}

/// Finds items in a stream that comes piece by piece: what it says depends on the stream alone.
pub(super) struct Scanner {
    most: usize,
    /// Bytes of what is held that are decided.
    at: usize,
    items: Vec<Item>,
    /// The set's end tag came after the last item.
    closed: bool,
}

impl Scanner {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            at: 0,
            items: Vec::new(),
            closed: false,
        }
    }

    /// Whether what came so far ends as NLM's files do.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Looks at all that is held; `last`: nothing follows. What was taken before is no longer held.
    pub(super) fn scan(&mut self, held: &[u8], last: bool) {
        let mut starts = Starts::new(held, self.at);
        loop {
            let Some((from, is_record)) = starts.first() else {
                let gap = &held[self.at..];
                self.closed |= SET_ENDS.iter().any(|end| memmem::find(gap, end).is_some());
                // A tag may be parted by the end.
                let sure = held.len().saturating_sub(LONGEST_TAG);
                self.at = if last { held.len() } else { self.at.max(sure) };
                return;
            };
            self.closed = false;
            let limit = from.saturating_add(self.most);
            // Behind the limit there is enough to know whether a tag begins before it.
            let is_sure = last || held.len() >= limit.saturating_add(LONGEST_TAG);
            let (begin, close) = match is_record {
                true => (START, END),
                false => (DELETED, DELETED_END),
            };
            let window = &held[from..limit.min(held.len())];
            let end = memmem::find(window, close).map(|length| from + length + close.len());
            let end = end.filter(|end| *end <= limit);
            starts.pass(from + begin.len());
            let next = starts.first().map(|(next, _)| next);
            let next = next.filter(|next| *next < limit);
            self.at = match (end, next) {
                (Some(end), next) if next.is_none_or(|next| end <= next) => {
                    self.items.push(match is_record {
                        true => Item::Record(from..end),
                        false => Item::Deleted(from..end),
                    });
                    end
                }
                // What begins at the very end of what is held may turn out to be another tag.
                (_, Some(next)) if last || held.len() >= next + LONGEST_TAG => {
                    self.items.push(Item::Unended(from));
                    next
                }
                (_, None) if is_sure && held.len() > limit => {
                    self.items.push(Item::TooLarge(from));
                    from + begin.len()
                }
                _ if last => {
                    self.items.push(Item::Unended(from));
                    held.len()
                }
                _ => {
                    self.at = from;
                    return;
                }
            };
            starts.pass(self.at);
        }
    }

    /// The items found, and the bytes they and what lies between them take.
    pub(super) fn take(&mut self) -> (usize, Vec<Item>) {
        (
            std::mem::take(&mut self.at),
            std::mem::take(&mut self.items),
        )
    }
}

/// The next record and the next list of deletions, each looked for once.
struct Starts<'a> {
    bytes: &'a [u8],
    record: Option<usize>,
    deleted: Option<usize>,
}

impl<'a> Starts<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            record: next_start(bytes, at, START),
            deleted: next_start(bytes, at, DELETED),
        }
    }

    /// Goes on at `at`.
    fn pass(&mut self, at: usize) {
        if self.record.is_some_and(|record| record < at) {
            self.record = next_start(self.bytes, at, START);
        }
        if self.deleted.is_some_and(|deleted| deleted < at) {
            self.deleted = next_start(self.bytes, at, DELETED);
        }
    }

    /// Where the first of them begins, and whether it is a record.
    fn first(&self) -> Option<(usize, bool)> {
        match (self.record, self.deleted) {
            (Some(record), Some(deleted)) => Some((record.min(deleted), record < deleted)),
            (Some(record), None) => Some((record, true)),
            (None, Some(deleted)) => Some((deleted, false)),
            (None, None) => None,
        }
    }
}

fn next_start(bytes: &[u8], from: usize, tag: &[u8]) -> Option<usize> {
    memmem::find_iter(&bytes[from.min(bytes.len())..], tag)
        .map(|at| from + at)
        .find(|at| {
            let behind = bytes.get(at + tag.len());
            behind.is_none_or(|byte| matches!(byte, b' ' | b'>' | b'\t' | b'\r' | b'\n' | b'/'))
        })
}

/// All `<PMID Version="1">123</PMID>` of a stretch.
pub(in crate::corpus) fn ids(bytes: &[u8]) -> Vec<(u32, u16)> {
    let mut ids = Vec::new();
    let mut at = 0;
    while let Some(found) = memmem::find(&bytes[at..], b"<PMID") {
        at += found;
        ids.extend(id_at(&bytes[at..]));
        at += 5;
    }
    ids
}

/// PMID and version of a record; the version of old files, which name none, is 1.
pub(in crate::corpus) fn id_of(record: &[u8]) -> Option<(u32, u16)> {
    // It is the record's first element; others name the records it comments on.
    id_at(&record[memmem::find(record, b"<PMID")?..])
}

fn id_at(element: &[u8]) -> Option<(u32, u16)> {
    let tag = memchr::memchr(b'>', element)?;
    let version = match memmem::find(&element[..tag], b"Version=\"") {
        None => 1,
        Some(at) => number(&element[at + 9..tag], b'"')?,
    };
    let text = element[tag + 1..].trim_ascii_start();
    let pmid = number(text, b'<')?;
    Some((u32::try_from(pmid).ok()?, u16::try_from(version).ok()?))
}

/// Digits up to `end`, white space before it allowed.
fn number(text: &[u8], end: u8) -> Option<u64> {
    let digits = &text[..memchr::memchr(end, &text[..text.len().min(20)])?];
    std::str::from_utf8(digits.trim_ascii()).ok()?.parse().ok()
}

/// Title and abstract of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::corpus) struct Record {
    /// Empty where there is none.
    pub(in crate::corpus) title: String,
    /// Sections in order with their labels; only `Abstract`, not `OtherAbstract`.
    pub(in crate::corpus) sections: Vec<(Option<String>, String)>,
}

/// Reads one record; text inside inline markup is kept, its tags are not.
///
/// # Errors
/// What is wrong with it.
pub(in crate::corpus) fn read(record: &[u8]) -> Result<Record, String> {
    let text = std::str::from_utf8(record).map_err(|error| super::text::no_utf8(record, &error))?;
    let mut read = Record::default();
    // Depth of the elements that matter: `Article`, `Abstract`, and the text at hand.
    let mut depth = 0_u32;
    let mut article = 0;
    let mut section = 0;
    let mut reading = 0;
    let mut buffer = String::new();
    let mut label = None;
    let mut titles = 0;
    walk(text, &mut |part| {
        match part {
            Part::Start(tag) => {
                depth += 1;
                match tag.name() {
                    b"Article" if depth == 2 => article = depth,
                    b"Abstract" if article > 0 && depth == article + 1 => section = depth,
                    b"ArticleTitle" if article > 0 && depth == article + 1 => {
                        reading = depth;
                        buffer.clear();
                        titles += 1;
                    }
                    b"AbstractText" if section > 0 && depth == section + 1 => {
                        reading = depth;
                        buffer.clear();
                        label = tag.attribute("Label")?;
                    }
                    _ => {}
                }
            }
            Part::Text(text) if reading > 0 => buffer.push_str(&text),
            Part::Text(_) => {}
            Part::End => {
                if reading == depth {
                    let text = squeeze(&buffer);
                    if section > 0 {
                        if !text.is_empty() {
                            read.sections.push((label.take(), text));
                        }
                    } else {
                        read.title = text;
                    }
                    reading = 0;
                }
                if section == depth {
                    section = 0;
                }
                if article == depth {
                    article = 0;
                }
                depth = depth.saturating_sub(1);
            }
        }
        Ok(())
    })?;
    if id_of(record).is_none() {
        return Err("the record has no PMID".to_owned());
    }
    if titles != 1 {
        return Err(format!("the record has {titles} titles"));
    }
    Ok(read)
}

/// White space as one space, none at the ends.
fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Where a record stands: stream, then byte of the unpacked stream.
pub(in crate::corpus) type Position = (Stream, u64);

/// For each PMID that occurs more than once or was deleted, which record is meant.
///
/// Memory: one bit a PMID that occurs, and about 40 bytes for each that was revised or deleted.
#[derive(Debug, Default)]
pub(in crate::corpus) struct Meant {
    /// PMIDs seen, 64 a word.
    seen: BTreeMap<u32, Box<[u64; WORDS]>>,
    /// The version that is meant and where; `None` where it was deleted.
    decided: BTreeMap<u32, (u16, Option<Position>)>,
}

const WORDS: usize = 64;

/// Why a record is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::corpus) enum Passed {
    Superseded,
    Deleted,
}

impl Meant {
    /// Looks through all files, several at once; broken records are left for the reading proper.
    pub(in crate::corpus) fn find(
        sources: &Sources,
        sizes: Sizes,
        threads: usize,
    ) -> Result<Self, DataError> {
        let count = sources.files.len();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let state = Mutex::new(Merging::default());
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, count.max(1)) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= count {
                            break;
                        }
                        let notes = notes_of(sources, number, sizes);
                        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                        state.waiting.insert(number, notes);
                        state.merge();
                    }
                });
            }
        });
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failed {
            Some(error) => Err(error),
            None => Ok(state.meant),
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Record(pmid, version, position) => {
                let page = self
                    .seen
                    .entry(pmid >> 12)
                    .or_insert_with(|| Box::new([0; WORDS]));
                let word = &mut page[(pmid >> 6) as usize & (WORDS - 1)];
                let bit = 1 << (pmid & 63);
                let is_new = *word & bit == 0;
                *word |= bit;
                match self.decided.get_mut(&pmid) {
                    // A record deleted before comes again, or a version no older than the last.
                    Some(decided) if decided.1.is_none() || version >= decided.0 => {
                        *decided = (version, Some(position));
                    }
                    Some(_) => {}
                    None if is_new && version == 1 => {}
                    None => {
                        self.decided.insert(pmid, (version, Some(position)));
                    }
                }
            }
            Note::Deleted(pmid, version) => {
                let decided = self.decided.entry(pmid).or_insert((version, None));
                if version >= decided.0 {
                    *decided = (version, None);
                }
            }
        }
    }

    /// Whether the record of a PMID at a place is not the one meant, and why.
    pub(in crate::corpus) fn passes(&self, pmid: u32, position: Position) -> Option<Passed> {
        match self.decided.get(&pmid)?.1 {
            Some(meant) if meant == position => None,
            Some(_) => Some(Passed::Superseded),
            None => Some(Passed::Deleted),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Note {
    Record(u32, u16, Position),
    Deleted(u32, u16),
}

/// Notes of files that are read at the same time, put together in the files' order.
#[derive(Default)]
struct Merging {
    meant: Meant,
    next: usize,
    waiting: BTreeMap<usize, Result<Vec<Note>, DataError>>,
    failed: Option<DataError>,
}

impl Merging {
    fn merge(&mut self) {
        while let Some(notes) = self.waiting.remove(&self.next) {
            self.next += 1;
            match notes {
                Ok(notes) => notes.into_iter().for_each(|note| self.meant.note(note)),
                Err(error) => self.failed = self.failed.take().or(Some(error)),
            }
        }
    }
}

fn notes_of(sources: &Sources, number: usize, sizes: Sizes) -> Result<Vec<Note>, DataError> {
    let mut notes = Vec::new();
    each_piece(
        sources,
        number..number + 1,
        Format::PubmedXml,
        sizes,
        &Arc::default(),
        &mut |piece: Piece| {
            for item in &piece.items {
                match item {
                    Item::Record(range) => {
                        if let Some((pmid, version)) = id_of(&piece.bytes[range.clone()]) {
                            let position = (piece.stream, piece.offset + range.start as u64);
                            notes.push(Note::Record(pmid, version, position));
                        }
                    }
                    Item::Deleted(range) => {
                        let ids = ids(&piece.bytes[range.clone()]).into_iter();
                        notes.extend(ids.map(|(pmid, version)| Note::Deleted(pmid, version)));
                    }
                    Item::Unended(_) | Item::TooLarge(_) => {}
                }
            }
            Next::Member
        },
    )?;
    Ok(notes)
}
