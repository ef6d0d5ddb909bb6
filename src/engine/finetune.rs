//! Fine-tuning and prediction with a task's head, batch by batch. Spec E. Knows no label names, no text and no files but
//! those of tensors.

use std::ops::Range;
use std::path::Path;

use crate::arena::Real;
use crate::backend::{Array, Backend, Dropout, GoOn};
use crate::checkpoint::{self, Snapshot, State};
use crate::config::ElectraConfig;
use crate::error::TrainError;
use crate::finite;
use crate::model::batch::{BatchPlan, parts};
use crate::model::heads::{HeadKind, TaskModel, TaskPlan};
use crate::model::joint::{ANSWERABLE_WEIGHT, Beams};
use crate::ops::adamw::{Group, Update};
use crate::ops::losses::IGNORED;
use crate::parameters::Parameters;
use crate::schedule::{Schedule, groups};
use crate::weights::{self, Tensors, Unmatched};

mod examples;
mod room;

pub use examples::{Label, TaskExample, check, unlabelled};
pub use room::{footprint, prediction_footprint};

use examples::{counted, sequences};
use room::{LabelRoom, Layout, joint_loss};

/// What decides the result of fine-tuning, examples and first weights aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Finetuning {
    /// Sizes.
    pub config: ElectraConfig,
    /// The head.
    pub head: HeadKind,
    /// Its classes.
    pub outputs: usize,
    /// Learning rates.
    pub schedule: Schedule,
    /// Factor from each layer to the one below; `None` for none. Spec E.1.
    pub layer_decay: Option<f64>,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether Adam's moments are corrected for their bias: not in Google's code, but in Hugging Face's. Spec E.2.
    pub bias_correction: bool,
    /// Decay of Adam's first and second moments.
    pub betas: (f64, f64),
    /// What is added to the root of the second moment.
    pub epsilon: f32,
    /// Largest norm of all gradients.
    pub clip: Option<f32>,
    /// Seed of dropout and of the head's first values.
    pub seed: u64,
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct TaskNumbers {
    /// Steps done before this one.
    pub step: u64,
    /// Mean loss over what is labelled.
    pub loss: f32,
    /// Norm of the gradients before clipping.
    pub gradient_norm: f32,
    /// The rate of the head in this update.
    pub learning_rate: f64,
    /// Tokens.
    pub tokens: usize,
}

/// What a model says of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Logits: (tokens, classes) or (classes), last axis fastest.
    Logits(Vec<f32>),
    /// Answers, by [`HeadKind::Joint`].
    Answers(Beams),
}

impl Said {
    /// The logits; none where answers were given.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        match self {
            Self::Logits(logits) => logits,
            Self::Answers(_) => &[],
        }
    }
}

/// What training began from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// What it had and the model has not, and the other way round.
    pub unmatched: Unmatched,
    /// Whether it had a head for other classes, which was left out.
    pub has_other_head: bool,
}

/// The encoder's tensors alone.
#[must_use]
pub fn without_head(tensors: &Tensors) -> Tensors {
    let mut body = tensors.clone();
    body.retain(|name, _| name.starts_with(BODY));
    body
}

/// Where the encoder's tensors are.
const BODY: &str = "electra.";

/// The encoder's tensors out of those of a model whose head is for other classes; `None` where the head fits.
#[must_use]
pub fn body_of_other_head(parameters: &Parameters, tensors: &Tensors) -> Option<Tensors> {
    let is_other = |name: &String| {
        !name.starts_with(BODY)
            && parameters
                .find(name)
                .is_some_and(|own| own.shape != tensors[name].shape)
    };
    tensors.keys().any(is_other).then(|| without_head(tensors))
}

/// A model for a task on a device.
#[derive(Debug)]
pub struct TaskTrainer<B: Backend> {
    backend: B,
    settings: Finetuning,
    model: TaskModel,
    batch: BatchPlan,
    room: TaskPlan,
    labels: LabelRoom,
    norm: Real,
    groups: Vec<Group>,
    is_for_training: bool,
    step: u64,
}

impl<B: Backend + Send> TaskTrainer<B> {
    /// Lays everything out for parts of at most `micro_tokens` tokens (at least one sequence of `longest`), and fills
    /// in first values.
    ///
    /// # Errors
    /// When sizes do not make a network, or the device has too little memory.
    pub fn new(
        backend: B,
        settings: Finetuning,
        longest: usize,
        micro_tokens: usize,
    ) -> Result<Self, TrainError> {
        let granularity = backend.granularity();
        let layout =
            |settings: &Finetuning| Layout::new(settings, longest, micro_tokens, granularity);
        Self::with_layout(backend, settings, layout)
    }

    /// The same for [`predict`](Self::predict) alone, in less room: nothing is kept of a layer, and there are no gradients.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_prediction(
        backend: B,
        settings: Finetuning,
        longest: usize,
        micro_tokens: usize,
    ) -> Result<Self, TrainError> {
        let granularity = backend.granularity();
        let layout = |settings: &Finetuning| {
            Layout::forward_only(settings, longest, micro_tokens, granularity)
        };
        Self::with_layout(backend, settings, layout)
    }

    fn with_layout(
        mut backend: B,
        settings: Finetuning,
        layout: impl FnOnce(&Finetuning) -> Layout,
    ) -> Result<Self, TrainError> {
        settings.config.check()?;
        let widths = [settings.config.hidden_size, settings.config.embedding_size];
        backend.granularity().admit(&widths)?;
        let Layout {
            model,
            plan,
            batch,
            room,
            labels,
            norm,
        } = layout(&settings);
        let is_for_training = !plan.is_forward_only();
        backend.allocate(&plan, model.parameters.memory())?;
        weights::initialise(&mut backend, &model.parameters, settings.seed);
        let groups = groups(
            &model.parameters,
            settings.config.num_hidden_layers,
            settings.weight_decay,
            settings.layer_decay,
        );
        Ok(Self {
            backend,
            settings,
            model,
            batch,
            room,
            labels,
            norm,
            groups,
            is_for_training,
            step: 0,
        })
    }

    /// The device.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Updates done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Begins from given tensors: an encoder's, or an earlier fine-tuning's with its head. What is missing keeps its
    /// first values, and so does the whole head where one of its tensors has another shape: it was made for other classes.
    ///
    /// # Errors
    /// When a tensor of the encoder has another shape than the model's; then nothing is copied.
    pub fn start_from(&mut self, tensors: &Tensors) -> Result<Begun, TrainError> {
        let parameters = &self.model.parameters;
        let body = body_of_other_head(parameters, tensors);
        let tensors = body.as_ref().unwrap_or(tensors);
        Ok(Begun {
            unmatched: weights::load(&mut self.backend, parameters, tensors)?,
            has_other_head: body.is_some(),
        })
    }

    /// The gradients of the last update before they were clipped, by name: for comparison with other programs.
    ///
    /// # Errors
    /// When the device failed.
    pub fn gradients(&mut self) -> Result<Tensors, TrainError> {
        self.array(Array::Gradient)
    }

    /// The parameters by name.
    ///
    /// # Errors
    /// When the device failed.
    pub fn tensors(&mut self) -> Result<Tensors, TrainError> {
        self.array(Array::Value)
    }

    fn array(&mut self, array: Array) -> Result<Tensors, TrainError> {
        let all = weights::save(&mut self.backend, &self.model.parameters, array);
        self.backend.finish()?;
        Ok(all)
    }

    fn check(&self, examples: &[TaskExample<'_>]) -> Result<(), TrainError> {
        check(examples, &self.settings, self.batch.tokens(), self.step)
    }

    fn parts(&self, examples: &[TaskExample<'_>]) -> Vec<Range<usize>> {
        let lengths = examples.iter().map(|example| example.ids.len());
        parts(lengths, self.batch.tokens(), self.batch.sequences())
    }

    /// One update from a batch of examples, in order.
    ///
    /// # Errors
    /// When an example does not fit the model, or a loss or gradient is not finite; then nothing is updated.
    pub fn train(&mut self, examples: &[TaskExample<'_>]) -> Result<TaskNumbers, TrainError> {
        let numbers = self.train_while(examples, &|_| true)?;
        Ok(numbers.expect("nobody asked to stop"))
    }

    /// [`train`](Self::train) while `go_on` says so between micro-batches; else `None`, and nothing is updated.
    ///
    /// # Errors
    /// Those of [`train`](Self::train).
    ///
    /// # Panics
    /// When it was made [for prediction](Self::for_prediction).
    pub fn train_while(
        &mut self,
        examples: &[TaskExample<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<TaskNumbers>, TrainError> {
        assert!(self.is_for_training, "there is room to go backward");
        self.check(examples)?;
        let counted = counted(examples, self.settings.outputs).max(1) as f32;
        let parts = self.parts(examples);
        self.backend.set_dropout(Dropout::Counted {
            seed: self.settings.seed,
            step: u32::try_from(self.step).expect("fewer than 2^32 steps"),
        });
        let (model, room) = (&self.model, &self.room);
        let (batch_plan, labels, norm) = (self.batch, self.labels, self.norm);
        let head = self.settings.head;
        let learning_rate = self.settings.schedule.rate(self.step);
        let (beta1, beta2) = self.settings.betas;
        let update = Update {
            learning_rate: learning_rate as f32,
            beta1,
            beta2,
            epsilon: self.settings.epsilon,
            correction: match self.settings.bias_correction {
                true => correction(beta1, beta2, self.step + 1),
                false => 1.0,
            },
            clip: self.settings.clip,
        };
        let groups = &self.groups;
        let done = self.backend.on_threads(|backend| {
            backend.zero_gradients();
            backend.zero_reals(labels.sums);
            backend.zero_reals(labels.answerable);
            for part in parts {
                if !go_on(part.start) {
                    return None;
                }
                let examples = &examples[part.clone()];
                let sequences = sequences(examples, part.start);
                let batch = batch_plan.write(backend, &sequences, None);
                backend.begin_step();
                let logits = model.forward(backend, &batch, room);
                let d = room.head.d_logits.first(logits.len());
                let gradient = (1.0 / counted, d);
                if head == HeadKind::Joint {
                    let sums = [labels.sums.first(1), labels.answerable];
                    let scale = 1.0 / counted;
                    joint_loss(
                        backend,
                        (model, room),
                        examples,
                        (&sequences, &batch),
                        scale,
                        sums,
                    );
                } else {
                    labels.loss(backend, examples, &batch, model.outputs(), logits, gradient);
                }
                model.backward(backend, &batch, room);
                backend.end_step();
            }
            backend.begin_step();
            // Nothing is updated where the norm is not finite, so nobody has to wait for it.
            backend.gradient_norm(norm);
            backend.adamw(groups, update, norm);
            backend.end_step();
            let answerable = ANSWERABLE_WEIGHT * backend.read_reals(labels.answerable)[0];
            let loss = (backend.read_reals(labels.sums)[0] + answerable) / counted;
            Some((loss, backend.read_reals(norm)[0], backend.finish()))
        });
        let Some((loss, gradient_norm, finished)) = done else {
            return Ok(None);
        };
        finished?;
        let parameters = &self.model.parameters;
        finite::check(
            &mut self.backend,
            parameters,
            self.step,
            loss,
            gradient_norm,
        )?;
        let numbers = TaskNumbers {
            step: self.step,
            loss,
            gradient_norm,
            learning_rate,
            tokens: examples.iter().map(|example| example.ids.len()).sum(),
        };
        self.step += 1;
        Ok(Some(numbers))
    }

    /// What is said of each sequence, without dropout.
    ///
    /// # Errors
    /// When a sequence does not fit the model.
    pub fn predict(&mut self, inputs: &[(&[u32], &[u32])]) -> Result<Vec<Said>, TrainError> {
        let found = self.predict_while(inputs, &|_| true)?;
        Ok(found.expect("nobody asked to stop"))
    }

    /// [`predict`](Self::predict) while `go_on` says so between micro-batches; else `None`.
    ///
    /// # Errors
    /// When a sequence does not fit the model.
    pub fn predict_while(
        &mut self,
        inputs: &[(&[u32], &[u32])],
        go_on: GoOn<'_>,
    ) -> Result<Option<Vec<Said>>, TrainError> {
        let ignored: Vec<u32> = match inputs.iter().map(|(ids, _)| ids.len()).max() {
            Some(longest) => vec![IGNORED; longest],
            None => return Ok(Some(Vec::new())),
        };
        let examples = unlabelled(inputs, self.settings.head, &ignored);
        self.check(&examples)?;
        let parts = self.parts(&examples);
        let (model, room, batch_plan) = (&self.model, &self.room, self.batch);
        let head = self.settings.head;
        self.backend.set_dropout(Dropout::Off);
        let found = self.backend.on_threads(|backend| {
            let mut found = Vec::with_capacity(examples.len());
            for part in parts {
                if !go_on(part.start) {
                    return None;
                }
                let examples = &examples[part.clone()];
                let sequences = sequences(examples, part.start);
                let batch = batch_plan.write(backend, &sequences, None);
                backend.begin_step();
                let logits = model.forward(backend, &batch, room);
                backend.end_step();
                if head == HeadKind::Joint {
                    let beams = model.beams(backend, &batch, room, &sequences);
                    found.extend(beams.into_iter().map(Said::Answers));
                    continue;
                }
                let logits = backend.read_reals(logits);
                let mut rest = &logits[..];
                for example in examples {
                    let rows = if head.is_by_token() {
                        example.ids.len()
                    } else {
                        1
                    };
                    let (own, others) = rest.split_at(rows * model.outputs());
                    found.push(Said::Logits(own.to_vec()));
                    rest = others;
                }
            }
            // After a fault everything that was read is zero.
            Some(backend.finish().map(|()| found))
        });
        Ok(found.transpose()?)
    }

    /// A copy of everything that going on takes.
    ///
    /// # Errors
    /// When the device failed.
    pub fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        let state = State {
            step: self.step,
            seed: self.settings.seed,
        };
        let taken = Snapshot::take(&mut self.backend, &self.model.parameters, state);
        Ok(taken?)
    }

    /// Goes on where a [`snapshot`](Self::snapshot) was taken and written, to the same bits; the notes beside it.
    ///
    /// # Errors
    /// When the checkpoint is damaged or another model's.
    pub fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError> {
        let (state, notes) = checkpoint::load(&mut self.backend, &self.model.parameters, folder)?;
        self.step = state.step;
        Ok(notes)
    }
}

/// `sqrt(1 - beta2^t) / (1 - beta1^t)`: Kingma and Ba 2015, end of section 2. Spec E.2.
fn correction(beta1: f64, beta2: f64, t: u64) -> f32 {
    let power = |beta: f64| beta.powf(t as f64);
    ((1.0 - power(beta2)).sqrt() / (1.0 - power(beta1))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correction_is_that_of_adam() {
        // At the first step m = (1 - b1) g and v = (1 - b2) g², so the update is g / |g|.
        let first = correction(0.9, 0.999, 1);
        assert!((f64::from(first) * 0.1 / 0.001_f64.sqrt() - 1.0).abs() < 1e-5);
        assert!((correction(0.9, 0.999, 1_000_000) - 1.0).abs() < 1e-6);
    }
}
