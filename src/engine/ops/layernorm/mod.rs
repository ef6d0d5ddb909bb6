//! `y = LN(x + dropout(h))`, one pass: BERT, post-LN; spec C.1. Also without a residual, for the generator's head.

use crate::arena::{Act, Real, Weight};
use crate::backend::{DropoutAt, Memory, Rows};

pub(crate) mod cpu;
pub(crate) mod cuda;

/// Gain and bias (width) of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormWeights {
    /// What normalised values are multiplied with.
    pub gain: Weight,
    /// What is added.
    pub bias: Weight,
    /// Width of a row.
    pub width: usize,
    /// What is added to the variance.
    pub eps: f32,
}

/// What the backward pass needs: the rows before normalisation, and their statistics in f32.
#[derive(Clone, Copy, Debug)]
pub struct NormSaved {
    /// Rows before normalisation (rows, width).
    pub z: Act,
    /// Their means (rows).
    pub mean: Real,
    /// `1 / sqrt(var + eps)` (rows).
    pub rstd: Real,
}

/// Layer normalisation.
pub trait LayerNorm: Memory {
    /// `z = residual + dropout(h)`, `y = gain * (z - mean) * rstd + bias`; all (rows, width). Statistics in f32.
    /// Overwrites `y` and what is saved.
    fn residual_norm(
        &mut self,
        h: Act,
        residual: Act,
        norm: NormWeights,
        dropout: DropoutAt,
        rows: Rows,
        saved: NormSaved,
        y: Act,
    );

    /// `d` comes as `dy` and leaves as `dz`, the gradient of the residual; `dh = dropout'(dz)` is overwritten;
    /// gradients of gain and bias are added to, rows in order.
    fn residual_norm_backward(
        &mut self,
        d: Act,
        saved: NormSaved,
        norm: NormWeights,
        dropout: DropoutAt,
        rows: Rows,
        dh: Act,
    );

    /// `y = LN(z)` for the saved `z`, which is read; statistics and `y` are overwritten.
    fn norm(&mut self, norm: NormWeights, rows: usize, saved: NormSaved, y: Act);

    /// `d` comes as `dy` and leaves as `dz`; gradients of gain and bias are added to.
    fn norm_backward(&mut self, d: Act, saved: NormSaved, norm: NormWeights, rows: usize);
}
