//! The file of packed examples, byte by byte: its header and its checks. Knows no builder and no file system.
//!
//! Version 1, little-endian. Four sections without gaps but for zeros up to the next multiple of 64:
//!
//! | section | bytes | what |
//! | --- | --- | --- |
//! | header | 256 | see [`Header`] and the table in `docs/examples.md` |
//! | starts | 8 (n + 1) | u64: index of each example's first id; the last is the number of ids |
//! | segments | 2 n | u16: index inside the example where the second segment begins, its length where there is none |
//! | ids | 2 or 4 a token | u16, or u32 where the vocabulary has more than 65,536 entries |

use crate::error::DataError;
use crate::vocabulary::Specials;

/// The first bytes of every file.
pub const MAGIC: [u8; 8] = *b"PIPEPACK";
/// The version this program writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 256;
/// Bytes of the header that its checksum covers.
pub(super) const CHECKED_BYTES: usize = 192;
const ALIGNMENT: u64 = 64;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of an id: 2 or 4.
    pub id_bytes: u32,
    /// Entries of the vocabulary; every id is below.
    pub vocabulary_size: u32,
    /// Positions of an example: its length is at most this.
    pub sequence_length: u32,
    /// Number of examples.
    pub n_examples: u64,
    /// Number of ids of all examples.
    pub n_tokens: u64,
    /// Ids of the special entries.
    pub specials: Specials,
    /// Seed of the draws and of the order.
    pub seed: u64,
    /// BLAKE3 of the vocabulary as `vocab.txt`.
    pub vocabulary_digest: [u8; 32],
    /// BLAKE3 of the section of ids.
    pub ids_digest: [u8; 32],
}

/// Where the sections lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) starts: u64,
    pub(super) segments: u64,
    pub(super) ids: u64,
    pub(super) end: u64,
}

impl Header {
    /// Bytes of an id for a vocabulary of this size.
    #[must_use]
    pub fn id_bytes_for(vocabulary_size: u32) -> u32 {
        if vocabulary_size <= 1 << 16 { 2 } else { 4 }
    }

    /// Where the sections lie; `None` where the counts are beyond all bounds.
    pub(super) fn layout(&self) -> Option<Layout> {
        let align = |at: u64| at.checked_next_multiple_of(ALIGNMENT);
        let starts = HEADER_BYTES as u64;
        let n_starts = self.n_examples.checked_add(1)?;
        let segments = align(starts.checked_add(n_starts.checked_mul(8)?)?)?;
        let ids = align(segments.checked_add(self.n_examples.checked_mul(2)?)?)?;
        let bytes = self.n_tokens.checked_mul(u64::from(self.id_bytes))?;
        let end = ids.checked_add(bytes)?;
        Some(Layout {
            starts,
            segments,
            ids,
            end,
        })
    }

    /// The header's bytes, without the checksum of the structure.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let layout = self.layout().expect("what was written has its size");
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        let small = |bytes: &mut Vec<u8>, values: &[u32]| {
            values
                .iter()
                .for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        };
        let large = |bytes: &mut Vec<u8>, values: &[u64]| {
            values
                .iter()
                .for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        };
        let fixed = [
            VERSION,
            self.id_bytes,
            self.vocabulary_size,
            self.sequence_length,
        ];
        small(&mut bytes, &fixed);
        large(&mut bytes, &[self.n_examples, self.n_tokens]);
        large(
            &mut bytes,
            &[layout.starts, layout.segments, layout.ids, layout.end],
        );
        let s = self.specials;
        small(
            &mut bytes,
            &[s.padding, s.unknown, s.start, s.separator, s.mask, 0],
        );
        large(&mut bytes, &[self.seed, 0, 0, 0]);
        bytes.extend_from_slice(&self.vocabulary_digest);
        bytes.extend_from_slice(&self.ids_digest);
        debug_assert_eq!(bytes.len(), CHECKED_BYTES);
        bytes.resize(HEADER_BYTES, 0);
        bytes.try_into().expect("the size it was given")
    }

    /// Reads a header and says where the sections lie; `size` is the file's.
    pub(super) fn decode(bytes: &[u8], size: u64, file: &str) -> Result<(Self, Layout), DataError> {
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(DataError::mismatch(
                format!("`{file}` is no file of packed examples"),
                "give the output of a `pack` stage",
            ));
        }
        let small =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let large =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let digest = |at: usize| -> [u8; 32] { bytes[at..at + 32].try_into().expect("32 bytes") };
        if small(8) != VERSION {
            return Err(DataError::mismatch(
                format!(
                    "`{file}` has version {} of the format, this program knows {VERSION}",
                    small(8)
                ),
                "pack the examples again",
            ));
        }
        let header = Self {
            id_bytes: small(12),
            vocabulary_size: small(16),
            sequence_length: small(20),
            n_examples: large(24),
            n_tokens: large(32),
            specials: Specials {
                padding: small(72),
                unknown: small(76),
                start: small(80),
                separator: small(84),
                mask: small(88),
            },
            seed: large(96),
            vocabulary_digest: digest(128),
            ids_digest: digest(160),
        };
        let layout = header.layout();
        let stated = Layout {
            starts: large(40),
            segments: large(48),
            ids: large(56),
            end: large(64),
        };
        let s = header.specials;
        let specials = [s.padding, s.unknown, s.start, s.separator, s.mask];
        let fault = if header.id_bytes != Self::id_bytes_for(header.vocabulary_size) {
            Some("the width of its ids does not fit its vocabulary")
        } else if header.sequence_length == 0 || header.sequence_length > u32::from(u16::MAX) {
            Some("its sequence length is out of bounds")
        } else if specials.iter().any(|id| *id >= header.vocabulary_size) {
            Some("a special id is not below the vocabulary's size")
        } else if layout != Some(stated) {
            Some("its sections do not lie where its counts put them")
        } else if stated.end != size {
            Some("its size is not the one its header states")
        } else {
            None
        };
        match fault {
            Some(fault) => Err(damaged(file, fault)),
            None => Ok((header, stated)),
        }
    }
}

pub(super) fn damaged(file: &str, fault: &str) -> DataError {
    DataError::mismatch(
        format!("`{file}` is damaged: {fault}"),
        "remove it, so that it is packed again",
    )
}

/// The checksum of the structure: the header up to it, then the sections of starts and segments with their padding.
pub(super) fn structure_digest(header: &[u8], sections: &[u8]) -> [u8; 32] {
    read_structure_digest(header, sections).expect("bytes in memory are read")
}

/// The same over sections that are read.
pub(super) fn read_structure_digest(
    header: &[u8],
    sections: impl std::io::Read,
) -> std::io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header[..CHECKED_BYTES]);
    hasher.update_reader(sections)?;
    Ok(*hasher.finalize().as_bytes())
}

/// Makes the checksum of the structure of any bytes right, so that a fuzzer gets past it. Never panics.
pub fn fuzz_seal(bytes: &mut [u8]) {
    let Some(at) = bytes.get(56..64) else { return };
    let ids = u64::from_le_bytes(at.try_into().expect("eight bytes"));
    let Ok(ids) = usize::try_from(ids) else {
        return;
    };
    if let Some(sections) = bytes.get(HEADER_BYTES..ids) {
        let digest = structure_digest(&bytes[..HEADER_BYTES], sections);
        bytes[CHECKED_BYTES..CHECKED_BYTES + 32].copy_from_slice(&digest);
    }
}
