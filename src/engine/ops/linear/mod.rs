//! `y = x Wᵀ + b`, the same with the exact GELU behind it, and small outputs in f32.

use crate::arena::{Act, Real, Weight};
use crate::backend::{Memory, Write};

pub(crate) mod cpu;
pub(crate) mod cuda;

/// A dense layer: `weight` (outputs, inputs), `bias` (outputs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearWeights {
    /// The matrix.
    pub weight: Weight,
    /// What is added.
    pub bias: Weight,
    /// Width of what goes in.
    pub inputs: usize,
    /// Width of what comes out.
    pub outputs: usize,
}

/// Dense layers and the activation behind them.
pub trait Linear: Memory {
    /// `y = x Wᵀ + b`; `x` (rows, inputs), `y` (rows, outputs). Overwrites `y`.
    fn linear(&mut self, x: Act, layer: LinearWeights, y: Act, rows: usize);

    /// `u = x Wᵀ + b` and `g = GELU(u)`, both (rows, outputs). Overwrites both.
    fn linear_gelu(&mut self, x: Act, layer: LinearWeights, u: Act, g: Act, rows: usize);

    /// `d = d * GELU'(u)` in place, and `g = GELU(u)` again where it is asked for; all (rows, width).
    fn gelu_backward(&mut self, u: Act, d: Act, g: Option<Act>);

    /// `dx = dy W` alone. Overwrites `dx`.
    fn linear_input_gradient(&mut self, dy: Act, layer: LinearWeights, dx: Act, rows: usize);

    /// `dx = dy W` (or added), `dW += dyᵀ x`, `db += sum of dy`, rows summed in order.
    fn linear_backward(
        &mut self,
        dy: Act,
        x: Act,
        layer: LinearWeights,
        dx: Option<(Act, Write)>,
        rows: usize,
    );

    /// `y = x Wᵀ + b` in f32, for the few outputs of a head. Overwrites `y` (rows, outputs).
    fn logits(&mut self, x: Act, layer: LinearWeights, y: Real, rows: usize);

    /// The gradients of [`logits`](Self::logits), as [`linear_backward`](Self::linear_backward) writes them.
    fn logits_backward(
        &mut self,
        dy: Real,
        x: Act,
        layer: LinearWeights,
        dx: (Act, Write),
        rows: usize,
    );
}
