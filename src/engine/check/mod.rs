//! What an accelerator is held to: its ops, gradients, losses and bits against the CPU's, and how fast it is. Knows no
//! program: tests run it in an emulation, `gpu-check` on GPUs.
//!
//! An op's case is one function over any device: it lays memory out, fills it, calls the op, and names what came out.

pub mod ops;
pub mod profile;
pub mod speed;
pub mod steps;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use crate::arena::{Plan, Weight};
use crate::backend::{Dropout, Memory, Precision, Rows};
use crate::cpu::Cpu;
use crate::cuda::Cuda;
use crate::cuda::driver::Driver;
use crate::error::DeviceError;
use crate::random::{Draw, Purpose, Stream, unit};

/// What came out: names and numbers.
pub type Outputs = Vec<Output>;
/// A tensor of it.
pub type Output = (String, Vec<f32>);

/// How far numbers may lie apart, as a share of the largest of their tensor.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Where the device computes in f32.
    pub f32: f32,
    /// Where it computes in bf16.
    pub bf16: f32,
}

impl Bounds {
    /// The bound of a precision.
    #[must_use]
    pub fn of(self, precision: Precision) -> f32 {
        match precision {
            Precision::F32 => self.f32,
            Precision::Bf16 => self.bf16,
        }
    }
}

/// Runs a case on the CPU and on an accelerator, and decides about what came out.
pub trait Judge<D: Driver> {
    /// One case.
    fn same(
        &mut self,
        bounds: Bounds,
        on_cpu: &dyn Fn(&mut Cpu) -> Outputs,
        on_cuda: &dyn Fn(&mut Cuda<D>) -> Outputs,
    );
}

pub(crate) fn same<D: Driver>(
    judge: &mut dyn Judge<D>,
    bounds: Bounds,
    on_cpu: impl Fn(&mut Cpu) -> Outputs,
    on_cuda: impl Fn(&mut Cuda<D>) -> Outputs,
) {
    judge.same(bounds, &on_cpu, &on_cuda);
}

/// How far a tensor lies from what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Its name.
    pub tensor: String,
    /// In what the device computed.
    pub precision: Precision,
    /// The largest difference as a share of the largest number; `null` in JSON where something is not finite.
    pub share: f32,
    /// What it may be.
    pub bound: f32,
    /// Where it is.
    pub index: usize,
    /// What is there.
    pub found: f32,
    /// What should be there.
    pub expected: f32,
    /// Whether it is within the bound.
    pub passed: bool,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (precision, tensor, index) = (self.precision.name(), &self.tensor, self.index);
        let (found, expected) = (self.found, self.expected);
        let (share, bound) = (self.share, self.bound);
        write!(
            f,
            "{precision} {tensor}[{index}] is {found}, on the CPU {expected}: {share:.2e} of the largest, at most {bound:.0e}"
        )
    }
}

/// Compares tensors one by one; numbers below `floor` are as far apart as if the largest were that.
///
/// # Panics
/// When there are not the same tensors.
#[must_use]
pub fn compare(
    precision: Precision,
    bound: f32,
    floor: f32,
    expected: &Outputs,
    found: &Outputs,
) -> Vec<Difference> {
    assert_eq!(expected.len(), found.len(), "as many tensors");
    let one = |((name, expected), (other, found)): (&Output, &Output)| {
        assert_eq!(name, other, "the same tensors");
        assert_eq!(expected.len(), found.len(), "{name}");
        let most = expected.iter().fold(floor, |most, v| most.max(v.abs()));
        let (mut index, mut share) = (0, 0.0);
        for (i, (e, f)) in expected.iter().zip(found).enumerate() {
            let apart = (e - f).abs() / most;
            // What is not a number is further than anything.
            if apart > share || apart.is_nan() {
                (index, share) = (i, apart);
            }
            if share.is_nan() {
                break;
            }
        }
        let at = |values: &[f32]| values.get(index).copied().unwrap_or(0.0);
        Difference {
            tensor: name.clone(),
            precision,
            share,
            bound,
            index,
            found: at(found),
            expected: at(expected),
            passed: share <= bound,
        }
    };
    expected.iter().zip(found).map(one).collect()
}

/// The first tensor whose bits are not the same twice.
#[must_use]
pub fn other_bits(one: &Outputs, other: &Outputs) -> Option<String> {
    let differs = |((name, a), (_, b)): (&Output, &Output)| {
        let is_same =
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        (!is_same).then(|| name.clone())
    };
    let missing = (one.len() != other.len()).then(|| "another number of tensors".to_owned());
    missing.or_else(|| one.iter().zip(other).find_map(differs))
}

/// What a case said on a device.
#[derive(Clone, Debug, Serialize)]
pub struct CaseFound {
    /// The set it belongs to.
    pub set: String,
    /// Its place in the set.
    pub case: usize,
    /// In what the device computed.
    pub precision: Precision,
    /// Whether all of it is as it should be.
    pub passed: bool,
    /// What is wrong beside differences: a fault of the device, bits that were others the second time.
    pub fault: Option<String>,
    /// The tensor that is furthest, as a share of its bound, and all that are too far.
    pub differences: Vec<Difference>,
}

/// A device with a precision, made anew after each fault.
pub type Make<'a, D> = &'a dyn Fn(Precision) -> Result<Cuda<D>, DeviceError>;

/// Judges by running everything twice on a device, and notes what it found.
pub(crate) struct Noting<'a, D: Driver> {
    cpu: Cpu,
    devices: Vec<(Precision, Option<Cuda<D>>)>,
    make: Make<'a, D>,
    set: String,
    case: usize,
    pub(crate) found: Vec<CaseFound>,
}

impl<'a, D: Driver> Noting<'a, D> {
    pub(crate) fn new(cpu: Cpu, make: Make<'a, D>) -> Self {
        Self {
            cpu,
            devices: vec![(Precision::F32, None), (Precision::Bf16, None)],
            make,
            set: String::new(),
            case: 0,
            found: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self, set: &str) {
        set.clone_into(&mut self.set);
        self.case = 0;
    }
}

/// Twice on a device, and its bits compared.
fn twice<D: Driver>(
    device: &mut Cuda<D>,
    on_cuda: &dyn Fn(&mut Cuda<D>) -> Outputs,
) -> Result<Outputs, String> {
    let mut once = || {
        let found = caught(|| on_cuda(device));
        // A fault of the device says more than what was noticed of it.
        device.finish().map_err(|error| error.to_string())?;
        found
    };
    let (one, other) = (once()?, once()?);
    match other_bits(&one, &other) {
        Some(name) => Err(format!("{name}: other bits the second time")),
        None => Ok(one),
    }
}

/// What a panic said.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|fault| {
        let text = fault.downcast_ref::<String>().cloned();
        let text = text.or_else(|| fault.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

impl<D: Driver> Judge<D> for Noting<'_, D> {
    fn same(
        &mut self,
        bounds: Bounds,
        on_cpu: &dyn Fn(&mut Cpu) -> Outputs,
        on_cuda: &dyn Fn(&mut Cuda<D>) -> Outputs,
    ) {
        let expected = caught(|| on_cpu(&mut self.cpu));
        for (precision, device) in &mut self.devices {
            let precision = *precision;
            let found = expected.clone().and_then(|expected| {
                let made = match device.take() {
                    Some(made) => Ok(made),
                    None => (self.make)(precision).map_err(|error| error.to_string()),
                };
                let mut made = made?;
                let found = twice(&mut made, on_cuda)?;
                *device = Some(made);
                caught(|| compare(precision, bounds.of(precision), FLOOR, &expected, &found))
            });
            let (fault, mut differences) = match found {
                Ok(differences) => (None, differences),
                Err(fault) => (Some(fault), Vec::new()),
            };
            let passed = fault.is_none() && differences.iter().all(|one| one.passed);
            let furthest = differences
                .iter()
                .map(|one| one.share)
                .fold(0.0_f32, f32::max);
            let mut kept = false;
            differences.retain(|one| {
                let is_furthest = !kept && one.share >= furthest;
                kept |= is_furthest;
                is_furthest || !one.passed
            });
            self.found.push(CaseFound {
                set: self.set.clone(),
                case: self.case,
                precision,
                passed,
                fault,
                differences,
            });
        }
        self.case += 1;
    }
}

/// Tensors whose largest number is smaller than this are as good as zero.
pub const FLOOR: f32 = 1e-6;

/// Numbers in [-1, 1) that bf16 has, another list for each `seed`.
pub(crate) fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let stream = Stream::new(seed, Purpose::Shuffle);
    let draw = Draw {
        step: 0,
        sequence: 0,
    };
    (0..len as u64)
        .map(|i| (unit(stream.word(draw, i)) * 256.0).floor() / 128.0 - 1.0)
        .collect()
}

/// Rows of `lengths` sequences, numbered from `first` in the global batch.
pub(crate) struct Laid {
    pub(crate) rows: Rows,
    sequence: Vec<u32>,
    position: Vec<u32>,
}

impl Laid {
    pub(crate) fn new(plan: &mut Plan, lengths: &[usize], first: u32) -> Self {
        let count = lengths.iter().sum();
        let (mut sequence, mut position) = (Vec::new(), Vec::new());
        for (i, length) in (first..).zip(lengths) {
            sequence.extend(std::iter::repeat_n(i, *length));
            position.extend(0..u32::try_from(*length).expect("short"));
        }
        let rows = Rows {
            count,
            sequence: plan.ints(count),
            position: plan.ints(count),
        };
        Self {
            rows,
            sequence,
            position,
        }
    }

    pub(crate) fn write(&self, device: &mut impl Memory) {
        device.write_ints(self.rows.sequence, &self.sequence);
        device.write_ints(self.rows.position, &self.position);
    }
}

/// Parameters laid out one after another, as a model does it.
#[derive(Default)]
pub(crate) struct Weights(crate::parameters::Parameters);

impl Weights {
    pub(crate) fn add(&mut self, len: usize) -> Weight {
        let name = format!("p{}", self.0.list().len());
        self.0.add(name, &[len], crate::parameters::Init::Zeros, 0)
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// Counted dropout, as in training.
pub(crate) const DROPS: Dropout = Dropout::Counted { seed: 5, step: 3 };
