//! The state of a training run on disk: parameters, moments and the step, in a folder that is whole or not there.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backend::{Array, Memory};
use crate::error::WeightsError;
use crate::parameters::Parameters;
use crate::weights::{self, Tensors};

/// Layout of the folder; another number is not read.
const VERSION: u32 = 1;

/// Arrays of a checkpoint and their files.
const ARRAYS: [(Array, &str); 3] = [
    (Array::Value, "parameters.safetensors"),
    (Array::FirstMoment, "first_moments.safetensors"),
    (Array::SecondMoment, "second_moments.safetensors"),
];

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Updates done.
    pub step: u64,
    /// Its seed.
    pub seed: u64,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u32,
    step: u64,
    seed: u64,
}

fn fault(path: &Path, source: std::io::Error) -> WeightsError {
    WeightsError::Read {
        path: path.to_path_buf(),
        source,
    }
}

/// Writes a checkpoint of a device's memory.
///
/// # Errors
/// When it cannot be written.
pub fn save<M: Memory>(
    memory: &mut M,
    parameters: &Parameters,
    state: State,
    folder: &Path,
) -> Result<(), WeightsError> {
    write(state, folder, |array| {
        weights::save(memory, parameters, array)
    })
}

/// Writes a checkpoint, array by array: first beside its place, then in it at once. What was there goes last.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    state: State,
    folder: &Path,
    mut tensors: impl FnMut(Array) -> Tensors,
) -> Result<(), WeightsError> {
    let beside = |ending: &str| {
        let mut name = folder.file_name().unwrap_or_default().to_os_string();
        name.push(ending);
        folder.with_file_name(name)
    };
    let (partial, old) = (beside(".partial"), beside(".old"));
    let io = |source| fault(folder, source);
    for left in [&partial, &old] {
        if left.exists() {
            fs_err::remove_dir_all(left).map_err(io)?;
        }
    }
    fs_err::create_dir_all(&partial).map_err(io)?;
    for (array, name) in ARRAYS {
        let path = partial.join(name);
        weights::write(&path, &tensors(array))?;
        let file = fs_err::File::open(&path).map_err(io)?;
        file.sync_all().map_err(io)?;
    }
    let file = StateFile {
        version: VERSION,
        step: state.step,
        seed: state.seed,
    };
    let text = serde_json::to_vec(&file).expect("numbers serialise");
    fs_err::write(partial.join("state.json"), text).map_err(io)?;
    if folder.exists() {
        fs_err::rename(folder, &old).map_err(io)?;
    }
    fs_err::rename(&partial, folder).map_err(io)?;
    if old.exists() {
        fs_err::remove_dir_all(&old).map_err(io)?;
    }
    Ok(())
}

/// Whether a folder holds a whole checkpoint; one whose place was just being taken by the next counts.
#[must_use]
pub fn exists(folder: &Path) -> bool {
    folder.join("state.json").is_file()
}

/// A checkpoint as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run stood.
    pub state: State,
    /// Values and moments by name.
    pub arrays: Vec<(Array, Tensors)>,
}

/// Reads a checkpoint of a model: all its parameters, in their shapes.
///
/// # Errors
/// When it is damaged, of another layout, or of another model.
pub fn read(folder: &Path, parameters: &Parameters) -> Result<Checkpoint, WeightsError> {
    let path = folder.join("state.json");
    let text = fs_err::read(&path).map_err(|source| fault(&path, source))?;
    let wrong = |reason: String| WeightsError::Format {
        path: path.clone(),
        reason,
    };
    let state: StateFile =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if state.version != VERSION {
        return Err(wrong(format!(
            "layout {}, this program reads {VERSION}",
            state.version
        )));
    }
    let mut arrays = Vec::new();
    for (array, name) in ARRAYS {
        let tensors = weights::read(&folder.join(name))?;
        for parameter in parameters.list() {
            match tensors.get(&parameter.name) {
                Some(tensor) if tensor.shape == parameter.shape => {}
                Some(tensor) => {
                    return Err(WeightsError::Shape {
                        name: parameter.name.clone(),
                        found: tensor.shape.clone(),
                        expected: parameter.shape.clone(),
                    });
                }
                None => return Err(wrong(format!("`{}` is not in `{name}`", parameter.name))),
            }
        }
        arrays.push((array, tensors));
    }
    Ok(Checkpoint {
        state: State {
            step: state.step,
            seed: state.seed,
        },
        arrays,
    })
}

/// Reads a checkpoint back into a device's memory.
///
/// # Errors
/// When it is damaged, of another layout, or of another model; then nothing is changed.
pub fn load<M: Memory>(
    memory: &mut M,
    parameters: &Parameters,
    folder: &Path,
) -> Result<State, WeightsError> {
    let found = read(folder, parameters)?;
    for (array, tensors) in &found.arrays {
        for parameter in parameters.list() {
            memory.write_weights(*array, parameter.at, &tensors[&parameter.name].values);
        }
    }
    Ok(found.state)
}
