//! Every op of an accelerator, through its kernels' own sources on the CPU, against the CPU's.
//!
//! An op's case is one function over any device: it lays memory out, fills it, calls the op, and names what came out. It runs
//! on the CPU, and emulated in f32 and bf16 with threads in two orders, which must give equal bits.

mod adamw;
mod attention;
mod corrupt;
mod embedding;
mod layernorm;
mod linear;
mod losses;
mod mixture;
mod mlm;
mod model;
mod rows;

use engine::arena::{Plan, Weight};
use engine::backend::{Dropout, Memory, Precision, Rows};
use engine::cpu::Cpu;
use engine::cuda::Cuda;
use engine::random::{Draw, Purpose, Stream, unit};

use crate::emulated::Emulated;

/// What came out: names and numbers.
pub(crate) type Outputs = Vec<(String, Vec<f32>)>;

/// How far numbers may lie apart, as a share of the largest of their tensor.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) f32: f32,
    pub(crate) bf16: f32,
}

/// Runs a case on all devices and compares.
#[track_caller]
pub(crate) fn same(
    bounds: Bounds,
    on_cpu: impl Fn(&mut Cpu) -> Outputs,
    on_cuda: impl Fn(&mut Cuda<Emulated>) -> Outputs,
) {
    let expected = on_cpu(&mut Cpu::new(1).expect("threads"));
    assert!(!expected.is_empty());
    for (precision, bound) in [(Precision::F32, bounds.f32), (Precision::Bf16, bounds.bf16)] {
        let [found, again] = [1, 2].map(|seed| {
            let mut device = Cuda::new(Emulated::new(seed), precision).expect("kernels compile");
            let found = on_cuda(&mut device);
            device.finish().expect("no fault");
            found
        });
        for ((name, expected), ((_, found), (_, again))) in
            expected.iter().zip(found.iter().zip(&again))
        {
            assert_eq!(expected.len(), found.len(), "{name}");
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(
                bits(found) == bits(again),
                "{name}: the order of threads shows"
            );
            let most = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
            for (i, (e, f)) in expected.iter().zip(found).enumerate() {
                let apart = (e - f).abs();
                assert!(
                    apart <= bound * most.max(1e-6),
                    "{} {name}[{i}] is {f}, on the CPU {e}; the largest is {most}",
                    precision.name(),
                );
            }
        }
    }
}

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
pub(crate) struct Weights(engine::parameters::Parameters);

impl Weights {
    pub(crate) fn add(&mut self, len: usize) -> Weight {
        let name = format!("p{}", self.0.list().len());
        self.0.add(name, &[len], engine::parameters::Init::Zeros, 0)
    }

    pub(crate) fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// Counted dropout, as in training.
pub(crate) const DROPS: Dropout = Dropout::Counted { seed: 5, step: 3 };
