//! Halves of rows on the CPU.

use rayon::prelude::*;

use super::{Half, Pairs};
use crate::arena::{Act, Ints};
use crate::cpu::Cpu;
use crate::ops::linear::cpu::scatter_parts;

impl Pairs for Cpu {
    fn put_half(&mut self, x: Act, index: Ints, width: usize, half: Half, y: Act) {
        let index = self.ints.get(index.range());
        let ([x], [y]) = self.acts.views([x.range()], [y.range()]);
        let first = half as usize * width;
        y.par_chunks_mut(2 * width).zip(index).for_each(|(y, i)| {
            y[first..first + width].copy_from_slice(&x[*i as usize * width..][..width]);
        });
    }

    fn take_half(&mut self, dy: Act, index: Ints, width: usize, half: Half, dx: Act) {
        let index = self.ints.get(index.range());
        let ([dy], [dx]) = self.acts.views([dy.range()], [dx.range()]);
        let part = half as usize * width..(half as usize + 1) * width;
        scatter_parts(dy, 2 * width, part, |i| index[i] as usize, dx);
    }
}
