//! Rows picked from a matrix and put back, and units dropped in front of a head.

use crate::arena::{Act, Ints};
use crate::backend::{DropoutAt, Memory, Rows};

mod cpu;
pub(crate) mod cuda;

/// Passes over rows that no other op takes along.
pub trait RowOps: Memory {
    /// `y[i] = x[index[i]]`, rows of `width`. Overwrites `y`.
    fn gather(&mut self, x: Act, index: Ints, width: usize, y: Act);

    /// `dx[index[i]] += dy[i]`, in order of `i`. Any order of indices is right; devices are fast where they ascend.
    fn gather_backward(&mut self, dy: Act, index: Ints, width: usize, dx: Act);

    /// `y = dropout(x)`, or a copy where nothing is dropped. Its own gradient, with `dy` for `x`.
    fn dropout(&mut self, x: Act, width: usize, at: DropoutAt, rows: Rows, y: Act);
}
