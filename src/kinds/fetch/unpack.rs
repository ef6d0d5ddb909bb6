//! Archives and compressed files: which format it is, and its entries in order. Knows nothing of where they come from.

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flow::kind::StageError;
use zip::result::ZipError;

use super::config::Format;
use super::extract::{Budget, Extractor, Limits, Selection, broken, taken};
use super::pin::looks_like_a_page;

/// Memory an xz stream may ask for, in KiB.
const XZ_MEMORY_KIB: u32 = 1 << 20;
/// Bytes of headers and long names between two entries of a tar archive.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Unpacks `archive` to `to`, which must not exist: a folder for archives, a file for single compressed files and for `take`.
///
/// `work` is an empty folder on the same file system, for what is not yet complete; it may be left in any state.
///
/// # Errors
/// An entry that leads out, a bound that is passed, a damaged archive; then `to` does not exist.
pub(super) fn unpack(
    archive: &Path,
    format: Format,
    selection: &Selection,
    limits: Limits,
    work: &Path,
    to: &Path,
) -> Result<Format, StageError> {
    let format = match format {
        Format::Auto => find_format(archive)?,
        format => format,
    };
    let budget = Budget::new(limits, fs_err::metadata(archive)?.len());
    let place = work.join("unpacked");
    if format.is_single() {
        if selection.take.is_some() || !selection.only.is_empty() || selection.strip > 0 {
            return Err(StageError::new(
                "fetch::archive",
                "a single compressed file has no entries to choose from",
            )
            .help("drop `only`, `strip` and `take`"));
        }
        let mut reader = budgeted(open_stream(archive, format)?, &budget);
        let mut file = fs_err::File::create(&place)?;
        io::copy(&mut reader, &mut file).map_err(|error| damaged(format, error))?;
        fs_err::rename(&place, to)?;
        return Ok(format);
    }
    fs_err::create_dir(&place)?;
    let mut extractor = Extractor::new(&place, selection, &budget);
    if format == Format::Zip {
        unzip(archive, &mut extractor)?;
    } else {
        untar(archive, format, &budget, &mut extractor)?;
    }
    extractor.finish()?;
    fs_err::rename(taken(&place, selection).unwrap_or(place), to)?;
    Ok(format)
}

/// The format by the file's first bytes; a compressed file is looked into, to tell a tar archive from a single file.
fn find_format(path: &Path) -> Result<Format, StageError> {
    let head = read_head(&mut fs_err::File::open(path)?)?;
    let outer = match head.as_slice() {
        [b'P', b'K', 3 | 5 | 7, ..] => return Ok(Format::Zip),
        [0x1f, 0x8b, ..] => Format::Gz,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zst,
        head if is_tar(head) => return Ok(Format::Tar),
        _ => {
            let mut error = StageError::new(
                "fetch::archive",
                "the file is no archive that is known here",
            );
            if looks_like_a_page(path) {
                error = error.detail("it is a web page: a login, a consent form or an error");
            }
            return Err(error.help("known are zip, tar, tar.gz, tar.xz, tar.zst, gz, xz and zst; without `unpack` the file stays as it is"));
        }
    };
    let inner = read_head(&mut open_stream(path, outer)?).map_err(|error| damaged(outer, error))?;
    Ok(match (outer, is_tar(&inner)) {
        (Format::Gz, true) => Format::TarGz,
        (Format::Xz, true) => Format::TarXz,
        (Format::Zst, true) => Format::TarZst,
        (single, _) => single,
    })
}

fn read_head(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(512).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether a first block is a tar header: its checksum says so, with the magic or, for old archives, without.
fn is_tar(head: &[u8]) -> bool {
    if head.len() < 512 {
        return false;
    }
    let digits = head[148..156].iter().copied().filter(u8::is_ascii_digit);
    let stated = digits.fold(0_u32, |sum, digit| {
        sum.wrapping_mul(8).wrapping_add(u32::from(digit - b'0'))
    });
    let sum: u32 = (head[..148].iter().chain(&head[156..512]))
        .map(|byte| u32::from(*byte))
        .sum::<u32>()
        + 8 * u32::from(b' ');
    stated == sum && head[0] != 0
}

fn open_stream(path: &Path, format: Format) -> Result<Box<dyn Read>, StageError> {
    let file = BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
    Ok(match format {
        Format::Gz | Format::TarGz => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Format::Xz | Format::TarXz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            file,
            true,
            XZ_MEMORY_KIB,
        )),
        Format::Zst | Format::TarZst => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

/// A stream of bytes as text has them: gzip and zstd are recognised by their first bytes and undone, all else is as it is.
///
/// # Errors
/// A stream that cannot be read; what is damaged further on is told when it is read.
pub(in crate::kinds) fn decompressed(bytes: data::texts::Bytes) -> io::Result<data::texts::Bytes> {
    let mut bytes = BufReader::with_capacity(1 << 17, bytes);
    Ok(match bytes.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?),
        _ => Box::new(bytes),
    })
}

/// The texts of a stream of bytes: those of a tar archive in its order, or the stream itself. gzip, zstd and tar are
/// recognised by their first bytes.
///
/// # Errors
/// A stream that cannot be read, and one that is packed in a way that is not undone here.
pub(in crate::kinds) fn each_text(
    bytes: data::texts::Bytes,
    visit: &mut data::corpus::Visit<'_>,
) -> io::Result<()> {
    let mut plain = decompressed(bytes)?;
    let head = read_head(&mut plain)?;
    let unknown = |what: &str| Err(io::Error::new(io::ErrorKind::Unsupported, what));
    match head.as_slice() {
        [b'P', b'K', 3 | 5 | 7, ..] => return unknown("it is a zip archive"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return unknown("it is compressed with xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, ..] => {
            return unknown("it is compressed with bzip2");
        }
        _ => {}
    }
    let is_archive = is_tar(&head);
    let mut whole = io::Cursor::new(head).chain(plain);
    if !is_archive {
        visit(None, &mut whole);
        return Ok(());
    }
    for entry in tar::Archive::new(whole).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !visit(Some(&name), &mut entry) {
            break;
        }
    }
    Ok(())
}

/// Whether what is packed in a file could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// Nothing is packed in it.
    Plain,
    /// All of it was handed over.
    Whole,
    /// It is packed in a way that is not undone here.
    Unknown(&'static str),
}

/// How deep one packed file may lie in another.
const MOST_NESTED: u32 = 4;

/// Hands over the streams that are packed in a file, those packed in them, and so on: entries of archives with their names
/// before them. At most so many bytes come out.
///
/// # Errors
/// A damaged archive, a bound that is passed, and what `visit` refuses.
pub(crate) fn unpacked(
    path: &Path,
    most_bytes: u64,
    visit: &mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
) -> io::Result<Unpacked> {
    let file = BufReader::with_capacity(1 << 17, fs_err::File::open(path)?);
    let mut left = most_bytes;
    let mut inside = Inside {
        left: &mut left,
        visit,
        unknown: None,
    };
    let is_packed = inside.stream(Box::new(file), 0)?;
    Ok(match (inside.unknown, is_packed) {
        (Some(what), _) => Unpacked::Unknown(what),
        (None, true) => Unpacked::Whole,
        (None, false) => Unpacked::Plain,
    })
}

struct Inside<'a> {
    left: &'a mut u64,
    visit: &'a mut dyn FnMut(&mut dyn Read) -> io::Result<()>,
    unknown: Option<&'static str>,
}

impl Inside<'_> {
    /// Whether something was packed in the stream.
    fn stream(&mut self, mut bytes: Box<dyn Read + '_>, depth: u32) -> io::Result<bool> {
        let head = read_head(&mut bytes)?;
        let is_archive = is_tar(&head);
        let format = match head.as_slice() {
            [b'P', b'K', 3 | 5 | 7, ..] => Format::Zip,
            [0x1f, 0x8b, ..] => Format::Gz,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zst,
            _ if is_archive => Format::Tar,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, ..] => {
                self.unknown = Some("it is compressed with bzip2");
                return Ok(true);
            }
            [b'7', b'z', 0xbc, 0xaf, ..] => {
                self.unknown = Some("it is a 7z archive");
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if depth >= MOST_NESTED {
            return Err(io::Error::other(
                "packed files lie in packed files too deep",
            ));
        }
        let whole = BufReader::with_capacity(1 << 16, io::Cursor::new(head).chain(bytes));
        match format {
            Format::Zip => self.zip(whole, depth)?,
            Format::Tar => {
                for entry in tar::Archive::new(whole).entries()? {
                    let mut entry = entry?;
                    let name = entry.path_bytes().into_owned();
                    (self.visit)(&mut name.as_slice())?;
                    self.part(&mut entry, depth)?;
                }
            }
            Format::Gz => self.part(&mut flate2::bufread::MultiGzDecoder::new(whole), depth)?,
            Format::Xz => {
                let mut reader = lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB);
                self.part(&mut reader, depth)?;
            }
            _ => self.part(&mut zstd::stream::read::Decoder::with_buffer(whole)?, depth)?,
        }
        Ok(true)
    }

    /// The directory of a zip archive stands at its end: the archive is written out first.
    fn zip(&mut self, mut whole: impl Read, depth: u32) -> io::Result<()> {
        let mut copy = tempfile::tempfile()?;
        let bytes = io::copy(&mut (&mut whole).take(*self.left), &mut copy)?;
        if bytes == *self.left {
            return Err(io::Error::other("more comes out of it than is searched"));
        }
        let mut archive = zip::ZipArchive::new(copy).map_err(io::Error::other)?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(io::Error::other)?;
            let name = entry.name().map_err(io::Error::other)?.into_owned();
            (self.visit)(&mut name.as_bytes())?;
            self.part(&mut entry, depth)?;
        }
        Ok(())
    }

    /// Hands a stream over, and looks whether something is packed in it: it is kept aside, since it is read twice.
    fn part(&mut self, stream: &mut dyn Read, depth: u32) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        let mut copy = tempfile::tempfile()?;
        let bytes = io::copy(&mut stream.take(*self.left), &mut copy)?;
        if bytes == *self.left {
            return Err(io::Error::other("more comes out of it than is searched"));
        }
        *self.left -= bytes;
        copy.seek(SeekFrom::Start(0))?;
        (self.visit)(&mut copy)?;
        copy.seek(SeekFrom::Start(0))?;
        self.stream(Box::new(BufReader::new(copy)), depth + 1)?;
        Ok(())
    }
}

/// A reader that spends a budget, and stops where a limit for the moment is set.
struct Budgeted<R> {
    inner: R,
    budget: Option<Budget>,
    header_left: Rc<Cell<Option<u64>>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some(budget) = &self.budget {
            budget
                .spend(n as u64, "its content")
                .map_err(io::Error::other)?;
        }
        if let Some(left) = self.header_left.get() {
            let left = left
                .checked_sub(n as u64)
                .ok_or_else(|| io::Error::other("a header is too long"))?;
            self.header_left.set(Some(left));
        }
        Ok(n)
    }
}

fn budgeted<R: Read>(inner: R, budget: &Budget) -> Budgeted<R> {
    Budgeted {
        inner,
        budget: Some(budget.clone()),
        header_left: Rc::default(),
    }
}

fn damaged(format: Format, error: io::Error) -> StageError {
    if let Some(inner) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StageError>())
    {
        return inner.clone();
    }
    if error.kind() == io::ErrorKind::StorageFull {
        return error.into();
    }
    let name = serde_json::to_value(format).expect("formats serialise");
    StageError::new(
        "fetch::archive",
        format!("the {} file cannot be read", name.as_str().unwrap_or_default()),
    )
    .detail(error.to_string())
    .help("it is damaged, of another format, or only a part: compare its size with the source's, and pin it with `sha256:`")
}

fn unzip(path: &Path, extractor: &mut Extractor<'_>) -> Result<(), StageError> {
    let explain = |error: ZipError| match error {
        ZipError::Io(error) => damaged(Format::Zip, error),
        ZipError::UnsupportedArchive(why) => {
            StageError::new("fetch::archive", "the zip file cannot be unpacked here")
                .detail(why)
                .help("unpack it in a `command` stage")
        }
        error => damaged(Format::Zip, io::Error::other(error.to_string())),
    };
    let file = BufReader::new(fs_err::File::open(path)?);
    let mut archive = zip::ZipArchive::new(file).map_err(explain)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(explain)?;
        let name = entry.name().map_err(explain)?.into_owned();
        // Some packers of Windows write backslashes for slashes.
        let name = if name.contains('/') {
            name
        } else {
            name.replace('\\', "/")
        };
        let mode = entry.unix_mode().unwrap_or(0o644);
        match mode & 0o170_000 {
            0o120_000 => {
                let mut target = Vec::new();
                (&mut entry)
                    .take(4096)
                    .read_to_end(&mut target)
                    .map_err(|error| broken(&name, &error))?;
                extractor.symbolic_link(&name, &String::from_utf8_lossy(&target))?;
            }
            _ if entry.is_dir() => extractor.folder(&name)?,
            0 | 0o100_000 | 0o040_000 => extractor.file(&name, mode & 0o100 != 0, &mut entry)?,
            _ => extractor.special(&name, "a device, a pipe or a socket")?,
        }
    }
    Ok(())
}

fn untar(
    path: &Path,
    format: Format,
    budget: &Budget,
    extractor: &mut Extractor<'_>,
) -> Result<(), StageError> {
    // The whole stream is bounded by its own budget, so that skipped entries and headers are bounded as well.
    let stream_budget = budget.stream();
    let skipped = budget.stream();
    let header_left = Rc::new(Cell::new(None));
    let reader = Budgeted {
        inner: open_stream(path, format)?,
        budget: Some(stream_budget),
        header_left: Rc::clone(&header_left),
    };
    let mut archive = tar::Archive::new(reader);
    let mut entries = archive.entries().map_err(|error| damaged(format, error))?;
    loop {
        // The library reads long names into memory: everything between two entries is bounded.
        header_left.set(Some(MAX_HEADER_BYTES));
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| damaged(format, error))?;
        header_left.set(None);
        let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(|error| {
            StageError::new(
                "fetch::archive",
                format!(
                    "entry `{}` has a name that is not UTF-8",
                    String::from_utf8_lossy(error.as_bytes()).escape_debug()
                ),
            )
            .help("unpack it in a `command` stage")
        })?;
        let target = entry
            .link_name_bytes()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let target = target.unwrap_or_default();
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        match entry.header().entry_type() {
            tar::EntryType::Directory => extractor.folder(&name)?,
            tar::EntryType::Symlink => extractor.symbolic_link(&name, &target)?,
            tar::EntryType::Link => extractor.hard_link(&name, &target)?,
            tar::EntryType::XGlobalHeader => {}
            // Archives older than POSIX mark a folder by a slash only.
            tar::EntryType::Regular if name.ends_with('/') => extractor.folder(&name)?,
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                extractor.file(&name, executable, &mut entry)?;
            }
            _ => extractor.special(&name, "a device, a pipe or of an unknown type")?,
        }
        // What is not wanted is read past here, outside the bound for headers but not without one: the holes of a
        // sparse file cost the stream nothing.
        let mut rest = Budgeted {
            inner: &mut entry,
            budget: Some(skipped.clone()),
            header_left: Rc::default(),
        };
        io::copy(&mut rest, &mut io::sink()).map_err(|error| broken(&name, &error))?;
    }
    header_left.set(None);
    // To the end of the stream, so that its checksum is looked at.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| damaged(format, error))?;
    Ok(())
}
