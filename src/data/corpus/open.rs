//! Files as streams of text, whatever they are packed in; the door to the codecs. Knows nothing of what the text says.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{DataError, Place, Problem};

/// A file to read.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// As people know it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// Bytes asked of the file system at once.
const READ_BYTES: usize = 256 << 10;
/// A tar header, by whose magic an archive is known.
const TAR_BLOCK: usize = 512;

/// What a visitor of members wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Member,
    Stop,
}

/// Counts what is taken from the file, before it is unpacked.
struct Counted<'a> {
    file: fs_err::File,
    read: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Hands each text in `file` to `visit` with its name: the file itself, or the files of a tar archive in their order.
/// gzip (of several members too), zstd and tar are known by their content, whatever the name says.
/// `read` grows by the bytes taken from the file, packed as they are.
///
/// # Errors
/// Files that cannot be read, packings that are not known, and what `visit` says.
pub(crate) fn each_text(
    file: &InputFile,
    read: &AtomicU64,
    visit: &mut dyn FnMut(&str, &mut dyn Read) -> Result<Next, DataError>,
) -> Result<Next, DataError> {
    let mut packed = BufReader::with_capacity(
        READ_BYTES,
        Counted {
            file: fs_err::File::open(&file.path)?,
            read,
        },
    );
    let head = packed.fill_buf()?;
    let mut plain: Box<dyn Read> = match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        [b'P', b'K', 3, 4, ..] => return Err(unknown(file, "a zip archive")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unknown(file, "compressed with xz")),
        [b'B', b'Z', b'h', ..] => return Err(unknown(file, "compressed with bzip2")),
        _ => Box::new(packed),
    };
    let mut start = Vec::with_capacity(TAR_BLOCK);
    plain
        .by_ref()
        .take(TAR_BLOCK as u64)
        .read_to_end(&mut start)
        .map_err(|error| damaged(&file.name, &error))?;
    let is_tar = start.get(257..262) == Some(b"ustar");
    let mut whole = Cursor::new(start).chain(plain);
    if !is_tar {
        return visit(&file.name, &mut whole);
    }
    let mut archive = tar::Archive::new(whole);
    let broken = |error: io::Error| damaged(&file.name, &error);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let inner = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if visit(&format!("{}/{inner}", file.name), &mut entry)? == Next::Stop {
            return Ok(Next::Stop);
        }
    }
    Ok(Next::Member)
}

fn unknown(file: &InputFile, what: &str) -> DataError {
    Problem::new(
        format!("the file is {what}"),
        "unpack it in the `fetch` stage (`unpack: auto`); gzip, zstd and tar are read as they are",
    )
    .at(place(&file.name))
}

/// A stream that broke off or does not fit its checksum.
pub(crate) fn damaged(name: &str, error: &io::Error) -> DataError {
    Problem::new(
        format!("the file cannot be read to its end: {error}"),
        "is it whole? fetch it again",
    )
    .at(place(name))
}

fn place(name: &str) -> Place {
    Place {
        file: name.to_owned(),
        line: 0,
        column: 0,
    }
}
