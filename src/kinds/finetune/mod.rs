//! Fine-tunes a model on one labelled set. Knows nothing of caching or scheduling.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::error::DataError;
use data::example::{Example, Task};
use data::features::Featuriser;
use data::labels::LabelSet;
use data::vocabulary::Vocabulary;
use data::wordpiece::WordPiece;
use engine::backend::Precision;
use engine::config::{ElectraConfig, Size};
use engine::finetune::Finetuning;
use engine::model::heads::HeadKind;
use engine::random::{Draw, Purpose, Stream};
use engine::schedule::{Schedule, Shape};
use engine::weights::Tensors;
use flow::cost::{Cost, Known};
use flow::diagnostic::Diagnostic;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};

use super::dataset::{mismatch, stage_error};
use super::in_effect::{InEffect, decimal};
use super::model::{self, weights_error};
use super::pretrain::Sizes;
use super::tasks::{Encoding, Head, Input, Reading, Rows, is_hf};
use super::texts::{is_yes, load_vocabulary, problem, yes};
use super::training::is_f32;
use run::Run;

pub(super) mod cost;
mod run;

/// `with:` of a stage of kind `finetune`.
///
/// `needs` names `data`, the output of a `dataset` stage with the splits `train` and, to choose an epoch by, `dev`; and
/// `start`, the model to begin from: the output of `pretrain` or `finetune`, or a folder as `transformers` saves one.
/// Without `start` training begins at random, from a `vocabulary` and `size`. The outputs are `model`, a folder that
/// `transformers` loads, and `log`, a JSON line for each epoch.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    /// The data set's name in every number.
    pub name: String,
    /// Passes over the training split.
    pub epochs: u32,
    /// Rows of an update: 32 for sentences, 16 for questions in the paper.
    pub batch: usize,
    /// Peak of the learning rate.
    pub learning_rate: f64,
    /// Seed of the order, of dropout and of the head's first values.
    pub seed: u64,
    /// Whose optimizer: `tf1`, ELECTRA's own, or `hf`, that of the program of Hugging Face.
    #[serde(default, skip_serializing_if = "is_tf1")]
    pub method: Method,
    /// Whose head: `hf`, that of Hugging Face, or `native`, ELECTRA's own, which judges an answer's end together with
    /// its start.
    #[serde(default, skip_serializing_if = "is_hf")]
    pub head: Head,
    /// Each layer learns at this factor of the one above; 0.8 with `tf1`, none with `hf` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Weight decay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight_decay: f64,
    /// Share of the updates over which the learning rate rises.
    #[serde(default = "tenth", skip_serializing_if = "is_tenth")]
    pub warmup_share: f64,
    /// Pieces of a row: 128 where it is absent, 384 for questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Pieces from one window of a context to the next.
    #[serde(default = "stride", skip_serializing_if = "is_stride")]
    pub doc_stride: usize,
    /// Texts that stay when a longer text is cut, such as `@DRUG$`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub markers: Vec<String>,
    /// Learn from so many examples of the training split alone, drawn at random, the same for every `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_examples: Option<usize>,
    /// Which epoch is kept: the `best` on `dev`, the earliest of equals, or the `last`.
    #[serde(default, skip_serializing_if = "is_best")]
    pub keep: Keep,
    /// Size of a model that begins at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Sizes that differ from it.
    #[serde(default, skip_serializing_if = "Sizes::is_empty")]
    pub sizes: Sizes,
    /// Dropout of units and of attention; that of the model it begins from, 0.1 of one begun at random, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Lower-case text before it is spelt.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub lower_case: bool,
    /// In what the operands of matrix products are held: `f32`, or `bf16` with sums and weights in f32.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
}

/// Whose optimizer. Spec E.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// ELECTRA's: layer-wise decay, no bias correction, gradients clipped to norm 1, decay and warm-up multiplied.
    #[default]
    Tf1,
    /// Hugging Face's: Adam with bias correction, no clipping, decay after the warm-up.
    Hf,
}

/// Which epoch is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The best on `dev`.
    #[default]
    Best,
    /// The last.
    Last,
}

fn is_tf1(method: &Method) -> bool {
    *method == Method::Tf1
}

fn is_best(keep: &Keep) -> bool {
    *keep == Keep::Best
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn tenth() -> f64 {
    0.1
}

fn is_tenth(value: &f64) -> bool {
    *value == tenth()
}

fn stride() -> usize {
    128
}

fn is_stride(value: &usize) -> bool {
    *value == stride()
}

impl StageKind for Finetune {
    const NAME: &'static str = "finetune";
    /// 1: first. 2: a head for as many classes of other names is not kept; `1 - beta` exact.
    const VERSION: u32 = 2;
    const USES_DEVICE: bool = true;
    const COSTS: bool = true;
    const DOC: &'static str = "fine-tune a model on a labelled set";

    fn ports(&self) -> Ports {
        let mut ports = match self.size {
            Some(_) => Ports::inputs(["data", "vocabulary"]),
            None => Ports::inputs(["data", "start"]),
        };
        if let Some(start) = ports.inputs.iter_mut().find(|port| port.name == "start") {
            start.output = Some("model");
        }
        ports = ports.outputs(["model"]);
        let log = ("log".to_owned(), "log.jsonl".to_owned());
        ports.outputs.push(log);
        ports
    }

    fn numerics(&self) -> Option<String> {
        Some(self.precision.name().to_owned())
    }

    fn in_effect(&self) -> serde_json::Value {
        let first = (HeadKind::Tokens, 1);
        let all = self.settings(&Size::Tiny.config(1), first, 1);
        let mut shown = InEffect::of(&self.manifest_config());
        shown.default("method", self.method);
        shown.default("head", self.head);
        shown.default("layer_decay", all.layer_decay.unwrap_or(1.0));
        shown.default("weight_decay", self.weight_decay);
        shown.default("warmup_share", self.warmup_share);
        shown.default("doc_stride", self.doc_stride);
        shown.default("keep", self.keep);
        shown.default("lower_case", self.lower_case);
        shown.default("precision", self.precision.name());
        shown.inherited("max_length", "the task has it: 128, of questions 384");
        shown.inherited("dropout", "the model has it that training begins from");
        let dropout = shown.get("dropout");
        shown.default("attention_dropout", dropout);
        shown.adam(all.betas, all.epsilon, all.clip);
        shown.finish()
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut refuse = |name: &str, is_wrong: bool, message: &str, help: &str| {
            if is_wrong {
                problems.push(problem(&[name], message, help));
            }
        };
        refuse(
            "name",
            self.name.trim().is_empty(),
            "`name` is empty",
            "name the data set, such as `ncbi-disease`",
        );
        refuse(
            "epochs",
            self.epochs == 0,
            "there is no epoch",
            "give the passes over the training split, such as 3",
        );
        refuse(
            "batch",
            self.batch == 0,
            "a batch is empty",
            "give the rows of an update, such as 32",
        );
        refuse(
            "learning_rate",
            !(self.learning_rate > 0.0 && self.learning_rate < 1.0),
            "it is not between 0 and 1",
            "give a rate such as 5e-5",
        );
        refuse(
            "layer_decay",
            self.layer_decay.is_some_and(|d| !(d > 0.0 && d <= 1.0)),
            "it is no factor of above 0 to 1",
            "give a factor such as 0.8; 1 leaves all layers alike",
        );
        refuse(
            "warmup_share",
            !(0.0..=1.0).contains(&self.warmup_share),
            "it is no share",
            "give a share such as 0.1",
        );
        refuse(
            "dropout",
            self.dropout
                .is_some_and(|dropout| !(0.0..1.0).contains(&dropout)),
            "it is not in 0 to below 1",
            "give a share such as 0.1",
        );
        refuse(
            "train_examples",
            self.train_examples == Some(0),
            "there is nothing to learn from",
            "leave it out for all examples",
        );
        refuse(
            "weight_decay",
            !(0.0..1.0).contains(&self.weight_decay),
            "it is not in 0 to below 1",
            "give a share such as 0.01",
        );
        refuse(
            "doc_stride",
            self.doc_stride == 0,
            "windows would not move",
            "give the pieces between windows, such as 128",
        );
        refuse(
            "max_length",
            self.max_length.is_some_and(|n| n < 8),
            "no example fits",
            "give the pieces of a row, such as 128",
        );
        problems
    }

    fn cost(&self, known: &Known<'_>) -> Cost {
        self.expected_cost(known)
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let begin = self.begin(stage)?;
        let folder = stage.input("data")?;
        let reading = self.reading(&folder).map_err(stage_error)?;
        let compiled = compiled(&begin.vocabulary, &reading);
        let data = Data::read(self, &folder, &reading, &begin.vocabulary, &compiled)
            .map_err(stage_error)?;
        let mut run = Run::start(self, stage, &reading, &begin, &compiled, data)?;
        run.train()?;
        run.finish()
    }
}

/// What training begins from.
struct Begin {
    config: ElectraConfig,
    tensors: Option<Tensors>,
    /// What the head of `tensors` tells apart, where it is known.
    labels: Option<Vec<String>>,
    vocabulary: Vocabulary,
}

impl Finetune {
    fn begin(&self, stage: &StageContext) -> Result<Begin, StageError> {
        if let Some(folder) = stage.find_input("start") {
            let (config, tensors) = model::read(&folder)?;
            let (vocabulary, _) =
                load_vocabulary(&folder.join("vocab.txt"), "start").map_err(stage_error)?;
            if vocabulary.size() as usize != config.vocab_size {
                let message = format!(
                    "`vocab.txt` of `start` has {} entries, its `config.json` says {}",
                    vocabulary.size(),
                    config.vocab_size
                );
                return Err(StageError::new("model::config", message)
                    .help("give a whole model of one kind"));
            }
            return Ok(Begin {
                config: self.with_dropout(config),
                tensors: Some(tensors),
                labels: model::labels(&folder),
                vocabulary,
            });
        }
        let size = self.size.expect("without `start` there is a size");
        let (vocabulary, _) =
            load_vocabulary(&stage.input("vocabulary")?, "vocabulary").map_err(stage_error)?;
        let config = self.sizes.apply(size.config(vocabulary.size() as usize));
        config.check().map_err(weights_error)?;
        Ok(Begin {
            config: self.with_dropout(config),
            tensors: None,
            labels: None,
            vocabulary,
        })
    }

    fn with_dropout(&self, mut config: ElectraConfig) -> ElectraConfig {
        if let Some(dropout) = self.dropout {
            config.hidden_dropout_prob = dropout as f32;
            config.attention_probs_dropout_prob = dropout as f32;
            config.classifier_dropout = None;
        }
        config
    }

    /// What the settings came to that hang on the model and the task.
    fn settled(config: &ElectraConfig, reading: &Reading) -> serde_json::Value {
        serde_json::json!({
            "dropout": decimal(config.hidden_dropout_prob),
            "attention_dropout": decimal(config.attention_probs_dropout_prob),
            "max_length": reading.max_length,
        })
    }

    fn reading(&self, folder: &Path) -> Result<Reading, DataError> {
        let path = folder.join("labels.json");
        let refuse =
            |message: String| Err(mismatch(message, "give the output of a `dataset` stage"));
        if !path.is_file() {
            return refuse("the input `data` has no `labels.json`".to_owned());
        }
        let labels: LabelSet = match serde_json::from_slice(&fs_err::read(path)?) {
            Ok(labels) => labels,
            Err(error) => return refuse(format!("`labels.json` cannot be understood: {error}")),
        };
        let usual = cost::usual_length(labels.task == Task::QuestionAnswering);
        Ok(Reading {
            labels,
            max_length: self.max_length.unwrap_or(usual),
            stride: self.doc_stride,
            markers: self.markers.clone(),
            lower_case: self.lower_case,
            head: self.head,
        })
    }

    fn settings(&self, config: &ElectraConfig, head: (HeadKind, usize), steps: u64) -> Finetuning {
        let is_tf1 = self.method == Method::Tf1;
        Finetuning {
            config: config.clone(),
            head: head.0,
            outputs: head.1,
            schedule: Schedule {
                peak: self.learning_rate,
                steps,
                warmup: (self.warmup_share * steps as f64) as u64,
                shape: match self.method {
                    Method::Tf1 => Shape::Product,
                    Method::Hf => Shape::Piecewise,
                },
            },
            layer_decay: self.layer_decay.or(is_tf1.then_some(0.8)),
            weight_decay: self.weight_decay as f32,
            bias_correction: !is_tf1,
            // Table 5.
            betas: (0.9, 0.999),
            epsilon: 1e-6,
            clip: is_tf1.then_some(1.0),
            seed: self.seed,
        }
    }
}

/// Examples as a model reads them.
struct Data {
    train: Vec<Input>,
    dev: Vec<(Example, Vec<Input>, Rows)>,
    warnings: Vec<Diagnostic>,
}

/// The featuriser's spelling for a reading.
pub(super) fn compiled(vocabulary: &Vocabulary, reading: &Reading) -> WordPiece {
    let mut settings = Featuriser::settings();
    settings.lower_case = reading.lower_case;
    settings.strip_accents = reading.lower_case;
    WordPiece::new(vocabulary, settings)
}

/// The examples of a split; `None` where there is no such split.
pub(super) fn split(folder: &Path, name: &str) -> Result<Option<Vec<Example>>, DataError> {
    let path = folder.join(format!("{name}.jsonl"));
    if !path.is_file() {
        return Ok(None);
    }
    let mut examples = Vec::new();
    data::jsonl::read(&path, &mut |example| {
        examples.push(example);
        Ok(())
    })?;
    Ok(Some(examples))
}

/// Leaves `wanted` of the examples, in their order: those with the smallest draws, so that more of them hold the fewer.
fn thin(examples: &mut Vec<Example>, wanted: usize) {
    // No training counts so many epochs, so these draws order no rows.
    let draw = Draw {
        step: u32::MAX,
        sequence: 0,
    };
    let stream = Stream::new(0, Purpose::Shuffle);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_cached_key(|i| (stream.words(draw, *i as u64), *i));
    let mut is_kept = vec![false; examples.len()];
    for i in order.into_iter().take(wanted) {
        is_kept[i] = true;
    }
    let mut kept = is_kept.into_iter();
    examples.retain(|_| kept.next() == Some(true));
}

impl Data {
    fn read(
        kind: &Finetune,
        folder: &Path,
        reading: &Reading,
        vocabulary: &Vocabulary,
        compiled: &WordPiece,
    ) -> Result<Self, DataError> {
        let mut encoding = Encoding::new(reading, Featuriser::new(vocabulary, compiled));
        let mut examples = split(folder, "train")?.unwrap_or_default();
        if let Some(wanted) = kind.train_examples {
            thin(&mut examples, wanted);
        }
        let mut train = Vec::new();
        for example in &examples {
            train.extend(encoding.encode(example, true)?.0);
        }
        if train.is_empty() {
            return Err(mismatch(
                "the split `train` has no example to learn from".to_owned(),
                "give a data set with a `train.jsonl`",
            ));
        }
        let lost = encoding.lost;
        let mut warnings = Vec::new();
        let mut say = |n: u64, what: &str| {
            if n > 0 {
                let n_all = examples.len();
                let message = format!("of {n_all} examples of `train`, {n} {what}");
                warnings.push(Diagnostic::warning("data::lost", message));
            }
        };
        say(lost.shortened, "are longer than `max_length` and were cut");
        say(
            lost.markers,
            "markers were cut off with them: `markers:` keeps them",
        );
        say(
            lost.answers,
            "have no answer that a window of the context holds",
        );
        let mut dev = Vec::new();
        for example in split(folder, "dev")?.unwrap_or_default() {
            let (inputs, rows) = encoding.encode(&example, false)?;
            dev.push((example, inputs, rows));
        }
        Ok(Self {
            train,
            dev,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_examples_are_among_more_and_in_order() {
        let all: Vec<Example> = (0..50)
            .map(|i| {
                let text = format!(
                    r#"{{"task":"classification","id":"e-{i:02}","text":"t","label":"x"}}"#
                );
                serde_json::from_str(&text).expect("an example")
            })
            .collect();
        let thinned = |wanted: usize| {
            let mut examples = all.clone();
            thin(&mut examples, wanted);
            let ids: Vec<String> = examples.iter().map(|e| e.id().to_owned()).collect();
            ids
        };
        let (few, more) = (thinned(7), thinned(20));
        assert_eq!((few.len(), more.len()), (7, 20));
        assert!(few.iter().all(|id| more.contains(id)));
        assert!(few.is_sorted() && more.is_sorted());
        assert_ne!(few, thinned(50)[..7], "drawn, not the first");
        assert_eq!(thinned(80).len(), 50);
    }
}
