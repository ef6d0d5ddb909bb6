//! Parameters, their moments and one step of AdamW, written plainly. Spec D.4, E.1, E.2. Knows no network.

use std::path::Path;

use engine::checkpoint::{self, Snapshot, State};
use engine::error::{TrainError, WeightsError};
use engine::parameters::Parameters;
use engine::weights::{Tensor, Tensors, Unmatched};

/// What training changes.
#[derive(Debug)]
pub(crate) struct Optimizer {
    pub(crate) parameters: Parameters,
    pub(crate) values: Tensors,
    first: Tensors,
    second: Tensors,
    /// Updates done.
    pub(crate) step: u64,
    seed: u64,
}

/// One update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub(crate) learning_rate: f64,
    /// Factor from each layer to the one below, in a model of so many layers.
    pub(crate) layer_decay: Option<(f64, usize)>,
    pub(crate) weight_decay: f32,
    pub(crate) bias_correction: bool,
    pub(crate) betas: (f64, f64),
    pub(crate) epsilon: f32,
    pub(crate) clip: Option<f32>,
}

impl Optimizer {
    /// First values of the seed, moments of zero.
    pub(crate) fn new(parameters: Parameters, seed: u64) -> Self {
        let made = |values: &dyn Fn(usize) -> Vec<f32>| -> Tensors {
            let list = parameters.list().iter().enumerate();
            list.map(|(i, parameter)| {
                let shape = parameter.shape.clone();
                (
                    parameter.name.clone(),
                    Tensor {
                        shape,
                        values: values(i),
                    },
                )
            })
            .collect()
        };
        let zeros = made(&|i| vec![0.0; parameters.list()[i].at.len()]);
        Self {
            values: made(&|i| parameters.first_values(i, seed)),
            second: zeros.clone(),
            first: zeros,
            parameters,
            step: 0,
            seed,
        }
    }

    /// Takes given tensors over.
    pub(crate) fn start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError> {
        let mut unmatched = Unmatched::default();
        for (name, own) in &self.values {
            match tensors.get(name) {
                None => unmatched.missing.push(name.clone()),
                Some(given) => fits(name, own, given)?,
            }
        }
        for (name, given) in tensors {
            match self.values.get_mut(name) {
                None => unmatched.unused.push(name.clone()),
                Some(own) => own.clone_from(given),
            }
        }
        Ok(unmatched)
    }

    /// Refuses what is not finite, else takes a step; the norm of the gradients.
    pub(crate) fn update(
        &mut self,
        gradients: &Tensors,
        loss: f32,
        update: &Update,
    ) -> Result<f32, TrainError> {
        let all = gradients.values().flat_map(|tensor| &tensor.values);
        let norm = all
            .map(|g| f64::from(*g) * f64::from(*g))
            .sum::<f64>()
            .sqrt() as f32;
        for (what, value) in [("loss", loss), ("gradient norm", norm)] {
            if !value.is_finite() {
                let is_wrong =
                    |(_, t): &(&String, &Tensor)| t.values.iter().any(|g| !g.is_finite());
                let tensor = gradients
                    .iter()
                    .find(is_wrong)
                    .map(|(name, _)| name.clone());
                return Err(TrainError::NotFinite {
                    step: self.step,
                    what,
                    value,
                    tensor,
                });
            }
        }
        let scale = update.clip.map_or(1.0, |clip| clip / norm.max(clip));
        let (b1, b2) = update.betas;
        let t = (self.step + 1) as f64;
        let correction = match update.bias_correction {
            true => {
                let left = |beta: f64| 1.0 - beta.powf(t);
                (left(b2).sqrt() / left(b1)) as f32
            }
            false => 1.0,
        };
        let (new1, new2) = ((1.0 - b1) as f32, (1.0 - b2) as f32);
        let (b1, b2) = (b1 as f32, b2 as f32);
        for (name, gradient) in gradients {
            let below = |(decay, layers): (f64, usize)| decay.powi(levels_below_head(name, layers));
            let rate = (update.learning_rate * update.layer_decay.map_or(1.0, below)) as f32;
            let is_decayed = !name.contains("LayerNorm") && !name.contains("bias");
            let decay = if is_decayed { update.weight_decay } else { 0.0 };
            let of = |tensors: &mut Tensors| -> Vec<f32> {
                std::mem::take(&mut tensors.get_mut(name).expect("a parameter").values)
            };
            let (mut p, mut m, mut v) = (
                of(&mut self.values),
                of(&mut self.first),
                of(&mut self.second),
            );
            for (i, g) in gradient.values.iter().enumerate() {
                let g = g * scale;
                m[i] = b1 * m[i] + new1 * g;
                v[i] = b2 * v[i] + new2 * g * g;
                p[i] -= rate * (correction * m[i] / (v[i].sqrt() + update.epsilon) + decay * p[i]);
            }
            for (tensors, values) in [
                (&mut self.values, p),
                (&mut self.first, m),
                (&mut self.second, v),
            ] {
                tensors.get_mut(name).expect("a parameter").values = values;
            }
        }
        self.step += 1;
        Ok(norm)
    }

    /// A copy of everything that going on takes, as the engine makes it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = State {
            step: self.step,
            seed: self.seed,
        };
        let arrays = [&self.values, &self.first, &self.second].map(Clone::clone);
        Snapshot::new(state, arrays)
    }

    /// Goes on from a checkpoint; the notes beside it.
    pub(crate) fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError> {
        let (found, notes) = checkpoint::read(folder, &self.parameters)?;
        self.step = found.step();
        [self.values, self.first, self.second] = found.into_arrays();
        Ok(notes)
    }
}

fn fits(name: &str, own: &Tensor, given: &Tensor) -> Result<(), TrainError> {
    if own.shape == given.shape {
        return Ok(());
    }
    Err(TrainError::Weights(WeightsError::Shape {
        name: name.to_owned(),
        found: given.shape.clone(),
        expected: own.shape.clone(),
    }))
}

/// Levels from the head down: heads 0, the top layer 2, embeddings `L + 2`. Spec E.1, whose exponent 1 no layer has.
fn levels_below_head(name: &str, layers: usize) -> i32 {
    let depth = match name.split_once("encoder.layer.") {
        Some((_, rest)) => {
            let number = rest.split('.').next().and_then(|n| n.parse::<usize>().ok());
            number.expect("layers are numbered") + 1
        }
        None if name.contains("embeddings") => 0,
        None => layers + 2,
    };
    (layers + 2 - depth) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_specification() {
        assert_eq!(levels_below_head("classifier.weight", 12), 0);
        assert_eq!(
            levels_below_head("electra.encoder.layer.11.output.dense.bias", 12),
            2
        );
        assert_eq!(
            levels_below_head("electra.encoder.layer.0.output.dense.bias", 12),
            13
        );
        assert_eq!(
            levels_below_head("electra.embeddings_project.weight", 12),
            14
        );
    }
}
