//! Fine-tuning and prediction with a task's head, as `engine::finetune` does it. Spec E. Knows no label names and no text.

use std::path::Path;

use dfdx::prelude::*;
use engine::backend::{Dropout, GoOn};
use engine::checkpoint::Snapshot;
use engine::config::ElectraConfig;
use engine::error::TrainError;
use engine::finetune::{
    Begun, Finetuning, Label, Said, TaskExample, TaskNumbers, body_of_other_head, check, unlabelled,
};
use engine::model::batch::Sequence;
use engine::model::heads::{HeadKind, TaskModel};
use engine::ops::losses::IGNORED;
use engine::random::Network;
use engine::weights::Tensors;
use rayon::ThreadPool;

use crate::joint::Answer;
use crate::model::Net;
use crate::ops::{Matrix, Scalar, binary_cross_entropy, cross_entropy, rows, squared_error};
use crate::optimizer::{Optimizer, Update};
use crate::pretrain::threads;
use crate::weights::Weights;

/// Sum of a sequence's losses, and over how many labels; `None` where nothing is labelled. Not of a joint head.
fn loss(logits: Matrix, label: Label<'_>) -> Option<(Scalar, usize)> {
    Some(match label {
        Label::Tokens(labels) => {
            let labelled = (0_u32..)
                .zip(labels)
                .filter(|(_, label)| **label != IGNORED);
            let (places, classes): (Vec<u32>, Vec<u32>) = labelled.unzip();
            if classes.is_empty() {
                return None;
            }
            let n = classes.len();
            (cross_entropy(rows(logits, places), &classes), n)
        }
        Label::Class(IGNORED) => return None,
        Label::Class(class) => (cross_entropy(logits, &[class]), 1),
        Label::Classes(labels) => {
            let targets: Vec<bool> = labels.iter().map(|label| *label == 1).collect();
            (binary_cross_entropy(logits, &targets), labels.len())
        }
        Label::Number(value) => (squared_error(logits, vec![value]), 1),
        // Half of the cross-entropies of start and end over the sequence's tokens: spec E.5.
        Label::Span(start, end) => {
            let sides = logits.permute::<(usize, usize), Axes2<1, 0>>();
            // dfdx's `log_softmax` mixes up the gradient of a transposed tensor (0.13); picked rows are a copy.
            let sides = rows(sides, [0, 1]);
            (cross_entropy(sides, &[start, end]) * 0.5, 1)
        }
        Label::Answer { .. } => unreachable!("`Net::joint_loss` judges answers"),
    })
}

/// What a model with a head says of a batch.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Mean loss over what is labelled; of a joint head only where gradients are wanted.
    pub loss: f32,
    /// What it says of each sequence; of a joint head only where no gradients are wanted.
    pub said: Vec<Said>,
}

/// A model with a head over a batch; gradients of the mean loss by name where `wants_gradients`.
#[must_use]
pub fn task(
    tensors: &Tensors,
    config: &ElectraConfig,
    head: HeadKind,
    dropout: &Dropout,
    examples: &[TaskExample<'_>],
    wants_gradients: bool,
) -> (Outcome, Option<Tensors>) {
    task_while(
        tensors,
        config,
        head,
        dropout,
        examples,
        wants_gradients,
        &|_| true,
    )
    .expect("nobody asked to stop")
}

/// [`task`] while `go_on` says so between sequences; else `None`.
fn task_while(
    tensors: &Tensors,
    config: &ElectraConfig,
    head: HeadKind,
    dropout: &Dropout,
    examples: &[TaskExample<'_>],
    wants_gradients: bool,
    go_on: GoOn<'_>,
) -> Option<(Outcome, Option<Tensors>)> {
    let weights = Weights::new(tensors);
    let net = Net {
        weights: &weights,
        config,
        network: Network::Discriminator,
        dropout,
    };
    let mut sums = wants_gradients.then(|| weights.zeros());
    let mut outcome = Outcome::default();
    let (mut total, mut counted) = (0.0, 0);
    for (index, example) in (0..).zip(examples) {
        if !go_on(index as usize) {
            return None;
        }
        let sequence = Sequence {
            ids: example.ids,
            types: example.types,
            index,
        };
        let x = net.encode(&sequence);
        let judged = match (head, example.label) {
            (
                HeadKind::Joint,
                Label::Answer {
                    start,
                    end,
                    is_impossible,
                },
            ) if wants_gradients => {
                let answer = Answer {
                    start,
                    end,
                    is_impossible,
                };
                Some((net.joint_loss(x, &sequence, answer), 1))
            }
            (HeadKind::Joint, _) => {
                outcome.said.push(Said::Answers(net.beams(x, &sequence)));
                None
            }
            (head, label) => {
                let logits = net.task(x, index, head);
                outcome.said.push(Said::Logits(logits.as_vec()));
                loss(logits, label)
            }
        };
        let Some((loss, count)) = judged else {
            continue;
        };
        total += f64::from(loss.array());
        counted += count;
        if let Some(sums) = &mut sums {
            weights.backward(loss, sums);
        }
    }
    let counted = counted.max(1) as f32;
    outcome.loss = total as f32 / counted;
    let gradients = sums.map(|mut gradients| {
        let all = gradients.values_mut().flat_map(|tensor| &mut tensor.values);
        all.for_each(|gradient| *gradient /= counted);
        gradients
    });
    Some((outcome, gradients))
}

/// A model for a task.
#[derive(Debug)]
pub struct TaskTrainer {
    settings: Finetuning,
    optimizer: Optimizer,
    threads: ThreadPool,
}

impl TaskTrainer {
    /// First values; matrix products take so many threads.
    ///
    /// # Errors
    /// When sizes do not make a network.
    pub fn new(settings: Finetuning, n_threads: usize) -> Result<Self, TrainError> {
        settings.config.check()?;
        let model = TaskModel::new(&settings.config, settings.head, settings.outputs);
        Ok(Self {
            optimizer: Optimizer::new(model.parameters, settings.seed),
            settings,
            threads: threads(n_threads),
        })
    }

    /// Updates done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.optimizer.step
    }

    /// Begins from given tensors; what is missing keeps its first values, and so does the whole head where the given one
    /// is for other classes.
    ///
    /// # Errors
    /// When a tensor of the encoder has another shape than the model's.
    pub fn start_from(&mut self, tensors: &Tensors) -> Result<Begun, TrainError> {
        let body = body_of_other_head(&self.optimizer.parameters, tensors);
        Ok(Begun {
            unmatched: self
                .optimizer
                .start_from(body.as_ref().unwrap_or(tensors))?,
            has_other_head: body.is_some(),
        })
    }

    /// The parameters by name.
    #[must_use]
    pub fn tensors(&self) -> Tensors {
        self.optimizer.values.clone()
    }

    fn run(
        &self,
        dropout: &Dropout,
        examples: &[TaskExample<'_>],
        wants_gradients: bool,
        go_on: GoOn<'_>,
    ) -> Option<(Outcome, Option<Tensors>)> {
        let (config, head) = (&self.settings.config, self.settings.head);
        let values = &self.optimizer.values;
        self.threads.install(|| {
            task_while(
                values,
                config,
                head,
                dropout,
                examples,
                wants_gradients,
                go_on,
            )
        })
    }

    /// One update from a batch of examples, in order.
    ///
    /// # Errors
    /// When an example does not fit the model, or a loss or gradient is not finite; then nothing is updated.
    pub fn train(&mut self, examples: &[TaskExample<'_>]) -> Result<TaskNumbers, TrainError> {
        let numbers = self.train_while(examples, &|_| true)?;
        Ok(numbers.expect("nobody asked to stop"))
    }

    /// [`train`](Self::train) while `go_on` says so between sequences; else `None`, and nothing is updated.
    ///
    /// # Errors
    /// Those of [`train`](Self::train).
    pub fn train_while(
        &mut self,
        examples: &[TaskExample<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<TaskNumbers>, TrainError> {
        check(examples, &self.settings, usize::MAX, self.step())?;
        let step = self.step();
        let dropout = Dropout::Counted {
            seed: self.settings.seed,
            step: u32::try_from(step).expect("fewer than 2^32 steps"),
        };
        let Some((outcome, gradients)) = self.run(&dropout, examples, true, go_on) else {
            return Ok(None);
        };
        let settings = &self.settings;
        let learning_rate = settings.schedule.rate(step);
        let layers = settings.config.num_hidden_layers;
        let update = Update {
            learning_rate,
            layer_decay: settings.layer_decay.map(|decay| (decay, layers)),
            weight_decay: settings.weight_decay,
            bias_correction: settings.bias_correction,
            betas: settings.betas,
            epsilon: settings.epsilon,
            clip: settings.clip,
        };
        let gradients = gradients.expect("asked for");
        Ok(Some(TaskNumbers {
            step,
            loss: outcome.loss,
            gradient_norm: self.optimizer.update(&gradients, outcome.loss, &update)?,
            learning_rate,
            tokens: examples.iter().map(|example| example.ids.len()).sum(),
        }))
    }

    /// What the model says of each sequence, without dropout.
    ///
    /// # Errors
    /// When a sequence does not fit the model.
    pub fn predict(&mut self, inputs: &[(&[u32], &[u32])]) -> Result<Vec<Said>, TrainError> {
        let found = self.predict_while(inputs, &|_| true)?;
        Ok(found.expect("nobody asked to stop"))
    }

    /// [`predict`](Self::predict) while `go_on` says so between sequences; else `None`.
    ///
    /// # Errors
    /// When a sequence does not fit the model.
    pub fn predict_while(
        &mut self,
        inputs: &[(&[u32], &[u32])],
        go_on: GoOn<'_>,
    ) -> Result<Option<Vec<Said>>, TrainError> {
        let longest = inputs.iter().map(|(ids, _)| ids.len()).max();
        let ignored = vec![IGNORED; longest.unwrap_or(0)];
        let examples = unlabelled(inputs, self.settings.head, &ignored);
        check(&examples, &self.settings, usize::MAX, self.step())?;
        let found = self.run(&Dropout::Off, &examples, false, go_on);
        Ok(found.map(|(outcome, _)| outcome.said))
    }

    /// A copy of everything that going on takes, for the engine too.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.optimizer.snapshot()
    }

    /// Goes on where a [`snapshot`](Self::snapshot) was taken and written; the notes beside it.
    ///
    /// # Errors
    /// When the checkpoint is damaged or another model's.
    pub fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError> {
        self.optimizer.resume(folder)
    }
}
