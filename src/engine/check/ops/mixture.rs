//! Weighted mean rows.

use crate::arena::Plan;
use crate::ops::losses::Choices;
use crate::ops::mixture::{Mixed, Mixture};

use super::losses::{allowed, sequences};
use crate::check::{Bounds, Judge, Outputs, numbers, same};
use crate::cuda::driver::Driver;

const BOUNDS: Bounds = Bounds {
    f32: 3e-6,
    bf16: 1e-2,
};

fn case<B: Mixture>(device: &mut B, lengths: &[usize], tail: usize, width: usize) -> Outputs {
    let n = lengths.iter().sum::<usize>() + tail;
    let mut plan = Plan::default();
    let (sequences, starts) = sequences(&mut plan, lengths);
    let choices = Choices {
        sequences,
        allowed: plan.ints(n),
    };
    let [x, dx] = std::array::from_fn(|_| plan.act(n * width));
    let [y, dy] = std::array::from_fn(|_| plan.act(lengths.len() * width));
    let [logits, weights, d_logits] = std::array::from_fn(|_| plan.real(n));
    device.allocate(&plan, 0).expect("fits");
    device.write_ints(sequences.starts, &starts);
    device.write_ints(choices.allowed, &allowed(lengths, tail));
    device.write_acts(x, &numbers(1, n * width));
    device.write_acts(dx, &numbers(2, n * width));
    device.write_acts(dy, &numbers(3, lengths.len() * width));
    device.write_reals(logits, &numbers(4, n));
    device.write_reals(d_logits, &numbers(5, n));
    device.write_reals(weights, &numbers(6, n));
    device.mixture(x, width, logits, choices, weights, y);
    let made = Mixed {
        x,
        width,
        weights,
        y,
    };
    device.mixture_backward(dy, made, choices, dx, d_logits);
    vec![
        ("weights".to_owned(), device.read_reals(weights)),
        ("y".to_owned(), device.read_acts(y)),
        ("dx".to_owned(), device.read_acts(dx)),
        ("d logits".to_owned(), device.read_reals(d_logits)),
    ]
}

pub(crate) fn lengths_and_widths<D: Driver>(judge: &mut dyn Judge<D>) {
    for (lengths, tail, width) in [
        (&[1][..], 0, 1),
        (&[31, 2], 5, 33),
        (&[5, 90], 1, 257),
        (&[1, 40], 9, 768),
    ] {
        same(
            judge,
            BOUNDS,
            |cpu| case(cpu, lengths, tail, width),
            |cuda| case(cuda, lengths, tail, width),
        );
    }
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    let bounds = Bounds {
        f32: 1e-5,
        bf16: 1e-2,
    };
    let lengths = &[512, 384, 37, 512];
    same(
        judge,
        bounds,
        |cpu| case(cpu, lengths, 91, 768),
        |cuda| case(cuda, lengths, 91, 768),
    );
}
