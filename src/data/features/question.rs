//! A question and its context to windows, as BERT's program for SQuAD and ELECTRA's do it (spec E.5). Knows no answers but
//! the first accepted one.

use super::{Featuriser, Row, too_short};
use crate::error::DataError;
use crate::example::Question;

/// How pairs become windows. The defaults are the paper's (Table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionOptions {
    /// Pieces of a row, `[CLS]` and two `[SEP]` among them.
    pub max_length: usize,
    /// Pieces from the start of a window to the next one's.
    pub stride: usize,
    /// Pieces of the question; the rest of it is left out.
    pub max_question: usize,
}

impl Default for QuestionOptions {
    fn default() -> Self {
        Self {
            max_length: 384,
            stride: 128,
            max_question: 64,
        }
    }
}

/// Why a pair has nothing to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// There is no accepted answer.
    NoAnswer,
    /// The answer does not stand in the words at its place, such as when it begins in white space.
    NotInWords,
    /// The context has no pieces where the answer stands.
    NoPieces,
}

/// One window of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionWindow {
    /// What the model reads; offsets are in the question (segment 0) and in the context (segment 1).
    pub row: Row,
    /// The first piece of the window among those of the context.
    pub start: usize,
    /// Pieces of the context in it.
    pub length: usize,
    /// Of each position: whether of all windows this one shows most on the poorer side of its piece.
    pub is_max_context: Vec<bool>,
    /// First and last position of the answer; (0, 0), `[CLS]`, where the window does not hold it.
    pub answer: (usize, usize),
    /// Whether the window holds the whole answer.
    pub has_answer: bool,
}

/// The windows of a pair and what is needed to read answers from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionRows {
    /// None where the context has no pieces.
    pub windows: Vec<QuestionWindow>,
    /// Pieces of the question in each window.
    pub question_length: usize,
    /// Pieces of the question left out.
    pub lost_question: usize,
    /// First and last piece of the answer among those of the context, or why there is none.
    pub answer: Result<(usize, usize), Unanswerable>,
    /// Characters of each word of the context.
    pub(super) words: Vec<(usize, usize)>,
    /// Id and word of each piece of the context.
    pub(super) pieces: Vec<(u32, usize)>,
}

impl QuestionRows {
    /// Whether an answer that is there lies in no window as a whole.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.answer.is_ok() && !self.windows.iter().any(|window| window.has_answer)
    }
}

/// What parts the words of a context: fewer characters than Unicode's white space.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{202f}')
}

impl Featuriser<'_> {
    /// The windows of a pair of question and context. The first accepted answer is the one learned.
    ///
    /// # Errors
    /// A greatest length that leaves the context no piece; a stride of 0.
    pub fn question(
        &mut self,
        pair: &Question,
        options: &QuestionOptions,
    ) -> Result<QuestionRows, DataError> {
        if options.stride == 0 {
            return Err(DataError::mismatch(
                "windows that do not move have no end",
                "set the stride to 1 or more, such as 128",
            ));
        }
        let mut question = self.encode(&pair.question);
        let lost_question = question.len().saturating_sub(options.max_question);
        question.truncate(options.max_question);
        if options.max_length < question.len() + 4 {
            return Err(too_short(options.max_length, question.len() + 4));
        }
        let budget = options.max_length - question.len() - 3;
        let characters: Vec<char> = pair.context.chars().collect();
        let words = words(&characters);
        let mut pieces = Vec::new();
        let mut ranges = Vec::new();
        // Pieces before each word, and all.
        let mut first_piece = Vec::with_capacity(words.len() + 1);
        for (number, (from, to)) in words.iter().enumerate() {
            first_piece.push(pieces.len());
            let word: String = characters[*from..*to].iter().collect();
            for (id, (start, end)) in self.encode(&word) {
                pieces.push((id, number));
                ranges.push((from + start, from + end));
            }
        }
        first_piece.push(pieces.len());
        let answer = self.answer(pair, &characters, &words, &pieces, &first_piece);
        let spans = spans(pieces.len(), budget, options.stride);
        let mut windows = Vec::with_capacity(spans.len());
        for (number, (start, length)) in spans.iter().copied().enumerate() {
            let mut row = Row::default();
            row.push(self.specials.start, 0, None);
            for (id, range) in &question {
                row.push(*id, 0, Some(*range));
            }
            row.push(self.specials.separator, 0, None);
            let offset = row.ids.len();
            let mut is_max_context = vec![false; offset];
            for at in start..start + length {
                row.push(pieces[at].0, 1, Some(ranges[at]));
                is_max_context.push(best_window(&spans, at) == number);
            }
            row.push(self.specials.separator, 1, None);
            is_max_context.push(false);
            let inside = answer
                .ok()
                .filter(|(from, to)| *from >= start && *to < start + length);
            windows.push(QuestionWindow {
                row,
                start,
                length,
                is_max_context,
                answer: inside.map_or((0, 0), |(from, to)| {
                    (from - start + offset, to - start + offset)
                }),
                has_answer: inside.is_some(),
            });
        }
        Ok(QuestionRows {
            windows,
            question_length: question.len(),
            lost_question,
            answer,
            words,
            pieces,
        })
    }

    /// The answer's pieces: of its words, then of the first shorter stretch that is spelt as the answer alone.
    fn answer(
        &mut self,
        pair: &Question,
        characters: &[char],
        words: &[(usize, usize)],
        pieces: &[(u32, usize)],
        first_piece: &[usize],
    ) -> Result<(usize, usize), Unanswerable> {
        let answer = pair.answers.first().ok_or(Unanswerable::NoAnswer)?;
        let length = answer.text.chars().count();
        let last = answer.start + length.max(1) - 1;
        // A space belongs to the word before it, as BERT's program maps characters.
        let word = |at: usize| {
            words
                .partition_point(|(from, _)| *from <= at)
                .checked_sub(1)
        };
        let (Some(from), Some(to)) = (word(answer.start), word(last)) else {
            return Err(Unanswerable::NotInWords);
        };
        let mut joined = String::new();
        for (i, (start, end)) in words[from..=to].iter().enumerate() {
            if i > 0 {
                joined.push(' ');
            }
            joined.extend(&characters[*start..*end]);
        }
        let cleaned: Vec<&str> = answer.text.split_whitespace().collect();
        if !joined.contains(&cleaned.join(" ")) {
            return Err(Unanswerable::NotInWords);
        }
        let (start, end) = (first_piece[from], first_piece[to + 1]);
        if start >= end {
            return Err(Unanswerable::NoPieces);
        }
        let wanted: Vec<u32> = self
            .encode(&answer.text)
            .iter()
            .map(|piece| piece.0)
            .collect();
        let ids: Vec<u32> = pieces[start..end].iter().map(|piece| piece.0).collect();
        if !wanted.is_empty()
            && let Some(at) = ids.windows(wanted.len()).position(|some| some == wanted)
        {
            return Ok((start + at, start + at + wanted.len() - 1));
        }
        Ok((start, end - 1))
    }
}

/// The words of a context, in characters.
fn words(characters: &[char]) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in characters.iter().enumerate() {
        match (start, is_space(*c)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| (from, characters.len())));
    words
}

/// Start and length of each window.
fn spans(n: usize, budget: usize, stride: usize) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = 0;
    while start < n {
        let length = (n - start).min(budget);
        spans.push((start, length));
        if start + length == n {
            break;
        }
        start += length.min(stride);
    }
    spans
}

/// The window in which a piece has most on its poorer side, a hundredth of the window's length added; the first of equals.
fn best_window(spans: &[(usize, usize)], piece: usize) -> usize {
    let mut best = (f64::NEG_INFINITY, 0);
    for (number, (start, length)) in spans.iter().copied().enumerate() {
        if piece < start || piece >= start + length {
            continue;
        }
        let poorer = (piece - start).min(start + length - 1 - piece);
        let score = poorer as f64 + 0.01 * length as f64;
        if score > best.0 {
            best = (score, number);
        }
    }
    best.1
}
