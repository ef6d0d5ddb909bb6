//! Handles of memory and the plan that lays them out. Nothing is allocated here, and nothing after the plan is carried out.
//!
//! A handle names a range of one pool. Pools are what a device may hold in different precision or place: activations in
//! the compute type, statistics in f32, integers, and the parameters with their gradients and moments side by side.

use std::ops::Range;

use crate::backend::Precision;
use crate::error::DeviceError;

/// More tokens than this are never laid out for at once: no batch has them, and no machine has room.
pub const MOST_TOKENS: usize = 1 << 32;

/// A range of activations, in the device's compute type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    start: usize,
    len: usize,
}

/// A range of f32 numbers: statistics, losses, logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Real {
    start: usize,
    len: usize,
}

/// A range of u32 numbers: ids, positions, lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ints {
    start: usize,
    len: usize,
}

/// A range of the parameters, which is also that of their gradients and moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    start: usize,
    len: usize,
}

macro_rules! handle {
    ($name:ident) => {
        impl $name {
            /// Its range in its pool.
            #[must_use]
            pub fn range(self) -> Range<usize> {
                self.start..self.start + self.len
            }

            /// Number of elements.
            #[must_use]
            #[expect(clippy::len_without_is_empty, reason = "a handle is no collection")]
            pub fn len(self) -> usize {
                self.len
            }

            /// The first `len` elements.
            #[must_use]
            pub fn first(self, len: usize) -> Self {
                self.part(0, len)
            }

            /// `len` elements from `start`.
            #[must_use]
            pub fn part(self, start: usize, len: usize) -> Self {
                assert!(start + len <= self.len, "a part lies inside its whole");
                Self {
                    start: self.start + start,
                    len,
                }
            }
        }
    };
}

handle!(Act);
handle!(Real);
handle!(Ints);
handle!(Weight);

impl Weight {
    /// Parameters from `start` on.
    pub(crate) fn new(start: usize, len: usize) -> Self {
        Self { start, len }
    }

    /// From its beginning on, over the tensors that are joined to it.
    pub(crate) fn joined(self, len: usize) -> Self {
        Self {
            start: self.start,
            len,
        }
    }
}

/// The sizes that a device works in, known before anything is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granularity {
    /// Rows of a batch come in multiples of this and of an eighth of their number, so that steps have few shapes; what is
    /// missing is an inert tail.
    pub rows: usize,
    /// Masked slots whose logits are held at a time.
    pub slots: usize,
    /// Whether all activations are in the type that products take, not their operands alone.
    pub rounds_activations: bool,
    /// Bytes that its ops and libraries use beside what a plan counts.
    pub scratch: u64,
    /// Numbers that a buffer has at most.
    pub longest: usize,
    /// Numbers that a row which is normalised has at most.
    pub widest: usize,
}

impl Granularity {
    /// A processor's: every row counts, and logits stay in its caches.
    pub const PROCESSOR: Self = Self {
        rows: 1,
        slots: 128,
        rounds_activations: false,
        scratch: 0,
        longest: usize::MAX,
        widest: usize::MAX,
    };
    /// An accelerator's: steps are replayed by their shape, and products want many rows. Kernels count in 32 bits, and
    /// launches have fewer than 2³¹ blocks; a warp holds a row in registers.
    pub const ACCELERATOR: Self = Self {
        rows: 64,
        slots: 2048,
        rounds_activations: true,
        scratch: 96 << 20,
        longest: i32::MAX as usize,
        widest: 2048,
    };

    /// As many rows as a batch of `n` takes where there is room for `room`.
    #[must_use]
    pub fn rows_of(self, n: usize, room: usize) -> usize {
        if self.rows <= 1 || n == 0 {
            return n;
        }
        let eighth = (1_usize << n.ilog2()) / 8;
        n.next_multiple_of(eighth.max(self.rows)).min(room.max(n))
    }

    /// Whether rows of these widths are normalised.
    ///
    /// # Errors
    /// The width that is too large.
    pub fn admit(self, widths: &[usize]) -> Result<(), DeviceError> {
        match widths.iter().find(|width| **width > self.widest) {
            None => Ok(()),
            Some(width) => Err(DeviceError::TooWide {
                width: *width,
                widest: self.widest,
            }),
        }
    }
}

impl Default for Granularity {
    fn default() -> Self {
        Self::PROCESSOR
    }
}

/// Elements of each pool that a model needs, counted while its buffers are laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    granularity: Granularity,
    acts: Counter,
    reals: Counter,
    ints: Counter,
    longest: usize,
    between: usize,
    holds_gradients: bool,
    is_forward_only: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counter {
    used: usize,
    most: usize,
}

impl Counter {
    fn take(&mut self, len: usize) -> usize {
        // Rows of every buffer start at a cache line, as vector loads and devices like it.
        let start = self.used.next_multiple_of(32);
        self.used = start + len;
        self.most = self.most.max(self.used);
        start
    }
}

/// How far a plan was at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    acts: usize,
    reals: usize,
}

impl Plan {
    /// An empty plan for a device.
    #[must_use]
    pub fn new(granularity: Granularity) -> Self {
        Self {
            granularity,
            ..Self::default()
        }
    }

    /// The sizes that the device works in.
    #[must_use]
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// Lays out activations.
    pub fn act(&mut self, len: usize) -> Act {
        let start = self.acts.take(len);
        self.longest = self.longest.max(len);
        Act { start, len }
    }

    /// Lays out f32 numbers.
    pub fn real(&mut self, len: usize) -> Real {
        let start = self.reals.take(len);
        self.longest = self.longest.max(len);
        Real { start, len }
    }

    /// Lays out integers.
    pub fn ints(&mut self, len: usize) -> Ints {
        let start = self.ints.take(len);
        self.longest = self.longest.max(len);
        Ints { start, len }
    }

    /// Asks for bytes that an op uses between its kernels on an accelerator, as far as they grow with the batch.
    pub fn between(&mut self, bytes: usize) {
        self.between = self.between.max(bytes);
    }

    /// Asks for room to hold gradients of parts of a batch (`AdamW::hold_gradients`): as much as the parameters take.
    pub fn hold_gradients(&mut self) {
        self.holds_gradients = true;
    }

    /// Whether gradients are held.
    #[must_use]
    pub fn holds_gradients(&self) -> bool {
        self.holds_gradients
    }

    /// Says that no gradients are going to be taken: parameters then have neither gradients nor moments.
    pub fn forward_only(&mut self) {
        self.is_forward_only = true;
    }

    /// Whether no gradients are going to be taken.
    #[must_use]
    pub fn is_forward_only(&self) -> bool {
        self.is_forward_only
    }

    /// Where the plan stands; what is laid out from here on may be given up together.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            acts: self.acts.used,
            reals: self.reals.used,
        }
    }

    /// Gives up what was laid out since, for buffers that are never used at the same time as what follows.
    pub fn reset(&mut self, mark: Mark) {
        self.acts.used = mark.acts;
        self.reals.used = mark.reals;
    }

    /// Activations at once, in elements.
    #[must_use]
    pub fn acts(&self) -> usize {
        self.acts.most
    }

    /// f32 numbers at once, parameters aside.
    #[must_use]
    pub fn reals(&self) -> usize {
        self.reals.most
    }

    /// Integers at once.
    #[must_use]
    pub fn integers(&self) -> usize {
        self.ints.most
    }

    /// Numbers of the longest buffer.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Bytes between kernels.
    #[must_use]
    pub fn bytes_between(&self) -> usize {
        self.between
    }
}

/// Bytes of f32 and u32 numbers.
const WORD: u64 = 4;

/// Bytes that training takes on a device that computes in f32, known before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    granularity: Granularity,
    /// Numbers of the longest buffer.
    pub longest: usize,
    /// Those of the activations that are in the products' type.
    acts: u64,
    /// Parameters, and what is made of them for products.
    pub weights: u64,
    /// Gradients, both moments of Adam, and gradients that are held.
    pub states: u64,
    /// Everything of a micro-batch.
    pub activations: u64,
    /// Parameters and moments once more, while a checkpoint is written.
    pub copy: u64,
}

impl Footprint {
    /// Of a plan beside so many parameters.
    #[must_use]
    pub fn new(plan: &Plan, n_parameters: usize) -> Self {
        let weights = n_parameters as u64 * WORD;
        let states = match plan.is_forward_only() {
            true => 0,
            false => 3 + u64::from(plan.holds_gradients()),
        };
        let words = plan.acts() as u64 + plan.reals() as u64 + plan.integers() as u64;
        let granularity = plan.granularity();
        // Processors have no kernels.
        let between = match granularity.scratch {
            0 => 0,
            scratch => scratch + plan.bytes_between() as u64,
        };
        Self {
            granularity,
            longest: plan.longest(),
            acts: plan.acts() as u64 * WORD,
            weights,
            states: weights * states,
            activations: words * WORD + between,
            copy: 3 * weights * u64::from(!plan.is_forward_only()),
        }
    }

    /// The same with products in this precision. In bf16 a processor has weights that are used again before they change
    /// laid out for products with rows and with columns side by side, each in half of the bytes; an accelerator has them
    /// once in half of the bytes, and activations too.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        let is_rounded = self.granularity.rounds_activations;
        let (layouts, saved) = match (precision, is_rounded) {
            (Precision::F32, _) => (0, 0),
            (Precision::Bf16, false) => (self.weights, 0),
            (Precision::Bf16, true) => (self.weights / 2, self.acts / 2),
        };
        Self {
            weights: self.weights + layouts,
            activations: self.activations - saved,
            acts: self.acts - saved,
            ..self
        }
    }

    /// Numbers that a buffer of the device has at most, where the plan has one that is longer.
    #[must_use]
    pub fn too_long(&self) -> Option<usize> {
        let most = self.granularity.longest;
        (self.longest > most).then_some(most)
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights + self.states + self.activations + self.copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_few_numbers_and_no_more_than_there_is_room_for() {
        let of = |n, room| Granularity::ACCELERATOR.rows_of(n, room);
        assert_eq!(Granularity::PROCESSOR.rows_of(37, 100), 37);
        assert_eq!([of(1, 999), of(64, 999), of(65, 999)], [64, 64, 128]);
        assert_eq!([of(1_000, 9_999), of(1_030, 9_999)], [1_024, 1_152]);
        assert_eq!([of(1_030, 1_100), of(1_030, 8)], [1_100, 1_030]);
        let shapes = |n: usize| of(n, usize::MAX);
        let all: std::collections::BTreeSet<usize> = (65_000..=131_072).map(shapes).collect();
        assert!(all.len() < 12, "{all:?}");
    }

    #[test]
    fn what_is_given_up_is_used_again_and_the_most_is_kept() {
        let mut plan = Plan::default();
        let a = plan.act(10);
        let mark = plan.mark();
        let b = plan.act(100);
        plan.reset(mark);
        let c = plan.act(50);
        assert_eq!(a.range(), 0..10);
        assert_eq!(b.range().start, c.range().start);
        assert!(b.range().start >= 10);
        assert_eq!(plan.acts(), b.range().end);
        assert_eq!(c.part(10, 5).range().len(), 5);
    }

    #[test]
    fn a_footprint_counts_all_arrays() {
        let mut plan = Plan::default();
        plan.act(64);
        plan.real(32);
        plan.ints(32);
        let plain = Footprint::new(&plan, 1_000);
        assert_eq!(
            (plain.weights, plain.states, plain.copy),
            (4_000, 12_000, 12_000)
        );
        assert_eq!(plain.activations, 4 * 128);
        assert_eq!(plain.total(), 28_512);
        assert_eq!(plain.with_precision(Precision::F32), plain);
        assert_eq!(plain.with_precision(Precision::Bf16).total(), 32_512);
        let mut other = Plan::new(Granularity::ACCELERATOR);
        other.act(64);
        other.real(32);
        let scratch = Granularity::ACCELERATOR.scratch;
        let rounded = Footprint::new(&other, 1_000).with_precision(Precision::Bf16);
        assert_eq!(
            (rounded.weights, rounded.activations),
            (6_000, 2 * 64 + 4 * 32 + scratch)
        );
        other.between(500);
        other.between(300);
        let more = Footprint::new(&other, 1_000).with_precision(Precision::Bf16);
        assert_eq!(more.activations, rounded.activations + 500);
        assert_eq!((more.longest, more.too_long()), (64, None));
        other.ints(1 << 31);
        let most = Footprint::new(&other, 1_000).too_long();
        assert_eq!(most, Some((1 << 31) - 1));
        plan.between(500);
        assert_eq!(
            Footprint::new(&plan, 1_000),
            plain,
            "processors have no kernels"
        );
        plan.hold_gradients();
        assert_eq!(Footprint::new(&plan, 1_000).states, 16_000);
        plan.forward_only();
        assert_eq!(Footprint::new(&plan, 1_000).total(), 4_512);
    }
}
