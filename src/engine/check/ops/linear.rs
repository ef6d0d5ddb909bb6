//! Dense layers: products in every layout, the exact GELU, sums over rows, few outputs and many.

use crate::arena::Plan;
use crate::backend::{Array, Memory, Precision, Write};
use crate::ops::linear::{Linear, LinearWeights};

use crate::check::{Bounds, FLOOR, Judge, Outputs, Weights, compare, numbers, same};
use crate::cuda::driver::Driver;

const BOUNDS: Bounds = Bounds {
    f32: 2e-6,
    bf16: 1e-2,
};

fn layer(inputs: usize, outputs: usize) -> (Weights, LinearWeights) {
    let mut weights = Weights::default();
    let layer = LinearWeights {
        weight: weights.add(outputs * inputs),
        bias: weights.add(outputs),
        inputs,
        outputs,
    };
    (weights, layer)
}

fn fill<B: Memory>(device: &mut B, layer: LinearWeights) {
    let (n, outputs) = (layer.weight.len(), layer.outputs);
    device.write_weights(Array::Value, layer.weight, &numbers(1, n));
    device.write_weights(Array::Value, layer.bias, &numbers(2, outputs));
    // Gradients are added to.
    device.write_weights(Array::Gradient, layer.weight, &numbers(3, n));
    device.write_weights(Array::Gradient, layer.bias, &numbers(4, outputs));
}

fn gradients<B: Memory>(device: &mut B, layer: LinearWeights, name: &str) -> Outputs {
    [("weight", layer.weight), ("bias", layer.bias)]
        .map(|(which, at)| {
            let found = device.read_weights(Array::Gradient, at);
            (format!("{name} d {which}"), found)
        })
        .into()
}

fn dense<B: Linear>(device: &mut B, n: usize, inputs: usize, outputs: usize) -> Outputs {
    let mut plan = Plan::default();
    let [x, dx] = std::array::from_fn(|_| plan.act(n * inputs));
    let [y, u, g, d] = std::array::from_fn(|_| plan.act(n * outputs));
    let (weights, layer) = layer(inputs, outputs);
    device.allocate(&plan, weights.memory()).expect("fits");
    fill(device, layer);
    device.write_acts(x, &numbers(5, n * inputs));
    device.linear(x, layer, y, n);
    device.linear_gelu(x, layer, u, g, n);
    let mut made: Outputs = [("y", y), ("u", u), ("g", g)]
        .map(|(name, at)| (name.to_owned(), device.read_acts(at)))
        .into();
    let mut note = |device: &mut B, name: &str, at| {
        made.push((name.to_owned(), device.read_acts(at)));
    };
    // On numbers of its own, so that what was rounded before does not count.
    let wide: Vec<f32> = numbers(6, n * outputs).iter().map(|u| 5.0 * u).collect();
    device.write_acts(u, &wide);
    for again in [Some(g), None] {
        device.write_acts(g, &numbers(7, n * outputs));
        device.write_acts(d, &numbers(8, n * outputs));
        device.gelu_backward(u, d, again);
        note(device, "du", d);
        note(device, "g again", g);
    }
    device.write_acts(d, &numbers(9, n * outputs));
    device.linear_input_gradient(d, layer, dx, n);
    note(device, "dx", dx);
    device.linear_backward(d, x, layer, Some((dx, Write::Over)), n);
    note(device, "dx over", dx);
    device.write_acts(dx, &numbers(10, n * inputs));
    device.linear_backward(d, x, layer, Some((dx, Write::Add)), n);
    note(device, "dx added", dx);
    device.linear_backward(d, x, layer, None, n);
    made.extend(gradients(device, layer, "dense"));
    made
}

fn head<B: Linear>(device: &mut B, n: usize, inputs: usize, outputs: usize) -> Outputs {
    let mut plan = Plan::default();
    let [x, dx] = std::array::from_fn(|_| plan.act(n * inputs));
    let [y, dy] = std::array::from_fn(|_| plan.real(n * outputs));
    let (weights, layer) = layer(inputs, outputs);
    device.allocate(&plan, weights.memory()).expect("fits");
    fill(device, layer);
    device.write_acts(x, &numbers(5, n * inputs));
    device.logits(x, layer, y, n);
    let mut made = vec![("logits".to_owned(), device.read_reals(y))];
    device.write_reals(dy, &numbers(6, n * outputs));
    for write in [Write::Over, Write::Add] {
        device.write_acts(dx, &numbers(7, n * inputs));
        device.logits_backward(dy, x, layer, (dx, write), n);
        made.push((format!("dx {write:?}"), device.read_acts(dx)));
    }
    made.extend(gradients(device, layer, "head"));
    made
}

fn on_all_dense<D: Driver>(judge: &mut dyn Judge<D>, n: usize, inputs: usize, outputs: usize) {
    same(
        judge,
        BOUNDS,
        |cpu| dense(cpu, n, inputs, outputs),
        |cuda| dense(cuda, n, inputs, outputs),
    );
}

fn on_all_heads<D: Driver>(judge: &mut dyn Judge<D>, n: usize, inputs: usize, outputs: usize) {
    same(
        judge,
        BOUNDS,
        |cpu| head(cpu, n, inputs, outputs),
        |cuda| head(cuda, n, inputs, outputs),
    );
}

pub(crate) fn dense_layers_of_odd_sizes<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all_dense(judge, 1, 1, 1);
    on_all_dense(judge, 31, 33, 31);
    on_all_dense(judge, 33, 31, 257);
}

pub(crate) fn dense_layers_of_models<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all_dense(judge, 257, 64, 128);
    on_all_dense(judge, 40, 256, 768);
}

pub(crate) fn heads_of_few_outputs<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all_heads(judge, 1, 1, 1);
    on_all_heads(judge, 31, 33, 2);
    on_all_heads(judge, 33, 257, 3);
    on_all_heads(judge, 150, 256, 1);
    on_all_heads(judge, 40, 768, 8);
    on_all_heads(judge, 70, 768, 5);
}

pub(crate) fn heads_of_many_outputs<D: Driver>(judge: &mut dyn Judge<D>) {
    on_all_heads(judge, 31, 33, 9);
    on_all_heads(judge, 70, 256, 31);
    on_all_heads(judge, 9, 64, 257);
}

/// Distribution of the standard normal by its series, with f64.
pub(crate) fn below(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() && n < 400.0 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// Errors of values and slopes, which a bound takes absolutely: beside them stands a 1. Made by a kernel that
/// makes both again, and by the layer's own.
fn gelu<B: Linear>(device: &mut B, at: &[f32]) -> Outputs {
    let n = at.len();
    let (weights, layer) = layer(1, 1);
    let mut plan = Plan::default();
    let [x, u, d, g] = std::array::from_fn(|_| plan.act(n));
    device.allocate(&plan, weights.memory()).expect("fits");
    device.write_weights(Array::Value, layer.weight, &[1.0]);
    device.write_acts(x, at);
    device.linear_gelu(x, layer, u, g, n);
    let forward = device.read_acts(g);
    device.write_acts(u, at);
    device.write_acts(d, &vec![1.0; n]);
    device.gelu_backward(u, d, Some(g));
    let (again, slopes) = (device.read_acts(g), device.read_acts(d));
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let value = |x: f64| x * below(x);
    let slope = |x: f64| below(x) + x * density(x);
    let errors = |found: Vec<f32>, exact: &dyn Fn(f64) -> f64| {
        let error = |(x, found): (&f32, f32)| (f64::from(found) - exact(f64::from(*x))) as f32;
        let errors = at.iter().zip(found).map(error);
        errors.chain([1.0]).collect::<Vec<f32>>()
    };
    vec![
        ("GELU".to_owned(), errors(forward, &value)),
        ("GELU again".to_owned(), errors(again, &value)),
        ("slope".to_owned(), errors(slopes, &slope)),
    ]
}

pub(crate) fn the_gelu_is_exact_and_not_the_tanh_form<D: Driver>(judge: &mut dyn Judge<D>) {
    // Numbers that bf16 has.
    let at: Vec<f32> = (-768..768)
        .map(|i| i as f32 / 128.0)
        .filter(|x| x.to_bits() & 0xffff == 0)
        .collect();
    let tanh = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        (0.5 * x * (1.0 + inner.tanh()) - x * below(x)).abs()
    };
    let apart = at.iter().map(|x| tanh(f64::from(*x))).fold(0.0, f64::max);
    // So the tanh form would be seen, 400 times over.
    assert!(apart > 4e-4, "{apart:e}");
    let bounds = Bounds {
        f32: 1e-6,
        // A result of nearly 6, rounded.
        bf16: 1.6e-2,
    };
    same(
        judge,
        bounds,
        |cpu| {
            let found = gelu(cpu, &at);
            let exact = |(name, values): &(String, Vec<f32>)| {
                let mut zeros = vec![0.0; values.len() - 1];
                zeros.push(1.0);
                (name.clone(), zeros)
            };
            let exact: Outputs = found.iter().map(exact).collect();
            for one in compare(Precision::F32, bounds.f32, FLOOR, &exact, &found) {
                assert!(one.passed, "the CPU itself: {one}");
            }
            exact
        },
        |cuda| gelu(cuda, &at),
    );
}

pub(crate) fn base_models<D: Driver>(judge: &mut dyn Judge<D>) {
    let bounds = Bounds {
        f32: 1e-5,
        bf16: 1e-2,
    };
    for (inputs, outputs) in [
        (768, 2_304),
        (768, 3_072),
        (3_072, 768),
        (128, 768),
        (256, 1_024),
    ] {
        same(
            judge,
            bounds,
            |cpu| dense(cpu, 2_051, inputs, outputs),
            |cuda| dense(cuda, 2_051, inputs, outputs),
        );
    }
    for outputs in [1, 2, 9] {
        same(
            judge,
            bounds,
            |cpu| head(cpu, 4_099, 768, outputs),
            |cuda| head(cuda, 4_099, 768, outputs),
        );
    }
}
