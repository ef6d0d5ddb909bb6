//! Pre-trains a discriminator by replaced token detection. Knows nothing of caching or scheduling.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::packed::read::PackedExamples;
use data::vocabulary::Vocabulary;
use engine::backend::Precision;
use engine::config::{ElectraConfig, Size};
use engine::mask::{Duplicates, Masking};
use engine::pretrain::{EvaluationNumbers, Pretraining};
use engine::schedule::{Schedule, Shape};
use flow::cost::{Cost, Known};
use flow::kind::{ConfigProblem, Extends, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::stage_error;
use super::in_effect::InEffect;
use super::texts::{is_yes, load_vocabulary, problem, yes};
use super::training::group::Group;
use super::training::is_f32;
use batches::Phase;
use run::Run;

mod batches;
mod begin;
mod cost;
mod follow;
mod run;
mod state;

/// `with:` of a stage of kind `pretrain`.
///
/// `needs` names `examples` (an output of `pack`) and `vocabulary`, and may name `start` and `start_generator`, models to
/// begin from (folders as `transformers` saves them; what they do not hold begins at random). Both networks share their
/// embeddings: those of `start` count, and those of `start_generator` where there is no `start`. With `second` there is
/// a port `second` for the examples of the second phase. The outputs are `model`, the discriminator, and `generator`, both
/// folders that `transformers` loads, `log`, a JSON line for each logged step and evaluation, and `snapshot-N`, the
/// discriminator after N updates, for each of `snapshots`. With `keep_state` there is an output `state`; `needs` may name
/// such a `state`, and then training goes on where it stands instead of beginning.
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
    pub weight_decay: f64,
    /// Dropout of units and of attention.
    #[serde(default = "dropout", skip_serializing_if = "is_dropout")]
    pub dropout: f64,
    /// Weight of the discriminator's loss; the generator's is 1.
    #[serde(default = "fifty", skip_serializing_if = "is_fifty")]
    pub discriminator_weight: f64,
    /// Norm that the gradients of both networks together are clipped to; `null` leaves them as they are.
    #[serde(default = "usual_clip", skip_serializing_if = "is_usual_clip")]
    pub clip: Option<Clip>,
    /// What the generator's logits are divided by when replacements are drawn.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub temperature: f64,
    /// Never draw the original token as its own replacement.
    #[serde(default, skip_serializing_if = "is_no")]
    pub disallow_correct: bool,
    /// A last part of the training on other examples, usually longer ones; the learning rate goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Second>,
    /// Numbers of updates after which the discriminator is kept as an output of its own, `snapshot-N`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<u64>,
    /// Keep weights, moments and step after the last update as an output `state`, which a longer training can go on from.
    #[serde(default, skip_serializing_if = "is_no")]
    pub keep_state: bool,
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

/// Of Adam (Table 1).
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f32 = 1e-6;

/// How gradients are clipped. Spec D.3, D.4.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// Largest norm.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub norm: f64,
    /// Examples whose gradients are clipped together: each so many of a batch have their own means, are clipped, and are
    /// then summed, as the cores of a TPU did with 32; the whole batch where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<usize>,
}

/// The second phase of training.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// How many of the `steps` it takes, the last ones.
    pub steps: u64,
    /// Examples of an update in it; `batch` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
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
    pub initializer_range: Option<f64>,
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
        if let Some(range) = self.initializer_range {
            config.initializer_range = range as f32;
        }
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
constant!(weight_decay, is_weight_decay, f64, 0.01);
constant!(dropout, is_dropout, f64, 0.1);
constant!(fifty, is_fifty, f64, 50.0);
constant!(hundred, is_hundred, u64, 100);
constant!(one, is_one, f64, 1.0);
constant!(
    usual_clip,
    is_usual_clip,
    Option<Clip>,
    Some(Clip {
        norm: 1.0,
        every: None,
    })
);

fn is_no(value: &bool) -> bool {
    !value
}

fn is_default(duplicates: &Duplicates) -> bool {
    *duplicates == Duplicates::default()
}

impl StageKind for Pretrain {
    const NAME: &'static str = "pretrain";
    /// 1: first. 2: `1 - beta` exact.
    const VERSION: u32 = 2;
    const USES_DEVICE: bool = true;
    const IN_PROCESSES: bool = true;
    const COSTS: bool = true;
    const EXTENDS: Option<Extends> = Some(Extends {
        key: "steps",
        may_change: state::MAY_CHANGE,
        keep: "keep_state",
        output: state::STATE,
        port: state::STATE,
    });
    const DOC: &'static str = "pre-train a discriminator by replaced token detection";

    fn ports(&self) -> Ports {
        let mut ports = match self.second {
            None => Ports::inputs(["examples", "vocabulary"]),
            Some(_) => Ports::inputs(["examples", "second", "vocabulary"]),
        };
        ports = ports.optional("start").optional("start_generator");
        ports = ports.optional(state::STATE);
        for port in &mut ports.inputs {
            match port.name {
                "start" => port.output = Some("model"),
                "start_generator" => port.output = Some("generator"),
                state::STATE => {
                    port.output = Some(state::STATE);
                    port.only = Some("set `keep_state: true` in its `with:`");
                }
                _ => {}
            }
        }
        ports = ports.outputs(["model", "generator"]);
        let log = ("log".to_owned(), "log.jsonl".to_owned());
        ports.outputs.push(log);
        for step in &self.snapshots {
            let name = snapshot_name(*step);
            ports.outputs.push((name.clone(), name));
        }
        if self.keep_state {
            let kept = (state::STATE.to_owned(), state::KEPT.to_owned());
            ports.outputs.push(kept);
        }
        ports
    }

    fn numerics(&self) -> Option<String> {
        Some(self.precision.name().to_owned())
    }

    fn in_effect(&self) -> serde_json::Value {
        let config = self.config(1);
        let share = self
            .generator_share
            .unwrap_or_else(|| self.size.generator_share());
        let mut shown = InEffect::of(&self.manifest_config());
        shown.follows("layers", config.num_hidden_layers);
        shown.follows("hidden", config.hidden_size);
        shown.follows("feed_forward", config.intermediate_size);
        shown.follows("heads", config.num_attention_heads);
        shown.follows("head_size", config.head_size());
        shown.follows("embedding", config.embedding_size);
        shown.follows("generator_share", share);
        shown.default("mask_share", self.mask_share);
        shown.default("duplicates", self.duplicates);
        shown.default("weight_decay", self.weight_decay);
        shown.default("dropout", self.dropout);
        shown.default("attention_dropout", self.dropout);
        shown.default("discriminator_weight", self.discriminator_weight);
        shown.default("temperature", self.temperature);
        shown.default("disallow_correct", self.disallow_correct);
        shown.default("held_out", self.held_out);
        shown.default("lower_case", self.lower_case);
        shown.default("precision", self.precision.name());
        let clip = self.clip.as_ref().map(|clip| clip.norm as f32);
        shown.set("clip", clip);
        shown.adam(BETAS, EPSILON, clip);
        shown.finish()
    }

    /// The second phase goes on, and snapshots of what is over are those of the earlier stage.
    fn go_on(&mut self, from: u64) {
        self.snapshots.retain(|step| *step > from);
        if let Some(second) = &mut self.second {
            second.steps += self.steps.saturating_sub(from);
        }
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
        refuse(
            "clip",
            (self.clip.as_ref()).is_some_and(|clip| !(clip.norm > 0.0 && clip.norm.is_finite())),
            "`norm` is not above 0",
            "give a norm such as 1, or `clip: null` for none",
        );
        refuse(
            "clip",
            (self.clip.as_ref()).is_some_and(|clip| clip.every == Some(0)),
            "`every` is 0",
            "give the examples that are clipped together, such as 32, or leave it out",
        );
        refuse(
            "temperature",
            !(self.temperature > 0.0 && self.temperature.is_finite()),
            "it is not above 0",
            "give a temperature such as 1",
        );
        let second = self.second.as_ref();
        refuse(
            "second",
            second.is_some_and(|second| second.steps == 0 || second.steps >= self.steps),
            "its `steps` are not a part of all `steps`",
            "`steps` counts the updates of both phases, `second.steps` those of the second",
        );
        refuse(
            "second",
            second.is_some_and(|second| second.batch == Some(0)),
            "a batch is empty",
            "give the examples of an update, such as 32, or leave it out",
        );
        refuse(
            "snapshots",
            !self.snapshots.is_sorted_by(|a, b| a < b),
            "they are not in order, or one occurs twice",
            "give rising numbers of updates, such as `[10000, 20000]`",
        );
        let outside = |step: &u64| *step == 0 || *step >= self.steps;
        refuse(
            "snapshots",
            self.snapshots.iter().any(outside),
            "one is not between the first and the last update",
            "give numbers from 1 to below `steps`; what comes after the last is `model`",
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

    fn cost(&self, known: &Known<'_>) -> Cost {
        self.expected_cost(known)
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let (vocabulary, _) =
            load_vocabulary(&stage.input("vocabulary")?, "vocabulary").map_err(stage_error)?;
        let mut files = Vec::new();
        for port in self.phase_ports() {
            let examples = PackedExamples::open(&stage.input(port)?).map_err(stage_error)?;
            self.fits(port, &examples, &vocabulary)?;
            files.push(examples);
        }
        let phases = self.phases(&files, &vocabulary);
        match Group::gather(stage, self.precision)? {
            Some(group) if group.seat().rank > 0 => {
                follow::follow(self, stage, phases, &vocabulary, group)
            }
            group => Run::start(self, stage, phases, &vocabulary, group)?.finish(),
        }
    }
}

/// The output that is the discriminator after so many updates.
fn snapshot_name(step: u64) -> String {
    format!("snapshot-{step}")
}

impl Pretrain {
    fn config(&self, vocabulary: usize) -> ElectraConfig {
        let mut config = self.sizes.apply(self.size.config(vocabulary));
        config.hidden_dropout_prob = self.dropout as f32;
        config.attention_probs_dropout_prob = self.dropout as f32;
        config
    }

    fn generator(&self, discriminator: &ElectraConfig) -> ElectraConfig {
        let share = self.generator_share;
        discriminator.generator(share.unwrap_or_else(|| self.size.generator_share()), 1.0)
    }

    fn masking(&self, longest: usize, never: Vec<u32>) -> Masking {
        Masking::new(self.mask_share, longest, self.duplicates, never)
    }

    /// Ports of the examples, by phase.
    fn phase_ports(&self) -> &'static [&'static str] {
        match self.second {
            None => &["examples"],
            Some(_) => &["examples", "second"],
        }
    }

    /// The phases over their files. How many tokens of an example are predicted at most follows its phase's length
    /// (spec G.5: 19 of 128, 79 of 512).
    fn phases<'a>(&self, files: &'a [PackedExamples], vocabulary: &Vocabulary) -> Vec<Phase<'a>> {
        let second_steps = self.second.as_ref().map_or(0, |second| second.steps);
        let second_batch = self.second.as_ref().and_then(|second| second.batch);
        let specials = vocabulary.specials();
        files
            .iter()
            .enumerate()
            .map(|(i, examples)| {
                let longest = examples.header().sequence_length as usize;
                Phase {
                    examples,
                    first_step: if i == 0 { 0 } else { self.steps - second_steps },
                    batch: second_batch.filter(|_| i > 0).unwrap_or(self.batch),
                    held_out: self.held_out,
                    longest,
                    masking: self.masking(
                        longest,
                        vec![specials.start, specials.separator, specials.mask],
                    ),
                }
            })
            .collect()
    }

    fn settings(&self, vocabulary: &Vocabulary, first: &Phase<'_>) -> Pretraining {
        let discriminator = self.config(vocabulary.size() as usize);
        Pretraining {
            generator: self.generator(&discriminator),
            discriminator,
            schedule: Schedule {
                peak: self.learning_rate,
                steps: self.steps,
                warmup: self.warmup_steps,
                shape: Shape::Product,
            },
            weight_decay: self.weight_decay as f32,
            betas: BETAS,
            epsilon: EPSILON,
            clip: self.clip.as_ref().map(|clip| clip.norm as f32),
            clip_every: self.clip.as_ref().and_then(|clip| clip.every),
            weights: (1.0, self.discriminator_weight as f32),
            masking: first.masking.clone(),
            temperature: self.temperature as f32,
            disallow_correct: self.disallow_correct,
            mask_id: vocabulary.specials().mask,
            seed: self.seed,
        }
    }

    /// Refuses examples of another vocabulary, too long ones, and too few.
    fn fits(
        &self,
        port: &str,
        examples: &PackedExamples,
        vocabulary: &Vocabulary,
    ) -> Result<(), StageError> {
        let header = examples.header();
        let refuse = |message: String, help: &str| {
            Err(StageError::new("data::mismatch", message).help(help))
        };
        if header.vocabulary_digest != vocabulary.digest() {
            return refuse(
                format!("the input `{port}` was packed with another vocabulary"),
                "give the vocabulary that the stage of kind `pack` was given",
            );
        }
        let positions = self.config(1_000).max_position_embeddings;
        if header.sequence_length as usize > positions {
            let length = header.sequence_length;
            return refuse(
                format!(
                    "examples of `{port}` are up to {length} tokens long, the model has {positions} positions"
                ),
                "pack shorter examples",
            );
        }
        if examples.len() <= self.held_out {
            return refuse(
                format!(
                    "of {} examples of `{port}`, {} are held out and none is left to train on",
                    examples.len(),
                    self.held_out
                ),
                "give more text, or lower `held_out`",
            );
        }
        examples.check_ids().map_err(stage_error)
    }
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
