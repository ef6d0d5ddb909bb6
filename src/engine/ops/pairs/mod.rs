//! Rows of two halves, each picked from a matrix: what a head reads of two tokens at once. Knows no head.

use crate::arena::{Act, Ints};
use crate::backend::Memory;

mod cpu;
mod cuda;

/// Which half of a row of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The first `width` elements.
    First = 0,
    /// The last `width` elements.
    Second = 1,
}

/// Passes that write and read halves of rows.
pub trait Pairs: Memory {
    /// One half of `y[i]` (rows, 2 `width`) becomes `x[index[i]]`, a row of `width`. The other half stays.
    fn put_half(&mut self, x: Act, index: Ints, width: usize, half: Half, y: Act);

    /// `dx[index[i]] +=` one half of `dy[i]` (rows, 2 `width`), in order of `i`.
    fn take_half(&mut self, dy: Act, index: Ints, width: usize, half: Half, dx: Act);
}
