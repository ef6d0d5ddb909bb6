//! Engine and reference side by side, tensor by tensor, on small models with every head. Knows no terminal.
//!
//! Both get the same tensors, batches of unequal lengths, masks and dropout; widths are no multiples of anything, so
//! that the ends of vectors are part of it. The engine's half is written over its `Backend`, so that any device can be
//! held against the same numbers.

use engine::arena::Plan;
use engine::backend::{Array, Backend, Dropout};
use engine::config::ElectraConfig;
use engine::error::TrainError;
use engine::finetune::{Finetuning, Label, Said, TaskExample, TaskTrainer};
use engine::mask::{Duplicates, Masking};
use engine::model::batch::Sequence;
use engine::model::heads::{HeadKind, TaskModel};
use engine::model::pretraining::{MaskedSequence, PretrainingModel, Replacements, Scales};
use engine::ops::losses::{IGNORED, RtdSum};
use engine::ops::mlm::MlmSum;
use engine::parameters::Parameters;
use engine::pretrain::{Example, Pretrainer, Pretraining};
use engine::random::{Draw, Purpose, Stream, below, unit};
use engine::schedule::{Schedule, Shape};
use engine::weights::{self, Tensor, Tensors};

use crate::{finetune, pretrain};

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Logits: the largest absolute difference.
    Logits,
    /// A loss: the difference as a share of the loss where that is above 1.
    Loss,
    /// A gradient: the Euclidean norm of the difference as a share of the gradient's own norm, or of a thousandth of
    /// the norm of all gradients where that is more. (Some gradients are 0 but for rounding, such as those of the
    /// keys' biases, which softmax does not see.)
    Gradient,
}

impl What {
    /// Up to which difference two programs in f32 agree: about ten times the largest that was measured (8.3e-7, 1.4e-7
    /// and 1.2e-5 with AVX-512, the last in `qa_outputs.bias`, whose gradient is a difference of equals).
    #[must_use]
    pub fn bound(self) -> f64 {
        match self {
            Self::Logits => 1e-5,
            Self::Loss => 2e-6,
            Self::Gradient => 1e-4,
        }
    }
}

/// How far engine and reference lie apart in one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The model and what was asked of it.
    pub case: &'static str,
    /// What is compared.
    pub what: What,
    /// The tensor's name, or a step's.
    pub name: String,
    /// How far they are apart, as [`What`] says.
    pub error: f64,
}

impl Difference {
    /// Whether it is within the bound. What is not a number is not.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.error <= self.what.bound()
    }
}

/// Everything: the pre-training losses with and without projected embeddings, every head with every form of label, and
/// ten steps of pre-training. `device` makes the engine's device anew for each.
///
/// # Errors
/// When the device cannot do it.
pub fn all<B: Backend + Send, E: From<TrainError>>(
    device: &mut dyn FnMut() -> Result<B, E>,
) -> Result<Vec<Difference>, E> {
    let mut found = Vec::new();
    for (case, embedding) in [("rtd", 20), ("rtd, embeddings as wide as layers", 36)] {
        found.extend(rtd(case, &config(embedding), device()?)?);
    }
    for (case, head, outputs) in HEADS {
        found.extend(task(case, head, outputs, device()?)?);
    }
    found.extend(steps("ten steps", device()?)?);
    Ok(found)
}

/// Every head with a form of label it takes, and its outputs.
const HEADS: [(&str, HeadKind, usize); 8] = [
    ("tagging", HeadKind::Tokens, 5),
    ("tagging, no dropout", HeadKind::TokensPlain, 5),
    ("classification", HeadKind::Sequence, 3),
    (
        "classification, no hidden layer",
        HeadKind::SequencePlain,
        3,
    ),
    ("several labels", HeadKind::Sequence, 4),
    ("regression", HeadKind::Sequence, 1),
    ("questions", HeadKind::Span, 2),
    ("questions, start and end together", HeadKind::Joint, 1),
];

const LENGTHS: [usize; 5] = [3, 17, 40, 9, 32];
const VOCABULARY: usize = 101;
const MASK: u32 = 4;

/// Sizes of the models that are compared.
#[must_use]
pub fn config(embedding_size: usize) -> ElectraConfig {
    ElectraConfig {
        vocab_size: VOCABULARY,
        embedding_size,
        hidden_size: 36,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 70,
        max_position_embeddings: 48,
        type_vocab_size: 2,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        classifier_dropout: None,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
    }
}

/// Tensors of a model in which every one matters: first values, each moved by up to 0.2.
#[must_use]
pub fn tensors(parameters: &Parameters, seed: u64) -> Tensors {
    let moved = |(i, parameter): (usize, &engine::parameters::Parameter)| {
        let number = u32::try_from(i).expect("few tensors");
        let stream = Stream::new(seed, Purpose::Init(number));
        let draw = Draw {
            step: 1,
            sequence: 0,
        };
        let first = parameters.first_values(i, seed);
        let values = (0_u64..)
            .zip(first)
            .map(|(at, value)| value + 0.4 * (unit(stream.word(draw, at)) - 0.5))
            .collect();
        let shape = parameter.shape.clone();
        (parameter.name.clone(), Tensor { shape, values })
    };
    parameters.list().iter().enumerate().map(moved).collect()
}

/// Sequences with two segments: `[CLS]` 2, words, `[SEP]` 3.
fn sequences(step: u32) -> Vec<(Vec<u32>, Vec<u32>)> {
    let stream = Stream::new(7, Purpose::Shuffle);
    (0_u32..)
        .zip(LENGTHS)
        .map(|(sequence, length)| {
            let draw = Draw { step, sequence };
            let words = VOCABULARY as u32 - 5;
            let word = |at: usize| match at {
                0 => 2,
                _ if at + 1 == length => 3,
                _ => 5 + below(stream.word(draw, at as u64), words),
            };
            let ids: Vec<u32> = (0..length).map(word).collect();
            let types = (0..length).map(|at| u32::from(2 * at > length)).collect();
            (ids, types)
        })
        .collect()
}

fn masking() -> Masking {
    Masking::new(0.15, 48, Duplicates::None, vec![2, 3, MASK])
}

fn rtd<B: Backend + Send>(
    case: &'static str,
    discriminator: &ElectraConfig,
    mut backend: B,
) -> Result<Vec<Difference>, TrainError> {
    let generator = discriminator.generator(0.5, 1.0);
    let model = PretrainingModel::new(discriminator, &generator);
    let start = tensors(&model.parameters, 3);
    let sequences = sequences(0);
    let mut samples = Vec::new();
    let batch: Vec<MaskedSequence<'_>> = (0_u32..)
        .zip(&sequences)
        .map(|(index, (ids, types))| {
            let draw = Draw {
                step: 0,
                sequence: index,
            };
            let masked = masking().mask(ids, 1, draw);
            // Every other one as it was, so that both labels occur among the masked.
            for (slot, position) in (0_u32..).zip(&masked.positions) {
                let original = ids[*position as usize];
                samples.push(if slot % 2 == 0 {
                    original
                } else {
                    5 + (original + slot) % 96
                });
            }
            MaskedSequence {
                original: Sequence { ids, types, index },
                positions: masked.positions,
                keeps: masked.keeps,
            }
        })
        .collect();
    let tokens: usize = LENGTHS.iter().sum();
    let slots = samples.len();
    let scales = Scales::new(slots, tokens, 1.0, 50.0);
    let dropout = Dropout::Counted { seed: 5, step: 2 };

    let mut plan = Plan::default();
    let room = model.plan(&mut plan, tokens, LENGTHS.len(), slots);
    backend.allocate(&plan, model.parameters.memory())?;
    weights::load(&mut backend, &model.parameters, &start)?;
    backend.set_dropout(dropout.clone());
    let given = Replacements::Given(&samples);
    let (mlm, rtd, logits) = backend.on_threads(|backend| {
        backend.zero_gradients();
        backend.zero_reals(room.mlm_sums);
        backend.zero_reals(room.rtd_sums);
        model.run(backend, &room, &batch, MASK, given, Some(scales), None);
        let mlm = backend.read_reals(room.mlm_sums)[MlmSum::Loss as usize];
        let rtd = backend.read_reals(room.rtd_sums)[RtdSum::Loss as usize];
        (mlm, rtd, backend.read_reals(model.logits(&room, tokens)))
    });
    let gradients = weights::save(&mut backend, &model.parameters, Array::Gradient);

    let task = pretrain::Task {
        generator: &generator,
        discriminator,
        mask_id: MASK,
        replacements: given,
        dropout,
        scales: Some((scales.mlm, scales.rtd)),
    };
    let (said, wanted) = pretrain::replaced_token_detection(&start, &task, &batch);
    let mean = |sum: f32, n: usize| f64::from(sum) / n as f64;
    let mut found = vec![
        loss(
            case,
            "generator",
            mean(mlm, slots),
            said.mlm.loss / slots as f64,
        ),
        loss(
            case,
            "discriminator",
            mean(rtd, tokens),
            said.rtd_loss / tokens as f64,
        ),
        largest(case, &logits, &said.logits.concat()),
    ];
    found.extend(gradients_apart(
        case,
        &gradients,
        &wanted.expect("scales are given"),
    ));
    Ok(found)
}

fn settings(head: HeadKind, outputs: usize) -> Finetuning {
    Finetuning {
        config: config(20),
        head,
        outputs,
        schedule: schedule(),
        layer_decay: None,
        weight_decay: 0.0,
        bias_correction: false,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: None,
        seed: 5,
    }
}

fn schedule() -> Schedule {
    Schedule {
        peak: 1e-3,
        steps: 10,
        warmup: 3,
        shape: Shape::Product,
    }
}

fn task<B: Backend + Send>(
    case: &'static str,
    head: HeadKind,
    outputs: usize,
    backend: B,
) -> Result<Vec<Difference>, TrainError> {
    let settings = settings(head, outputs);
    let parameters = TaskModel::new(&settings.config, head, outputs).parameters;
    let start = tensors(&parameters, 3);
    let sequences = sequences(1);
    // A class for each token, of which a third does not count.
    let classes: Vec<Vec<u32>> = sequences
        .iter()
        .map(|(ids, _)| {
            let of = |id: &u32| {
                if id.is_multiple_of(3) {
                    IGNORED
                } else {
                    id % outputs as u32
                }
            };
            ids.iter().map(of).collect()
        })
        .collect();
    let bits: Vec<Vec<u32>> = (0_u32..5)
        .map(|i| (0..outputs as u32).map(|class| (i + class) % 2).collect())
        .collect();
    let examples: Vec<TaskExample<'_>> = sequences
        .iter()
        .enumerate()
        .map(|(i, (ids, types))| TaskExample {
            ids,
            types,
            label: match (head, case) {
                (HeadKind::Tokens | HeadKind::TokensPlain, _) => Label::Tokens(&classes[i]),
                (HeadKind::Span, _) => Label::Span(1, ids.len() as u32 - 2),
                (HeadKind::Joint, _) => {
                    let last = ids.len() as u32 - 1;
                    let is_impossible = i % 2 == 1;
                    Label::Answer {
                        start: if is_impossible { 0 } else { last },
                        end: if is_impossible { 0 } else { last },
                        is_impossible,
                    }
                }
                (_, "regression") => Label::Number(i as f32 - 1.5),
                (_, "several labels") => Label::Classes(&bits[i]),
                _ => Label::Class((i % outputs) as u32),
            },
        })
        .collect();
    let inputs: Vec<(&[u32], &[u32])> = sequences
        .iter()
        .map(|(ids, types)| (&ids[..], &types[..]))
        .collect();

    // Parts of at most 60 tokens: the engine adds gradients up over several.
    let mut engine = TaskTrainer::new(backend, settings.clone(), 48, 60)?;
    engine.start_from(&start)?;
    let predicted = engine.predict(&inputs)?;
    let numbers = engine.train(&examples)?;
    let gradients = engine.gradients()?;

    let (config, dropout) = (&settings.config, Dropout::Counted { seed: 5, step: 0 });
    let (still, _) = finetune::task(&start, config, head, &Dropout::Off, &examples, false);
    let (said, wanted) = finetune::task(&start, config, head, &dropout, &examples, true);
    let mut found = vec![
        loss(case, "mean", f64::from(numbers.loss), f64::from(said.loss)),
        largest(case, &numbers_of(&predicted), &numbers_of(&still.said)),
    ];
    found.extend(gradients_apart(
        case,
        &gradients,
        &wanted.expect("asked for"),
    ));
    Ok(found)
}

/// Every number that a model says: logits, or scores of answers in their order.
fn numbers_of(said: &[Said]) -> Vec<f32> {
    let of = |said: &Said| match said {
        Said::Logits(logits) => logits.clone(),
        Said::Answers(beams) => {
            let scores = beams.spans.iter();
            let scores = scores.flat_map(|span| [span.start_score, span.end_score]);
            scores.chain([beams.impossible]).collect()
        }
    };
    said.iter().flat_map(of).collect()
}

/// What ten steps of pre-training are made with: samples, masks and dropout drawn, decay, clipping and warm-up on.
#[must_use]
pub fn pretraining() -> Pretraining {
    let discriminator = config(20);
    Pretraining {
        generator: discriminator.generator(0.5, 1.0),
        discriminator,
        schedule: schedule(),
        weight_decay: 0.01,
        betas: (0.9, 0.999),
        epsilon: 1e-6,
        clip: Some(1.0),
        clip_every: None,
        weights: (1.0, 50.0),
        masking: masking(),
        temperature: 1.0,
        disallow_correct: false,
        mask_id: MASK,
        seed: 9,
    }
}

fn steps<B: Backend + Send>(case: &'static str, backend: B) -> Result<Vec<Difference>, TrainError> {
    let settings = pretraining();
    let mut engine = Pretrainer::new(backend, settings.clone(), 48, 60)?;
    let start = tensors(engine.parameters(), 3);
    engine.start_from(&start)?;
    let mut reference = pretrain::Pretrainer::new(settings, 1)?;
    reference.start_from(&start)?;
    let mut found = Vec::new();
    for step in 0..10 {
        let sequences = sequences(step);
        let examples: Vec<Example<'_>> = sequences
            .iter()
            .map(|(ids, types)| Example::new(ids, types))
            .collect();
        let (ours, theirs) = (engine.train(&examples)?, reference.train(&examples)?);
        let name = format!("step {}", step + 1);
        found.push(loss(
            case,
            &name,
            f64::from(ours.loss),
            f64::from(theirs.loss),
        ));
    }
    Ok(found)
}

fn loss(case: &'static str, name: &str, found: f64, wanted: f64) -> Difference {
    Difference {
        case,
        what: What::Loss,
        name: name.to_owned(),
        error: (found - wanted).abs() / wanted.abs().max(1.0),
    }
}

fn largest(case: &'static str, found: &[f32], wanted: &[f32]) -> Difference {
    let is_same = found.len() == wanted.len();
    let pairs = found.iter().zip(wanted);
    let error = pairs.fold(0.0, |most: f64, (a, b)| {
        let apart = f64::from(*a) - f64::from(*b);
        // `max` would pass over what is not a number.
        if apart.is_nan() || most.is_nan() {
            f64::NAN
        } else {
            most.max(apart.abs())
        }
    });
    Difference {
        case,
        what: What::Logits,
        name: "logits".to_owned(),
        error: if is_same { error } else { f64::INFINITY },
    }
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn gradients_apart(case: &'static str, found: &Tensors, wanted: &Tensors) -> Vec<Difference> {
    let all = norm(
        wanted
            .values()
            .flat_map(|t| &t.values)
            .map(|v| f64::from(*v)),
    );
    wanted
        .iter()
        .map(|(name, wanted)| {
            let own = norm(wanted.values.iter().map(|v| f64::from(*v)));
            let error = match found.get(name) {
                Some(found) if found.shape == wanted.shape => {
                    let pairs = found.values.iter().zip(&wanted.values);
                    let apart = norm(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
                    apart / own.max(1e-3 * all)
                }
                _ => f64::INFINITY,
            };
            let name = name.clone();
            Difference {
                case,
                what: What::Gradient,
                name,
                error,
            }
        })
        .collect()
}
