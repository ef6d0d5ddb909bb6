//! The discriminator's input and its labels, from what the generator drew: nothing of it travels to the host. Spec D.2.

use crate::arena::Ints;
use crate::backend::Memory;

mod cpu;
pub(crate) mod cuda;

/// A slot's row where the slot is part of an inert tail.
pub const NOWHERE: u32 = u32::MAX;

/// What was drawn.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// Row of each slot, ascending, so that those of one row are neighbours; [`NOWHERE`] in the tail.
    pub rows: Ints,
    /// The id that each slot drew.
    pub samples: Ints,
}

/// Replacement of tokens.
pub trait Corrupt: Memory {
    /// `ids` is `original` where nothing was drawn, and elsewhere the average id of what was, rounded down, as Google's
    /// code has it. `labels` is 1 where it differs from the original and else 0, or
    /// [`IGNORED`](super::losses::IGNORED) where `real` is not 1: on rows of padding or of an inert tail. All by row
    /// but what was drawn; overwrites `ids` and `labels`.
    fn corrupt(&mut self, original: Ints, drawn: Drawn, real: Ints, ids: Ints, labels: Ints);
}
