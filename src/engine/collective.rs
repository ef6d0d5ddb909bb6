//! Processes that train one model together: each computes gradients of its share of a batch, and all add them up. Knows no
//! model and not who started the processes.

mod processes;

pub use processes::Processes;

use std::fmt::Debug;
use std::ops::Range;

use crate::error::DeviceError;

/// A group of processes of which this is one.
///
/// What is added up has the same bits in all of them: numbers are added in the order of the processes. With another number
/// of processes only rounding changes, since randomness hangs on an example's place in the whole batch.
pub trait Collective: Debug + Send {
    /// Which of them this is, counted from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Numbers become their sums over all processes, which all call this in the same order with as many numbers.
    ///
    /// # Errors
    /// When another process is gone or out of step.
    fn sum(&mut self, values: &mut [f32]) -> Result<(), DeviceError>;
}

/// Where a process stands in its group, for what is divided among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which process, counted from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
}

impl Seat {
    /// Of a process that trains alone.
    pub const ALONE: Self = Self { rank: 0, size: 1 };

    /// The share of `n` things in a row: shares follow one another, and differ by one at most.
    #[must_use]
    pub fn share(self, n: usize) -> Range<usize> {
        n * self.rank / self.size..n * (self.rank + 1) / self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_nothing_out() {
        for n in [0, 1, 2, 7, 256] {
            for size in [1, 2, 3, 8] {
                let shares = (0..size).map(|rank| Seat { rank, size }.share(n));
                let all: Vec<usize> = shares.clone().flatten().collect();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
                let lengths = shares.map(|share| share.len());
                let (least, most) = (lengths.clone().min(), lengths.max());
                assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1);
            }
        }
    }
}
