//! Examples of pre-training: whether they fit a model, and how a step masks them. Knows no device.

use rayon::prelude::*;

use super::Pretraining;
use crate::config::ElectraConfig;
use crate::error::TrainError;
use crate::model::batch::Sequence;
use crate::model::pretraining::MaskedSequence;
use crate::random::Draw;

/// An example: ids with specials, and a segment for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// Segments.
    pub types: &'a [u32],
}

/// Whether examples of at most `room` tokens fit a model of these sizes, before the update that follows `step`.
///
/// # Errors
/// The first example that does not.
pub fn check(
    examples: &[Example<'_>],
    config: &ElectraConfig,
    room: usize,
    step: u64,
) -> Result<(), TrainError> {
    for (index, example) in examples.iter().enumerate() {
        let reason = if example.ids.len() != example.types.len() {
            "it has not one segment a token".to_owned()
        } else if example.ids.len() < 3 {
            "it has no token between its specials".to_owned()
        } else if example.ids.len() > config.max_position_embeddings.min(room) {
            format!("it has {} tokens", example.ids.len())
        } else if let Some(id) = example
            .ids
            .iter()
            .find(|id| **id as usize >= config.vocab_size)
        {
            format!("id {id} is outside the vocabulary of {}", config.vocab_size)
        } else {
            continue;
        };
        return Err(TrainError::Example {
            step,
            index,
            reason,
        });
    }
    Ok(())
}

/// The batch of a step as it is masked.
#[must_use]
pub fn masked<'a>(
    examples: &[Example<'a>],
    settings: &Pretraining,
    step: u32,
) -> Vec<MaskedSequence<'a>> {
    examples
        .par_iter()
        .enumerate()
        .map(|(index, example)| {
            let index = u32::try_from(index).expect("batches are small");
            let draw = Draw {
                step,
                sequence: index,
            };
            let masked = settings.masking.mask(example.ids, settings.seed, draw);
            MaskedSequence {
                original: Sequence {
                    ids: example.ids,
                    types: example.types,
                    index,
                },
                positions: masked.positions,
                keeps: masked.keeps,
            }
        })
        .collect()
}
