//! Lines of a text file with their numbers, and the first look at its bytes. Knows nothing of formats.

use std::io::BufRead;

use crate::error::{DataError, Place, Problem};

/// Looks at the first bytes: skips a UTF-8 byte order mark and refuses what is plainly no UTF-8 text.
pub(crate) fn start(reader: &mut dyn BufRead, file: &str) -> Result<(), DataError> {
    let head = reader.fill_buf()?;
    if head.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
        return Ok(());
    }
    let found = if head.starts_with(b"\x1f\x8b") {
        Some(("compressed with gzip", "unpack it in the `fetch` stage"))
    } else if head.starts_with(b"PK\x03\x04") {
        Some(("a zip archive", "unpack it in the `fetch` stage"))
    } else if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        Some((
            "UTF-16 text",
            "convert it, such as with `iconv -f UTF-16 -t UTF-8`",
        ))
    } else {
        None
    };
    match found {
        Some((what, help)) => Err(Problem::new(format!("the file is {what}"), help).at(Place {
            file: file.to_owned(),
            line: 1,
            column: 0,
        })),
        None => Ok(()),
    }
}

/// A cursor over the lines of a UTF-8 text; ends of line are LF or CRLF, a byte order mark is skipped.
pub(crate) struct Lines<'a> {
    reader: &'a mut dyn BufRead,
    file: &'a str,
    text: String,
    line: u64,
}

impl<'a> Lines<'a> {
    /// Before the first line.
    pub(crate) fn new(reader: &'a mut dyn BufRead, file: &'a str) -> Result<Self, DataError> {
        start(reader, file)?;
        Ok(Self {
            reader,
            file,
            text: String::new(),
            line: 0,
        })
    }

    /// Goes to the next line; `false` at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, DataError> {
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.clear();
        if self.reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(false);
        }
        self.line += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        self.text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[good];
            let column = String::from_utf8_lossy(&error.as_bytes()[..good])
                .chars()
                .count();
            Problem::new(
                format!("byte 0x{byte:02x} is not UTF-8"),
                "convert the file to UTF-8, such as with `iconv -f LATIN1 -t UTF-8`",
            )
            .at(Place {
                file: self.file.to_owned(),
                line: self.line,
                column: column as u64 + 1,
            })
        })?;
        Ok(true)
    }

    /// The current line without its end.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The number of the current line, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.line
    }

    /// A place in the current line by byte offset.
    pub(crate) fn place_at(&self, offset: usize) -> Place {
        let column = self
            .text
            .char_indices()
            .take_while(|(at, _)| *at < offset)
            .count();
        Place {
            column: column as u64 + 1,
            ..self.place(self.line)
        }
    }

    /// A whole line.
    pub(crate) fn place(&self, line: u64) -> Place {
        Place {
            file: self.file.to_owned(),
            line,
            column: 0,
        }
    }

    /// A fault of the whole current line.
    pub(crate) fn broken(&self, message: impl Into<String>, help: impl Into<String>) -> DataError {
        Problem::new(message, help).at(self.place(self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> Result<Vec<String>, DataError> {
        let mut lines = Lines::new(&mut bytes, "x.txt")?;
        let mut all = Vec::new();
        while lines.advance()? {
            all.push(lines.text().to_owned());
        }
        Ok(all)
    }

    #[test]
    fn takes_both_line_ends_a_mark_and_a_missing_last_end() {
        let lines = read(b"\xef\xbb\xbfa\r\nb\n\nc\rd").expect("readable");
        assert_eq!(lines, ["a", "b", "", "c\rd"]);
    }

    #[test]
    fn names_the_byte_that_is_not_utf8() {
        let error = read("ok\nna\u{ef}ve \u{e9}".as_bytes()).err();
        assert!(error.is_none());
        let error = read(b"ok\nna\xefve").expect_err("Latin-1");
        assert_eq!(error.to_string(), "x.txt:2:3: byte 0xef is not UTF-8");
        let error = read(b"\x1f\x8b\x08").expect_err("gzip");
        assert_eq!(
            error.to_string(),
            "x.txt:1: the file is compressed with gzip"
        );
    }
}
