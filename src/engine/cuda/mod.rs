//! An accelerator as a device: pools in its memory, ops as kernels and products asked for in order. Knows no model, and of
//! the accelerator only what [`Driver`] says.
//!
//! Activations are in the type that products take (bf16, or f32 for checking); statistics, sums, gradients of parameters,
//! moments and master weights are f32. Beside the master weights lies a copy in the products' type, renewed by the optimizer.
//! Equal inputs give equal bits: nothing is added atomically, and what blocks sum is summed in one order.

pub mod driver;
pub mod nvidia;
pub(crate) mod sort;

use bytemuck::{Pod, Zeroable};

use crate::arena::{Act, Granularity, Ints, Plan, Real, Weight};
use crate::backend::{Array, Backend, Dropout, DropoutAt, Memory, Precision, Rows};
use crate::collective::Collective;
use crate::error::DeviceError;
use crate::ops::adamw::cuda::Parts;
use driver::{Driver, Element, Grid, Kernel, Pointer, Source};

/// What all kernels include.
pub const PRELUDE: &str = include_str!("prelude.cuh");

/// All files of kernels.
pub static SOURCES: &[&Source] = &[
    &sums::SOURCE,
    &crate::ops::layernorm::cuda::SOURCE,
    &crate::ops::attention::cuda::FORWARD,
    &crate::ops::attention::cuda::BACKWARD,
    &crate::ops::attention::cuda::PLAIN,
    &crate::ops::linear::cuda::SOURCE,
    &crate::ops::adamw::cuda::SOURCE,
    &crate::ops::rows::cuda::SOURCE,
    &sort::SOURCE,
    &crate::ops::embedding::cuda::SOURCE,
    &crate::ops::losses::cuda::SOURCE,
    &crate::ops::mixture::cuda::SOURCE,
    &crate::ops::mlm::cuda::SOURCE,
    &crate::ops::corrupt::cuda::SOURCE,
];

/// Bytes that ops may use between two kernels, beside those that a plan asks for; sums of blocks lie there.
pub(crate) const SCRATCH: usize = 64 << 20;
/// Gradients that travel through the processor's memory at a time.
const TRAVELS: usize = 1 << 24;
/// Threads of a block of kernels that take a row a warp.
pub(crate) const ROW_THREADS: u32 = 256;
/// Rows of such a block at a time.
pub(crate) const ROWS_PER_BLOCK: usize = ROW_THREADS as usize / 32;
/// Widest row that a warp takes.
pub const WIDEST_ROW: usize = Granularity::ACCELERATOR.widest;

/// An accelerator that trains.
#[derive(Debug)]
pub struct Cuda<D: Driver> {
    driver: D,
    element: Element,
    acts: Pool,
    reals: Pool,
    ints: Pool,
    values: Pool,
    /// The values in the products' type; the values themselves where that is f32.
    rounded: Pool,
    gradients: Pool,
    held: Pool,
    first: Pool,
    second: Pool,
    scratch: Pool,
    /// What the optimizer updates alike.
    parts: Parts,
    dropout: Dropout,
}

/// Memory of one kind of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pool {
    at: Pointer,
    len: usize,
    size: usize,
}

impl Pool {
    /// The address of a range of it.
    ///
    /// # Panics
    /// When it does not lie inside: a fault of the model's plan.
    pub(crate) fn at(&self, range: std::ops::Range<usize>) -> Pointer {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "buffer {range:?} lies inside a pool of {}",
            self.len
        );
        self.at.offset(range.start * self.size)
    }

    fn bytes(&self) -> usize {
        self.len * self.size
    }
}

/// The arrays of all parameters, as long as the gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct States {
    pub(crate) values: Pointer,
    pub(crate) rounded: Pointer,
    pub(crate) gradients: Pointer,
    /// As long, where the plan asked for it.
    pub(crate) held: Pointer,
    pub(crate) first: Pointer,
    pub(crate) second: Pointer,
    pub(crate) len: usize,
    pub(crate) n_held: usize,
}

/// What is dropped, as kernels take it: `Dropout` of `prelude.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct DropoutArguments {
    key: [u32; 2],
    step: u32,
    threshold: u32,
    scale: f32,
    unused: u32,
}

impl DropoutArguments {
    /// Nothing is dropped.
    pub(crate) const NOTHING: Self = Self {
        key: [0; 2],
        step: 0,
        threshold: 0,
        scale: 1.0,
        unused: 0,
    };
}

impl<D: Driver> Cuda<D> {
    /// A device that computes in this precision; compiles all kernels for it.
    ///
    /// # Errors
    /// When kernels cannot be compiled or loaded.
    pub fn new(mut driver: D, precision: Precision) -> Result<Self, DeviceError> {
        let element = Element::from(precision);
        driver.prepare(SOURCES, element)?;
        Ok(Self {
            driver,
            element,
            acts: Pool::default(),
            reals: Pool::default(),
            ints: Pool::default(),
            values: Pool::default(),
            rounded: Pool::default(),
            gradients: Pool::default(),
            held: Pool::default(),
            first: Pool::default(),
            second: Pool::default(),
            scratch: Pool::default(),
            parts: Parts::default(),
            dropout: Dropout::Off,
        })
    }

    /// What stands behind it.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Type of the activations, and of the copy of the weights that products read.
    pub(crate) fn element(&self) -> Element {
        self.element
    }

    pub(crate) fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    pub(crate) fn act(&self, what: Act) -> Pointer {
        self.acts.at(what.range())
    }

    pub(crate) fn real(&self, what: Real) -> Pointer {
        self.reals.at(what.range())
    }

    pub(crate) fn int(&self, what: Ints) -> Pointer {
        self.ints.at(what.range())
    }

    /// Master weights, f32.
    pub(crate) fn value(&self, what: Weight) -> Pointer {
        self.values.at(what.range())
    }

    /// The same in the products' type.
    pub(crate) fn rounded(&self, what: Weight) -> Pointer {
        self.rounded.at(what.range())
    }

    pub(crate) fn gradient(&self, what: Weight) -> Pointer {
        self.gradients.at(what.range())
    }

    /// All parameters at once.
    pub(crate) fn states(&self) -> States {
        States {
            values: self.values.at,
            rounded: self.rounded.at,
            gradients: self.gradients.at,
            held: self.held.at,
            first: self.first.at,
            second: self.second.at,
            len: self.gradients.len,
            n_held: self.held.len,
        }
    }

    /// The optimizer's table, and what it is written with.
    pub(crate) fn parts_mut(&mut self) -> (&mut Parts, &mut D) {
        (&mut self.parts, &mut self.driver)
    }

    /// Room between two kernels, until the next op.
    ///
    /// # Panics
    /// When an op wants more than there is.
    pub(crate) fn scratch(&self, bytes: usize) -> Pointer {
        assert!(
            bytes <= self.scratch.len,
            "an op uses {bytes} bytes between kernels"
        );
        self.scratch.at
    }

    pub(crate) fn dropout_arguments(&self, at: DropoutAt) -> DropoutArguments {
        match self.dropout.stream(at) {
            None => DropoutArguments::NOTHING,
            Some((stream, step)) => DropoutArguments {
                key: stream.key(),
                step,
                threshold: at.rate.threshold(),
                scale: at.rate.scale(),
                unused: 0,
            },
        }
    }

    /// Carries a kernel out on elements of the activations' type.
    pub(crate) fn launch<A: Pod>(&mut self, kernel: &'static Kernel, grid: Grid, arguments: &A) {
        if grid.blocks.contains(&0) {
            return;
        }
        // SAFETY: ops make arguments from handles, whose ranges lie inside their pools, and state sizes that those handles
        // have; that structures are as large here as there is asserted by drivers, and that kernels stay inside by tests.
        unsafe {
            self.driver
                .launch(kernel, self.element, grid, bytemuck::bytes_of(arguments));
        }
    }

    /// A product of matrices whose ranges ops took from handles.
    pub(crate) fn product(&mut self, product: &driver::Product) {
        let is_empty = product.rows == 0 || product.columns == 0;
        if is_empty || (product.inner == 0 && product.adds) {
            return;
        }
        // SAFETY: as for kernels.
        unsafe { self.driver.product(product) };
    }

    fn pool(&mut self, len: usize, size: usize) -> Result<Pool, DeviceError> {
        let at = self.driver.allocate(len * size)?;
        Ok(Pool { at, len, size })
    }

    fn array(&self, array: Array) -> Pool {
        match array {
            Array::Value => self.values,
            Array::Gradient => self.gradients,
            Array::FirstMoment => self.first,
            Array::SecondMoment => self.second,
        }
    }

    fn read_words<T: Pod + Default>(&mut self, from: Pointer, len: usize) -> Vec<T> {
        let mut values = vec![T::default(); len];
        self.driver
            .read(from, bytemuck::cast_slice_mut(&mut values));
        values
    }
}

/// Blocks that take so many rows, a row a warp.
pub(crate) fn row_grid(rows: usize) -> Grid {
    Grid::row(rows.div_ceil(ROWS_PER_BLOCK), ROW_THREADS)
}

/// A count as kernels take it.
pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).expect("batches and models have fewer than 2^32 of anything")
}

/// Rows of dropout: where each row's sequence and position stand.
pub(crate) fn places<D: Driver>(device: &Cuda<D>, rows: Rows) -> [Pointer; 2] {
    [device.int(rows.sequence), device.int(rows.position)]
}

impl<D: Driver> Backend for Cuda<D> {}

impl<D: Driver> Memory for Cuda<D> {
    fn granularity(&self) -> Granularity {
        Granularity::ACCELERATOR
    }

    fn allocate(&mut self, plan: &Plan, n_parameters: usize) -> Result<(), DeviceError> {
        let (needed, most) = (plan.longest().max(n_parameters), self.granularity().longest);
        if needed > most {
            let device = self.driver.facts().name.clone();
            return Err(DeviceError::TooLong {
                device,
                needed,
                most,
            });
        }
        if self.rounded.at == self.values.at {
            self.rounded = Pool::default();
        }
        // What is given back is forgotten, so that this may fail half way and be asked again.
        let old = [
            &mut self.acts,
            &mut self.reals,
            &mut self.ints,
            &mut self.values,
            &mut self.rounded,
            &mut self.gradients,
            &mut self.held,
            &mut self.first,
            &mut self.second,
            &mut self.scratch,
            &mut self.parts.table,
        ];
        for pool in old.map(std::mem::take) {
            if pool.size > 0 {
                self.driver.release(pool.at);
            }
        }
        let n_states = match plan.is_forward_only() {
            true => 0,
            false => n_parameters,
        };
        let n_held = match plan.holds_gradients() {
            true => n_states,
            false => 0,
        };
        let size = self.element.size();
        self.acts = self.pool(plan.acts(), size)?;
        self.reals = self.pool(plan.reals(), 4)?;
        self.ints = self.pool(plan.integers(), 4)?;
        self.values = self.pool(n_parameters, 4)?;
        self.rounded = match self.element {
            Element::F32 => self.values,
            Element::Bf16 => self.pool(n_parameters, size)?,
        };
        self.gradients = self.pool(n_states, 4)?;
        self.held = self.pool(n_held, 4)?;
        self.first = self.pool(n_states, 4)?;
        self.second = self.pool(n_states, 4)?;
        self.scratch = self.pool(SCRATCH + plan.bytes_between(), 1)?;
        self.parts = Parts::new(self.pool(Parts::room(n_states), Parts::SIZE)?);
        Ok(())
    }

    fn write_ints(&mut self, to: Ints, values: &[u32]) {
        assert_eq!(to.len(), values.len(), "as many as there is room for");
        let to = self.int(to);
        self.driver.write(to, bytemuck::cast_slice(values));
    }

    fn read_ints(&mut self, from: Ints) -> Vec<u32> {
        self.read_words(self.int(from), from.len())
    }

    fn write_reals(&mut self, to: Real, values: &[f32]) {
        assert_eq!(to.len(), values.len(), "as many as there is room for");
        let to = self.real(to);
        self.driver.write(to, bytemuck::cast_slice(values));
    }

    fn read_reals(&mut self, from: Real) -> Vec<f32> {
        self.read_words(self.real(from), from.len())
    }

    fn write_acts(&mut self, to: Act, values: &[f32]) {
        assert_eq!(to.len(), values.len(), "as many as there is room for");
        let at = self.act(to);
        match self.element {
            Element::F32 => self.driver.write(at, bytemuck::cast_slice(values)),
            Element::Bf16 => {
                let rounded: Vec<u16> = values.iter().map(|value| round(*value)).collect();
                self.driver.write(at, bytemuck::cast_slice(&rounded));
            }
        }
    }

    fn read_acts(&mut self, from: Act) -> Vec<f32> {
        let at = self.act(from);
        match self.element {
            Element::F32 => self.read_words(at, from.len()),
            Element::Bf16 => {
                let halves: Vec<u16> = self.read_words(at, from.len());
                let wide = |half: &u16| f32::from_bits(u32::from(*half) << 16);
                halves.iter().map(wide).collect()
            }
        }
    }

    fn zero_reals(&mut self, what: Real) {
        let at = self.real(what);
        self.driver.zero(at, what.len() * 4);
    }

    fn zero_acts(&mut self, what: Act) {
        let at = self.act(what);
        self.driver.zero(at, what.len() * self.element.size());
    }

    fn write_weights(&mut self, array: Array, to: Weight, values: &[f32]) {
        assert_eq!(to.len(), values.len(), "as many as there is room for");
        let at = self.array(array).at(to.range());
        self.driver.write(at, bytemuck::cast_slice(values));
        if array == Array::Value && self.element == Element::Bf16 {
            let rounded: Vec<u16> = values.iter().map(|value| round(*value)).collect();
            let at = self.rounded(to);
            self.driver.write(at, bytemuck::cast_slice(&rounded));
        }
    }

    fn read_weights(&mut self, array: Array, from: Weight) -> Vec<f32> {
        self.read_words(self.array(array).at(from.range()), from.len())
    }

    fn zero_gradients(&mut self) {
        let pool = self.gradients;
        self.driver.zero(pool.at, pool.bytes());
    }

    fn sum_over(&mut self, group: &mut dyn Collective, sums: &[Real]) -> Result<(), DeviceError> {
        for sums in sums {
            let mut values = self.read_reals(*sums);
            group.sum(&mut values)?;
            self.write_reals(*sums, &values);
        }
        // Through the processor's memory, a part at a time, unless the driver has a way of its own.
        let pool = self.gradients;
        if self.driver.sum_over(group, pool.at, pool.len)? {
            return Ok(());
        }
        for first in (0..pool.len).step_by(TRAVELS) {
            let len = TRAVELS.min(pool.len - first);
            let at = pool.at(first..first + len);
            let mut values: Vec<f32> = self.read_words(at, len);
            group.sum(&mut values)?;
            self.driver.write(at, bytemuck::cast_slice(&values));
        }
        Ok(())
    }

    fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout;
    }

    fn begin_step(&mut self) {
        self.driver.begin_step();
    }

    fn end_step(&mut self) {
        self.driver.end_step();
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        self.driver.finish()
    }
}

/// The nearest number of 16 bits, ties to even.
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let odd = bits >> 16 & 1;
    ((bits.wrapping_add(0x7fff + odd)) >> 16) as u16
}

/// Sums over rows in two steps: blocks write a row of sums each, and this adds those up in order.
pub(crate) mod sums {
    use super::{Cuda, Driver, Grid, Kernel, Pointer, Source, count};
    use bytemuck::{Pod, Zeroable};

    pub(crate) static SOURCE: Source = Source {
        name: "sums",
        text: include_str!("sums.cu"),
    };
    static ADD: Kernel = Kernel {
        source: &SOURCE,
        name: "sums_add",
    };

    /// Most rows of sums.
    const MOST: usize = 512;
    /// Fewest rows that a block takes.
    const FEWEST: usize = 64;
    /// Columns of a block, one a lane.
    const COLUMNS: usize = 32;

    /// Rows that each block sums, which depends on the problem alone, and how many blocks there are.
    pub(crate) fn split(rows: usize) -> (usize, usize) {
        let each = rows.div_ceil(MOST).max(FEWEST);
        (each, rows.div_ceil(each))
    }

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct AddArguments {
        parts: Pointer,
        to: Pointer,
        n_parts: u32,
        /// Numbers from one part to the next.
        stride: u32,
        width: u32,
        unused: u32,
    }

    /// `to += the sum of parts`, `n_parts` rows of `width` that lie `stride` apart.
    pub(crate) fn add<D: Driver>(
        device: &mut Cuda<D>,
        parts: Pointer,
        n_parts: usize,
        stride: usize,
        width: usize,
        to: Pointer,
    ) {
        let arguments = AddArguments {
            parts,
            to,
            n_parts: count(n_parts),
            stride: count(stride),
            width: count(width),
            unused: 0,
        };
        device.launch(&ADD, Grid::row(width.div_ceil(COLUMNS), 256), &arguments);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn rounding_is_to_the_nearest_and_ties_to_even() {
        let of = |bits: u32| super::round(f32::from_bits(bits));
        assert_eq!(of(0x3f80_0000), 0x3f80);
        assert_eq!(of(0x3f80_8000), 0x3f80);
        assert_eq!(of(0x3f80_8001), 0x3f81);
        assert_eq!(of(0x3f81_8000), 0x3f82);
        assert_eq!(of(0x7f80_0000), 0x7f80);
        assert!(of(0x7fc0_0001) & 0x7fff > 0x7f80);
    }
}
