//! Replacement of tokens on the CPU: one pass over rows, one over slots.

use super::{Corrupt, Drawn, NOWHERE};
use crate::arena::Ints;
use crate::cpu::Cpu;
use crate::ops::losses::IGNORED;

impl Corrupt for Cpu {
    fn corrupt(&mut self, original: Ints, drawn: Drawn, real: Ints, ids: Ints, labels: Ints) {
        let read = [original, drawn.rows, drawn.samples, real].map(Ints::range);
        let ([original, rows, samples, real], [ids, labels]) =
            self.ints.views(read, [ids, labels].map(Ints::range));
        ids.copy_from_slice(original);
        let slots: Vec<(u32, u32)> = rows.iter().copied().zip(samples.iter().copied()).collect();
        for same in slots.chunk_by(|a, b| a.0 == b.0) {
            if same[0].0 != NOWHERE {
                let sum: u64 = same.iter().map(|(_, sample)| u64::from(*sample)).sum();
                ids[same[0].0 as usize] = (sum / same.len() as u64) as u32;
            }
        }
        for (((label, id), original), real) in labels.iter_mut().zip(ids).zip(original).zip(real) {
            *label = match *real {
                1 => u32::from(id != original),
                _ => IGNORED,
            };
        }
    }
}
