//! Lines and paragraphs of a piece. Knows nothing of sentences or steps.

use super::Piece;
use crate::error::excerpt;

/// What a piece of text holds, in order. Texts are UTF-8, lines without their ends.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::corpus) enum Found<'a> {
    /// A line of the document at hand.
    Line(&'a str),
    /// The document ends; there may have been none.
    End,
    /// The document ends because it is too long, and goes on as another.
    Cut,
    /// A line that cannot be used: its number and what is wrong.
    Bad(u64, String),
}

/// Whether a line holds white space only.
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Documents between blank lines, of at most `most` bytes: a longer one is cut at the last line that still fits, and a
/// line that is longer by itself is bad.
pub(in crate::corpus) fn between_blank_lines(
    piece: &Piece,
    most: usize,
    found: &mut dyn FnMut(Found<'_>),
) {
    let mut start = None;
    let mut continues = piece.continues;
    each_line(piece, &mut |number, from, to, line| {
        let goes_on = std::mem::take(&mut continues);
        if to - from > most {
            if start.take().is_some() || goes_on {
                found(Found::Cut);
            }
            found(too_long(number));
            return;
        }
        if is_blank(line) {
            start = None;
            found(Found::End);
            return;
        }
        if goes_on {
            found(Found::Cut);
        }
        if start.is_some_and(|start| to - start > most) {
            found(Found::Cut);
            start = None;
        }
        start.get_or_insert(from);
        found(read(number, line));
    });
    if continues && piece.lost.is_some() {
        found(Found::Cut);
    }
    found(Found::End);
}

/// A document a line; blank lines are none.
pub(in crate::corpus) fn line_by_line(
    piece: &Piece,
    most: usize,
    found: &mut dyn FnMut(Found<'_>),
) {
    each_line(piece, &mut |number, from, to, line| {
        if to - from > most {
            found(too_long(number));
        } else if !is_blank(line) {
            found(read(number, line));
            found(Found::End);
        }
    });
}

/// Takes a line: its number, where it begins and where the next does, and its bytes without the end.
type Visit<'a> = dyn FnMut(u64, usize, usize, &[u8]) + 'a;

/// Each line with its number, from 1, and where it lies with its end.
fn each_line(piece: &Piece, visit: &mut Visit<'_>) {
    let bytes = &piece.bytes;
    let mut from = 0;
    for number in piece.line + 1.. {
        if from == bytes.len() {
            break;
        }
        let feed = memchr::memchr(b'\n', &bytes[from..]);
        let to = feed.map_or(bytes.len(), |length| from + length + 1);
        let line = &bytes[from..feed.map_or(to, |length| from + length)];
        visit(number, from, to, line.strip_suffix(b"\r").unwrap_or(line));
        from = to;
    }
}

fn read(number: u64, line: &[u8]) -> Found<'_> {
    match std::str::from_utf8(line) {
        Ok(line) => Found::Line(line),
        Err(error) => Found::Bad(number, no_utf8(line, &error)),
    }
}

/// Why a line is no UTF-8, with what stands before.
pub(super) fn no_utf8(line: &[u8], error: &std::str::Utf8Error) -> String {
    let good = error.valid_up_to();
    let before = String::from_utf8_lossy(&line[good.saturating_sub(30)..good]);
    format!(
        "byte 0x{:02x} is not UTF-8, after `{}`",
        line[good],
        excerpt(before.trim_start_matches('\u{fffd}'))
    )
}

fn too_long(number: u64) -> Found<'static> {
    Found::Bad(number, too_large("line"))
}

/// Why something was passed over.
pub(in crate::corpus) fn too_large(what: &str) -> String {
    format!("the {what} is larger than `max_document_bytes`")
}
