//! Finished documents to numbered shards, in their order. Knows nothing of how they were made.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::config::{OnOverlap, Settings};
use super::counts::Counts;
use super::make::{Bad, Fate, Made};
use super::read::Piece;
use super::steps::unique::Unique;
use crate::error::{DataError, Place, Problem};

/// Broken lines and records that are told, of those that are counted.
const SAMPLES: usize = 10;

/// Takes what workers made in the order of the input; decides what stays and writes it.
pub(super) struct Shards<'a> {
    settings: &'a Settings,
    folder: PathBuf,
    shard: Option<BufWriter<fs_err::File>>,
    /// Bytes of the shard at hand.
    size: u64,
    unique: Unique,
    pub(super) counts: Counts,
    pub(super) samples: Vec<String>,
    /// XML: records of the stream at hand.
    records: u64,
}

impl<'a> Shards<'a> {
    pub(super) fn new(settings: &'a Settings, folder: &Path) -> Self {
        Self {
            settings,
            folder: folder.to_owned(),
            shard: None,
            size: 0,
            unique: Unique::new(),
            counts: Counts::default(),
            samples: Vec::new(),
            records: 0,
        }
    }

    /// Takes the documents of the next piece; `stream` names it and says whether its stream ends.
    pub(super) fn take(&mut self, piece: &Piece, made: &Made) -> Result<(), DataError> {
        self.counts += made.counts;
        for bad in &made.bad {
            self.refuse(bad)?;
        }
        self.records += made.records;
        if piece.last && self.settings.format == super::config::Format::PubmedXml {
            if self.records == 0 {
                self.refuse(&Bad {
                    place: place(piece, 0),
                    message: "the file holds no PubMed record".to_owned(),
                })?;
            }
            self.records = 0;
        }
        for document in &made.documents {
            self.counts.documents_read += 1;
            if document.fate == Fate::Empty {
                self.counts.empty += 1;
                continue;
            }
            if self.settings.deduplicate && !self.unique.insert(document.hash) {
                self.counts.duplicates += 1;
                continue;
            }
            match document.fate {
                Fate::TooShort => {
                    self.counts.short += 1;
                    continue;
                }
                Fate::TooLong => {
                    self.counts.long += 1;
                    continue;
                }
                Fate::Kept | Fate::Empty => {}
            }
            let text = &made.text[document.start..document.end];
            if document.overlaps {
                self.counts.overlapping += 1;
                match self.settings.on_overlap {
                    OnOverlap::Remove => continue,
                    OnOverlap::Count => {}
                    OnOverlap::Refuse => return Err(overlap(piece, text)),
                }
            }
            self.write(text)?;
            self.counts.documents += 1;
            self.counts.sentences += document.sentences;
            self.counts.words += document.words;
        }
        Ok(())
    }

    fn refuse(&mut self, bad: &Bad) -> Result<(), DataError> {
        self.counts.bad_records += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("{}: {}", bad.place, bad.message));
        }
        if self.counts.bad_records <= self.settings.max_bad_records {
            return Ok(());
        }
        let message = match self.settings.max_bad_records {
            0 => bad.message.clone(),
            most => format!("{}; this is one more than the {most} allowed", bad.message),
        };
        Err(Problem::new(
            message,
            "repair or fetch the file again, or set `max_bad_records` to leave out so many and go on",
        )
        .at(bad.place.clone()))
    }

    fn write(&mut self, text: &[u8]) -> Result<(), DataError> {
        let length = text.len() as u64;
        if self.shard.is_some() && self.size + 1 + length > self.settings.shard_bytes {
            self.close()?;
        }
        let shard = match &mut self.shard {
            Some(shard) => {
                shard.write_all(b"\n")?;
                self.size += 1;
                self.counts.bytes += 1;
                shard
            }
            None => {
                let path = self.folder.join(format!("{:05}.txt", self.counts.shards));
                self.counts.shards += 1;
                self.size = 0;
                let file = fs_err::File::create(path)?;
                self.shard.insert(BufWriter::with_capacity(256 << 10, file))
            }
        };
        shard.write_all(text)?;
        self.size += length;
        self.counts.bytes += length;
        Ok(())
    }

    fn close(&mut self) -> Result<(), DataError> {
        if let Some(mut shard) = self.shard.take() {
            shard.flush()?;
        }
        Ok(())
    }

    /// Writes out what is left.
    pub(super) fn finish(mut self) -> Result<(Counts, Vec<String>), DataError> {
        self.close()?;
        Ok((self.counts, self.samples))
    }
}

fn place(piece: &Piece, line: u64) -> Place {
    Place {
        file: piece.name.to_string(),
        line,
        column: 0,
    }
}

fn overlap(piece: &Piece, text: &[u8]) -> DataError {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    Problem::new(
        format!(
            "the document that begins `{}` holds a sentence of a test set",
            crate::error::excerpt(&first)
        ),
        "set `on_overlap: remove` to leave such documents out, or `count` to keep them",
    )
    .at(place(piece, 0))
}
