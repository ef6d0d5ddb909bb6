//! Hashes seen before. Knows nothing of what was hashed.

/// Parts of the table; each doubles on its own, so that growing never needs twice the memory of the whole.
const PARTS: usize = 256;

/// A set of 64-bit hashes: 11 to 22 bytes each, none for those that come again.
///
/// Two of `n` different texts share a hash with a chance of `n² / 2^65`: 2 in 100,000 for the 28.7 million abstracts of
/// PubMed, as the chance that a single one of them is taken for a repetition.
#[derive(Debug)]
pub(crate) struct Unique {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    /// Open addressing; 0 is a free slot.
    slots: Vec<u64>,
    used: usize,
}

impl Unique {
    pub(crate) fn new() -> Self {
        Self {
            parts: vec![Part::default(); PARTS],
        }
    }

    /// Adds a hash; `false` if it was there.
    pub(crate) fn insert(&mut self, hash: u64) -> bool {
        // 0 is taken by free slots; the hash of a text is 0 as rarely as it is 1.
        let hash = hash.max(1);
        let part = usize::try_from(hash >> 56).expect("one byte");
        self.parts[part].insert(hash)
    }
}

impl Part {
    fn insert(&mut self, hash: u64) -> bool {
        if self.used * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let added = place(&mut self.slots, hash);
        self.used += usize::from(added);
        added
    }

    fn grow(&mut self) {
        let mut larger = vec![0; (self.slots.len() * 2).max(16)];
        for hash in self.slots.iter().filter(|hash| **hash != 0) {
            place(&mut larger, *hash);
        }
        self.slots = larger;
    }
}

fn place(slots: &mut [u64], hash: u64) -> bool {
    let mask = slots.len() - 1;
    let mut at = usize::try_from(hash & 0xffff_ffff).expect("32 bits fit") & mask;
    loop {
        match slots[at] {
            0 => {
                slots[at] = hash;
                return true;
            }
            same if same == hash => return false,
            _ => at = (at + 1) & mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn is_a_set() {
        let mut unique = Unique::new();
        let mut expected = BTreeSet::new();
        let mut hash = 1_u64;
        for i in 0..50_000_u64 {
            hash = hash
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(i | 1);
            let key = if i % 3 == 0 { hash >> 48 } else { hash };
            assert_eq!(unique.insert(key), expected.insert(key.max(1)), "{key}");
        }
        assert!(expected.len() > 30_000 && expected.len() < 50_000);
    }
}
