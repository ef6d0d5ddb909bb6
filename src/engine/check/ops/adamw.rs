//! The optimizer: norms, updates of many groups at once, the copy that products read, gradients held.

use crate::arena::{Plan, Real};
use crate::backend::{Array, Memory};
use crate::ops::adamw::{AdamW, Group, Update};
use crate::ops::linear::{Linear, LinearWeights};

use crate::check::{Bounds, Judge, Outputs, Weights, numbers, same};
use crate::cuda::driver::Driver;

/// States are f32 on all devices.
const STATES: Bounds = Bounds {
    f32: 2e-6,
    bf16: 2e-6,
};
const PRODUCTS: Bounds = Bounds {
    f32: 2e-6,
    bf16: 1e-2,
};

const UPDATE: Update = Update {
    learning_rate: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-6,
    correction: 0.5,
    clip: Some(1.0),
};

const ARRAYS: [Array; 4] = [
    Array::Value,
    Array::Gradient,
    Array::FirstMoment,
    Array::SecondMoment,
];

/// Tensors of these lengths, each a group; values and gradients in [-1, 1), moments as after some steps.
fn laid<B: Memory>(device: &mut B, lengths: &[usize]) -> (Real, Vec<Group>) {
    let mut plan = Plan::default();
    let norm = plan.real(1);
    plan.hold_gradients();
    let mut weights = Weights::default();
    let groups: Vec<Group> = (0_u16..)
        .zip(lengths)
        .map(|(i, len)| Group {
            at: weights.add(*len),
            multiplier: 1.0 / f32::from(1 + i),
            decay: 0.01 * f32::from(i % 2),
        })
        .collect();
    // To the last element and no further, so that ends which are no multiple of anything are seen.
    let end = groups.iter().map(|group| group.at.range().end).max();
    device.allocate(&plan, end.expect("some")).expect("fits");
    for (i, group) in (0..).step_by(4).zip(&groups) {
        let n = group.at.len();
        let moments: Vec<f32> = numbers(i + 3, n).iter().map(|v| v * v * 0.1).collect();
        device.write_weights(Array::Value, group.at, &numbers(i, n));
        device.write_weights(Array::Gradient, group.at, &numbers(i + 1, n));
        device.write_weights(Array::FirstMoment, group.at, &numbers(i + 2, n));
        device.write_weights(Array::SecondMoment, group.at, &moments);
    }
    (norm, groups)
}

fn states<B: Memory>(device: &mut B, groups: &[Group], when: &str) -> Outputs {
    let mut made = Outputs::new();
    for (i, group) in groups.iter().enumerate() {
        for array in ARRAYS {
            let found = device.read_weights(array, group.at);
            made.push((format!("{when} {array:?} {i}"), found));
        }
    }
    made
}

fn steps<B: AdamW>(device: &mut B, lengths: &[usize]) -> Outputs {
    let (norm, groups) = laid(device, lengths);
    device.gradient_norm(norm);
    let mut made = vec![("norm".to_owned(), device.read_reals(norm))];
    device.adamw(&groups, UPDATE, norm);
    made.extend(states(device, &groups, "clipped"));
    let free = Update {
        clip: None,
        ..UPDATE
    };
    device.adamw(&groups, free, norm);
    made.extend(states(device, &groups, "free"));
    // Fewer groups: the table is another, and the last tensor stays as it is.
    device.adamw(&groups[..groups.len() - 1], UPDATE, norm);
    made.extend(states(device, &groups, "fewer"));
    made
}

fn held<B: AdamW>(device: &mut B, lengths: &[usize]) -> Outputs {
    let (norm, groups) = laid(device, lengths);
    let mut made = Outputs::new();
    for (i, is_first) in [true, false, true].into_iter().enumerate() {
        device.gradient_norm(norm);
        device.hold_gradients(1.0, norm, is_first);
        device.take_held_gradients();
        made.push((format!("norm {i}"), device.read_reals(norm)));
        made.extend(states(device, &groups, "held"));
    }
    made
}

pub(crate) fn odd_tensors_are_updated<D: Driver>(judge: &mut dyn Judge<D>) {
    for lengths in [&[1, 31, 33, 257][..], &[20_003, 7]] {
        same(
            judge,
            STATES,
            |cpu| steps(cpu, lengths),
            |cuda| steps(cuda, lengths),
        );
    }
}

pub(crate) fn gradients_are_held<D: Driver>(judge: &mut dyn Judge<D>) {
    let lengths = &[33, 768, 9_001];
    same(
        judge,
        STATES,
        |cpu| held(cpu, lengths),
        |cuda| held(cuda, lengths),
    );
}

pub(crate) fn a_group_may_begin_anywhere<D: Driver>(judge: &mut dyn Judge<D>) {
    fn case<B: AdamW>(device: &mut B) -> Outputs {
        let (norm, mut groups) = laid(device, &[300]);
        let whole = groups[0].at;
        groups[0].at = whole.part(3, 100);
        device.gradient_norm(norm);
        device.adamw(&groups, UPDATE, norm);
        groups[0].at = whole;
        states(device, &groups, "from 3 on")
    }
    same(judge, STATES, case, case);
}

pub(crate) fn nothing_changes_where_the_norm_is_not_finite<D: Driver>(judge: &mut dyn Judge<D>) {
    fn case<B: AdamW>(device: &mut B) -> Outputs {
        let (norm, groups) = laid(device, &[40]);
        let mut made = Outputs::new();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            let mut gradients = numbers(9, 40);
            gradients[17] = bad;
            device.write_weights(Array::Gradient, groups[0].at, &gradients);
            device.gradient_norm(norm);
            assert!(!device.read_reals(norm)[0].is_finite());
            device.adamw(&groups, UPDATE, norm);
            for array in [Array::Value, Array::FirstMoment, Array::SecondMoment] {
                let found = device.read_weights(array, groups[0].at);
                made.push((format!("{array:?} after {bad}"), found));
            }
        }
        let first = device.read_weights(Array::Value, groups[0].at);
        assert_eq!(first, numbers(0, 40));
        made
    }
    let exact = Bounds {
        f32: 0.0,
        bf16: 0.0,
    };
    same(judge, exact, case, case);
}

/// Products after an update read what was updated.
pub(crate) fn products_read_the_new_weights<D: Driver>(judge: &mut dyn Judge<D>) {
    fn case<B: AdamW + Linear>(device: &mut B) -> Outputs {
        // Odd, so that some elements are updated by eights and some alone.
        const WIDTH: usize = 33;
        let mut plan = Plan::default();
        let norm = plan.real(1);
        let [x, y] = std::array::from_fn(|_| plan.act(3 * WIDTH));
        let mut weights = Weights::default();
        let layer = LinearWeights {
            weight: weights.add(WIDTH * WIDTH),
            bias: weights.add(WIDTH),
            inputs: WIDTH,
            outputs: WIDTH,
        };
        let groups = [layer.weight, layer.bias].map(|at| Group {
            at,
            multiplier: 1.0,
            decay: 0.0,
        });
        device.allocate(&plan, weights.memory()).expect("fits");
        for (i, group) in (0..).zip(&groups) {
            let n = group.at.len();
            device.write_weights(Array::Gradient, group.at, &numbers(i, n));
        }
        device.write_acts(x, &numbers(5, 3 * WIDTH));
        device.gradient_norm(norm);
        device.adamw(&groups, UPDATE, norm);
        device.linear(x, layer, y, 3);
        let found = device.read_acts(y);
        assert!(found.iter().any(|y| y.abs() > 0.1), "weights were zero");
        vec![("y".to_owned(), found)]
    }
    same(judge, PRODUCTS, case, case);
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    // A table of words, a layer's weights, and small ones.
    let lengths = &[31_090 * 768, 3_072 * 768, 768, 768 * 768, 1, 31_090];
    let bounds = Bounds {
        f32: 1e-5,
        bf16: 1e-5,
    };
    same(
        judge,
        bounds,
        |cpu| steps(cpu, lengths),
        |cuda| steps(cuda, lengths),
    );
}
