//! What ELECTRA is made of, on tensors that record their gradients. Knows no names and no networks. Spec C.1.

use dfdx::prelude::*;

/// The record of what was done to a tensor.
pub(crate) type Recorded = OwnedTape<f32, Cpu>;
/// (rows, columns)
pub(crate) type Matrix = Tensor<(usize, usize), f32, Cpu, Recorded>;
/// (columns)
pub(crate) type Row = Tensor<(usize,), f32, Cpu, Recorded>;
/// ()
pub(crate) type Scalar = Tensor<(), f32, Cpu, Recorded>;

/// `x Wᵀ + b`; `x` (rows, inputs), `weight` (outputs, inputs), `bias` (outputs).
pub(crate) fn linear(x: Matrix, weight: Matrix, bias: Row) -> Matrix {
    let y = x.matmul(weight.permute::<_, Axes2<1, 0>>());
    let shape = *y.shape();
    y + bias.broadcast_like::<_, Axis<0>>(&shape)
}

/// `gain * (x - mean) / sqrt(var + eps) + bias`, row by row.
pub(crate) fn layer_norm(x: Matrix, gain: Row, bias: Row, eps: f32) -> Matrix {
    let shape = *x.shape();
    x.normalize::<Axis<1>>(f64::from(eps)) * gain.broadcast_like::<_, Axis<0>>(&shape)
        + bias.broadcast_like::<_, Axis<0>>(&shape)
}

/// `x Φ(x)`, with the derivative `Φ(x) + x φ(x)`.
///
/// dfdx has it as `accurate_gelu`, but the derivative there (0.13) takes `2 / sqrt(π)` where `2 / sqrt(2 π)` belongs;
/// a test below holds both facts.
pub(crate) fn gelu(x: Matrix) -> Matrix {
    let (x, mut tape) = x.split_tape();
    let y = x.as_vec().into_iter().map(|x| {
        let x = f64::from(x);
        (x * normal_below(x)) as f32
    });
    let y = x.device().tensor_from_vec(y.collect(), *x.shape());
    let out = y.clone();
    tape.add_backward_op(move |gradients| {
        let dy = gradients.get(&out).as_vec();
        let dx = gradients.get_or_alloc_mut(&x)?;
        for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x.as_vec()) {
            let x = f64::from(x);
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            *dx += dy * (normal_below(x) + x * density) as f32;
        }
        Ok(())
    });
    y.put_tape(tape)
}

/// `Φ(x)`: the share of a standard normal distribution below `x`.
fn normal_below(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2))
}

/// Multiplies with factors that are no parameters: 0, or the inverse of the share that is kept. `None` drops nothing.
pub(crate) fn dropout(x: Matrix, factors: Option<Vec<f32>>) -> Matrix {
    match factors {
        None => x,
        Some(factors) => {
            let factors = x.device().tensor_from_vec(factors, *x.shape());
            x * factors
        }
    }
}

/// `dropout(softmax(q kᵀ / sqrt(D))) v` for each head of one sequence; all (tokens, H). Factors of dropout are
/// (heads, tokens, tokens).
pub(crate) fn attention([q, k, v]: [Matrix; 3], heads: usize, factors: Option<Vec<f32>>) -> Matrix {
    let (tokens, width) = *q.shape();
    let size = width / heads;
    let by_head = |x: Matrix| {
        x.reshape_like(&(tokens, heads, size))
            .permute::<(usize, usize, usize), Axes3<1, 0, 2>>()
    };
    let (q, k, v) = (by_head(q), by_head(k), by_head(v));
    let scores = q.matmul(k.permute::<(usize, usize, usize), Axes3<0, 2, 1>>());
    let mut shares = (scores / (size as f32).sqrt()).softmax::<Axis<2>>();
    if let Some(factors) = factors {
        let factors = shares.device().tensor_from_vec(factors, *shares.shape());
        shares = shares * factors;
    }
    shares
        .matmul(v)
        .permute::<(usize, usize, usize), Axes3<1, 0, 2>>()
        .reshape_like(&(tokens, width))
}

/// Rows of a matrix by number.
pub(crate) fn rows(x: Matrix, indices: impl IntoIterator<Item = u32>) -> Matrix {
    let indices: Vec<usize> = indices.into_iter().map(|i| i as usize).collect();
    let shape = (indices.len(),);
    let indices = x.device().tensor_from_vec(indices, shape);
    x.gather(indices)
}

/// Sum over rows of the softmax cross-entropy against a class each, in nats.
pub(crate) fn cross_entropy(logits: Matrix, classes: &[u32]) -> Scalar {
    let classes: Vec<usize> = classes.iter().map(|class| *class as usize).collect();
    let shape = (classes.len(),);
    let classes = logits.device().tensor_from_vec(classes, shape);
    let picked: Row = logits.log_softmax::<Axis<1>>().select(classes);
    -picked.sum::<(), _>()
}

/// Sum of the binary cross-entropies against 0 or 1, in nats.
pub(crate) fn binary_cross_entropy(logits: Matrix, targets: &[bool]) -> Scalar {
    let targets = targets.iter().map(|is| f32::from(u8::from(*is))).collect();
    let targets = logits.device().tensor_from_vec(targets, *logits.shape());
    logits.bce_with_logits(targets).sum::<(), _>()
}

/// Sum of the squared differences.
pub(crate) fn squared_error(found: Matrix, targets: Vec<f32>) -> Scalar {
    let targets = found.device().tensor_from_vec(targets, *found.shape());
    (found - targets).square().sum::<(), _>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[f32]) -> Tensor<(usize, usize), f32, Cpu> {
        Cpu::default().tensor_from_vec(values.to_vec(), (values.len(), 1))
    }

    #[test]
    fn gelu_has_the_derivative_of_its_definition_and_dfdx_has_not() {
        // Φ(1) = 0.841345, φ(1) = 0.241971; Φ(-2) = 0.022750, φ(2) = 0.053991.
        let x = column(&[1.0, -2.0, 0.0]);
        let y = gelu(x.leaky_trace());
        let near = |found: &[f32], expected: [f32; 3]| {
            found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(near(&y.as_vec(), [0.841_345, -0.045_500, 0.0]));
        let ours = y.sum::<(), _>().backward().get(&x).as_vec();
        assert!(near(&ours, [1.083_316, -0.085_232, 0.5]), "{ours:?}");
        // When this fails, dfdx is corrected and `gelu` can be `accurate_gelu`.
        let theirs = x.leaky_trace().accurate_gelu().sum::<(), _>().backward();
        let theirs = theirs.get(&x).as_vec();
        assert!((theirs[0] - 1.183_545).abs() < 1e-4, "{theirs:?}");
    }

    /// Gradients of everything above by central differences, in one function of one input.
    #[test]
    fn gradients_are_those_of_central_differences() {
        let value = |x: Matrix| -> Scalar {
            let dev = Cpu::default();
            let wave = |n: usize, m: usize| -> Matrix {
                let values = (0..n * m).map(|i| (0.7 * i as f32 + 0.3).sin()).collect();
                dev.tensor_from_vec(values, (n, m)).leaky_traced()
            };
            let line = |n: usize| -> Row {
                let values = (0..n).map(|i| 0.5 + 0.1 * i as f32).collect();
                dev.tensor_from_vec(values, (n,)).leaky_traced()
            };
            let y = layer_norm(x, line(4), line(4), 1e-12);
            let kept = (0..2 * 9).map(|i| if i % 5 == 0 { 0.0 } else { 1.25 });
            let parts = [1, 2, 3].map(|k| {
                linear(
                    y.retaped::<Recorded>(),
                    wave(4, 4) * (0.4 * k as f32),
                    line(4),
                )
            });
            let z = gelu(y + attention(parts, 2, Some(kept.collect())));
            let again = z.retaped::<Recorded>();
            let third = z.retaped::<Recorded>();
            let one = cross_entropy(rows(z, [2, 0, 2]), &[1, 3, 0]);
            let column = linear(again, wave(1, 4), line(1));
            let two = binary_cross_entropy(column, &[true, false, true]);
            one + two + squared_error(third, vec![0.25; 12])
        };
        let start: Vec<f32> = (0..12).map(|i| (1.3 * i as f32).cos()).collect();
        let dev = Cpu::default();
        let at = |values: Vec<f32>| dev.tensor_from_vec(values, (3, 4));
        let x = at(start.clone());
        let found = value(x.leaky_trace()).backward().get(&x).as_vec();
        for i in 0..12 {
            let moved = |by: f32| {
                let mut values = start.clone();
                values[i] += by;
                f64::from(value(at(values).leaky_traced()).array())
            };
            let expected = (moved(5e-3) - moved(-5e-3)) / 1e-2;
            let error = (f64::from(found[i]) - expected).abs();
            assert!(
                error < 5e-3 * expected.abs().max(1.0),
                "{i}: {} {expected}",
                found[i]
            );
        }
    }
}
