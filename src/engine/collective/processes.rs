//! A group over pairs of sockets of this machine. The first process adds up and hands the sums back: for processors, and
//! for accelerators without a library of their own for it. Knows no devices.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Collective;
use crate::error::DeviceError;

/// Numbers that travel at a time.
const CHUNK: usize = 1 << 18;
/// How long one process waits for another's numbers: steps of the largest models are over by then.
const PATIENCE: Duration = Duration::from_mins(30);
fn gone(what: &str, reason: impl std::fmt::Display) -> DeviceError {
    DeviceError::Failed {
        device: "the group of processes".to_owned(),
        reason: format!("{what}: {reason}"),
    }
}

/// A group of processes on this machine.
#[derive(Debug)]
pub struct Processes {
    rank: usize,
    size: usize,
    /// Those to all others in the first process; that to the first in others.
    streams: Vec<UnixStream>,
    bytes: Vec<u8>,
    sums: Vec<f32>,
}

impl Processes {
    /// The first of a group, with a socket to each of the others in their order.
    ///
    /// # Errors
    /// When a socket refuses its time limit.
    pub fn first(others: Vec<UnixStream>) -> Result<Self, DeviceError> {
        Self::new(0, others.len() + 1, others)
    }

    /// Process `rank` (1 and more) of `size`, with its socket to the first.
    ///
    /// # Errors
    /// When the socket refuses its time limit.
    pub fn other(rank: usize, size: usize, first: UnixStream) -> Result<Self, DeviceError> {
        assert!((1..size).contains(&rank), "one of those after the first");
        Self::new(rank, size, vec![first])
    }

    fn new(rank: usize, size: usize, streams: Vec<UnixStream>) -> Result<Self, DeviceError> {
        for stream in &streams {
            stream
                .set_read_timeout(Some(PATIENCE))
                .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
                .map_err(|error| gone("a socket", error))?;
        }
        Ok(Self {
            rank,
            size,
            streams,
            bytes: Vec::new(),
            sums: Vec::new(),
        })
    }

    /// A chunk's numbers from a process, after their number.
    fn receive(&mut self, from: usize, n: usize) -> Result<(), DeviceError> {
        let stream = &mut self.streams[from];
        let who = || match self.rank {
            0 => format!("process {}", from + 1),
            _ => "the first process".to_owned(),
        };
        let [count] = read_words::<1>(stream).map_err(|error| gone(&who(), error))?;
        if count as usize != n {
            let reason = format!("it is out of step: it has {count} numbers where {n} are");
            return Err(gone(&who(), reason));
        }
        self.bytes.resize(n * 4, 0);
        stream
            .read_exact(&mut self.bytes)
            .map_err(|error| gone(&who(), error))
    }

    fn send(&mut self, to: usize, values: &[f32]) -> Result<(), DeviceError> {
        let count = u32::try_from(values.len()).expect("a chunk is small");
        let stream = &mut self.streams[to];
        stream
            .write_all(&count.to_ne_bytes())
            .and_then(|()| stream.write_all(bytemuck::cast_slice(values)))
            .map_err(|error| gone("another process", error))
    }

    fn numbers(&self) -> impl Iterator<Item = f32> + '_ {
        let (words, _) = self.bytes.as_chunks::<4>();
        words.iter().map(|word| f32::from_ne_bytes(*word))
    }
}

fn read_words<const N: usize>(stream: &mut UnixStream) -> std::io::Result<[u32; N]> {
    let mut words = [0_u32; N];
    stream.read_exact(bytemuck::cast_slice_mut(&mut words))?;
    Ok(words)
}

impl Collective for Processes {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), DeviceError> {
        for chunk in values.chunks_mut(CHUNK) {
            if self.rank > 0 {
                self.send(0, chunk)?;
                self.receive(0, chunk.len())?;
                for (value, sum) in chunk.iter_mut().zip(self.numbers()) {
                    *value = sum;
                }
                continue;
            }
            let mut sums = std::mem::take(&mut self.sums);
            sums.clear();
            sums.extend_from_slice(chunk);
            for other in 0..self.streams.len() {
                self.receive(other, chunk.len())?;
                for (sum, value) in sums.iter_mut().zip(self.numbers()) {
                    *sum += value;
                }
            }
            for other in 0..self.streams.len() {
                self.send(other, &sums)?;
            }
            chunk.copy_from_slice(&sums);
            self.sums = sums;
        }
        Ok(())
    }
}
