//! Dense layers: products in every layout, the exact GELU, sums over rows, few outputs and many.

use engine::arena::Plan;
use engine::backend::{Array, Memory, Precision, Write};
use engine::cuda::Cuda;
use engine::ops::linear::{Linear, LinearWeights};

use super::{Bounds, Outputs, Weights, numbers, same};
use crate::emulated::Emulated;

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

fn on_all_dense(n: usize, inputs: usize, outputs: usize) {
    same(
        BOUNDS,
        |cpu| dense(cpu, n, inputs, outputs),
        |cuda| dense(cuda, n, inputs, outputs),
    );
}

fn on_all_heads(n: usize, inputs: usize, outputs: usize) {
    same(
        BOUNDS,
        |cpu| head(cpu, n, inputs, outputs),
        |cuda| head(cuda, n, inputs, outputs),
    );
}

#[test]
fn dense_layers_of_odd_sizes() {
    on_all_dense(1, 1, 1);
    on_all_dense(31, 33, 31);
    on_all_dense(33, 31, 257);
}

#[test]
fn dense_layers_of_models() {
    on_all_dense(257, 64, 128);
    on_all_dense(40, 256, 768);
}

#[test]
fn heads_of_few_outputs() {
    on_all_heads(1, 1, 1);
    on_all_heads(31, 33, 2);
    on_all_heads(33, 257, 3);
    on_all_heads(150, 256, 1);
    on_all_heads(40, 768, 8);
    on_all_heads(70, 768, 5);
}

#[test]
fn heads_of_many_outputs() {
    on_all_heads(31, 33, 9);
    on_all_heads(70, 256, 31);
    on_all_heads(9, 64, 257);
}

/// Distribution of the standard normal by its series, with f64.
fn below(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() && n < 400.0 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[test]
fn the_gelu_is_exact_and_not_the_tanh_form() {
    let n = 1200;
    let at: Vec<f32> = (0..n).map(|i| (i as f32 - 600.0) / 100.0).collect();
    let mut plan = Plan::default();
    let [u, d, g] = std::array::from_fn(|_| plan.act(n));
    let driver = Emulated::new(1);
    let mut device = Cuda::new(driver, Precision::F32).expect("kernels compile");
    device.allocate(&plan, 0).expect("fits");
    device.write_acts(u, &at);
    device.write_acts(d, &vec![1.0; n]);
    device.gelu_backward(u, d, Some(g));
    let (values, slopes) = (device.read_acts(g), device.read_acts(d));
    // The forward pass has a kernel of its own: through a layer whose weight is 1 and whose bias is 0.
    let (weights, layer) = layer(1, 1);
    let mut plan = Plan::default();
    let [x, u, g] = std::array::from_fn(|_| plan.act(n));
    device.allocate(&plan, weights.memory()).expect("fits");
    device.write_weights(Array::Value, layer.weight, &[1.0]);
    device.write_acts(x, &at);
    device.linear_gelu(x, layer, u, g, n);
    let forward = device.read_acts(g);
    device.finish().expect("no fault");
    let mut apart = 0.0_f64;
    for (i, x) in at.iter().enumerate() {
        let x = f64::from(*x);
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let (value, slope) = (x * below(x), below(x) + x * density);
        for found in [values[i], forward[i]] {
            assert!(
                (f64::from(found) - value).abs() < 1e-6,
                "GELU({x}): {found}"
            );
        }
        assert!((f64::from(slopes[i]) - slope).abs() < 1e-6, "at {x}");
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        apart = apart.max((0.5 * x * (1.0 + inner.tanh()) - value).abs());
    }
    // So the tanh form would have been seen, 400 times over.
    assert!(apart > 4e-4, "{apart:e}");
}
