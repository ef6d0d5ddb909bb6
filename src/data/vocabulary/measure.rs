//! What a vocabulary does to a text, and which of its entries no text can reach. Knows no reports.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Vocabulary, bare};
use crate::error::DataError;
use crate::texts::{Piece as TextPiece, Texts, in_order};
use crate::wordpiece::unicode::{self, Class};
use crate::wordpiece::{CONTINUATION, Encoder, Settings, WordPiece};

/// Words kept as the longest splits.
const LONGEST: usize = 10;

/// Why no text leads to an entry (spec B.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    /// It is empty.
    Empty,
    /// It holds characters that are deleted, or white space.
    Control,
    /// It holds an ideograph beside something else; ideographs are words of their own.
    Ideograph,
    /// Lower-casing changes it.
    UpperCase,
    /// Decomposing and deleting accents changes it.
    Accent,
    /// It holds punctuation beside something else; punctuation characters are words of their own.
    Punctuation,
}

impl Unreachable {
    /// The word for it in numbers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Control => "control",
            Self::Ideograph => "ideograph",
            Self::UpperCase => "upper_case",
            Self::Accent => "accent",
            Self::Punctuation => "punctuation",
        }
    }
}

/// Why no text leads to an entry; `None` where one does. Reserved entries are not asked about.
#[must_use]
pub fn find_unreachable(entry: &str, settings: Settings) -> Option<Unreachable> {
    if entry.is_empty() {
        return Some(Unreachable::Empty);
    }
    let text = bare(entry);
    // A character that is a word of its own can begin a word, but not go on in one.
    let is_inside = text.len() < entry.len() || text.chars().nth(1).is_some();
    if text
        .chars()
        .any(|c| matches!(unicode::class(c), Class::Dropped | Class::Space))
    {
        return Some(Unreachable::Control);
    }
    if is_inside && text.chars().any(|c| unicode::class(c) == Class::Ideograph) {
        return Some(Unreachable::Ideograph);
    }
    if settings.lower_case && text.to_lowercase() != text {
        return Some(Unreachable::UpperCase);
    }
    if settings.strip_accents && !unicode::is_decomposed(text) {
        return Some(Unreachable::Accent);
    }
    (is_inside && text.chars().any(unicode::is_punctuation)).then_some(Unreachable::Punctuation)
}

/// The entries that no text leads to, by id, without reserved ones.
#[must_use]
pub fn unreachable(vocabulary: &Vocabulary, settings: Settings) -> Vec<(u32, Unreachable)> {
    let entries = vocabulary.entries().zip(0_u32..);
    entries
        .filter(|(entry, _)| !Vocabulary::is_reserved(entry))
        .filter_map(|(entry, id)| Some((id, find_unreachable(entry, settings)?)))
        .collect()
}

/// Number of entries, reserved ones left out, that two vocabularies share, of this one and of the other.
#[must_use]
pub fn overlap(vocabulary: &Vocabulary, other: &Vocabulary) -> [u64; 3] {
    let entries = |vocabulary: &Vocabulary| -> BTreeSet<String> {
        let entries = vocabulary.entries();
        let plain = entries.filter(|entry| !entry.is_empty() && !Vocabulary::is_reserved(entry));
        plain.map(str::to_owned).collect()
    };
    let (mine, theirs) = (entries(vocabulary), entries(other));
    let shared = mine.intersection(&theirs).count();
    [shared, mine.len(), theirs.len()].map(|n| n as u64)
}

/// What a vocabulary does to a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Words of the basic tokenizer.
    pub words: u64,
    /// Pieces they are spelt with, `[UNK]` among them.
    pub pieces: u64,
    /// Words that cannot be spelt.
    pub unknown: u64,
    /// Words that are one piece.
    pub whole: u64,
    /// Entries that occur.
    pub used: u64,
    /// The words, as the text has them, that need the most pieces; most first.
    pub longest: Vec<(String, u64)>,
}

struct Part {
    words: u64,
    pieces: u64,
    unknown: u64,
    whole: u64,
    used: Vec<bool>,
    longest: BTreeSet<(Reverse<u64>, String)>,
}

/// Spells a text and counts; see [`in_order`] about threads and memory. `progress` gets bytes read from disk.
///
/// # Errors
/// Text that is not UTF-8, the file system's.
pub fn fit(
    texts: &Texts,
    vocabulary: &Vocabulary,
    settings: Settings,
    threads: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Fit, DataError> {
    let compiled = WordPiece::new(vocabulary, settings);
    let is_inside: Vec<bool> = vocabulary
        .entries()
        .map(|entry| bare(entry).len() < entry.len() && entry.starts_with(CONTINUATION))
        .collect();
    let unknown = compiled.unknown();
    let worker = || {
        let (mut encoder, is_inside) = (Encoder::new(&compiled), &is_inside);
        move |piece: &TextPiece| measure(&mut encoder, is_inside, unknown, piece)
    };
    let mut fit = Fit::default();
    let mut used = vec![false; is_inside.len()];
    let mut longest = BTreeSet::new();
    in_order(texts, threads, &worker, &mut |mut part: Part, read| {
        fit.words += part.words;
        fit.pieces += part.pieces;
        fit.unknown += part.unknown;
        fit.whole += part.whole;
        used.iter_mut()
            .zip(part.used)
            .for_each(|(all, one)| *all |= one);
        longest.append(&mut part.longest);
        shorten(&mut longest);
        progress(read);
        Ok(())
    })?;
    fit.used = used.iter().filter(|is_used| **is_used).count() as u64;
    fit.longest = longest.into_iter().map(|(n, word)| (word, n.0)).collect();
    Ok(fit)
}

fn shorten(longest: &mut BTreeSet<(Reverse<u64>, String)>) {
    while longest.len() > LONGEST {
        longest.pop_last();
    }
}

fn measure(
    encoder: &mut Encoder<'_>,
    is_inside: &[bool],
    unknown: u32,
    piece: &TextPiece,
) -> Result<Part, DataError> {
    let mut part = Part {
        words: 0,
        pieces: 0,
        unknown: 0,
        whole: 0,
        used: vec![false; is_inside.len()],
        longest: BTreeSet::new(),
    };
    let (mut ids, mut pieces) = (Vec::new(), Vec::new());
    for line in piece.text()?.lines() {
        ids.clear();
        encoder.ids(line, &mut ids);
        let mut most = 0;
        let mut rest = ids.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let n = 1 + after
                .iter()
                .take_while(|id| is_inside[**id as usize])
                .count();
            part.words += 1;
            part.unknown += u64::from(*first == unknown);
            part.whole += u64::from(n == 1 && *first != unknown);
            most = most.max(n as u64);
            rest = &rest[n..];
        }
        part.pieces += ids.len() as u64;
        for id in &ids {
            part.used[*id as usize] = true;
        }
        let is_full = part.longest.len() == LONGEST;
        let least = part.longest.last().map_or(0, |(n, _)| n.0);
        if most < 2 || (is_full && most < least) {
            continue;
        }
        pieces.clear();
        encoder.pieces(line, &mut pieces);
        for word in pieces.chunk_by(|_, next| is_inside[next.id as usize]) {
            let n = word.len() as u64;
            if n > 1 && (!is_full || n >= least) {
                let range = word[0].start..word[word.len() - 1].end;
                part.longest.insert((Reverse(n), line[range].to_owned()));
            }
        }
        shorten(&mut part.longest);
    }
    Ok(part)
}

/// Unreachable entries by reason.
#[must_use]
pub fn by_reason(unreachable: &[(u32, Unreachable)]) -> BTreeMap<Unreachable, u64> {
    let mut counts = BTreeMap::new();
    for (_, reason) in unreachable {
        *counts.entry(*reason).or_default() += 1;
    }
    counts
}
