//! A group over sockets of this machine. The first process adds up and hands the sums back: for processors, and for
//! accelerators without a library of their own for it. Knows no devices.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::Collective;
use crate::error::DeviceError;

/// Numbers that travel at a time.
const CHUNK: usize = 1 << 18;
/// How long one process waits for another's numbers: steps of the largest models are over by then.
const PATIENCE: Duration = Duration::from_mins(30);
/// What a process says first, before its rank, the number of processes and the group's word.
const GREETING: u32 = 0x70_65_65_72;

fn gone(what: &str, reason: impl std::fmt::Display) -> DeviceError {
    DeviceError::Failed {
        device: "the group of processes".to_owned(),
        reason: format!("{what}: {reason}"),
    }
}

/// Where the first process waits for the others.
#[derive(Debug)]
pub struct Meeting {
    listener: UnixListener,
    size: usize,
    word: u32,
}

impl Meeting {
    /// Opens a meeting for `size` processes at a path that does not exist yet. All must know `word`: what decides what
    /// they do, as a number, so that processes of another configuration are refused.
    ///
    /// # Errors
    /// When no socket can be made there.
    pub fn open(at: &Path, size: usize, word: u32) -> Result<Self, DeviceError> {
        assert!(size > 1, "nobody meets alone");
        let listener = UnixListener::bind(at).map_err(|error| gone("its socket", error))?;
        Ok(Self {
            listener,
            size,
            word,
        })
    }

    /// Waits until all are there, and becomes the first of them. `goes_on` is asked between looks: whether those who are
    /// waited for still live.
    ///
    /// # Errors
    /// When somebody else comes, or `goes_on` says no.
    pub fn wait(self, goes_on: impl Fn() -> bool) -> Result<Processes, DeviceError> {
        let count = u32::try_from(self.size).expect("few processes");
        let mut others: Vec<Option<UnixStream>> = (1..self.size).map(|_| None).collect();
        self.listener
            .set_nonblocking(true)
            .map_err(|error| gone("its socket", error))?;
        while others.iter().any(Option::is_none) {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !goes_on() {
                        return Err(gone("a process", "it ended before it came"));
                    }
                    std::thread::park_timeout(Duration::from_millis(5));
                    continue;
                }
                Err(error) => return Err(gone("its socket", error)),
            };
            let hello = stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
                .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
                .and_then(|()| read_words::<4>(&mut stream));
            let [greeting, rank, size, word] = hello.map_err(|error| gone("a process", error))?;
            let place = (rank as usize)
                .checked_sub(1)
                .and_then(|i| others.get_mut(i))
                .filter(|place| place.is_none());
            match place {
                Some(place) if [greeting, size, word] == [GREETING, count, self.word] => {
                    *place = Some(stream);
                }
                _ => {
                    return Err(gone(
                        "a process",
                        format!("process {rank} of {size} does not belong to this group"),
                    ));
                }
            }
        }
        Ok(Processes {
            rank: 0,
            size: self.size,
            streams: others.into_iter().flatten().collect(),
            bytes: Vec::new(),
            sums: Vec::new(),
        })
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
    /// Joins the meeting at a path as process `rank` (1 and more) of `size`.
    ///
    /// # Errors
    /// When nobody waits there.
    pub fn join(at: &Path, rank: usize, size: usize, word: u32) -> Result<Self, DeviceError> {
        let joined = (|| {
            let mut stream = UnixStream::connect(at)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let count = |n: usize| u32::try_from(n).expect("few processes");
            let hello = [GREETING, count(rank), count(size), word];
            stream.write_all(bytemuck::cast_slice(&hello))?;
            Ok::<_, std::io::Error>(stream)
        })();
        let stream = joined.map_err(|error| gone("the first process", error))?;
        Ok(Self {
            rank,
            size,
            streams: vec![stream],
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
