//! A model's folder as strangers find it: what it holds, and the files of its tokenizer. Knows no stages and no cards.

use std::path::Path;

use serde_json::{Value, json};

use data::example::Task;
use data::features::Featuriser;
use data::vocabulary::{SPECIALS, Vocabulary};
use engine::model::architecture::Architecture;
use flow::kind::StageError;

use super::dataset::stage_error;
use super::model::{self, TOKENIZER, VOCABULARY};
use super::tasks::{Head, Reading};

/// What a model's folder holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    /// The class of `transformers` that loads it, such as `ElectraForTokenClassification`.
    pub(crate) class: String,
    /// What it was fine-tuned for; `None` of a model that was not, or elsewhere.
    pub(crate) task: Option<Task>,
    /// Whether the head is that of ELECTRA's own program, which `transformers` has no class for.
    pub(crate) is_native: bool,
    /// Names of its classes by id.
    pub(crate) labels: Vec<String>,
    /// SHA-256 of the file of weights, 64 hex digits.
    pub(crate) sha256: String,
    /// Numbers in all tensors.
    pub(crate) parameters: usize,
    /// Layers, width and heads of the encoder, entries of the vocabulary.
    pub(crate) sizes: [usize; 4],
    /// The most pieces that a row had in fine-tuning, else that it may have.
    pub(crate) max_length: usize,
    /// Whether text is lower-cased.
    pub(crate) lower_case: bool,
    /// Tensors that the class has no place for, with their shapes.
    pub(crate) extra: Vec<(String, Vec<usize>)>,
    /// Tensors of the class that are not there, which `transformers` fills with random numbers.
    pub(crate) missing: Vec<String>,
}

/// Looks at a model's folder.
///
/// # Errors
/// When its files are not those of an ELECTRA model.
pub(crate) fn describe(folder: &Path) -> Result<Described, StageError> {
    let (config, tensors) = model::read(folder)?;
    let stated = model::architecture(folder);
    let mut architecture = Architecture::of(&tensors, stated.as_deref());
    let reading = match Reading::find(folder) {
        Some(reading) => Some(reading.map_err(stage_error)?),
        None => None,
    };
    let is_native = reading
        .as_ref()
        .is_some_and(|reading| reading.head == Head::Native);
    if is_native {
        // A plain `classifier.weight` looks like a head of `transformers` for tokens.
        architecture = Architecture::Body;
    }
    let comparison = architecture.compare(&config, &tensors);
    let extra = comparison.unused.iter().filter_map(|name| {
        let tensor = tensors.get(name)?;
        Some((name.clone(), tensor.shape.clone()))
    });
    let labels = reading.as_ref().map(|reading| &reading.labels.labels);
    Ok(Described {
        class: architecture.name().to_owned(),
        task: reading.as_ref().map(Reading::task),
        is_native,
        labels: model::labels(folder)
            .or_else(|| labels.cloned())
            .unwrap_or_default(),
        sha256: super::fetch::sha256_of(&folder.join(model::WEIGHTS))?,
        parameters: tensors.values().map(|tensor| tensor.values.len()).sum(),
        sizes: [
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.vocab_size,
        ],
        max_length: reading
            .as_ref()
            .map_or(config.max_position_embeddings, |reading| reading.max_length),
        lower_case: spelling(folder)?.0,
        extra: extra.collect(),
        missing: comparison.missing,
    })
}

/// `do_lower_case` and `strip_accents` of the folder's tokenizer.
fn spelling(folder: &Path) -> Result<(bool, Option<bool>), StageError> {
    let text = fs_err::read_to_string(folder.join(TOKENIZER))?;
    let stated: Value = serde_json::from_str(&text).map_err(|error| {
        StageError::new(
            "model::config",
            format!("`{TOKENIZER}` is not JSON: {error}"),
        )
        .help("make the model again")
    })?;
    Ok((
        stated["do_lower_case"].as_bool().unwrap_or(true),
        stated["strip_accents"].as_bool(),
    ))
}

/// Adds what the fast tokenizer of `transformers` reads: `tokenizer.json`, which spells as this program does, and
/// `special_tokens_map.json`.
///
/// # Errors
/// When the vocabulary cannot be read or the files cannot be written.
pub(crate) fn write_tokenizer(folder: &Path) -> Result<(), StageError> {
    let bytes = fs_err::read(folder.join(VOCABULARY))?;
    let (vocabulary, _) = Vocabulary::parse(&bytes, VOCABULARY).map_err(stage_error)?;
    let (lower_case, strip_accents) = spelling(folder)?;
    // As `finetune` and `predict` spell: accents go where case goes unless said.
    let mut settings = Featuriser::settings();
    settings.lower_case = lower_case;
    settings.strip_accents = strip_accents.unwrap_or(lower_case);
    fs_err::write(folder.join("tokenizer.json"), vocabulary.to_json(settings))?;
    let [pad, unk, cls, sep, mask] = SPECIALS;
    let specials = json!({
        "cls_token": cls, "mask_token": mask, "pad_token": pad, "sep_token": sep, "unk_token": unk,
    });
    let text = serde_json::to_string_pretty(&specials).expect("names serialise") + "\n";
    fs_err::write(folder.join("special_tokens_map.json"), text)?;
    Ok(())
}
