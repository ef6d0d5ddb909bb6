//! What an accelerator is asked for: memory, kernels of ours, products of matrices, an order of work. Knows no ops.
//!
//! Two things stand behind it: the CUDA driver, and the emulation on the CPU that runs the same kernel sources in tests.

use crate::backend::Precision;
use crate::collective::Collective;
use crate::error::DeviceError;

/// An address in the device's memory.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Pointer(pub u64);

impl Pointer {
    /// So many bytes further.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// A file of kernels.
#[derive(Debug)]
pub struct Source {
    /// Its op, such as `layernorm`.
    pub name: &'static str,
    /// Its text, which begins with `#include "prelude.cuh"`.
    pub text: &'static str,
}

/// A kernel: `<name>_f32` and `<name>_bf16` of a source, each taking one structure of arguments.
#[derive(Debug)]
pub struct Kernel {
    /// The file that holds it.
    pub source: &'static Source,
    /// Its name without the type of its elements.
    pub name: &'static str,
}

/// How many threads carry a kernel out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks, by up to three indices.
    pub blocks: [u32; 3],
    /// Threads of a block: a multiple of 32.
    pub threads: u32,
    /// Bytes of shared memory that a block asks for beyond what its kernel declares.
    pub shared: u32,
}

impl Grid {
    /// A row of blocks.
    #[must_use]
    pub fn row(blocks: usize, threads: u32) -> Self {
        let blocks = u32::try_from(blocks).expect("a grid has fewer than 2^31 blocks");
        Self {
            blocks: [blocks, 1, 1],
            threads,
            shared: 0,
        }
    }
}

/// The type of a matrix's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// 32 bits.
    F32,
    /// The upper half of them.
    Bf16,
}

impl Element {
    /// Bytes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl From<Precision> for Element {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// A matrix in row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Its first element.
    pub at: Pointer,
    /// Type of its elements.
    pub element: Element,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Whether its transpose is taken.
    pub transposed: bool,
}

/// `c = a b` or `c += a b`, sums in f32: `a` (after transposition) is (rows, inner), `b` (inner, columns), `c` (rows,
/// columns). Elements of `a` and `b` are of one type; `c` is of that type or f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The first factor.
    pub a: Matrix,
    /// The second.
    pub b: Matrix,
    /// The result, never transposed.
    pub c: Matrix,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// What is summed over.
    pub inner: usize,
    /// Whether the result is added to what was there.
    pub adds: bool,
    /// Added to every row (columns), elements as `c`'s. Nothing of GELU is ever asked of a library: theirs is the tanh
    /// form, ELECTRA's is exact.
    pub bias: Option<Pointer>,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeviceFacts {
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// Compute capability, such as `(9, 0)`.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of shared memory that one block may have.
    pub shared_per_block: u32,
}

/// An accelerator. Work is done in the order it is asked for, and faults of it are told by [`finish`](Self::finish).
pub trait Driver: Send + std::fmt::Debug {
    /// What it is.
    fn facts(&self) -> &DeviceFacts;

    /// Bytes that are free.
    ///
    /// # Errors
    /// When the device does not answer.
    fn free_bytes(&self) -> Result<u64, DeviceError>;

    /// Memory that lives as long as the driver, set to zero; addresses are multiples of 256.
    ///
    /// # Errors
    /// When there is not so much.
    fn allocate(&mut self, bytes: usize) -> Result<Pointer, DeviceError>;

    /// Gives memory back, when all work that was asked for is done.
    fn release(&mut self, at: Pointer);

    /// Copies to the device. `bytes` may change as soon as this returns.
    fn write(&mut self, to: Pointer, bytes: &[u8]);

    /// Copies from the device, after all that was asked for. After a fault what is read is zero.
    fn read(&mut self, from: Pointer, bytes: &mut [u8]);

    /// Sets bytes to zero.
    fn zero(&mut self, at: Pointer, bytes: usize);

    /// Copies inside the device.
    fn copy(&mut self, to: Pointer, from: Pointer, bytes: usize);

    /// Makes all kernels of some sources ready for elements of a type, so that no step waits for a compiler.
    ///
    /// # Errors
    /// When a kernel cannot be compiled or loaded.
    fn prepare(&mut self, sources: &[&'static Source], element: Element)
    -> Result<(), DeviceError>;

    /// Carries a kernel out.
    ///
    /// # Safety
    /// `arguments` are the bytes of the structure that the kernel takes, and its pointers lead to memory of this device
    /// that is as large as the kernel takes it to be.
    unsafe fn launch(
        &mut self,
        kernel: &'static Kernel,
        element: Element,
        grid: Grid,
        arguments: &[u8],
    );

    /// A product of matrices.
    ///
    /// # Safety
    /// The matrices lie in memory of this device.
    unsafe fn product(&mut self, product: &Product);

    /// `len` f32 numbers become their sums over a group of processes, by a library of the device's; whether there is one.
    ///
    /// # Errors
    /// When another process is gone.
    fn sum_over(
        &mut self,
        group: &mut dyn Collective,
        at: Pointer,
        len: usize,
    ) -> Result<bool, DeviceError> {
        let _ = (group, at, len);
        Ok(false)
    }

    /// From here to [`end_step`](Self::end_step) work has the shape of other steps: a device may record it and replay it.
    fn begin_step(&mut self) {}

    /// The end of such a stretch.
    fn end_step(&mut self) {}

    /// Waits until everything asked for is done.
    ///
    /// # Errors
    /// The first fault since the last call.
    fn finish(&mut self) -> Result<(), DeviceError>;
}

/// A device with a clock of its own, for which work is marked.
pub trait Moments: Driver {
    /// Marks the moment when all that was asked for so far is done.
    fn mark(&mut self);

    /// Seconds from each mark to the next since the last call.
    ///
    /// # Errors
    /// The first fault since the last call of [`finish`](Driver::finish), and a device without such a clock.
    fn intervals(&mut self) -> Result<Vec<f64>, DeviceError>;
}
