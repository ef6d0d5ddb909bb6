//! An un-padded batch on the device: ids and segments by token, sequences by their starts. Knows no network.

use std::ops::Range;

use crate::arena::{Granularity, Ints, Plan};
use crate::backend::{Memory, Rows, Sequences};
use crate::ops::embedding::EmbeddingInputs;

/// One sequence as it enters: ids with specials, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// Segment of each token.
    pub types: &'a [u32],
    /// Index in the global batch of the step: randomness hangs on it.
    pub index: u32,
}

/// Cuts a batch into parts of at most so many tokens and sequences, in order; a longer sequence is a part of its own.
#[must_use]
pub fn parts(
    lengths: impl IntoIterator<Item = usize>,
    most_tokens: usize,
    most_sequences: usize,
) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (i, length) in lengths.into_iter().enumerate() {
        match parts.last_mut() {
            Some(part) if tokens + length <= most_tokens && part.len() < most_sequences => {
                part.end = i + 1;
                tokens += length;
            }
            _ => {
                parts.push(i..i + 1);
                tokens = length;
            }
        }
    }
    parts
}

/// Room for batches of at most so many tokens and sequences.
#[derive(Clone, Copy, Debug)]
pub struct BatchPlan {
    granularity: Granularity,
    ids: Ints,
    types: Ints,
    token_sequence: Ints,
    token_position: Ints,
    starts: Ints,
    keys: Ints,
    index: Ints,
    zeros: Ints,
}

/// A batch that was written to the device.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Ids and segments.
    pub inputs: EmbeddingInputs,
    /// Tokens.
    pub rows: Rows,
    /// Sequences.
    pub sequences: Sequences,
    /// Sequences as rows: position 0 of each, for what is done once a sequence.
    pub firsts: Rows,
    /// Index of each sequence's first row.
    pub first_rows: Ints,
}

impl BatchPlan {
    /// Lays out room for `tokens` and `sequences`.
    pub fn new(plan: &mut Plan, tokens: usize, sequences: usize) -> Self {
        Self {
            granularity: plan.granularity(),
            ids: plan.ints(tokens),
            types: plan.ints(tokens),
            token_sequence: plan.ints(tokens),
            token_position: plan.ints(tokens),
            starts: plan.ints(sequences + 1),
            keys: plan.ints(sequences),
            index: plan.ints(sequences),
            zeros: plan.ints(sequences),
        }
    }

    /// Most tokens of a batch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Where the ids of the first `tokens` tokens lie.
    pub(crate) fn ids(&self, tokens: usize) -> Ints {
        self.ids.first(tokens)
    }

    /// Most sequences of a batch.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.index.len()
    }

    /// The sizes that the device works in.
    #[must_use]
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Rows that a batch of `n` tokens takes, with its inert tail.
    #[must_use]
    pub fn rows_of(&self, n: usize) -> usize {
        self.granularity.rows_of(n, self.tokens())
    }

    /// Writes a batch. With `padded_to`, each sequence is filled up to that many rows that no query sees: slower, the
    /// same up to rounding, and what padded programs compute; for comparison with them.
    ///
    /// # Panics
    /// When there are more tokens or sequences than there is room for.
    pub fn write<M: Memory>(
        &self,
        memory: &mut M,
        batch: &[Sequence<'_>],
        padded_to: Option<usize>,
    ) -> Batch {
        let (mut ids, mut types) = (Vec::new(), Vec::new());
        let (mut token_sequence, mut token_position) = (Vec::new(), Vec::new());
        let (mut starts, mut keys, mut index) = (vec![0_u32], Vec::new(), Vec::new());
        let count = |n: usize| u32::try_from(n).expect("batches are small");
        for sequence in batch {
            assert_eq!(sequence.ids.len(), sequence.types.len());
            let length = sequence.ids.len().max(padded_to.unwrap_or(0));
            let pad = length - sequence.ids.len();
            ids.extend_from_slice(sequence.ids);
            ids.extend(std::iter::repeat_n(0, pad));
            types.extend_from_slice(sequence.types);
            types.extend(std::iter::repeat_n(0, pad));
            token_sequence.extend(std::iter::repeat_n(sequence.index, length));
            token_position.extend(0..count(length));
            starts.push(count(ids.len()));
            keys.push(count(sequence.ids.len()));
            index.push(sequence.index);
        }
        let (n, sequences) = (self.rows_of(ids.len()), batch.len());
        for (values, filler) in [
            (&mut ids, 0),
            (&mut types, 0),
            (&mut token_sequence, u32::MAX),
            (&mut token_position, 0),
        ] {
            values.resize(n, filler);
        }
        let put = |memory: &mut M, place: Ints, values: &[u32]| {
            let place = place.first(values.len());
            memory.write_ints(place, values);
            place
        };
        let inputs = EmbeddingInputs {
            ids: put(memory, self.ids, &ids),
            types: put(memory, self.types, &types),
        };
        let rows = Rows {
            count: n,
            sequence: put(memory, self.token_sequence, &token_sequence),
            position: put(memory, self.token_position, &token_position),
        };
        let starts = put(memory, self.starts, &starts);
        let index = put(memory, self.index, &index);
        let sequences_on_device = Sequences {
            count: sequences,
            starts,
            keys: put(memory, self.keys, &keys),
            index,
        };
        let zeros = put(memory, self.zeros, &vec![0; sequences]);
        Batch {
            inputs,
            rows,
            sequences: sequences_on_device,
            firsts: Rows {
                count: sequences,
                sequence: index,
                position: zeros,
            },
            first_rows: starts.first(sequences),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_and_leave_nothing_out() {
        assert_eq!(
            parts([3, 4, 5, 9, 1, 1, 1], 9, 2),
            [0..2, 2..3, 3..4, 4..6, 6..7]
        );
        assert_eq!(parts([20, 1], 9, 2), [0..1, 1..2]);
        assert!(parts([], 9, 2).is_empty());
    }
}
