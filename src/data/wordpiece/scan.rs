//! One pass over a text: words found, lower-cased, decomposed and parted at punctuation. Knows no vocabulary.

use super::Settings;
use super::unicode::{self, Class};

/// Words of at most this many bytes come as one array too.
pub(super) const SHORT: usize = 16;

/// Where words go, in the order of the text.
pub(super) trait Sink {
    /// Whether ranges are wanted.
    const RANGES: bool;
    /// A word of ASCII letters and digits: its beginning as words hold it, padded with zeros, and its whole as the text has it.
    fn plain(&mut self, scanner: &Fold, short: [u8; SHORT], word: &[u8], start: usize);
    /// An ASCII punctuation character.
    fn punctuation(&mut self, byte: u8, at: usize);
    /// Any other word, normalised; `ranges` names for each of its bytes where it comes from, if wanted.
    fn word(&mut self, word: &[u8], n_chars: usize, ranges: &[(usize, usize)]);
}

/// A byte as words hold it (letters and digits, lower-cased where wanted); 0 for everything else.
pub(super) type Fold = [u8; 256];

/// A character after normalisation, and where it comes from.
#[derive(Clone, Copy)]
struct Origin {
    c: char,
    start: usize,
    end: usize,
}

/// Walks texts on one thread; keeps its buffers from text to text.
pub(super) struct Scanner {
    settings: Settings,
    fold: Fold,
    kept: Vec<Origin>,
    normal: Vec<Origin>,
    word: Vec<u8>,
    /// For each byte of `word` the range it comes from; filled only where ranges are wanted.
    ranges: Vec<(usize, usize)>,
}

impl Scanner {
    pub(super) fn new(settings: Settings) -> Self {
        let mut fold = [0; 256];
        for (byte, folded) in (0..=255_u8).zip(&mut fold) {
            if byte.is_ascii_alphanumeric() {
                *folded = match settings.lower_case {
                    true => byte.to_ascii_lowercase(),
                    false => byte,
                };
            }
        }
        Self {
            settings,
            fold,
            kept: Vec::new(),
            normal: Vec::new(),
            word: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Gives every word of a text to `sink`.
    #[inline]
    pub(super) fn scan<S: Sink>(&mut self, text: &str, sink: &mut S) {
        let bytes = text.as_bytes();
        let mut at = 0;
        // Where the run of characters without white space began: what a final sigma looks at.
        let mut chunk = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.fold[usize::from(byte)] != 0 {
                let start = at;
                let mut short = [0_u8; SHORT];
                while let Some(&byte) = bytes.get(at) {
                    let folded = self.fold[usize::from(byte)];
                    if folded == 0 {
                        break;
                    }
                    if let Some(place) = short.get_mut(at - start) {
                        *place = folded;
                    }
                    at += 1;
                }
                if bytes.get(at).is_none_or(|byte| is_boundary(*byte)) {
                    sink.plain(&self.fold, short, &bytes[start..at], start);
                } else {
                    at = self.mixed(text, chunk, start, sink);
                    chunk = at;
                }
            } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                at += 1;
                chunk = at;
            } else if byte.is_ascii_punctuation() {
                sink.punctuation(byte, at);
                at += 1;
            } else {
                at = self.mixed(text, chunk, at, sink);
                chunk = at;
            }
        }
    }

    /// Everything from `from` to the next white space, whatever it is; returns where that is.
    ///
    /// `chunk` is where the run began; between it and `from` lie whole words and punctuation, all ASCII, that are done.
    fn mixed<S: Sink>(&mut self, text: &str, chunk: usize, from: usize, sink: &mut S) -> usize {
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        let add = |kept: &mut Vec<Origin>, start: usize, c: char| {
            let end = start + c.len_utf8();
            kept.push(Origin { c, start, end });
        };
        let mut end = text.len();
        let mut has_context = false;
        for (at, c) in text[from..].char_indices() {
            let at = from + at;
            match unicode::class(c) {
                Class::Dropped => {}
                Class::Space => {
                    end = at + c.len_utf8();
                    break;
                }
                Class::Ideograph => {
                    self.token(&kept, from, sink);
                    kept.clear();
                    has_context = true;
                    add(&mut kept, at, c);
                    self.token(&kept, from, sink);
                    kept.clear();
                }
                Class::Kept => {
                    if c == 'Σ' && !has_context {
                        has_context = true;
                        let before = text[chunk..from].char_indices();
                        let mut whole = Vec::new();
                        before.for_each(|(i, c)| add(&mut whole, chunk + i, c));
                        kept.splice(0..0, whole);
                    }
                    add(&mut kept, at, c);
                }
            }
        }
        self.token(&kept, from, sink);
        self.kept = kept;
        end
    }

    /// One run of kept characters: lower-cased, decomposed, parted at punctuation. What starts before `from` is context only.
    fn token<S: Sink>(&mut self, kept: &[Origin], from: usize, sink: &mut S) {
        let mut normal = std::mem::take(&mut self.normal);
        normal.clear();
        self.normalise(kept, &mut normal);
        self.word.clear();
        self.ranges.clear();
        let mut n_chars = 0;
        for origin in normal.iter().filter(|origin| origin.start >= from) {
            let is_alone = unicode::is_punctuation(origin.c);
            if is_alone {
                self.finish_word(&mut n_chars, sink);
            }
            let mut utf8 = [0; 4];
            let utf8 = origin.c.encode_utf8(&mut utf8).as_bytes();
            self.word.extend_from_slice(utf8);
            if S::RANGES {
                let range = (origin.start, origin.end);
                self.ranges.extend(utf8.iter().map(|_| range));
            }
            n_chars += 1;
            if is_alone {
                self.finish_word(&mut n_chars, sink);
            }
        }
        self.finish_word(&mut n_chars, sink);
        self.normal = normal;
    }

    fn finish_word<S: Sink>(&mut self, n_chars: &mut usize, sink: &mut S) {
        if *n_chars > 0 {
            sink.word(&self.word, *n_chars, &self.ranges);
            self.word.clear();
            self.ranges.clear();
            *n_chars = 0;
        }
    }

    fn normalise(&self, kept: &[Origin], normal: &mut Vec<Origin>) {
        let settings = self.settings;
        let mut has_marks = false;
        let mut add = |c: char, from: &Origin| {
            let (start, end) = (from.start, from.end);
            if settings.strip_accents {
                unicode::decompose(c, |c| {
                    has_marks |= unicode::is_mark(c) || unicode::is_accent(c);
                    normal.push(Origin { c, start, end });
                });
            } else {
                normal.push(Origin { c, start, end });
            }
        };
        if settings.lower_case && kept.iter().any(|origin| origin.c == 'Σ') {
            // The one letter whose lower-case form depends on its neighbours.
            let token: String = kept.iter().map(|origin| origin.c).collect();
            let lower = token.to_lowercase();
            let mut lower = lower.chars();
            for origin in kept {
                for c in lower.by_ref().take(origin.c.to_lowercase().count()) {
                    add(c, origin);
                }
            }
        } else {
            for origin in kept {
                if unicode::is_plain(origin.c) || !settings.lower_case {
                    add(origin.c, origin);
                } else {
                    origin.c.to_lowercase().for_each(|c| add(c, origin));
                }
            }
        }
        if has_marks {
            order_marks(normal);
            normal.retain(|origin| !unicode::is_accent(origin.c));
        }
    }
}

/// Canonical ordering: marks between two characters that stay in place are sorted by class, equal ones kept in order.
fn order_marks(normal: &mut [Origin]) {
    let mut rest = normal;
    while let Some(from) = rest.iter().position(|origin| unicode::is_mark(origin.c)) {
        rest = &mut rest[from..];
        let n = (rest.iter().position(|origin| !unicode::is_mark(origin.c))).unwrap_or(rest.len());
        rest[..n].sort_by_key(|origin| unicode::combining_class(origin.c));
        rest = &mut rest[n..];
    }
}

/// Whether a byte behind letters ends the word for certain: ASCII that is neither dropped nor part of a word.
fn is_boundary(byte: u8) -> bool {
    byte.is_ascii_punctuation() || matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
