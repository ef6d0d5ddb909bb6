//! A WordPiece vocabulary: its entries by id, its special entries, its checks. Knows no text and no files but by name.

use std::collections::BTreeMap;

use crate::error::{DataError, Place, Problem, excerpt, nearest};
use crate::wordpiece::CONTINUATION;

mod json;
pub mod measure;
pub mod train;

pub use json::Stated;

/// Names of the entries that every vocabulary needs, in the order of [`Specials`].
pub const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Ids of the special entries. They differ between vocabularies: SciVocab has 0, 101-104, BERT 0, 100-103 (spec B.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specials {
    /// `[PAD]`
    pub padding: u32,
    /// `[UNK]`
    pub unknown: u32,
    /// `[CLS]`
    pub start: u32,
    /// `[SEP]`
    pub separator: u32,
    /// `[MASK]`
    pub mask: u32,
}

/// The entries of a vocabulary; their places are their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    entries: Vec<String>,
    ids: BTreeMap<String, u32>,
    specials: Specials,
}

impl Vocabulary {
    /// Reads `vocab.txt` or, where the bytes are a JSON object, `tokenizer.json`, whose statements about text come too.
    ///
    /// `file` is its name in messages.
    ///
    /// # Errors
    /// Text that is not UTF-8, entries twice, with white space around them or in Windows' ends of line, missing special
    /// entries; JSON of another model, or with holes in its ids.
    pub fn parse(bytes: &[u8], file: &str) -> Result<(Self, Option<Stated>), DataError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
            Problem::new(
                "the vocabulary is not UTF-8",
                "convert it, such as with `iconv -t UTF-8`",
            )
            .at(place(file, line))
        })?;
        if let Some(rest) = text.trim_start().strip_prefix('{')
            && rest.trim_start().starts_with('"')
        {
            let (entries, stated) = json::parse(text, file)?;
            return Ok((Self::new(entries, file)?, Some(stated)));
        }
        if text.starts_with('\u{feff}') {
            return Err(Problem::new(
                "the vocabulary begins with a byte order mark",
                "remove it; it would become part of the first entry",
            )
            .at(place(file, 1)));
        }
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok((
            Self::new(text.split('\n').map(str::to_owned).collect(), file)?,
            None,
        ))
    }

    /// A vocabulary of these entries; empty ones keep their places.
    ///
    /// # Errors
    /// As [`Vocabulary::parse`].
    pub fn new(entries: Vec<String>, file: &str) -> Result<Self, DataError> {
        let mut ids = BTreeMap::new();
        let mut first_empty = None;
        for (i, entry) in entries.iter().enumerate() {
            let fault = |message: String, help: &str| {
                Err(Problem::new(message, help).at(place(file, i + 1)))
            };
            if entry.ends_with('\r') {
                return fault(
                    format!(
                        "the entry `{}` ends in a carriage return",
                        excerpt(entry.trim_end())
                    ),
                    "write the file with ends of line of LF alone",
                );
            }
            if entry.trim() != entry {
                return fault(
                    format!("the entry `{}` has white space around it", excerpt(entry)),
                    "remove the white space; an entry that was only white space stays as an empty line",
                );
            }
            let id = u32::try_from(i).expect("fewer than 2^32 entries fit in memory");
            if entry.is_empty() {
                if let Some(first) = first_empty.replace(i + 1) {
                    return fault(
                        format!("the entry is empty, as the one of line {first} is"),
                        "one empty entry is kept as a place that is never used; remove empty lines at the file's end",
                    );
                }
            } else if let Some(first) = ids.insert(entry.clone(), id) {
                return fault(
                    format!(
                        "the entry `{}` stands twice, first in line {}",
                        excerpt(entry),
                        first + 1
                    ),
                    "rename one, such as to `[unused0]`, so that the ids behind it stay",
                );
            }
        }
        let find = |name: &str| {
            ids.get(name).copied().ok_or_else(|| {
                let near = nearest(
                    name,
                    ids.keys().map(String::as_str).filter(|key| key.len() > 3),
                );
                let help = match near {
                    Some(near) => format!("`{near}` is near; name it `{name}`"),
                    None => format!("each of `{}` needs a line", SPECIALS.join("`, `")),
                };
                Problem::new(format!("the vocabulary has no entry `{name}`"), help)
                    .at(place(file, 0))
            })
        };
        let specials = Specials {
            padding: find(SPECIALS[0])?,
            unknown: find(SPECIALS[1])?,
            start: find(SPECIALS[2])?,
            separator: find(SPECIALS[3])?,
            mask: find(SPECIALS[4])?,
        };
        Ok(Self {
            entries,
            ids,
            specials,
        })
    }

    /// Number of ids.
    #[must_use]
    pub fn size(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("checked when it was made")
    }

    /// All entries in the order of their ids.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }

    /// The entry of an id.
    #[must_use]
    pub fn find_entry(&self, id: u32) -> Option<&str> {
        self.entries.get(id as usize).map(String::as_str)
    }

    /// The id of an entry; the empty one has none.
    #[must_use]
    pub fn find_id(&self, entry: &str) -> Option<u32> {
        self.ids.get(entry).copied()
    }

    /// Ids of the special entries.
    #[must_use]
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// Whether an entry stands for no text: a special one, or a reserved `[unused…]`.
    #[must_use]
    pub fn is_reserved(entry: &str) -> bool {
        SPECIALS.contains(&entry) || (entry.starts_with("[unused") && entry.ends_with(']'))
    }

    /// `vocab.txt`: an entry a line, LF.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.entries.join("\n");
        text.push('\n');
        text
    }

    /// BLAKE3 of [`Vocabulary::to_text`]: what packed examples carry.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(self.to_text().as_bytes()).as_bytes()
    }
}

/// An entry without its mark of continuation.
fn bare(entry: &str) -> &str {
    match entry.strip_prefix(CONTINUATION) {
        Some(rest) if !rest.is_empty() => rest,
        _ => entry,
    }
}

fn place(file: &str, line: usize) -> Place {
    Place {
        file: file.to_owned(),
        line: line as u64,
        column: 0,
    }
}

#[cfg(test)]
mod tests;
