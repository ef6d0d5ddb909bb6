//! Fine-tuning and prediction with a task's head, as `engine::finetune` does it. Spec E. Knows no label names and no text.

use std::path::Path;

use dfdx::prelude::*;
use engine::backend::{Dropout, GoOn};
use engine::checkpoint::Snapshot;
use engine::config::ElectraConfig;
use engine::error::TrainError;
use engine::finetune::{
    Begun, Finetuning, Label, TaskExample, TaskNumbers, body_of_other_head, check, unlabelled,
};
use engine::model::batch::Sequence;
use engine::model::heads::{HeadKind, TaskModel};
use engine::ops::losses::IGNORED;
use engine::random::Network;
use engine::weights::Tensors;
use rayon::ThreadPool;

use crate::model::Net;
use crate::ops::{Matrix, Scalar, binary_cross_entropy, cross_entropy, rows, squared_error};
use crate::optimizer::{Optimizer, Update};
use crate::pretrain::threads;
use crate::weights::Weights;

/// Sum of a sequence's losses, and over how many labels; `None` where nothing is labelled.
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
    })
}

/// What a model with a head says of a batch.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Mean loss over what is labelled.
    pub loss: f32,
    /// The logits of each sequence: (tokens, classes) or (classes), last axis fastest.
    pub logits: Vec<Vec<f32>>,
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
) -> (Said, Option<Tensors>) {
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
) -> Option<(Said, Option<Tensors>)> {
    let weights = Weights::new(tensors);
    let net = Net {
        weights: &weights,
        config,
        network: Network::Discriminator,
        dropout,
    };
    let mut sums = wants_gradients.then(|| weights.zeros());
    let mut said = Said::default();
    let (mut total, mut counted) = (0.0, 0);
    for (index, example) in (0..).zip(examples) {
        if !go_on(index as usize) {
            return None;
        }
        let logits = net.task(
            &Sequence {
                ids: example.ids,
                types: example.types,
                index,
            },
            head,
        );
        said.logits.push(logits.as_vec());
        let Some((loss, count)) = loss(logits, example.label) else {
            continue;
        };
        total += f64::from(loss.array());
        counted += count;
        if let Some(sums) = &mut sums {
            weights.backward(loss, sums);
        }
    }
    let counted = counted.max(1) as f32;
    said.loss = total as f32 / counted;
    let gradients = sums.map(|mut gradients| {
        let all = gradients.values_mut().flat_map(|tensor| &mut tensor.values);
        all.for_each(|gradient| *gradient /= counted);
        gradients
    });
    Some((said, gradients))
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
    ) -> Option<(Said, Option<Tensors>)> {
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
        let Some((said, gradients)) = self.run(&dropout, examples, true, go_on) else {
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
            loss: said.loss,
            gradient_norm: self.optimizer.update(&gradients, said.loss, &update)?,
            learning_rate,
            tokens: examples.iter().map(|example| example.ids.len()).sum(),
        }))
    }

    /// The logits of each sequence without dropout: (tokens, classes) or (classes), last axis fastest.
    ///
    /// # Errors
    /// When a sequence does not fit the model.
    pub fn predict(&mut self, inputs: &[(&[u32], &[u32])]) -> Result<Vec<Vec<f32>>, TrainError> {
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
    ) -> Result<Option<Vec<Vec<f32>>>, TrainError> {
        let longest = inputs.iter().map(|(ids, _)| ids.len()).max();
        let ignored = vec![IGNORED; longest.unwrap_or(0)];
        let examples = unlabelled(inputs, self.settings.head, &ignored);
        check(&examples, &self.settings, usize::MAX, self.step())?;
        let found = self.run(&Dropout::Off, &examples, false, go_on);
        Ok(found.map(|(said, _)| said.logits))
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
