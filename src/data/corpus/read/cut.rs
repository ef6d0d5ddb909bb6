//! Where a buffer may be cut so that no document is. Knows nothing of files.

use super::super::config::Format;

/// A cut: `end` bytes are whole documents, the `pass` bytes behind them are to be forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) end: usize,
    pub(super) pass: usize,
    /// What is forgotten is a line or record larger than a document may be.
    pub(super) lost: bool,
    /// The last document goes on behind the cut: it is larger than a document may be.
    pub(super) inside: bool,
}

/// Finds cuts in one stream.
pub(super) struct Cutter {
    format: Format,
    document: usize,
    /// Inside a line that is being forgotten.
    passing: bool,
}

impl Cutter {
    pub(super) fn new(format: Format, document: usize) -> Self {
        Self {
            format,
            document,
            passing: false,
        }
    }

    /// The next cut of `held`; nothing to take and nothing to pass means: more is needed. At the `last` call all goes.
    ///
    /// Documents and lines larger than allowed are dealt with as [`super::text`] does inside a piece, so that the size
    /// of pieces does not show.
    pub(super) fn cut(&mut self, held: &[u8], last: bool) -> Cut {
        if self.passing {
            let end = memchr::memchr(b'\n', held);
            self.passing = end.is_none() && !last;
            let pass = end.map_or(held.len(), |end| end + 1);
            // Nothing to report: the line was when it began. An empty buffer only waits.
            return Cut {
                pass,
                ..Cut::default()
            };
        }
        if last {
            return Cut {
                end: held.len(),
                ..Cut::default()
            };
        }
        let whole = match self.format {
            Format::Sentences | Format::Paragraphs => after_blank_line(held),
            Format::Lines | Format::JsonLines => after_line(held),
            // Its pieces follow records (`super::xml`), not lines.
            Format::PubmedXml => None,
        };
        if let Some(end) = whole {
            return Cut {
                end,
                ..Cut::default()
            };
        }
        let lead = match self.format {
            Format::Sentences | Format::Paragraphs => blank_lines(held, self.document),
            _ => 0,
        };
        let document = &held[lead..];
        if document.len() <= self.document {
            return Cut::default();
        }
        if let Some(end) = after_line(&document[..self.document]) {
            return Cut {
                end: lead + end,
                inside: true,
                ..Cut::default()
            };
        }
        let end = memchr::memchr(b'\n', document);
        self.passing = end.is_none();
        Cut {
            end: lead,
            pass: end.map_or(document.len(), |end| end + 1),
            lost: true,
            inside: false,
        }
    }
}

/// Past the last line feed.
fn after_line(held: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', held).map(|at| at + 1)
}

/// Past the last blank line.
fn after_blank_line(held: &[u8]) -> Option<usize> {
    let mut end = memchr::memrchr(b'\n', held)?;
    loop {
        let before = memchr::memrchr(b'\n', &held[..end]);
        let start = before.map_or(0, |at| at + 1);
        if super::text::is_blank(&held[start..end]) {
            return Some(end + 1);
        }
        end = before?;
    }
}

/// The length of the blank lines at the beginning.
fn blank_lines(held: &[u8], most: usize) -> usize {
    let mut at = 0;
    while let Some(length) = memchr::memchr(b'\n', &held[at..]) {
        if length >= most || !super::text::is_blank(&held[at..at + length]) {
            break;
        }
        at += length + 1;
    }
    at
}
