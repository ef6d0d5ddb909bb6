//! Pre-trains a discriminator by replaced token detection. Knows nothing of caching or scheduling.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::packed::read::PackedExamples;
use data::vocabulary::Vocabulary;
use engine::backend::Precision;
use engine::checkpoint;
use engine::config::{ElectraConfig, Size};
use engine::mask::{Duplicates, Masking};
use engine::pretrain::{EvaluationNumbers, Example, Pretraining, StepNumbers};
use engine::schedule::{Schedule, Shape};
use flow::diagnostic::Diagnostic;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::stage_error;
use super::device::{self, Pretrains};
use super::model::{self, Model, Spelling};
use super::texts::{is_yes, load_vocabulary, problem, yes};
use super::training::{
    self, Pace, checkpoint_place, is_f32, lines_place, stopped, train_error, unreadable_checkpoint,
};

/// `with:` of a stage of kind `pretrain`.
///
/// `needs` names `examples` (an output of `pack`) and `vocabulary`, and may name `start`, a model to begin from (a folder
/// as `transformers` saves one; what it does not hold begins at random). The outputs are `model`, the discriminator, and
/// `generator`, both folders that `transformers` loads, and `log`, a JSON line for each logged step and evaluation.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// The model's name in every number.
    pub name: String,
    /// Size of the discriminator: `tiny`, `small`, `base` or `large`.
    pub size: Size,
    /// Sizes that differ from it.
    #[serde(default, skip_serializing_if = "Sizes::is_empty")]
    pub sizes: Sizes,
    /// Updates.
    pub steps: u64,
    /// Examples of an update.
    pub batch: usize,
    /// Peak of the learning rate, which rises over the warm-up and falls to 0 at the last step (Table 1: 2e-4).
    pub learning_rate: f64,
    /// Updates over which the learning rate rises.
    pub warmup_steps: u64,
    /// Seed of first values, masks, samples and dropout.
    pub seed: u64,
    /// Width of the generator as a share of the discriminator's; that of the size where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator_share: Option<f64>,
    /// Share of the tokens that are predicted.
    #[serde(default = "mask_share", skip_serializing_if = "is_mask_share")]
    pub mask_share: f64,
    /// Whether a position may be masked twice, as in Google's code: `none` or `average`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub duplicates: Duplicates,
    /// Weight decay, on matrices and embeddings.
    #[serde(default = "weight_decay", skip_serializing_if = "is_weight_decay")]
    pub weight_decay: f32,
    /// Dropout of units and of attention.
    #[serde(default = "dropout", skip_serializing_if = "is_dropout")]
    pub dropout: f32,
    /// Weight of the discriminator's loss; the generator's is 1.
    #[serde(default = "fifty", skip_serializing_if = "is_fifty")]
    pub discriminator_weight: f32,
    /// Examples at the end of the file that are not trained on but evaluated.
    #[serde(default = "hundred", skip_serializing_if = "is_hundred")]
    pub held_out: u64,
    /// Updates between evaluations; only after the last where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// Updates between lines of the log.
    #[serde(default = "hundred", skip_serializing_if = "is_hundred")]
    pub log_every: u64,
    /// Lower-case text, as the examples were packed; for the tokenizer that goes with the model.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub lower_case: bool,
    /// In what the operands of matrix products are held: `f32`, or `bf16` with sums and weights in f32.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
}

/// Sizes that differ from a published size.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Width of the embedding tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// Width of the encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Attention heads; one for each 64 of the width where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Width of the feed-forward block; four times the encoder's where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_forward: Option<usize>,
    /// Standard deviation of first values; 0.02 where it is absent, which suits widths of 256 and more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initializer_range: Option<f32>,
}

impl Sizes {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A published size with what differs.
    pub(super) fn apply(&self, mut config: ElectraConfig) -> ElectraConfig {
        config.embedding_size = self.embedding.unwrap_or(config.embedding_size);
        config.num_hidden_layers = self.layers.unwrap_or(config.num_hidden_layers);
        if let Some(hidden) = self.hidden {
            config.hidden_size = hidden;
            config.num_attention_heads = (hidden / 64).max(1);
            config.intermediate_size = 4 * hidden;
        }
        config.num_attention_heads = self.heads.unwrap_or(config.num_attention_heads);
        config.intermediate_size = self.feed_forward.unwrap_or(config.intermediate_size);
        config.initializer_range = self.initializer_range.unwrap_or(config.initializer_range);
        config
    }
}

macro_rules! constant {
    ($value:ident, $test:ident, $type:ty, $is:expr) => {
        fn $value() -> $type {
            $is
        }

        fn $test(value: &$type) -> bool {
            *value == $is
        }
    };
}

constant!(mask_share, is_mask_share, f64, 0.15);
constant!(weight_decay, is_weight_decay, f32, 0.01);
constant!(dropout, is_dropout, f32, 0.1);
constant!(fifty, is_fifty, f32, 50.0);
constant!(hundred, is_hundred, u64, 100);

fn is_default(duplicates: &Duplicates) -> bool {
    *duplicates == Duplicates::default()
}

impl StageKind for Pretrain {
    const NAME: &'static str = "pretrain";
    /// 1: first.
    const VERSION: u32 = 1;
    const USES_DEVICE: bool = true;
    const DOC: &'static str = "pre-train a discriminator by replaced token detection";

    fn ports(&self) -> Ports {
        let mut ports = Ports::inputs(["examples", "vocabulary"])
            .optional("start")
            .outputs(["model", "generator"]);
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
        let share = |share: f64| !(share > 0.0 && share <= 1.0);
        refuse(
            "name",
            self.name.trim().is_empty(),
            "`name` is empty",
            "name the model, such as `electra-small`",
        );
        refuse(
            "steps",
            self.steps == 0,
            "there is no step",
            "give the number of updates, such as 100000",
        );
        refuse(
            "batch",
            self.batch == 0,
            "a batch is empty",
            "give the examples of an update, such as 128",
        );
        refuse(
            "learning_rate",
            !(self.learning_rate > 0.0 && self.learning_rate < 1.0),
            "it is not between 0 and 1",
            "give a rate such as 5e-4 (small) or 2e-4 (base)",
        );
        refuse(
            "warmup_steps",
            self.warmup_steps > self.steps,
            "the warm-up is longer than the training",
            "give fewer steps than `steps`",
        );
        refuse(
            "mask_share",
            share(self.mask_share),
            "it is no share",
            "give a share such as 0.15",
        );
        refuse(
            "generator_share",
            self.generator_share.is_some_and(share),
            "it is no share",
            "give a share such as 0.25",
        );
        refuse(
            "dropout",
            !(0.0..1.0).contains(&self.dropout),
            "it is not in 0 to below 1",
            "give a share such as 0.1",
        );
        refuse(
            "log_every",
            self.log_every == 0,
            "it is 0",
            "give the updates between lines, such as 100",
        );
        refuse(
            "evaluate_every",
            self.evaluate_every == Some(0),
            "it is 0",
            "give the updates between evaluations, or leave it out",
        );
        if let Err(error) = self.config(1_000).check() {
            problems.push(problem(
                &["sizes"],
                error.to_string(),
                "widths are multiples of the number of heads",
            ));
        }
        problems
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let (vocabulary, _) =
            load_vocabulary(&stage.input("vocabulary")?, "vocabulary").map_err(stage_error)?;
        let examples = PackedExamples::open(&stage.input("examples")?).map_err(stage_error)?;
        self.fits(&examples, &vocabulary)?;
        let settings = self.settings(&vocabulary, &examples);
        let mut run = Run::start(self, stage, settings, &examples)?;
        run.train(stage)?;
        run.finish(stage, &vocabulary)
    }
}

impl Pretrain {
    fn config(&self, vocabulary: usize) -> ElectraConfig {
        let mut config = self.sizes.apply(self.size.config(vocabulary));
        config.hidden_dropout_prob = self.dropout;
        config.attention_probs_dropout_prob = self.dropout;
        config
    }

    fn settings(&self, vocabulary: &Vocabulary, examples: &PackedExamples) -> Pretraining {
        let discriminator = self.config(vocabulary.size() as usize);
        let share = self
            .generator_share
            .unwrap_or_else(|| self.size.generator_share());
        let specials = vocabulary.specials();
        let longest = examples.header().sequence_length as usize;
        Pretraining {
            generator: discriminator.generator(share, 1.0),
            discriminator,
            schedule: Schedule {
                peak: self.learning_rate,
                steps: self.steps,
                warmup: self.warmup_steps,
                shape: Shape::Product,
            },
            weight_decay: self.weight_decay,
            // Table 1.
            betas: (0.9, 0.999),
            epsilon: 1e-6,
            clip: Some(1.0),
            weights: (1.0, self.discriminator_weight),
            masking: Masking::new(
                self.mask_share,
                longest,
                self.duplicates,
                vec![specials.start, specials.separator, specials.mask],
            ),
            temperature: 1.0,
            disallow_correct: false,
            mask_id: specials.mask,
            seed: self.seed,
        }
    }

    /// Refuses examples of another vocabulary, too long ones, and too few.
    fn fits(&self, examples: &PackedExamples, vocabulary: &Vocabulary) -> Result<(), StageError> {
        let header = examples.header();
        let refuse = |message: String, help: &str| {
            Err(StageError::new("data::mismatch", message).help(help))
        };
        if header.vocabulary_digest != vocabulary.digest() {
            return refuse(
                "the examples were packed with another vocabulary".to_owned(),
                "give the vocabulary that the stage of kind `pack` was given",
            );
        }
        let positions = self.config(1_000).max_position_embeddings;
        if header.sequence_length as usize > positions {
            let length = header.sequence_length;
            return refuse(
                format!(
                    "examples are up to {length} tokens long, the model has {positions} positions"
                ),
                "pack shorter examples",
            );
        }
        if examples.len() <= self.held_out {
            return refuse(
                format!(
                    "of {} examples, {} are held out and none is left to train on",
                    examples.len(),
                    self.held_out
                ),
                "give more text, or lower `held_out`",
            );
        }
        examples.check_ids().map_err(stage_error)
    }
}

/// A line of the log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Step(&'a StepNumbers),
    Evaluation {
        step: u64,
        #[serde(flatten)]
        numbers: &'a EvaluationNumbers,
    },
}

/// Training under way.
struct Run<'a> {
    kind: &'a Pretrain,
    settings: Pretraining,
    examples: &'a PackedExamples,
    trainer: Box<dyn Pretrains>,
    log: Vec<u8>,
    warnings: Vec<Diagnostic>,
    pace: Pace,
}

/// An example's ids and segments.
type Rows = Vec<(Vec<u32>, Vec<u32>)>;

fn rows(examples: &PackedExamples, indices: impl Iterator<Item = u64>) -> Rows {
    indices
        .map(|index| {
            let example = examples.find(index).expect("below their number");
            let second = example.segment_b as usize;
            let ids: Vec<u32> = example.ids.iter().collect();
            let types = (0..ids.len()).map(|i| u32::from(i >= second)).collect();
            (ids, types)
        })
        .collect()
}

fn borrowed(rows: &Rows) -> Vec<Example<'_>> {
    rows.iter()
        .map(|(ids, types)| Example { ids, types })
        .collect()
}

impl<'a> Run<'a> {
    fn start(
        kind: &'a Pretrain,
        stage: &StageContext,
        settings: Pretraining,
        examples: &'a PackedExamples,
    ) -> Result<Self, StageError> {
        let pace = Pace::start()?;
        let longest = examples.header().sequence_length as usize;
        let mut trainer = device::pretrainer(stage, kind.precision, settings.clone(), longest)?;
        let mut warnings = Vec::new();
        if let Some(folder) = stage.find_input("start") {
            warnings.extend(begin_from(&mut *trainer, &settings, &folder)?);
        }
        let mut log = Vec::new();
        let place = checkpoint_place(stage);
        if checkpoint::exists(&place) {
            // A damaged one costs its steps, not the stage.
            match trainer.resume(&place) {
                Ok(()) => log = fs_err::read(lines_place(stage, trainer.step()))?,
                Err(error) => warnings.push(unreadable_checkpoint(&error)),
            }
        }
        Ok(Self {
            kind,
            settings,
            examples,
            trainer,
            log,
            warnings,
            pace,
        })
    }

    /// The examples of a step: the file is in random order, so training reads on and begins again at its end.
    fn batch(&self, step: u64) -> Rows {
        let n = self.examples.len() - self.kind.held_out;
        let size = self.kind.batch as u64;
        rows(self.examples, (0..size).map(|i| (step * size + i) % n))
    }

    fn note(&mut self, line: &Line<'_>) {
        serde_json::to_writer(&mut self.log, line).expect("numbers serialise");
        self.log.push(b'\n');
    }

    fn evaluate(&mut self) -> Result<Option<EvaluationNumbers>, StageError> {
        if self.kind.held_out == 0 {
            return Ok(None);
        }
        let n = self.examples.len();
        let held_out = rows(self.examples, n - self.kind.held_out..n);
        let numbers = self
            .trainer
            .evaluate(&borrowed(&held_out))
            .map_err(train_error)?;
        let step = self.trainer.step();
        self.note(&Line::Evaluation {
            step,
            numbers: &numbers,
        });
        Ok(Some(numbers))
    }

    fn train(&mut self, stage: &StageContext) -> Result<(), StageError> {
        while self.trainer.step() < self.kind.steps {
            if self.pace.must_stop() {
                self.save(stage)?;
                return Err(stopped(self.trainer.step()));
            }
            let step = self.trainer.step();
            let batch = self.batch(step);
            let numbers = self.trainer.train(&borrowed(&batch)).map_err(train_error)?;
            if step.is_multiple_of(self.kind.log_every) {
                self.note(&Line::Step(&numbers));
            }
            let done = step + 1;
            let is_due = self
                .kind
                .evaluate_every
                .is_some_and(|every| done.is_multiple_of(every));
            if is_due && done < self.kind.steps {
                self.evaluate()?;
            }
            self.pace.say(stage, done, self.kind.steps, numbers.loss);
            if self.pace.wants_checkpoint() {
                self.save(stage)?;
            }
        }
        Ok(())
    }

    fn save(&mut self, stage: &StageContext) -> Result<(), StageError> {
        let (step, trainer) = (self.trainer.step(), &mut self.trainer);
        training::keep(stage, step, &self.log, |place| trainer.save(place))
    }

    fn finish(
        mut self,
        stage: &StageContext,
        vocabulary: &Vocabulary,
    ) -> Result<StageReport, StageError> {
        let numbers = self.evaluate()?;
        let spelling = Spelling {
            lower_case: self.kind.lower_case,
            strip_accents: None,
        };
        let (discriminator, generator) = self.trainer.networks();
        for (place, architecture, config, tensors) in [
            (
                "model",
                "ElectraForPreTraining",
                &self.settings.discriminator,
                &discriminator,
            ),
            (
                "generator",
                "ElectraForMaskedLM",
                &self.settings.generator,
                &generator,
            ),
        ] {
            let written = Model {
                architecture,
                config,
                tensors,
                vocabulary,
                spelling,
                labels: &[],
                problem: None,
            };
            model::write(&stage.output(place), &written)?;
        }
        fs_err::write(stage.output("log.jsonl"), &self.log)?;
        Ok(StageReport {
            numbers: numbers.map_or_else(Vec::new, |numbers| self.kind.rows(&numbers)),
            warnings: self.warnings,
            ..StageReport::default()
        })
    }
}

/// Copies a given model's tensors; says what it did not hold.
fn begin_from(
    trainer: &mut dyn Pretrains,
    settings: &Pretraining,
    folder: &Path,
) -> Result<Option<Diagnostic>, StageError> {
    let (config, tensors) = model::read(folder)?;
    let own = &settings.discriminator;
    if config.vocab_size != own.vocab_size {
        let message = format!(
            "the model to start from has {} entries, the vocabulary {}",
            config.vocab_size, own.vocab_size
        );
        return Err(
            StageError::new("model::config", message).help("give a model of this vocabulary")
        );
    }
    let unmatched = trainer.start_from(&tensors).map_err(train_error)?;
    let missing: Vec<&String> = unmatched
        .missing
        .iter()
        .filter(|name| !name.starts_with("generator."))
        .collect();
    Ok((!missing.is_empty()).then(|| {
        Diagnostic::warning(
            "model::missing",
            format!(
                "{} tensors of the discriminator are not in `start` and begin at random",
                missing.len()
            ),
        )
        .detail(format!("the first is `{}`", missing[0]))
    }))
}

impl Pretrain {
    fn rows(&self, numbers: &EvaluationNumbers) -> Vec<MetricRow> {
        let values = serde_json::to_value(numbers).expect("numbers serialise");
        let fields = values.as_object().expect("a struct is an object");
        fields
            .iter()
            .filter_map(|(metric, value)| {
                Some(MetricRow {
                    dataset: Some(self.name.clone()),
                    split: Some("held_out".to_owned()),
                    metric: metric.clone(),
                    class: None,
                    value: value.as_f64()?,
                    n: Some(self.held_out),
                })
            })
            .collect()
    }
}
