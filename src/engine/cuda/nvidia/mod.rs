//! NVIDIA's GPUs as devices: the one door to their libraries, which are looked for when they are asked for. Knows no ops.

mod collectives;
mod device;
mod driver;
mod ffi;
mod graphs;
mod products;
mod staging;

pub mod compile;
pub mod cubins;
pub mod libraries;

use std::path::{Path, PathBuf};

use super::driver::DeviceFacts;
use crate::error::DeviceError;
use compile::Compiler;
use device::{Device, Machine};
use ffi::DriverTable;
use libraries::{Library, Surroundings};

pub use driver::{Counts, Nvidia};

/// How a device is taken.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where libraries are looked for.
    pub libraries: Surroundings,
    /// Where compiled kernels are kept; nowhere without it.
    pub cubins: Option<PathBuf>,
    /// Whether steps are recorded and replayed as graphs.
    pub graphs: bool,
}

/// Libraries that work.
struct Found {
    machine: Machine,
    compiler: Compiler,
    products: PathBuf,
}

/// Finds the libraries, opens those of the driver and of the compiler, and compares their versions.
fn find(surroundings: &Surroundings) -> Result<Found, DeviceError> {
    let (_, table) = open_driver(surroundings)?;
    let machine = Machine::new(table)?;
    let compilers = usable(surroundings, Library::Compiler, machine.version)?;
    let compiler = first(&compilers, |path| Compiler::open(path))?;
    let products = usable(surroundings, Library::Products, machine.version)?;
    let products = products.into_iter().next().expect("at least one");
    Ok(Found {
        machine,
        compiler,
        products,
    })
}

/// The driver's library: where it was found, else whatever the system's loader has under the name.
fn open_driver(surroundings: &Surroundings) -> Result<(PathBuf, DriverTable), DeviceError> {
    let found = surroundings.find(Library::Driver);
    let mut paths: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    let is_found = !paths.is_empty();
    if surroundings.root == Path::new("/") {
        let names = Library::Driver.files().into_iter();
        paths.extend(names.map(|(_, name)| PathBuf::from(name)));
    }
    let opened = first(&paths, |path| {
        let table = DriverTable::open(path).map_err(|reason| DeviceError::LibraryUnusable {
            path: path.clone(),
            reason,
        })?;
        Ok((path.clone(), table))
    });
    match is_found {
        true => opened,
        false => opened.map_err(|_| missing(surroundings, Library::Driver)),
    }
}

/// The first that opens; else why the first did not.
fn first<T>(
    paths: &[PathBuf],
    open: impl Fn(&PathBuf) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let mut fault = None;
    for path in paths {
        match open(path) {
            Ok(opened) => return Ok(opened),
            Err(error) => {
                fault.get_or_insert(error);
            }
        }
    }
    Err(fault.unwrap_or_else(|| DeviceError::NoDevice {
        reason: "there is no library".to_owned(),
    }))
}

fn missing(surroundings: &Surroundings, library: Library) -> DeviceError {
    DeviceError::LibraryMissing {
        library: library.title().to_owned(),
        files: library.files().into_iter().map(|(_, name)| name).collect(),
        looked_in: surroundings.folders(library),
        install: library.install(),
    }
}

/// Files of a library that the driver is new enough for, at least one.
fn usable(
    surroundings: &Surroundings,
    library: Library,
    driver: (u32, u32),
) -> Result<Vec<PathBuf>, DeviceError> {
    let found = surroundings.find(library);
    let is_known = |major: Option<u32>| major.is_none_or(|major| major <= driver.0);
    let fitting: Vec<PathBuf> = found
        .iter()
        .filter(|(major, _)| is_known(*major))
        .map(|(_, path)| path.clone())
        .collect();
    match (fitting.is_empty(), found.first()) {
        (false, _) => Ok(fitting),
        (true, None) => Err(missing(surroundings, library)),
        (true, Some((major, path))) => Err(DeviceError::DriverTooOld {
            driver,
            library: path.clone(),
            needed: (major.unwrap_or(0), 0),
        }),
    }
}

/// A library as `doctor` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Seen {
    /// Which.
    pub library: Library,
    /// Its file, if there is one that loads.
    pub path: Option<PathBuf>,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// Why it cannot be used.
    pub fault: Option<String>,
    /// Where it was looked for.
    pub looked_in: Vec<PathBuf>,
    /// How to get it.
    pub install: String,
}

/// What this machine has for computing on a GPU.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Survey {
    /// Why it cannot be computed on; nothing where it can.
    pub missing: Option<String>,
    /// Libraries.
    pub libraries: Vec<Seen>,
    /// Devices, by index.
    pub devices: Vec<DeviceFacts>,
}

/// Looks at everything, and uses no device.
#[must_use]
pub fn survey(surroundings: &Surroundings) -> Survey {
    let seen = |library: Library, opened: Result<(PathBuf, Option<(u32, u32)>), DeviceError>| {
        let (path, version, fault) = match opened {
            Ok((path, version)) => (Some(path), version, None),
            Err(error) => (None, None, Some(error.to_string())),
        };
        Seen {
            library,
            path,
            version: version.map(|(major, minor)| format!("{major}.{minor}")),
            fault,
            looked_in: surroundings.folders(library),
            install: library.install(),
        }
    };
    let driver = open_driver(surroundings);
    let mut devices = Ok(Vec::new());
    // What is newer than a driver is told apart only where there is a driver.
    let mut version = (u32::MAX, u32::MAX);
    let driver = driver.map(|(path, table)| match Machine::new(table) {
        Ok(machine) => {
            version = machine.version;
            let count = machine.count();
            devices = count.and_then(|count| (0..count).map(|i| machine.facts(i)).collect());
            (path, Some(machine.version))
        }
        Err(error) => {
            devices = Err(error);
            (path, None)
        }
    });
    let compiler = usable(surroundings, Library::Compiler, version)
        .and_then(|paths| first(&paths, |path| Compiler::open(path)))
        .map(|compiler| (compiler.path().to_path_buf(), Some(compiler.version())));
    let products = usable(surroundings, Library::Products, version)
        .map(|paths| (paths.into_iter().next().unwrap_or_default(), None));
    let missing = check(surroundings, 0).err().map(|error| error.to_string());
    Survey {
        missing,
        libraries: vec![
            seen(Library::Driver, driver),
            seen(Library::Compiler, compiler),
            seen(Library::Products, products),
        ],
        devices: devices.unwrap_or_default(),
    }
}

/// Whether a device could be taken: its libraries are there, and so is the device. Takes nothing of it.
///
/// # Errors
/// What is missing.
pub fn check(surroundings: &Surroundings, index: u32) -> Result<DeviceFacts, DeviceError> {
    let found = find(surroundings)?;
    let count = found.machine.count()?;
    if index >= count {
        return Err(device::no_such(index, count));
    }
    let facts = found.machine.facts(index)?;
    found.compiler.target(facts.capability)?;
    Ok(facts)
}

/// Opens a device with everything it takes.
fn open(options: &Options, index: u32) -> Result<(Device, Found), DeviceError> {
    let found = find(&options.libraries)?;
    let device = Device::open(&found.machine, index)?;
    Ok((device, found))
}
