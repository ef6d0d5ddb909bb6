//! The parameters of a model: names, shapes, places, first values, and what the optimizer treats apart. Knows no network.

use crate::arena::Weight;
use crate::random::{Draw, Purpose, Stream, unit};

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, as `transformers` calls it.
    pub name: String,
    /// Its shape; a matrix is (outputs, inputs).
    pub shape: Vec<usize>,
    /// Its place among the parameters.
    pub at: Weight,
    /// First values.
    pub init: Init,
    /// Layers from the input: 0 for embeddings, `i + 1` for encoder layer `i`, `L + 2` for heads (spec E.1).
    pub depth: u32,
}

impl Parameter {
    /// Whether weight decay acts on it: not on biases, nor on layer normalisation (spec D.4).
    #[must_use]
    pub fn is_decayed(&self) -> bool {
        !(self.name.contains("LayerNorm") || self.name.contains("bias"))
    }
}

/// How a tensor begins. Spec C.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal with this standard deviation, cut at two of them.
    TruncatedNormal(f32),
    /// Uniform within `sqrt(6 / (inputs + outputs))`.
    GlorotUniform,
}

/// The tensors of a model in the order in which they lie in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    list: Vec<Parameter>,
    end: usize,
}

/// Tensors begin at multiples of this many elements, unless they are joined to the one before.
const ALIGNMENT: usize = 32;

impl Parameters {
    /// Adds a tensor.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        init: Init,
        depth: u32,
    ) -> Weight {
        self.end = self.end.next_multiple_of(ALIGNMENT);
        self.add_joined(name, shape, init, depth)
    }

    /// Adds a tensor right behind the last one, so that both may be read as one.
    pub fn add_joined(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        init: Init,
        depth: u32,
    ) -> Weight {
        let at = Weight::new(self.end, shape.iter().product());
        self.end = at.range().end;
        self.list.push(Parameter {
            name: name.into(),
            shape: shape.to_vec(),
            at,
            init,
            depth,
        });
        at
    }

    /// The tensors in order.
    #[must_use]
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// The tensor of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.list.iter().find(|parameter| parameter.name == name)
    }

    /// Elements that memory must hold, gaps between tensors included.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.end.next_multiple_of(ALIGNMENT)
    }

    /// Elements that are trained.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.iter().map(|parameter| parameter.at.len()).sum()
    }

    /// First values of the tensor at `index`, a function of the seed and the index alone.
    #[must_use]
    pub fn first_values(&self, index: usize, seed: u64) -> Vec<f32> {
        let parameter = &self.list[index];
        let purpose = Purpose::Init(u32::try_from(index).expect("few tensors"));
        let stream = Stream::new(seed, purpose);
        let n = parameter.at.len();
        match parameter.init {
            Init::Zeros => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::TruncatedNormal(deviation) => (0..n as u64)
                .map(|i| deviation * truncated_normal(stream, i))
                .collect(),
            Init::GlorotUniform => {
                let sum: usize = parameter.shape.iter().sum();
                let limit = (6.0 / sum as f64).sqrt() as f32;
                (0..n as u64)
                    .map(|i| limit * (2.0 * unit(stream.words(START, i)[0]) - 1.0))
                    .collect()
            }
        }
    }
}

const START: Draw = Draw {
    step: 0,
    sequence: 0,
};

/// A normal number within two standard deviations, by Box and Muller's transform; what falls outside is drawn again.
fn truncated_normal(stream: Stream, index: u64) -> f32 {
    for again in 0.. {
        let draw = Draw {
            step: 0,
            sequence: again,
        };
        let words = stream.words(draw, index);
        for [a, b] in [[words[0], words[1]], [words[2], words[3]]] {
            // In (0, 1], so that the logarithm exists.
            let radius = (-2.0 * (1.0 - f64::from(unit(a))).ln()).sqrt();
            let (sine, cosine) = (std::f64::consts::TAU * f64::from(unit(b))).sin_cos();
            for value in [radius * cosine, radius * sine] {
                if value.abs() <= 2.0 {
                    return value as f32;
                }
            }
        }
    }
    unreachable!("the loop has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_values_have_the_distribution_they_claim() {
        let mut parameters = Parameters::default();
        parameters.add("a.weight", &[300, 400], Init::TruncatedNormal(0.02), 0);
        parameters.add("b.weight", &[300, 100], Init::GlorotUniform, 0);
        let a = parameters.first_values(0, 1);
        assert!(a.iter().all(|x| x.abs() <= 0.04));
        let square = a.iter().map(|x| f64::from(x * x)).sum::<f64>() / a.len() as f64;
        // A standard normal cut at two has standard deviation 0.8796.
        assert!((square.sqrt() / 0.02 - 0.8796).abs() < 0.005, "{square}");
        let limit = (6.0_f32 / 400.0).sqrt();
        let b = parameters.first_values(1, 1);
        assert!(b.iter().all(|x| x.abs() <= limit));
        let mean = b.iter().map(|x| f64::from(*x)).sum::<f64>() / b.len() as f64;
        assert!(mean.abs() < 0.002, "{mean}");
        assert_ne!(a, parameters.first_values(0, 2));
    }

    #[test]
    fn joined_tensors_lie_side_by_side() {
        let mut parameters = Parameters::default();
        parameters.add("x.bias", &[3], Init::Zeros, 0);
        let q = parameters.add("q", &[2, 2], Init::Zeros, 0);
        let k = parameters.add_joined("k", &[2, 2], Init::Zeros, 0);
        assert_eq!(q.range(), 32..36);
        assert_eq!(k.range(), 36..40);
        assert_eq!((parameters.count(), parameters.memory()), (11, 64));
        assert!(!parameters.list()[0].is_decayed() && parameters.list()[1].is_decayed());
    }
}
