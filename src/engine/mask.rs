//! Which positions of a sequence are masked at a step. Spec D.1. Knows no network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::{Draw, Purpose, Stream, below, unit};

/// What happens when a position is drawn twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// It cannot happen: positions are drawn without replacement.
    #[default]
    None,
    /// As in Google's code: positions are drawn with replacement, count twice in the loss, and the average of the two
    /// sampled ids takes the place.
    Average,
}

/// How sequences are masked.
#[derive(Clone, Debug, PartialEq)]
pub struct Masking {
    /// Share of the real tokens, specials included, that is predicted.
    pub share: f64,
    /// Most predictions of a sequence.
    pub most: usize,
    /// Whether a position may be drawn twice.
    pub duplicates: Duplicates,
    /// Tokens that are never masked: `[CLS]`, `[SEP]`, `[MASK]`.
    pub never: Vec<u32>,
}

/// Share of the masked positions that keep their token in the generator's input.
const KEEP: f32 = 0.15;

/// What is predicted in a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    /// Positions, in order where none occurs twice.
    pub positions: Vec<u32>,
    /// Which of them keep their token.
    pub keeps: Vec<bool>,
}

impl Masking {
    /// Masking of sequences up to `longest` tokens: at most `int((share + 0.005) * longest)` predictions.
    #[must_use]
    pub fn new(share: f64, longest: usize, duplicates: Duplicates, never: Vec<u32>) -> Self {
        Self {
            share,
            most: ((share + 0.005) * longest as f64) as usize,
            duplicates,
            never,
        }
    }

    /// How many positions of a sequence with so many real tokens are predicted, if it has the candidates.
    #[must_use]
    pub fn count(&self, n_real: usize) -> usize {
        // Ties go to the even number, as NumPy's and TensorFlow's rounding has it.
        let wanted = (self.share * n_real as f64).round_ties_even() as usize;
        wanted.min(self.most).max(1)
    }

    /// The positions of a sequence at a step; a function of seed, step and the sequence's index in the global batch.
    #[must_use]
    pub fn mask(&self, ids: &[u32], seed: u64, draw: Draw) -> Masked {
        let candidates: Vec<u32> = (0_u32..)
            .zip(ids)
            .filter(|(_, id)| !self.never.contains(id))
            .map(|(position, _)| position)
            .collect();
        if candidates.is_empty() {
            return Masked::default();
        }
        let stream = Stream::new(seed, Purpose::Mask);
        let count = self.count(ids.len());
        let positions: Vec<u32> = match self.duplicates {
            Duplicates::None => {
                let mut drawn: Vec<(u32, u32)> = candidates
                    .iter()
                    .map(|position| (stream.word(draw, u64::from(*position)), *position))
                    .collect();
                let count = count.min(drawn.len());
                drawn.sort_unstable();
                let mut chosen: Vec<u32> = drawn[..count].iter().map(|(_, p)| *p).collect();
                chosen.sort_unstable();
                chosen
            }
            Duplicates::Average => {
                let bound = u32::try_from(candidates.len()).expect("sequences are short");
                (0..count as u64)
                    .map(|slot| candidates[below(stream.word(draw, slot), bound) as usize])
                    .collect()
            }
        };
        let keep = Stream::new(seed, Purpose::Keep);
        let keeps = (0..positions.len() as u64)
            .map(|slot| unit(keep.word(draw, slot)) < KEEP)
            .collect();
        Masked { positions, keeps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(n: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..n as u32).map(|i| 200 + i).collect();
        ids[0] = 102;
        ids[n - 1] = 103;
        ids
    }

    fn masking(duplicates: Duplicates) -> Masking {
        Masking::new(0.15, 512, duplicates, vec![102, 103, 104])
    }

    fn at(step: u32, sequence: u32) -> Draw {
        Draw { step, sequence }
    }

    /// Spec D.1 and D.5.
    #[test]
    fn counts_are_those_of_the_specification() {
        assert_eq!(masking(Duplicates::None).most, 79);
        assert_eq!(Masking::new(0.15, 128, Duplicates::None, vec![]).most, 19);
        assert_eq!(Masking::new(0.25, 512, Duplicates::None, vec![]).most, 130);
        let masking = masking(Duplicates::None);
        assert_eq!(masking.count(512), 77);
        assert_eq!(masking.count(3), 1);
        assert_eq!(masking.count(10), 2);
        assert_eq!(masking.count(30), 4);
        assert_eq!(
            masking.mask(&sequence(512), 1, at(0, 0)).positions.len(),
            77
        );
    }

    #[test]
    fn specials_are_never_masked_and_short_sequences_are_masked_once() {
        let masking = masking(Duplicates::None);
        for step in 0..2_000 {
            let mut ids = sequence(40);
            ids[7] = 104;
            let masked = masking.mask(&ids, 5, at(step, step % 7));
            assert_eq!(masked.positions.len(), 6);
            assert!(masked.positions.is_sorted_by(|a, b| a < b));
            assert!(masked.positions.iter().all(|p| ![0, 7, 39].contains(p)));
        }
        assert_eq!(masking.mask(&[102, 300, 103], 1, at(0, 0)).positions, [1]);
        assert!(masking.mask(&[102, 103], 1, at(0, 0)).positions.is_empty());
    }

    /// A million draws: each candidate is as likely as another (chi-squared, 37 degrees of freedom), and the share of
    /// kept tokens is right.
    #[test]
    fn inclusion_is_uniform() {
        let masking = masking(Duplicates::None);
        let ids = sequence(40);
        let mut counts = [0_u32; 40];
        let (mut kept, mut drawn) = (0_u32, 0_u32);
        for step in 0..166_667 {
            let masked = masking.mask(&ids, 11, at(step, 3));
            for (position, keeps) in masked.positions.iter().zip(&masked.keeps) {
                counts[*position as usize] += 1;
                drawn += 1;
                kept += u32::from(*keeps);
            }
        }
        assert!(drawn >= 1_000_000);
        let expected = f64::from(drawn) / 38.0;
        let chi: f64 = counts[1..39]
            .iter()
            .map(|n| (f64::from(*n) - expected).powi(2) / expected)
            .sum();
        // The upper 1e-6 of the distribution; draws without replacement vary less than independent ones.
        assert!(chi < 95.0, "{chi}");
        let share = f64::from(kept) / f64::from(drawn);
        assert!((share - 0.15).abs() < 0.002, "{share}");
    }

    /// Spec D.1: a full sequence has about 71.5 distinct positions when draws may repeat.
    #[test]
    fn with_duplicates_there_are_fewer_distinct_positions() {
        let masking = masking(Duplicates::Average);
        let ids = sequence(511);
        let mut distinct = 0_usize;
        for step in 0..4_000 {
            let mut positions = masking.mask(&ids, 2, at(step, 0)).positions;
            assert_eq!(positions.len(), 77);
            positions.sort_unstable();
            positions.dedup();
            distinct += positions.len();
        }
        let mean = distinct as f64 / 4_000.0;
        assert!((mean / 71.5 - 1.0).abs() < 0.01, "{mean}");
    }
}
