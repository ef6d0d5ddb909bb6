//! Canonical examples and a vocabulary to what a model reads, and its answers back to tags and texts (spec E.3 to E.5).
//! Knows no files, no batches and no devices.
//!
//! Each example is made into rows on its own, so that a file of any size goes through one example at a time. Rows are
//! not padded: a batch may be packed, and who pads does so with `[PAD]`, segment 0.

mod answers;
mod classification;
mod question;
mod tagging;

pub use answers::{Candidate, Decoding, Stretch, final_text, n_best, n_best_of};
pub use classification::{ClassificationOptions, Encoded, TooLong, label_vector};
pub use question::{QuestionOptions, QuestionRows, QuestionWindow, Unanswerable};
pub use tagging::{TaggingOptions, TaggingRow, TaggingRows, TagsTooLong, tags_of};

use crate::error::DataError;
use crate::labels::LabelSet;
use crate::vocabulary::{Specials, Vocabulary};
use crate::wordpiece::{Encoder, Piece, Settings, Splitter, WordPiece};

/// The label of a position that is not learned: Hugging Face's and PyTorch's number for it.
pub const IGNORED: i32 = -100;

/// What a model reads, a number a position; all lists are as long as `ids`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Pieces between `[CLS]` and `[SEP]`.
    pub ids: Vec<u32>,
    /// 0 or 1.
    pub segments: Vec<u8>,
    /// The characters of its text, `start..end`, that a piece stands for; `None` at special entries. For tagging the
    /// text is the token.
    pub offsets: Vec<Option<(usize, usize)>>,
}

impl Row {
    fn push(&mut self, id: u32, segment: u8, offset: Option<(usize, usize)>) {
        self.ids.push(id);
        self.segments.push(segment);
        self.offsets.push(offset);
    }
}

/// Makes rows on one thread. Keeps buffers from example to example; answers do not depend on them.
#[derive(Debug)]
pub struct Featuriser<'a> {
    encoder: Encoder<'a>,
    splitter: Splitter,
    vocabulary: &'a Vocabulary,
    specials: Specials,
    pieces: Vec<Piece>,
}

impl<'a> Featuriser<'a> {
    /// From a vocabulary and the same one compiled.
    #[must_use]
    pub fn new(vocabulary: &'a Vocabulary, compiled: &'a WordPiece) -> Self {
        Self {
            encoder: Encoder::new(compiled),
            splitter: Splitter::new(compiled.settings()),
            vocabulary,
            specials: vocabulary.specials(),
            pieces: Vec::new(),
        }
    }

    /// How Hugging Face's tokenizer makes words for fine-tuning: longer words than 100 characters are unknown (spec B.2).
    #[must_use]
    pub fn settings() -> Settings {
        Settings {
            max_word_chars: 100,
            ..Settings::default()
        }
    }

    /// The pieces of a text with their ranges in characters.
    fn encode(&mut self, text: &str) -> Vec<(u32, (usize, usize))> {
        self.pieces.clear();
        self.encoder.pieces(text, &mut self.pieces);
        let range = |piece: &Piece| (piece.id, (piece.start, piece.end));
        if text.is_ascii() {
            return self.pieces.iter().map(range).collect();
        }
        // Character number by byte; pieces of one character may share a range, so it is looked up, not walked.
        let mut number = vec![0; text.len() + 1];
        let mut n = 0;
        for (at, slot) in number.iter_mut().enumerate() {
            *slot = n;
            n += usize::from(text.is_char_boundary(at));
        }
        let range = |piece: &Piece| (piece.id, (number[piece.start], number[piece.end]));
        self.pieces.iter().map(range).collect()
    }
}

/// Labels by their number in a [`LabelSet`].
#[derive(Clone, Debug)]
pub struct LabelNumbers<'a> {
    labels: &'a LabelSet,
}

impl<'a> LabelNumbers<'a> {
    /// Of the labels of a data set.
    #[must_use]
    pub fn new(labels: &'a LabelSet) -> Self {
        Self { labels }
    }

    /// The number of a label.
    ///
    /// # Errors
    /// When the data set has no such label.
    pub fn number(&self, label: &str) -> Result<usize, DataError> {
        let labels = &self.labels.labels;
        labels.iter().position(|one| one == label).ok_or_else(|| {
            DataError::mismatch(
                format!(
                    "the label `{}` is not in `labels.json`",
                    crate::error::excerpt(label)
                ),
                format!(
                    "labels are {}; give examples and labels of one stage",
                    crate::error::listed(labels.iter().map(String::as_str))
                ),
            )
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.labels.len()
    }

    /// Whether there is none, as in regression.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.labels.is_empty()
    }
}

/// A length that leaves no room for text.
fn too_short(max_length: usize, least: usize) -> DataError {
    DataError::mismatch(
        format!("rows of {max_length} pieces leave no room for text"),
        format!("set the greatest length to {least} or more"),
    )
}

#[cfg(test)]
mod tests;
