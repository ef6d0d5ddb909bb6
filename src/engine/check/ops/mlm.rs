//! The generator's loss, gradients and samples: slots in several parts, a tail, vocabularies of odd sizes.

use crate::arena::Plan;
use crate::backend::{Array, Rows};
use crate::ops::losses::IGNORED;
use crate::ops::mlm::{MLM_SUMS, MaskedLm, OutputWeights, Sampling, stride_of};

use crate::check::{Bounds, Judge, Outputs, Weights, numbers, same};
use crate::cuda::driver::Driver;

// Operands are such that bf16 has them, so that logits are nearly equal and samples are the same.
const BOUNDS: Bounds = Bounds {
    f32: 5e-6,
    bf16: 1e-2,
};

#[derive(Clone, Copy)]
struct Case {
    slots: usize,
    /// Slots without a target at the end.
    tail: usize,
    /// Of the others, each so-manieth has one: where there are many, most are quick.
    every: usize,
    /// Slots whose logits are held at a time.
    at_a_time: usize,
    entries: usize,
    width: usize,
    sampling: Option<Sampling>,
    bounds: Bounds,
}

const SAMPLING: Sampling = Sampling {
    seed: 7,
    step: 11,
    temperature: 1.0,
    disallow_correct: false,
};

fn case<B: MaskedLm>(device: &mut B, case: Case, with_gradient: bool) -> Outputs {
    let Case {
        slots: n,
        entries,
        width,
        ..
    } = case;
    let mut plan = Plan::default();
    let [x, dx] = std::array::from_fn(|_| plan.act(n * width));
    let [targets, sequence, position, samples] = std::array::from_fn(|_| plan.ints(n));
    let sums = plan.real(MLM_SUMS);
    let scratch = plan.real(case.at_a_time * stride_of(entries));
    let mut parameters = Weights::default();
    let weights = OutputWeights {
        table: parameters.add(entries * width),
        bias: parameters.add(entries),
        entries,
        width,
    };
    device.allocate(&plan, parameters.memory()).expect("fits");
    device.write_acts(x, &numbers(1, n * width));
    device.write_weights(Array::Value, weights.table, &numbers(2, entries * width));
    device.write_weights(Array::Value, weights.bias, &numbers(3, entries));
    device.write_weights(Array::Gradient, weights.table, &numbers(4, entries * width));
    device.write_weights(Array::Gradient, weights.bias, &numbers(5, entries));
    device.write_acts(dx, &numbers(6, n * width));
    device.write_reals(sums, &[0.5; MLM_SUMS]);
    let is_live = |i: &usize| *i < n - case.tail && i.is_multiple_of(case.every);
    let of = |i: usize| (i as u32 * 29 + 1) % entries as u32;
    let target = |i: usize| if is_live(&i) { of(i) } else { IGNORED };
    device.write_ints(targets, &(0..n).map(target).collect::<Vec<_>>());
    device.write_ints(sequence, &(0..n).map(|i| i as u32 / 5).collect::<Vec<_>>());
    device.write_ints(position, &(0..n).map(|i| i as u32 % 5).collect::<Vec<_>>());
    device.write_ints(samples, &vec![9; n]);
    let slots = Rows {
        count: n,
        sequence,
        position,
    };
    let sampling = case.sampling.map(|sampling| (sampling, samples));
    let gradient = with_gradient.then_some((0.125, dx));
    device.masked_lm(
        x, weights, targets, slots, sampling, gradient, sums, scratch,
    );
    let mut outputs = Outputs::new();
    for (i, value) in device.read_reals(sums).into_iter().enumerate() {
        outputs.push((format!("sum {i}"), vec![value]));
    }
    let dx = device.read_acts(dx);
    if with_gradient {
        for inert in (0..n).filter(|i| !is_live(i)) {
            assert!(dx[inert * width..][..width].iter().all(|d| *d == 0.0));
        }
    }
    outputs.push(("dx".to_owned(), dx));
    for (name, weight) in [("table", weights.table), ("bias", weights.bias)] {
        // What was there is taken away, so that bounds are shares of what was added.
        let seed = if name == "table" { 4 } else { 5 };
        let now = device.read_weights(Array::Gradient, weight);
        let added = now.iter().zip(numbers(seed, now.len())).map(|(a, b)| a - b);
        outputs.push((format!("d {name}"), added.collect()));
    }
    let samples = device.read_ints(samples);
    if case.sampling.is_some() {
        assert!((0..n).all(|i| is_live(&i) || samples[i] == 0));
    }
    // Digits, each of which a bound tells apart.
    for digit in 0..4 {
        let of = |id: &u32| (id >> (4 * digit) & 15) as f32;
        outputs.push((format!("digit {digit}"), samples.iter().map(of).collect()));
    }
    outputs
}

fn on_all<D: Driver>(judge: &mut dyn Judge<D>, one: Case) {
    for with_gradient in [true, false] {
        same(
            judge,
            one.bounds,
            |cpu| case(cpu, one, with_gradient),
            |cuda| case(cuda, one, with_gradient),
        );
    }
}

pub(crate) fn odd_slots_and_vocabularies<D: Driver>(judge: &mut dyn Judge<D>) {
    for (slots, tail, every, at_a_time, entries, width) in [
        (1, 0, 1, 1, 1, 1),
        (9, 1, 1, 4, 33, 31),
        (7, 0, 1, 64, 257, 33),
        // More than a block of the bias's gradient takes.
        (90, 20, 13, 66, 1_003, 8),
    ] {
        on_all(
            judge,
            Case {
                slots,
                tail,
                every,
                at_a_time,
                entries,
                width,
                sampling: Some(SAMPLING),
                bounds: BOUNDS,
            },
        );
    }
}

pub(crate) fn temperature_and_forbidden_targets<D: Driver>(judge: &mut dyn Judge<D>) {
    let one = Case {
        slots: 9,
        tail: 2,
        every: 1,
        at_a_time: 128,
        entries: 70,
        width: 16,
        sampling: None,
        bounds: BOUNDS,
    };
    on_all(judge, one);
    for temperature in [0.5, 3.0] {
        let sampling = Sampling {
            temperature,
            disallow_correct: true,
            ..SAMPLING
        };
        on_all(
            judge,
            Case {
                sampling: Some(sampling),
                ..one
            },
        );
    }
}

pub(crate) fn a_vocabulary_of_models<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(
        judge,
        Case {
            slots: 3,
            tail: 1,
            every: 1,
            at_a_time: 2,
            entries: 31_090,
            width: 8,
            sampling: Some(SAMPLING),
            // The emulation's products add 31,090 terms one after another.
            bounds: Bounds {
                f32: 5e-5,
                ..BOUNDS
            },
        },
    );
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all(
        judge,
        Case {
            slots: 320,
            tail: 60,
            every: 1,
            at_a_time: 128,
            entries: 31_090,
            width: 768,
            sampling: Some(SAMPLING),
            bounds: Bounds {
                f32: 5e-5,
                bf16: 2e-2,
            },
        },
    );
}
