//! BERT's tokenization, basic tokenizer and WordPiece in one pass, as the ELECTRA authors' program does it (spec B).
//!
//! Knows no files. [`WordPiece`] is made once from a vocabulary and shared; each thread has an [`Encoder`].

mod encode;
mod scan;
mod trie;
pub(crate) mod unicode;

pub use encode::{Encoder, Piece, Splitter};
pub use unicode::{composed, decomposed, is_word};

use trie::Trie;

use crate::vocabulary::Vocabulary;

/// How text becomes words. The defaults are those of ELECTRA's pre-training (spec B.1, B.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lower-case, with all of Unicode's rules.
    pub lower_case: bool,
    /// Decompose (NFD) and delete what is of category Mn.
    pub strip_accents: bool,
    /// Longer words, in characters after the above, become `[UNK]`: 200 in ELECTRA's program, 100 in Hugging Face's.
    pub max_word_chars: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lower_case: true,
            strip_accents: true,
            max_word_chars: 200,
        }
    }
}

/// Mark of an entry that goes on inside a word.
pub const CONTINUATION: &str = "##";

/// A vocabulary compiled for greedy longest-match-first search.
#[derive(Clone, Debug)]
pub struct WordPiece {
    settings: Settings,
    starts: Trie,
    continuations: Trie,
    unknown: u32,
    /// Bytes of each entry without its mark.
    lengths: Vec<u32>,
    /// Ids of one-character words.
    punctuation: [u32; 128],
}

impl WordPiece {
    /// Compiles a vocabulary. Its empty entries keep their ids and are never found.
    #[must_use]
    pub fn new(vocabulary: &Vocabulary, settings: Settings) -> Self {
        let entries = || (vocabulary.entries().zip(0_u32..)).filter(|(entry, _)| !entry.is_empty());
        let inner = |entry: &str| {
            let rest = entry.strip_prefix(CONTINUATION)?;
            (!rest.is_empty()).then(|| rest.to_owned())
        };
        let inside: Vec<(String, u32)> = entries()
            .filter_map(|(entry, id)| Some((inner(entry)?, id)))
            .collect();
        let starts = Trie::new(entries().map(|(entry, id)| (entry.as_bytes(), id)));
        let unknown = vocabulary.specials().unknown;
        let mut punctuation = [unknown; 128];
        for (byte, id) in (0_u8..).zip(&mut punctuation) {
            if byte.is_ascii_punctuation()
                && let Some((found, _)) = starts.longest(&[byte])
            {
                *id = found;
            }
        }
        let length = |entry: &str| {
            let length = inner(entry).map_or(entry.len(), |rest| rest.len());
            u32::try_from(length).expect("an entry is shorter than 4 GiB")
        };
        Self {
            settings,
            continuations: Trie::new(inside.iter().map(|(rest, id)| (rest.as_bytes(), *id))),
            lengths: vocabulary.entries().map(length).collect(),
            starts,
            unknown,
            punctuation,
        }
    }

    /// The id of words that cannot be spelt.
    #[must_use]
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// How text becomes words.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The pieces of one word, appended to `ids`; `[UNK]` alone where a part of it has none. `n_chars` is the word's length.
    fn spell(&self, word: &[u8], n_chars: usize, ids: &mut Vec<u32>) {
        let before = ids.len();
        if n_chars <= self.settings.max_word_chars {
            let mut rest = word;
            let mut trie = &self.starts;
            while let Some((id, length)) = trie.longest(rest) {
                ids.push(id);
                rest = &rest[length..];
                trie = &self.continuations;
                if rest.is_empty() {
                    return;
                }
            }
        }
        ids.truncate(before);
        ids.push(self.unknown);
    }
}

#[cfg(test)]
mod tests;
