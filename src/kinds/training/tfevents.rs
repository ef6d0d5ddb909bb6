//! TensorBoard's event files: records with checksums around protocol buffers, of which three messages are written by
//! hand. Knows nothing of what is measured.
//!
//! A record is its length (u64), the masked CRC-32C of the length, the message, and the masked CRC-32C of the message, all
//! little-endian (tensorflow/core/lib/io/record_writer.h). An `Event` (tensorflow/core/util/event.proto) has
//! `wall_time` = 1, `step` = 2 and one of `file_version` = 3, `summary` = 5, `session_log` = 7.

use std::io::Write;

/// What the first event of a file says.
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.START`: readers drop what earlier files hold from the event's step on.
const START: u64 = 1;

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// The events of one run, written to the end of a file.
#[derive(Debug)]
pub(super) struct EventWriter<W: Write> {
    to: W,
}

impl<W: Write> EventWriter<W> {
    /// Begins a file for training that goes on after `step` updates: what earlier files hold beyond it counts no more.
    pub(super) fn begin(to: W, wall_time: f64, step: u64) -> std::io::Result<Self> {
        let mut writer = Self { to };
        let mut event = begun(wall_time, 0);
        bytes(&mut event, 3, FILE_VERSION.as_bytes());
        writer.record(&event)?;
        let mut log = Vec::new();
        varint_field(&mut log, 1, START);
        let mut event = begun(wall_time, step + 1);
        bytes(&mut event, 7, &log);
        writer.record(&event)?;
        writer.to.flush()?;
        Ok(writer)
    }

    /// Adds numbers of a step, by their tags.
    pub(super) fn scalars(
        &mut self,
        wall_time: f64,
        step: u64,
        values: &[(String, f64)],
    ) -> std::io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            // Summary.Value: tag = 1, simple_value = 2.
            let mut item = Vec::new();
            bytes(&mut item, 1, tag.as_bytes());
            varint(&mut item, 2 << 3 | FIXED_32);
            item.extend((*value as f32).to_le_bytes());
            bytes(&mut summary, 1, &item);
        }
        let mut event = begun(wall_time, step);
        bytes(&mut event, 5, &summary);
        self.record(&event)?;
        self.to.flush()
    }

    fn record(&mut self, message: &[u8]) -> std::io::Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(message.len() + 16);
        record.extend(length);
        record.extend(masked(&length).to_le_bytes());
        record.extend(message);
        record.extend(masked(message).to_le_bytes());
        // At once, so that a reader meanwhile sees whole records or none.
        self.to.write_all(&record)
    }
}

/// An event's time in seconds since 1970 and its step.
fn begun(wall_time: f64, step: u64) -> Vec<u8> {
    let mut event = Vec::new();
    varint(&mut event, 1 << 3 | FIXED_64);
    event.extend(wall_time.to_le_bytes());
    varint_field(&mut event, 2, step);
    event
}

/// CRC-32C, rotated and shifted, as it would else be found inside the data it is of.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn varint_field(to: &mut Vec<u8>, field: u64, value: u64) {
    varint(to, field << 3 | VARINT);
    varint(to, value);
}

fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(to, field << 3 | BYTES);
    varint(to, value.len() as u64);
    to.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers: RFC 3720 B.4 for the checksum; messages put together by hand. `tests/parity/tensorboard.py` asks TensorBoard.
    #[test]
    fn records_are_those_of_the_format() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let mut file = Vec::new();
        let mut writer = EventWriter::begin(&mut file, 1.5, 300).expect("written");
        let values = [("loss".to_owned(), 0.25), ("rate".to_owned(), 2.0)];
        writer.scalars(2.5, 301, &values).expect("written");
        let mut rest = &file[..];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight"));
            let n = usize::try_from(length).expect("small");
            let sum = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four"));
            assert_eq!(sum(8), masked(&rest[..8]));
            assert_eq!(sum(12 + n), masked(&rest[12..12 + n]));
            messages.push(&rest[12..12 + n]);
            rest = &rest[16 + n..];
        }
        let time = |t: f64| [&[9][..], &t.to_le_bytes()].concat();
        assert_eq!(messages.len(), 3);
        let version = [&time(1.5)[..], &[16, 0, 26, 13], b"brain.Event:2"].concat();
        assert_eq!(messages[0], version);
        let start = [&time(1.5)[..], &[16, 0xad, 0x02, 58, 2, 8, 1]].concat();
        assert_eq!(messages[1], start);
        let item = |tag: &[u8], value: f32| {
            [&[10, 11, 10, 4][..], tag, &[21], &value.to_le_bytes()].concat()
        };
        let summary = [item(b"loss", 0.25), item(b"rate", 2.0)].concat();
        let scalars = [&time(2.5)[..], &[16, 0xad, 0x02, 42, 26], &summary].concat();
        assert_eq!(messages[2], scalars);
    }
}
