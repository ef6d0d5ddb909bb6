//! What networks cost, by formula: operations of their matrix products, and parameters. Spec H.1, C.4. Computes nothing
//! and knows no device.
//!
//! A multiplication and an addition are two operations. What is no matrix product is not counted, nor is looking tokens
//! up in a table. Attention makes the cost of a token hang on the length of its sequence.

use crate::config::ElectraConfig;
use crate::model::architecture::Architecture;
use crate::model::pretraining::PretrainingModel;

/// Training takes the forward pass, and twice as much for gradients of inputs and of weights. Spec H.1.
pub const TRAINING: f64 = 3.0;

/// Operations of an encoder for a token of a sequence of `length`: `L (8 h² + 4 n h + 4 h f)`, and `2 e h` where the
/// embeddings are projected. Spec H.1.
#[must_use]
pub fn encoder(config: &ElectraConfig, length: f64) -> f64 {
    let [e, h, f, layers] = [
        config.embedding_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
    ]
    .map(|size| size as f64);
    let projection = if config.has_projection() {
        2.0 * e * h
    } else {
        0.0
    };
    layers * (8.0 * h * h + 4.0 * length * h + 4.0 * h * f) + projection
}

/// Operations of a discriminator for a token of a sequence of `length`: the encoder, and `2 h² + 2 h`. Spec H.1.
#[must_use]
pub fn discriminator(config: &ElectraConfig, length: f64) -> f64 {
    let h = config.hidden_size as f64;
    encoder(config, length) + 2.0 * h * h + 2.0 * h
}

/// Operations of a generator for a token of a sequence of `length`, of whose tokens the share `predicted` is predicted:
/// the encoder, and `2 h e + 2 e V` for each that is. Spec H.1.
#[must_use]
pub fn generator(config: &ElectraConfig, length: f64, predicted: f64) -> f64 {
    let [e, h, v] =
        [config.embedding_size, config.hidden_size, config.vocab_size].map(|size| size as f64);
    encoder(config, length) + predicted * (2.0 * h * e + 2.0 * e * v)
}

/// Parameters that pre-training changes: both networks, shared embeddings once. Spec C.4.
#[must_use]
pub fn pretraining_parameters(discriminator: &ElectraConfig, generator: &ElectraConfig) -> u64 {
    let model = PretrainingModel::new(discriminator, generator);
    model.parameters.count() as u64
}

/// Parameters of a model as it is written. Spec C.4, C.5.
#[must_use]
pub fn parameters(architecture: Architecture, config: &ElectraConfig) -> u64 {
    let tensors = architecture.tensors(config);
    let elements = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    tensors.iter().map(|(_, shape)| elements(shape)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;
    use crate::mask::{Duplicates, Masking};

    const VOCABULARY: usize = 31_090;

    /// Forward operations a token of both networks, all positions computed, as spec H.1 counts them.
    fn forward(size: Size, length: usize) -> (f64, f64) {
        let config = size.config(VOCABULARY);
        let masking = Masking::new(0.15, length, Duplicates::None, Vec::new());
        let share = masking.most as f64 / length as f64;
        let small = config.generator(size.generator_share(), 1.0);
        let length = length as f64;
        (
            discriminator(&config, length),
            generator(&small, length, share),
        )
    }

    #[track_caller]
    fn is_about(found: f64, expected: f64, digits: f64) {
        assert!(
            (found - expected).abs() <= 0.5 * digits,
            "{found}, not {expected}"
        );
    }

    #[test]
    fn operations_are_those_of_the_specification() {
        let (large, small) = forward(Size::Base, 512);
        is_about(large / 1e6, 189.92, 0.01);
        is_about(small / 1e6, 32.99, 0.01);
        let token = TRAINING * (large + small);
        is_about(token / 1e6, 668.7, 0.1);
        let step = token * 256.0 * 512.0;
        is_about(step / 1e13, 8.765, 0.001);
        is_about(step * 1e6 / 1e19, 8.765, 0.001);
        is_about(step * 766e3 / 1e19, 6.71, 0.01);
        let (large, small) = forward(Size::Base, 128);
        is_about(large / 1e6, 175.77, 0.01);
        is_about(small / 1e6, 27.99, 0.01);
        is_about(TRAINING * (large + small) / 1e6, 611.3, 0.1);
        let (large, small) = forward(Size::Small, 128);
        is_about(
            TRAINING * (large + small) * 128.0 * 128.0 / 1e12,
            1.15,
            0.01,
        );
    }

    #[test]
    fn parameters_are_those_of_the_specification() {
        let of = |size: Size, share: f64| {
            let config = size.config(VOCABULARY);
            let generator = config.generator(share, 1.0);
            let all = pretraining_parameters(&config, &generator);
            (config, generator, all)
        };
        let (config, generator, all) = of(Size::Base, 0.33333);
        assert_eq!(all, 119_823_219);
        assert_eq!(parameters(Architecture::Body, &config), 109_327_872);
        let with_head = parameters(Architecture::PreTraining, &config);
        assert_eq!(with_head, 109_327_872 + 591_361);
        assert_eq!(parameters(Architecture::MaskedLm, &generator), 34_177_394);
        assert_eq!(of(Size::Small, 0.25).2, 14_269_491);
        assert_eq!(of(Size::Small, 1.0).2, 23_196_147);
    }
}
