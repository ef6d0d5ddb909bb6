//! How fast this machine multiplies matrices. Knows no stages.

use std::time::{Duration, Instant};

use engine::arena::Plan;
use engine::backend::{Array, Memory, Precision};
use engine::cpu::Cpu;
use engine::ops::linear::{Linear, LinearWeights};
use engine::parameters::{Init, Parameters};

/// Rows, inputs and outputs of the product that is timed: a feed-forward block of the base model.
const SHAPE: [usize; 3] = [512, 768, 3072];

/// Operations a second of a dense layer on so many threads: the best of those that fit into `timed`, and of one at
/// least, since what else runs only takes away.
///
/// # Errors
/// When there are no threads or no memory to be had.
pub fn products_per_second(
    precision: Precision,
    threads: usize,
    timed: Duration,
) -> Result<f64, String> {
    let mut cpu = Cpu::new(threads)
        .map_err(|error| error.to_string())?
        .with_precision(precision);
    let [rows, inputs, outputs] = SHAPE;
    let mut parameters = Parameters::default();
    let layer = LinearWeights {
        weight: parameters.add("weight", &[outputs, inputs], Init::TruncatedNormal(0.02), 0),
        bias: parameters.add("bias", &[outputs], Init::Zeros, 0),
        inputs,
        outputs,
    };
    let mut plan = Plan::default();
    let (x, y) = (plan.act(rows * inputs), plan.act(rows * outputs));
    cpu.allocate(&plan, parameters.memory())
        .map_err(|error| error.to_string())?;
    cpu.write_weights(Array::Value, layer.weight, &parameters.first_values(0, 1));
    let best = cpu.on_threads(|cpu| {
        let begun = Instant::now();
        let mut best = Duration::MAX;
        loop {
            let at = Instant::now();
            cpu.linear(x, layer, y, rows);
            best = best.min(at.elapsed());
            if begun.elapsed() >= timed {
                break best;
            }
        }
    });
    Ok((2 * rows * inputs * outputs) as f64 / best.as_secs_f64())
}
