//! Examples of pre-training: whether they fit a model, and how a step masks them. Knows no device.

use rayon::prelude::*;

use super::Pretraining;
use crate::config::ElectraConfig;
use crate::error::TrainError;
use crate::mask::Masked;
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
    /// What is predicted in it, where that was drawn before: what [`Masking::mask`](crate::mask::Masking::mask) says for
    /// the step and the example's place in the batch.
    pub masked: Option<&'a Masked>,
}

impl<'a> Example<'a> {
    /// An example whose step draws what is predicted in it.
    #[must_use]
    pub fn new(ids: &'a [u32], types: &'a [u32]) -> Self {
        Self {
            ids,
            types,
            masked: None,
        }
    }
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
        } else if let Some(reason) = config.unknown_id(example.ids) {
            reason
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
            let drawn = || settings.masking.mask(example.ids, settings.seed, draw);
            let masked = example.masked.cloned().unwrap_or_else(drawn);
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
