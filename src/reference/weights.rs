//! A model's tensors by name, as leaves whose gradients are wanted. Knows no network.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use engine::weights::{Tensor as Values, Tensors};

use crate::ops::{Matrix, Row, Scalar};

/// Leaves by name: matrices are (outputs, inputs) or tables (entries, width).
pub(crate) struct Weights {
    device: Cpu,
    matrices: BTreeMap<String, Tensor<(usize, usize), f32, Cpu>>,
    rows: BTreeMap<String, Tensor<(usize,), f32, Cpu>>,
}

impl Weights {
    pub(crate) fn new(tensors: &Tensors) -> Self {
        let device = Cpu::default();
        let mut weights = Self {
            device,
            matrices: BTreeMap::new(),
            rows: BTreeMap::new(),
        };
        for (name, tensor) in tensors {
            let (name, values) = (name.clone(), tensor.values.clone());
            match tensor.shape[..] {
                [n] => {
                    let row = weights.device.tensor_from_vec(values, (n,));
                    weights.rows.insert(name, row);
                }
                [n, m] => {
                    let matrix = weights.device.tensor_from_vec(values, (n, m));
                    weights.matrices.insert(name, matrix);
                }
                _ => unreachable!("parameters have one axis or two"),
            }
        }
        weights
    }

    /// A matrix, with a record of its own.
    pub(crate) fn matrix(&self, name: &str) -> Matrix {
        self.matrices[name].retaped()
    }

    /// A row, with a record of its own.
    pub(crate) fn row(&self, name: &str) -> Row {
        self.rows[name].retaped()
    }

    /// Zero for each leaf.
    pub(crate) fn zeros(&self) -> Tensors {
        let matrices = self.matrices.iter().map(|(name, matrix)| {
            let (n, m) = *matrix.shape();
            (name, vec![n, m])
        });
        let rows = self
            .rows
            .iter()
            .map(|(name, row)| (name, vec![row.shape().0]));
        matrices
            .chain(rows)
            .map(|(name, shape)| {
                let values = vec![0.0; shape.iter().product()];
                (name.clone(), Values { shape, values })
            })
            .collect()
    }

    /// Adds the gradients of a loss to sums by name; leaves that the loss does not hang on add nothing.
    pub(crate) fn backward(&self, loss: Scalar, sums: &mut Tensors) {
        fn add(sum: &mut Values, gradient: &[f32]) {
            let pairs = sum.values.iter_mut().zip(gradient);
            pairs.for_each(|(sum, gradient)| *sum += gradient);
        }
        let mut gradients = loss.backward();
        for (name, sum) in sums {
            let gradient = match (self.matrices.get(name), self.rows.get(name)) {
                (Some(matrix), _) => gradients.get_or_alloc_mut(matrix),
                (None, Some(row)) => gradients.get_or_alloc_mut(row),
                (None, None) => unreachable!("sums are by name of a leaf"),
            };
            add(sum, gradient.expect("memory"));
        }
    }
}
