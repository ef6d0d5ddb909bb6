//! Where the parts of a released model lie, and what they state. Knows no tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use data::vocabulary::Vocabulary;
use engine::config::{ElectraConfig, Size};
use flow::kind::{StageContext, StageError};

use crate::kinds::dataset::stage_error;
use crate::kinds::texts::load_vocabulary;

/// Files of weights in a folder, the first of them that is there.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
const VOCABULARIES: [&str; 2] = ["vocab.txt", "tokenizer.json"];
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer_config.json";

/// The files of a released model.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) weights: PathBuf,
    /// The folder that `weights` names, if it names one.
    pub(super) folder: Option<PathBuf>,
    config: Option<PathBuf>,
    vocabulary: PathBuf,
    tokenizer: Option<PathBuf>,
}

/// A vocabulary, and what the files around it say of how text is spelt.
#[derive(Debug)]
pub(super) struct Spelt {
    pub(super) entries: Vocabulary,
    pub(super) lower_case: Option<bool>,
    pub(super) strip_accents: Option<bool>,
}

/// What a `config.json` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stated {
    /// Sizes; `None` without a file.
    pub(super) config: Option<ElectraConfig>,
    /// The class of `transformers`.
    pub(super) architecture: Option<String>,
    /// Names of a head's classes, by number.
    pub(super) labels: Vec<String>,
    /// `problem_type`.
    pub(super) problem: Option<String>,
}

fn first_of(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut places = names.iter().map(|name| folder.join(name));
    places.find(|place| place.is_file())
}

impl Source {
    /// Looks at the inputs; what is given singly is taken before what lies in the folder.
    pub(super) fn find(stage: &StageContext) -> Result<Self, StageError> {
        let given = stage.input("weights")?;
        let folder = given.is_dir().then(|| given.clone());
        let inside = |names: &[&str]| first_of(folder.as_deref()?, names);
        let weights = match &folder {
            None => given,
            Some(folder) => inside(&WEIGHTS).ok_or_else(|| no_weights(folder))?,
        };
        let vocabulary = stage
            .find_input("vocabulary")
            .or_else(|| inside(&VOCABULARIES));
        let Some(vocabulary) = vocabulary else {
            return Err(
                StageError::new("model::vocabulary", "the model has no vocabulary")
                    .help("give its `vocab.txt` or `tokenizer.json` as `vocabulary`"),
            );
        };
        Ok(Self {
            weights,
            config: stage.find_input("config").or_else(|| inside(&[CONFIG])),
            vocabulary,
            tokenizer: inside(&[TOKENIZER]),
            folder,
        })
    }

    pub(super) fn vocabulary(&self) -> Result<Spelt, StageError> {
        let (entries, stated) =
            load_vocabulary(&self.vocabulary, "vocabulary").map_err(stage_error)?;
        let stated = stated.unwrap_or_default();
        let tokenizer = match &self.tokenizer {
            Some(path) => read_json(path, TOKENIZER)?,
            None => Value::Null,
        };
        let says = |name: &str| tokenizer[name].as_bool();
        Ok(Spelt {
            entries,
            lower_case: says("do_lower_case").or(stated.lower_case),
            strip_accents: says("strip_accents").or(stated.strip_accents),
        })
    }

    pub(super) fn stated(&self) -> Result<Stated, StageError> {
        match &self.config {
            Some(path) => parse(&read_json(path, CONFIG)?),
            None => Ok(Stated::default()),
        }
    }
}

fn no_weights(folder: &Path) -> StageError {
    let is_sharded = [
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
    ]
    .iter()
    .any(|name| folder.join(name).is_file());
    let (message, help) = match is_sharded {
        true => (
            "the weights are split over several files",
            "save the model with `max_shard_size` above its size, or name one file of weights",
        ),
        false => (
            "the folder `weights` has neither `model.safetensors` nor `pytorch_model.bin`",
            "give the file of weights, or a folder as `transformers` saves one",
        ),
    };
    StageError::new("model::weights", message).help(help)
}

fn read_json(path: &Path, name: &str) -> Result<Value, StageError> {
    let text = fs_err::read(path)?;
    serde_json::from_slice(&text).map_err(|error| {
        StageError::new("model::config", format!("`{name}` is no JSON: {error}"))
            .help("give the file that belongs to the weights")
    })
}

/// What `config.json` says. Fields that are left out have the values of `transformers`, which are those of the small
/// model.
pub(super) fn parse(file: &Value) -> Result<Stated, StageError> {
    for (field, only) in [
        ("model_type", "electra"),
        ("hidden_act", "gelu"),
        ("position_embedding_type", "absolute"),
    ] {
        if let Some(other) = file[field].as_str().filter(|value| *value != only) {
            let message = format!("`config.json` states `{field}: {other}`; only `{only}` is read");
            let help = "give the weights of an ELECTRA model as its authors published them";
            return Err(StageError::new("model::config", message).help(help));
        }
    }
    let sizes = Size::Small.config(30_522);
    let mut config = serde_json::to_value(&sizes).expect("sizes serialise");
    let fields = config.as_object_mut().expect("a struct is an object");
    for (name, value) in fields {
        if let Some(stated) = file.get(name).filter(|stated| !stated.is_null()) {
            *value = stated.clone();
        }
    }
    let config = serde_json::from_value(config).map_err(|error| {
        StageError::new(
            "model::config",
            format!("`config.json` states no sizes: {error}"),
        )
        .help("give the `config.json` that belongs to the weights")
    })?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Stated {
        config: Some(config),
        architecture: text(&file["architectures"][0]),
        labels: labels(&file["id2label"]),
        problem: text(&file["problem_type"]),
    })
}

/// Names by number, if they are numbered from 0 without a gap.
fn labels(by_id: &Value) -> Vec<String> {
    let Some(by_id) = by_id.as_object() else {
        return Vec::new();
    };
    let numbered: BTreeMap<usize, &str> = by_id
        .iter()
        .filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?)))
        .collect();
    match numbered.keys().copied().eq(0..by_id.len()) {
        true => numbered.into_values().map(str::to_owned).collect(),
        false => Vec::new(),
    }
}
