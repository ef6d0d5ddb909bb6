//! Examples shuffled through files of their own and written as one packed file. Knows no text and no builder.
//!
//! Every example gets a random key of 64 bits, a function of seed and place; the file holds them sorted by it, which is a
//! uniformly random order. Pass one deals examples to buckets by the key's upper bits, pass two sorts a bucket at a time:
//! memory is that of one bucket, and the order does not depend on their number.

use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::File;

use super::builder::Example;
use super::format::{CHECKED_BYTES, HEADER_BYTES, Header, read_structure_digest};
use super::random::{Stream, words};
use crate::error::DataError;
use crate::vocabulary::Vocabulary;

/// Bytes that wait for each bucket's file.
const BUCKET_BUFFER: usize = 1 << 15;
/// Bytes of a record before its ids: key, length, segment.
const RECORD_HEAD: usize = 12;

/// The order of the examples in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A random one, by the seed. Buckets are files open at once, a power of two.
    Shuffled {
        /// log2 of their number, at most 10.
        bucket_bits: u32,
    },
    /// That of the builder.
    AsBuilt,
}

/// Takes examples and writes the file when all are there.
#[derive(Debug)]
pub struct Writer {
    header: Header,
    order: Order,
    folder: PathBuf,
    buckets: Vec<BufWriter<File>>,
    record: Vec<u8>,
}

impl Writer {
    /// A writer whose buckets lie in `folder`, which is made anew.
    ///
    /// # Errors
    /// A sequence length above 65,535; the file system's.
    pub fn new(
        vocabulary: &Vocabulary,
        sequence_length: u32,
        seed: u64,
        order: Order,
        folder: &Path,
    ) -> Result<Self, DataError> {
        if sequence_length > u32::from(u16::MAX) {
            return Err(DataError::mismatch(
                format!("an example of {sequence_length} positions does not fit the format"),
                format!("give at most {}", u16::MAX),
            ));
        }
        if folder.exists() {
            fs_err::remove_dir_all(folder)?;
        }
        fs_err::create_dir_all(folder)?;
        let n_buckets = match order {
            Order::Shuffled { bucket_bits } => 1_usize << bucket_bits.min(10),
            Order::AsBuilt => 1,
        };
        let bucket = |i: usize| {
            let file = File::create(bucket_path(folder, i))?;
            Ok(BufWriter::with_capacity(BUCKET_BUFFER, file))
        };
        Ok(Self {
            header: Header {
                id_bytes: Header::id_bytes_for(vocabulary.size()),
                vocabulary_size: vocabulary.size(),
                sequence_length,
                n_examples: 0,
                n_tokens: 0,
                specials: vocabulary.specials(),
                seed,
                vocabulary_digest: vocabulary.digest(),
                ids_digest: [0; 32],
            },
            order,
            folder: folder.to_owned(),
            buckets: (0..n_buckets).map(bucket).collect::<std::io::Result<_>>()?,
            record: Vec::new(),
        })
    }

    /// Takes the next example. Its ids must be below the vocabulary's size, its length within bounds.
    ///
    /// # Errors
    /// The file system's.
    pub fn add(&mut self, example: Example<'_>) -> Result<(), DataError> {
        let header = &mut self.header;
        let key = match self.order {
            Order::Shuffled { .. } => {
                let index = header.n_examples;
                let word = words(
                    header.seed,
                    Stream::Shuffle,
                    0,
                    index,
                    header.sequence_length,
                );
                u64::from(word[1]) << 32 | u64::from(word[0])
            }
            Order::AsBuilt => header.n_examples,
        };
        let bucket = match self.order {
            Order::Shuffled { bucket_bits: 1.. } => {
                (key >> (u64::BITS - self.buckets.len().ilog2())) as usize
            }
            _ => 0,
        };
        let short = |n: usize| u16::try_from(n).expect("within the sequence length");
        self.record.clear();
        self.record.extend_from_slice(&key.to_le_bytes());
        self.record
            .extend_from_slice(&short(example.ids.len()).to_le_bytes());
        self.record
            .extend_from_slice(&short(example.segment_b as usize).to_le_bytes());
        if header.id_bytes == 2 {
            let narrow = |id: &u32| (*id as u16).to_le_bytes();
            self.record.extend(example.ids.iter().flat_map(narrow));
        } else {
            let wide = |id: &u32| id.to_le_bytes();
            self.record.extend(example.ids.iter().flat_map(wide));
        }
        self.buckets[bucket].write_all(&self.record)?;
        header.n_examples += 1;
        header.n_tokens += example.ids.len() as u64;
        Ok(())
    }

    /// Writes the file and removes the buckets; `done` is told the bytes of ids written so far.
    ///
    /// # Errors
    /// The file system's.
    pub fn finish(mut self, path: &Path, done: &mut dyn FnMut(u64)) -> Result<Header, DataError> {
        for bucket in &mut self.buckets {
            bucket.flush()?;
        }
        let n_buckets = self.buckets.len();
        self.buckets.clear();
        let layout = self.header.layout().expect("the disk held them");
        File::create(path)?.set_len(layout.end)?;
        let section = |at: u64| -> std::io::Result<BufWriter<File>> {
            let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
            file.seek(SeekFrom::Start(at))?;
            Ok(BufWriter::with_capacity(1 << 18, file))
        };
        let mut sections = Sections {
            starts: section(layout.starts)?,
            segments: section(layout.segments)?,
            ids: section(layout.ids)?,
            digest: blake3::Hasher::new(),
            next: 0,
            id_bytes: u64::from(self.header.id_bytes),
        };
        sections.starts.write_all(&0_u64.to_le_bytes())?;
        for i in 0..n_buckets {
            let bucket = bucket_path(&self.folder, i);
            match self.order {
                Order::Shuffled { .. } => sections.add_sorted(&bucket)?,
                Order::AsBuilt => sections.add_all(&bucket)?,
            }
            fs_err::remove_file(bucket)?;
            done(sections.next * sections.id_bytes);
        }
        self.header.ids_digest = *sections.digest.finalize().as_bytes();
        for writer in [
            &mut sections.starts,
            &mut sections.segments,
            &mut sections.ids,
        ] {
            writer.flush()?;
        }
        drop(sections);
        seal(path, &self.header, layout.ids)?;
        fs_err::remove_dir_all(&self.folder)?;
        Ok(self.header)
    }
}

fn bucket_path(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("{i:04}.bucket"))
}

/// Writes the header with the checksum of the structure, which is on disk by now and read back piece by piece.
fn seal(path: &Path, header: &Header, structure_end: u64) -> Result<(), DataError> {
    let mut bytes = header.encode();
    let mut file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    let sections = (&mut file).take(structure_end - HEADER_BYTES as u64);
    let digest = read_structure_digest(&bytes, sections)?;
    bytes[CHECKED_BYTES..CHECKED_BYTES + 32].copy_from_slice(&digest);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(())
}

/// The sections under way.
struct Sections {
    starts: BufWriter<File>,
    segments: BufWriter<File>,
    ids: BufWriter<File>,
    digest: blake3::Hasher,
    /// Ids written.
    next: u64,
    id_bytes: u64,
}

impl Sections {
    fn add(&mut self, segment: [u8; 2], ids: &[u8]) -> std::io::Result<()> {
        self.next += ids.len() as u64 / self.id_bytes;
        self.starts.write_all(&self.next.to_le_bytes())?;
        self.segments.write_all(&segment)?;
        self.digest.update(ids);
        self.ids.write_all(ids)
    }

    /// A bucket whole, sorted by key; equal keys stay in the order of the builder.
    fn add_sorted(&mut self, bucket: &Path) -> std::io::Result<()> {
        let bytes = fs_err::read(bucket)?;
        let mut records = Vec::new();
        let mut at = 0;
        while let Some((head, _)) = bytes[at..].split_at_checked(RECORD_HEAD) {
            let key = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
            records.push((key, at));
            at += RECORD_HEAD + self.ids_of(head);
        }
        records.sort_unstable();
        for (_, at) in records {
            let (head, rest) = bytes[at..].split_at(RECORD_HEAD);
            let segment = [head[10], head[11]];
            self.add(segment, &rest[..self.ids_of(head)])?;
        }
        Ok(())
    }

    /// A bucket record by record, as it is.
    fn add_all(&mut self, bucket: &Path) -> std::io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 18, File::open(bucket)?);
        let end = reader.get_ref().metadata()?.len();
        let (mut at, mut head, mut ids) = (0, [0; RECORD_HEAD], Vec::new());
        while at < end {
            reader.read_exact(&mut head)?;
            ids.resize(self.ids_of(&head), 0);
            reader.read_exact(&mut ids)?;
            self.add([head[10], head[11]], &ids)?;
            at += (RECORD_HEAD + ids.len()) as u64;
        }
        Ok(())
    }

    /// Bytes of a record's ids.
    fn ids_of(&self, head: &[u8]) -> usize {
        usize::from(u16::from_le_bytes([head[8], head[9]])) * self.id_bytes as usize
    }
}
