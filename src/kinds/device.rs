//! What trains: the engine on a device, or the reference. The one place that turns a device's name into a trainer.
//! Knows no data sets and no files but checkpoints.

use std::path::Path;

use engine::backend::{Backend, Precision};
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::finetune::{Finetuning, TaskExample, TaskNumbers, TaskTrainer};
use engine::model::pretraining::GENERATOR;
use engine::pretrain::{EvaluationNumbers, Example, Pretrainer, Pretraining, StepNumbers};
use engine::weights::{Tensors, Unmatched};
use flow::diagnostic::Diagnostic;
use flow::kind::{StageContext, StageError};

use super::training::{MICRO_TOKENS, train_error};

/// A device that this program can compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Cpu,
    Reference,
}

/// The device of a name: `auto`, `cpu`, `cuda`, `cuda:N`, `reference`.
///
/// # Errors
/// What is missing for it.
fn find(name: &str) -> Result<Device, Diagnostic> {
    match name {
        "auto" | "cpu" => Ok(Device::Cpu),
        "reference" => Ok(Device::Reference),
        name => Err(Diagnostic::error(
            "engine::no_device",
            format!("`{name}` cannot be computed on: this program has no CUDA backend"),
        )
        .help(
            "use `--device cpu`, or `device: cpu` under `resources`; results have the same keys",
        )),
    }
}

/// Whether a device can be computed on.
///
/// # Errors
/// What is missing for it.
pub fn check(name: &str) -> Result<(), Diagnostic> {
    find(name).map(|_| ())
}

/// The device of a stage.
fn of(stage: &StageContext, precision: Precision) -> Result<Device, StageError> {
    let device = find(stage.device.as_deref().unwrap_or("auto")).map_err(|diagnostic| {
        let mut error = StageError::new("engine::no_device", "").environment();
        error.diagnostic = diagnostic;
        error
    })?;
    if device == Device::Reference && precision != Precision::F32 {
        let message = format!(
            "`device: reference` computes in f32, not in {}",
            precision.name()
        );
        return Err(StageError::new("engine::precision", message)
            .help("leave `precision` out where the reference computes"));
    }
    Ok(device)
}

/// What pre-trains. See [`Pretrainer`].
pub(super) trait Pretrains {
    fn step(&self) -> u64;
    fn start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError>;
    fn train(&mut self, examples: &[Example<'_>]) -> Result<StepNumbers, TrainError>;
    fn evaluate(&mut self, examples: &[Example<'_>]) -> Result<EvaluationNumbers, TrainError>;
    /// Discriminator and generator as `transformers` names them, the latter with its copy of the embeddings.
    fn networks(&mut self) -> (Tensors, Tensors);
    fn save(&mut self, folder: &Path) -> Result<(), TrainError>;
    fn resume(&mut self, folder: &Path) -> Result<(), TrainError>;
}

/// What fine-tunes and predicts. See [`TaskTrainer`].
pub(super) trait Finetunes {
    fn step(&self) -> u64;
    fn start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError>;
    fn train(&mut self, examples: &[TaskExample<'_>]) -> Result<TaskNumbers, TrainError>;
    fn predict(&mut self, inputs: &[(&[u32], &[u32])]) -> Result<Vec<Vec<f32>>, TrainError>;
    fn tensors(&mut self) -> Tensors;
    fn save(&mut self, folder: &Path) -> Result<(), TrainError>;
    fn resume(&mut self, folder: &Path) -> Result<(), TrainError>;
}

/// A pre-training on the stage's device, from first values, for examples of at most `longest` tokens.
pub(super) fn pretrainer(
    stage: &StageContext,
    precision: Precision,
    settings: Pretraining,
    longest: usize,
) -> Result<Box<dyn Pretrains>, StageError> {
    let cores = stage.cores.max(1) as usize;
    Ok(match of(stage, precision)? {
        Device::Cpu => {
            let cpu = Cpu::new(cores)?.with_precision(precision);
            let made = Pretrainer::new(cpu, settings, longest, MICRO_TOKENS);
            Box::new(made.map_err(train_error)?)
        }
        Device::Reference => {
            let made = reference::pretrain::Pretrainer::new(settings, cores);
            Box::new(made.map_err(train_error)?)
        }
    })
}

/// A model for a task on the stage's device, from first values, for rows of at most `longest` tokens.
pub(super) fn task_trainer(
    stage: &StageContext,
    precision: Precision,
    settings: Finetuning,
    longest: usize,
) -> Result<Box<dyn Finetunes>, StageError> {
    let cores = stage.cores.max(1) as usize;
    Ok(match of(stage, precision)? {
        Device::Cpu => {
            let cpu = Cpu::new(cores)?.with_precision(precision);
            let made = TaskTrainer::new(cpu, settings, longest, MICRO_TOKENS);
            Box::new(made.map_err(train_error)?)
        }
        Device::Reference => {
            let made = reference::finetune::TaskTrainer::new(settings, cores);
            Box::new(made.map_err(train_error)?)
        }
    })
}

/// What a trainer has under the same name.
macro_rules! delegate {
    ($($name:ident(&mut self, $argument:ident: $type:ty) -> $result:ty;)*) => {
        fn step(&self) -> u64 {
            Self::step(self)
        }

        $(fn $name(&mut self, $argument: $type) -> Result<$result, TrainError> {
            Self::$name(self, $argument)
        })*
    };
}

impl<B: Backend + Send> Pretrains for Pretrainer<B> {
    delegate! {
        start_from(&mut self, tensors: &Tensors) -> Unmatched;
        train(&mut self, examples: &[Example<'_>]) -> StepNumbers;
        evaluate(&mut self, examples: &[Example<'_>]) -> EvaluationNumbers;
        save(&mut self, folder: &Path) -> ();
        resume(&mut self, folder: &Path) -> ();
    }

    fn networks(&mut self) -> (Tensors, Tensors) {
        (self.discriminator(), self.generator())
    }
}

impl Pretrains for reference::pretrain::Pretrainer {
    delegate! {
        start_from(&mut self, tensors: &Tensors) -> Unmatched;
        train(&mut self, examples: &[Example<'_>]) -> StepNumbers;
        evaluate(&mut self, examples: &[Example<'_>]) -> EvaluationNumbers;
        save(&mut self, folder: &Path) -> ();
        resume(&mut self, folder: &Path) -> ();
    }

    fn networks(&mut self) -> (Tensors, Tensors) {
        let (mut discriminator, mut generator) = (Tensors::new(), Tensors::new());
        for (name, tensor) in self.tensors() {
            match name.strip_prefix(GENERATOR) {
                Some(own) => {
                    generator.insert(own.to_owned(), tensor);
                }
                None => {
                    if name.starts_with("electra.embeddings.") {
                        generator.insert(name.clone(), tensor.clone());
                    }
                    discriminator.insert(name, tensor);
                }
            }
        }
        (discriminator, generator)
    }
}

impl<B: Backend + Send> Finetunes for TaskTrainer<B> {
    delegate! {
        start_from(&mut self, tensors: &Tensors) -> Unmatched;
        train(&mut self, examples: &[TaskExample<'_>]) -> TaskNumbers;
        predict(&mut self, inputs: &[(&[u32], &[u32])]) -> Vec<Vec<f32>>;
        save(&mut self, folder: &Path) -> ();
        resume(&mut self, folder: &Path) -> ();
    }

    fn tensors(&mut self) -> Tensors {
        Self::tensors(self)
    }
}

impl Finetunes for reference::finetune::TaskTrainer {
    delegate! {
        start_from(&mut self, tensors: &Tensors) -> Unmatched;
        train(&mut self, examples: &[TaskExample<'_>]) -> TaskNumbers;
        predict(&mut self, inputs: &[(&[u32], &[u32])]) -> Vec<Vec<f32>>;
        save(&mut self, folder: &Path) -> ();
        resume(&mut self, folder: &Path) -> ();
    }

    fn tensors(&mut self) -> Tensors {
        Self::tensors(self)
    }
}
