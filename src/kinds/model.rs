//! A model as a folder that `transformers` loads: weights, configuration, vocabulary. Knows no training.

use std::path::Path;

use serde_json::{Map, Value, json};

use data::vocabulary::Vocabulary;
use engine::config::ElectraConfig;
use engine::error::{TorchError, WeightsError};
use engine::weights::{self, Tensors};
use flow::kind::StageError;

/// The file of weights.
pub(super) const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
pub(super) const VOCABULARY: &str = "vocab.txt";
pub(super) const TOKENIZER: &str = "tokenizer_config.json";

/// How text becomes ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spelling {
    pub(super) lower_case: bool,
    /// `None` where accents go with case.
    pub(super) strip_accents: Option<bool>,
}

/// A model to be written.
#[derive(Debug)]
pub(super) struct Model<'a> {
    /// The class of `transformers` it is, such as `ElectraForPreTraining`.
    pub(super) architecture: &'a str,
    pub(super) config: &'a ElectraConfig,
    pub(super) tensors: &'a Tensors,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) spelling: Spelling,
    /// Names of the classes of a fine-tuned model, by id.
    pub(super) labels: &'a [String],
    /// What `transformers` takes the outputs for, where their number does not tell.
    pub(super) problem: Option<&'a str>,
}

/// What is wrong with tensors, as a stage says it.
pub(super) fn weights_error(error: WeightsError) -> StageError {
    match error {
        WeightsError::Read { source, .. } => source.into(),
        WeightsError::Config(_) => StageError::new("model::config", error.to_string())
            .help("correct the sizes, or give the `config.json` that belongs to the weights"),
        WeightsError::Checkpoint { .. } => {
            StageError::new("engine::checkpoint", error.to_string()).environment()
        }
        WeightsError::Torch { source, .. } => {
            let help = match source {
                TorchError::Runs { .. } | TorchError::Operation { .. } => {
                    "nothing was run; if you trust where the file comes from, save its tensors alone with `safetensors`"
                }
                _ => "get the file again, or save the model with `safetensors`",
            };
            StageError::new("model::torch", format!("PyTorch file of weights: {source}")).help(help)
        }
        error @ WeightsError::Twice { .. } => StageError::new("model::weights", error.to_string())
            .help("save the model again with one name for each tensor"),
        error @ (WeightsError::Format { .. } | WeightsError::Type { .. }) => {
            StageError::new("model::weights", error.to_string())
                .help("give weights as `safetensors` or `torch.save` write them")
        }
        error @ WeightsError::Shape { .. } => StageError::new("model::weights", error.to_string())
            .help("give weights of the size that the stage asks for"),
    }
}

/// Writes a folder that `transformers` loads as it is. Every size is written: the defaults of `transformers` are those
/// of the small model.
pub(super) fn write(folder: &Path, model: &Model<'_>) -> Result<(), StageError> {
    fs_err::create_dir_all(folder)?;
    weights::write(&folder.join(WEIGHTS), model.tensors).map_err(weights_error)?;
    let mut config = serde_json::to_value(model.config).expect("sizes serialise");
    let fields = config.as_object_mut().expect("a struct is an object");
    let pad = model.vocabulary.specials().padding;
    for (name, value) in [
        ("architectures", json!([model.architecture])),
        ("model_type", json!("electra")),
        ("hidden_act", json!("gelu")),
        ("pad_token_id", json!(pad)),
        ("position_embedding_type", json!("absolute")),
        ("use_cache", json!(true)),
        ("summary_type", json!("first")),
        ("summary_use_proj", json!(true)),
        ("summary_activation", json!("gelu")),
        ("summary_last_dropout", json!(0.1)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    if !model.labels.is_empty() {
        let by_id: Map<String, Value> = (0..)
            .zip(model.labels)
            .map(|(id, label): (usize, _)| (id.to_string(), json!(label)))
            .collect();
        let ids: Map<String, Value> = (0..)
            .zip(model.labels)
            .map(|(id, label): (usize, _)| (label.clone(), json!(id)))
            .collect();
        fields.insert("id2label".to_owned(), Value::Object(by_id));
        fields.insert("label2id".to_owned(), Value::Object(ids));
    }
    if let Some(problem) = model.problem {
        fields.insert("problem_type".to_owned(), json!(problem));
    }
    let tokenizer = json!({
        "tokenizer_class": "ElectraTokenizer",
        "do_lower_case": model.spelling.lower_case,
        "strip_accents": model.spelling.strip_accents,
        "tokenize_chinese_chars": true,
        "model_max_length": model.config.max_position_embeddings,
    });
    for (name, value) in [(CONFIG, &config), (TOKENIZER, &tokenizer)] {
        let mut text = serde_json::to_string_pretty(value).expect("JSON serialises");
        text.push('\n');
        fs_err::write(folder.join(name), text)?;
    }
    fs_err::write(folder.join(VOCABULARY), model.vocabulary.to_text())?;
    Ok(())
}

/// Reads the weights and sizes of a folder.
pub(super) fn read(folder: &Path) -> Result<(ElectraConfig, Tensors), StageError> {
    let path = folder.join(CONFIG);
    let text = fs_err::read_to_string(&path)?;
    let config: ElectraConfig = serde_json::from_str(&text).map_err(|error| {
        StageError::new("model::config", format!("`{CONFIG}` is not that of an ELECTRA model: {error}"))
            .help("give a folder with `config.json`, `model.safetensors` and `vocab.txt`, as `transformers` saves one")
    })?;
    config.check().map_err(weights_error)?;
    let tensors = weights::read(&folder.join(WEIGHTS)).map_err(weights_error)?;
    Ok((config, tensors))
}

/// The class of `transformers` that a folder's `config.json` states.
pub(super) fn architecture(folder: &Path) -> Option<String> {
    let config: Value = serde_json::from_slice(&fs_err::read(folder.join(CONFIG)).ok()?).ok()?;
    config["architectures"][0].as_str().map(str::to_owned)
}

/// The names of a model's classes by id, where its `config.json` states any but those that `transformers` fills in.
pub(super) fn labels(folder: &Path) -> Option<Vec<String>> {
    let config: Value = serde_json::from_slice(&fs_err::read(folder.join(CONFIG)).ok()?).ok()?;
    let by_id = config.get("id2label")?.as_object()?;
    let of = |id: usize| by_id.get(&id.to_string())?.as_str().map(str::to_owned);
    let labels: Vec<String> = (0..by_id.len()).map(of).collect::<Option<_>>()?;
    let is_filled_in = (0..)
        .zip(&labels)
        .all(|(id, label): (usize, _)| *label == format!("LABEL_{id}"));
    (!is_filled_in).then_some(labels)
}
