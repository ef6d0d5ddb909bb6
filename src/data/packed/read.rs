//! Packed examples read without copying; every number is checked before it is used. Knows no builder.

use std::path::Path;

use super::format::{CHECKED_BYTES, HEADER_BYTES, Header, Layout, damaged, structure_digest};
use super::map::{self, Mapped};
use crate::error::DataError;

/// A file of packed examples; `B` holds its bytes, by default a mapped file.
#[derive(Debug)]
pub struct PackedExamples<B = Mapped> {
    bytes: B,
    file: String,
    header: Header,
    layout: Layout,
}

/// Ids as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids<'a> {
    /// Of a vocabulary of at most 65,536 entries.
    Narrow(&'a [u16]),
    /// Of a larger one.
    Wide(&'a [u32]),
}

/// An example as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedExample<'a> {
    /// `[CLS] A [SEP]`, then `B [SEP]` where there is a second segment; no padding.
    pub ids: Ids<'a>,
    /// Index of the first id of B; the length where there is none.
    pub segment_b: u32,
}

impl Ids<'_> {
    /// Number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Narrow(ids) => ids.len(),
            Self::Wide(ids) => ids.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids one by one.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let (narrow, wide) = match self {
            Self::Narrow(ids) => (*ids, [].as_slice()),
            Self::Wide(ids) => ([].as_slice(), *ids),
        };
        let narrow = narrow.iter().map(|id| u32::from(*id));
        narrow.chain(wide.iter().copied())
    }
}

impl PackedExamples {
    /// Maps a file and checks its structure: header, checksum, lengths and segments. The ids themselves are not read:
    /// see [`PackedExamples::check_ids`].
    ///
    /// # Errors
    /// What is damaged.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        if fs_err::metadata(path)?.len() < HEADER_BYTES as u64 {
            // An empty file cannot be mapped.
            return Self::no_file_of_ours(&file);
        }
        Self::new(map::open(path)?, &file)
    }

    fn no_file_of_ours(file: &str) -> Result<Self, DataError> {
        let Err(error) = Header::decode(&[], 0, file) else {
            unreachable!("nothing is no header");
        };
        Err(error)
    }
}

impl<B: AsRef<[u8]>> PackedExamples<B> {
    /// Bytes as a file; they must be aligned to 8, as a map is. Checks as [`PackedExamples::open`] does.
    ///
    /// # Errors
    /// What is damaged.
    pub fn new(bytes: B, file: &str) -> Result<Self, DataError> {
        if cfg!(target_endian = "big") {
            return Err(DataError::mismatch(
                "packed examples are little-endian, this machine is not",
                "use a little-endian machine",
            ));
        }
        let all = bytes.as_ref();
        let (header, layout) = Header::decode(all, all.len() as u64, file)?;
        let examples = Self {
            bytes,
            file: file.to_owned(),
            header,
            layout,
        };
        examples.check_structure()?;
        Ok(examples)
    }

    fn check_structure(&self) -> Result<(), DataError> {
        let damaged = |fault: &str| Err(damaged(&self.file, fault));
        let all = self.bytes.as_ref();
        let sections = &all[HEADER_BYTES..self.layout.ids as usize];
        let digest = structure_digest(&all[..HEADER_BYTES], sections);
        if digest != all[CHECKED_BYTES..CHECKED_BYTES + 32] {
            return damaged("the checksum of its structure is wrong");
        }
        if all[CHECKED_BYTES + 32..HEADER_BYTES]
            .iter()
            .any(|byte| *byte != 0)
        {
            return damaged("its header does not end in zeros");
        }
        let (Some(starts), Some(segments)) = (self.find_starts(), self.find_segments()) else {
            return damaged("its bytes are not aligned");
        };
        if starts.first() != Some(&0) || starts.last() != Some(&self.header.n_tokens) {
            return damaged("its examples do not cover its ids");
        }
        let longest = u64::from(self.header.sequence_length);
        for (pair, segment) in starts.windows(2).zip(segments) {
            let Some(length) = pair[1].checked_sub(pair[0]) else {
                return damaged("an example ends before it begins");
            };
            if length == 0 || length > longest {
                return damaged("an example is empty or too long");
            }
            if *segment == 0 || u64::from(*segment) > length {
                return damaged("a second segment begins outside its example");
            }
        }
        Ok(())
    }

    fn find_starts(&self) -> Option<&[u64]> {
        let (from, n) = (
            self.layout.starts as usize,
            self.header.n_examples as usize + 1,
        );
        bytemuck::try_cast_slice(&self.bytes.as_ref()[from..from + 8 * n]).ok()
    }

    fn find_segments(&self) -> Option<&[u16]> {
        let (from, n) = (
            self.layout.segments as usize,
            self.header.n_examples as usize,
        );
        bytemuck::try_cast_slice(&self.bytes.as_ref()[from..from + 2 * n]).ok()
    }

    fn find_ids(&self) -> Option<Ids<'_>> {
        let bytes = &self.bytes.as_ref()[self.layout.ids as usize..];
        Some(match self.header.id_bytes {
            2 => Ids::Narrow(bytemuck::try_cast_slice(bytes).ok()?),
            _ => Ids::Wide(bytemuck::try_cast_slice(bytes).ok()?),
        })
    }

    /// Reads all ids and compares them with their checksum, the vocabulary's size and the frame of every example. A file
    /// that passes never names an embedding that is not there.
    ///
    /// # Errors
    /// What is damaged.
    pub fn check_ids(&self) -> Result<(), DataError> {
        let damaged = |fault: &str| Err(damaged(&self.file, fault));
        let bytes = &self.bytes.as_ref()[self.layout.ids as usize..];
        if *blake3::hash(bytes).as_bytes() != self.header.ids_digest {
            return damaged("the checksum of its ids is wrong");
        }
        let Some(ids) = self.find_ids() else {
            return damaged("its bytes are not aligned");
        };
        if ids.iter().any(|id| id >= self.header.vocabulary_size) {
            return damaged("an id is not below the vocabulary's size");
        }
        let specials = self.header.specials;
        for example in self.iter() {
            let mut ids = example.ids.iter();
            let first = ids.next();
            if first != Some(specials.start) || ids.last() != Some(specials.separator) {
                return damaged("an example is not framed by `[CLS]` and `[SEP]`");
            }
        }
        Ok(())
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of examples.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.header.n_examples
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An example by its place; `None` behind the last.
    #[must_use]
    pub fn find(&self, index: u64) -> Option<PackedExample<'_>> {
        let index = usize::try_from(index).ok()?;
        let starts = self.find_starts()?;
        let (start, end) = (*starts.get(index)?, *starts.get(index.checked_add(1)?)?);
        let range = start as usize..end as usize;
        Some(PackedExample {
            ids: match self.find_ids()? {
                Ids::Narrow(ids) => Ids::Narrow(ids.get(range)?),
                Ids::Wide(ids) => Ids::Wide(ids.get(range)?),
            },
            segment_b: (*self.find_segments()?.get(index)?).into(),
        })
    }

    /// All examples in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = PackedExample<'_>> {
        (0..self.len()).map_while(|index| self.find(index))
    }
}
