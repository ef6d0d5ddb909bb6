//! Streams to pieces that end where documents end. Knows nothing of what is done to documents.
//!
//! A piece is what one worker takes: whole documents, so that where pieces end never shows in the result.

pub(super) mod cut;
pub(super) mod json;
pub(super) mod text;
pub(super) mod xml;

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::config::Format;
use super::open::{Next, Sources, damaged, each_text};
use crate::error::DataError;
use cut::{Cut, Cutter};

/// Where a stream comes from, in the order of reading: file, then member of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    pub(super) file: u32,
    pub(super) member: u32,
}

/// Whole documents of one stream, as bytes.
#[derive(Debug)]
pub(super) struct Piece {
    /// The stream's name.
    pub(super) name: Arc<str>,
    pub(super) stream: Stream,
    /// Place of the first byte in the unpacked stream.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) line: u64,
    pub(super) bytes: Vec<u8>,
    /// Bytes of the stream that end with this piece, those passed over among them.
    pub(super) length: u64,
    /// The document before goes on here: it is larger than a document may be.
    pub(super) continues: bool,
    /// Something too large to hold was passed over behind `bytes`: the line it began on, from 1.
    pub(super) lost: Option<u64>,
    /// XML: what stands in `bytes`.
    pub(super) items: Vec<xml::Item>,
    /// XML: the set's end tag came after the last of them.
    pub(super) closed: bool,
    /// Nothing follows in this stream.
    pub(super) last: bool,
}

/// How large pieces are and documents may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) piece: usize,
    pub(super) document: usize,
}

/// Hands the pieces of the files in `range`, in order, to `emit`, until it says [`Next::Stop`].
pub(super) fn each_piece(
    sources: &Sources,
    range: Range<usize>,
    format: Format,
    sizes: Sizes,
    read: &Arc<AtomicU64>,
    emit: &mut dyn FnMut(Piece) -> Next,
) -> Result<(), DataError> {
    for number in range {
        let file = &sources.files[number];
        let number = u32::try_from(number).expect("fewer than 2^32 files");
        let mut member = 0;
        let next = each_text(sources.open, file, read, &mut |name, text| {
            let stream = Stream {
                file: number,
                member,
            };
            member += 1;
            pieces_of(name, stream, text, format, sizes, emit)
        })?;
        if next == Next::Stop {
            break;
        }
    }
    Ok(())
}

fn pieces_of(
    name: &str,
    stream: Stream,
    text: &mut dyn Read,
    format: Format,
    sizes: Sizes,
    emit: &mut dyn FnMut(Piece) -> Next,
) -> Result<Next, DataError> {
    let name: Arc<str> = name.into();
    let mut cutter = Cutter::new(format, sizes.document);
    let mut scanner = xml::Scanner::new(sizes.document);
    let mut offset = 0_u64;
    let mut line = 0_u64;
    let mut held = Vec::new();
    let mut told = 0_u64;
    let mut continues = false;
    loop {
        let wanted = sizes.piece.max(1) as u64;
        held.reserve(sizes.piece);
        let got = Read::take(&mut *text, wanted)
            .read_to_end(&mut held)
            .map_err(|error| damaged(&name, &error))?;
        if offset == 0 && held.starts_with(b"\xef\xbb\xbf") {
            held.drain(..3);
            offset = 3;
        }
        let last = got == 0;
        loop {
            let mut items = Vec::new();
            let cut = match format {
                Format::PubmedXml => {
                    scanner.scan(&held, last);
                    let end;
                    (end, items) = scanner.take();
                    Cut {
                        end,
                        ..Cut::default()
                    }
                }
                _ => cutter.cut(&held, last),
            };
            let ends = last && held.is_empty();
            if cut == Cut::default() && !ends {
                break;
            }
            let rest = held.split_off(cut.end + cut.pass);
            let mut bytes = std::mem::replace(&mut held, rest);
            let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
            let length = bytes.len() as u64;
            let before = memchr::memchr_iter(b'\n', &bytes[..cut.end]).count() as u64;
            bytes.truncate(cut.end);
            offset += length;
            line += lines;
            let next = emit(Piece {
                name: name.clone(),
                stream,
                offset: offset - length,
                line: line - lines,
                bytes,
                length: offset - told,
                continues,
                lost: cut.lost.then_some(line - lines + before + 1),
                items,
                closed: scanner.is_closed(),
                last: last && held.is_empty(),
            });
            told = offset;
            continues = cut.inside;
            if next == Next::Stop {
                return Ok(Next::Stop);
            }
            if last && held.is_empty() {
                return Ok(Next::Member);
            }
        }
    }
}
