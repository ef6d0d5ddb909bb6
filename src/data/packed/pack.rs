//! From a text of sentences to files of packed examples: tokenized on all cores, built in the order of the text. Knows no stages.

use std::path::{Path, PathBuf};

use super::builder::{Builder, Built, Example, Overflow, SeededDraws};
use super::format::Header;
use super::write::{Order, Writer};
use crate::error::DataError;
use crate::texts::{Piece, Texts, in_order, is_blank};
use crate::vocabulary::Vocabulary;
use crate::wordpiece::{Encoder, WordPiece};

/// What decides the examples, beside text and vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How text becomes words.
    pub words: crate::wordpiece::Settings,
    /// Whether an empty line ends an example, as in the authors' program; else examples run over documents and only the
    /// end of the text ends one (spec section 0, decision 3).
    pub flush_documents: bool,
    /// What happens to pieces beyond an example's length.
    pub overflow: Overflow,
    /// Whether the order is random.
    pub shuffle: bool,
    /// Of the draws and of the order.
    pub seed: u64,
}

/// One file to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Positions of an example.
    pub length: u32,
    /// The file.
    pub path: PathBuf,
}

/// Counts of a whole text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of text, after decompression.
    pub bytes: u64,
    /// Lines that are not empty.
    pub lines: u64,
    /// Runs of such lines.
    pub documents: u64,
    /// Pieces of all lines.
    pub pieces: u64,
    /// Of them `[UNK]`.
    pub unknown: u64,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Of the text.
    pub counts: Counts,
    /// Of each target: what its builder did, and its file's header.
    pub targets: Vec<(Built, Header)>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the text read from disk.
    Read(u64),
    /// Bytes of ids written to the file of this length.
    Written(u32, u64),
}

/// Text for each file that is open at once in the shuffle: about this many bytes of it are in memory together.
const BUCKET_TEXT_BYTES: u64 = 64 << 20;

/// Buckets of the shuffle for a text of this size on disk; the result does not depend on it.
fn bucket_bits(size_bytes: u64) -> u32 {
    // Compressed text is some four times as large; files open at once stay below half the usual limit of 1024.
    let buckets = (size_bytes.saturating_mul(4) / BUCKET_TEXT_BYTES).clamp(1, 256);
    buckets.next_power_of_two().ilog2()
}

/// A piece's lines as ids.
struct Tokens {
    ids: Vec<u32>,
    /// Where each line ends in `ids`; [`BLANK`] for an empty one.
    ends: Vec<u32>,
    bytes: u64,
    unknown: u64,
    is_last: bool,
}

const BLANK: u32 = u32::MAX;

fn tokenize(encoder: &mut Encoder<'_>, unknown: u32, piece: &Piece) -> Result<Tokens, DataError> {
    let text = piece.text()?;
    let mut tokens = Tokens {
        ids: Vec::with_capacity(text.len() / 3),
        ends: Vec::with_capacity(text.len() / 64),
        bytes: text.len() as u64,
        unknown: 0,
        is_last: piece.is_last,
    };
    for line in text.lines() {
        if is_blank(line) {
            tokens.ends.push(BLANK);
        } else {
            encoder.ids(line, &mut tokens.ids);
            let end = u32::try_from(tokens.ids.len()).expect("a piece has fewer tokens than bytes");
            tokens.ends.push(end);
        }
    }
    tokens.unknown = tokens.ids.iter().filter(|id| **id == unknown).count() as u64;
    Ok(tokens)
}

/// Packs a text: a sentence a line, an empty line between documents; the end of a file is one too.
///
/// Every target is made in the same pass. `work` is a folder for the buckets of the shuffle. The files are a function of
/// text, vocabulary, settings and length, not of `threads`, nor, with [`Settings::flush_documents`], of how the text is
/// parted into files at the ends of documents.
///
/// # Errors
/// Text that is not UTF-8 or has lines without end, a text without a word, the file system's.
pub fn pack(
    texts: &Texts,
    vocabulary: &Vocabulary,
    settings: &Settings,
    targets: &[Target],
    threads: usize,
    work: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Packed, DataError> {
    let order = match settings.shuffle {
        true => Order::Shuffled {
            bucket_bits: bucket_bits(texts.size_bytes()?),
        },
        false => Order::AsBuilt,
    };
    let compiled = WordPiece::new(vocabulary, settings.words);
    let specials = vocabulary.specials();
    let mut makers = Vec::new();
    for target in targets {
        let draws = SeededDraws::new(settings.seed, target.length);
        let (start, separator) = (specials.start, specials.separator);
        let builder = Builder::new(draws, target.length, start, separator, settings.overflow);
        let folder = work.join(target.length.to_string());
        let writer = Writer::new(vocabulary, target.length, settings.seed, order, &folder)?;
        makers.push((builder, writer));
    }
    let mut counts = Counts::default();
    let mut is_inside = false;
    let worker = || {
        let mut encoder = Encoder::new(&compiled);
        let unknown = specials.unknown;
        move |piece: &Piece| tokenize(&mut encoder, unknown, piece)
    };
    in_order(texts, threads, &worker, &mut |tokens: Tokens, read| {
        counts.bytes += tokens.bytes;
        counts.pieces += tokens.ids.len() as u64;
        counts.unknown += tokens.unknown;
        for end in &tokens.ends {
            let is_blank = *end == BLANK;
            counts.lines += u64::from(!is_blank);
            counts.documents += u64::from(!is_blank && !is_inside);
            is_inside = !is_blank;
        }
        is_inside &= !tokens.is_last;
        for (builder, writer) in &mut makers {
            let mut emit = |example: Example<'_>| writer.add(example);
            let mut start = 0;
            for end in &tokens.ends {
                if *end == BLANK {
                    if settings.flush_documents {
                        builder.boundary(&mut emit)?;
                    }
                } else {
                    builder.sentence(&tokens.ids[start..*end as usize], &mut emit)?;
                    start = *end as usize;
                }
            }
            if tokens.is_last && settings.flush_documents {
                builder.boundary(&mut emit)?;
            }
        }
        progress(Step::Read(read));
        Ok(())
    })?;
    let mut packed = Packed {
        counts,
        targets: Vec::new(),
    };
    for ((mut builder, mut writer), target) in makers.into_iter().zip(targets) {
        builder.boundary(&mut |example| writer.add(example))?;
        let built = builder.built();
        if built.examples == 0 {
            return Err(DataError::mismatch(
                "the text holds no word",
                "give files with a sentence a line and an empty line between documents",
            ));
        }
        let mut written = |bytes| progress(Step::Written(target.length, bytes));
        packed
            .targets
            .push((built, writer.finish(&target.path, &mut written)?));
    }
    Ok(packed)
}
