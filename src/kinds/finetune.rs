//! Fine-tunes a model on one labelled set. Knows nothing of caching or scheduling.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::error::DataError;
use data::example::{Example, Task};
use data::features::Featuriser;
use data::labels::LabelSet;
use data::metrics::{self, Options, Work, find_metric};
use data::predictions::Predictions;
use data::vocabulary::Vocabulary;
use data::wordpiece::WordPiece;
use engine::backend::Precision;
use engine::checkpoint;
use engine::config::{ElectraConfig, Size};
use engine::finetune::{Finetuning, TaskExample};
use engine::model::heads::HeadKind;
use engine::random::{Draw, Purpose, Stream};
use engine::schedule::{Schedule, Shape};
use engine::weights::{self, Tensors};
use flow::diagnostic::Diagnostic;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::{mismatch, stage_error};
use super::device::{self, Finetunes};
use super::model::{self, Model, Spelling, weights_error};
use super::pretrain::Sizes;
use super::tasks::{Encoding, Input, Reading, Rows};
use super::texts::{is_yes, load_vocabulary, problem, yes};
use super::training::{
    self, Pace, checkpoint_place, is_f32, lines_place, stopped, train_error, unreadable_checkpoint,
};

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
    /// Each layer learns at this factor of the one above; 0.8 with `tf1`, none with `hf` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Weight decay.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight_decay: f32,
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
    /// Which epoch is kept: the `best` on `dev`, the earliest of equals, or the `last`.
    #[serde(default, skip_serializing_if = "is_best")]
    pub keep: Keep,
    /// Size of a model that begins at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Sizes that differ from it.
    #[serde(default, skip_serializing_if = "Sizes::is_empty")]
    pub sizes: Sizes,
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

fn is_zero(value: &f32) -> bool {
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
    /// 1: first.
    const VERSION: u32 = 1;
    const USES_DEVICE: bool = true;
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

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let begin = self.begin(stage)?;
        let folder = stage.input("data")?;
        let reading = self.reading(&folder).map_err(stage_error)?;
        let data = Data::read(&folder, &reading, &begin.vocabulary).map_err(stage_error)?;
        let mut run = Run::start(self, stage, &reading, begin, data)?;
        run.train(stage)?;
        run.finish(stage)
    }
}

/// What training begins from.
struct Begin {
    config: ElectraConfig,
    tensors: Option<Tensors>,
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
                config,
                tensors: Some(tensors),
                vocabulary,
            });
        }
        let size = self.size.expect("without `start` there is a size");
        let (vocabulary, _) =
            load_vocabulary(&stage.input("vocabulary")?, "vocabulary").map_err(stage_error)?;
        let config = self.sizes.apply(size.config(vocabulary.size() as usize));
        config.check().map_err(weights_error)?;
        Ok(Begin {
            config,
            tensors: None,
            vocabulary,
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
        let usual = match labels.task {
            Task::QuestionAnswering => 384,
            _ => 128,
        };
        Ok(Reading {
            labels,
            max_length: self.max_length.unwrap_or(usual),
            stride: self.doc_stride,
            markers: self.markers.clone(),
            lower_case: self.lower_case,
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
            weight_decay: self.weight_decay,
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

impl Data {
    fn read(folder: &Path, reading: &Reading, vocabulary: &Vocabulary) -> Result<Self, DataError> {
        let compiled = compiled(vocabulary, reading);
        let mut encoding = Encoding::new(reading, Featuriser::new(vocabulary, &compiled));
        let examples = split(folder, "train")?.unwrap_or_default();
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

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Epoch {
    epoch: u32,
    steps: u64,
    /// Mean over the epoch's updates.
    train_loss: f64,
    /// The number that epochs are chosen by, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dev: Option<f64>,
}

/// What survives an interruption beside the trainer's own state.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progressed {
    epochs: Vec<Epoch>,
    loss_sum: f64,
}

struct Run<'a> {
    kind: &'a Finetune,
    reading: &'a Reading,
    config: ElectraConfig,
    vocabulary: Vocabulary,
    data: Data,
    head: HeadKind,
    trainer: Box<dyn Finetunes>,
    steps_per_epoch: u64,
    so_far: Progressed,
    pace: Pace,
}

fn best_place(stage: &StageContext) -> PathBuf {
    stage.scratch.join("best.safetensors")
}

impl<'a> Run<'a> {
    fn start(
        kind: &'a Finetune,
        stage: &StageContext,
        reading: &'a Reading,
        begin: Begin,
        mut data: Data,
    ) -> Result<Self, StageError> {
        let pace = Pace::start()?;
        let head = reading.head().map_err(stage_error)?;
        let steps_per_epoch = data.train.len().div_ceil(kind.batch) as u64;
        let settings = kind.settings(
            &begin.config,
            head,
            steps_per_epoch * u64::from(kind.epochs),
        );
        let positions = begin.config.max_position_embeddings;
        if reading.max_length > positions {
            let message = format!(
                "rows are up to {} pieces long, the model has {positions} positions",
                reading.max_length
            );
            return Err(StageError::new("model::config", message).help("lower `max_length`"));
        }
        let longest = reading.max_length;
        let mut trainer = device::task_trainer(stage, kind.precision, settings, longest)?;
        if let Some(tensors) = &begin.tensors {
            let unmatched = trainer.start_from(tensors).map_err(train_error)?;
            let body: Vec<&String> = unmatched
                .missing
                .iter()
                .filter(|name| name.starts_with("electra."))
                .collect();
            if !body.is_empty() {
                let message = format!(
                    "{} tensors of the encoder are not in `start` and begin at random",
                    body.len()
                );
                data.warnings.push(
                    Diagnostic::warning("model::missing", message)
                        .detail(format!("the first is `{}`", body[0])),
                );
            }
        }
        let mut so_far = Progressed::default();
        let place = checkpoint_place(stage);
        if checkpoint::exists(&place) {
            // A damaged one costs its steps, not the stage.
            match trainer.resume(&place) {
                Ok(()) => {
                    let text = fs_err::read(lines_place(stage, trainer.step()))?;
                    so_far = serde_json::from_slice(&text).map_err(std::io::Error::other)?;
                }
                Err(error) => data.warnings.push(unreadable_checkpoint(&error)),
            }
        }
        Ok(Self {
            kind,
            reading,
            config: begin.config,
            vocabulary: begin.vocabulary,
            data,
            head: head.0,
            trainer,
            steps_per_epoch,
            so_far,
            pace,
        })
    }

    /// The order of an epoch: by a draw for each row, so that it is a function of the seed and the epoch.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let stream = Stream::new(self.kind.seed, Purpose::Shuffle);
        let draw = Draw {
            step: u32::try_from(epoch).expect("few epochs"),
            sequence: 0,
        };
        let mut order: Vec<usize> = (0..self.data.train.len()).collect();
        order.sort_by_cached_key(|i| (stream.words(draw, *i as u64), *i));
        order
    }

    fn train(&mut self, stage: &StageContext) -> Result<(), StageError> {
        let total = self.steps_per_epoch * u64::from(self.kind.epochs);
        let mut order: Option<(u64, Vec<usize>)> = None;
        while self.trainer.step() < total {
            if self.pace.must_stop() {
                self.save(stage)?;
                return Err(stopped(self.trainer.step()));
            }
            let (epoch, within) = (
                self.trainer.step() / self.steps_per_epoch,
                self.trainer.step() % self.steps_per_epoch,
            );
            if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                order = Some((epoch, self.order(epoch)));
            }
            let rows = &order.as_ref().expect("just made").1;
            let first = within as usize * self.kind.batch;
            let batch: Vec<TaskExample<'_>> = rows
                [first..(first + self.kind.batch).min(rows.len())]
                .iter()
                .map(|i| {
                    let input = &self.data.train[*i];
                    TaskExample {
                        ids: &input.ids,
                        types: &input.types,
                        label: input.label(),
                    }
                })
                .collect();
            let numbers = self.trainer.train(&batch).map_err(train_error)?;
            self.so_far.loss_sum += f64::from(numbers.loss);
            let done = self.trainer.step();
            self.pace.say(stage, done, total, numbers.loss);
            if within + 1 == self.steps_per_epoch {
                self.end_epoch(stage, epoch)?;
            }
            if self.pace.wants_checkpoint() {
                self.save(stage)?;
            }
        }
        Ok(())
    }

    fn end_epoch(&mut self, stage: &StageContext, epoch: u64) -> Result<(), StageError> {
        let dev = self.dev_score()?;
        let before = self.best().cloned();
        self.so_far.epochs.push(Epoch {
            epoch: u32::try_from(epoch).expect("few epochs") + 1,
            steps: self.trainer.step(),
            train_loss: std::mem::take(&mut self.so_far.loss_sum) / self.steps_per_epoch as f64,
            dev,
        });
        if self.kind.keep == Keep::Best && dev.is_some() && self.best() != before.as_ref() {
            // Beside its place first: a kill in between leaves the best before it.
            let partial = stage.scratch.join("best.partial");
            weights::write(&partial, &self.trainer.tensors()).map_err(weights_error)?;
            fs_err::rename(partial, best_place(stage))?;
            // A checkpoint of an earlier step must not stand beside a later best.
            self.save(stage)?;
        }
        Ok(())
    }

    /// The earliest of the best epochs on `dev`.
    fn best(&self) -> Option<&Epoch> {
        let mut best: Option<&Epoch> = None;
        for epoch in &self.so_far.epochs {
            if epoch.dev > best.and_then(|best| best.dev) {
                best = Some(epoch);
            }
        }
        best
    }

    fn dev_score(&mut self) -> Result<Option<f64>, StageError> {
        if self.data.dev.is_empty() {
            return Ok(None);
        }
        let compiled = compiled(&self.vocabulary, self.reading);
        let mut encoding =
            Encoding::new(self.reading, Featuriser::new(&self.vocabulary, &compiled));
        let rows: Vec<(&[u32], &[u32])> = self
            .data
            .dev
            .iter()
            .flat_map(|(_, inputs, _)| inputs)
            .map(|input| (&input.ids[..], &input.types[..]))
            .collect();
        let logits = self.trainer.predict(&rows).map_err(train_error)?;
        let mut rest = &logits[..];
        let mut predictions = Predictions::new();
        let mut examples = Vec::new();
        for (example, inputs, rows) in &self.data.dev {
            let (own, others) = rest.split_at(inputs.len());
            rest = others;
            let found = encoding.predictions(example, rows, own);
            predictions.insert(example.id().to_owned(), found);
            examples.push(example.clone());
        }
        let (name, number) = chosen_by(&self.reading.labels);
        let metric = find_metric(name).expect("a metric of this program");
        let options = Options {
            negative: self.reading.labels.negative.clone(),
            ..Options::default()
        };
        let work = Work {
            examples: &examples,
            predictions: &predictions,
            golden: None,
            options: &options,
        };
        let outcome = metrics::score(metric, &work).map_err(stage_error)?;
        let of = |score: &&metrics::Score| score.metric == number && score.class.is_none();
        Ok(outcome.scores.iter().find(of).map(|score| score.value))
    }

    fn save(&mut self, stage: &StageContext) -> Result<(), StageError> {
        let lines = serde_json::to_vec(&self.so_far).expect("numbers serialise");
        let (step, trainer) = (self.trainer.step(), &mut self.trainer);
        training::keep(stage, step, &lines, |place| trainer.save(place))
    }

    fn finish(mut self, stage: &StageContext) -> Result<StageReport, StageError> {
        let best = self.best().cloned();
        let tensors = match &best {
            Some(_) if self.kind.keep == Keep::Best => {
                weights::read(&best_place(stage)).map_err(weights_error)?
            }
            _ => self.trainer.tensors(),
        };
        // Without a name for its one output a regression would be read as a head of two.
        let value = ["value".to_owned()];
        let (labels, problem): (&[String], _) = match self.reading.task() {
            Task::Regression => (&value, Some("regression")),
            Task::MultiLabel => (
                &self.reading.labels.labels,
                Some("multi_label_classification"),
            ),
            _ => (&self.reading.labels.labels, None),
        };
        let written = Model {
            architecture: match self.head {
                HeadKind::Tokens => "ElectraForTokenClassification",
                HeadKind::Span => "ElectraForQuestionAnswering",
                HeadKind::Sequence | HeadKind::SequencePlain => "ElectraForSequenceClassification",
            },
            config: &self.config,
            tensors: &tensors,
            vocabulary: &self.vocabulary,
            spelling: Spelling {
                lower_case: self.kind.lower_case,
                strip_accents: None,
            },
            labels,
            problem,
        };
        let folder = stage.output("model");
        model::write(&folder, &written)?;
        self.reading.write(&folder).map_err(stage_error)?;
        let mut log = String::new();
        for epoch in &self.so_far.epochs {
            log.push_str(&serde_json::to_string(epoch).expect("numbers serialise"));
            log.push('\n');
        }
        fs_err::write(stage.output("log.jsonl"), log)?;
        let kept = match self.kind.keep {
            Keep::Best => best.or_else(|| self.so_far.epochs.last().cloned()),
            Keep::Last => self.so_far.epochs.last().cloned(),
        };
        let kept = kept.expect("at least one epoch");
        let row = |split: &str, metric: &str, value: f64, n: usize| MetricRow {
            dataset: Some(self.kind.name.clone()),
            split: Some(split.to_owned()),
            metric: metric.to_owned(),
            class: None,
            value,
            n: Some(n as u64),
        };
        let mut numbers = vec![
            row(
                "train",
                "train_loss",
                kept.train_loss,
                self.data.train.len(),
            ),
            row(
                "train",
                "kept_epoch",
                f64::from(kept.epoch),
                self.data.train.len(),
            ),
        ];
        if let Some(value) = kept.dev {
            let (_, number) = chosen_by(&self.reading.labels);
            numbers.push(row("dev", number, value, self.data.dev.len()));
        }
        Ok(StageReport {
            numbers,
            warnings: self.data.warnings,
            ..StageReport::default()
        })
    }
}

/// The metric, and which of its numbers, that epochs are chosen by.
fn chosen_by(labels: &LabelSet) -> (&'static str, &'static str) {
    match labels.task {
        Task::Tagging | Task::Spans => ("span_f1", "f1"),
        Task::Classification if labels.negative.is_empty() => ("accuracy", "accuracy"),
        Task::Classification => ("micro_f1", "f1"),
        Task::MultiLabel => ("multi_label_f1", "f1"),
        Task::Regression => ("pearson", "pearson"),
        Task::QuestionAnswering => ("exact_match", "f1"),
    }
}
