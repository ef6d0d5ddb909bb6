//! Words to pieces: spelt by the vocabulary, with a cache of short words. Knows no files and no threads.

use super::scan::{Fold, SHORT, Scanner, Sink};
use super::{Settings, WordPiece};

/// A piece and the bytes of the original text that it stands for.
///
/// Deleted characters inside a piece lie in its range; accents behind its last character do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: u32,
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// Words of more pieces are spelt each time.
const CACHED_PIECES: usize = 5;
/// log2 of the slots of the cache; 40 bytes each, so that it stays in a core's second-level cache.
const SLOT_BITS: u32 = 14;

#[derive(Clone, Copy)]
struct Slot {
    /// The word, padded with zeros; 0 for an empty slot.
    word: [u64; 2],
    ids: [u32; CACHED_PIECES],
    n: u32,
}

/// Encodes texts on one thread. Keeps its buffers and cache from text to text; answers do not depend on them.
pub struct Encoder<'a> {
    scanner: Scanner,
    speller: Speller<'a>,
}

struct Speller<'a> {
    pieces: &'a WordPiece,
    slots: Box<[Slot]>,
    folded: Vec<u8>,
}

impl std::fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl<'a> Encoder<'a> {
    /// An encoder with an empty cache.
    #[must_use]
    pub fn new(pieces: &'a WordPiece) -> Self {
        let empty = Slot {
            word: [0; 2],
            ids: [0; CACHED_PIECES],
            n: 0,
        };
        Self {
            scanner: Scanner::new(pieces.settings),
            speller: Speller {
                pieces,
                slots: vec![empty; 1 << SLOT_BITS].into_boxed_slice(),
                folded: Vec::new(),
            },
        }
    }

    /// Appends the ids of a text's pieces.
    pub fn ids(&mut self, text: &str, ids: &mut Vec<u32>) {
        let speller = &mut self.speller;
        self.scanner.scan(text, &mut ToIds { speller, ids });
    }

    /// Appends a text's pieces with their ranges.
    pub fn pieces(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        let speller = &mut self.speller;
        let ids = Vec::new();
        self.scanner.scan(
            text,
            &mut ToPieces {
                speller,
                ids,
                pieces,
            },
        );
    }
}

impl Speller<'_> {
    #[inline]
    fn plain(&mut self, fold: &Fold, short: [u8; SHORT], word: &[u8], ids: &mut Vec<u32>) {
        if word.len() <= SHORT {
            self.short_word(short, word.len(), ids);
        } else {
            self.folded.clear();
            (self.folded).extend(word.iter().map(|byte| fold[usize::from(*byte)]));
            self.pieces.spell(&self.folded, word.len(), ids);
        }
    }

    #[inline]
    fn short_word(&mut self, word: [u8; SHORT], length: usize, ids: &mut Vec<u32>) {
        let both = u128::from_le_bytes(word);
        let key = [both as u64, (both >> 64) as u64];
        // Odd constants (the golden ratio's, and xxHash's first prime); the upper bits are the mixed ones.
        let high = key[1].wrapping_mul(0x9e37_79b1_85eb_ca87).rotate_left(29);
        let mixed = (key[0] ^ high).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.slots[(mixed >> (u64::BITS - SLOT_BITS)) as usize];
        if slot.word == key {
            ids.extend_from_slice(&slot.ids[..slot.n as usize]);
            return;
        }
        let before = ids.len();
        self.pieces.spell(&word[..length], length, ids);
        let found = &ids[before..];
        if found.len() <= CACHED_PIECES {
            slot.word = key;
            slot.ids[..found.len()].copy_from_slice(found);
            slot.n = found.len() as u32;
        }
    }
}

struct ToIds<'s, 'a> {
    speller: &'s mut Speller<'a>,
    ids: &'s mut Vec<u32>,
}

impl Sink for ToIds<'_, '_> {
    const RANGES: bool = false;

    #[inline]
    fn plain(&mut self, fold: &Fold, short: [u8; SHORT], word: &[u8], _: usize) {
        self.speller.plain(fold, short, word, self.ids);
    }

    #[inline]
    fn punctuation(&mut self, byte: u8, _: usize) {
        self.ids
            .push(self.speller.pieces.punctuation[usize::from(byte)]);
    }

    fn word(&mut self, word: &[u8], n_chars: usize, _: &[(usize, usize)]) {
        self.speller.pieces.spell(word, n_chars, self.ids);
    }
}

struct ToPieces<'s, 'a> {
    speller: &'s mut Speller<'a>,
    /// Of one word.
    ids: Vec<u32>,
    pieces: &'s mut Vec<Piece>,
}

impl ToPieces<'_, '_> {
    /// The pieces of a word of `length` bytes whose ids are there; `range` maps its bytes to the text.
    fn place(&mut self, length: usize, range: impl Fn(usize, usize) -> (usize, usize)) {
        let of = self.speller.pieces;
        let mut at = 0;
        for id in self.ids.drain(..) {
            let end = match id == of.unknown {
                true => length,
                false => at + of.lengths[id as usize] as usize,
            };
            let (start, behind) = range(at, end);
            self.pieces.push(Piece {
                id,
                start,
                end: behind,
            });
            at = end;
        }
    }
}

impl Sink for ToPieces<'_, '_> {
    const RANGES: bool = true;

    fn plain(&mut self, fold: &Fold, short: [u8; SHORT], word: &[u8], start: usize) {
        self.speller.plain(fold, short, word, &mut self.ids);
        self.place(word.len(), |from, to| (start + from, start + to));
    }

    fn punctuation(&mut self, byte: u8, at: usize) {
        let id = self.speller.pieces.punctuation[usize::from(byte)];
        let (start, end) = (at, at + 1);
        self.pieces.push(Piece { id, start, end });
    }

    fn word(&mut self, word: &[u8], n_chars: usize, ranges: &[(usize, usize)]) {
        self.speller.pieces.spell(word, n_chars, &mut self.ids);
        // Marks may have changed places, so the ends are looked for.
        self.place(word.len(), |from, to| {
            let ranges = &ranges[from..to];
            let start = ranges.iter().map(|range| range.0).min().unwrap_or_default();
            let end = ranges.iter().map(|range| range.1).max().unwrap_or_default();
            (start, end)
        });
    }
}

/// Words without pieces: the basic tokenizer alone.
pub struct Splitter {
    scanner: Scanner,
    folded: Vec<u8>,
}

impl std::fmt::Debug for Splitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Splitter").finish_non_exhaustive()
    }
}

impl Splitter {
    /// A splitter; [`Settings::max_word_chars`] does not matter to it.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            scanner: Scanner::new(settings),
            folded: Vec::new(),
        }
    }

    /// Gives every word of a text, normalised, to `each`.
    pub fn words(&mut self, text: &str, each: &mut dyn FnMut(&str)) {
        let folded = &mut self.folded;
        self.scanner.scan(text, &mut ToWords { folded, each });
    }
}

struct ToWords<'s, 'f> {
    folded: &'s mut Vec<u8>,
    each: &'s mut (dyn FnMut(&str) + 'f),
}

impl ToWords<'_, '_> {
    fn give(&mut self, word: &[u8]) {
        (self.each)(std::str::from_utf8(word).expect("words are made of characters"));
    }
}

impl Sink for ToWords<'_, '_> {
    const RANGES: bool = false;

    fn plain(&mut self, fold: &Fold, short: [u8; SHORT], word: &[u8], _: usize) {
        match short.get(..word.len()) {
            Some(short) => self.give(short),
            None => {
                let mut folded = std::mem::take(self.folded);
                folded.clear();
                folded.extend(word.iter().map(|byte| fold[usize::from(*byte)]));
                self.give(&folded);
                *self.folded = folded;
            }
        }
    }

    fn punctuation(&mut self, byte: u8, _: usize) {
        self.give(&[byte]);
    }

    fn word(&mut self, word: &[u8], _: usize, _: &[(usize, usize)]) {
        self.give(word);
    }
}
