//! What pre-training begins from instead of first values. Knows no steps.
//!
//! Both networks stand on one embeddings module (spec C.3), so of two models given one must say what it holds: it is that of
//! `start`, the discriminator that is wanted; a generator's counts where there is no `start`.

use engine::config::ElectraConfig;
use engine::model::pretraining::GENERATOR;
use engine::pretrain::Pretraining;
use engine::weights::Tensors;
use flow::diagnostic::Diagnostic;
use flow::kind::{StageContext, StageError};

use crate::kinds::model;
use crate::kinds::trainers::Pretrains;
use crate::kinds::training::train_error;

/// The module that both networks share.
const EMBEDDINGS: &str = "electra.embeddings.";

/// Copies the tensors of `start` and `start_generator`, where they are given; says what they did not hold.
pub(super) fn begin_from(
    trainer: &mut dyn Pretrains,
    settings: &Pretraining,
    stage: &StageContext,
) -> Result<Vec<Diagnostic>, StageError> {
    let read = |port: &str| -> Result<Option<Tensors>, StageError> {
        let Some(folder) = stage.find_input(port) else {
            return Ok(None);
        };
        let (config, tensors) = model::read(&folder)?;
        same_vocabulary(port, &config, &settings.discriminator)?;
        Ok(Some(tensors))
    };
    let (start, generator) = (read("start")?, read("start_generator")?);
    let (has_start, has_generator) = (start.is_some(), generator.is_some());
    if !has_start && !has_generator {
        return Ok(Vec::new());
    }
    let unmatched = trainer
        .start_from(&together(start, generator))
        .map_err(train_error)?;
    let missing = |port: &str, what: &str, is: &dyn Fn(&str) -> bool| {
        let names: Vec<&String> = unmatched.missing.iter().filter(|name| is(name)).collect();
        let first = names.first()?;
        let message = format!(
            "{} tensors of the {what} are not in `{port}` and begin at random",
            names.len()
        );
        let warning = Diagnostic::warning("model::missing", message);
        Some(warning.detail(format!("the first is `{first}`")))
    };
    let of_start = missing("start", "discriminator", &|name| {
        has_start && !name.starts_with(GENERATOR)
    });
    let of_generator = missing("start_generator", "generator", &|name| {
        let is_shared = !has_start && name.starts_with(EMBEDDINGS);
        has_generator && (is_shared || name.starts_with(GENERATOR))
    });
    Ok(of_start.into_iter().chain(of_generator).collect())
}

/// The tensors of both models under the names of pre-training.
fn together(start: Option<Tensors>, generator: Option<Tensors>) -> Tensors {
    let has_start = start.is_some();
    let mut all = start.unwrap_or_default();
    for (name, tensor) in generator.into_iter().flatten() {
        match name.starts_with(EMBEDDINGS) {
            true if has_start => {}
            true => {
                all.insert(name, tensor);
            }
            false => {
                all.insert(format!("{GENERATOR}{name}"), tensor);
            }
        }
    }
    all
}

fn same_vocabulary(
    port: &str,
    found: &ElectraConfig,
    own: &ElectraConfig,
) -> Result<(), StageError> {
    if found.vocab_size == own.vocab_size {
        return Ok(());
    }
    let message = format!(
        "the model `{port}` has {} entries, the vocabulary {}",
        found.vocab_size, own.vocab_size
    );
    Err(StageError::new("model::config", message).help("give a model of this vocabulary"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::weights::Tensor;

    fn tensors(names: &[&str], value: f32) -> Tensors {
        let tensor = Tensor {
            shape: vec![1],
            values: vec![value],
        };
        let named = names
            .iter()
            .map(|name| ((*name).to_owned(), tensor.clone()));
        named.collect()
    }

    #[test]
    fn embeddings_are_those_of_start_where_there_is_one() {
        let word = "electra.embeddings.word_embeddings.weight";
        let project = "electra.embeddings_project.weight";
        let head = "generator_lm_head.bias";
        let generator = tensors(&[word, project, head], 2.0);
        let both = together(
            Some(tensors(&[word, project], 1.0)),
            Some(generator.clone()),
        );
        let value = |tensors: &Tensors, name: &str| tensors[name].values[0];
        assert_eq!(value(&both, word), 1.0);
        assert_eq!(value(&both, project), 1.0);
        assert_eq!(value(&both, &format!("generator.{project}")), 2.0);
        assert_eq!(value(&both, &format!("generator.{head}")), 2.0);
        assert_eq!(both.len(), 4);
        let alone = together(None, Some(generator));
        assert_eq!(value(&alone, word), 2.0);
        assert!(!alone.contains_key(project));
        assert_eq!(alone.len(), 3);
    }
}
