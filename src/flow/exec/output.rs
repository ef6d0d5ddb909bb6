//! What a stage prints: kept in a file of bounded size, its last lines at hand. Knows nothing of the stage.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes kept from the start of the output.
const HEAD_BYTES: u64 = 8 << 20;
/// Bytes kept from its end.
const TAIL_BYTES: usize = 1 << 20;

/// The output so far.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Made with the first byte: most stages of a large pipeline print nothing.
    file: Option<fs_err::File>,
    written: u64,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Log {
    /// A log that goes to this file, which must not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            path,
            file: None,
            written: 0,
            tail: VecDeque::new(),
            dropped: 0,
        }))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(fs_err::File::create(&self.path)?),
        };
        file.write_all(bytes)
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = usize::try_from(HEAD_BYTES - self.written.min(HEAD_BYTES)).unwrap_or(0);
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        if !head.is_empty() {
            // A full disk must not stop the reader: the stage would hang on its pipe.
            let _ = self.append(head);
            self.written += head.len() as u64;
        }
        // The tail also keeps the end of the head, so that the last lines are always in one piece.
        self.tail.extend(if rest.is_empty() { head } else { rest });
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        if excess > 0 {
            self.tail.drain(..excess);
            if self.written >= HEAD_BYTES {
                self.dropped += excess as u64;
            }
        }
        if !rest.is_empty() {
            self.written += rest.len() as u64;
        }
    }

    /// Writes the end of a long output into the file, with a line that says how much was left out.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.written > HEAD_BYTES {
            let tail: Vec<u8> = self.tail.drain(..).collect();
            let beyond = self.written - HEAD_BYTES;
            let kept = usize::try_from(beyond)
                .unwrap_or(usize::MAX)
                .min(tail.len());
            let left_out = beyond - kept as u64;
            if left_out > 0 {
                self.append(format!("\n[… {left_out} bytes left out …]\n").as_bytes())?;
            }
            self.append(&tail[tail.len() - kept..])?;
            self.tail.extend(&tail);
        }
        Ok(())
    }

    /// The last `count` lines, without control characters.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..]
            .iter()
            .map(|line| printable(line))
            .collect()
    }
}

/// A line fit for a terminal: what a carriage return overwrote is gone, control characters too, 500 characters at most.
fn printable(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut clean = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            if characters.peek() == Some(&'[') {
                characters.next();
                for c in characters.by_ref() {
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
        } else if c == '\t' || !c.is_control() {
            clean.push(c);
        }
    }
    if clean.chars().count() > 500 {
        clean = clean.chars().take(499).chain(['…']).collect();
    }
    clean
}

/// Reads a pipe to its end into a log, on a thread of its own, then calls `done`.
///
/// # Errors
/// When the thread cannot be started.
pub fn drain(
    mut pipe: io::PipeReader,
    log: Arc<Mutex<Log>>,
    done: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("output".into())
        .spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => log
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take(&buffer[..n]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            done();
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_its_end_kept() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("log");
        let log = Log::new(path.clone());
        let mut log = log.lock().expect("whole");
        let line = [b'x'; 99];
        for _ in 0..200_000 {
            log.take(&line);
            log.take(b"\n");
        }
        log.take(b"the end\n");
        log.finish().expect("finishes");
        assert_eq!(log.last_lines(2)[1], "the end");
        let text = fs_err::read_to_string(&path).expect("read");
        assert!(text.len() as u64 <= HEAD_BYTES + TAIL_BYTES as u64 + 100);
        assert!(text.contains("bytes left out") && text.ends_with("the end\n"));
    }

    #[test]
    fn a_short_output_is_kept_whole() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("log");
        let log = Log::new(path.clone());
        let mut log = log.lock().expect("whole");
        let output = b"one\ntwo\x1b[31m red\x1b[0m\nold\rnew\n";
        log.take(output);
        log.finish().expect("finishes");
        assert_eq!(log.last_lines(20), ["one", "two red", "new"]);
        assert_eq!(fs_err::read(&path).expect("read"), output);
    }
}
