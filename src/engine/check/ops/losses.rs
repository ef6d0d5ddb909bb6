//! Losses of heads, with labels that do not count, sequences of many lengths and a tail behind the last.

use crate::arena::Plan;
use crate::backend::Sequences;
use crate::ops::losses::{Choices, IGNORED, Losses, RTD_SUMS};

use crate::check::{Bounds, Judge, Outputs, numbers, same};
use crate::cuda::driver::Driver;

// All of it is in f32 in either precision.
const BOUNDS: Bounds = Bounds {
    f32: 3e-6,
    bf16: 3e-6,
};

/// Wider than `numbers`: some of the probabilities are nearly 0 or 1.
fn logits(seed: u64, len: usize) -> Vec<f32> {
    numbers(seed, len)
        .iter()
        .map(|v| 20.0 * v * v * v)
        .collect()
}

fn rows<B: Losses>(device: &mut B, n: usize, classes: usize) -> Outputs {
    let mut plan = Plan::default();
    let [one, d_one, squared, d_squared] = std::array::from_fn(|_| plan.real(n));
    let (many, d_many) = (plan.real(n * classes), plan.real(n * classes));
    let (sums, sum) = (plan.real(RTD_SUMS), plan.real(2));
    let [binary, labels] = std::array::from_fn(|_| plan.ints(n));
    device.allocate(&plan, 0).expect("fits");
    device.write_reals(one, &logits(1, n));
    device.write_reals(many, &logits(2, n * classes));
    device.write_reals(squared, &logits(3, n));
    // Sums are added to.
    device.write_reals(sums, &[0.5; RTD_SUMS]);
    let label = |i: usize, classes: usize| match i % 5 {
        3 => IGNORED,
        _ => ((i * 7 + 1) % classes) as u32,
    };
    let of = |classes: usize| (0..n).map(|i| label(i, classes)).collect::<Vec<u32>>();
    device.write_ints(binary, &of(2));
    device.write_ints(labels, &of(classes));
    device.replaced_token(one, binary, Some((0.25, d_one)), sums);
    device.cross_entropy(many, labels, classes, Some((3.0, d_many)), sum.part(0, 1));
    device.squared_error(one, squared, Some((0.5, d_squared)), sum.part(1, 1));
    let mut outputs = Vec::new();
    for (name, what) in [("rtd", d_one), ("classes", d_many), ("squared", d_squared)] {
        outputs.push((format!("d {name}"), device.read_reals(what)));
    }
    for (i, value) in device.read_reals(sums).into_iter().enumerate() {
        outputs.push((format!("rtd {i}"), vec![value]));
    }
    // Without gradients the same losses come out.
    device.replaced_token(one, binary, None, sums);
    device.cross_entropy(many, labels, classes, None, sum.part(0, 1));
    device.squared_error(one, squared, None, sum.part(1, 1));
    for (i, value) in device.read_reals(sum).into_iter().enumerate() {
        outputs.push((format!("sum {i}"), vec![value]));
    }
    outputs.push(("rtd again".to_owned(), device.read_reals(sums)));
    outputs
}

/// Sequences of `lengths`, on the device.
pub(super) fn sequences(plan: &mut Plan, lengths: &[usize]) -> (Sequences, Vec<u32>) {
    let mut starts = vec![0];
    for length in lengths {
        starts.push(starts[starts.len() - 1] + *length as u32);
    }
    let n = lengths.len();
    let made = Sequences {
        count: n,
        starts: plan.ints(n + 1),
        keys: plan.ints(n),
        index: plan.ints(n),
    };
    (made, starts)
}

/// Which rows may be chosen: of each sequence the last, and of the others some.
pub(super) fn allowed(lengths: &[usize], tail: usize) -> Vec<u32> {
    let mut allowed = Vec::new();
    for length in lengths {
        allowed.extend((0..*length).map(|i| u32::from(i % 3 != 1 || i + 1 == *length)));
    }
    allowed.resize(allowed.len() + tail, 0);
    allowed
}

fn by_sequence<B: Losses>(device: &mut B, lengths: &[usize], tail: usize) -> Outputs {
    let n = lengths.iter().sum::<usize>() + tail;
    let mut plan = Plan::default();
    let (sequences, starts) = sequences(&mut plan, lengths);
    let choices = Choices {
        sequences,
        allowed: plan.ints(n),
    };
    let labels: [_; 2] = std::array::from_fn(|_| plan.ints(lengths.len()));
    let (two, d_two) = (plan.real(2 * n), plan.real(2 * n));
    let (one, d_one) = (plan.real(n), plan.real(n));
    let sums = plan.real(2);
    device.allocate(&plan, 0).expect("fits");
    device.write_ints(sequences.starts, &starts);
    device.write_ints(choices.allowed, &allowed(lengths, tail));
    let last: Vec<u32> = lengths.iter().map(|n| *n as u32 - 1).collect();
    device.write_ints(labels[0], &vec![0; lengths.len()]);
    device.write_ints(labels[1], &last);
    device.write_reals(two, &logits(1, 2 * n));
    device.write_reals(one, &logits(2, n));
    // What is overwritten was something else.
    device.write_reals(d_one, &numbers(3, n));
    device.write_reals(d_two, &numbers(4, 2 * n));
    let [span, choice] = [0, 1].map(|i| sums.part(i, 1));
    let to = Some((0.5, d_two));
    device.span(two, sequences, labels[0], labels[1], to, span);
    device.choice(one, choices, labels[1], 0.3, Some((2.0, d_one)), choice);
    device.span(two, sequences, labels[1], labels[0], None, span);
    device.choice(one, choices, labels[0], 0.3, None, choice);
    let (d_two, d_one) = (device.read_reals(d_two), device.read_reals(d_one));
    assert!(d_two[2 * (n - tail)..].iter().all(|d| *d == 0.0));
    assert!(d_one[n - tail..].iter().all(|d| *d == 0.0));
    vec![
        ("d span".to_owned(), d_two),
        ("d choice".to_owned(), d_one),
        ("span".to_owned(), device.read_reals(span)),
        ("choice".to_owned(), device.read_reals(choice)),
    ]
}

pub(crate) fn losses_by_row<D: Driver>(judge: &mut dyn Judge<D>) {
    for (n, classes) in [(1, 2), (31, 3), (257, 33), (2_100, 5)] {
        same(
            judge,
            BOUNDS,
            |cpu| rows(cpu, n, classes),
            |cuda| rows(cuda, n, classes),
        );
    }
}

pub(crate) fn losses_by_sequence<D: Driver>(judge: &mut dyn Judge<D>) {
    for (lengths, tail) in [(&[1][..], 0), (&[31, 1, 257], 40), (&[33, 2], 1)] {
        same(
            judge,
            BOUNDS,
            |cpu| by_sequence(cpu, lengths, tail),
            |cuda| by_sequence(cuda, lengths, tail),
        );
    }
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    let bounds = Bounds {
        f32: 2e-5,
        bf16: 2e-5,
    };
    same(
        judge,
        bounds,
        |cpu| rows(cpu, 131_072, 2),
        |cuda| rows(cuda, 131_072, 2),
    );
    let lengths = &[512, 384, 37, 512];
    same(
        judge,
        bounds,
        |cpu| by_sequence(cpu, lengths, 91),
        |cuda| by_sequence(cuda, lengths, 91),
    );
}
