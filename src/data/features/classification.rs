//! A text, or two, with labels or a number to one row (spec E.4, G.2). Knows nothing of classes but their numbers.

use super::{Featuriser, LabelNumbers, Row, too_short};
use crate::error::DataError;
use crate::example::{MultiLabel, slice};

/// What becomes of a text that is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// Its end is cut off; of two texts the longer one loses its last piece until both fit.
    Truncate,
    /// The stretch that holds all of these texts stays, with as much on both sides as fits; where the stretch is too
    /// long, what stands around the first and the last of them stays and the middle goes. Of two texts as `Truncate`.
    KeepMarkers(Vec<String>),
}

/// How texts become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassificationOptions {
    /// Pieces of a row, `[CLS]` and `[SEP]` among them: 128 in the paper, 256 in BLURB's recipes.
    pub max_length: usize,
    /// What becomes of longer ones.
    pub too_long: TooLong,
}

/// A row, and what it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// What the model reads; offsets are in the text of the segment.
    pub row: Row,
    /// Pieces left out.
    pub lost_pieces: usize,
    /// Markers of which a piece was left out: the model cannot know what is asked.
    pub lost_markers: usize,
}

type Pieces = Vec<(u32, (usize, usize))>;

impl Featuriser<'_> {
    /// `[CLS] text [SEP]`, or of two texts `[CLS] first [SEP] second [SEP]`.
    ///
    /// # Errors
    /// No text or more than two; a greatest length that has no room for a piece of each.
    pub fn texts(
        &mut self,
        texts: &[impl AsRef<str>],
        options: &ClassificationOptions,
    ) -> Result<Encoded, DataError> {
        if !(1..=2).contains(&texts.len()) {
            return Err(DataError::mismatch(
                format!("a row holds one text or two, not {}", texts.len()),
                "give each example one text or two",
            ));
        }
        let special = texts.len() + 1;
        if options.max_length < special + texts.len() {
            return Err(too_short(options.max_length, special + texts.len()));
        }
        let budget = options.max_length - special;
        let mut parts: Vec<Pieces> = Vec::with_capacity(2);
        for text in texts {
            parts.push(self.encode(text.as_ref()));
        }
        let all: usize = parts.iter().map(Vec::len).sum();
        let markers = match &options.too_long {
            TooLong::KeepMarkers(markers) => find(texts[0].as_ref(), markers),
            TooLong::Truncate => Vec::new(),
        };
        let marked = |range: &(usize, usize), marker: &(usize, usize)| {
            range.0 < marker.1 && marker.0 < range.1
        };
        let of_marker = |pieces: &Pieces, marker: &(usize, usize)| {
            pieces
                .iter()
                .filter(|(_, range)| marked(range, marker))
                .count()
        };
        let wanted: Vec<usize> = markers
            .iter()
            .map(|one| of_marker(&parts[0], one))
            .collect();
        match parts.as_mut_slice() {
            [pieces] if pieces.len() > budget => {
                let is_marked = |(_, range): &(u32, (usize, usize))| {
                    markers.iter().any(|one| marked(range, one))
                };
                match (
                    pieces.iter().position(is_marked),
                    pieces.iter().rposition(is_marked),
                ) {
                    (Some(first), Some(last)) => {
                        let first_end = first + wanted[0].max(1);
                        let last_start = last + 1 - wanted[wanted.len() - 1].max(1);
                        *pieces = keep(pieces, first, first_end, last_start, last + 1, budget);
                    }
                    _ => pieces.truncate(budget),
                }
            }
            [a, b] => {
                while a.len() + b.len() > budget {
                    if a.len() > b.len() {
                        a.pop()
                    } else {
                        b.pop()
                    };
                }
            }
            _ => {}
        }
        let kept: usize = parts.iter().map(Vec::len).sum();
        let lost_markers = (markers.iter().zip(&wanted))
            .filter(|(marker, wanted)| of_marker(&parts[0], marker) < **wanted)
            .count();
        let mut row = Row::default();
        row.push(self.specials.start, 0, None);
        for (segment, pieces) in (0_u8..).zip(&parts) {
            for (id, range) in pieces {
                row.push(*id, segment, Some(*range));
            }
            row.push(self.specials.separator, segment, None);
        }
        Ok(Encoded {
            row,
            lost_pieces: all - kept,
            lost_markers,
        })
    }
}

/// Where markers stand in a text, in characters, in order.
fn find(text: &str, markers: &[String]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for marker in markers.iter().filter(|marker| !marker.is_empty()) {
        for (at, _) in text.match_indices(marker.as_str()) {
            let start = text[..at].chars().count();
            found.push((start, start + marker.chars().count()));
        }
    }
    found.sort_unstable();
    debug_assert!(found.iter().all(|(a, b)| slice(text, *a, *b).is_some()));
    found
}

/// `budget` of the pieces around `first..last`, whose first marker ends at `first_end` and last begins at `last_start`.
fn keep(
    pieces: &Pieces,
    first: usize,
    first_end: usize,
    last_start: usize,
    last: usize,
    budget: usize,
) -> Pieces {
    let n = pieces.len();
    // A window of `size` with `from..to` in its middle, inside the text.
    let around = |from: usize, to: usize, size: usize| {
        let start = from.saturating_sub(size.saturating_sub(to - from) / 2);
        let start = start.min(n - size.min(n));
        start..(start + size).min(n)
    };
    if last - first <= budget {
        return pieces[around(first, last, budget)].to_vec();
    }
    let left = around(first, first_end, budget - budget / 2);
    let right = around(last_start, last, budget / 2);
    // With room for hardly a piece the two may meet.
    let right = right.start.max(left.end)..right.end.max(left.end);
    [&pieces[left], &pieces[right]].concat()
}

/// 1 for each label that an example has, 0 for the others, in the order of `labels`.
///
/// # Errors
/// A label that is not in `labels`.
pub fn label_vector(
    example: &MultiLabel,
    labels: &LabelNumbers<'_>,
) -> Result<Vec<f32>, DataError> {
    let mut vector = vec![0.0; labels.len()];
    for label in &example.labels {
        vector[labels.number(label)?] = 1.0;
    }
    Ok(vector)
}
