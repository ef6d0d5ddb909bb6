//! What trains: the engine on whatever device, or the reference. Knows no data sets and no files but checkpoints.

use std::path::Path;

use engine::backend::{Backend, GoOn};
use engine::checkpoint::Snapshot;
use engine::error::TrainError;
use engine::finetune::{Begun, Said, TaskExample, TaskNumbers, TaskTrainer};
use engine::mask::Masking;
use engine::model::pretraining::GENERATOR;
use engine::pretrain::{EvaluationNumbers, Example, Pretrainer, StepNumbers};
use engine::weights::{Tensors, Unmatched};

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
    fn discriminator(&mut self) -> Result<Tensors, TrainError>;
    /// The generator as `transformers` names it, with its copy of the shared embeddings.
    fn generator(&mut self) -> Result<Tensors, TrainError>;
    fn snapshot(&mut self) -> Result<Snapshot, TrainError>;
    fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
}

/// Rows to predict on: ids and segments.
pub(super) type Inputs<'a> = &'a [(&'a [u32], &'a [u32])];

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
    fn tensors(&mut self) -> Result<Tensors, TrainError>;
    fn snapshot(&mut self) -> Result<Snapshot, TrainError>;
    fn resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
}

/// A trainer, and what of its surroundings shows in the last bits.
pub(super) struct Made<T: ?Sized> {
    pub(super) trainer: Box<T>,
    pub(super) made_on: String,
}

impl<T: ?Sized> Made<T> {
    pub(super) fn on_cpu(trainer: Box<T>, micro_tokens: usize) -> Self {
        Self {
            trainer,
            made_on: format!("cpu, micro-batch {micro_tokens} tokens"),
        }
    }

    /// Bits depend on the GPU, and on what compiles and multiplies.
    pub(super) fn on_cuda(trainer: Box<T>, name: &str, micro_tokens: usize) -> Self {
        Self {
            trainer,
            made_on: format!("{name}, micro-batch {micro_tokens} tokens"),
        }
    }

    /// With several the sums have another order.
    pub(super) fn in_processes(mut self, count: usize) -> Self {
        if count > 1 {
            self.made_on.push_str(&format!(", {count} processes"));
        }
        self
    }

    pub(super) fn by_reference(trainer: Box<T>) -> Self {
        Self {
            trainer,
            made_on: "reference".to_owned(),
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
            resume(&mut self, folder: &Path) -> Result<Vec<u8>, TrainError>;
        }
    };
}

impl<B: Backend + Send> Pretrains for Pretrainer<B> {
    delegate_pretraining! {}

    fn discriminator(&mut self) -> Result<Tensors, TrainError> {
        Self::discriminator(self)
    }

    fn generator(&mut self) -> Result<Tensors, TrainError> {
        Self::generator(self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        Self::snapshot(self)
    }
}

impl Pretrains for reference::pretrain::Pretrainer {
    delegate_pretraining! {}

    fn discriminator(&mut self) -> Result<Tensors, TrainError> {
        let mut all = self.tensors();
        all.retain(|name, _| !name.starts_with(GENERATOR));
        Ok(all)
    }

    fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        Ok(Self::snapshot(self))
    }

    fn generator(&mut self) -> Result<Tensors, TrainError> {
        let named = self.tensors().into_iter();
        let own = named
            .filter_map(|(name, tensor)| match name.strip_prefix(GENERATOR) {
                Some(own) => Some((own.to_owned(), tensor)),
                None => (name.starts_with("electra.embeddings.")).then_some((name, tensor)),
            })
            .collect();
        Ok(own)
    }
}

impl<B: Backend + Send> Finetunes for TaskTrainer<B> {
    delegate_finetuning! {}

    fn tensors(&mut self) -> Result<Tensors, TrainError> {
        Self::tensors(self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        Self::snapshot(self)
    }
}

impl Finetunes for reference::finetune::TaskTrainer {
    delegate_finetuning! {}

    fn tensors(&mut self) -> Result<Tensors, TrainError> {
        Ok(Self::tensors(self))
    }

    fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        Ok(Self::snapshot(self))
    }
}
