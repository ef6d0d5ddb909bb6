//! The lines of source texts that a message points at, laid out for miette: several files, long lines, odd characters.
//! Knows nothing of the message.
//!
//! miette draws from one text with byte offsets. Here that text is made of just the lines with labels: those of the
//! main label's file first, then the other files'. Lines that follow each other in a file touch and are drawn together.

use std::collections::BTreeMap;
use std::ops::Range;

use flow::diagnostic::{Diagnostic, Label};
use flow::source::{SourceId, Sources};
use miette::{LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Longest line that is shown whole; of a longer one, what stands around the labels.
const MAX_LINE_BYTES: usize = 320;
const BEFORE_LABEL_BYTES: usize = 60;

/// The lines a message points at.
#[derive(Debug, Default)]
pub(super) struct Excerpt {
    text: String,
    lines: Vec<ShownLine>,
    labels: Vec<ShownLabel>,
}

#[derive(Debug)]
struct ShownLine {
    source: SourceId,
    name: String,
    /// From 1.
    number: u32,
    /// Where it lies in the text, its newline included.
    range: Range<usize>,
}

#[derive(Debug)]
struct ShownLabel {
    range: Range<usize>,
    column: u32,
    text: String,
    primary: bool,
}

impl Excerpt {
    /// The lines of the labels whose texts are known; empty when there are none.
    pub(super) fn new(diagnostic: &Diagnostic, sources: &Sources) -> Self {
        let texts: Vec<_> = sources.iter().collect();
        let mut order: Vec<SourceId> = Vec::new();
        let mut by_line: BTreeMap<(usize, u32), Vec<(usize, &Label)>> = BTreeMap::new();
        for (index, label) in diagnostic.labels.iter().enumerate() {
            let id = label.span.source;
            if id.0 as usize >= texts.len() {
                continue;
            }
            let place = order
                .iter()
                .position(|known| *known == id)
                .unwrap_or_else(|| {
                    order.push(id);
                    order.len() - 1
                });
            by_line
                .entry((place, label.span.line))
                .or_default()
                .push((index, label));
        }
        let mut excerpt = Self::default();
        for ((place, number), labels) in by_line {
            let source = texts[order[place].0 as usize];
            excerpt.add_line(order[place], &source.name, &source.text, number, &labels);
        }
        excerpt
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn labels(&self) -> Vec<LabeledSpan> {
        self.labels
            .iter()
            .map(|label| {
                let text = Some(label.text.clone()).filter(|text| !text.is_empty());
                let span = SourceSpan::new(label.range.start.into(), label.range.len());
                if label.primary {
                    LabeledSpan::new_primary_with_span(text, span)
                } else {
                    LabeledSpan::new_with_span(text, span)
                }
            })
            .collect()
    }

    fn add_line(
        &mut self,
        source: SourceId,
        name: &str,
        text: &str,
        number: u32,
        labels: &[(usize, &Label)],
    ) {
        let anchor = floor_boundary(text, labels[0].1.span.offset as usize);
        let start = text[..anchor].rfind('\n').map_or(0, |at| at + 1);
        let end = text[anchor..]
            .find('\n')
            .map_or(text.len(), |at| anchor + at);
        let line = text[start..end].trim_end_matches('\r');
        let ranges: Vec<Range<usize>> = labels
            .iter()
            .map(|(_, label)| {
                let from = (label.span.offset as usize)
                    .saturating_sub(start)
                    .min(line.len());
                let to = (from + label.span.len as usize).min(line.trim_end().len().max(from));
                floor_boundary(line, from)..floor_boundary(line, to)
            })
            .collect();
        let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let window = if line.len() <= MAX_LINE_BYTES {
            0..line.len()
        } else {
            let from = floor_boundary(line, first.saturating_sub(BEFORE_LABEL_BYTES));
            from..floor_boundary(line, from + MAX_LINE_BYTES)
        };
        let base = self.text.len();
        let shown = |at: usize| {
            let at = at.clamp(window.start, window.end);
            base + printable(&line[window.start..at]).len()
        };
        for ((index, label), range) in labels.iter().zip(&ranges) {
            self.labels.push(ShownLabel {
                range: shown(range.start)..shown(range.end),
                column: label.span.column,
                text: printable(&label.text),
                primary: *index == 0,
            });
        }
        self.text.push_str(&printable(&line[window]));
        self.text.push('\n');
        self.lines.push(ShownLine {
            source,
            name: name.to_owned(),
            number,
            range: base..self.text.len(),
        });
    }

    fn line_at(&self, offset: usize) -> Option<usize> {
        self.lines
            .iter()
            .position(|line| line.range.contains(&offset))
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let first = self
            .line_at(span.offset())
            .ok_or(MietteError::OutOfBounds)?;
        let last = self
            .line_at(span.offset() + span.len())
            .ok_or(MietteError::OutOfBounds)?;
        let lines = &self.lines[first..=last];
        let follow = lines
            .windows(2)
            .all(|pair| pair[0].source == pair[1].source && pair[0].number + 1 == pair[1].number);
        if !follow {
            return Err(MietteError::OutOfBounds);
        }
        let range = lines[0].range.start..self.lines[last].range.end;
        let column = self
            .labels
            .iter()
            .find(|label| label.range.start == span.offset())
            .map_or(1, |label| label.column);
        Ok(Box::new(MietteSpanContents::new_named(
            lines[0].name.clone(),
            &self.text.as_bytes()[range.clone()],
            SourceSpan::new(range.start.into(), range.len()),
            lines[0].number.saturating_sub(1) as usize,
            column.saturating_sub(1) as usize,
            lines.len(),
        )))
    }
}

/// Control characters would move the cursor, and a byte-order mark would shift the marks; each gets a stand-in.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => '\t',
            '\u{feff}' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}
