//! What a device promises: memory, and the ops at fused size. Knows nothing of models.

use crate::arena::{Act, Granularity, Ints, Plan, Real, Weight};
use crate::collective::Collective;
use crate::error::DeviceError;
use crate::ops;
use crate::random::{Rate, Site};

/// Memory of a device: the pools of a [`Plan`], and the parameters with gradients and two moments.
pub trait Memory {
    /// The sizes that it works in; plans are made for them.
    fn granularity(&self) -> Granularity {
        Granularity::PROCESSOR
    }

    /// Lays the pools out. The one place that allocates.
    ///
    /// # Errors
    /// When the device has not so much.
    fn allocate(&mut self, plan: &Plan, n_parameters: usize) -> Result<(), DeviceError>;

    /// Copies integers to the device.
    fn write_ints(&mut self, to: Ints, values: &[u32]);
    /// Copies integers from the device; waits for what makes them.
    fn read_ints(&mut self, from: Ints) -> Vec<u32>;
    /// Copies f32 numbers to the device.
    fn write_reals(&mut self, to: Real, values: &[f32]);
    /// Copies f32 numbers from the device; waits for what makes them.
    fn read_reals(&mut self, from: Real) -> Vec<f32>;
    /// Copies activations to the device, rounded to its compute type: for comparisons, since models make their own.
    fn write_acts(&mut self, to: Act, values: &[f32]);
    /// Copies activations from the device; waits for what makes them.
    fn read_acts(&mut self, from: Act) -> Vec<f32>;
    /// Sets f32 numbers to zero.
    fn zero_reals(&mut self, what: Real);
    /// Sets activations to zero.
    fn zero_acts(&mut self, what: Act);

    /// Copies one of the parameters' four arrays to the device.
    fn write_weights(&mut self, array: Array, to: Weight, values: &[f32]);
    /// Copies one of the parameters' four arrays from the device.
    fn read_weights(&mut self, array: Array, from: Weight) -> Vec<f32>;
    /// Sets all gradients to zero.
    fn zero_gradients(&mut self);

    /// Gradients of all parameters and some numbers become their sums over a group of processes.
    ///
    /// # Errors
    /// When another process is gone or out of step.
    fn sum_over(&mut self, group: &mut dyn Collective, sums: &[Real]) -> Result<(), DeviceError>;

    /// Where dropped units come from, until it is set again.
    fn set_dropout(&mut self, dropout: Dropout);

    /// Does some work on the device's threads, where it has threads of its own: a whole step at once.
    fn on_threads<R: Send>(&mut self, work: impl FnOnce(&mut Self) -> R + Send) -> R
    where
        Self: Sized,
    {
        work(self)
    }

    /// From here to [`end_step`](Self::end_step) work has the shape of other steps: a device may record and replay it.
    fn begin_step(&mut self) {}

    /// The end of such a stretch.
    fn end_step(&mut self) {}

    /// Waits until everything asked for is done.
    ///
    /// # Errors
    /// The first fault since the last call.
    fn finish(&mut self) -> Result<(), DeviceError>;
}

/// Asked between the parts of a batch with how many sequences are done: whether to go on.
pub type GoOn<'a> = &'a (dyn Fn(usize) -> bool + Sync);

/// In what the operands of the products of dense layers are held. Sums, statistics and master weights are f32 always.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of mantissa.
    #[default]
    F32,
    /// 8 bits of mantissa, f32's range.
    Bf16,
}

impl Precision {
    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

/// The arrays that stand side by side for each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Array {
    /// The values, in f32.
    Value,
    /// Gradients, in f32.
    Gradient,
    /// First moments of Adam.
    FirstMoment,
    /// Second moments of Adam.
    SecondMoment,
}

/// Where dropped units come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Dropout {
    /// Nothing is dropped: evaluation.
    #[default]
    Off,
    /// By counters: training.
    Counted {
        /// Seed of the run.
        seed: u64,
        /// Optimizer step.
        step: u32,
    },
}

/// A place of the model where units are dropped at some rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutAt {
    /// The place.
    pub site: Site,
    /// The share that is dropped.
    pub rate: Rate,
}

impl Dropout {
    /// The stream for a place and the step; `None` where nothing is dropped.
    #[must_use]
    pub fn stream(&self, at: DropoutAt) -> Option<(crate::random::Stream, u32)> {
        match self {
            Self::Counted { seed, step } if !at.rate.is_zero() => {
                let purpose = crate::random::Purpose::Dropout(at.site);
                Some((crate::random::Stream::new(*seed, purpose), *step))
            }
            _ => None,
        }
    }
}

/// Rows of an un-padded batch: for each its sequence's index in the global batch and its place in that sequence.
///
/// Rows behind those of the last sequence are an inert tail ([`Granularity::rows`]): they belong to no sequence, have no
/// label, and all their gradients are zero.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// How many.
    pub count: usize,
    /// Index in the global batch, by row.
    pub sequence: Ints,
    /// Place in the sequence, by row.
    pub position: Ints,
}

/// Sequences of an un-padded batch.
#[derive(Clone, Copy, Debug)]
pub struct Sequences {
    /// How many.
    pub count: usize,
    /// First token of each, and one more entry for the end (`cu_seqlens`).
    pub starts: Ints,
    /// How many rows of each are keys: all, unless a batch is padded for comparison.
    pub keys: Ints,
    /// Index in the global batch of each.
    pub index: Ints,
}

/// Whether an output replaces what was there or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Replaces it.
    Over,
    /// Is added to it.
    Add,
}

/// A device that trains: memory and all ops.
pub trait Backend:
    Memory
    + ops::embedding::Embedding
    + ops::linear::Linear
    + ops::attention::Attention
    + ops::layernorm::LayerNorm
    + ops::rows::RowOps
    + ops::mlm::MaskedLm
    + ops::corrupt::Corrupt
    + ops::losses::Losses
    + ops::mixture::Mixture
    + ops::pairs::Pairs
    + ops::adamw::AdamW
{
}
