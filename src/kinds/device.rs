//! What trains: the engine on a device, or the reference. The one place that turns a device's name into a trainer.
//! Knows no data sets and no files but checkpoints.

use std::path::Path;

use engine::arena::{Footprint, Granularity};
use engine::backend::{Backend, GoOn, Precision};
use engine::checkpoint::Snapshot;
use engine::cpu::Cpu;
use engine::error::TrainError;
use engine::finetune::{self, Begun, Finetuning, Said, TaskExample, TaskNumbers, TaskTrainer};
use engine::mask::Masking;
use engine::model::pretraining::GENERATOR;
use engine::pretrain::{self, EvaluationNumbers, Example, Pretrainer, Pretraining, StepNumbers};
use engine::weights::{Tensors, Unmatched};
use flow::diagnostic::Diagnostic;
use flow::kind::{StageContext, StageError};

use super::training::{room, train_error};

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
    fn set_masking(&mut self, masking: Masking);
    fn start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError>;
    fn train_while(
        &mut self,
        examples: &[Example<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<StepNumbers>, TrainError>;
    fn evaluate_while(
        &mut self,
        examples: &[Example<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<EvaluationNumbers>, TrainError>;
    /// The discriminator as `transformers` names it.
    fn discriminator(&mut self) -> Tensors;
    /// The generator as `transformers` names it, with its copy of the shared embeddings.
    fn generator(&mut self) -> Tensors;
    fn snapshot(&mut self) -> Snapshot;
    fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
}

/// Rows to predict on: ids and segments.
type Inputs<'a> = &'a [(&'a [u32], &'a [u32])];

/// What fine-tunes and predicts. See [`TaskTrainer`].
pub(super) trait Finetunes {
    fn step(&self) -> u64;
    fn start_from(&mut self, tensors: &Tensors) -> Result<Begun, TrainError>;
    fn train_while(
        &mut self,
        examples: &[TaskExample<'_>],
        go_on: GoOn<'_>,
    ) -> Result<Option<TaskNumbers>, TrainError>;
    fn predict_while(
        &mut self,
        inputs: Inputs<'_>,
        go_on: GoOn<'_>,
    ) -> Result<Option<Vec<Said>>, TrainError>;
    fn tensors(&mut self) -> Tensors;
    fn snapshot(&mut self) -> Snapshot;
    fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
}

/// A trainer, and what of its surroundings shows in the last bits.
pub(super) struct Made<T: ?Sized> {
    pub(super) trainer: Box<T>,
    pub(super) made_on: String,
}

impl<T: ?Sized> Made<T> {
    fn on_cpu(trainer: Box<T>, micro_tokens: usize) -> Self {
        Self {
            trainer,
            made_on: format!("cpu, micro-batch {micro_tokens} tokens"),
        }
    }

    fn by_reference(trainer: Box<T>) -> Self {
        Self {
            trainer,
            made_on: "reference".to_owned(),
        }
    }
}

/// A pre-training on the stage's device, from first values, for examples of at most `longest` tokens.
pub(super) fn pretrainer(
    stage: &StageContext,
    precision: Precision,
    settings: Pretraining,
    longest: usize,
) -> Result<Made<dyn Pretrains>, StageError> {
    let cores = stage.cores.max(1) as usize;
    match of(stage, precision)? {
        Device::Cpu => {
            let tokens = room::micro_tokens(stage, longest, &|tokens| {
                pretrain::footprint(&settings, longest, tokens, Granularity::PROCESSOR)
                    .with_precision(precision)
            })?;
            let cpu = Cpu::new(cores)?.with_precision(precision);
            let made = Pretrainer::new(cpu, settings, longest, tokens);
            Ok(Made::on_cpu(Box::new(made.map_err(train_error)?), tokens))
        }
        Device::Reference => {
            if settings.clip.is_some() && settings.clip_every.is_some() {
                let message = "`device: reference` clips over the whole batch: it has no `every`";
                return Err(StageError::new("engine::reference", message)
                    .help("leave `clip.every` out where the reference computes"));
            }
            let made = reference::pretrain::Pretrainer::new(settings, cores);
            Ok(Made::by_reference(Box::new(made.map_err(train_error)?)))
        }
    }
}

/// A model for a task on the stage's device, from first values, for rows of at most `longest` tokens. One that does not
/// train takes less room.
pub(super) fn task_trainer(
    stage: &StageContext,
    precision: Precision,
    settings: Finetuning,
    longest: usize,
    trains: bool,
) -> Result<Made<dyn Finetunes>, StageError> {
    let cores = stage.cores.max(1) as usize;
    match of(stage, precision)? {
        Device::Cpu => {
            let (footprint, make): (fn(&_, _, _, _) -> Footprint, fn(_, _, _, _) -> _) =
                match trains {
                    true => (finetune::footprint, TaskTrainer::new),
                    false => (finetune::prediction_footprint, TaskTrainer::for_prediction),
                };
            let tokens = room::micro_tokens(stage, longest, &|tokens| {
                footprint(&settings, longest, tokens, Granularity::PROCESSOR)
                    .with_precision(precision)
            })?;
            let cpu = Cpu::new(cores)?.with_precision(precision);
            let made = make(cpu, settings, longest, tokens);
            Ok(Made::on_cpu(Box::new(made.map_err(train_error)?), tokens))
        }
        Device::Reference => {
            let made = reference::finetune::TaskTrainer::new(settings, cores);
            Ok(Made::by_reference(Box::new(made.map_err(train_error)?)))
        }
    }
}

/// What a trainer has under the same name.
macro_rules! delegate {
    ($($name:ident(&mut self $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        fn step(&self) -> u64 {
            Self::step(self)
        }

        $(fn $name(&mut self $(, $argument: $type)*) -> $result {
            Self::$name(self $(, $argument)*)
        })*
    };
}

/// All but the networks.
macro_rules! delegate_pretraining {
    () => {
        delegate! {
            start_from(&mut self, tensors: &Tensors) -> Result<Unmatched, TrainError>;
            train_while(&mut self, examples: &[Example<'_>], go_on: GoOn<'_>)
                -> Result<Option<StepNumbers>, TrainError>;
            evaluate_while(&mut self, examples: &[Example<'_>], go_on: GoOn<'_>)
                -> Result<Option<EvaluationNumbers>, TrainError>;
            snapshot(&mut self) -> Snapshot;
            resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
        }

        fn set_masking(&mut self, masking: Masking) {
            Self::set_masking(self, masking);
        }
    };
}

macro_rules! delegate_finetuning {
    () => {
        delegate! {
            start_from(&mut self, tensors: &Tensors) -> Result<Begun, TrainError>;
            train_while(&mut self, examples: &[TaskExample<'_>], go_on: GoOn<'_>)
                -> Result<Option<TaskNumbers>, TrainError>;
            predict_while(&mut self, inputs: Inputs<'_>, go_on: GoOn<'_>)
                -> Result<Option<Vec<Said>>, TrainError>;
            tensors(&mut self) -> Tensors;
            snapshot(&mut self) -> Snapshot;
            resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
        }
    };
}

impl<B: Backend + Send> Pretrains for Pretrainer<B> {
    delegate_pretraining! {}

    fn discriminator(&mut self) -> Tensors {
        Self::discriminator(self)
    }

    fn generator(&mut self) -> Tensors {
        Self::generator(self)
    }
}

impl Pretrains for reference::pretrain::Pretrainer {
    delegate_pretraining! {}

    fn discriminator(&mut self) -> Tensors {
        let mut all = self.tensors();
        all.retain(|name, _| !name.starts_with(GENERATOR));
        all
    }

    fn generator(&mut self) -> Tensors {
        let named = self.tensors().into_iter();
        named
            .filter_map(|(name, tensor)| match name.strip_prefix(GENERATOR) {
                Some(own) => Some((own.to_owned(), tensor)),
                None => (name.starts_with("electra.embeddings.")).then_some((name, tensor)),
            })
            .collect()
    }
}

impl<B: Backend + Send> Finetunes for TaskTrainer<B> {
    delegate_finetuning! {}
}

impl Finetunes for reference::finetune::TaskTrainer {
    delegate_finetuning! {}
}
