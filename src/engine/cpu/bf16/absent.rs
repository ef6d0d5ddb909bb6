//! What stands for the instructions where a processor's family has none. Nothing of it is called there but `is_here`.

use std::ops::Range;

use crate::cpu::matmul::{Matrix, MatrixMut};
use crate::cpu::memory::Numbers;

const ABSENT: &str = "asked for instructions that `is_here` says are not";

/// Whether this processor has the instructions.
pub(super) fn is_here() -> bool {
    false
}

pub(super) unsafe fn pack_left(_: Matrix, _: [usize; 2], _: &mut Numbers<u32>) -> &[u32] {
    unreachable!("{ABSENT}")
}

pub(super) unsafe fn pack_right(_: Matrix, _: [usize; 2], _: &mut Numbers<u32>) {
    unreachable!("{ABSENT}")
}

pub(super) unsafe fn product(
    _: [usize; 3],
    _: &[u32],
    _: &[u32],
    _: MatrixMut,
    _: Option<(*const f32, usize)>,
    _: &(dyn Fn(Range<usize>, Range<usize>) + Sync),
) {
    unreachable!("{ABSENT}")
}
