//! Every op of an accelerator, through its kernels' own sources on the CPU, against the CPU's.
//!
//! The cases are `engine::check`'s, which a GPU is held to as well. Here they run emulated in f32 and bf16 with threads in
//! two orders, which must give equal bits.

mod model;
mod speed;

use engine::backend::{Memory, Precision};
use engine::check::{self, Bounds, FLOOR, Judge, Outputs};
use engine::cpu::Cpu;
use engine::cuda::Cuda;

use crate::emulated::Emulated;

/// Stops at the first case that is not as it should be.
struct Strict;

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
                let mut device = Cuda::new(Emulated::new(seed), precision).expect("they compile");
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

macro_rules! tests {
    ($($op:ident { $($small:ident)* } { $($large:ident)* })*) => {
        $(mod $op {
            $(#[test]
            fn $small() {
                engine::check::ops::run_set(stringify!($op), stringify!($small), &mut super::Strict);
            })*
        })*
    };
}
engine::op_sets!(tests);
