//! Refuses a step whose numbers are not finite, and says where it began. Knows no network.

use crate::backend::{Array, Memory};
use crate::error::TrainError;
use crate::parameters::Parameters;

/// Checks the loss of a step and the norm of its gradients before anything is updated.
///
/// # Errors
/// When one is not finite, with the first parameter whose values or gradient are not.
pub(crate) fn check<M: Memory>(
    memory: &mut M,
    parameters: &Parameters,
    step: u64,
    loss: f32,
    norm: f32,
) -> Result<(), TrainError> {
    let numbers = [("loss", loss), ("gradient norm", norm)];
    match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((what, value)) => Err(TrainError::NotFinite {
            step,
            what,
            value,
            tensor: first_not_finite(memory, parameters),
        }),
    }
}

/// The first parameter, in the model's order, whose value is not finite; where all are, the first whose gradient is not.
fn first_not_finite<M: Memory>(memory: &mut M, parameters: &Parameters) -> Option<String> {
    let arrays = [
        (Array::Value, "the values"),
        (Array::Gradient, "the gradient"),
    ];
    arrays.into_iter().find_map(|(array, what)| {
        parameters.list().iter().find_map(|parameter| {
            let numbers = memory.read_weights(array, parameter.at);
            let is_finite = numbers.iter().all(|value| value.is_finite());
            (!is_finite).then(|| format!("{what} of `{}`", parameter.name))
        })
    })
}
