//! Pieces to finished documents: what one worker does. Knows nothing of other pieces, files or shards.

use std::fmt::Write as _;

use super::config::{Format, Settings, Tokens};
use super::counts::Counts;
use super::read::xml::{self, Meant, Passed};
use super::read::{Piece, json, text};
use super::steps::overlap::HeldOut;
use super::steps::treebank::Rules;
use super::steps::{ascii, possessive, sentences, treebank};
use crate::error::Place;

/// What became of a document, as far as one worker can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    /// Nothing but white space, or nothing that passed the steps.
    Empty,
    TooShort,
    TooLong,
}

/// A document of [`Made::text`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Document {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) sentences: u64,
    pub(super) words: u64,
    /// Of the text before sentences were left out for their length.
    pub(super) hash: u64,
    pub(super) fate: Fate,
    /// Holds a sentence of a test set.
    pub(super) overlaps: bool,
}

/// A line or record that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) place: Place,
    pub(super) message: String,
}

/// What a worker made of a piece.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Sentences of all documents, each with a line feed.
    pub(super) text: Vec<u8>,
    pub(super) documents: Vec<Document>,
    pub(super) bad: Vec<Bad>,
    /// Of what no longer shows in `documents`.
    pub(super) counts: Counts,
    /// XML: records and lists of deletions seen.
    pub(super) records: u64,
}

/// A worker's tools and the document it is at.
pub(super) struct Maker<'a> {
    settings: &'a Settings,
    held: &'a HeldOut,
    meant: &'a Meant,
    made: Made,
    /// Where the document at hand began in `made.text`.
    start: usize,
    /// There was something in it that is not white space, whatever the steps left of it.
    begun: bool,
    sentences: u64,
    words: u64,
    overlaps: bool,
    /// Sentences of the document at hand to be left out for their length.
    left_out: Vec<(usize, usize)>,
    /// Texts on their way from step to step.
    lowered: String,
    narrowed: String,
    flat: String,
    scratch: Vec<u8>,
    paragraph: String,
}

impl<'a> Maker<'a> {
    pub(super) fn new(settings: &'a Settings, held: &'a HeldOut, meant: &'a Meant) -> Self {
        Self {
            settings,
            held,
            meant,
            made: Made::default(),
            start: 0,
            begun: false,
            sentences: 0,
            words: 0,
            overlaps: false,
            left_out: Vec::new(),
            lowered: String::new(),
            narrowed: String::new(),
            flat: String::new(),
            scratch: Vec::new(),
            paragraph: String::new(),
        }
    }

    /// Makes the documents of a piece.
    pub(super) fn make(&mut self, piece: &Piece) -> Made {
        self.made
            .text
            .reserve(piece.bytes.len() + piece.bytes.len() / 8);
        self.start = 0;
        self.made.counts.bytes_read = piece.length;
        let most = self.settings.max_document_bytes;
        match self.settings.format {
            Format::Sentences | Format::Paragraphs => {
                text::between_blank_lines(piece, most, &mut |found| self.take(piece, found));
            }
            Format::Lines => {
                text::line_by_line(piece, most, &mut |found| self.take(piece, found));
            }
            Format::JsonLines => {
                let mut number = piece.line;
                text::line_by_line(piece, most, &mut |found| match found {
                    text::Found::Line(line) => self.take_json(piece, &mut number, line),
                    found => self.take(piece, found),
                });
            }
            Format::PubmedXml => self.take_xml(piece),
        }
        if let Some(line) = piece.lost {
            self.bad(piece, line, text::too_large("line"));
        }
        std::mem::take(&mut self.made)
    }

    fn take(&mut self, piece: &Piece, found: text::Found<'_>) {
        match found {
            text::Found::Line(line) => match self.settings.format {
                Format::Sentences => self.part(line),
                Format::Paragraphs => {
                    if !self.paragraph.is_empty() {
                        self.paragraph.push(' ');
                    }
                    self.paragraph.push_str(line);
                }
                _ => self.part(line),
            },
            text::Found::End => self.end_paragraph(),
            text::Found::Cut => {
                self.made.counts.cut_documents += 1;
                self.end_paragraph();
            }
            text::Found::Bad(line, message) => self.bad(piece, line, message),
        }
    }

    fn end_paragraph(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        if !paragraph.is_empty() {
            self.part(&paragraph);
            self.paragraph = paragraph;
            self.paragraph.clear();
        }
        self.end();
    }

    fn take_json(&mut self, piece: &Piece, number: &mut u64, line: &str) {
        match json::texts(line, &self.settings.text_fields) {
            Ok(texts) => texts.iter().for_each(|text| self.part(text)),
            Err(message) => {
                // Lines are counted only where one is broken.
                let at = line.as_ptr() as usize - piece.bytes.as_ptr() as usize;
                *number = piece.line + lines(&piece.bytes[..at]) + 1;
                self.bad(piece, *number, message);
            }
        }
    }

    fn take_xml(&mut self, piece: &Piece) {
        // Lines are counted from one place to the next.
        let mut counted = (0, piece.line + 1);
        let mut line = |at: usize| {
            counted = (at, counted.1 + lines(&piece.bytes[counted.0..at]));
            counted.1
        };
        for item in &piece.items {
            match item {
                xml::Item::Record(range) => {
                    self.made.records += 1;
                    let record = &piece.bytes[range.clone()];
                    let position = (piece.stream, piece.offset + range.start as u64);
                    let passed =
                        xml::id_of(record).and_then(|(pmid, _)| self.meant.passes(pmid, position));
                    match passed {
                        Some(Passed::Superseded) => self.made.counts.superseded += 1,
                        Some(Passed::Deleted) => self.made.counts.deleted += 1,
                        None => match xml::read(record) {
                            Ok(record) => self.take_record(&record),
                            Err(message) => self.bad(piece, line(range.start), message),
                        },
                    }
                }
                xml::Item::Deleted(_) => self.made.records += 1,
                xml::Item::Unended(at) => {
                    let message = "the record or list of deletions has no end";
                    self.bad(piece, line(*at), message.to_owned());
                }
                xml::Item::TooLarge(at) => {
                    self.bad(piece, line(*at), text::too_large("record"));
                }
            }
        }
        if piece.last && !piece.closed {
            let message = "the file ends without `</PubmedArticleSet>` or `</MedlineCitationSet>`";
            self.bad(piece, line(piece.bytes.len()), message.to_owned());
        }
    }

    fn take_record(&mut self, record: &xml::Record) {
        if record.sections.is_empty() {
            self.made.counts.without_abstract += 1;
            if self.settings.abstracts_only {
                return;
            }
        }
        self.begun = true;
        if self.settings.titles {
            self.part(&record.title);
        }
        for (label, section) in &record.sections {
            match label {
                Some(label) if self.settings.section_labels && label != "UNLABELLED" => {
                    let mut labelled = String::with_capacity(label.len() + section.len() + 2);
                    let _ = write!(labelled, "{label}: {section}");
                    self.part(&labelled);
                }
                _ => self.part(section),
            }
        }
        self.end();
    }

    fn bad(&mut self, piece: &Piece, line: u64, message: String) {
        self.made.bad.push(Bad {
            place: Place {
                file: piece.name.to_string(),
                line,
                column: 0,
            },
            message,
        });
    }

    /// A text of the document at hand; no sentence reaches from one into the next.
    fn part(&mut self, text: &str) {
        self.begun = true;
        if self.settings.steps.split {
            sentences::split(text, &mut |sentence| self.sentence(sentence));
        } else {
            self.sentence(text);
        }
    }

    /// The steps, in their order.
    fn sentence(&mut self, sentence: &str) {
        let steps = self.settings.steps;
        self.overlaps = self.overlaps || self.held.contains(sentence.as_bytes(), &mut self.scratch);
        let mut text = sentence;
        if steps.lower_case {
            self.lowered.clear();
            if text.is_ascii() {
                self.lowered.push_str(text);
                self.lowered.make_ascii_lowercase();
            } else {
                self.lowered.push_str(&text.to_lowercase());
            }
            text = &self.lowered;
        }
        if steps.ascii && !text.is_ascii() {
            self.narrowed.clear();
            ascii::to_ascii(text, &mut self.narrowed);
            text = &self.narrowed;
        }
        // A line's end inside a JSON text or a tag is a space, before any rule sees it (spec A.1, 2).
        if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
            self.flat.clear();
            one_line(text, &mut self.flat);
            text = &self.flat;
        }
        let from = self.made.text.len();
        let mut words = match steps.tokens {
            Tokens::Treebank => treebank::tokenize(text, Rules::Class, &mut self.made.text),
            Tokens::TreebankImported => {
                treebank::tokenize(text, Rules::Imported, &mut self.made.text)
            }
            Tokens::None => squeeze(text, &mut self.made.text),
        };
        if steps.possessives {
            words -= possessive::attach(&mut self.made.text, from).min(words);
        }
        if words == 0 {
            self.made.text.truncate(from);
            return;
        }
        self.made.text.push(b'\n');
        let (least, most) = self.settings.lengths.sentence;
        if words < least || words > most {
            self.left_out.push((from, self.made.text.len()));
            if words < least {
                self.made.counts.short_sentences += 1;
            } else {
                self.made.counts.long_sentences += 1;
            }
            return;
        }
        self.sentences += 1;
        self.words += words;
    }

    /// The document at hand is complete.
    fn end(&mut self) {
        let start = self.start;
        let text = &mut self.made.text;
        let hash = super::hash(&text[start..]);
        if !self.left_out.is_empty() {
            let mut end = start;
            let mut from = start;
            for (out, next) in self.left_out.drain(..).chain([(text.len(), text.len())]) {
                text.copy_within(from..out, end);
                end += out - from;
                from = next;
            }
            text.truncate(end);
        }
        let (least, most) = self.settings.lengths.document;
        let fate = match self.words {
            0 => Fate::Empty,
            words if words < least => Fate::TooShort,
            words if words > most => Fate::TooLong,
            _ => Fate::Kept,
        };
        // A blank line after a blank line is no document; one of which nothing is left is.
        if self.begun {
            self.made.documents.push(Document {
                start,
                end: text.len(),
                sentences: self.sentences,
                words: self.words,
                hash,
                fate,
                overlaps: self.overlaps,
            });
        }
        self.start = text.len();
        self.begun = false;
        self.sentences = 0;
        self.words = 0;
        self.overlaps = false;
    }
}

/// Appends `text`, runs of line feeds and carriage returns as one space.
fn one_line(text: &str, out: &mut String) {
    let mut parts = text.split(['\n', '\r']);
    out.push_str(parts.next().unwrap_or_default());
    let mut gap = false;
    for part in parts {
        gap = true;
        if !part.is_empty() {
            out.push(' ');
            out.push_str(part);
            gap = false;
        }
    }
    if gap {
        out.push(' ');
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Words as they stand, one space between them.
fn squeeze(text: &str, out: &mut Vec<u8>) -> u64 {
    let mut words = 0;
    for word in text.split_whitespace() {
        if words > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
        words += 1;
    }
    words
}
