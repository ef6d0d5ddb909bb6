//! ELECTRA's example builder: sentences of ids to examples of one or two segments (spec A.2). Knows no files and no text.

use super::random::{Stream, words};

/// Probability of an example of one segment, as fine-tuning on single sentences has (spec A.2, emission 1).
const ONE_SEGMENT: f64 = 0.1;
/// What the first segment may hold then: more than any length.
const NO_LIMIT: usize = 100_000;
/// Probability that a sentence that could go to either segment goes to the first.
const STAYS: f64 = 0.5;
/// Probability of a shorter target for the next example.
const SHORT_TARGET: f64 = 0.05;
/// The shortest target.
pub const SHORTEST: u32 = 5;

/// Where the builder's chances come from. Asked in the order of the authors' program, so its draws can be replayed.
pub trait Draws {
    /// Called before the first draw of an example, counted from 0.
    fn begin(&mut self, example: u64);
    /// Uniform in `0.0..1.0`.
    fn fraction(&mut self) -> f64;
    /// Uniform in [`SHORTEST`]`..=longest`.
    fn length(&mut self, longest: u32) -> u32;
}

/// Draws as a function of seed, example and place in it (DESIGN section 2.6).
#[derive(Clone, Debug)]
pub struct SeededDraws {
    seed: u64,
    length: u32,
    example: u64,
    draw: u32,
}

impl SeededDraws {
    /// For examples of `length` positions.
    #[must_use]
    pub fn new(seed: u64, length: u32) -> Self {
        Self {
            seed,
            length,
            example: 0,
            draw: 0,
        }
    }

    fn next(&mut self) -> u64 {
        let [low, high, ..] = words(
            self.seed,
            Stream::Build,
            self.draw,
            self.example,
            self.length,
        );
        self.draw += 1;
        u64::from(high) << 32 | u64::from(low)
    }
}

impl Draws for SeededDraws {
    fn begin(&mut self, example: u64) {
        (self.example, self.draw) = (example, 0);
    }

    fn fraction(&mut self) -> f64 {
        // 53 bits, as Python's generator gives.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn length(&mut self, longest: u32) -> u32 {
        let span = u128::from(longest - SHORTEST + 1);
        // The bias of one multiplication is below 2^-48.
        SHORTEST + ((u128::from(self.next()) * span) >> 64) as u32
    }
}

/// What happens to pieces beyond an example's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// They are lost, as in the authors' program.
    #[default]
    Drop,
    /// They begin the next example.
    Carry,
}

/// An example: ids with `[CLS]` and `[SEP]`, and where the second segment begins (the length where there is none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// `[CLS] A [SEP]`, then `B [SEP]` where there is a second segment.
    pub ids: &'a [u32],
    /// Index of the first id of B.
    pub segment_b: u32,
}

/// Counts of what a builder did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Examples emitted.
    pub examples: u64,
    /// Of them with two segments.
    pub pairs: u64,
    /// Ids in them, special ones included.
    pub tokens: u64,
    /// Pieces given.
    pub pieces: u64,
    /// Pieces lost beyond the ends of examples.
    pub dropped: u64,
}

/// The builder's state: sentences not yet emitted and the length aimed at.
#[derive(Debug)]
pub struct Builder<D> {
    draws: D,
    start: u32,
    separator: u32,
    /// Positions of an example.
    longest: usize,
    target: usize,
    overflow: Overflow,
    /// Ids of all sentences, one behind the other.
    pieces: Vec<u32>,
    /// Where each sentence ends in `pieces`; sentences without pieces count, since they draw.
    ends: Vec<usize>,
    first: Vec<u32>,
    second: Vec<u32>,
    built: Built,
}

impl<D: Draws> Builder<D> {
    /// A builder of examples of at most `longest` positions, at least [`SHORTEST`]; `start` and `separator` are `[CLS]` and `[SEP]`.
    #[must_use]
    pub fn new(draws: D, longest: u32, start: u32, separator: u32, overflow: Overflow) -> Self {
        let longest = longest.max(SHORTEST) as usize;
        Self {
            draws,
            start,
            separator,
            longest,
            target: longest,
            overflow,
            pieces: Vec::new(),
            ends: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
            built: Built::default(),
        }
    }

    /// Takes a line's pieces; a full example goes to `emit`.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn sentence<E>(
        &mut self,
        ids: &[u32],
        emit: &mut dyn FnMut(Example<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pieces.extend_from_slice(ids);
        self.ends.push(self.pieces.len());
        self.built.pieces += ids.len() as u64;
        // More than once only where overflow is carried.
        while self.pieces.len() >= self.target {
            self.emit(emit)?;
        }
        Ok(())
    }

    /// Takes an empty line, the end of a document or of the input: what there is becomes an example.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn boundary<E>(
        &mut self,
        emit: &mut dyn FnMut(Example<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.pieces.is_empty() {
            // The authors' program appends an empty sentence here. It comes first, where it draws nothing and changes
            // nothing, so it is left out.
            return Ok(());
        }
        while !self.pieces.is_empty() {
            self.emit(emit)?;
        }
        Ok(())
    }

    /// Counts so far.
    #[must_use]
    pub fn built(&self) -> Built {
        self.built
    }

    fn emit<E>(&mut self, emit: &mut dyn FnMut(Example<'_>) -> Result<(), E>) -> Result<(), E> {
        self.draws.begin(self.built.examples);
        let first_target = match self.draws.fraction() < ONE_SEGMENT {
            true => NO_LIMIT,
            false => (self.target - 3) / 2,
        };
        // A stands behind `[CLS]` from the start, so that the example needs no copy.
        self.first.clear();
        self.first.push(self.start);
        self.second.clear();
        let mut begin = 0;
        for end in &self.ends {
            let sentence = &self.pieces[begin..*end];
            begin = *end;
            let n_first = self.first.len() - 1;
            let joins_first = n_first == 0
                || n_first + sentence.len() < first_target
                || (self.second.is_empty()
                    && n_first < first_target
                    && self.draws.fraction() < STAYS);
            match joins_first {
                true => self.first.extend_from_slice(sentence),
                false => self.second.extend_from_slice(sentence),
            }
        }
        let n_first = (self.first.len() - 1).min(self.longest - 2);
        let n_second = self
            .second
            .len()
            .min((self.longest - n_first).saturating_sub(3));
        self.pieces.clear();
        self.ends.clear();
        let rests = [&self.first[1 + n_first..], &self.second[n_second..]];
        for rest in rests.into_iter().filter(|rest| !rest.is_empty()) {
            match self.overflow {
                Overflow::Drop => self.built.dropped += rest.len() as u64,
                Overflow::Carry => {
                    self.pieces.extend_from_slice(rest);
                    self.ends.push(self.pieces.len());
                }
            }
        }
        self.first.truncate(1 + n_first);
        self.first.push(self.separator);
        let segment_b = self.first.len() as u32;
        if n_second > 0 {
            self.first.extend_from_slice(&self.second[..n_second]);
            self.first.push(self.separator);
            self.built.pairs += 1;
        }
        self.target = match self.draws.fraction() < SHORT_TARGET {
            true => self.draws.length(self.longest as u32) as usize,
            false => self.longest,
        };
        self.built.examples += 1;
        self.built.tokens += self.first.len() as u64;
        emit(Example {
            ids: &self.first,
            segment_b,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws from a list; the lengths of it are given as fractions too.
    struct Listed(Vec<f64>);

    impl Draws for Listed {
        fn begin(&mut self, _: u64) {}
        fn fraction(&mut self) -> f64 {
            self.0.remove(0)
        }
        fn length(&mut self, _: u32) -> u32 {
            self.0.remove(0) as u32
        }
    }

    fn run(
        draws: &[f64],
        longest: u32,
        overflow: Overflow,
        lines: &[&[u32]],
    ) -> Vec<(Vec<u32>, u32)> {
        let mut builder = Builder::new(Listed(draws.to_vec()), longest, 1, 2, overflow);
        let mut examples = Vec::new();
        let mut emit = |example: Example<'_>| {
            examples.push((example.ids.to_vec(), example.segment_b));
            Ok::<(), ()>(())
        };
        for line in lines {
            match line {
                [] => builder.boundary(&mut emit),
                line => builder.sentence(line, &mut emit),
            }
            .expect("it takes all");
        }
        builder.boundary(&mut emit).expect("it takes all");
        assert_eq!(builder.draws.0, [0.0; 0], "all draws are taken");
        examples
    }

    #[test]
    fn a_later_short_sentence_may_still_join_the_first_segment() {
        // The target of the first segment is (13 - 3) / 2 = 5.
        let lines: [&[u32]; 4] = [&[10, 11], &[20, 21, 22], &[30], &[]];
        let found = run(&[0.5, 0.7, 0.5], 13, Overflow::Drop, &lines);
        assert_eq!(found, [(vec![1, 10, 11, 30, 2, 20, 21, 22, 2], 5)]);
    }

    #[test]
    fn overflow_is_dropped_or_carried_and_a_short_target_emits_early() {
        let lines: [&[u32]; 2] = [&[10, 11, 12, 13, 14, 15, 16], &[20, 21, 22, 23, 24]];
        let drop = run(&[0.05, 0.01, 5.0, 0.5, 0.9], 6, Overflow::Drop, &lines);
        assert_eq!(
            drop,
            [
                (vec![1, 10, 11, 12, 13, 2], 6),
                (vec![1, 20, 21, 22, 23, 2], 6)
            ]
        );
        let carry = run(
            &[0.05, 0.9, 0.05, 0.9, 0.05, 0.9],
            6,
            Overflow::Carry,
            &lines,
        );
        assert_eq!(
            carry,
            [
                (vec![1, 10, 11, 12, 13, 2], 6),
                (vec![1, 14, 15, 16, 20, 2], 6),
                (vec![1, 21, 22, 23, 24, 2], 6)
            ]
        );
    }

    #[test]
    fn seeded_draws_depend_on_the_example_alone() {
        let mut draws = SeededDraws::new(7, 128);
        draws.begin(3);
        let (a, b) = (draws.fraction(), draws.length(128));
        draws.begin(9);
        assert_ne!(draws.fraction(), a);
        draws.begin(3);
        assert_eq!((draws.fraction(), draws.length(128)), (a, b));
        let mut seen = [false; 4];
        for example in 0..1000 {
            draws.begin(example);
            assert!((0.0..1.0).contains(&draws.fraction()));
            seen[draws.length(8) as usize - 5] = true;
        }
        assert_eq!(seen, [true; 4]);
    }
}
