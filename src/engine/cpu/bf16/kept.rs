//! Weights laid out for products, kept until they change where they are asked for more than once before that: in
//! prediction, over micro-batches, and where a table is taken in parts. Knows no layout.

use std::collections::BTreeMap;

use crate::cpu::memory::Numbers;

/// A weight as an operand: where it begins, its shape, and which axis lies side by side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) start: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) column: usize,
}

/// A weight that was asked for.
#[derive(Default)]
struct Asked {
    /// Its layout, if any was kept.
    packed: Numbers<u32>,
    /// The state of all weights that the layout was made of; 0: none.
    made: u64,
    /// The state in which it was asked for last, and whether more than once.
    last: u64,
    again: bool,
}

/// All of them.
pub(super) struct Kept {
    /// Counts the times that weights changed, from 1.
    state: u64,
    weights: BTreeMap<Key, Asked>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            state: 1,
            weights: BTreeMap::new(),
        }
    }
}

impl Kept {
    /// To be called when a weight changes.
    pub(super) fn weights_changed(&mut self) {
        self.state += 1;
    }

    /// The layout of a right operand, and whether it was there. `room` is where one goes that is not kept.
    ///
    /// A layout is kept from the second time on, or from the first where the time before was like that, so that a step of
    /// one batch keeps none.
    pub(super) fn get<'a>(
        &'a mut self,
        key: Option<Key>,
        room: &'a mut Numbers<u32>,
        make: impl FnOnce(&mut Numbers<u32>),
    ) -> (&'a [u32], bool) {
        let Some(key) = key else {
            make(room);
            return (room, false);
        };
        let state = self.state;
        let asked = self.weights.entry(key).or_default();
        let is_again = asked.last == state;
        let keeps = is_again || asked.again;
        (asked.last, asked.again) = (state, is_again);
        if asked.made == state {
            return (&asked.packed, true);
        }
        if !keeps {
            (asked.packed, asked.made) = (Numbers::default(), 0);
            make(room);
            return (room, false);
        }
        make(&mut asked.packed);
        asked.made = state;
        (&asked.packed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for a layout: whether it was there, and how many are kept.
    fn ask(kept: &mut Kept, start: usize) -> (bool, usize) {
        let key = Key {
            start,
            n: 1,
            k: 2,
            column: 1,
        };
        let state = kept.state as u32;
        let mut room = Numbers::default();
        let (packed, was_there) = kept.get(Some(key), &mut room, |to| to.at_least(1)[0] = state);
        assert_eq!(packed[0], state, "the layout is of the weights as they are");
        let count = kept.weights.values().filter(|asked| asked.made > 0).count();
        (was_there, count)
    }

    #[test]
    fn what_is_asked_for_again_is_kept_until_weights_change() {
        let kept = &mut Kept::default();
        assert_eq!(ask(kept, 0), (false, 0));
        assert_eq!(ask(kept, 0), (false, 1));
        assert_eq!(ask(kept, 0), (true, 1));
        kept.weights_changed();
        assert_eq!(ask(kept, 0), (false, 1), "it was, so it will be");
        assert_eq!(ask(kept, 0), (true, 1));
        assert_eq!(ask(kept, 9), (false, 1));
        // Steps that take each weight once keep none.
        kept.weights_changed();
        assert_eq!(ask(kept, 0), (false, 1));
        kept.weights_changed();
        assert_eq!(ask(kept, 0), (false, 0));
        kept.weights_changed();
        assert_eq!(ask(kept, 0), (false, 0));
    }
}
