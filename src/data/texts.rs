//! Large texts in pieces of whole lines, worked on by several threads and taken in order. Knows nothing of what lines hold.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use crate::error::{DataError, Place, Problem};

/// Bytes of text in a piece, but for the rest of its last line.
const PIECE_BYTES: usize = 1 << 20;
/// A line may have so many bytes; corpora have a sentence a line.
const MAX_LINE_BYTES: usize = 1 << 26;

/// A file of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Its name in messages.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// A stream of bytes that may go to another thread.
pub type Bytes = Box<dyn Read + Send>;

/// Files of one text, in order, and how their bytes become text, such as by decompression.
#[derive(Clone, Debug)]
pub struct Texts {
    /// The files.
    pub files: Vec<TextFile>,
    /// From a file's bytes to the text's.
    pub decode: fn(Bytes) -> io::Result<Bytes>,
}

impl Texts {
    /// Plain text files.
    #[must_use]
    pub fn plain(files: Vec<TextFile>) -> Self {
        Self { files, decode: Ok }
    }

    /// Bytes of all files as they lie on disk: the total of progress.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn size_bytes(&self) -> Result<u64, DataError> {
        let sizes = self.files.iter().map(|file| Ok(size(&file.path)?));
        sizes.sum()
    }
}

fn size(path: &Path) -> io::Result<u64> {
    fs_err::metadata(path).map(|metadata| metadata.len())
}

/// Some whole lines of a file.
pub(crate) struct Piece {
    file: Arc<str>,
    /// Number of its first line, from 1.
    first_line: u64,
    bytes: Vec<u8>,
    /// Whether the file ends with it.
    pub(crate) is_last: bool,
    /// Bytes of all files read from disk until here.
    read: u64,
}

impl Piece {
    /// Its text.
    pub(crate) fn text(&self) -> Result<&str, DataError> {
        std::str::from_utf8(&self.bytes).map_err(|error| {
            let before = &self.bytes[..error.valid_up_to()];
            Problem::new(
                format!("the byte {:#04x} is no UTF-8", self.bytes[before.len()]),
                "convert the file, such as with `iconv -t UTF-8`; a `corpus` stage can leave such lines out",
            )
            .at(Place {
                file: self.file.to_string(),
                line: self.first_line + newlines(before),
                column: 0,
            })
        })
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Whether a line parts documents: nothing but what Python's `str.strip` removes.
pub(crate) fn is_blank(line: &str) -> bool {
    line.chars()
        .all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// Applies `work` to every piece of the texts on `threads` threads, and `take` to the answers, in the order of the text,
/// on this one; `take` also gets the bytes read from disk so far. Each thread makes its own `work`.
///
/// Memory is bounded by the pieces under way: two a thread and a few more.
///
/// # Errors
/// The first error in the order of the text, of reading, `work` or `take`.
pub(crate) fn in_order<T, W>(
    texts: &Texts,
    threads: usize,
    worker: &(impl Fn() -> W + Sync),
    take: &mut dyn FnMut(T, u64) -> Result<(), DataError>,
) -> Result<(), DataError>
where
    T: Send,
    W: FnMut(&Piece) -> Result<T, DataError>,
{
    if threads <= 1 {
        let mut work = worker();
        return read(texts, &mut |piece| take(work(&piece)?, piece.read));
    }
    type Job<T> = (Piece, SyncSender<Result<T, DataError>>);
    type Answer<T> = (Receiver<Result<T, DataError>>, u64);
    let (jobs, waiting) = sync_channel::<Job<T>>(threads);
    let (answers, coming) = sync_channel::<Result<Answer<T>, DataError>>(2 * threads);
    let waiting = Arc::new(Mutex::new(waiting));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            scope.spawn(move || {
                let mut work = worker();
                loop {
                    let job = waiting.lock().map(|waiting| waiting.recv());
                    let Ok(Ok((piece, answer))) = job else { return };
                    // Nobody waits any more where an earlier piece failed.
                    let _ = answer.send(work(&piece));
                }
            });
        }
        drop(waiting);
        let is_over = &is_over;
        scope.spawn(move || {
            let stopped = || DataError::from(io::Error::from(io::ErrorKind::BrokenPipe));
            let result = read(texts, &mut |piece| {
                if is_over.load(Ordering::Relaxed) {
                    return Err(stopped());
                }
                let (sender, receiver) = sync_channel(1);
                let read = piece.read;
                jobs.send((piece, sender)).map_err(|_| stopped())?;
                answers.send(Ok((receiver, read))).map_err(|_| stopped())
            });
            if let Err(error) = result {
                let _ = answers.send(Err(error));
            }
        });
        // The receiver goes before the scope waits for its threads, or a full channel would hold the reader for ever.
        let coming = coming;
        let mut result = Ok(());
        for answer in &coming {
            result = answer.and_then(|(answer, read)| {
                let answer = answer.recv().map_err(|_| {
                    DataError::from(io::Error::other("a thread that read the text has ended"))
                })?;
                take(answer?, read)
            });
            if result.is_err() {
                is_over.store(true, Ordering::Relaxed);
                break;
            }
        }
        drop(coming);
        result
    })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn read(
    texts: &Texts,
    each: &mut dyn FnMut(Piece) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let read = Arc::new(AtomicU64::new(0));
    for file in &texts.files {
        let name: Arc<str> = file.name.as_str().into();
        let raw = Counted {
            inner: fs_err::File::open(&file.path)?,
            read: Arc::clone(&read),
        };
        let broken = |error: io::Error, line: u64| {
            Problem::new(
                format!("the file cannot be read on: {error}"),
                "make or fetch it again; a compressed file may be cut short",
            )
            .at(Place {
                file: file.name.clone(),
                line,
                column: 0,
            })
        };
        let mut stream = (texts.decode)(Box::new(raw)).map_err(|error| broken(error, 1))?;
        let mut rest: Vec<u8> = Vec::new();
        let mut first_line = 1;
        loop {
            let mut bytes = std::mem::take(&mut rest);
            bytes.reserve(PIECE_BYTES + 1);
            // Enough for a whole line, or everything.
            let (is_last, cut) = loop {
                let wanted = PIECE_BYTES.max(bytes.len() / 2) as u64;
                let n = (stream.by_ref().take(wanted).read_to_end(&mut bytes))
                    .map_err(|error| broken(error, first_line + newlines(&bytes)))?;
                if (n as u64) < wanted {
                    break (true, bytes.len());
                }
                let is_newline = |byte: &u8| *byte == b'\n';
                if let Some(newline) = bytes.iter().rposition(is_newline) {
                    break (false, newline + 1);
                }
                if bytes.len() > MAX_LINE_BYTES {
                    return Err(broken_line(&file.name, first_line));
                }
            };
            rest.extend_from_slice(&bytes[cut..]);
            bytes.truncate(cut);
            let lines = newlines(&bytes);
            each(Piece {
                file: Arc::clone(&name),
                first_line,
                bytes,
                is_last,
                read: read.load(Ordering::Relaxed),
            })?;
            first_line += lines;
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

fn broken_line(file: &str, line: u64) -> DataError {
    Problem::new(
        format!("the line has more than {} MiB", MAX_LINE_BYTES >> 20),
        "give text with a sentence a line and an empty line between documents, as `corpus` makes it",
    )
    .at(Place {
        file: file.to_owned(),
        line,
        column: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(folder: &Path, contents: &[Vec<u8>]) -> Texts {
        let files = contents.iter().enumerate().map(|(i, bytes)| {
            let path = folder.join(i.to_string());
            fs_err::write(&path, bytes).expect("written");
            let name = format!("f{i}");
            TextFile { name, path }
        });
        Texts::plain(files.collect())
    }

    fn lines(texts: &Texts, threads: usize) -> Result<Vec<String>, DataError> {
        let mut all = Vec::new();
        let work = || {
            |piece: &Piece| {
                Ok(piece
                    .text()?
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<String>>())
            }
        };
        in_order(texts, threads, &work, &mut |mut lines, _| {
            all.append(&mut lines);
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn lines_come_whole_and_in_order_on_any_number_of_threads() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "x".repeat(3 * PIECE_BYTES);
        let many: String = (0..400_000).map(|i| format!("line {i}\n")).collect();
        let contents = [
            many.clone().into_bytes(),
            Vec::new(),
            format!("{long}\r\nlast without end").into_bytes(),
        ];
        let texts = texts(folder.path(), &contents);
        let one = lines(&texts, 1).expect("sound");
        assert_eq!(one.len(), 400_002);
        assert_eq!(one[399_999], "line 399999");
        assert!(one[400_000] == long && one[400_001] == "last without end");
        assert_eq!(lines(&texts, 2).expect("sound"), one);
        assert_eq!(lines(&texts, 5).expect("sound"), one);
    }

    #[test]
    fn the_first_fault_in_the_order_of_the_text_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes: Vec<u8> = "fine\n".repeat(500_000).into_bytes();
        bytes.extend_from_slice(b"broken \xff\n");
        bytes.extend_from_slice("fine\n".repeat(2_000_000).as_bytes());
        bytes.extend_from_slice(b"\xfe\n");
        let texts = texts(folder.path(), &[bytes]);
        for threads in [1, 2, 4] {
            let error = lines(&texts, threads).expect_err("broken");
            assert_eq!(error.to_string(), "f0:500001: the byte 0xff is no UTF-8");
        }
        let mut n = 0;
        let stop = in_order(&texts, 3, &|| |_: &Piece| Ok(()), &mut |(), _| {
            n += 1;
            match n {
                1 => Ok(()),
                _ => Err(DataError::mismatch("enough", "stop")),
            }
        });
        assert_eq!(stop.expect_err("it stops").to_string(), "enough");
    }
}
