//! The layout since PyTorch 1.6: a zip archive of `data.pkl` and a file for each storage, stored as they are. A door to
//! the zip library. Knows no tensors.

use std::borrow::Cow;
use std::io::{Cursor, Read as _};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::error::TorchError;

use super::Storages;
use super::pickle::{Built, Storage, broken, build};

/// A local file header.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
/// Bytes of `data.pkl`; that of a large model has about 60,000.
const MAX_PICKLE_BYTES: usize = 1 << 26;
/// Entries: one for each storage and a few more.
const MAX_ENTRIES: usize = 100_000;

pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The folder that everything lies in, with its slash.
    top: String,
}

fn zip_error(error: &ZipError) -> TorchError {
    broken(format!("the zip archive is broken: {error}"))
}

/// What the archive builds, and the archive.
pub(super) fn open(file: &[u8]) -> Result<(Built, Archive<'_>), TorchError> {
    let zip = ZipArchive::new(Cursor::new(file)).map_err(|error| zip_error(&error))?;
    if zip.len() > MAX_ENTRIES {
        return Err(TorchError::TooLarge);
    }
    let mut archive = Archive {
        zip,
        top: String::new(),
    };
    archive.check()?;
    if let Some(order) = archive.find_entry("byteorder", 16)?
        && order.trim_ascii() != b"little"
    {
        return Err(TorchError::BigEndian);
    }
    let pickle = archive.find_entry("data.pkl", MAX_PICKLE_BYTES)?;
    let built = build(&pickle.expect("found before"))?;
    Ok((built, archive))
}

impl Archive<'_> {
    /// Refuses what `torch.save` does not write, and finds the folder of `data.pkl`.
    fn check(&mut self) -> Result<(), TorchError> {
        let mut top = None;
        for index in 0..self.zip.len() {
            let entry = self
                .zip
                .by_index_raw(index)
                .map_err(|error| zip_error(&error))?;
            let name = entry
                .name()
                .map_err(|error| zip_error(&error))?
                .into_owned();
            let refuse = |reason| {
                Err(TorchError::Entry {
                    name: name.escape_debug().to_string(),
                    reason,
                })
            };
            let leads_out = |part: &str| part == ".." || part.contains('\\');
            if name.starts_with('/') || name.split('/').any(leads_out) {
                return refuse("leads out of it");
            }
            if entry.encrypted() {
                return refuse("is encrypted");
            }
            if entry.compression() != CompressionMethod::Stored {
                return refuse("is compressed");
            }
            if let Some((folder, "data.pkl")) = name.split_once('/')
                && top.replace(format!("{folder}/")).is_some()
            {
                return refuse("stands in two folders");
            }
        }
        self.top = top.ok_or_else(|| broken("the archive has no `data.pkl`"))?;
        Ok(())
    }

    /// The bytes of an entry below the folder; at most so many. The library compares its checksum.
    fn find_entry(&mut self, name: &str, most: usize) -> Result<Option<Vec<u8>>, TorchError> {
        let name = format!("{}{name}", self.top);
        let Some(index) = self.zip.index_for_name(&name) else {
            return Ok(None);
        };
        let entry = self
            .zip
            .by_index(index)
            .map_err(|error| zip_error(&error))?;
        let size = usize::try_from(entry.size()).ok().filter(|n| *n <= most);
        let size = size.ok_or_else(|| TorchError::Entry {
            name: name.escape_debug().to_string(),
            reason: "is larger than what it is for",
        })?;
        // The stated size is no reason to reserve it: the file may be smaller.
        let mut bytes = Vec::new();
        let read = entry.take(most as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken(format!("`{}`: {error}", name.escape_debug())))?;
        match bytes.len() == size {
            true => Ok(Some(bytes)),
            false => Err(broken(format!("`{}` is cut off", name.escape_debug()))),
        }
    }
}

impl Storages for Archive<'_> {
    fn bytes(&mut self, storage: &Storage) -> Result<Cow<'_, [u8]>, TorchError> {
        let wanted = storage.bytes()?;
        let name = format!("data/{}", storage.key);
        match self.find_entry(&name, wanted)? {
            Some(bytes) if bytes.len() == wanted => Ok(Cow::Owned(bytes)),
            Some(_) => Err(broken("a storage has another length than its tensors say")),
            None => Err(broken("a storage is not in the archive")),
        }
    }
}
