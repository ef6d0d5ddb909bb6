//! What can go wrong in the engine, as facts.

use std::path::PathBuf;

/// A device that does not do its work.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// More memory is needed than there is.
    #[error("{device} cannot hold this model: needs {needed_bytes} bytes, has {free_bytes} free")]
    OutOfMemory {
        /// Which device.
        device: String,
        /// Bytes of the plan.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// More is to be computed at once than the device counts.
    #[error(
        "{device} cannot take so much at once: a buffer of {needed} numbers is needed, and {most} are the most"
    )]
    TooLong {
        /// Which device.
        device: String,
        /// Numbers of the longest buffer.
        needed: usize,
        /// Numbers that a buffer has at most.
        most: usize,
    },
    /// The model's rows are wider than the device normalises.
    #[error("the model is {width} wide, and {widest} is the most that is computed on a GPU")]
    TooWide {
        /// Width of the model's rows.
        width: usize,
        /// The largest there may be.
        widest: usize,
    },
    /// A library that the device takes is not on this machine.
    #[error(
        "{library} is not on this machine: no {} in any of {} folders",
        any_of(files),
        looked_in.len()
    )]
    LibraryMissing {
        /// Which.
        library: String,
        /// Names of its file that would do.
        files: Vec<String>,
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
        /// How to get it.
        install: String,
    },
    /// A library is there and cannot be used.
    #[error("`{}` cannot be used: {reason}", path.display())]
    LibraryUnusable {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Several files of a library are there, and none can be used.
    #[error("none of {} files of {library} can be used: {}", faults.len(), faults.join("; "))]
    NoneUsable {
        /// Which.
        library: String,
        /// What is wrong with each.
        faults: Vec<String>,
    },
    /// The driver is older than a library that is to be used with it.
    #[error(
        "NVIDIA's driver knows CUDA {}.{} and is too old for `{}`, which needs {}.{}",
        driver.0,
        driver.1,
        library.display(),
        needed.0,
        needed.1
    )]
    DriverTooOld {
        /// The version of CUDA that the driver knows.
        driver: (u32, u32),
        /// The library's file.
        library: PathBuf,
        /// The version that the library needs.
        needed: (u32, u32),
    },
    /// There is no such device.
    #[error("{reason}")]
    NoDevice {
        /// What there is instead.
        reason: String,
    },
    /// The device has no products in bf16.
    #[error(
        "the GPU's compute capability is {}.{}, and 8.0 is the least that is computed on",
        capability.0,
        capability.1
    )]
    TooOld {
        /// Its compute capability.
        capability: (u32, u32),
    },
    /// A kernel is not compiled.
    #[error("the kernels of `{source_name}` are not compiled:\n{log}")]
    Compile {
        /// The file of kernels.
        source_name: String,
        /// What the compiler says.
        log: String,
    },
    /// The device, or a library it takes, reports a fault.
    #[error("{device} failed: {reason}")]
    Failed {
        /// Which device.
        device: String,
        /// What it says.
        reason: String,
    },
}

/// ``a`, `b` or `c``.
fn any_of(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(" or ")
}

/// A step that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A loss or a gradient is not a number.
    #[error(
        "step {step}: the {what} is {value}, first in {}",
        tensor.as_deref().unwrap_or("no gradient: the forward pass overflows")
    )]
    NotFinite {
        /// The step, counted from 0.
        step: u64,
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f32,
        /// The first parameter whose values or gradient are not finite, in words.
        tensor: Option<String>,
    },
    /// A sequence is longer than the model's positions, empty, or holds an id outside the vocabulary.
    #[error("example {index} of the batch at step {step}: {reason}")]
    Example {
        /// The step, counted from 0.
        step: u64,
        /// Index in the batch.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Tensors do not fit or cannot be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Tensors of a file that are not those of a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what its name says.
    #[error("`{}` is no safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint is damaged or another's.
    #[error("the checkpoint `{}` is not whole: {reason}", path.display())]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A PyTorch file is not read.
    #[error("`{}` is not read: {source}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TorchError,
    },
    /// Two tensors of a file are one of the model's.
    #[error("the file has both `{first}` and `{second}`, which are two names of one tensor")]
    Twice {
        /// One of its names.
        first: String,
        /// Another.
        second: String,
    },
    /// A tensor has another shape than the model's.
    #[error("tensor `{name}` has shape {found:?}, the model has {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// In the model.
        expected: Vec<usize>,
    },
    /// A tensor is of a type that is not read.
    #[error("tensor `{name}` is of type {found}; f32, f16 and bf16 are read")]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        found: String,
    },
    /// A configuration does not fit.
    #[error("{0}")]
    Config(String),
}

/// Why a PyTorch file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TorchError {
    /// It names code other than what builds tensors. Nothing was run.
    #[error("the file asks to run `{name}`: refused")]
    Runs {
        /// Module and name.
        name: String,
    },
    /// It uses an operation of pickle that building tensors does not take.
    #[error("the file uses pickle's operation {name}, which tensors do not take: refused")]
    Operation {
        /// Its name, such as `NEWOBJ`.
        name: String,
    },
    /// It was written on a big-endian machine.
    #[error("the file is big-endian")]
    BigEndian,
    /// An archive's entry is compressed, encrypted, or leads out of it.
    #[error("the archive's entry `{name}` {reason}: refused")]
    Entry {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// It holds more than its size allows for.
    #[error("the file asks for more memory than tensors of its size take")]
    TooLarge,
    /// It does not hold together.
    #[error("{0}")]
    Broken(String),
}
