//! The CPU as a device: numbers in f32, memory in vectors, ops on a pool of threads. Knows no model.
//!
//! Equal inputs give equal bits on any number of threads: work is cut by the problem, never by the pool, and what
//! several tasks would add to is added in one order.

mod bf16;
pub(crate) mod math;
pub(crate) mod matmul;
mod memory;
mod recorder;
mod views;

use matmul::Products;
use memory::Numbers;

pub(crate) use math::vectors;
pub use recorder::ProductShape;
pub(crate) use views::{Block, Shared};

use crate::arena::{Act, Granularity, Ints, Plan, Real, Weight};
use crate::backend::{Array, Backend, Dropout, Memory, Precision};
use crate::collective::Collective;
use crate::error::DeviceError;

/// This machine's processor.
pub struct Cpu {
    pub(crate) acts: Block<f32>,
    pub(crate) reals: Block<f32>,
    pub(crate) ints: Block<u32>,
    pub(crate) values: Numbers<f32>,
    pub(crate) gradients: Block<f32>,
    pub(crate) held: Numbers<f32>,
    pub(crate) first: Numbers<f32>,
    pub(crate) second: Numbers<f32>,
    pub(crate) dropout: Dropout,
    pub(crate) products: Products,
    pub(crate) threads: usize,
    granularity: Granularity,
    pool: std::sync::Arc<rayon::ThreadPool>,
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu")
            .field("threads", &self.threads)
            .field("acts", &self.acts.len())
            .field("parameters", &self.values.len())
            .finish_non_exhaustive()
    }
}

impl Cpu {
    /// A device with this many threads.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("engine-{i}"))
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self {
            acts: Block::default(),
            reals: Block::default(),
            ints: Block::default(),
            values: Numbers::default(),
            gradients: Block::default(),
            held: Numbers::default(),
            first: Numbers::default(),
            second: Numbers::default(),
            dropout: Dropout::Off,
            products: Products::default(),
            threads: pool.current_num_threads(),
            granularity: Granularity::PROCESSOR,
            pool: std::sync::Arc::new(pool),
        })
    }
}

impl Cpu {
    /// The same device with products in this precision. Everything else, master weights and sums included, stays f32.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.products = Products::new(precision);
        self
    }

    /// The same device working in other sizes, such as an accelerator's: for comparison with one.
    #[must_use]
    pub fn with_granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
    }

    /// The vector instructions that are used, such as `AVX-512`.
    #[must_use]
    pub fn vectors() -> &'static str {
        math::vector_set()
    }

    /// Whether the processor has instructions for products in bf16; without them they are rounded and taken in f32.
    pub fn has_bf16() -> bool {
        bf16::is_native()
    }
}

impl Memory for Cpu {
    fn granularity(&self) -> Granularity {
        self.granularity
    }

    fn allocate(&mut self, plan: &Plan, n_parameters: usize) -> Result<(), DeviceError> {
        self.acts = Block::new(plan.acts());
        self.reals = Block::new(plan.reals());
        self.ints = Block::new(plan.integers());
        self.values = Numbers::new(n_parameters);
        self.products.weights_changed();
        let n_states = match plan.is_forward_only() {
            true => 0,
            false => n_parameters,
        };
        self.gradients = Block::new(n_states);
        let n_held = match plan.holds_gradients() {
            true => n_states,
            false => 0,
        };
        self.held = Numbers::new(n_held);
        self.first = Numbers::new(n_states);
        self.second = Numbers::new(n_states);
        Ok(())
    }

    fn write_ints(&mut self, to: Ints, values: &[u32]) {
        self.ints.get_mut(to.range()).copy_from_slice(values);
    }

    fn read_ints(&mut self, from: Ints) -> Vec<u32> {
        self.ints.get(from.range()).to_vec()
    }

    fn write_reals(&mut self, to: Real, values: &[f32]) {
        self.reals.get_mut(to.range()).copy_from_slice(values);
    }

    fn read_reals(&mut self, from: Real) -> Vec<f32> {
        self.reals.get(from.range()).to_vec()
    }

    fn write_acts(&mut self, to: Act, values: &[f32]) {
        self.acts.get_mut(to.range()).copy_from_slice(values);
    }

    fn read_acts(&mut self, from: Act) -> Vec<f32> {
        self.acts.get(from.range()).to_vec()
    }

    fn zero_reals(&mut self, what: Real) {
        self.reals.get_mut(what.range()).fill(0.0);
    }

    fn zero_acts(&mut self, what: Act) {
        self.acts.get_mut(what.range()).fill(0.0);
    }

    fn write_weights(&mut self, array: Array, to: Weight, values: &[f32]) {
        if array == Array::Value {
            self.products.weights_changed();
        }
        let place = match array {
            Array::Value => &mut self.values[to.range()],
            Array::Gradient => self.gradients.get_mut(to.range()),
            Array::FirstMoment => &mut self.first[to.range()],
            Array::SecondMoment => &mut self.second[to.range()],
        };
        place.copy_from_slice(values);
    }

    fn read_weights(&mut self, array: Array, from: Weight) -> Vec<f32> {
        match array {
            Array::Value => self.values[from.range()].to_vec(),
            Array::Gradient => self.gradients.get(from.range()).to_vec(),
            Array::FirstMoment => self.first[from.range()].to_vec(),
            Array::SecondMoment => self.second[from.range()].to_vec(),
        }
    }

    fn zero_gradients(&mut self) {
        let all = 0..self.gradients.len();
        self.gradients.get_mut(all).fill(0.0);
    }

    fn sum_over(&mut self, group: &mut dyn Collective, sums: &[Real]) -> Result<(), DeviceError> {
        for sums in sums {
            group.sum(self.reals.get_mut(sums.range()))?;
        }
        let all = 0..self.gradients.len();
        group.sum(self.gradients.get_mut(all))
    }

    fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout;
    }

    fn on_threads<R: Send>(&mut self, work: impl FnOnce(&mut Self) -> R + Send) -> R {
        let pool = self.pool.clone();
        pool.install(|| work(self))
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Backend for Cpu {}
