//! A sentence with tags to rows in which the first piece of each token has its label, and labels back to tags (spec E.3).
//! Knows nothing of chunks.

use super::{Featuriser, IGNORED, LabelNumbers, Row, too_short};
use crate::error::DataError;
use crate::example::Tagging;

/// What becomes of a sentence that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagsTooLong {
    /// It ends at the last piece that fits, as in the program of Hugging Face; tokens behind it are lost and counted.
    Truncate,
    /// It is cut into windows that share about so many pieces; each token has its label where it has most around it.
    Windows {
        /// Pieces that a window has in common with the one before, at most; whole tokens only.
        overlap: usize,
    },
}

/// How sentences become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggingOptions {
    /// Pieces of a row, `[CLS]` and `[SEP]` among them.
    pub max_length: usize,
    /// What becomes of longer ones.
    pub too_long: TagsTooLong,
    /// Of all positions: 0 in the program of Hugging Face, 1 in ELECTRA's own.
    pub segment: u8,
}

/// One row of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggingRow {
    /// What the model reads; offsets are in the token.
    pub row: Row,
    /// The token of each position, `None` at special entries.
    pub tokens: Vec<Option<usize>>,
    /// The number of the tag at the first piece of a token that is judged here, elsewhere [`IGNORED`].
    pub labels: Vec<i32>,
}

/// A sentence's rows and what they leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggingRows {
    /// At least one, even if no token has pieces.
    pub rows: Vec<TaggingRow>,
    /// Tokens without pieces, such as a lone control character: their labels are in no row.
    pub empty_tokens: usize,
    /// Tokens beyond the greatest length.
    pub lost_tokens: usize,
    /// Pieces that were left out, of tokens longer than a row or cut at its end.
    pub lost_pieces: usize,
}

impl Featuriser<'_> {
    /// The rows of a sentence; each token with pieces that is not counted as lost has its label in exactly one of them.
    ///
    /// # Errors
    /// A tag that is not in `labels`; a greatest length below 3.
    pub fn tagging(
        &mut self,
        sentence: &Tagging,
        labels: &LabelNumbers<'_>,
        options: &TaggingOptions,
    ) -> Result<TaggingRows, DataError> {
        if options.max_length < 3 {
            return Err(too_short(options.max_length, 3));
        }
        let budget = options.max_length - 2;
        let mut rows = TaggingRows::default();
        let mut tokens = Vec::with_capacity(sentence.tokens.len());
        for (number, (token, tag)) in sentence.tokens.iter().zip(&sentence.tags).enumerate() {
            let label = labels.number(tag)?;
            let mut pieces = self.encode(token);
            if pieces.is_empty() {
                rows.empty_tokens += 1;
                continue;
            }
            if matches!(options.too_long, TagsTooLong::Windows { .. }) && pieces.len() > budget {
                rows.lost_pieces += pieces.len() - budget;
                pieces.truncate(budget);
            }
            tokens.push(Token {
                number,
                label: i32::try_from(label).expect("few labels"),
                pieces,
            });
        }
        let windows = match options.too_long {
            TagsTooLong::Truncate => {
                let kept = truncate(&mut tokens, budget, &mut rows);
                vec![(0..kept, 0..kept)]
            }
            TagsTooLong::Windows { overlap } => windows(&tokens, budget, overlap),
        };
        for (window, judged) in windows {
            let mut row = TaggingRow::default();
            row.push(self.specials.start, options.segment, None, None, IGNORED);
            for (at, token) in tokens[window.clone()].iter().enumerate() {
                let is_judged = judged.contains(&(window.start + at));
                for (nth, (id, range)) in token.pieces.iter().enumerate() {
                    let label = if is_judged && nth == 0 {
                        token.label
                    } else {
                        IGNORED
                    };
                    row.push(
                        *id,
                        options.segment,
                        Some(*range),
                        Some(token.number),
                        label,
                    );
                }
            }
            row.push(
                self.specials.separator,
                options.segment,
                None,
                None,
                IGNORED,
            );
            rows.rows.push(row);
        }
        Ok(rows)
    }
}

impl TaggingRow {
    fn push(
        &mut self,
        id: u32,
        segment: u8,
        offset: Option<(usize, usize)>,
        token: Option<usize>,
        label: i32,
    ) {
        self.row.push(id, segment, offset);
        self.tokens.push(token);
        self.labels.push(label);
    }
}

struct Token {
    number: usize,
    label: i32,
    pieces: Vec<(u32, (usize, usize))>,
}

/// Cuts behind `budget` pieces, inside a token if need be; the number of tokens left.
fn truncate(tokens: &mut Vec<Token>, budget: usize, rows: &mut TaggingRows) -> usize {
    let mut room = budget;
    let mut kept = 0;
    for token in tokens.iter_mut() {
        let over = token.pieces.len().saturating_sub(room);
        rows.lost_pieces += over;
        token.pieces.truncate(room);
        room -= token.pieces.len();
        match token.pieces.is_empty() {
            true => rows.lost_tokens += 1,
            false => kept += 1,
        }
    }
    tokens.truncate(kept);
    kept
}

type Stretch = std::ops::Range<usize>;

/// Windows of whole tokens, each with the tokens that are judged in it: those with most pieces on their poorer side,
/// in the earlier of two alike. Together they judge each token once.
fn windows(tokens: &[Token], budget: usize, overlap: usize) -> Vec<(Stretch, Stretch)> {
    // Pieces before each token, and all.
    let mut before = vec![0];
    before.extend(tokens.iter().scan(0, |sum, token| {
        *sum += token.pieces.len();
        Some(*sum)
    }));
    let mut found: Vec<Stretch> = Vec::new();
    let mut start = 0;
    loop {
        let end = before.partition_point(|n| *n <= before[start] + budget) - 1;
        found.push(start..end);
        if end == tokens.len() {
            break;
        }
        // Goes back by whole tokens, and forward by at least one.
        let back = before.partition_point(|n| *n + overlap < before[end]);
        start = back.clamp(start + 1, end);
    }
    let poorer = |window: &Stretch, token: usize| {
        let left = before[token] - before[window.start];
        left.min(before[window.end] - before[token] - 1)
    };
    let mut from = 0;
    let mut judged = Vec::with_capacity(found.len());
    for (i, window) in found.iter().enumerate() {
        let to = match found.get(i + 1) {
            Some(next) => (next.start.max(from)..window.end)
                .find(|token| poorer(next, *token) > poorer(window, *token))
                .unwrap_or(window.end),
            None => window.end,
        };
        judged.push((window.clone(), from..to));
        from = to;
    }
    judged
}

/// What is said of each token, such as the number of its tag, from what is said of each position of each row; `None` for
/// tokens that no row judges: write `O` there.
#[must_use]
pub fn tags_of<T: Clone>(
    rows: &TaggingRows,
    predicted: &[Vec<T>],
    n_tokens: usize,
) -> Vec<Option<T>> {
    let mut tags = vec![None; n_tokens];
    for (row, predicted) in rows.rows.iter().zip(predicted) {
        for ((label, token), number) in row.labels.iter().zip(&row.tokens).zip(predicted) {
            if *label != IGNORED
                && let Some(token) = token
            {
                tags[*token] = Some(number.clone());
            }
        }
    }
    tags
}
