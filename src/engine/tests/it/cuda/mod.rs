//! Every op of an accelerator, through its kernels' own sources on the CPU, against the CPU's.
//!
//! The cases are `engine::check`'s, which a GPU is held to as well. Here they run emulated in f32 and bf16 with threads in
//! two orders, which must give equal bits.

mod model;
mod speed;

use engine::arena::{Granularity, Plan};
use engine::backend::{Memory, Precision};
use engine::check::{self, Bounds, FLOOR, Judge, Outputs};
use engine::cpu::Cpu;
use engine::cuda::Cuda;
use engine::cuda::driver::{Driver as _, Element, Grid, Kernel, Source};

use crate::emulated::Emulated;

/// Stops at the first case that is not as it should be. Blocks of its devices have so many bytes of shared memory.
struct Strict {
    shared: u32,
}

/// Of an A100.
const SHARED: u32 = 163 << 10;

impl Judge<Emulated> for Strict {
    fn same(
        &mut self,
        bounds: Bounds,
        on_cpu: &dyn Fn(&mut Cpu) -> Outputs,
        on_cuda: &dyn Fn(&mut Cuda<Emulated>) -> Outputs,
    ) {
        let expected = on_cpu(&mut Cpu::new(1).expect("threads"));
        assert!(!expected.is_empty());
        for precision in [Precision::F32, Precision::Bf16] {
            let [found, again] = [1, 2].map(|seed| {
                let driver = Emulated::new(seed).with_shared(self.shared);
                let mut device = Cuda::new(driver, precision).expect("they compile");
                let found = on_cuda(&mut device);
                device.finish().expect("no fault");
                found
            });
            let other = check::other_bits(&found, &again);
            assert!(other.is_none(), "{other:?}: the order of threads shows");
            let bound = bounds.of(precision);
            for one in check::compare(precision, bound, FLOOR, &expected, &found) {
                assert!(one.passed, "{one}");
            }
        }
    }
}

/// An L40S has 99 KiB for a block; no device that is computed on has less, and 40 are tried for the way without tiles.
#[test]
fn wide_heads_take_blocks_that_a_device_has_room_for() {
    for shared in [99 << 10, 40 << 10] {
        let mut judge = Strict { shared };
        check::ops::run_set("attention", "heads_wider_than_tiles", &mut judge);
    }
}

#[test]
fn a_batch_that_is_not_counted_is_refused_before_anything_is_allocated() {
    let mut device = Cuda::new(Emulated::new(1), Precision::Bf16).expect("kernels compile");
    let free = device.driver().free_bytes().expect("told");
    let mut plan = Plan::new(Granularity::ACCELERATOR);
    plan.between(200 << 20);
    plan.act(100);
    device.allocate(&plan, 8).expect("fits");
    let taken = free - device.driver().free_bytes().expect("told");
    assert!(taken >= 264 << 20, "what ops use between kernels: {taken}");
    let mut larger = plan.clone();
    larger.ints(1 << 31);
    for (plan, n_parameters) in [(&larger, 8), (&plan, 1 << 31)] {
        let error = device.allocate(plan, n_parameters).expect_err("too much");
        let expected = "emulation cannot take so much at once: a buffer of 2147483648 numbers is needed, and \
                        2147483647 are the most";
        assert_eq!(error.to_string(), expected);
        let left = free - device.driver().free_bytes().expect("told");
        assert_eq!(left, taken, "what there was stays");
    }
}

/// A bound of threads that the source states is one that launches are held to.
#[test]
fn launches_have_no_more_threads_than_their_kernel() {
    static SOURCE: Source = Source {
        name: "bounded",
        text: "#include \"prelude.cuh\"\n\nstruct A { u64 n; };\nKERNEL(bounded, A, 64) {}\n",
    };
    static KERNEL: Kernel = Kernel {
        source: &SOURCE,
        name: "bounded",
    };
    let mut device = Emulated::new(1);
    device
        .prepare(&[&SOURCE], Element::F32)
        .expect("it compiles");
    for (threads, fits) in [(32, true), (64, true), (96, false)] {
        let grid = Grid::row(1, threads);
        // SAFETY: the kernel takes eight bytes and no memory.
        unsafe { device.launch(&KERNEL, Element::F32, grid, &[0; 8]) };
        assert_eq!(device.finish().is_ok(), fits, "{threads} threads");
    }
}

macro_rules! tests {
    ($($op:ident { $($small:ident)* } { $($large:ident)* })*) => {
        $(mod $op {
            $(#[test]
            fn $small() {
                engine::check::ops::run_set(stringify!($op), stringify!($small), &mut super::Strict { shared: super::SHARED });
            })*
        })*
    };
}
engine::op_sets!(tests);
