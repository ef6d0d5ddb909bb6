//! Halves of rows on an accelerator: rows picked and put back, as columns of wider ones.

use super::{Half, Pairs};
use crate::arena::{Act, Ints};
use crate::cuda::Cuda;
use crate::cuda::driver::Driver;
use crate::ops::rows::cuda::Columns;

fn half_of(of: Act, width: usize, half: Half) -> Columns {
    Columns {
        of,
        stride: 2 * width,
        first: half as usize * width,
    }
}

impl<D: Driver> Pairs for Cuda<D> {
    fn put_half(&mut self, x: Act, index: Ints, width: usize, half: Half, y: Act) {
        self.pick(x, index, width, half_of(y, width, half));
    }

    fn take_half(&mut self, dy: Act, index: Ints, width: usize, half: Half, dx: Act) {
        self.put_back(half_of(dy, width, half), index, width, dx);
    }
}
