//! Files as streams of text, and how far they were read. Knows neither codecs nor what the text says.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{DataError, Place, Problem};
use crate::texts::{Bytes, TextFile};

/// Takes a text and, where it lies in an archive, its name there; `false`: no more are wanted.
pub type Visit<'a> = dyn FnMut(Option<&str>, &mut dyn Read) -> bool + 'a;

/// Hands on the texts that a file's bytes hold, such as after decompression, or those of an archive in their order.
///
/// An error of the kind [`io::ErrorKind::Unsupported`] says what the file is instead.
pub type Open = fn(Bytes, &mut Visit<'_>) -> io::Result<()>;

/// What a corpus is made of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The files, in their order.
    pub files: Vec<TextFile>,
    /// From a file's bytes to its texts.
    pub open: Open,
}

impl Sources {
    /// Files that are text as they lie.
    #[must_use]
    pub fn plain(files: Vec<TextFile>) -> Self {
        let open: Open = |mut bytes, visit| {
            visit(None, &mut bytes);
            Ok(())
        };
        Self { files, open }
    }

    /// Bytes of all files as they lie on disk: the total of progress.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn size_bytes(&self) -> Result<u64, DataError> {
        let sizes = self.files.iter();
        let sizes = sizes.map(|file| Ok(fs_err::metadata(&file.path)?.len()));
        sizes.sum()
    }
}

/// What a visitor of members wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Member,
    Stop,
}

/// Counts what is taken from the file, before it is unpacked.
struct Counted {
    file: fs_err::File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Hands each text in `file` to `visit` with its name; `read` grows by the bytes taken from the file, packed as they are.
///
/// # Errors
/// Files that cannot be read or unpacked, and what `visit` says.
pub(crate) fn each_text(
    open: Open,
    file: &TextFile,
    read: &Arc<AtomicU64>,
    visit: &mut dyn FnMut(&str, &mut dyn Read) -> Result<Next, DataError>,
) -> Result<Next, DataError> {
    let bytes = Counted {
        file: fs_err::File::open(&file.path)?,
        read: Arc::clone(read),
    };
    let mut said = Ok(Next::Member);
    let opened = open(Box::new(bytes), &mut |member, text| {
        said = match member {
            Some(member) => visit(&format!("{}/{member}", file.name), text),
            None => visit(&file.name, text),
        };
        matches!(said, Ok(Next::Member))
    });
    match opened {
        // What the visitor found is nearer to the cause than what its stop did to the stream.
        _ if !matches!(said, Ok(Next::Member)) => said,
        Ok(()) => said,
        Err(error) => Err(damaged(&file.name, &error)),
    }
}

/// A stream that broke off, does not fit its checksum, or is no text.
pub(crate) fn damaged(name: &str, error: &io::Error) -> DataError {
    let problem = match error.kind() {
        io::ErrorKind::Unsupported => Problem::new(
            format!("the file is no text: {error}"),
            "unpack it in the `fetch` stage (`unpack: auto`); gzip, zstd and tar are read as they are",
        ),
        _ => Problem::new(
            format!("the file cannot be read to its end: {error}"),
            "is it whole? fetch it again",
        ),
    };
    problem.at(Place {
        file: name.to_owned(),
        line: 0,
        column: 0,
    })
}
