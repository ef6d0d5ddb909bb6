//! What `gpu-check` measures, in an emulation: times mean nothing there, but everything is counted.

use std::time::{Duration, Instant};

use engine::backend::Precision;
use engine::check::ops;
use engine::check::profile::profile;
use engine::check::speed::{Lengths, Task, Work, measure, product_rate};
use engine::check::steps::Training;
use engine::collective::Collective;
use engine::cpu::Cpu;
use engine::cuda::Cuda;
use engine::cuda::driver::{
    DeviceFacts, Driver, Element, Grid, Kernel, Moments, Pointer, Product, Source,
};
use engine::error::DeviceError;

use crate::emulated::Emulated;

/// An emulation whose work takes as long as it takes.
#[derive(Debug)]
struct Clocked(Emulated, Vec<Instant>);

/// One that reads a wrong byte.
#[derive(Debug)]
struct Spoiled(Emulated);

impl Clocked {
    fn spoil(&self, _: &mut [u8]) {}
}

impl Spoiled {
    fn spoil(&self, bytes: &mut [u8]) {
        if let Some(last) = bytes.get_mut(4) {
            *last ^= 1;
        }
    }
}

macro_rules! over_an_emulation {
    ($driver:ident) => {
        impl Driver for $driver {
            fn facts(&self) -> &DeviceFacts {
                self.0.facts()
            }
            fn free_bytes(&self) -> Result<u64, DeviceError> {
                self.0.free_bytes()
            }
            fn allocate(&mut self, bytes: usize) -> Result<Pointer, DeviceError> {
                self.0.allocate(bytes)
            }
            fn release(&mut self, at: Pointer) {
                self.0.release(at);
            }
            fn write(&mut self, to: Pointer, bytes: &[u8]) {
                self.0.write(to, bytes);
            }
            fn read(&mut self, from: Pointer, bytes: &mut [u8]) {
                self.0.read(from, bytes);
                self.spoil(bytes);
            }
            fn zero(&mut self, at: Pointer, bytes: usize) {
                self.0.zero(at, bytes);
            }
            fn copy(&mut self, to: Pointer, from: Pointer, bytes: usize) {
                self.0.copy(to, from, bytes);
            }
            fn prepare(
                &mut self,
                sources: &[&'static Source],
                element: Element,
            ) -> Result<(), DeviceError> {
                self.0.prepare(sources, element)
            }
            unsafe fn launch(
                &mut self,
                kernel: &'static Kernel,
                element: Element,
                grid: Grid,
                arguments: &[u8],
            ) {
                // SAFETY: the caller's promise.
                unsafe { self.0.launch(kernel, element, grid, arguments) };
            }
            unsafe fn product(&mut self, product: &Product) {
                // SAFETY: the caller's promise.
                unsafe { self.0.product(product) };
            }
            fn sum_over(
                &mut self,
                group: &mut dyn Collective,
                at: Pointer,
                len: usize,
            ) -> Result<bool, DeviceError> {
                self.0.sum_over(group, at, len)
            }
            fn finish(&mut self) -> Result<(), DeviceError> {
                self.0.finish()
            }
        }
    };
}
over_an_emulation!(Clocked);
over_an_emulation!(Spoiled);

impl Moments for Clocked {
    fn mark(&mut self) {
        self.1.push(Instant::now());
    }

    fn intervals(&mut self) -> Result<Vec<f64>, DeviceError> {
        self.finish()?;
        let made = std::mem::take(&mut self.1);
        let pairs = made.windows(2);
        Ok(pairs.map(|p| (p[1] - p[0]).as_secs_f64()).collect())
    }
}

fn task(work: Work, lengths: Lengths) -> Task {
    Task {
        name: "tiny",
        work,
        sequences: 3,
        longest: 24,
        lengths,
        config: Training::tiny().settings.discriminator,
    }
}

#[test]
fn every_work_is_measured() {
    let make = |precision| Cuda::new(Emulated::new(1), precision);
    for (work, lengths) in [
        (Work::PreTraining, Lengths::Real),
        (Work::FineTuning, Lengths::Padded),
        (Work::Prediction, Lengths::Padded),
    ] {
        let task = task(work, lengths);
        let found = measure(&task, Duration::ZERO, Some(1e12), &make).expect("finite");
        assert_eq!(found.steps, 3);
        assert!(found.seconds >= found.fastest && found.fastest > 0.0);
        if lengths == Lengths::Padded {
            assert_eq!(found.tokens, 72.0);
        }
        assert!(found.flop > 1e5 && found.mfu.is_none());
        let share = found.share_of_products.expect("products were given");
        assert!((share * 1e12 / found.flop_per_second - 1.0).abs() < 1e-9);
        assert!(
            serde_json::to_string(&found)
                .expect("JSON")
                .contains("\"tiny\"")
        );
    }
    let rate = product_rate(&mut Emulated::new(1), 32, 3).expect("no fault");
    assert!(rate > 0.0);
}

#[test]
fn a_step_is_divided_into_its_kernels() {
    let open = || Ok(Clocked(Emulated::new(1), Vec::new()));
    let task = task(Work::PreTraining, Lengths::Padded);
    let table = profile(&task, 2, open).expect("finite");
    let shares: f64 = table.lines.iter().map(|line| line.share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let line = |name: &str| {
        let found = table.lines.iter().find(|line| line.name == name);
        found.unwrap_or_else(|| panic!("no `{name}` in {:#?}", table.lines))
    };
    // Two layers, one micro-batch; the generator's heads are of a size that is computed plainly.
    let attention = line("attention_forward");
    assert_eq!(attention.count, 2.0);
    assert_eq!(line("attention_plain_forward").count, 2.0);
    assert!(attention.flop.expect("known") > 0.0 && attention.bytes.is_some());
    assert_eq!(line("adamw_update").count, 1.0);
    let products = table
        .lines
        .iter()
        .filter(|line| line.name.starts_with("product"));
    assert!(products.clone().count() > 10);
    assert!(products.clone().all(|line| line.flop.is_some()));
    // Every product of the forward pass and twice as much of the backward pass.
    let flop: f64 = products.filter_map(|line| line.flop).sum();
    assert!(flop > 1e6, "{flop:e}");
    // Whatever takes time in steps of models has a formula.
    for name in [
        "layernorm_forward",
        "layernorm_backward",
        "linear_gelu",
        "linear_gelu_backward",
        "linear_columns",
        "attention_d_queries",
        "attention_d_keys",
        "adamw_squares",
        "mlm_slots",
        "mlm_columns",
        "embedding",
    ] {
        assert!(line(name).bytes.is_some(), "{name}");
    }
}

#[test]
fn faults_and_differences_are_told_case_by_case() {
    let make = |precision| Cuda::new(Emulated::new(1), precision);
    let mut told = 0;
    let found = ops::run(
        "corrupt",
        false,
        Cpu::new(1).expect("threads"),
        &make,
        &mut |cases| told = cases.len(),
    );
    assert_eq!((found.len(), told), (10, 10));
    assert!(found.iter().all(|case| case.passed && case.fault.is_none()));
    // A device that cannot be made is a fault of each case, and no panic.
    let broken = |_: Precision| -> Result<Cuda<Emulated>, DeviceError> {
        Err(DeviceError::NoDevice {
            reason: "it is away".to_owned(),
        })
    };
    let cpu = Cpu::new(1).expect("threads");
    let found = ops::run("corrupt", false, cpu, &broken, &mut |_| {});
    assert!(found.iter().all(|case| !case.passed));
    let fault = found[0].fault.as_deref().expect("told");
    assert!(fault.contains("it is away"), "{fault}");
    // What lies too far apart is told with its place.
    let spoiled = |precision| {
        let inner = Spoiled(Emulated::new(1));
        Cuda::new(inner, precision)
    };
    let cpu = Cpu::new(1).expect("threads");
    let found = ops::run("corrupt", false, cpu, &spoiled, &mut |_| {});
    let bad = found.iter().find(|case| !case.passed).expect("seen");
    assert!(bad.fault.is_none());
    assert!(bad.differences.iter().any(|one| !one.passed), "{bad:?}");
}
