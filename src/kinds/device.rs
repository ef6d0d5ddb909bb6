//! The one place that turns a device's name into a trainer on it. Knows no data sets, and not what is trained.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use engine::arena::{Footprint, Granularity};
use engine::backend::{Backend, Precision};
use engine::collective::Seat;
use engine::cpu::Cpu;
use engine::cuda::Cuda;
use engine::cuda::driver::Driver as _;
use engine::cuda::nvidia::libraries::{self, Library, Surroundings};
use engine::cuda::nvidia::{self, Nvidia};
use engine::error::DeviceError;
use engine::finetune::{self, Finetuning, TaskTrainer};
use engine::pretrain::{self, Pretrainer, Pretraining};
use flow::diagnostic::Diagnostic;
use flow::kind::{OUT_OF_MEMORY, StageContext, StageError};

use super::trainers::{Finetunes, Made, Pretrains};
use super::training::group::Group;
use super::training::room::{self, Extent, Room};
use super::training::train_error;

/// A device that this program can compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Cpu,
    /// A GPU, by its index among those that are visible.
    Cuda(u32),
    Reference,
}

/// Where libraries lie, when somebody says so.
pub const LIBRARIES_VARIABLE: &str = libraries::VARIABLE;
/// Where compiled kernels are kept; nowhere where it is not set.
pub const KERNELS_VARIABLE: &str = "PIPELINE_CUDA_KERNELS";

/// The device of a name: `auto`, `cpu`, `cuda`, `cuda:N`, `reference`; with `auto`, why it is no GPU.
///
/// # Errors
/// What is missing for it.
fn find(name: &str, libraries: &Surroundings) -> Result<(Device, Option<DeviceError>), Diagnostic> {
    let index = match name {
        "cpu" => return Ok((Device::Cpu, None)),
        "reference" => return Ok((Device::Reference, None)),
        "auto" | "cuda" => 0,
        name => name
            .strip_prefix("cuda:")
            .and_then(|n| n.parse().ok())
            .unwrap_or(u32::MAX),
    };
    match nvidia::check(libraries, index) {
        Ok(_) => Ok((Device::Cuda(index), None)),
        Err(error) if name == "auto" => Ok((Device::Cpu, Some(error))),
        Err(error) => Err(problem(name, &error)),
    }
}

/// What is missing for a device, with what to do.
pub(crate) fn problem(name: &str, error: &DeviceError) -> Diagnostic {
    let (code, mut help) = match error {
        DeviceError::LibraryMissing { install, .. } => ("engine::no_library", install.clone()),
        DeviceError::LibraryUnusable { .. } | DeviceError::NoneUsable { .. } => (
            "engine::no_library",
            "name a folder with others by `--cuda-libs DIR`".to_owned(),
        ),
        DeviceError::DriverTooOld { needed, .. } => (
            "engine::old_driver",
            format!(
                "install a driver for CUDA {}, or libraries of CUDA 12",
                needed.0
            ),
        ),
        DeviceError::OutOfMemory { .. } => (
            OUT_OF_MEMORY,
            "lower `resources.micro_batch`, or see who else uses the GPU".to_owned(),
        ),
        _ => (
            "engine::no_device",
            "`pipeline doctor` shows what there is".to_owned(),
        ),
    };
    help.push_str("; `--device cpu`, or `device: cpu` under `resources`, computes without it: results have the same keys");
    let message = format!("`{name}` cannot be computed on: {error}");
    let mut diagnostic = Diagnostic::error(code, message);
    if let DeviceError::LibraryMissing { looked_in, .. } = error {
        for folder in looked_in {
            diagnostic = diagnostic.detail(format!("looked in `{}`", folder.display()));
        }
    }
    diagnostic.help(help)
}

/// Whether a device can be computed on, with libraries from a folder that is named or from where they are found.
///
/// # Errors
/// What is missing for it.
pub fn check(name: &str, cuda_libs: Option<&Path>) -> Result<(), Diagnostic> {
    let libraries = Surroundings::of_process(cuda_libs.map(Path::to_path_buf));
    find(name, &libraries).map(|_| ())
}

/// What `auto` stands for here: whether it is a GPU; where there is one that cannot be used, why.
pub fn auto(variables: &[(&'static str, OsString)]) -> (bool, Option<Diagnostic>) {
    let named = variables
        .iter()
        .find(|(name, _)| *name == libraries::VARIABLE);
    let libraries = Surroundings::of_process(named.map(|(_, value)| value.into()));
    match find("auto", &libraries) {
        Ok((Device::Cuda(_), _)) => (true, None),
        Ok((_, Some(error))) if is_surprising(&error) => (false, Some(falls_back(&error))),
        _ => (false, None),
    }
}

/// Whether there is a GPU, as far as can be seen: one who has none need not hear about libraries.
fn is_surprising(error: &DeviceError) -> bool {
    let driver = Library::Driver.title();
    match error {
        DeviceError::LibraryMissing { library, .. } => library != driver,
        DeviceError::NoDevice { .. } => false,
        _ => true,
    }
}

fn falls_back(error: &DeviceError) -> Diagnostic {
    let why = problem("auto", error);
    let mut warning =
        Diagnostic::warning(&why.code, format!("computing on the processor: {error}"));
    if let Some(help) = &why.help {
        warning = warning.help(help.clone());
    }
    warning
}

/// Names of devices for the processes of a stage: GPUs one after another, or the processor for all.
pub(super) fn one_each(
    stage: &StageContext,
    precision: Precision,
    count: u32,
) -> Result<Vec<String>, StageError> {
    let index = match of(stage, None, precision)? {
        Device::Cpu => return Ok(vec!["cpu".to_owned(); count as usize]),
        Device::Cuda(index) => index,
        Device::Reference => {
            let message = "`device: reference` computes in one process";
            return Err(StageError::new("engine::reference", message)
                .help("leave `resources.processes` out where the reference computes"));
        }
    };
    let libraries = Surroundings::of_process(None);
    (index..index + count)
        .map(|index| {
            let name = format!("cuda:{index}");
            let found = find(&name, &libraries).map_err(stage_error)?;
            Ok((name, found).0)
        })
        .collect()
}

/// The device of a stage, or of one of its processes.
fn of(
    stage: &StageContext,
    group: Option<&Group>,
    precision: Precision,
) -> Result<Device, StageError> {
    let libraries = Surroundings::of_process(None);
    let named = group.map(Group::device).or(stage.device.as_deref());
    let found = find(named.unwrap_or("auto"), &libraries);
    let (device, fallen_back) = found.map_err(stage_error)?;
    if let Some(error) = fallen_back {
        (stage.say)(&format!("computes on the processor: {error}"));
    }
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

fn stage_error(diagnostic: Diagnostic) -> StageError {
    let mut error = StageError::new("engine::no_device", "").environment();
    error.diagnostic = diagnostic;
    error
}

/// A GPU with all kernels compiled, and its memory.
fn open_cuda(index: u32, precision: Precision) -> Result<(Cuda<Nvidia>, Room), StageError> {
    let options = nvidia::Options {
        libraries: Surroundings::of_process(None),
        cubins: std::env::var_os(KERNELS_VARIABLE).map(PathBuf::from),
        graphs: true,
    };
    let opened = Nvidia::open(index, &options)
        .and_then(|device| Cuda::new(device, precision))
        .and_then(|device| Ok((device.driver().free_bytes()?, device)));
    let name = format!("cuda:{index}");
    let (available, device) = opened.map_err(|error| stage_error(problem(&name, &error)))?;
    let facts = device.driver().facts();
    let room = Room {
        who: facts.name.clone(),
        // Nothing that is free is known to be nothing.
        available: available.saturating_sub(room::LOADED_LATER).max(1),
        fills: Some(facts.memory),
    };
    Ok((device, room))
}

/// Says once where several GPUs have no way to each other but the processor's memory.
fn say_way_of_sums(stage: &StageContext, seat: Seat) {
    let library = Library::Collectives;
    if seat.size > 1 && Surroundings::of_process(None).find(library).is_empty() {
        (stage.say)(&format!(
            "{} is not on this machine: gradients are added up through the processor's memory, which is slower; {}",
            library.title(),
            library.install()
        ));
    }
}

/// A trainer as one of a group, if there is one.
fn together<B: Backend + Send + 'static>(
    trainer: Pretrainer<B>,
    group: Option<&Group>,
) -> Box<dyn Pretrains> {
    match group {
        None => Box::new(trainer),
        Some(group) => Box::new(trainer.in_group(group.collective())),
    }
}

/// A pre-training on the stage's device, from first values, for examples of this extent.
pub(super) fn pretrainer(
    stage: &StageContext,
    group: Option<&Group>,
    precision: Precision,
    settings: Pretraining,
    extent: Extent,
) -> Result<Made<dyn Pretrains>, StageError> {
    let longest = extent.longest;
    let seat = group.map_or(Seat::ALONE, Group::seat);
    let cores = seat.share(stage.cores as usize).len().max(1);
    match of(stage, group, precision)? {
        Device::Cpu => {
            let room = Room::of_machine().shared_by(seat.size);
            let tokens = room::micro_tokens(stage, extent, &room, &|tokens| {
                pretrain::footprint(&settings, longest, tokens, Granularity::PROCESSOR)
                    .with_precision(precision)
            })?;
            let cpu = Cpu::new(cores)?.with_precision(precision);
            let made = Pretrainer::new(cpu, settings, longest, tokens);
            let trainer = together(made.map_err(train_error)?, group);
            Ok(Made::on_cpu(trainer, tokens).in_processes(seat.size))
        }
        Device::Cuda(index) => {
            say_way_of_sums(stage, seat);
            let (device, room) = open_cuda(index, precision)?;
            let tokens = room::micro_tokens(stage, extent, &room, &|tokens| {
                pretrain::footprint(&settings, longest, tokens, Granularity::ACCELERATOR)
                    .with_precision(precision)
            })?;
            let made = Pretrainer::new(device, settings, longest, tokens);
            let trainer = together(made.map_err(train_error)?, group);
            Ok(Made::on_cuda(trainer, &room.who, tokens).in_processes(seat.size))
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

/// A model for a task on the stage's device, from first values, for rows of this extent. One that does not train takes
/// less room.
pub(super) fn task_trainer(
    stage: &StageContext,
    precision: Precision,
    settings: Finetuning,
    extent: Extent,
    trains: bool,
) -> Result<Made<dyn Finetunes>, StageError> {
    let longest = extent.longest;
    let cores = stage.cores.max(1) as usize;
    match of(stage, None, precision)? {
        Device::Cpu => {
            let (footprint, make): (fn(&_, _, _, _) -> Footprint, fn(_, _, _, _) -> _) =
                match trains {
                    true => (finetune::footprint, TaskTrainer::new),
                    false => (finetune::prediction_footprint, TaskTrainer::for_prediction),
                };
            let tokens = room::micro_tokens(stage, extent, &Room::of_machine(), &|tokens| {
                footprint(&settings, longest, tokens, Granularity::PROCESSOR)
                    .with_precision(precision)
            })?;
            let cpu = Cpu::new(cores)?.with_precision(precision);
            let made = make(cpu, settings, longest, tokens);
            Ok(Made::on_cpu(Box::new(made.map_err(train_error)?), tokens))
        }
        Device::Cuda(index) => {
            let (footprint, make): (fn(&_, _, _, _) -> Footprint, fn(_, _, _, _) -> _) =
                match trains {
                    true => (finetune::footprint, TaskTrainer::new),
                    false => (finetune::prediction_footprint, TaskTrainer::for_prediction),
                };
            let (device, room) = open_cuda(index, precision)?;
            let tokens = room::micro_tokens(stage, extent, &room, &|tokens| {
                footprint(&settings, longest, tokens, Granularity::ACCELERATOR)
                    .with_precision(precision)
            })?;
            let made = make(device, settings, longest, tokens);
            let trainer = Box::new(made.map_err(train_error)?);
            Ok(Made::on_cuda(trainer, &room.who, tokens))
        }
        Device::Reference => {
            let made = reference::finetune::TaskTrainer::new(settings, cores);
            Ok(Made::by_reference(Box::new(made.map_err(train_error)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_is_a_warning_where_there_is_a_gpu() {
        let missing = |library: Library| DeviceError::LibraryMissing {
            library: library.title().to_owned(),
            files: vec!["lib.so".to_owned()],
            looked_in: vec![PathBuf::from("/a"), PathBuf::from("/b")],
            install: library.install(),
        };
        assert!(!is_surprising(&missing(Library::Driver)));
        assert!(is_surprising(&missing(Library::Compiler)));
        let warning = falls_back(&missing(Library::Compiler));
        assert!(
            warning
                .message
                .starts_with("computing on the processor: NVRTC is not on")
        );
        assert!(warning.help.expect("told").starts_with("pip install"));
        let problem = problem("cuda", &missing(Library::Products));
        let expected = "`cuda` cannot be computed on: cuBLASLt is not on this machine: no `lib.so` in any of 2 folders";
        assert_eq!(
            (problem.code.as_str(), problem.message.as_str()),
            ("engine::no_library", expected)
        );
        assert_eq!(problem.details, ["looked in `/a`", "looked in `/b`"]);
    }
}
