//! The state of a training run on disk: parameters, moments, the step, and what its owner adds, in a folder that is whole
//! or not there. Knows nothing of when one is written.
//!
//! ```text
//! <parent>/step-000000012000/   state.json, notes, parameters.safetensors, first_moments.safetensors, …
//! <parent>/….partial, ….old     on their way in and out
//! ```
//! `state.json` holds the CRC-32 of each file and the step that the folder's name has, so that damage is found. A folder of
//! another name is the same: nothing in it tells where or when it was written, so equal states are equal bytes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::{Array, Memory};
use crate::error::{DeviceError, WeightsError};
use crate::parameters::Parameters;
use crate::weights::{self, Tensors};

/// Layout of the folder; another number is not read. 2: with checksums and notes.
const VERSION: u32 = 2;
const STATE: &str = "state.json";
const NOTES: &str = "notes";
const PARTIAL: &str = ".partial";
const OLD: &str = ".old";

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
    /// CRC-32 of each file.
    files: BTreeMap<String, u32>,
}

/// A copy of everything that going on takes, apart from the device: it may be written while training goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    state: State,
    arrays: [Tensors; 3],
}

impl Snapshot {
    /// Copies the parameters and moments of a device that is between two steps.
    ///
    /// # Errors
    /// When the device failed: what is read then is worth nothing.
    pub fn take<M: Memory>(
        memory: &mut M,
        parameters: &Parameters,
        state: State,
    ) -> Result<Self, DeviceError> {
        let arrays = ARRAYS.map(|(array, _)| weights::save(memory, parameters, array));
        memory.finish()?;
        Ok(Self { state, arrays })
    }

    /// Of tensors by name: values, first and second moments.
    #[must_use]
    pub fn new(state: State, arrays: [Tensors; 3]) -> Self {
        Self { state, arrays }
    }

    /// The values, first and second moments.
    #[must_use]
    pub fn into_arrays(self) -> [Tensors; 3] {
        self.arrays
    }

    /// Updates done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// Writes it with its owner's notes: first beside its place, through to the disk, then in it at once. What was there
    /// goes last.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path, notes: &[u8]) -> Result<(), WeightsError> {
        let io = |source| fault(folder, source);
        let (partial, old) = (beside(folder, PARTIAL), beside(folder, OLD));
        for left in [&partial, &old] {
            if left.exists() {
                fs_err::remove_dir_all(left).map_err(io)?;
            }
        }
        fs_err::create_dir_all(&partial).map_err(io)?;
        let mut files = BTreeMap::new();
        for ((_, name), tensors) in ARRAYS.iter().zip(&self.arrays) {
            let path = partial.join(name);
            weights::write(&path, tensors)?;
            files.insert((*name).to_owned(), settle(&path).map_err(io)?);
        }
        let path = partial.join(NOTES);
        fs_err::write(&path, notes).map_err(io)?;
        files.insert(NOTES.to_owned(), settle(&path).map_err(io)?);
        let state = StateFile {
            version: VERSION,
            step: self.state.step,
            seed: self.state.seed,
            files,
        };
        let text = serde_json::to_vec(&state).expect("numbers serialise");
        let mut file = fs_err::File::create(partial.join(STATE)).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        file.sync_all().map_err(io)?;
        sync_folder(&partial).map_err(io)?;
        if folder.exists() {
            fs_err::rename(folder, &old).map_err(io)?;
        }
        fs_err::rename(&partial, folder).map_err(io)?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent).map_err(io)?;
        }
        if old.exists() {
            fs_err::remove_dir_all(&old).map_err(io)?;
        }
        Ok(())
    }
}

fn fault(path: &Path, source: std::io::Error) -> WeightsError {
    WeightsError::Read {
        path: path.to_path_buf(),
        source,
    }
}

fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    folder.with_file_name(name)
}

/// Writes a file through to the disk; its checksum.
fn settle(path: &Path) -> std::io::Result<u32> {
    fs_err::File::open(path)?.sync_all()?;
    checksum(path)
}

/// Names are safe only with the folder that holds them. Where folders cannot be opened, the system has no such need.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    match fs_err::File::open(folder) {
        Ok(file) => file.sync_all(),
        Err(_) => Ok(()),
    }
}

fn checksum(path: &Path) -> std::io::Result<u32> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Where the checkpoint of a step stands below `parent`.
#[must_use]
pub fn place(parent: &Path, step: u64) -> PathBuf {
    parent.join(format!("step-{step:012}"))
}

/// Steps with a checkpoint below `parent`, the newest first, damaged ones among them.
#[must_use]
pub fn steps(parent: &Path) -> Vec<u64> {
    let Ok(entries) = fs_err::read_dir(parent) else {
        return Vec::new();
    };
    let mut steps: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix("step-")?.parse().ok()
        })
        .collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    steps
}

/// Removes all checkpoints below `parent` but the newest `n`, and what was left half written.
///
/// # Errors
/// When one cannot be removed.
pub fn keep_newest(parent: &Path, n: usize) -> Result<(), WeightsError> {
    let io = |source| fault(parent, source);
    let kept: Vec<PathBuf> = (steps(parent).iter().take(n))
        .map(|step| place(parent, *step))
        .collect();
    for entry in fs_err::read_dir(parent).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !kept.contains(&path) {
            fs_err::remove_dir_all(path).map_err(io)?;
        }
    }
    Ok(())
}

/// Whether a folder holds a checkpoint, whole or damaged.
#[must_use]
pub fn exists(folder: &Path) -> bool {
    folder.join(STATE).is_file()
}

/// What a checkpoint says of itself, without a model: its state, and a checksum of each file.
fn read_state(folder: &Path) -> Result<StateFile, WeightsError> {
    let path = folder.join(STATE);
    let text = fs_err::read(&path).map_err(|source| fault(&path, source))?;
    let wrong = |reason: String| broken(folder, reason);
    let state: StateFile =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("`{STATE}`: {error}")))?;
    if state.version != VERSION {
        return Err(wrong(format!(
            "layout {}, this program reads {VERSION}",
            state.version
        )));
    }
    let of_name = folder.file_name().and_then(|name| name.to_str());
    let of_name = of_name.and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok());
    if of_name.is_some_and(|step| step != state.step) {
        return Err(wrong(format!("`{STATE}` is of step {}", state.step)));
    }
    Ok(state)
}

fn broken(folder: &Path, reason: String) -> WeightsError {
    WeightsError::Checkpoint {
        path: folder.to_path_buf(),
        reason,
    }
}

/// Holds a file of a checkpoint against its checksum.
fn check_file(folder: &Path, state: &StateFile, name: &str) -> Result<(), WeightsError> {
    let path = folder.join(name);
    let found = checksum(&path).map_err(|source| fault(&path, source))?;
    if state.files.get(name) == Some(&found) {
        return Ok(());
    }
    Err(broken(
        folder,
        format!("`{name}` does not match its checksum"),
    ))
}

/// The owner's notes of a checkpoint and where it stands, whatever model it is of; its tensors are not looked at.
///
/// # Errors
/// When there is none, it is of another layout, or its notes are damaged.
pub fn read_notes(folder: &Path) -> Result<(State, Vec<u8>), WeightsError> {
    let state = read_state(folder)?;
    check_file(folder, &state, NOTES)?;
    let path = folder.join(NOTES);
    let notes = fs_err::read(&path).map_err(|source| fault(&path, source))?;
    let (step, seed) = (state.step, state.seed);
    Ok((State { step, seed }, notes))
}

/// Reads a checkpoint of a model, with its owner's notes: all parameters, in their shapes.
///
/// # Errors
/// When it is damaged, of another layout, or of another model.
pub fn read(folder: &Path, parameters: &Parameters) -> Result<(Snapshot, Vec<u8>), WeightsError> {
    let found = read_state(folder)?;
    let wrong = |reason: String| broken(folder, reason);
    for (_, name) in ARRAYS {
        check_file(folder, &found, name)?;
    }
    let (state, notes) = read_notes(folder)?;
    let mut arrays = ARRAYS.map(|_| Tensors::new());
    for ((_, name), array) in ARRAYS.iter().zip(&mut arrays) {
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
        *array = tensors;
    }
    Ok((Snapshot { state, arrays }, notes))
}

/// Reads a checkpoint back into a device's memory, with its owner's notes.
///
/// # Errors
/// When it is damaged, of another layout, or of another model; then nothing is changed.
pub fn load<M: Memory>(
    memory: &mut M,
    parameters: &Parameters,
    folder: &Path,
) -> Result<(State, Vec<u8>), WeightsError> {
    let (found, notes) = read(folder, parameters)?;
    for ((array, _), tensors) in ARRAYS.iter().zip(&found.arrays) {
        for parameter in parameters.list() {
            memory.write_weights(*array, parameter.at, &tensors[&parameter.name].values);
        }
    }
    Ok((found.state, notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Plan;
    use crate::cpu::Cpu;
    use crate::parameters::Init;

    fn model() -> (Cpu, Parameters) {
        let mut parameters = Parameters::default();
        parameters.add("a.weight", &[3, 5], Init::TruncatedNormal(0.02), 0);
        parameters.add("a.bias", &[5], Init::Zeros, 0);
        let mut cpu = Cpu::new(1).expect("threads");
        cpu.allocate(&Plan::default(), parameters.memory())
            .expect("fits");
        weights::initialise(&mut cpu, &parameters, 7);
        (cpu, parameters)
    }

    fn write(parent: &Path, step: u64) -> Snapshot {
        let (mut cpu, parameters) = model();
        let snapshot =
            Snapshot::take(&mut cpu, &parameters, State { step, seed: 7 }).expect("read");
        let notes = format!("notes of {step}");
        snapshot
            .write(&place(parent, step), notes.as_bytes())
            .expect("written");
        snapshot
    }

    #[test]
    fn the_newest_are_kept_and_what_was_left_half_written_goes() {
        let folder = tempfile::tempdir().expect("temp");
        let parent = folder.path().join("checkpoints");
        assert!(steps(&parent).is_empty());
        for step in [5, 20, 100] {
            write(&parent, step);
        }
        fs_err::create_dir(parent.join("step-000000000200.partial")).expect("made");
        assert_eq!(steps(&parent), [100, 20, 5]);
        keep_newest(&parent, 2).expect("removed");
        assert_eq!(steps(&parent), [100, 20]);
        assert_eq!(fs_err::read_dir(&parent).expect("there").count(), 2);
        let snapshot = write(&parent, 100);
        let (mut cpu, parameters) = model();
        let (state, notes) = load(&mut cpu, &parameters, &place(&parent, 100)).expect("whole");
        assert_eq!(state, State { step: 100, seed: 7 });
        assert_eq!(notes, b"notes of 100");
        assert_eq!(
            Snapshot::take(&mut cpu, &parameters, state).expect("read"),
            snapshot
        );
    }

    /// Under any name, and whatever was there before: the bytes are those of the state and its notes.
    #[test]
    fn equal_states_are_equal_bytes_and_come_back_to_the_bit() {
        let folder = tempfile::tempdir().expect("temp");
        let (mut cpu, parameters) = model();
        // Values of every kind: among them zeros of both signs, the smallest, and odd bits.
        for (array, first) in [(Array::FirstMoment, -0.0_f32), (Array::SecondMoment, 1e-45)] {
            for parameter in parameters.list() {
                let mut values = vec![f32::from_bits(0x3e99_999b); parameter.at.len()];
                values[0] = first;
                cpu.write_weights(array, parameter.at, &values);
            }
        }
        let snapshot =
            Snapshot::take(&mut cpu, &parameters, State { step: 9, seed: 7 }).expect("read");
        let (first, second) = (folder.path().join("state"), folder.path().join("other"));
        write(folder.path(), 4);
        fs_err::rename(place(folder.path(), 4), &second).expect("moved");
        for to in [&first, &second] {
            snapshot.write(to, b"of what it is").expect("written");
        }
        let mut names = Vec::new();
        for entry in fs_err::read_dir(&first).expect("there") {
            let name = entry.expect("an entry").file_name();
            let read = |folder: &Path| fs_err::read(folder.join(&name)).expect("readable");
            assert_eq!(read(&first), read(&second));
            names.push(name);
        }
        assert_eq!(names.len(), ARRAYS.len() + 2);
        assert_eq!(fs_err::read_dir(&second).expect("there").count(), 5);
        let (state, notes) = read_notes(&first).expect("whole");
        assert_eq!(state, State { step: 9, seed: 7 });
        assert_eq!(notes, b"of what it is");
        let (mut other, parameters) = model();
        load(&mut other, &parameters, &first).expect("whole");
        let bits = |snapshot: Snapshot| -> Vec<u32> {
            let arrays = snapshot.into_arrays().into_iter();
            let tensors = arrays.flat_map(Tensors::into_values);
            tensors
                .flat_map(|tensor| tensor.values)
                .map(f32::to_bits)
                .collect()
        };
        let again = Snapshot::take(&mut other, &parameters, state).expect("read");
        assert_eq!(bits(again), bits(snapshot));
    }

    /// Each byte of each file, changed: found, and nothing is read into the model.
    #[test]
    fn every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().expect("temp");
        let place = place(folder.path(), 3);
        let whole = write(folder.path(), 3);
        for entry in fs_err::read_dir(&place).expect("there") {
            let path = entry.expect("an entry").path();
            let bytes = fs_err::read(&path).expect("readable");
            let is_state = path.ends_with(STATE);
            for at in (0..bytes.len()).step_by(if is_state { 1 } else { 7 }) {
                let mut changed = bytes.clone();
                changed[at] ^= 0x01;
                // The seed is not looked at: the key of a stage decides it.
                let text = String::from_utf8_lossy(&changed);
                if is_state && text.contains("\"step\":3,") && !text.contains("\"seed\":7,") {
                    continue;
                }
                fs_err::write(&path, &changed).expect("written");
                let (mut cpu, parameters) = model();
                let before = Snapshot::take(&mut cpu, &parameters, whole.state).expect("read");
                let found = load(&mut cpu, &parameters, &place);
                assert!(found.is_err(), "byte {at} of {}", path.display());
                let after = Snapshot::take(&mut cpu, &parameters, whole.state).expect("read");
                assert_eq!(before, after);
            }
            fs_err::write(&path, &bytes[..bytes.len() / 2]).expect("written");
            let (mut cpu, parameters) = model();
            assert!(load(&mut cpu, &parameters, &place).is_err());
            fs_err::write(&path, &bytes).expect("written");
        }
        let (mut cpu, parameters) = model();
        load(&mut cpu, &parameters, &place).expect("whole again");
    }
}
